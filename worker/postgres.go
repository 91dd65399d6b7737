package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
	topic   string  // of what it accepts
	events  *events // of what it applies; nil: there are none
}

// transaction locks the targets' wallets, reads in a later statement what they have not applied
// yet, and writes the outcomes and the wallets, in two pipelined round trips; three if operations refer to earlier ones.
// Duplicated, late and missing messages change nothing: applied_seq says what is next, and the operations say what it is.
// What follows in other wallets is accepted by the same commit: money that leaves one wallet is never nowhere.
//
// It ends only with the commit, an error or its own timeout, so that a partition which is taken
// away can let it finish. If the worker dies before COMMIT arrives, nothing has happened. While commits
// wait for a standby none begins.
func (p postgres) transaction(ctx context.Context, targets []target, messages []received) (plan, error) {
	var refused map[uuid.UUID]string
	for {
		next, err := p.attempt(ctx, targets, messages, refused)
		if !refusesFollowing(err) {
			return next, err
		}
		known := len(refused)
		refused, err = p.whyRefused(ctx, next.following, refused, err)
		if err != nil || len(refused) == known {
			return plan{}, err
		}
	}
}

// attempt is transaction, without the operations that were refused. Its plan is also that of a failure.
func (p postgres) attempt(ctx context.Context, targets []target, messages []received, refused map[uuid.UUID]string) (next plan, err error) {
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
	source := p.events.source()
	read, err := lockAndRead(ctx, conn.Conn(), targets, source != "")
	if err != nil {
		return plan{}, err
	}
	readAt := time.Now()
	failpoint.Reach("worker-after-lock")
	read.refused, read.source, read.traces = refused, source, traceparents(messages)
	next, err = newPlan(read)
	if err != nil {
		return plan{}, err
	}
	next.beganAt, next.readAt = beganAt, readAt
	next.full = next.full || len(read.pending) == maxOperations
	failpoint.ReachIf(next.leadsTo(receive), "worker-before-credit-commit")
	failpoint.ReachIf(next.leadsTo(giveBack), "worker-before-return-commit")
	if next.timesBack, err = p.write(ctx, conn, next); err != nil {
		return plan{following: next.following}, err
	}
	failpoint.ReachIf(next.leadsTo(receive), "worker-after-credit-commit")
	failpoint.ReachIf(next.leadsTo(giveBack), "worker-after-return-commit")
	failpoint.Reach("worker-after-commit")
	return next, nil
}

// lockAndRead takes a second round trip only if operations refer to others, or open holds.
func lockAndRead(ctx context.Context, conn *pgx.Conn, targets []target, withMetadata bool) (read reading, err error) {
	ids := walletIDs(targets)
	upTo := make([]int64, len(targets))
	for i, t := range targets {
		upTo[i] = t.upTo
	}
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if read.wallets, err = q.LockWallets(ctx, ids); err != nil {
			return fmt.Errorf("lock wallets: %w", err)
		}
		read.pending, err = q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: ids, UpTo: upTo, MaxRows: maxOperations, WithMetadata: withMetadata})
		if err != nil {
			return fmt.Errorf("read operations: %w", err)
		}
		if read.at, err = q.ReadClock(ctx); err != nil {
			return fmt.Errorf("read the clock: %w", err)
		}
		return nil
	})
	if err != nil {
		return reading{}, err
	}
	subjects, holding := wanted(read.pending)
	if len(subjects)+len(holding) == 0 {
		return read, nil
	}
	params := subjects.params()
	var found []walletdb.SubjectsRow
	var open []walletdb.CountOpenHoldsRow
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.PlanForSubjects(ctx); err != nil {
			return fmt.Errorf("plan for what operations refer to: %w", err)
		}
		if found, err = q.Subjects(ctx, params); err != nil {
			return fmt.Errorf("read what operations refer to: %w", err)
		}
		if err := q.PlanAsUsual(ctx); err != nil {
			return fmt.Errorf("plan as usual: %w", err)
		}
		if open, err = q.CountOpenHolds(ctx, walletdb.CountOpenHoldsParams{Ids: holding, MaxHolds: maxOpenHolds}); err != nil {
			return fmt.Errorf("count open holds: %w", err)
		}
		return nil
	})
	subjects.fill(found)
	read.subjects, read.openHolds = subjects, make(map[uuid.UUID]int, len(open))
	for _, row := range open {
		read.openHolds[row.ID] = int(row.Holds)
	}
	return read, err
}

// write waits for its COMMIT also when the worker has to end, which ends it after a while in any case. If
// another worker has applied everything, it confirms that: the cache and Kafka get it next. It returns in how many wallets
// times went back. A COMMIT that is left behind still reads the plan: it has its own.
func (p postgres) write(ctx context.Context, conn *pgxpool.Conn, done plan) (timesBack int64, err error) {
	ctx = context.WithoutCancel(ctx)
	if len(done.applied) == 0 {
		return 0, p.commits.Send(ctx, conn.Conn(), transactionTimeout, func(q *walletdb.Queries) error {
			if err := q.Confirm(ctx); err != nil {
				return fmt.Errorf("confirm: %w", err)
			}
			return commit(ctx, q)
		}, conn.Release)
	}
	var advanced, told, back int64
	wallets, accept := into(done.following), acceptance(p.topic, done.following)
	var events walletdb.InsertEventsParams
	if done.events != nil {
		events = walletdb.InsertEventsParams{
			Topic: p.events.topic, Keys: done.events.Keys, Headers: done.events.Headers,
			Payloads: done.events.Payloads, Starts: done.events.Starts, Lengths: done.events.Lengths,
		}
	}
	err = p.commits.Send(ctx, conn.Conn(), transactionTimeout, func(q *walletdb.Queries) (err error) {
		if err := q.InsertOutcomes(ctx, done.outcomes); err != nil {
			return fmt.Errorf("insert outcomes: %w", err)
		}
		if advanced, err = q.AdvanceWallets(ctx, done.advances); err != nil {
			return fmt.Errorf("advance wallets: %w", err)
		}
		if len(done.opened.Seqs) > 0 {
			if err := q.InsertOpenHolds(ctx, done.opened); err != nil {
				return fmt.Errorf("insert open holds: %w", err)
			}
		}
		if len(done.closed.Seqs) > 0 {
			if err := q.DeleteOpenHolds(ctx, done.closed); err != nil {
				return fmt.Errorf("delete open holds: %w", err)
			}
		}
		if len(events.Keys) > 0 {
			if told, err = q.InsertEvents(ctx, events); err != nil {
				return fmt.Errorf("insert events: %w", err)
			}
			failpoint.ReachIf(told > 0, "worker-after-events")
		}
		if len(wallets) > 0 {
			// The last locks: query LockFollowing says why there is no cycle.
			if _, err := q.LockFollowing(ctx, wallets); err != nil {
				return fmt.Errorf("lock sequences: %w", err)
			}
			if back, err = q.AcceptFollowing(ctx, accept); err != nil {
				return fmt.Errorf("accept what follows: %w", err)
			}
		}
		failpoint.ReachIf(advanced > 0, "worker-after-updates") // the server has answered; COMMIT is on its way
		return commit(ctx, q)
	}, conn.Release)
	if err != nil {
		return 0, err
	}
	if advanced != int64(len(done.advances.Ids)) {
		return 0, fmt.Errorf("%w: %d of %d locked wallets advanced", errUnexpected, advanced, len(done.advances.Ids))
	}
	return back, nil
}

// refusesFollowing reports whether Postgres may have refused what was to be accepted because it exists, or because
// its wallet does not.
func refusesFollowing(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == "23505" && refused.ConstraintName == "operations_id" ||
		refused.Code == "23502" && refused.TableName == "operations")
}

// whyRefused adds the operations that led to it to those refused: they cannot be applied, and their wallets
// have to wait. It returns cause, the error, if there is none.
func (p postgres) whyRefused(ctx context.Context, all []following, refused map[uuid.UUID]string, cause error) (map[uuid.UUID]string, error) {
	ids := make([]uuid.UUID, len(all))
	for i, f := range all {
		ids[i] = f.id
	}
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	exist, err := walletdb.New(p.pool).AcceptedBefore(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up what follows: %w", err)
	}
	sequences, err := p.lastSequences(ctx, into(all))
	if err != nil {
		return nil, err
	}
	why := maps.Clone(refused)
	if why == nil {
		why = map[uuid.UUID]string{}
	}
	for _, f := range all {
		if _, there := sequences[f.walletID]; !there {
			why[f.subjectID] = fmt.Sprintf("wallet %s, to which it leads, does not exist", f.walletID)
		}
		if slices.ContainsFunc(exist, func(row walletdb.AcceptedBeforeRow) bool { return row.ID == f.id }) {
			why[f.subjectID] = fmt.Sprintf("its %s %s exists already", f.kind, f.id)
		}
	}
	if len(why) == len(refused) {
		return nil, cause
	}
	return why, nil
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

// lockedWallets returns no wallet that does not exist: nobody has locked it.
func (p postgres) lockedWallets(ctx context.Context, wallets []uuid.UUID) (locked []uuid.UUID, err error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	free, err := freeWallets(ctx, conn.Conn(), wallets)
	if err != nil {
		return nil, err
	}
	exist, err := walletdb.New(conn).WalletVersions(ctx, wallets)
	if err != nil {
		return nil, fmt.Errorf("look up wallets: %w", err)
	}
	for _, w := range exist {
		if !slices.Contains(free, w.ID) {
			locked = append(locked, w.ID)
		}
	}
	return locked, nil
}

// freeWallets returns those of the wallets that nobody has locked, and leaves them so.
func freeWallets(ctx context.Context, conn *pgx.Conn, wallets []uuid.UUID) (free []uuid.UUID, err error) {
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) (err error) {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if free, err = q.LockFreeWallets(ctx, wallets); err != nil {
			return fmt.Errorf("look for wallets that nobody has locked: %w", err)
		}
		return q.Rollback(ctx)
	})
	return free, err
}
