package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// The end to end tests run the services as they are shipped, built once with failpoints and the race
// detector, against the Postgres, Redis and Kafka that `make test` or `make e2e` has started. Where a
// test takes one of these away it starts its own. What needs more than Go and a C compiler, or minutes,
// is built for `make e2e` alone.

var waitTime = flag.Duration("wait", 0, "measure what waiting costs for this long, with the services as they are shipped")

func TestMain(m *testing.M) {
	children.Serve(os.Args[1:]) // a test's own Postgres or Kafka
	code := m.Run()
	if built != nil {
		built.Close()
	}
	os.Exit(code)
}

var (
	buildOnce sync.Once
	built     *proc.State
	errBuild  error
)

// testBinaries is the folder of the services.
func testBinaries(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		var root string
		if root, errBuild = stack.Workspace(); errBuild != nil {
			return
		}
		if built, errBuild = proc.TemporaryState(); errBuild != nil {
			return
		}
		flags := []string{"-race", "-tags", "failpoints"}
		if *waitTime > 0 {
			flags = nil // what is measured is what is shipped
		}
		errBuild = stack.Build(ctx, root, built.Dir, os.Stderr, flags...)
	})
	if errBuild != nil {
		t.Fatal(errBuild)
	}
	return built.Dir
}

func required(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run `make test`", name)
	}
	return value
}

// system is a stack with what a test needs around it.
type system struct {
	*stack.Stack
	t    *testing.T
	conn *pgx.Conn

	// otherTimes is for programs of the last release, whose times need not follow the sequence.
	otherTimes bool
}

// newSystem runs the given replicas on the shared parts, with a database and a topic of its own.
func newSystem(t *testing.T, c stack.Config) *system {
	t.Helper()
	s := sharedSystem(t)
	if err := s.CreateTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.StartServices(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.connect()
	return s
}

// sharedSystem has the shared parts and a database of its own, and no services yet.
func sharedSystem(t *testing.T) *system {
	t.Helper()
	database := testdb.New(t)
	p := &servers.Backing{DatabaseURL: database.URL, RedisURL: required(t, "TEST_REDIS_URL"), KafkaBrokers: required(t, "TEST_KAFKA_BROKERS")}
	return newSystemOn(t, p, map[string]string{
		"api": database.As(testdb.API), "relay": database.As(testdb.Relay), "worker": database.As(testdb.Worker),
	})
}

func newSystemOn(t *testing.T, p *servers.Backing, login map[string]string) *system {
	t.Helper()
	state, err := proc.KeptState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	topic := "e2e-" + uuid.NewString()
	s := &system{t: t, Stack: stack.NewOn(state, p, stack.Config{Topic: topic, Env: []string{"KAFKA_GROUP=" + topic}}, testBinaries(t), io.Discard)}
	s.Login = login
	t.Cleanup(func() {
		s.Stop()
		state.Close()
		for _, service := range s.Services {
			if log, _ := os.ReadFile(service.Log); bytes.Contains(log, []byte("DATA RACE")) {
				t.Errorf("data race:\n%s", log)
			}
			if t.Failed() {
				t.Log(proc.LastLines(service.Log, 15))
			}
		}
	})
	return s
}

func (s *system) connect() {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.Backing.DatabaseURL)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	s.conn = conn
}

// prepare makes what the services need, and the services, but does not start them.
func (s *system) prepare(c stack.Config) {
	s.t.Helper()
	if err := s.CreateTopic(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.CreateKey(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.MakeServices(c); err != nil {
		s.t.Fatal(err)
	}
}

// begin starts the services and waits until they are ready.
func (s *system) begin() {
	s.t.Helper()
	for _, p := range s.Services {
		if err := p.Begin(); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, p := range s.Services {
		if err := p.AwaitReady(s.t.Context(), true); err != nil {
			s.t.Fatalf("%s: %v\n%s", p.Name, err, proc.LastLines(p.Log, 15))
		}
	}
	s.connect()
}

func (s *system) openWallets(count int) []uuid.UUID {
	s.t.Helper()
	wallets, err := load.OpenWallets(s.APIURLs[0], s.APIKey, count)
	if err != nil {
		s.t.Fatal(err)
	}
	return wallets
}

const loadPerSecond = 1000

// load is a thousand operations a second by clients that retry with the same key until they have an
// answer. Without apis it uses all.
func (s *system) load(wallets []uuid.UUID, apis ...string) *runningLoad {
	if len(apis) == 0 {
		apis = s.APIURLs
	}
	l := &runningLoad{
		Load: &load.Load{
			APIs: apis, APIKey: s.APIKey, Wallets: wallets, Connections: 200, RatePerSecond: loadPerSecond, Duration: time.Hour,
			ResendPercent: 2, Attempt: 12 * time.Second, Patience: time.Minute,
		},
		history: make(chan []load.Operation, 1),
	}
	go func() { l.history <- l.Send(s.t.Context()) }()
	return l
}

type runningLoad struct {
	*load.Load
	history chan []load.Operation
}

// finish ends the load and returns what its clients know.
func (l *runningLoad) finish() []load.Operation {
	l.End()
	return <-l.history
}

// keep fails the test unless every promise holds and every operation was acknowledged.
func (s *system) keep(l *runningLoad) {
	s.t.Helper()
	history := l.finish()
	if n := l.Failures.Load(); n > 0 {
		s.t.Errorf("%d operations were not acknowledged; the last: %s", n, *l.LastFail.Load())
	}
	s.keepPromises(history)
}

func (s *system) keepPromises(history []load.Operation) {
	s.t.Helper()
	checked := check.Subject{Log: check.TopicLog{Options: s.KafkaOptions(), Topic: s.Topic, Partitions: stack.TopicPartitions}, Audit: s.Verify, OtherTimes: s.otherTimes}
	promises, err := checked.Check(s.t.Context(), s.conn, history)
	if err != nil {
		s.t.Fatal(err)
	}
	var report strings.Builder
	if err := check.Print(&report, promises); err != nil {
		s.t.Errorf("\n%s", report.String())
	}
}

// until waits for a condition.
func (s *system) until(what string, within time.Duration, holds func() bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > within {
			s.t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// untilApplied waits until something is applied that was not when it began: everything works.
func (s *system) untilApplied(within time.Duration) time.Duration {
	s.t.Helper()
	before := s.totals().Outcomes
	return s.until("nothing more is applied", within, func() bool { return s.outcomes() > before })
}

func (s *system) totals() walletdb.TotalsRow {
	s.t.Helper()
	totals, err := walletdb.New(s.conn).Totals(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return totals
}

func (s *system) outcomes() int64 {
	s.t.Helper()
	var sum int64
	if err := s.conn.QueryRow(s.t.Context(), "SELECT coalesce(sum(applied_seq), 0) FROM wallets").Scan(&sum); err != nil {
		s.t.Fatal(err)
	}
	return sum
}

// kill ends a process at once and waits until it is started again.
func (s *system) kill(p *proc.Process, signal syscall.Signal) {
	s.t.Helper()
	before := p.StartCount()
	p.Signal(signal)
	s.until(p.Name+" starts again", 10*time.Second, func() bool { return p.StartCount() > before })
}

// deposit is the body of the least deposit.
func deposit(wallet uuid.UUID) string {
	return fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":1}`, wallet)
}

// deposit sends one operation and returns its sequence.
func (s *system) deposit(api string, wallet uuid.UUID) load.Operation {
	s.t.Helper()
	l := &load.Load{APIs: []string{api}, APIKey: s.APIKey, Wallets: []uuid.UUID{wallet}, Connections: 1, RatePerSecond: 1, Duration: time.Second, Attempt: 12 * time.Second, Patience: 30 * time.Second}
	history := l.Send(s.t.Context())
	if len(history) != 1 || history[0].Answered.IsZero() {
		s.t.Fatalf("a lone operation was not acknowledged: %+v", history)
	}
	return history[0]
}

// balance is what the api says a wallet holds, and at which version.
func (s *system) balance(wallet uuid.UUID) (balance, version int64) {
	s.t.Helper()
	c := load.Client{Addr: strings.TrimPrefix(s.APIURLs[0], "http://"), APIKey: s.APIKey, Timeout: 10 * time.Second}
	defer c.Close()
	r, err := c.Do(http.MethodGet, "/api/v1/wallets/"+wallet.String(), "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var w struct{ Balance, Version int64 }
	if err := json.Unmarshal(r.Body, &w); err != nil || r.Status != http.StatusOK {
		s.t.Fatalf("read wallet: %d %s %v", r.Status, r.Body, err)
	}
	return w.Balance, w.Version
}

// countLines counts a log's lines that contain any of the words.
func countLines(t *testing.T, path string, words ...string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(text)) {
		for _, word := range words {
			if strings.Contains(line, word) {
				count++
				break
			}
		}
	}
	return count
}
