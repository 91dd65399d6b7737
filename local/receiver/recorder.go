package receiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

// Recorder is a receiver that remembers what it has taken, in the order in which it came. What it refuses it does not
// count.
type Recorder struct {
	*Receiver
	// Takes is how long it works on each delivery.
	Takes time.Duration

	mu    sync.Mutex
	runs  []event.Run
	under map[uuid.UUID]context.Context // the delivery of a wallet that is under way
}

// Record listens on a port of this machine.
func Record() (*Recorder, error) {
	r := &Recorder{under: map[uuid.UUID]context.Context{}}
	var err error
	r.Receiver, err = Listen("127.0.0.1:0", r.remember)
	return r, err
}

// remember fails if another delivery of the wallet is under way, whose sender still waits for the answer.
func (r *Recorder) remember(ctx context.Context, d Delivery) error {
	if !d.Signed {
		return errors.New("it came before the secret")
	}
	if d.Type != event.RunType {
		return nil // a test
	}
	wallet := d.Run.WalletID
	r.mu.Lock()
	if other := r.under[wallet]; other != nil && other.Err() == nil {
		r.mu.Unlock()
		return fmt.Errorf("two deliveries of wallet %s at once", wallet)
	}
	r.under[wallet] = ctx
	r.mu.Unlock()
	time.Sleep(r.Takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, d.Run)
	if r.under[wallet] == ctx {
		delete(r.under, wallet)
	}
	return nil
}

// Got is what has come of some wallets, in order.
func (r *Recorder) Got(wallets []uuid.UUID) (runs []event.Run) {
	of := make(map[uuid.UUID]bool, len(wallets))
	for _, id := range wallets {
		of[id] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs {
		if of[run.WalletID] {
			runs = append(runs, run)
		}
	}
	return runs
}

// Forget begins anew, and returns what was wrong with deliveries until now.
func (r *Recorder) Forget() (broken []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = nil
	return r.Wrong()
}
