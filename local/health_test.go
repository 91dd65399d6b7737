//go:build e2e

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// fault is one that all services are under, and what each of them then says: of "not ready: redis" and
// "degraded: redis", both of /readyz and of the log, what begins so.
type sharedFault struct {
	name                      string
	make, heal                func()
	api, relay, worker, hooks []string
	loses                     bool // the test's own connection to Postgres
}

// says is what each service says of it, in the order of the table's columns.
func (f sharedFault) says() [][]string { return [][]string{f.api, f.relay, f.worker, f.hooks} }

// underFaults are the services, in that order.
var underFaults = []string{"api", "relay", "worker", "hooks"}

// says reports whether each expectation is in what r says, and that is all there is to its being ready
// or not.
func says(r stack.Readiness, expected []string) bool {
	ready := true
	for _, expectation := range expected {
		kind, text, _ := strings.Cut(expectation, ": ")
		list := r.Degraded
		if kind == "not ready" {
			list, ready = r.Reasons, false
		}
		if !slices.ContainsFunc(list, func(line string) bool { return strings.HasPrefix(line, text) }) {
			return false
		}
	}
	return r.Ready == ready && (len(expected) > 0 || len(r.Reasons)+len(r.Degraded) == 0)
}

// Readiness falls where a process cannot do its work, and not where all replicas would fall for what they
// share. What is lost is named in the same words by all services, on /readyz and in the log, once when it
// begins and once when it is over. docs/operations.md has the table: UPDATE_DOCS=1 writes it.
func TestAllServicesSayTheSameOfTheSameFault(t *testing.T) {
	s, own := newOwnSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})
	wallet := s.OpenWallets(1)[0]
	take := func(name string) func() { return func() { serverOf(own, name).Stop() } }
	give := func(name string) func() {
		return func() {
			if err := serverOf(own, name).Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	operator, err := walletcache.Open(own.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = operator.Close() })
	command := func(words ...any) func() {
		return func() {
			if err := operator.Do(t.Context(), words...).Err(); err != nil {
				t.Fatal(words, err)
			}
		}
	}
	migration := newestMigration(t)
	version, _, _ := strings.Cut(migration, "_")
	restart := func() {
		for _, p := range s.Services {
			s.Kill(p, syscall.SIGKILL)
		}
	}
	all := func(lines ...string) (api, relay, worker, hooks []string) { return lines, lines, lines, lines }

	faults := []sharedFault{
		{
			name: "Redis is stopped", make: func() { take("redis")(); s.Balance(wallet) }, heal: give("redis"),
			api: []string{"degraded: redis"}, worker: []string{"degraded: redis"},
		},
		{
			name: "Redis is read-only", make: command("REPLICAOF", "127.0.0.1", "1"), heal: command("REPLICAOF", "NO", "ONE"),
			api: []string{"degraded: redis"}, worker: []string{"degraded: redis"},
		},
		{
			name: "Kafka is stopped, and an operation waits", make: func() { take("kafka")(); s.Deposit(s.APIURLs[0], wallet) }, heal: give("kafka"),
			relay: []string{"not ready: the position does not move", "degraded: kafka"}, worker: []string{"degraded: kafka"}, hooks: []string{"degraded: kafka"},
		},
		{name: "Postgres is stopped", make: take("postgres"), heal: give("postgres"), loses: true},
		{name: "Postgres is stopped when the services start", make: func() { take("postgres")(); restart() }, heal: give("postgres"), loses: true},
		{
			name: "A migration is pending when they start",
			make: func() { s.exec("DELETE FROM schema_migrations WHERE version = $1", version); restart() },
			heal: func() { s.exec("INSERT INTO schema_migrations VALUES ($1)", version) },
		},
		{
			name:  "An operator paused publishing",
			make:  func() { s.mustCtl("relay", "pause", "--reason", "test", "--yes") },
			heal:  func() { s.mustCtl("relay", "resume", "--reason", "test", "--yes") },
			relay: []string{"degraded: an operator paused publishing"},
		},
	}
	for i, lines := range map[int][]string{3: {"degraded: postgres"}, 4: {"not ready: starting", "degraded: postgres"}, 5: {"not ready: starting", "not ready: migrations are pending"}} {
		faults[i].api, faults[i].relay, faults[i].worker, faults[i].hooks = all(lines...)
	}
	faults[3].worker = []string{"degraded: postgres for sweeping"} // it uses Postgres for nothing else while no message comes
	for _, fault := range faults {
		restart() // what a process has said within the last minute it does not say again
		s.say(fault, "before", make([][]string, len(underFaults)))
		fault.make()
		s.say(fault, "while it lasts", fault.says())
		starts := map[string]int{}
		for _, name := range underFaults {
			starts[name] = s.Process(name).StartCount()
		}
		fault.heal()
		if fault.loses {
			_ = s.Conn.Close(t.Context())
			s.Connect()
		}
		s.say(fault, "after it", make([][]string, len(underFaults)))
		s.logged(fault, starts)
	}
	checkFaultTable(t, faults)
}

func newestMigration(t *testing.T) string {
	t.Helper()
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	migrations, err := os.ReadDir(filepath.Join(root, "db/migrations"))
	if err != nil {
		t.Fatal(err)
	}
	return migrations[len(migrations)-1].Name()
}

// say waits until every service says what is expected.
func (s *system) say(fault sharedFault, when string, expected [][]string) {
	s.T.Helper()
	for i, name := range underFaults {
		p := s.Process(name)
		var now stack.Readiness
		if !proc.Await(s.T.Context(), 40*time.Second, func() (holds bool) {
			var err error
			now, err = stack.AskReady(s.T.Context(), p)
			return err == nil && says(now, expected[i])
		}) {
			s.T.Errorf("%s: %s: %s says %+v, want %q", fault.name, when, name, now, expected[i])
		}
		if err := stack.Ping(s.T.Context(), p.AdminURL+"/livez"); err != nil {
			s.T.Errorf("%s: %s: %s: %v", fault.name, when, name, err)
		}
	}
}

// logged checks what the services have logged: each line, and that it is over, unless the process has ended
// meanwhile, as a member that a broker's restart has fenced does.
func (s *system) logged(fault sharedFault, starts map[string]int) {
	s.T.Helper()
	for i, lines := range fault.says() {
		name := underFaults[i]
		text, err := os.ReadFile(s.Process(name).Log)
		if err != nil {
			s.T.Fatal(err)
		}
		run := string(text)
		for _, line := range lines {
			_, condition, _ := strings.Cut(line, ": ")
			if condition == "starting" { // which is no fault
				continue
			}
			for _, message := range []string{line, "recovered: " + condition} {
				if message != line && s.Process(name).StartCount() != starts[name] {
					s.T.Logf("%s: %s has ended: %s", fault.name, name, s.Process(name).Death())
					continue
				}
				if !strings.Contains(run, `"msg":"`+message+`"`) {
					s.T.Errorf("%s: %s has not logged %q", fault.name, name, message)
				}
			}
		}
	}
}

// checkFaultTable compares the table of docs/operations.md with what was seen, or writes it.
func checkFaultTable(t *testing.T, faults []sharedFault) {
	t.Helper()
	var table strings.Builder
	table.WriteString("| | " + strings.Join(underFaults, " | ") + " |\n|---" + strings.Repeat("|---", len(underFaults)) + "|\n")
	cell := func(lines []string) string {
		if len(lines) == 0 {
			return "ready"
		}
		return "`" + strings.Join(lines, "`<br>`") + "`"
	}
	for _, f := range faults {
		fmt.Fprintf(&table, "| %s |", f.name)
		for _, lines := range f.says() {
			fmt.Fprintf(&table, " %s |", cell(lines))
		}
		table.WriteString("\n")
	}
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs/operations.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- faults:begin -->\n", "<!-- faults:end -->"
	before, rest, found := strings.Cut(string(page), begin)
	block, after, ends := strings.Cut(rest, end)
	switch {
	case !found || !ends:
		t.Errorf("%s has no %s", path, begin)
	case block == table.String():
	case os.Getenv("UPDATE_DOCS") != "" && !t.Failed():
		if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/operations.md has\n%s\nand what was seen is\n%s\nUPDATE_DOCS=1 writes it", block, table.String())
	}
}

func TestReadinessFallsBeforeTheAPIStopsServing(t *testing.T) {
	s := sharedSystem(t)
	s.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1})
	api := s.Process("api")
	const delay = 10 * time.Second
	api.Env = append(api.Env, "DRAIN_DELAY="+delay.String())
	s.Begin()
	wallet := s.OpenWallets(1)[0]
	told := time.Now()
	pid := api.CurrentPID()
	api.Signal(syscall.SIGTERM)
	s.Until("the api is not ready", 4*time.Second, func() bool {
		now, err := stack.AskReady(t.Context(), api)
		return err == nil && says(now, []string{"not ready: draining"})
	})
	accepted := 0
	for ; time.Since(told) < delay-3*time.Second; accepted++ { // each one on a connection of its own
		http.DefaultClient.CloseIdleConnections()
		if status, body := s.post("/api/v1/wallet", s.APIURLs[0], deposit(wallet)); status != http.StatusAccepted {
			t.Fatalf("while it drains: %d %s", status, body)
		}
	}
	if accepted < 3 {
		t.Errorf("only %d operations were tried", accepted)
	}
	s.Until("it ends", 2*delay, func() bool { return api.CurrentPID() != pid })
	if took := time.Since(told); took < delay {
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

func serverOf(own *servers.Backing, name string) *proc.Process {
	return own.Processes[slices.IndexFunc(own.Processes, func(p *proc.Process) bool { return p.Name == name })]
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
