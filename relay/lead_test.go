package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// Several relays want to lead, and each ends as soon as it does: every one gets its turn, alone.
func TestOneRelayLeadsAtATime(t *testing.T) {
	t.Parallel()
	config, err := db.Config(testdb.New(t).As(testdb.Relay))
	if err != nil {
		t.Fatal(err)
	}
	var relays sync.WaitGroup
	var leaders atomic.Int32
	for range 4 {
		relays.Go(func() {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			elect(ctx, config.ConnConfig, "wallet-relay", newStatus(slog.New(slog.DiscardHandler)), func(context.Context) {
				if n := leaders.Add(1); n > 1 {
					t.Errorf("%d relays lead", n)
				}
				service.Sleep(ctx, 2*electInterval) // the others try meanwhile
				leaders.Add(-1)
				end()
			})
		})
	}
	relays.Wait()
}
