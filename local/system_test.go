package main

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, children) }

// system is a stack under test, with what the tests of this package ask of it.
type system struct{ *stacktest.System }

func newSystem(t *testing.T, c stack.Config) *system {
	t.Helper()
	return &system{stacktest.New(t, c)}
}

func sharedSystem(t *testing.T) *system {
	t.Helper()
	return &system{stacktest.Shared(t)}
}

func newSystemOn(t *testing.T, p *servers.Backing, login map[string]string) *system {
	t.Helper()
	return &system{stacktest.NewOn(t, p, login)}
}

// deposit is the body of the least deposit.
func deposit(wallet uuid.UUID) string {
	return fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":1}`, wallet)
}
