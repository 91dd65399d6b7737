package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// traffic produces until the test says so.
func (b *bed) traffic(wallets int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		random := rand.New(rand.NewPCG(1, 1))
		for ctx.Err() == nil {
			b.produce(1+random.IntN(3), random.IntN(wallets))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-ended }
}

// Whenever hooks is killed, nothing is missed and nothing overtakes; a second's worth may come again.
func TestKilledHooksLoseNothing(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 2), newReceiver(t)
	id := b.endpoint(r)
	p := b.startProcess()
	p.admin.UntilWell(t)
	b.awaitBegun(id)
	stop := b.traffic(20)
	for range 5 {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		p.kill()
		p = b.startProcess()
	}
	time.Sleep(time.Second)
	stop()
	testkit.Until(t, "all has arrived", r.has(b))
	t.Logf("%d deliveries, %d of them had come before", r.taken, r.doubled)
}

// A process that was stopped, and goes on after another one has its endpoint, and after a replay, undoes nothing.
func TestAStoppedProcessThatComesBackUndoesNothing(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 2), newReceiver(t)
	began := time.Now()
	id := b.endpoint(r)
	p := b.startProcess()
	p.admin.UntilWell(t)
	b.awaitBegun(id)
	for range 50 {
		b.produce(1, 1, 2, 3)
	}
	testkit.Until(t, "all has arrived", r.has(b))
	b.awaitSaved(id)
	term := b.state(id, "term")
	_ = p.Process.Signal(syscall.SIGSTOP)
	b.start()
	testkit.Until(t, "the other one has it", func() error {
		return testkit.Unless(b.state(id, "term") != term, "the term is %s", term)
	})
	// Nothing more can be delivered, and the replay stays where it begins.
	r.status(http.StatusServiceUnavailable)
	b.awaitRequest(id, b.ask(id, hook.Replay, &began, nil))
	testkit.Until(t, "the replay is saved", func() error {
		var at int64
		b.scan(&at, "SELECT sum(next_offset) FROM hook_cursors WHERE endpoint_id = $1", id)
		return testkit.Unless(at == 0, "the cursors are at %d", at)
	})
	term = b.state(id, "term")
	_ = p.Process.Signal(syscall.SIGCONT)
	testkit.Until(t, "the stopped one has seen it", p.log.Has("postgres"))
	time.Sleep(2 * time.Second)
	var at int64
	b.scan(&at, "SELECT sum(next_offset) FROM hook_cursors WHERE endpoint_id = $1", id)
	if now := b.state(id, "term"); at != 0 || now != term {
		t.Errorf("the cursors are at %d and the term is %s, after %s", at, now, term)
	}
	before := r.taken
	r.answers(nil)
	b.awaitSaved(id)
	if r.taken == before {
		t.Error("nothing was replayed")
	}
}

// A process that is stopped between a question to Postgres and its answer finds the answer when it goes on, long after
// another one has taken its endpoints.
func TestAnAnswerThatIsReadLateProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &owner{base: time.Now()}
		asked := time.Now()
		o.hear(asked)
		if !o.leased() {
			t.Error("an answer just now is not enough")
		}
		time.Sleep(lease)
		o.hear(asked)
		if o.leased() {
			t.Errorf("an answer to a question of %v ago is enough", lease)
		}
	})
}

// What the database refuses, whatever the process believes.
func TestAWriteOfAnEarlierTermChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	r := newReceiver(t)
	id := b.endpoint(r)
	b.exec("INSERT INTO hook_states (endpoint_id, term) VALUES ($1, 5)", id)
	b.exec("INSERT INTO hook_cursors (endpoint_id, partition, term, next_offset) VALUES ($1, 0, 5, 100)", id)
	conn := b.Conn(t)
	write := func(term, nextTerm, offset int64) []uuid.UUID {
		t.Helper()
		saved, err := saveSnapshots(t.Context(), conn, []snapshot{{
			e: &endpoint{id: id}, term: term, nextTerm: nextTerm, stalled: "[]", skipped: "[]", missed: "[]",
			begun: map[int32]cursor{0: {next: offset}, 1: {next: offset}}, moved: map[int32]cursor{0: {next: offset}, 1: {next: offset}},
		}}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return saved
	}
	cursors := func() (text string) {
		b.scan(&text, "SELECT string_agg(partition || ':' || next_offset || '@' || term, ' ' ORDER BY partition) FROM hook_cursors WHERE endpoint_id = $1", id)
		return text
	}
	if saved := write(4, 4, 200); saved != nil || cursors() != "0:100@5" {
		t.Errorf("an earlier term: saved %v, cursors %s", saved, cursors())
	}
	if saved := write(6, 6, 200); saved != nil || cursors() != "0:100@5" {
		t.Errorf("a term that nobody has: saved %v, cursors %s", saved, cursors())
	}
	if saved := write(5, 6, 50); !slices.Equal(saved, []uuid.UUID{id}) || cursors() != "0:50@6 1:50@6" {
		t.Errorf("a replay: saved %v, cursors %s", saved, cursors())
	}
	if saved := write(5, 5, 300); saved != nil || cursors() != "0:50@6 1:50@6" {
		t.Errorf("after the replay: saved %v, cursors %s", saved, cursors())
	}
}

// Several processes share the endpoints, and when one dies the others take its.
func TestProcessesShareEndpoints(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	var receivers []*receiver
	var ids []uuid.UUID
	for range 6 {
		r := newReceiver(t)
		receivers, ids = append(receivers, r), append(ids, b.endpoint(r))
	}
	has := func(n string) string { return `wallet_hooks_endpoints{state="delivering"}` + n }
	first := b.startProcess()
	first.admin.UntilWell(t)
	b.awaitBegun(ids...)
	stop := b.traffic(20)
	testkit.Until(t, "the first has all", first.admin.Counts(has(""), "6"))
	second := b.start()
	testkit.Until(t, "the first has half", first.admin.Counts(has(""), "3"))
	testkit.Until(t, "the second has half", second.admin.Counts(has(""), "3"))
	for i, r := range receivers {
		if r.doubled > 0 {
			t.Errorf("receiver %d: %d came twice although nobody died", i, r.doubled)
		}
	}
	stop()
	for i, r := range receivers {
		testkit.Until(t, fmt.Sprintf("receiver %d has all, whichever process has its endpoint", i), r.has(b))
	}
	stop = b.traffic(20)
	first.kill()
	testkit.Until(t, "the second has all", second.admin.Counts(has(""), "6"))
	stop()
	for _, r := range receivers {
		testkit.Until(t, "all has arrived", r.has(b))
	}
}

// Neither the log, at its most talkative, nor the database has a secret, whatever goes wrong with deliveries.
func TestNoSecretIsToldOrStoredInTheClear(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.start("LOG_LEVEL=debug")
	b.awaitBegun(id)
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadRequest, http.StatusFound} {
		r.status(status)
		b.produce(1, 1, 2)
		before := len(r.seen())
		testkit.Until(t, "it is tried again", func() error { return testkit.Unless(len(r.seen()) > before+1, "it is not") })
	}
	b.ask(id, hook.Test, nil, nil)
	r.answers(nil)
	testkit.Until(t, "all has arrived", r.has(b))
	b.awaitSaved(id)
	var stored string
	b.scan(&stored, `SELECT string_agg(row, ' ') FROM (
		SELECT e::text FROM hook_endpoints e UNION ALL SELECT s::text FROM hook_states s UNION ALL SELECT q::text FROM hook_requests q
		UNION ALL SELECT w::text FROM webhooks w) AS rows (row)`)
	encoded := strings.TrimPrefix(r.secret, "whsec_")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stored, id.String()) || !strings.Contains(stored, "500") {
		t.Fatalf("what is stored says nothing: %s", stored)
	}
	for where, text := range map[string]string{"the log": h.log.String(), "the database": stored} {
		for _, form := range []string{encoded, hex.EncodeToString(raw), string(raw), strings.TrimPrefix(testKey, "test:")} {
			if strings.Contains(text, form) {
				t.Errorf("%s has a secret", where)
			}
		}
	}
}

// The process for which it was to be released ends while its deliveries still wait for their answers.
func TestAnEndpointWhoseReleaseIsCalledOffGoesOn(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	var receivers []*receiver
	var ids []uuid.UUID
	answer := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(answer) })
	for range 2 {
		r := newReceiver(t)
		r.answers(func(http.ResponseWriter, *http.Request, received) int {
			<-answer
			return http.StatusOK
		})
		t.Cleanup(letGo)
		receivers, ids = append(receivers, r), append(ids, b.endpoint(r))
	}
	first := b.start("LOG_LEVEL=debug")
	b.awaitBegun(ids...)
	b.produce(1, 1)
	for _, r := range receivers {
		testkit.Until(t, "a delivery is under way", func() error { return testkit.Unless(len(r.seen()) > 0, "none is") })
	}
	second := b.start()
	says := func(releases string) func() error {
		return func() error {
			return testkit.Unless(first.log.Count(`"releases":`+releases) == 1, "it does not")
		}
	}
	testkit.Until(t, "the first releases one", says("true"))
	second.stop()
	testkit.Until(t, "the first calls that off", says("false"))
	letGo()
	b.produce(1, 1)
	for _, r := range receivers {
		testkit.Until(t, "all has arrived", r.has(b))
	}
}

func TestPostgresAndKafkaAway(t *testing.T) {
	t.Parallel()
	b, broker := newBrokenBed(t, 2)
	r := newReceiver(t)
	postgres := testkit.NewProxy(t, b.As(testdb.Hooks))
	postgres.Open(t)
	id := b.endpoint(r)
	h := b.start("DATABASE_URL=" + postgres.URL)
	b.awaitBegun(id)
	stop := b.traffic(20)
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		postgres.Cut()
		testkit.Until(t, "it says so", h.admin.Says("postgres"))
		time.Sleep(300 * time.Millisecond)
		postgres.Open(t)
		h.admin.UntilWell(t)
	}
	var fails atomic.Bool
	fails.Store(true)
	broker.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		return nil, fmt.Errorf("cut"), fails.Load()
	})
	time.Sleep(time.Second)
	fails.Store(false)
	stop()
	testkit.Until(t, "all has arrived", r.has(b))
	t.Logf("%d deliveries, %d of them had come before", r.taken, r.doubled)
}

// When Postgres ends a session in the middle of a rest, what is under way is cut off then, and not in the next round.
func TestWhatIsUnderWayIsCutOffWithTheSession(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	cut := make(chan time.Time, 100)
	r.answers(func(_ http.ResponseWriter, request *http.Request, _ received) int {
		<-request.Context().Done()
		cut <- time.Now()
		return 0
	})
	id := b.endpoint(r)
	b.start()
	b.awaitBegun(id)
	b.produce(1, 1)
	const attempts = 5 // for one in which nothing else keeps the machine busy
	for attempt := 1; ; attempt++ {
		testkit.Until(t, "a delivery is under way", func() error {
			return testkit.Unless(len(r.seen()) == attempt, "there were %d", len(r.seen()))
		})
		var ended time.Time
		testkit.Until(t, "the session is ended while it rests", func() error {
			var sessions int
			ended = time.Now()
			b.scan(&sessions, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()
				AND usename = 'test_wallet_hooks' AND state = 'idle' AND clock_timestamp() - state_change BETWEEN '100 ms' AND '300 ms'`)
			return testkit.Unless(sessions > 0, "it does not rest")
		})
		took := (<-cut).Sub(ended)
		t.Logf("cut off after %v", took)
		if took < saveInterval/2 {
			return
		}
		if attempt == attempts {
			t.Fatal("it is cut off in the next round only")
		}
	}
}

// What retention has removed is passed over, and said.
func TestWhatTheLogDoesNotHaveIsReported(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "all has arrived", r.has(b))
	b.awaitSaved(id)
	h.stop()
	for range 10 {
		b.produce(1, 1)
	}
	remove := kmsg.NewPtrDeleteRecordsRequest()
	remove.TimeoutMillis = 5_000
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = b.topic
	partition := kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Partition, partition.Offset = 0, 6
	topic.Partitions = append(topic.Partitions, partition)
	remove.Topics = append(remove.Topics, topic)
	if _, err := remove.RequestWith(t.Context(), b.client); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.got[walletOf(0, 1)] = 6 // the client reads the statement
	r.mu.Unlock()
	b.start()
	testkit.Until(t, "the rest has arrived", r.has(b))
	testkit.Until(t, "it says what is missing", func() error {
		got := b.state(id, "missed->0->>'partition' || ' ' || (missed->0->>'from') || ' ' || (missed->0->>'to')")
		return testkit.Unless(got == "0 1 6", "%q", got)
	})
}

// A cursor beyond the end of the log goes back to what was written since it last moved.
func TestATopicThatWasMadeAnewIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	for range 20 {
		b.produce(1, 1)
	}
	testkit.Until(t, "all has arrived", r.has(b))
	b.awaitSaved(id)
	b.deleteTopic()
	testkit.Until(t, "it says that there is no topic", h.admin.Says("topic of events"))
	b.createTopic()
	b.connect() // the client of before knows the topic by its id
	for range 5 {
		b.produce(1, 1, 2)
	}
	testkit.Until(t, "all has arrived", r.has(b))
	testkit.Until(t, "it says what is missing", func() error {
		return testkit.Unless(b.state(id, "missed->0->>'to'") == "20", "%s", b.state(id, "missed"))
	})
	h.admin.UntilWell(t)
}

// A run stalls when the log is made anew: what was finished beyond the end of the new one says nothing of its messages.
func TestATopicThatWasMadeAnewIsReadBehindAStalledRun(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	r.answers(func(_ http.ResponseWriter, _ *http.Request, m received) int {
		if m.walletID == walletOf(0, 2) {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	b.produce(1, 2)
	for range 20 {
		b.produce(1, 1)
	}
	testkit.Until(t, "all behind the stalled run has arrived", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return testkit.Unless(r.got[walletOf(0, 1)] == 20, "%d have", r.got[walletOf(0, 1)])
	})
	b.deleteTopic()
	testkit.Until(t, "it says that there is no topic", h.admin.Says("topic of events"))
	b.createTopic()
	b.connect()
	testkit.Until(t, "it says what is missing", func() error {
		return testkit.Unless(b.state(id, "missed->0->>'to'") == "21", "%s", b.state(id, "missed"))
	})
	for range 5 {
		b.produce(1, 1, 2)
	}
	r.mu.Lock()
	r.got[walletOf(0, 2)] = 1 // the client reads the statement
	r.mu.Unlock()
	r.answers(nil)
	testkit.Until(t, "all has arrived", r.has(b))
}

// A partition without a leader holds up no other, and is delivered from once it has one.
func TestAPartitionThatCannotBeAskedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	b, broker := newBrokenBed(t, 3)
	r := newReceiver(t)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	h.stop()
	var leads atomic.Bool
	broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		list := request.(*kmsg.ListOffsetsRequest)
		if leads.Load() || list.Topics[0].Partitions[0].Partition != 1 {
			return nil, nil, false
		}
		response := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic, partition := kmsg.NewListOffsetsResponseTopic(), kmsg.NewListOffsetsResponseTopicPartition()
		partition.Partition, partition.ErrorCode = 1, kerr.LeaderNotAvailable.Code
		topic.Topic, topic.Partitions = b.topic, append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	h = b.launch()
	b.produce(1, 0, 1, 2)
	testkit.Until(t, "what is in the other partitions has arrived", func() error {
		return testkit.Unless(len(r.seen()) == 2, "%d have", len(r.seen()))
	})
	testkit.Until(t, "health says it", h.admin.Says("partition 1"))
	newcomer := newReceiver(t)
	b.endpoint(newcomer)
	b.produce(1, 3, 5) // wallets of which it knows nothing yet, in the same partitions
	testkit.Until(t, "an endpoint that is made meanwhile begins", func() error {
		return testkit.Unless(len(newcomer.seen()) == 2, "%d have arrived", len(newcomer.seen()))
	})
	leads.Store(true)
	testkit.Until(t, "all has arrived", r.has(b))
	h.admin.UntilWell(t)
}

// SIGTERM in the middle of a query ends neither the session nor what is under way: that is saved.
func TestAProcessThatEndsInTheMiddleOfARoundSavesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	answer := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(letGo)
	r.answers(func(http.ResponseWriter, *http.Request, received) int {
		<-answer
		return http.StatusOK
	})
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "a delivery is under way", func() error { return testkit.Unless(len(r.seen()) > 0, "none is") })
	tx, err := b.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE hook_states IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	b.ask(id, hook.Enable, nil, nil)
	testkit.Until(t, "it waits for Postgres", func() error {
		var waits int
		b.scan(&waits, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'test_wallet_hooks' AND wait_event_type = 'Lock'")
		return testkit.Unless(waits == 1, "%d wait", waits)
	})
	h.cancel()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	letGo()
	<-h.done
	b.awaitSaved(id)
}

// An endpoint whose receiver was down for long is read from the log, by turns, and holds next to nothing in memory.
// Catching up takes all that the machine has, and so nothing else runs beside it.
func TestManyEndpointsFarBehindCatchUp(t *testing.T) {
	b := newBed(t, 2)
	var receivers []*receiver
	var ids []uuid.UUID
	for range 6 { // of two partitions each: more than maxCatchUp, and some wait for their turn
		r := newReceiver(t)
		receivers, ids = append(receivers, r), append(ids, b.endpoint(r))
	}
	h := b.start()
	b.awaitBegun(ids...)
	h.stop()
	wallets := make([]int, 500)
	for i := range wallets {
		wallets[i] = i % 20
	}
	for range 24 { // 12,000 messages, more than the rings have
		b.produce(1, wallets...)
	}
	b.start()
	for _, r := range receivers {
		testkit.Within(t, 2*time.Minute, "all has arrived", r.has(b))
		if r.doubled > 0 {
			t.Errorf("%d came twice", r.doubled)
		}
	}
}
