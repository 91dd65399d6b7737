//go:build e2e

package walletcache_test

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	mutation.Run(t, mutations)
}

func TestServerMutationsAreCaught(t *testing.T) {
	t.Setenv("GOFLAGS", "-tags=e2e")
	mutation.Run(t, serverMutations)
}
