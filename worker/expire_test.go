package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// expirer is one without Kafka.
func (s *store) expirer() *expirer {
	s.Helper()
	l := s.ledger()
	e := &expirer{
		database: l.pool.Config().ConnConfig, commits: db.NewCommits(l.pool.Config().ConnConfig, nil), topic: s.topic, health: testHealth(), metrics: newMetrics(),
		applier: &applier{ledger: l, halted: newHalted(discard), committed: func(context.Context, plan, []received) {}},
	}
	s.Cleanup(e.disconnect)
	return e
}

// holdFor holds a part of the balance until so much later.
func (s *store) holdFor(wallet uuid.UUID, amount int64, d time.Duration) operation {
	s.Helper()
	var until time.Time
	s.scan(&until, "SELECT clock_timestamp() + $1::bigint * interval '1 millisecond'", d.Milliseconds())
	return s.holdUntil(wallet, amount, until)
}

func (s *store) holdUntil(wallet uuid.UUID, amount int64, until time.Time) operation {
	s.Helper()
	return s.ask(operation{WalletID: wallet, Type: hold, Amount: amount, ExpiresAt: &until})
}

func (s *store) waitForTime(o operation) {
	s.Helper()
	testkit.Until(s, "the hold's time is over", func() error {
		var over bool
		s.scan(&over, "SELECT clock_timestamp() >= $1", o.ExpiresAt)
		return testkit.Unless(over, "it is not")
	})
}

func TestHoldsExpireWithinTwoSecondsWithoutKafka(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	e := s.expirer()
	wallet := s.funded(e.applier.ledger, 100)
	stall := testdb.WatchStalls(t, s.Database.URL)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.run(ctx) }()
	h := s.holdFor(wallet, 30, 4*time.Second)
	forEver := s.ask(operation{WalletID: wallet, Type: hold, Amount: 20})
	s.settle(e.applier.ledger, wallet)
	s.wantOpenHolds(wallet, h.ID, forEver.ID)
	s.waitForTime(h)
	testkit.Until(s, "the hold has expired", func() error {
		var n int
		s.scan(&n, "SELECT count(*) FROM operation_states WHERE id = $1 AND status = 'PROCESSED'", event.ExpireID(h.ID))
		return testkit.Unless(n == 1, "it has not")
	})
	var took float64
	s.scan(&took, "SELECT extract(epoch FROM applied_at - $1)::float8 FROM operation_states WHERE id = $2", h.ExpiresAt, event.ExpireID(h.ID))
	if took < 0 || took > 4+stall().Longest.Seconds() {
		t.Errorf("it has expired after %v s", took)
	}
	late := s.ask(naming(capture, h, 1))
	s.settle(e.applier.ledger, wallet)
	s.wantTold(late, "CAPTURE FAILED HOLD_EXPIRED 100 held 20 left 0")
	s.wantOpenHolds(wallet, forEver.ID)
	s.wantMessages()
	s.wantEvents(true)
	s.audit()
	stop()
	<-done
}

// An EXPIRE that a worker has accepted before it died is applied by the next one.
func TestHoldsExpireAfterTheWorkerWasDown(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	died, e := s.expirer(), s.expirer()
	wallet, captured := s.funded(e.applier.ledger, 100), s.funded(e.applier.ledger, 100)
	accepted, never := s.holdFor(wallet, 30, 0), s.holdFor(wallet, 20, 8*time.Second)
	earlier := never.ExpiresAt.Add(-time.Second)
	used, first := s.holdUntil(captured, 10, earlier), s.holdUntil(wallet, 5, earlier)
	s.ask(naming(capture, used, 0))
	_ = accepted // its time was over when it was accepted
	s.settle(e.applier.ledger, wallet)
	s.waitForTime(never)
	if err := died.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := died.expired(t.Context(), walletdb.ExpiredHoldsParams{MaxRows: expirePage})
	if err != nil || len(page) != 2 || page[0].HoldID != first.ID {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := died.accept(t.Context(), page[:1]); err != nil {
		t.Fatal(err)
	}
	if err := e.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantOpenHolds(wallet)
	s.settle(e.applier.ledger, captured)
	s.wantOpenHolds(captured)
	if err := e.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	var expires int
	if s.scan(&expires, "SELECT count(*) FROM operations WHERE type = 'EXPIRE'"); expires != 2 {
		t.Errorf("%d EXPIREs, want one for each of two holds", expires)
	}
	s.wantMessages()
	s.audit()
}

// The clock that said that a hold's time is over is set back before the EXPIRE is accepted.
func TestNoHoldExpiresBeforeItsTime(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	e := s.expirer()
	wallet := s.funded(e.applier.ledger, 100)
	h := s.holdFor(wallet, 30, 2*time.Second)
	s.settle(e.applier.ledger, wallet)
	if err := e.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.exec("UPDATE wallet_sequences SET last_at = $2 WHERE wallet_id = $1", wallet, h.ExpiresAt.Add(time.Hour))
	_, err := e.accept(t.Context(), []walletdb.ExpiredHoldsRow{{WalletID: wallet, Seq: h.Seq, HoldID: h.ID, ExpiresAt: h.ExpiresAt.Add(time.Hour)}})
	if err == nil || !strings.Contains(err.Error(), "clock was set back") {
		t.Errorf("%v, want that the clock was set back", err)
	}
	s.wantOpenHolds(wallet, h.ID)
	s.wantMessages()
	e.disconnect()
	s.waitForTime(h)
	if err := e.look(t.Context()); err != nil {
		t.Error(err)
	}
	s.wantOpenHolds(wallet)
	s.audit()
}

func TestTwoWorkersExpireAHoldOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	workers := []*expirer{s.expirer(), s.expirer(), s.expirer()}
	l := s.ledger()
	var wallets []uuid.UUID
	var last operation
	for range 30 {
		wallet := s.funded(l, 100)
		wallets = append(wallets, wallet)
		for range 3 {
			last = s.holdFor(wallet, 30, 2*time.Second)
		}
	}
	s.settle(l, wallets...)
	s.waitForTime(last)
	errs := make(chan error)
	for _, e := range workers {
		go func() { errs <- e.look(context.Background()) }()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	testkit.Until(s, "all holds have expired", func() error {
		var open int
		s.scan(&open, "SELECT count(*) FROM open_holds")
		if open == 0 {
			return nil
		}
		return testkit.Unless(false, "%d are open: %v", open, workers[0].look(context.Background()))
	})
	var expires int
	if s.scan(&expires, "SELECT count(*) FROM operations WHERE type = 'EXPIRE'"); expires != 90 {
		t.Errorf("%d EXPIREs, want one for each of 90 holds", expires)
	}
	s.wantMessages()
	s.audit()
}

// Somebody has locked one wallet's sequence and another wallet, a third wallet's EXPIRE cannot be applied, and that of a
// fourth has an id that exists elsewhere.
func TestAHoldThatCannotExpireStopsNoOther(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	e := s.expirer()
	locked, frozen, damaged, healthy := s.funded(e.applier.ledger, 100), s.funded(e.applier.ledger, 100), s.funded(e.applier.ledger, 100), s.funded(e.applier.ledger, 100)
	for _, wallet := range []uuid.UUID{locked, frozen, damaged, healthy} {
		s.holdFor(wallet, 30, 2*time.Second)
	}
	s.settle(e.applier.ledger, locked, frozen, damaged, healthy)
	s.accept(damaged, 1)
	s.exec("DELETE FROM operations WHERE wallet_id = $1 AND seq = 3", damaged)
	foreign := s.holdFor(s.funded(e.applier.ledger, 100), 30, 2*time.Second)
	s.settle(e.applier.ledger, foreign.WalletID)
	s.exec("INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES ($1, 99, $2, 'DEPOSIT', 1)", s.wallet(), event.ExpireID(foreign.ID))
	s.waitForTime(s.holdFor(healthy, 30, 2*time.Second))
	holder := s.Database.Conn(t)
	for _, sql := range []string{
		"BEGIN", "SELECT FROM wallet_sequences WHERE wallet_id = '" + locked.String() + "' FOR UPDATE", "SELECT FROM wallets WHERE id = '" + frozen.String() + "' FOR UPDATE",
	} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	stall, began := testdb.WatchStalls(t, s.Database.URL), time.Now()
	for range 2 {
		if err := e.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 5*time.Second+stall().Sum { // one lock is waited for, for 3 s
		t.Errorf("two looks took %v", took)
	}
	s.wantOpenHolds(healthy)
	var open int
	if s.scan(&open, "SELECT count(*) FROM open_holds"); open != 4 {
		t.Errorf("%d holds are open, want those of the locked wallets and of the damaged ones", open)
	}
	if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := e.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantOpenHolds(locked)
	s.wantOpenHolds(frozen)
}
