package main

import (
	"context"
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

	// transactionTimeout is longer than the server's own limits, for a server that is silent.
	transactionTimeout = 15 * time.Second
)

// postgres is the ledger.
type postgres struct {
	pool *pgxpool.Pool
}

// transaction locks the targets' wallets, reads in a later statement what they have not applied
// yet, and writes the outcomes and the wallets, in two round trips. Duplicated, late and missing
// messages change nothing: applied_seq says what is next, and the operations say what it is.
//
// It ends only with the commit, an error or its own timeout, so that a partition which is taken
// away can let it finish. If the worker dies before COMMIT arrives, nothing has happened.
func (p postgres) transaction(ctx context.Context, targets []target) (plan, error) {
	beganAt := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return plan{}, fmt.Errorf("connect: %w", err)
	}
	defer conn.Release() // closes a connection whose transaction is still open

	failpoint.Reach("worker-before-transaction")
	wallets, pending, err := lockAndRead(ctx, conn.Conn(), targets)
	if err != nil {
		return plan{}, err
	}
	readAt := time.Now()
	failpoint.Reach("worker-after-lock")
	next, err := newPlan(wallets, pending)
	if err != nil {
		return plan{}, err
	}
	next.beganAt, next.readAt = beganAt, readAt
	next.full = len(pending) == maxOperations
	if err := write(ctx, conn.Conn(), next); err != nil {
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
	err = db.Trip(ctx, conn, func(q *walletdb.Queries) error {
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

func write(ctx context.Context, conn *pgx.Conn, p plan) error {
	var advanced int64
	err := db.Trip(ctx, conn, func(q *walletdb.Queries) (err error) {
		if len(p.applied) > 0 {
			if err := q.InsertOutcomes(ctx, p.outcomes); err != nil {
				return fmt.Errorf("insert outcomes: %w", err)
			}
			if advanced, err = q.AdvanceWallets(ctx, p.advances); err != nil {
				return fmt.Errorf("advance wallets: %w", err)
			}
			if advanced > 0 { // the server has answered; COMMIT is on its way
				failpoint.Reach("worker-after-updates")
			}
		}
		if err := q.Commit(ctx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		return nil
	})
	if err == nil && advanced != int64(len(p.advances.Ids)) {
		return fmt.Errorf("%w: %d of %d locked wallets advanced", errUnexpected, advanced, len(p.advances.Ids))
	}
	return err
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
