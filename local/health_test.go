//go:build e2e

package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// says reports whether each expectation, "reason …" or "degraded …", is in what r says,
// and that is all there is to its being ready or not.
func says(r stack.Readiness, expected []string) bool {
	ready := true
	for _, expectation := range expected {
		kind, text, _ := strings.Cut(expectation, " ")
		list := r.Degraded
		if kind == "reason" {
			list, ready = r.Reasons, false
		}
		if !slices.ContainsFunc(list, func(line string) bool { return strings.Contains(line, text) }) {
			return false
		}
	}
	return r.Ready == ready && (len(expected) > 0 || len(r.Reasons)+len(r.Degraded) == 0)
}

// Readiness falls where a process cannot do its work, and not where all replicas would fall for what
// they share; what is away is named either way. Liveness never falls.
func TestReadinessTellsEachServicesTroubleUnderEachFault(t *testing.T) {
	s, own := newOwnSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallet := s.OpenWallets(1)[0]
	part := func(name string) *proc.Process {
		return own.Processes[slices.IndexFunc(own.Processes, func(p *proc.Process) bool { return p.Name == name })]
	}
	take := func(name string) func() { return func() { part(name).Stop() } }
	give := func(name string) func() {
		return func() {
			if err := part(name).Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	restart := func() {
		for _, p := range s.Services {
			s.Kill(p, syscall.SIGKILL)
		}
	}
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	migrations, err := os.ReadDir(filepath.Join(root, "db/migrations"))
	if err != nil {
		t.Fatal(err)
	}
	newest := migrations[len(migrations)-1].Name()
	version, _, _ := strings.Cut(newest, "_")

	for _, fault := range []struct {
		name        string
		make, heal  func()
		api, relay  []string
		worker      []string
		connectAnew bool
	}{
		{name: "nothing", make: func() {}, heal: func() {}},
		{
			name: "redis is away",
			make: func() { take("redis")(); s.Balance(wallet) }, heal: give("redis"),
			api: []string{"degraded redis"}, worker: []string{"degraded redis: "},
		},
		{
			name: "kafka is away, and an operation waits to be published",
			make: func() { take("kafka")(); s.Deposit(s.APIURLs[0], wallet) }, heal: give("kafka"),
			relay: []string{"reason the position does not move", "degraded kafka"}, worker: []string{"degraded kafka: "},
		},
		{
			name: "postgres is away", make: take("postgres"), heal: give("postgres"), connectAnew: true,
			api: []string{"degraded postgres"}, relay: []string{"reason postgres is lost"}, worker: []string{"degraded postgres"},
		},
		{
			name: "postgres is away from the start", make: func() { take("postgres")(); restart() }, heal: give("postgres"), connectAnew: true,
			api: []string{"reason starting", "degraded postgres"}, relay: []string{"reason postgres is lost"},
			worker: []string{"reason starting", "degraded postgres"},
		},
		{
			name: "migrations are pending",
			make: func() { s.exec("DELETE FROM schema_migrations WHERE version = $1", version); restart() },
			heal: func() { s.exec("INSERT INTO schema_migrations VALUES ($1)", version) },
			api:  []string{"reason migrations are pending: " + newest}, relay: []string{"reason migrations are pending: " + newest},
			worker: []string{"reason migrations: pending: [" + newest},
		},
	} {
		say := func(when string, expected map[string][]string) {
			t.Helper()
			for _, name := range []string{"api", "relay", "worker"} {
				p := s.Process(name)
				var now stack.Readiness
				if !proc.Await(t.Context(), 40*time.Second, func() (holds bool) {
					var err error
					now, err = stack.AskReady(t.Context(), p)
					return err == nil && says(now, expected[name])
				}) {
					t.Errorf("%s: %s: %s says %+v, want %q", fault.name, when, name, now, expected[name])
				}
				if err := stack.Ping(t.Context(), p.AdminURL+"/livez"); err != nil {
					t.Errorf("%s: %s: %v", fault.name, when, err)
				}
			}
		}
		fault.make()
		say("while it lasts", map[string][]string{"api": fault.api, "relay": fault.relay, "worker": fault.worker})
		fault.heal()
		if fault.connectAnew {
			_ = s.Conn.Close(t.Context())
			s.Connect()
		}
		say("after it", nil)
	}
}

func TestReadinessFallsBeforeTheAPIStopsServing(t *testing.T) {
	s := sharedSystem(t)
	s.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1})
	api := s.Process("api")
	api.Env = append(api.Env, "DRAIN_DELAY=3s")
	s.Begin()
	wallet := s.OpenWallets(1)[0]
	told := time.Now()
	pid := api.CurrentPID()
	api.Signal(syscall.SIGTERM)
	s.Until("the api is not ready", 2*time.Second, func() bool {
		now, err := stack.AskReady(t.Context(), api)
		return err == nil && says(now, []string{"reason draining"})
	})
	accepted := 0
	for ; time.Since(told) < 2500*time.Millisecond; accepted++ { // each one on a connection of its own
		http.DefaultClient.CloseIdleConnections()
		if status, body := s.post("/api/v1/wallet", s.APIURLs[0], deposit(wallet)); status != http.StatusAccepted {
			t.Fatalf("while it drains: %d %s", status, body)
		}
	}
	if accepted < 3 {
		t.Errorf("only %d operations were tried", accepted)
	}
	s.Until("it ends", 10*time.Second, func() bool { return api.CurrentPID() != pid })
	if took := time.Since(told); took < 3*time.Second {
		t.Errorf("it ended after %s, before its delay was over", took)
	}
	if text := api.Death(); text != "exit status 0" {
		t.Errorf("it ended with %s", text)
	}
}

// newOwnSystem runs on servers of its own, which a test may take away.
func newOwnSystem(t *testing.T, c stack.Config, settings ...string) (*system, *servers.Backing) {
	t.Helper()
	s, own := newOwnSystemNotStarted(t, c, settings...)
	s.Begin()
	return s, own
}

// newOwnSystemNotStarted gives a test the time to set what single processes are to be told.
func newOwnSystemNotStarted(t *testing.T, c stack.Config, settings ...string) (*system, *servers.Backing) {
	t.Helper()
	own := &servers.Backing{Kafka: "kfake"}
	return newSystemOnOwn(t, own, c, settings...), own
}

// newSystemOnOwn starts the given servers for one test.
func newSystemOnOwn(t *testing.T, own *servers.Backing, c stack.Config, settings ...string) *system {
	t.Helper()
	ownState, err := proc.TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ownState.Close)
	if err := own.Start(t.Context(), ownState, io.Discard, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proc.StopAll(own.Processes) })
	s := newSystemOn(t, own, nil)
	s.Env = append(s.Env, settings...)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Prepare(c)
	return s
}
