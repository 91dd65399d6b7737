package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/receiver"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// toldWithin is how long after the last operation was applied its webhook may come.
const toldWithin = 10 * time.Second

// told is what a receiver of webhooks knows of a wallet. It does what docs/events.md asks of every receiver.
type told struct {
	*receiver.Receiver
	wallet uuid.UUID

	mu         sync.Mutex
	version    int64 // the last sequence that it was told of
	deliveries int
	last       time.Duration // from applying the last operation to its webhook
}

// tell registers a receiver for a wallet.
func tell(s *stack.Stack, wallet uuid.UUID) (*told, error) {
	t := &told{wallet: wallet}
	var err error
	if t.Receiver, err = receiver.Listen("127.0.0.1:0", t.take); err != nil {
		return nil, err
	}
	c := load.Client{Addr: strings.TrimPrefix(s.APIURLs[0], "http://"), APIKey: s.APIKey, Timeout: 10 * time.Second}
	defer c.Close()
	_, err = t.Subscribe(&c, wallet)
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *told) take(_ context.Context, d receiver.Delivery) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	run := d.Run
	switch {
	case !d.Signed:
		return errors.New("it came before the secret")
	case run.WalletID != t.wallet || run.Version <= t.version: // of another, or known already
	case run.FromSequence > t.version+1:
		return fmt.Errorf("of sequence %d nothing was told", t.version+1)
	default:
		t.version, t.last = run.Version, time.Since(run.Operations[len(run.Operations)-1].AppliedAt)
		t.deliveries++
	}
	return nil
}

// show waits until everything was told that was applied.
func (t *told) show(ctx context.Context, conn *pgx.Conn, out io.Writer) error {
	var applied int64
	if err := conn.QueryRow(ctx, "SELECT applied_seq FROM wallets WHERE id = $1", t.wallet).Scan(&applied); err != nil {
		return err
	}
	heard := func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.version >= applied
	}
	complete := proc.Await(ctx, toldWithin, heard)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !complete {
		return fmt.Errorf("%d operations of wallet %s are applied, and webhooks told of %d within %s", applied, t.wallet, t.version, toldWithin)
	}
	fmt.Fprintf(out, "  webhooks told a receiver of all %d operations of the wallet, in their order, in %d deliveries; the last one %d ms after it was applied\n\n",
		t.version, t.deliveries, t.last.Milliseconds())
	return nil
}
