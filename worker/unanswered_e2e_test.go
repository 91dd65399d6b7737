//go:build e2e

package main

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// A COMMIT whose answer comes after the worker has left it behind is whole: what the worker does next is not mixed in.
func TestATransactionThatIsLeftBehindIsWhole(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	s.accept(wallet, 5)
	proxy := testkit.NewProxy(t, s.As(testdb.Worker))
	var hold atomic.Bool
	proxy.Meet = func(p testkit.Packet) bool {
		if p.ToServer && bytes.Contains(p.Bytes, []byte("INSERT INTO outcomes")) && hold.CompareAndSwap(true, false) {
			proxy.Hold()
		}
		return true
	}
	proxy.Open(t)
	l := s.ledgerAt(proxy.URL)
	hold.Store(true)
	if _, err := l.transaction(t.Context(), []target{{walletID: wallet, upTo: 5}}, nil); !errors.Is(err, db.ErrUnanswered) {
		t.Fatalf("%v, want %v", err, db.ErrUnanswered)
	}
	proxy.Release()
	testkit.Until(t, "what was left behind has ended", func() error {
		return testkit.Unless(l.commits.Abandoned() == 0, "it has not")
	})
	if _, err := l.transaction(t.Context(), []target{{walletID: wallet, upTo: 5}}, nil); err != nil {
		t.Fatal(err)
	}
	s.audit()
}
