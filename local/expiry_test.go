//go:build e2e

package main

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// Holds end within two seconds of their time, or of the first moment after it at which something can end them; and a
// CAPTURE that comes after their time fails, whether or not they have been ended by then. -wait says for how long
// there is no worker, or no Kafka.
func TestHoldsExpireAtTheFirstMomentAtWhichTheyCan(t *testing.T) {
	away := max(5*time.Second, *stacktest.WaitTime)
	s, own := newOwnSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	worker := s.Process("worker")
	kafka := serverOf(own, "kafka")
	start := func() {
		if err := worker.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name       string
		begin, end func()
		workers    bool // meanwhile
	}{
		{"while nobody touches the wallet", func() {}, func() {}, true},
		{"while there is no worker", worker.Stop, start, false},
		{"while there is no Kafka", kafka.Stop, func() {
			if err := kafka.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		c := moneyClient{t, s}.scene("ACTIVE")
		until := time.Now().Add(5 * time.Second).UTC() // the hold is accepted before that even if the machine stalls
		c.must("short", "POST", "/holds", `{"amount":5,"expiresAt":"`+until.Format("2006-01-02T15:04:05.000000Z")+`"}`)
		stall := testdb.WatchStalls(t, s.Backing.DatabaseURL)
		test.begin()
		time.Sleep(time.Until(until))
		late := c.c.ask("respond-async", "POST", "/"+c.wallet+"/holds/"+c.ids["short"]+"/capture", `{"amount":1}`)
		time.Sleep(time.Until(until.Add(away)))
		could := until
		if !test.workers {
			could = time.Now()
		}
		test.end()
		var at time.Time
		expire := event.ExpireID(uuid.MustParse(c.ids["short"]))
		s.Until("the hold has expired", time.Minute, func() bool {
			return s.Conn.QueryRow(t.Context(), "SELECT applied_at FROM operation_states WHERE id = $1 AND status = 'PROCESSED'", expire).Scan(&at) == nil
		})
		took := at.Sub(could)
		t.Logf("%s for %.0f s: the hold has expired %.1f s after it could", test.name, away.Seconds(), took.Seconds())
		if took > 4*time.Second+stall().Longest || at.Before(until) {
			t.Errorf("%s: the hold has expired %v after it could", test.name, took)
		}
		s.Until("the late capture has failed", time.Minute, func() bool {
			return outcome(c.c.do("GET", fmt.Sprintf("/%s/operations/%s", c.wallet, late["operationId"]), "")) == "HOLD_EXPIRED"
		})
	}
	if _, err := check.AwaitIdle(t.Context(), s.Conn, 30*time.Second); err != nil {
		t.Error(err)
	}
	if err := s.Verify(t.Context(), io.Discard); err != nil {
		t.Error(err)
	}
}
