//go:build e2e

package walletid

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	mutation.Run(t, mutations)
}
