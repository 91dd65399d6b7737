//go:build e2e

package main

import (
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// Wallets pay each other as fast as two apis and two workers take it, beside a closed one, which gives back what it
// gets. Postgres counts no deadlock. -wait says for how long.
func TestWalletsThatPayEachOtherNeverDeadlock(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 2, Relays: 1, Workers: 2})
	wallets, closed := s.OpenWallets(40), s.OpenWallets(1)
	told := s.close(closed[0])
	deadlocks := func() (n int64) {
		if err := s.Conn.QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := deadlocks()
	l := &load.Load{
		APIs: s.APIURLs, APIKey: s.APIKey, Wallets: wallets, Mix: load.Mix{Transfers: 80, Refusing: closed}, Connections: 100,
		Duration: max(5*time.Second, *stacktest.WaitTime), Attempt: 12 * time.Second, Patience: time.Minute,
	}
	history := append(told, l.Send(t.Context())...)
	if n := l.Failures.Load(); n > 0 {
		t.Errorf("%d operations were not acknowledged; the last: %s", n, *l.LastFail.Load())
	}
	s.KeepPromises(history)
	if n := deadlocks() - before; n != 0 {
		t.Errorf("%d deadlocks", n)
	}
	t.Logf("%d operations, most of them transfers, in %v", l.Accepted.Load(), l.Duration)
}
