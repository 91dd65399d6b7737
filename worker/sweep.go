package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	sweepInterval = 250 * time.Millisecond // between two pages of wallets
	sweepPage     = 1_000                  // outbox rows, or wallets
	sweepIdle     = 30 * time.Second       // then Postgres ends the session of a sweeper that has stopped, and another worker sweeps

	// sweepLookBack is how far back in the outbox a new sweeper begins, in times of its distance.
	sweepLookBack = 20
	// sweepMemory bounds the wallets that one pass remembers for the next.
	sweepMemory = 100_000
	// sweepRest is how long the full scan of the wallets rests after a page, in times of what the page
	// took. Of millions of wallets most are on no page that Postgres has in memory.
	sweepRest = 19
)

// sweeper is the reconciliation of wallets with operations: it applies what Kafka did not bring, whatever
// the reason. One worker at a time sweeps, in two ways: it follows the outbox at a distance, which finds
// every message that was lost as soon as it is old, however many wallets there are; and it scans all
// wallets, again and again, which finds everything else.
type sweeper struct {
	database *pgx.ConnConfig
	applier  *applier
	topic    string
	distance time.Duration // age from which an operation should have been applied
	health   *service.Health
	transit  *transit
	tracer   *tracer
	log      *slog.Logger

	outboxID int64                     // the rows up to it are done
	complete int64                     // up to it every row is visible: no transaction that may have taken a lower id still runs
	next     walletdb.OutboxHorizonRow // what complete will be, once nothing before next.NextXID runs

	scanned   uuid.UUID           // the wallets up to it are done in this pass of the full scan
	scanBegan time.Time           // when this pass began
	scanAfter time.Time           // when its next page may be read
	before    map[uuid.UUID]int64 // what the wallets that were behind in the last pass had accepted
	behind    map[uuid.UUID]int64 // the same of this pass
}

// run sweeps until ctx ends, while no other worker does.
func (s *sweeper) run(ctx context.Context) {
	for ; ctx.Err() == nil; service.Sleep(ctx, time.Second) {
		err := s.lead(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			s.works()
		case causeOf(err) == connection:
			s.health.Set(sweepAlone, err)
		default:
			s.health.Set(sweeping, err)
		}
	}
}

// lead sweeps as long as it can, on the connection that has the lock; without the lock, not at all.
func (s *sweeper) lead(ctx context.Context) error {
	conn, err := db.Connect(ctx, s.database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	q := walletdb.New(conn)
	if err := q.EndIdle(ctx, sweepIdle.Milliseconds()); err != nil {
		return err
	}
	held, err := db.HoldLock(ctx, conn, db.SweepLock, "") // for efficiency alone: two sweeps at once do no harm
	if err != nil || !held {
		return err
	}
	s.log.Info("sweeping")
	defer s.transit.forget()
	if s.outboxID == 0 {
		if err := s.findStart(ctx, q); err != nil {
			return fmt.Errorf("find start: %w", err)
		}
	}
	for ; ctx.Err() == nil; service.Sleep(ctx, sweepInterval) {
		for more := true; more; {
			if more, err = s.sweepOutbox(ctx, q); err != nil {
				return fmt.Errorf("sweep outbox: %w", err)
			}
		}
		if err := s.sweepWallets(ctx, q); err != nil {
			return fmt.Errorf("sweep wallets: %w", err)
		}
		if err := s.transit.look(ctx, q); err != nil {
			return fmt.Errorf("look for money in transit: %w", err)
		}
		s.works()
	}
	return nil
}

func (s *sweeper) works() {
	s.health.Set(sweepAlone, nil)
	s.health.Set(sweeping, nil)
}

// findStart searches the outbox for the first row that is not too old: in growing steps back from the
// last one, and then by binary search, as only id is indexed. It avoids the beginning of the table, where
// the dead tuples of deleted rows are: a query that reaches them reads them all.
func (s *sweeper) findStart(ctx context.Context, q *walletdb.Queries) error {
	last, err := q.LastOutboxID(ctx)
	if err != nil {
		return err
	}
	older := func(id int64) bool {
		older, queryErr := q.OutboxOlderThan(ctx, walletdb.OutboxOlderThanParams{ID: id, AgeMs: sweepLookBack * s.distance.Milliseconds()})
		if queryErr != nil {
			err = queryErr
		}
		return older
	}
	step := int64(1)
	for step < last && err == nil && !older(last-step) {
		step *= 2
	}
	from := max(last-step, 0)
	young := sort.Search(int(last-from), func(i int) bool { return err != nil || !older(from+int64(i)) })
	if err == nil { // or the next sweep would begin where this search was cut off
		s.outboxID = from + int64(young) - 1
	}
	return err
}

// moveHorizon finds out up to which id the outbox is complete. Ids are given before their transactions
// commit, and a commit that waits for a standby may take hours: its rows would be passed, and never seen.
func (s *sweeper) moveHorizon(ctx context.Context, q *walletdb.Queries) error {
	now, err := q.OutboxHorizon(ctx)
	if err != nil {
		return err
	}
	if now.OldestXID >= s.next.NextXID {
		s.complete, s.next = s.next.LastID, now
	}
	return nil
}

// sweepOutbox does a page of the rows that are old enough, and reports whether there are more.
func (s *sweeper) sweepOutbox(ctx context.Context, q *walletdb.Queries) (more bool, err error) {
	if err := s.moveHorizon(ctx, q); err != nil {
		return false, err
	}
	rows, err := q.OutboxAfter(ctx, walletdb.OutboxAfterParams{
		Topic: s.topic, After: s.outboxID, UpTo: s.complete, AgeMs: s.distance.Milliseconds(), MaxRows: sweepPage,
	})
	if err != nil {
		return false, err
	}
	upTo := map[uuid.UUID]int64{}
	var traced []received
	done := 0
	for done < len(rows) && rows[done].Old {
		if m, err := event.DecodeHint(rows[done].Payload); err == nil { // or it is of another topic
			upTo[m.WalletID] = max(upTo[m.WalletID], m.Sequence)
			if parent := s.tracer.rowParent(rows[done].Headers); parent != nil {
				traced = append(traced, received{Hint: m, parent: parent})
			}
		}
		done++
	}
	if done == 0 {
		return false, nil
	}
	ids, seqs := slices.Collect(maps.Keys(upTo)), make([]int64, len(upTo))
	for i, id := range ids {
		seqs[i] = upTo[id]
	}
	behind, err := q.WalletsBehind(ctx, walletdb.WalletsBehindParams{Ids: ids, Seqs: seqs})
	if err != nil {
		return false, err
	}
	targets := make([]target, len(behind))
	for i, id := range behind {
		targets[i] = target{walletID: id, upTo: upTo[id], accepted: true}
	}
	if err := s.apply(ctx, targets, traced); err != nil {
		return false, err
	}
	s.outboxID = rows[done-1].ID
	return done == sweepPage, nil
}

// sweepWallets does the next page of wallets. A wallet is behind if it has not applied what it had
// accepted in the pass before, which was a distance ago at least. The scan takes a twentieth of one
// connection's time at most, however slow the disk: it is the last resort, and may take hours.
func (s *sweeper) sweepWallets(ctx context.Context, q *walletdb.Queries) error {
	if time.Now().Before(s.scanAfter) {
		return nil
	}
	if s.scanned == uuid.Nil {
		if time.Since(s.scanBegan) < s.distance {
			return nil
		}
		s.scanBegan, s.before, s.behind = time.Now(), s.behind, map[uuid.UUID]int64{}
	}
	reading := time.Now()
	wallets, err := q.WalletsAfter(ctx, walletdb.WalletsAfterParams{After: s.scanned, MaxRows: sweepPage})
	if err != nil {
		return err
	}
	s.scanAfter = time.Now().Add(sweepRest * time.Since(reading))
	var targets []target
	for _, w := range wallets {
		if upTo := s.before[w.ID]; upTo > w.AppliedSeq {
			targets = append(targets, target{walletID: w.ID, upTo: upTo, accepted: true})
		}
		if w.LastSeq > w.AppliedSeq && len(s.behind) < sweepMemory {
			s.behind[w.ID] = w.LastSeq
		}
	}
	if err := s.apply(ctx, targets, nil); err != nil {
		return err
	}
	s.scanned = uuid.Nil
	if len(wallets) == sweepPage {
		s.scanned = wallets[sweepPage-1].ID
	}
	return nil
}

// apply skips the wallets that fail on their own; the next pass tries them again.
func (s *sweeper) apply(ctx context.Context, targets []target, traced []received) error {
	s.transit.found(targets)
	return s.applier.applyEach(ctx, targets, traced, func(t target, err error) {
		s.health.Set(sweeping, fmt.Errorf("wallet %s: %w", t.walletID, err))
	})
}
