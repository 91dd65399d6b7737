//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// waitForStandbys makes commits wait for the standbys that a setting names; none: no longer.
func (s *system) waitForStandbys(names string) {
	s.T.Helper()
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
		if _, err := s.Conn.Exec(s.T.Context(), statement); err != nil {
			s.T.Fatal(err)
		}
	}
	s.Until("the setting is in force", 5*time.Second, func() bool {
		var now string
		return s.Conn.QueryRow(s.T.Context(), "SHOW synchronous_standby_names").Scan(&now) == nil && now == names
	})
	if names != "" { // the checkpointer, which decides for all, may not have read it yet
		s.Until("commits wait", 20*time.Second, s.aCommitWaits)
	}
}

// aCommitWaits reports whether a commit waits for a standby. It goes on waiting.
func (s *system) aCommitWaits() bool {
	ctx, cancel := context.WithTimeout(s.T.Context(), 500*time.Millisecond)
	defer cancel()
	conn, err := pgx.Connect(s.T.Context(), s.Backing.DatabaseURL)
	if err != nil {
		s.T.Fatal(err)
	}
	defer conn.Close(s.T.Context())
	_, err = conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'a test', '')")
	return errors.Is(err, context.DeadlineExceeded) && s.waitingCommits() > 0
}

// ask sends a request with an idempotency key, as one client that waits for long.
func (s *system) ask(path, key, body string) (status int, text string) {
	c := load.Client{Addr: strings.TrimPrefix(s.APIURLs[0], "http://"), APIKey: s.APIKey, Timeout: 20 * time.Second}
	defer c.Close()
	r, err := c.Do(http.MethodPost, path, key, []byte(body))
	if err != nil {
		return 0, err.Error()
	}
	return r.Status, string(r.Body)
}

// waitingCommits counts the backends that wait for a standby.
func (s *system) waitingCommits() (waiting int) {
	s.T.Helper()
	if err := s.Conn.QueryRow(s.T.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&waiting); err != nil {
		s.T.Fatal(err)
	}
	return waiting
}

// TestNothingIsAcknowledgedWithoutItsStandby asks for everything that can be acknowledged, each twice
// with the same key, while the only standby is away, and once more after its wait was cancelled.
func TestNothingIsAcknowledgedWithoutItsStandby(t *testing.T) {
	s, _ := newOwnSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallets := s.OpenWallets(3)
	before := s.Deposit(s.APIURLs[0], wallets[2])
	s.Until("it is applied", time.Minute, func() bool { return s.Outcomes() == 1 })
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
	if err := s.Conn.QueryRow(t.Context(), "SELECT count(*) FROM operations WHERE id <> $1", before.ID).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored > 0 {
		t.Errorf("%d operations are visible that no standby has", stored)
	}

	// What somebody makes visible all the same is no more acknowledged.
	if err := stack.CancelWaits(t.Context(), s.Stack); err != nil {
		t.Fatal(err)
	}
	// The api refuses everything until it has noticed that its own commit waits no longer, and again once the next
	// one does: in between, it looks.
	var asking sync.WaitGroup
	for kind, request := range requests {
		asking.Go(func() {
			for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(20 * time.Millisecond) {
				if status, text := s.ask(request.path, "key-"+kind, request.body); acknowledges(status, text) {
					t.Errorf("%s was acknowledged by %d after the wait was cancelled: %s", kind, status, text)
					return
				}
			}
		})
	}
	asking.Wait()

	s.waitForStandbys("")
	for kind, request := range requests {
		s.Until(kind+" is acknowledged", time.Minute, func() bool {
			return acknowledges(s.ask(request.path, "key-"+kind, request.body))
		})
	}
	s.Until("everything is applied", time.Minute, func() bool { return s.Outcomes() == 4 })
	var sum int64
	if err := s.Conn.QueryRow(t.Context(), "SELECT sum(balance) FROM wallets WHERE id = ANY ($1)", wallets[:2]).Scan(&sum); err != nil {
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

// newReplicatedSystem has servers of its own, and synchronous standbys.
func newReplicatedSystem(t *testing.T, c stack.Config) *system {
	t.Helper()
	s, _ := newOwnSystemNotStarted(t, stack.Config{})
	s.Services = nil
	if err := s.StartStandbys(t.Context(), c.Standbys); err != nil {
		t.Fatal(err)
	}
	if err := s.StartServices(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.Connect()
	return s
}

// TestThePromotedStandbyHasAllThatWasAcknowledged kills the standby, lets clients try for longer than any
// time-out of the services, destroys the primary and promotes the standby.
func TestThePromotedStandbyHasAllThatWasAcknowledged(t *testing.T) {
	for _, c := range []struct {
		name  string
		away  time.Duration
		cut   func(ctx context.Context, s *stack.Stack) error // how waits for the standby end early
		reads bool                                            // count
	}{
		{"while nobody cuts the waits short", 17 * time.Second, nil, true},
		{"after an operator has cancelled the waits", 8 * time.Second, stack.CancelWaits, false},
		{"after an operator has terminated the backends that wait", 8 * time.Second, stack.TerminateWaits, false},
		{"after the primary has crashed and started again", 8 * time.Second, stack.CrashPrimary, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newReplicatedSystem(t, stack.Config{APIs: 2, Relays: 1, Workers: 1, Standbys: 1})
			e := load.SendEverything(t.Context(), s.APIURLs, s.APIKey, s.OpenWallets(20), 1000)
			s.UntilApplied(time.Minute)
			const quiet = 2 * time.Second
			time.Sleep(quiet)
			standby := s.PostgresServers()[1]
			// A standby that is only stopped would find in its socket what it has not read yet.
			if err := standby.Halt(); err != nil {
				t.Fatal(err)
			}
			before := e.Acknowledged()
			s.untilTold("synchronous_standby_names")
			for range 2 {
				time.Sleep(c.away / 2)
				s.noAdviceToCutWaits()
				if c.cut != nil {
					if err := c.cut(t.Context(), s.Stack); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%d operations were acknowledged before the standby was killed, %d more while it was", before, e.Acknowledged()-before)
			if err := s.PostgresServers()[0].Halt(); err != nil {
				t.Fatal(err)
			}
			if err := standby.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.FailOver(t.Context()); err != nil {
				t.Fatal(err)
			}
			promoted := time.Now()
			s.Connect()
			s.UntilApplied(40 * time.Second)
			t.Logf("applying again %s after the promotion", time.Since(promoted).Round(10*time.Millisecond))
			time.Sleep(quiet)
			history := e.Finish()
			lost, err := e.Lost(t.Context(), s.Conn, history, c.reads)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d operations and %d wallets were acknowledged, %d are lost", e.Acknowledged(), len(e.Created), len(lost))
			if len(lost) > 0 {
				t.Errorf("%d are lost, such as: %s", len(lost), lost[0])
			}
			s.KeepPromises(history)
		})
	}
}

// noAdviceToCutWaits asks the operator's command, which must not propose what the runbook forbids.
func (s *system) noAdviceToCutWaits() {
	s.T.Helper()
	var out bytes.Buffer
	if err := s.Ctl(s.T.Context(), &out, "status"); err == nil || !strings.Contains(out.String(), "commits wait for synchronous standbys") || strings.Contains(out.String(), "pg_terminate_backend") {
		s.T.Errorf("ctl status while commits wait for a standby: %v\n%s", err, &out)
	}
}

// untilTold waits until every service tells of something, and is ready all the same.
func (s *system) untilTold(what string) {
	s.T.Helper()
	for _, p := range s.Services {
		s.Until(p.Name+" tells "+what, time.Minute, func() bool {
			r, err := stack.AskReady(s.T.Context(), p)
			return err == nil && r.Ready && strings.Contains(strings.Join(r.Degraded, ""), what)
		})
	}
}
