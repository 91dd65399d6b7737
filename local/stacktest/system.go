// Package stacktest runs stacks for tests.
//
// The end to end tests run the services as they are shipped, built once with failpoints and, in make race, the race
// detector, against the Postgres, Redis and Kafka that `make test` or `make e2e` has started. Where a
// test takes one of these away it starts its own. What needs more than Go and a C compiler, or minutes,
// is built for `make e2e` alone.
package stacktest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// WaitTime is for a test that measures.
var WaitTime = flag.Duration("wait", 0, "measure what waiting costs for this long, with the services as they are shipped")

// Main is what a TestMain does: with roles a test can start its own Postgres or Kafka.
func Main(m *testing.M, roles proc.Roles) {
	roles.Serve(os.Args[1:])
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

// Binaries is the folder of the services.
func Binaries(t *testing.T) string {
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
		flags := testkit.BuildFlags()
		if *WaitTime > 0 {
			flags = nil // what is measured is what is shipped
		}
		errBuild = stack.Build(ctx, root, built.Dir, os.Stderr, flags...)
	})
	if errBuild != nil {
		t.Fatal(errBuild)
	}
	return built.Dir
}

func Required(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run `make test`", name)
	}
	return value
}

// System is a stack with what a test needs around it.
type System struct {
	*stack.Stack
	T    *testing.T
	Conn *pgx.Conn

	// OtherTimes is for programs of the last release, whose times need not follow the sequence, EventGaps for what
	// does not tell of every outcome.
	OtherTimes, EventGaps bool
}

// New runs the given replicas on the shared backing services, with a database and topics of its own.
func New(t *testing.T, c stack.Config) *System {
	t.Helper()
	s := Shared(t)
	if err := s.CreateTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.startServices(c)
	return s
}

// NewWithoutEvents is New as an upgrade from a release without events leaves it: their topic is not there yet.
func NewWithoutEvents(t *testing.T, c stack.Config) *System {
	t.Helper()
	s := Shared(t)
	events := s.EventsTopic
	s.EventsTopic = ""
	if err := s.CreateTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.EventsTopic = events
	s.startServices(c)
	return s
}

func (s *System) startServices(c stack.Config) {
	t := s.T
	t.Helper()
	if err := s.CreateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.StartServices(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.Connect()
}

// Shared has the shared backing services and a database of its own, and no services yet.
func Shared(t *testing.T) *System {
	t.Helper()
	database := testdb.New(t)
	p := &servers.Backing{DatabaseURL: database.URL, RedisURL: Required(t, "TEST_REDIS_URL"), KafkaBrokers: Required(t, "TEST_KAFKA_BROKERS")}
	return NewOn(t, p, map[string]string{
		"api": database.As(testdb.API), "relay": database.As(testdb.Relay), "worker": database.As(testdb.Worker), "hooks": database.As(testdb.Hooks),
	})
}

func NewOn(t *testing.T, p *servers.Backing, login map[string]string) *System {
	t.Helper()
	state, err := proc.KeptState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	topic := "e2e-" + uuid.NewString()
	s := &System{T: t, Stack: stack.NewOn(state, p, stack.Config{Topic: topic, EventsTopic: topic + "-events", Env: []string{"KAFKA_GROUP=" + topic}}, Binaries(t), io.Discard)}
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

func (s *System) Connect() {
	s.T.Helper()
	conn, err := pgx.Connect(s.T.Context(), s.Backing.DatabaseURL)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { _ = conn.Close(context.Background()) })
	s.Conn = conn
}

// Prepare makes what the services need, and the services, but does not start them.
func (s *System) Prepare(c stack.Config) {
	s.T.Helper()
	if err := s.CreateTopic(s.T.Context()); err != nil {
		s.T.Fatal(err)
	}
	if err := s.CreateKey(s.T.Context()); err != nil {
		s.T.Fatal(err)
	}
	if err := s.MakeServices(c); err != nil {
		s.T.Fatal(err)
	}
}

// Begin starts the services and waits until they are ready.
func (s *System) Begin() {
	s.T.Helper()
	for _, p := range s.Services {
		if err := p.Begin(); err != nil {
			s.T.Fatal(err)
		}
	}
	for _, p := range s.Services {
		if err := p.AwaitReady(s.T.Context(), true); err != nil {
			s.T.Fatalf("%s: %v\n%s", p.Name, err, proc.LastLines(p.Log, 15))
		}
	}
	s.Connect()
}

func (s *System) OpenWallets(count int) []uuid.UUID {
	s.T.Helper()
	wallets, err := load.OpenWallets(s.APIURLs[0], s.APIKey, count)
	if err != nil {
		s.T.Fatal(err)
	}
	return wallets
}

// LoadPerSecond is a thousand operations, or as many as LOAD says.
func LoadPerSecond() int {
	if given, err := strconv.Atoi(os.Getenv("LOAD")); err == nil {
		return given
	}
	return 1000
}

// Load is LoadPerSecond by clients that retry with the same key until they have an answer. Without apis it uses all.
func (s *System) Load(wallets []uuid.UUID, apis ...string) *RunningLoad {
	return s.MixedLoad(load.Mix{}, wallets, apis...)
}

// MixedLoad is Load with operations of other types among them.
func (s *System) MixedLoad(mix load.Mix, wallets []uuid.UUID, apis ...string) *RunningLoad {
	return s.LoadOf(LoadPerSecond(), mix, wallets, apis...)
}

// LoadOf is MixedLoad with another number of operations a second.
func (s *System) LoadOf(perSecond int, mix load.Mix, wallets []uuid.UUID, apis ...string) *RunningLoad {
	if len(apis) == 0 {
		apis = s.APIURLs
	}
	l := &RunningLoad{
		Load: &load.Load{
			APIs: apis, APIKey: s.APIKey, Wallets: wallets, Mix: mix, Connections: 200, RatePerSecond: perSecond, Duration: time.Hour,
			ResendPercent: 2, Attempt: 12 * time.Second, Patience: time.Minute,
		},
		History: make(chan []load.Operation, 1),
	}
	go func() { l.History <- l.Send(s.T.Context()) }()
	return l
}

type RunningLoad struct {
	*load.Load
	History chan []load.Operation
}

// Finish ends the load and returns what its clients know.
func (l *RunningLoad) Finish() []load.Operation {
	l.End()
	return <-l.History
}

// Keep fails the test unless every promise holds and every operation was acknowledged. told are operations that
// were sent beside the load.
func (s *System) Keep(l *RunningLoad, told ...load.Operation) {
	s.T.Helper()
	history := append(told, l.Finish()...)
	if n := l.Failures.Load(); n > 0 {
		s.T.Errorf("%d operations were not acknowledged; the last: %s", n, *l.LastFail.Load())
	}
	s.KeepPromises(history)
}

func (s *System) KeepPromises(history []load.Operation) {
	s.T.Helper()
	checked := check.Subject{Audit: s.Verify, OtherTimes: s.OtherTimes}
	checked.Log = check.TopicLog{Options: s.KafkaOptions(), Topic: s.Topic, Partitions: stack.TopicPartitions}
	checked.Events = check.TopicLog{Options: s.KafkaOptions(), Topic: s.EventsTopic, Partitions: stack.TopicPartitions}
	if s.EventGaps {
		checked.Audit, checked.Events = s.VerifyWithGaps, check.TopicLog{}
	}
	promises, err := checked.Check(s.T.Context(), s.Conn, history)
	if err != nil {
		s.T.Fatal(err)
	}
	var report strings.Builder
	if err := check.Print(&report, promises); err != nil {
		s.T.Errorf("\n%s", report.String())
	}
}

// Until waits for a condition.
func (s *System) Until(what string, within time.Duration, holds func() bool) time.Duration {
	s.T.Helper()
	return Until(s.T, what, within, holds)
}

func Until(t *testing.T, what string, within time.Duration, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// UntilApplied waits until something is applied that was not when it began: everything works.
func (s *System) UntilApplied(within time.Duration) time.Duration {
	s.T.Helper()
	before := s.Totals().Outcomes
	return s.Until("nothing more is applied", within, func() bool { return s.Outcomes() > before })
}

func (s *System) Totals() walletdb.TotalsRow {
	s.T.Helper()
	totals, err := walletdb.New(s.Conn).Totals(s.T.Context(), nil)
	if err != nil {
		s.T.Fatal(err)
	}
	return totals
}

func (s *System) Outcomes() int64 {
	s.T.Helper()
	var sum int64
	if err := s.Conn.QueryRow(s.T.Context(), "SELECT coalesce(sum(applied_seq), 0) FROM wallets").Scan(&sum); err != nil {
		s.T.Fatal(err)
	}
	return sum
}

// Kill ends a process at once and waits until it is started again.
func (s *System) Kill(p *proc.Process, signal syscall.Signal) {
	s.T.Helper()
	before := p.StartCount()
	p.Signal(signal)
	s.Until(p.Name+" starts again", time.Minute, func() bool { return p.StartCount() > before })
}

// Deposit sends one and returns it.
func (s *System) Deposit(api string, wallet uuid.UUID) load.Operation {
	s.T.Helper()
	l := &load.Load{APIs: []string{api}, APIKey: s.APIKey, Wallets: []uuid.UUID{wallet}, Deposits: true, Connections: 1, RatePerSecond: 1, Duration: time.Second, Attempt: 12 * time.Second, Patience: 30 * time.Second}
	history := l.Send(s.T.Context())
	if len(history) != 1 || history[0].Answered.IsZero() {
		s.T.Fatalf("a lone operation was not acknowledged: %+v", history)
	}
	return history[0]
}

// Balance is what the first api says a wallet holds, and at which version.
func (s *System) Balance(wallet uuid.UUID) (balance, version int64) {
	s.T.Helper()
	return Balance(s.T, s.APIURLs[0], s.APIKey, wallet)
}

// Balance is what an api says a wallet holds, and at which version.
func Balance(t *testing.T, api, apiKey string, wallet uuid.UUID) (balance, version int64) {
	t.Helper()
	c := load.Client{Addr: strings.TrimPrefix(api, "http://"), APIKey: apiKey, Timeout: 10 * time.Second}
	defer c.Close()
	r, err := c.Do(http.MethodGet, "/api/v1/wallets/"+wallet.String(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var w struct{ Balance, Version int64 }
	if err := json.Unmarshal(r.Body, &w); err != nil || r.Status != http.StatusOK {
		t.Fatalf("read wallet: %d %s %v", r.Status, r.Body, err)
	}
	return w.Balance, w.Version
}

// CountLines counts a log's lines that contain any of the words.
func CountLines(t *testing.T, path string, words ...string) int {
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

// UntilEvents waits until an event is published: whatever the database says, a consumer has it.
func (s *System) UntilEvents() {
	s.T.Helper()
	client, err := kgo.NewClient(s.KafkaOptions(kgo.ConsumeTopics(s.EventsTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		s.T.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.T.Context(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if client.PollFetches(ctx).NumRecords() > 0 {
			return
		}
	}
	s.T.Fatal("no event is published")
}
