package main

import (
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

// Money that waits for a wallet which is halted is in no wallet: its age is known, and that it has arrived.
func TestMoneyThatDoesNotArriveIsSeen(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.ledger()
	a, b := s.funded(l, 100), s.wallet()
	s.accept(b, 1)
	sent := s.ask(operation{WalletID: a, Type: transfer, Amount: 30, CounterpartID: &b})
	s.settle(l, a)
	s.exec("CREATE TABLE lost AS SELECT * FROM operations WHERE wallet_id = $1::uuid AND seq = 1", b)
	s.exec("DELETE FROM operations WHERE wallet_id = $1 AND seq = 1", b)
	s.exec("UPDATE operations SET created_at = now() - interval '2 minutes' WHERE id = $1", event.ReceiveID(sent.ID))
	s.grow("2 minutes")

	sweeper, q := s.sweeper(time.Minute)
	told := -1.0
	sweeper.transit = newTransit(func(seconds float64) { told = seconds })
	look := func() float64 {
		t.Helper()
		sweeper.transit.lookAt = time.Time{}
		if err := sweeper.transit.look(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		return told
	}
	if look(); told != -1 {
		t.Errorf("before any sweep: %v s", told)
	}
	sweeper.untilComplete(s, q)
	if _, err := sweeper.sweepOutbox(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if look(); told < 120 || told > 180 {
			t.Errorf("the money has waited for %v s, want 2 minutes", told)
		}
	}
	s.exec("INSERT INTO operations SELECT * FROM lost")
	s.settle(l, b)
	if look(); told != 0 || len(sweeper.transit.late) > 0 {
		t.Errorf("it has arrived, and waits for %v s in %v", told, sweeper.transit.late)
	}

	// A wallet that is behind, but that nothing is on its way to.
	s.accept(b, 1)
	sweeper.transit.found([]target{{walletID: b, upTo: 3}})
	if look(); told != 0 || len(sweeper.transit.late) != 1 {
		t.Errorf("%v s in %v", told, sweeper.transit.late)
	}
	if sweeper.transit.forget(); told != 0 || len(sweeper.transit.late) > 0 {
		t.Errorf("forgotten, and yet %v", sweeper.transit.late)
	}
}
