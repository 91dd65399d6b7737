package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// maxOperations bounds a transaction, and with it the time that its wallets stay locked.
	maxOperations = 5_000

	// transactionTimeout is longer than the server's own limits, for a server that is silent. The worker
	// goes on waiting for a COMMIT that waits for a standby.
	transactionTimeout = 15 * time.Second
)

// postgres is the ledger.
type postgres struct {
	pool    *pgxpool.Pool
	commits *db.Commits
}

// transaction locks the targets' wallets, reads in a later statement what they have not applied
// yet, and writes the outcomes and the wallets, in two pipelined round trips. Duplicated, late and missing
// messages change nothing: applied_seq says what is next, and the operations say what it is.
//
// It ends only with the commit, an error or its own timeout, so that a partition which is taken
// away can let it finish. If the worker dies before COMMIT arrives, nothing has happened. While commits
// wait for a standby none begins.
func (p postgres) transaction(ctx context.Context, targets []target) (next plan, err error) {
	if err := p.commits.Await(ctx); err != nil {
		return plan{}, err
	}
	beganAt := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return plan{}, fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if !errors.Is(err, db.ErrUnanswered) {
			conn.Release() // closes a connection whose transaction is still open
		}
	}()

	failpoint.Reach("worker-before-transaction")
	wallets, pending, err := lockAndRead(ctx, conn.Conn(), targets)
	if err != nil {
		return plan{}, err
	}
	readAt := time.Now()
	failpoint.Reach("worker-after-lock")
	next, err = newPlan(wallets, pending)
	if err != nil {
		return plan{}, err
	}
	next.beganAt, next.readAt = beganAt, readAt
	next.full = len(pending) == maxOperations
	if err := p.write(ctx, conn, next); err != nil {
		return plan{}, err
	}
	failpoint.Reach("worker-after-commit")
	return next, nil
}

func lockAndRead(ctx context.Context, conn *pgx.Conn, targets []target) (wallets []walletdb.Wallet, pending []operation, err error) {
	ids := walletIDs(targets)
	upTo := make([]int64, len(targets))
	for i, t := range targets {
		upTo[i] = t.upTo
	}
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if wallets, err = q.LockWallets(ctx, ids); err != nil {
			return fmt.Errorf("lock wallets: %w", err)
		}
		pending, err = q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: ids, UpTo: upTo, MaxRows: maxOperations})
		if err != nil {
			return fmt.Errorf("read operations: %w", err)
		}
		return nil
	})
	return wallets, pending, err
}

// write waits for its COMMIT also when the worker has to end, which ends it after a while in any case. If
// another worker has applied everything, it confirms that: the cache and Kafka get it next.
func (p postgres) write(ctx context.Context, conn *pgxpool.Conn, done plan) error {
	ctx = context.WithoutCancel(ctx)
	if len(done.applied) == 0 {
		return p.commits.Send(ctx, conn.Conn(), transactionTimeout, func(q *walletdb.Queries) error {
			if err := q.Confirm(ctx); err != nil {
				return fmt.Errorf("confirm: %w", err)
			}
			return commit(ctx, q)
		}, conn.Release)
	}
	var advanced int64
	err := p.commits.Send(ctx, conn.Conn(), transactionTimeout, func(q *walletdb.Queries) (err error) {
		if err := q.InsertOutcomes(ctx, done.outcomes); err != nil {
			return fmt.Errorf("insert outcomes: %w", err)
		}
		if advanced, err = q.AdvanceWallets(ctx, done.advances); err != nil {
			return fmt.Errorf("advance wallets: %w", err)
		}
		failpoint.ReachIf(advanced > 0, "worker-after-updates") // the server has answered; COMMIT is on its way
		return commit(ctx, q)
	}, conn.Release)
	if err == nil && advanced != int64(len(done.advances.Ids)) {
		return fmt.Errorf("%w: %d of %d locked wallets advanced", errUnexpected, advanced, len(done.advances.Ids))
	}
	return err
}

func commit(ctx context.Context, q *walletdb.Queries) error {
	if err := q.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (p postgres) lastSequences(ctx context.Context, wallets []uuid.UUID) (map[uuid.UUID]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	rows, err := walletdb.New(p.pool).LastSequences(ctx, wallets)
	if err != nil {
		return nil, fmt.Errorf("read last sequences: %w", err)
	}
	last := make(map[uuid.UUID]int64, len(rows))
	for _, row := range rows {
		last[row.WalletID] = row.LastSeq
	}
	return last, nil
}
