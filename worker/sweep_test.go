package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func (s *store) sweeper(distance time.Duration) (*sweeper, *walletdb.Queries) {
	s.Helper()
	l := s.ledger(patient...)
	return &sweeper{
		database: l.pool.Config().ConnConfig, topic: s.topic, distance: distance, health: testHealth(), transit: newTransit(func(float64) {}), log: discard,
		applier: &applier{ledger: l, halted: newHalted(discard), committed: func(context.Context, plan, []received) {}},
	}, walletdb.New(l.pool)
}

// untilComplete lets the horizon reach the last row. Transactions of other tests hold it up too.
func (s *sweeper) untilComplete(on *store, q *walletdb.Queries) {
	on.Helper()
	var last int64
	on.scan(&last, "SELECT coalesce(max(id), 0) FROM outbox")
	testkit.Until(on, "the outbox is complete", func() error {
		err := s.moveHorizon(on.Context(), q)
		return errors.Join(err, testkit.Unless(s.complete >= last, "it is up to %d only, not %d", s.complete, last))
	})
}

// grow lets every outbox row become older.
func (s *store) grow(age string) {
	s.exec("UPDATE outbox SET created_at = created_at - $1::interval", age)
}

func TestTheSweepFollowsTheOutboxAtADistance(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	poisoned, wallet := s.wallet(), s.wallet()
	s.exec("INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ($1, 1, 'PROCESSED', 1)", poisoned)
	s.accept(poisoned, 1)
	s.accept(wallet, repeat(1, sweepPage)...)
	s.exec("INSERT INTO outbox (topic, key, payload) VALUES ('another', $1, 'x'), ($2, $1, 'no operation')", wallet, s.topic)
	s.accept(wallet, 1)
	sweeper, q := s.sweeper(time.Minute)
	sweep := func() (more bool) {
		t.Helper()
		sweeper.untilComplete(s, q)
		more, err := sweeper.sweepOutbox(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return more
	}
	if sweep() {
		t.Error("more is to be done although all is young")
	}
	s.wantBalance(wallet, 0, 0)

	s.grow("2 minutes")
	s.accept(wallet, 1)
	if !sweep() {
		t.Error("a full page and no more to be done")
	}
	s.wantBalance(wallet, sweepPage-1, sweepPage-1)
	if sweep() {
		t.Error("more is to be done although the rest is young")
	}
	s.wantBalance(wallet, sweepPage+1, sweepPage+1)
	s.wantBalance(poisoned, 0, 0)
	events := s.wantEvents(false)
	if first, last := events[0], events[len(events)-1]; first.FromSequence != 1 || last.Version != sweepPage+1 {
		t.Errorf("events tell of sequences %d to %d", first.FromSequence, last.Version)
	}
}

// Rows from before the step are ahead of the clock, and those behind them wait for nothing but their own age.
func TestTheSweepDoesNotWaitForAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	before, after, young := s.wallet(), s.wallet(), s.wallet()
	s.accept(before, 1)
	s.grow("-1 hour")
	s.accept(after, 1)
	s.exec("UPDATE outbox SET created_at = now() - interval '2 minutes' WHERE key = $1", after.String())
	s.accept(young, 1)
	sweeper, q := s.sweeper(time.Minute)
	sweeper.untilComplete(s, q)
	if _, err := sweeper.sweepOutbox(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	s.wantBalance(before, 1, 1)
	s.wantBalance(after, 1, 1)
	s.wantBalance(young, 0, 0)
}

// A commit that waits for a standby keeps ids to itself, for however long. Later rows grow old meanwhile.
func TestTheSweepDoesNotPassATransactionThatIsOpen(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	late := s.wallet()
	waiting := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
	waiting.exec("BEGIN")
	waiting.exec("SELECT pg_current_xact_id(), nextval(pg_get_serial_sequence('outbox', 'id'))")
	s.accept(late, 1)
	s.grow("2 minutes")
	sweeper, q := s.sweeper(time.Minute)
	for range 5 {
		if _, err := sweeper.sweepOutbox(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	s.wantBalance(late, 0, 0)
	waiting.exec("COMMIT")
	sweeper.untilComplete(s, q)
	if _, err := sweeper.sweepOutbox(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	s.wantBalance(late, 1, 1)
}

func TestASweeperBeginsInTheRecentPast(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	sweeper, q := s.sweeper(time.Minute)
	start := func() int64 {
		t.Helper()
		if err := sweeper.findStart(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		return sweeper.outboxID
	}
	if got := start(); got > 0 {
		t.Errorf("an empty outbox begins after %d", got)
	}
	s.accept(wallet, repeat(1, 100)...)
	s.grow("21 minutes")
	s.exec("DELETE FROM outbox WHERE id < 10 OR id = 100")
	if got := start(); got < 98 || got > 100 {
		t.Errorf("an outbox with nothing recent begins after %d, want about its end", got)
	}
	s.accept(wallet, repeat(1, 100)...)
	s.exec("DELETE FROM outbox WHERE id IN (101, 102)")
	if got := start(); got < 99 || got > 102 {
		t.Errorf("begins after %d, want just before the first recent row, 103", got)
	}
}

// A transaction that stays open keeps the remains of every row that is deleted meanwhile.
func TestASweeperThatBeginsReadsNoRemainsOfDeletedRows(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.exec("INSERT INTO outbox (topic, key, payload) SELECT $1, '', '' FROM generate_series(1, 100000)", s.topic)
	long := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
	long.exec("BEGIN ISOLATION LEVEL REPEATABLE READ")
	long.exec("SELECT FROM outbox LIMIT 1")
	s.grow("1 day")
	s.exec("DELETE FROM outbox WHERE id < 99900")
	s.exec("INSERT INTO outbox (topic, key, payload) SELECT $1, '', '' FROM generate_series(1, 1000)", s.topic)
	sweeper, _ := s.sweeper(time.Minute)
	buffers := func() (read int) {
		s.exec("SELECT pg_stat_force_next_flush()")
		s.scan(&read, "SELECT sum(hits + reads) FROM pg_stat_get_backend_io(pg_backend_pid()) WHERE object = 'relation'")
		return read
	}
	before := buffers()
	if err := sweeper.findStart(t.Context(), walletdb.New(s.conn)); err != nil {
		t.Fatal(err)
	}
	if read := buffers() - before; read > 1000 {
		t.Errorf("reads %d buffers", read)
	}
	if sweeper.outboxID != 100000 {
		t.Errorf("begins after %d, want 100000, the last old row", sweeper.outboxID)
	}
}

// failsAfter is a connection that is lost after some queries for a row.
type failsAfter struct {
	walletdb.DBTX
	left int
}

func (f *failsAfter) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if f.left--; f.left < 0 {
		return testkit.Row{Err: errors.New("connection lost")}
	}
	return f.DBTX.QueryRow(ctx, sql, args...)
}

func TestASearchForTheStartThatFailsIsDoneAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.accept(s.wallet(), repeat(1, 100)...)
	for queries := range 5 {
		sweeper, _ := s.sweeper(time.Minute)
		if err := sweeper.findStart(t.Context(), walletdb.New(&failsAfter{s.conn, queries})); err == nil || sweeper.outboxID != 0 {
			t.Errorf("lost after %d queries: %v, begins after %d", queries, err, sweeper.outboxID)
		}
	}
}

// Not even the outbox knows of these operations any more.
func TestTheWalkFindsWhatWasBehindInThePassBefore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	sweeper, q := s.sweeper(0)
	var wallets []uuid.UUID
	for range 3 {
		wallets = append(wallets, s.wallet())
		s.accept(wallets[len(wallets)-1], 1)
	}
	s.exec("INSERT INTO wallets (id, currency) SELECT gen_random_uuid(), 'EUR' FROM generate_series(1, $1)", sweepPage)
	s.exec("INSERT INTO wallet_sequences (wallet_id) SELECT id FROM wallets ON CONFLICT DO NOTHING")
	s.exec("TRUNCATE outbox")
	pass := func() {
		t.Helper()
		for more := true; more; more = sweeper.scanned != uuid.Nil {
			sweeper.scanAfter = time.Time{}
			if err := sweeper.sweepWallets(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
	}
	pass()
	for _, wallet := range wallets {
		s.wantBalance(wallet, 0, 0)
	}
	s.accept(wallets[0], 1)
	pass()
	for _, wallet := range wallets {
		s.wantBalance(wallet, 1, 1)
	}
	pass()
	s.wantBalance(wallets[0], 2, 2)
	s.audit()
}

// On a slow disk the full scan must leave the disk to others.
func TestTheWalkRestsLongerThanItReads(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	sweeper, q := s.sweeper(0)
	s.wallet()
	locker := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
	locker.exec("BEGIN")
	locker.exec("LOCK wallets")
	began, page := time.Now(), make(chan error)
	go func() { page <- sweeper.sweepWallets(context.Background(), q) }()
	s.waitForLocks(1)
	waited := time.Since(began)
	locker.exec("COMMIT")
	if err := <-page; err != nil {
		t.Fatal(err)
	}
	if rest := time.Since(began); sweeper.scanAfter.Sub(began) < sweepRest*waited/2 {
		t.Errorf("after a page of %v the scan rests until %v", rest, sweeper.scanAfter.Sub(began))
	}
	sweeper.scanAfter = time.Now().Add(time.Hour) // how long it is has been looked at, and commits may take longer
	accepted := s.wallet()
	s.accept(accepted, 1)
	for range 3 {
		if err := sweeper.sweepWallets(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if len(sweeper.behind) > 0 {
		t.Error("the scan goes on before it has rested")
	}
}

func TestOneWorkerSweepsAtATime(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	begin := func() (held *testkit.Log, stop func()) {
		sweeper, _ := s.sweeper(time.Minute)
		held = testkit.NewLog(t, "a sweeper")
		sweeper.log = testLog(held)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			sweeper.run(ctx) // tries again, for a lock ends a moment after its connection
		}()
		return held, func() {
			cancel()
			<-ended
		}
	}
	first, stopFirst := begin()
	testkit.Until(t, "the first sweeps", first.Has("sweeping"))
	second, _ := s.sweeper(time.Minute)
	if err := second.lead(t.Context()); err != nil {
		t.Errorf("the second does not simply give up: %v", err)
	}
	stopFirst()
	third, stopThird := begin()
	testkit.Until(t, "the third sweeps", third.Has("sweeping"))
	stopThird()
}
