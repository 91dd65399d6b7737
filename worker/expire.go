package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	expireInterval = time.Second // between two looks
	expirePage     = maxFollowing

	// expireLockWait is how long an acceptance of EXPIREs waits for a wallet that somebody else accepts operations in,
	// before it goes on without that wallet.
	expireLockWait = 200 * time.Millisecond
	// expireTimeout bounds a round trip.
	expireTimeout = 5 * time.Second
)

// expirer ends open holds whose time is over: it accepts an EXPIRE for each, and applies it. Every worker has one,
// which uses a connection of its own, and neither Kafka nor the lock of the sweep, so that holds end within two
// seconds as long as one worker lives. Two at once do no harm: a hold has one EXPIRE, by its id, and who comes second
// finds it.
//
// If the worker dies before its COMMIT, nothing has happened; after it, another one finds the hold still open and
// its EXPIRE accepted, and applies that. Money does not rest on it: a CAPTURE that was accepted too late fails whether
// or not the hold has been ended.
type expirer struct {
	database *pgx.ConnConfig
	commits  *db.Commits
	applier  *applier
	topic    string
	health   *service.Health
	metrics  *metrics

	conn *pgx.Conn // nil: connect first
}

// run looks until ctx ends.
func (e *expirer) run(ctx context.Context) {
	defer e.disconnect()
	for ; ctx.Err() == nil; service.Sleep(ctx, expireInterval) {
		err := e.look(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			e.health.Set(expireAlone, nil)
			e.health.Set(expiring, nil)
		case causeOf(err) == connection:
			e.disconnect()
			e.health.Set(expireAlone, err)
		default:
			e.disconnect()
			e.health.Set(expiring, err)
		}
	}
}

// look ends all holds whose time is over, page by page. What cannot be ended now is passed, and found again by the
// next look.
func (e *expirer) look(ctx context.Context) error {
	if err := e.commits.Await(ctx); err != nil {
		return err
	}
	if err := e.connect(ctx); err != nil {
		return err
	}
	next := walletdb.ExpiredHoldsParams{MaxRows: expirePage}
	var failed error // of wallets that fail on their own
	for ctx.Err() == nil {
		expired, err := e.expired(ctx, next)
		if err != nil {
			return err
		}
		targets, err := e.accept(ctx, expired)
		if err != nil {
			return err
		}
		err = e.applier.applyEach(ctx, targets, nil, func(t target, err error) {
			failed = fmt.Errorf("wallet %s: %w", t.walletID, err)
		})
		if err != nil {
			return err
		}
		if len(expired) < expirePage {
			break
		}
		last := expired[len(expired)-1]
		next.AfterTime, next.AfterWallet, next.AfterSeq = last.ExpiresAt, last.WalletID, last.Seq
	}
	return failed
}

func (e *expirer) expired(ctx context.Context, next walletdb.ExpiredHoldsParams) ([]walletdb.ExpiredHoldsRow, error) {
	ctx, cancel := context.WithTimeout(ctx, expireTimeout)
	defer cancel()
	expired, err := walletdb.New(e.conn).ExpiredHolds(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("read expired holds: %w", err)
	}
	return expired, nil
}

// accept makes sure that holds, in the order of their times, have an EXPIRE, except in wallets whose sequences somebody
// else has locked, and returns up to where wallets have to be applied, except those that somebody else has locked. The
// locked rows say which EXPIREs exist: so none is accepted twice, and none that exists, also where it should not, aborts
// the others. If Postgres's clock was set back since the holds were found, none is accepted: no hold ends before its time.
func (e *expirer) accept(ctx context.Context, holds []walletdb.ExpiredHoldsRow) ([]target, error) {
	if len(holds) == 0 {
		return nil, nil
	}
	all := make([]following, len(holds))
	ids := make([]uuid.UUID, len(holds))
	for i, h := range holds {
		all[i] = following{walletID: h.WalletID, id: event.ExpireID(h.HoldID), kind: expire, subjectID: h.HoldID}
		ids[i] = all[i].id
	}
	last, exist, err := e.lock(ctx, into(all), ids, false)
	if lockTimedOut(err) {
		last, exist, err = e.lock(ctx, into(all), ids, true)
	}
	if err != nil {
		return nil, err
	}
	upTo := map[uuid.UUID]int64{}
	var missing []following
	for _, f := range all {
		seq, ours := last[f.walletID]
		switch row, there := exist[f.id]; {
		case there && row.WalletID != f.walletID:
			e.applier.halted.add([]damage{{walletID: f.walletID, what: fmt.Sprintf("the EXPIRE %s of its hold %s is in another wallet", f.id, f.subjectID)}})
		case there:
			upTo[f.walletID] = max(upTo[f.walletID], row.Seq)
		case ours:
			last[f.walletID] = seq + 1
			upTo[f.walletID] = seq + 1
			missing = append(missing, f)
		}
	}
	if len(missing) == 0 {
		err = walletdb.New(e.conn).Rollback(ctx)
	} else {
		err = e.write(ctx, missing, holds[len(holds)-1].ExpiresAt)
	}
	if err != nil {
		return nil, err
	}
	return e.free(ctx, upTo)
}

// free leaves out the wallets that somebody has locked, since the others would wait with them, and those that are halted.
func (e *expirer) free(ctx context.Context, upTo map[uuid.UUID]int64) (targets []target, err error) {
	ctx, cancel := context.WithTimeout(ctx, expireTimeout)
	defer cancel()
	wallets := slices.Collect(maps.Keys(upTo))
	free, err := freeWallets(ctx, e.conn, wallets)
	for _, id := range free {
		if !e.applier.halted.has(id) {
			targets = append(targets, target{walletID: id, upTo: upTo[id], accepted: true})
		}
	}
	return targets, err
}

// lock locks the wallets' sequences, which it returns, and looks up in a later statement which of the EXPIREs exist.
func (e *expirer) lock(ctx context.Context, wallets, ids []uuid.UUID, skipLocked bool) (last map[uuid.UUID]int64, exist map[uuid.UUID]walletdb.AcceptedBeforeRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, expireTimeout)
	defer cancel()
	last, exist = map[uuid.UUID]int64{}, map[uuid.UUID]walletdb.AcceptedBeforeRow{}
	err = db.Pipeline(ctx, e.conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		lock := q.LockFollowing
		if skipLocked {
			lock = q.LockFreeFollowing
		}
		locked, err := lock(ctx, wallets)
		for _, row := range locked {
			last[row.WalletID] = row.LastSeq
		}
		if err != nil {
			return fmt.Errorf("lock sequences: %w", err)
		}
		rows, err := q.AcceptedBefore(ctx, ids)
		for _, row := range rows {
			exist[row.ID] = row
		}
		if err != nil {
			return fmt.Errorf("look up EXPIREs: %w", err)
		}
		return nil
	})
	if err != nil {
		_ = walletdb.New(e.conn).Rollback(ctx) // or the next query fails, and ends the connection
	}
	return last, exist, err
}

func (e *expirer) write(ctx context.Context, missing []following, notBefore time.Time) error {
	params := acceptance(e.topic, missing)
	params.NotBefore = notBefore
	conn := e.conn
	var timesBack int64
	err := e.commits.Send(context.WithoutCancel(ctx), conn, transactionTimeout, func(q *walletdb.Queries) (err error) {
		timesBack, err = q.AcceptFollowing(ctx, params)
		if failed := new(pgconn.PgError); errors.As(err, &failed) && failed.ColumnName == "created_at" {
			err = fmt.Errorf("Postgres's clock was set back to before %s, when it had said that holds end: %w", notBefore.Format(time.RFC3339), err)
		}
		if err != nil {
			return fmt.Errorf("accept EXPIREs: %w", err)
		}
		return commit(ctx, q)
	}, func() { db.Disconnect(conn) })
	if errors.Is(err, db.ErrUnanswered) {
		e.conn = nil // it is not ours any more
	}
	if err != nil {
		return err
	}
	e.metrics.timesBack.Add(float64(timesBack))
	e.metrics.accepted.WithLabelValues(string(expire)).Add(float64(len(missing)))
	return nil
}

func (e *expirer) connect(ctx context.Context) (err error) {
	if e.conn != nil {
		return nil
	}
	config := e.database.Copy()
	config.RuntimeParams["lock_timeout"] = strconv.FormatInt(expireLockWait.Milliseconds(), 10)
	e.conn, err = db.Connect(ctx, config)
	return err
}

func (e *expirer) disconnect() {
	if e.conn != nil {
		db.Disconnect(e.conn)
		e.conn = nil
	}
}
