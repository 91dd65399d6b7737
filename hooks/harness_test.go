package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

const testKey = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// bed is a database and a log with hooks between them and receivers.
type bed struct {
	testing.TB
	testdb.Database
	conn       *pgx.Conn
	mu         sync.Mutex // of conn
	addr       string
	client     *kgo.Client
	topic      string
	partitions int
	last       map[uuid.UUID]int64
	keys       hook.Keys
}

// newBed has a topic of the Kafka that TEST_KAFKA_BROKERS names.
func newBed(t testing.TB, partitions int) *bed {
	t.Helper()
	brokers := os.Getenv("TEST_KAFKA_BROKERS")
	if brokers == "" {
		t.Fatal("TEST_KAFKA_BROKERS is not set: run `make test`, or set it to a Kafka broker's address")
	}
	return newBedAt(t, brokers, partitions)
}

// newBrokenBed has a Kafka of its own, which the test may do with as it likes.
func newBrokenBed(t testing.TB, partitions int) (*bed, *kfake.Cluster) {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return newBedAt(t, broker.ListenAddrs()[0], partitions), broker
}

func newBedAt(t testing.TB, brokers string, partitions int) *bed {
	t.Helper()
	database := testdb.New(t)
	keys, err := hook.ParseKeys(testKey)
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{
		TB: t, Database: database, conn: database.Conn(t), addr: brokers, topic: "hooks-test-" + uuid.NewString(),
		partitions: partitions, last: map[uuid.UUID]int64{}, keys: keys,
	}
	b.connect()
	b.createTopic()
	t.Cleanup(b.deleteTopic)
	return b
}

func (b *bed) createTopic() {
	b.Helper()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = b.topic, int32(b.partitions), 1
	create.Topics = append(create.Topics, topic)
	if _, err := create.RequestWith(context.Background(), b.client); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) deleteTopic() {
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames = []string{b.topic}
	remove.Topics = append(remove.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &b.topic})
	_, _ = remove.RequestWith(context.Background(), b.client)
}

func (b *bed) connect() {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	b.client = client
	b.Cleanup(client.Close)
}

func (b *bed) exec(sql string, args ...any) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.conn.Exec(context.Background(), sql, args...); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
}

func (b *bed) scan(value any, sql string, args ...any) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.conn.QueryRow(context.Background(), sql, args...).Scan(value); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
}

// wallet is a wallet's id and its partition.
func (b *bed) wallet(n int) (id uuid.UUID, partition int) {
	return walletOf(0, n), n % b.partitions
}

// produce writes a run of each wallet, of so many operations.
func (b *bed) produce(operations int, wallets ...int) {
	b.Helper()
	now := time.Now()
	records := make([]*kgo.Record, len(wallets))
	for i, n := range wallets {
		id, partition := b.wallet(n)
		from := b.last[id] + 1
		b.last[id] += int64(operations)
		records[i] = b.record(id, partition, testRun(id, from, operations, now), event.RunID(id, b.last[id]), now)
	}
	if err := b.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) record(id uuid.UUID, partition int, value []byte, eventID string, at time.Time) *kgo.Record {
	return &kgo.Record{
		Topic: b.topic, Partition: int32(partition), Key: []byte(id.String()), Value: value,
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(eventID)}, {Key: "ce_time", Value: []byte(at.UTC().Format("2006-01-02T15:04:05.000000Z"))}},
	}
}

// endpoint registers a receiver.
func (b *bed) endpoint(r *receiver) uuid.UUID { return b.endpointAt(r.URL, r) }

func (b *bed) endpointAt(url string, r *receiver) uuid.UUID {
	b.Helper()
	id := uuid.New()
	b.exec("INSERT INTO hook_endpoints (id, tenant, client, url, secret) VALUES ($1, 'default', 'test', $2, $3)", id, url, b.keys.Seal(id, r.secret))
	return id
}

// ask writes a request.
func (b *bed) ask(endpoint uuid.UUID, kind string, since *time.Time, run *string) (id int64) {
	b.Helper()
	b.scan(&id, "INSERT INTO hook_requests (endpoint_id, kind, since, run, actor) VALUES ($1, $2, $3, $4, 'test') RETURNING id", endpoint, kind, since, run)
	return id
}

func (b *bed) awaitRequest(endpoint uuid.UUID, id int64) {
	b.Helper()
	testkit.Until(b, "the request is done", func() error {
		var done int64
		b.scan(&done, "SELECT coalesce(max(last_request), 0) FROM hook_states WHERE endpoint_id = $1", endpoint)
		return testkit.Unless(done >= id, "it is at %d of %d", done, id)
	})
}

// awaitBegun waits until an endpoint has its cursors.
func (b *bed) awaitBegun(endpoints ...uuid.UUID) {
	b.Helper()
	testkit.Until(b, "the endpoints have cursors", func() error {
		var n int
		b.scan(&n, "SELECT count(*) FROM hook_cursors WHERE endpoint_id = ANY ($1)", endpoints)
		return testkit.Unless(n == len(endpoints)*b.partitions, "%d of %d", n, len(endpoints)*b.partitions)
	})
}

// state reads a column of hook_states as text.
func (b *bed) state(endpoint uuid.UUID, column string) (text string) {
	b.Helper()
	b.scan(&text, "SELECT coalesce(max(("+column+")::text), '') FROM hook_states WHERE endpoint_id = $1", endpoint)
	return text
}

// awaitSaved waits until the cursors are at the end of the log and all is saved.
func (b *bed) awaitSaved(endpoint uuid.UUID) {
	b.Helper()
	var messages int64
	for partition := range b.partitions {
		messages += b.end(partition)
	}
	testkit.Until(b, "the cursors are at the end", func() error {
		var at int64
		b.scan(&at, "SELECT coalesce(sum(next_offset), 0) FROM hook_cursors WHERE endpoint_id = $1", endpoint)
		return testkit.Unless(at == messages, "at %d of %d", at, messages)
	})
}

// keptAttempts reports whether the receiver's attempts are kept, at least the last 100.
func (b *bed) keptAttempts(endpoint uuid.UUID, r *receiver) func() error {
	return func() error {
		text, seen := b.state(endpoint, "jsonb_array_length(attempts)"), len(r.seen())
		return testkit.Unless(seen > 0 && text == strconv.Itoa(min(seen, hook.MaxListed)), "%s are, of %d", text, seen)
	}
}

// end is where a partition ends.
func (b *bed) end(partition int) int64 {
	b.Helper()
	list := kmsg.NewPtrListOffsetsRequest()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = b.topic
	of := kmsg.NewListOffsetsRequestTopicPartition()
	of.Partition, of.Timestamp = int32(partition), -1
	topic.Partitions = append(topic.Partitions, of)
	list.Topics = append(list.Topics, topic)
	response, err := list.RequestWith(context.Background(), b.client)
	if err != nil {
		b.Fatal(err)
	}
	return response.Topics[0].Partitions[0].Offset
}

// running is hooks within the test.
type running struct {
	testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	code   int
	log    *testkit.Log
	admin  testkit.Admin
}

// start runs hooks; settings override the test's own, as NAME=value.
func (b *bed) start(settings ...string) *running {
	b.Helper()
	h := b.launch(settings...)
	h.admin.UntilWell(b)
	return h
}

// launch is start for hooks that need not be well.
func (b *bed) launch(settings ...string) *running {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &running{TB: b.TB, cancel: cancel, done: make(chan struct{}), log: testkit.NewLog(b, "hooks"), admin: testkit.Admin(testkit.FreeAddr(b).String())}
	environ := b.environ(append(settings, "ADMIN_ADDR="+string(h.admin))...)
	go func() {
		defer close(h.done)
		h.code = program.Start(ctx, environ, h.log)
	}()
	b.Cleanup(h.stop)
	return h
}

func (b *bed) environ(settings ...string) []string {
	return append([]string{
		"DATABASE_URL=" + b.As(testdb.Hooks), "KAFKA_BROKERS=" + b.addr, "ADMIN_ADDR=127.0.0.1:0", "HOOKS_KEY=" + testKey, "HOOKS_ALLOW=127.0.0.0/8",
		"HOOKS_RETRIES=200ms", "EVENTS_TOPIC=" + b.topic,
	}, settings...)
}

// stop ends hooks as SIGTERM does.
func (h *running) stop() {
	h.Helper()
	h.cancel()
	select {
	case <-h.done:
	case <-time.After(8 * time.Second):
		h.Error("hooks does not stop within 8 s")
	}
}

// receiver takes webhooks as docs/events.md says: it checks their signature, and follows each wallet's sequences.
type receiver struct {
	*httptest.Server
	testing.TB
	secret string
	also   []string // other secrets that sign
	// answer decides what becomes of a delivery that is as it should be, before it is taken; nil takes all. It returns
	// the status, or 0 if it has answered itself.
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request, m received) int]

	mu       sync.Mutex
	got      map[uuid.UUID]int64 // the last sequence of each wallet
	attempts []received
	taken    int // deliveries
	doubled  int
	latest   time.Duration // from applied to received, the longest
	under    map[uuid.UUID]int
}

// received is a delivery.
type received struct {
	id            string
	at            time.Time
	kind          string
	walletID      uuid.UUID
	from, version int64
	body          string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{TB: t, secret: hook.NewSecret(), got: map[uuid.UUID]int64{}, under: map[uuid.UUID]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.handle))
	t.Cleanup(r.close)
	return r
}

func (r *receiver) close() {
	r.Server.CloseClientConnections()
	r.Server.Close()
}

func (r *receiver) answers(with func(w http.ResponseWriter, r *http.Request, m received) int) {
	if with == nil {
		r.answer.Store(nil)
		return
	}
	r.answer.Store(&with)
}

// status answers everything with a status.
func (r *receiver) status(status int) {
	r.answers(func(http.ResponseWriter, *http.Request, received) int { return status })
}

func (r *receiver) handle(w http.ResponseWriter, request *http.Request) {
	payload, err := io.ReadAll(request.Body)
	if err != nil {
		return // the sender has gone
	}
	for _, secret := range append([]string{r.secret}, r.also...) {
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			r.Error(err)
		}
		if err := webhook.Verify(payload, request.Header); err != nil {
			r.Errorf("the signature of %s: %v", request.Header.Get("webhook-id"), err)
		}
	}
	var message struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      event.Run `json:"data"`
	}
	if err := json.Unmarshal(payload, &message); err != nil || message.Timestamp.IsZero() {
		r.Errorf("%v: %s", err, payload)
	}
	run := message.Data
	m := received{request.Header.Get("webhook-id"), time.Now(), message.Type, run.WalletID, run.FromSequence, run.Version, string(payload)}
	if m.kind == event.RunType {
		r.check(m, run)
	}
	r.begin(m)
	status := http.StatusNoContent
	if answer := r.answer.Load(); answer != nil {
		status = (*answer)(w, request, m)
	}
	r.finish(m, run, status)
	if status != 0 {
		w.WriteHeader(status)
	}
}

func (r *receiver) check(m received, run event.Run) {
	if m.id != event.RunID(run.WalletID, run.Version) || len(run.Operations) != int(run.Version-run.FromSequence+1) {
		r.Errorf("%s has sequences %d to %d and %d operations", m.id, run.FromSequence, run.Version, len(run.Operations))
	}
	for i, o := range run.Operations {
		if o.Sequence != run.FromSequence+int64(i) {
			r.Errorf("%s: operation %d has sequence %d", m.id, i, o.Sequence)
		}
	}
	if len(run.Operations) > 0 && run.Operations[len(run.Operations)-1].BalanceAfter != run.Balance {
		r.Errorf("%s: the balance is %d after %d", m.id, run.Balance, run.Operations[len(run.Operations)-1].BalanceAfter)
	}
}

func (r *receiver) begin(m received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, m)
	if m.kind != event.RunType {
		return
	}
	if r.under[m.walletID]++; r.under[m.walletID] > 1 {
		r.Errorf("two deliveries of wallet %s are under way", m.walletID)
	}
}

func (r *receiver) finish(m received, run event.Run, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.kind != event.RunType {
		return
	}
	r.under[m.walletID]--
	if status < 200 || status > 299 {
		return
	}
	r.taken++
	n := r.got[m.walletID]
	switch {
	case m.version <= n:
		r.doubled++
		return
	case m.from > n+1:
		r.Errorf("wallet %s: sequence %d comes after %d", m.walletID, m.from, n)
	case m.from <= n:
		r.doubled++
	}
	r.got[m.walletID] = m.version
	for _, o := range run.Operations[max(0, n+1-m.from):] {
		r.latest = max(r.latest, m.at.Sub(o.AppliedAt))
	}
}

// has returns a condition: the receiver has all that was produced.
func (r *receiver) has(b *bed) func() error {
	return func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for id, last := range b.last {
			if r.got[id] != last {
				return fmt.Errorf("wallet %s is at %d of %d; %d deliveries were taken, of %d attempts", id, r.got[id], last, r.taken, len(r.attempts))
			}
		}
		return nil
	}
}

func (r *receiver) seen() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.attempts)
}

// silentListener takes connections, reads nothing and says nothing.
func silentListener(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + strings.TrimPrefix(listener.Addr().String(), "tcp://")
}
