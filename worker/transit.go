package main

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	transitEvery   = 5 * time.Second
	transitWallets = 1_000 // that are remembered
	transitEach    = 1_000 // operations of a wallet that are looked at
)

// transit knows how long money has been on its way to wallets that the sweeps have found behind: a debit leg has
// taken it out of one wallet, and the RECEIVE, or the RETURN, that brings it into another is not applied. Money
// on its way to a wallet that is not behind is there before any sweep looks.
type transit struct {
	set    func(seconds float64) // of the metric
	late   map[uuid.UUID]bool
	lookAt time.Time
}

func newTransit(set func(seconds float64)) *transit {
	return &transit{set: set, late: map[uuid.UUID]bool{}}
}

// found remembers wallets that are behind.
func (t *transit) found(targets []target) {
	for _, to := range targets {
		if len(t.late) < transitWallets {
			t.late[to.walletID] = true
		}
	}
}

// look forgets those that nothing waits for any more, and says how long the oldest money has waited.
func (t *transit) look(ctx context.Context, q *walletdb.Queries) error {
	if len(t.late) == 0 || time.Now().Before(t.lookAt) {
		return nil
	}
	ids := make([]uuid.UUID, 0, len(t.late))
	for id := range t.late {
		ids = append(ids, id)
	}
	rows, err := q.InTransitTo(ctx, walletdb.InTransitToParams{Ids: ids, MaxRows: transitEach})
	if err != nil {
		return err
	}
	clear(t.late)
	oldest := 0.0
	for _, row := range rows {
		t.late[row.ID] = true
		oldest = max(oldest, row.Seconds)
	}
	t.set(oldest)
	t.lookAt = time.Now().Add(transitEvery)
	return nil
}

// forget is for a worker that sweeps no longer: another one knows.
func (t *transit) forget() {
	clear(t.late)
	t.set(0)
}
