package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// newLoneSystem runs services on servers of the test's own, which it may treat as it likes.
func newLoneSystem(t *testing.T, c config) *system {
	t.Helper()
	own, err := temporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.close)
	p := &parts{kafka: "kfake"}
	if err := p.start(t.Context(), own, io.Discard, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	s := newSystemOn(t, p, nil)
	if err := s.stack.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.startServices(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.connect()
	return s
}

// waitForStandbys makes commits wait for the standbys that a setting names; none: no longer.
func (s *system) waitForStandbys(names string) {
	s.t.Helper()
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
		if _, err := s.conn.Exec(s.t.Context(), statement); err != nil {
			s.t.Fatal(err)
		}
	}
	s.until("the setting is in force", 5*time.Second, func() bool {
		var now string
		return s.conn.QueryRow(s.t.Context(), "SHOW synchronous_standby_names").Scan(&now) == nil && now == names
	})
}

// ask sends a request with an idempotency key, as one client that waits for long.
func (s *system) ask(path, key, body string) (status int, text string) {
	c := client{addr: strings.TrimPrefix(s.apiURLs[0], "http://"), apiKey: s.apiKey, timeout: 20 * time.Second}
	defer c.close()
	r, err := c.do(http.MethodPost, path, key, []byte(body))
	if err != nil {
		return 0, err.Error()
	}
	return r.status, string(r.body)
}

// waitingCommits counts the backends that wait for a standby.
func (s *system) waitingCommits() (waiting int) {
	s.t.Helper()
	if err := s.conn.QueryRow(s.t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&waiting); err != nil {
		s.t.Fatal(err)
	}
	return waiting
}

// TestNothingIsAcknowledgedWithoutItsStandby asks for everything that can be acknowledged, each twice
// with the same key, while the only standby is away.
func TestNothingIsAcknowledgedWithoutItsStandby(t *testing.T) {
	s := newLoneSystem(t, config{apis: 1, relays: 1, workers: 1})
	wallets := s.openWallets(3)
	before := s.deposit(s.apiURLs[0], wallets[2])
	s.until("it is applied", 10*time.Second, func() bool { return s.outcomes() == 1 })
	s.waitForStandbys("away")

	requests := map[string]struct{ path, body string }{
		"single":   {"/api/v1/wallet", fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":5}`, wallets[0])},
		"batch":    {"/api/v1/wallet/batch", fmt.Sprintf(`{"operations":[{"walletId":"%s","operationType":"DEPOSIT","amount":5},{"walletId":"%[1]s","operationType":"DEPOSIT","amount":6}]}`, wallets[1])},
		"creation": {"/api/v1/wallets", `{"reference":"mine"}`},
	}
	type answer struct {
		kind, text string
		status     int
		took       time.Duration
	}
	answers := make(chan answer)
	for kind, request := range requests {
		go func() {
			for range 2 {
				began := time.Now()
				status, text := s.ask(request.path, "key-"+kind, request.body)
				answers <- answer{kind, text, status, time.Since(began)}
			}
		}()
	}
	for range 2 * len(requests) {
		a := <-answers
		t.Logf("%s: %d after %.1f s: %s", a.kind, a.status, a.took.Seconds(), a.text)
		if acknowledges(a.status, a.text) {
			t.Errorf("%s was acknowledged by %d, and is on one disk only: %s", a.kind, a.status, a.text)
		}
	}
	t.Logf("%d commits wait", s.waitingCommits())
	var stored int
	if err := s.conn.QueryRow(t.Context(), "SELECT count(*) FROM operations WHERE id <> $1", before.id).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored > 0 {
		t.Errorf("%d operations are visible that no standby has", stored)
	}

	s.waitForStandbys("")
	for kind, request := range requests {
		s.until(kind+" is acknowledged", 15*time.Second, func() bool {
			return acknowledges(s.ask(request.path, "key-"+kind, request.body))
		})
	}
	s.until("everything is applied", 15*time.Second, func() bool { return s.outcomes() == 4 })
	var sum int64
	if err := s.conn.QueryRow(t.Context(), "SELECT sum(balance) FROM wallets WHERE id = ANY ($1)", wallets[:2]).Scan(&sum); err != nil {
		t.Fatal(err)
	}
	if sum != 16 {
		t.Errorf("the balances are %d, want 16: each operation once", sum)
	}
}

// acknowledges reports whether an answer says that something is accepted or exists.
func acknowledges(status int, text string) bool {
	var batch struct {
		Items []struct {
			OperationID uuid.UUID
			Code        string
		}
	}
	if status == http.StatusOK && json.Unmarshal([]byte(text), &batch) == nil && batch.Items != nil {
		for _, item := range batch.Items {
			if item.Code == "" {
				return true
			}
		}
		return false
	}
	return status >= 200 && status < 300
}

var _ = pgx.ErrNoRows
var _ = context.Background
