package main

import (
	"context"
	"testing"
	"time"
)

// windowOnly is an outbox of which only one window is read.
type windowOnly struct {
	outbox
	found
}

func (w windowOnly) window(context.Context, string, limits) (found, error) { return w.found, nil }

func TestTheRelayOfTheEventsIsWoken(t *testing.T) {
	t.Parallel()
	operations, _ := lanes("wallet-relay", "t")
	for name, test := range map[string]struct {
		found
		wakes bool
	}{
		"by rows of another lane": {found{cur: "7:7:", foreign: true}, true},
		"not by nothing":          {found{}, false},
		"not by operations":       {found{cur: "7:7:", rows: []row{{ID: 1}}}, false},
	} {
		now := time.Now()
		l := newLookout()
		if l.sees(now) {
			t.Errorf("%s: it sees before the first look", name)
		}
		s := session{relay: &relay{lane: operations, lookout: l, now: func() time.Time { return now }}, outbox: windowOnly{found: test.found}}
		if _, err := s.read(t.Context()); err != nil {
			t.Fatal(err)
		}
		patience := time.Millisecond
		if test.wakes {
			patience = 10 * time.Second
		}
		if l.wait(t.Context(), patience) != test.wakes || l.wait(t.Context(), time.Millisecond) {
			t.Errorf("%s: woken is not %v, once", name, test.wakes)
		}
		if !l.sees(now.Add(2*idlePoll-1)) || l.sees(now.Add(2*idlePoll)) {
			t.Errorf("%s: a look does not count for %v", name, 2*idlePoll)
		}
	}
}
