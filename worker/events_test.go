package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const eventsTopic = "wallet-events"

// events are those of a topic that is registered.
func (s *store) events(pool *pgxpool.Pool) *events {
	e := newEvents(pool, eventsTopic, "legendary-wallet", testHealth(), newMetrics())
	e.registered.Store(true)
	return e
}

// told is an outbox row of the topic of events, decoded.
type told struct {
	event.Run
	headers map[string]string
}

// wantEvents checks that the events in the outbox follow each other, wallet by wallet, and that they say what the
// database says: of every operation that has an outcome, or if some are gone, of the last ones.
func (s *store) wantEvents(all bool) (events []told) {
	s.Helper()
	rows, err := s.conn.Query(context.Background(), "SELECT key, payload, headers FROM outbox WHERE topic = $1 ORDER BY id", eventsTopic)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	var payloads [][]byte
	for rows.Next() {
		var key, headers string
		var payload []byte
		var e told
		if err := rows.Scan(&key, &payload, &headers); err != nil {
			s.Fatal(err)
		}
		if err := errors.Join(json.Unmarshal(payload, &e.Run), json.Unmarshal([]byte(headers), &e.headers)); err != nil {
			s.Fatalf("event %s with headers %s: %v", payload, headers, err)
		}
		if key != e.WalletID.String() || e.headers["ce_id"] != event.RunID(e.WalletID, e.Version) {
			s.Errorf("key %s, id %s of an event of wallet %s at version %d", key, e.headers["ce_id"], e.WalletID, e.Version)
		}
		payloads, events = append(payloads, payload), append(events, e)
	}
	last := map[uuid.UUID]int64{}
	for i, e := range events {
		if before, known := last[e.WalletID]; e.FromSequence != before+1 && (known || all) || e.Version != e.FromSequence+int64(len(e.Operations))-1 {
			s.Errorf("wallet %s: sequences %d to %d come after %d", e.WalletID, e.FromSequence, e.Version, before)
		}
		last[e.WalletID] = e.Version
		if want := s.run(e); string(payloads[i]) != string(want.Append(nil)) {
			s.Errorf("an event says\n%s, and the database\n%s", payloads[i], want.Append(nil))
		}
	}
	var silent int
	s.scan(&silent, "SELECT count(*) FROM outcomes")
	for _, e := range events {
		silent -= len(e.Operations)
	}
	if all && silent != 0 {
		s.Errorf("events tell of all operations but %d", silent)
	}
	return events
}

// run is the event of the same sequences by what the database says now.
func (s *store) run(e told) event.Run {
	s.Helper()
	ctx := context.Background()
	rows, err := s.conn.Query(ctx, "SELECT * FROM operation_states WHERE wallet_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq", e.WalletID, e.FromSequence, e.Version)
	if err != nil {
		s.Fatal(err)
	}
	states, err := pgx.CollectRows(rows, pgx.RowToStructByPos[walletdb.OperationState])
	if err != nil || len(states) == 0 {
		s.Fatalf("%d operations: %v", len(states), err)
	}
	wallet, err := walletdb.New(s.conn).GetWallet(ctx, e.WalletID)
	if err != nil {
		s.Fatal(err)
	}
	var finished []event.Finished
	for _, state := range states {
		finished = append(finished, event.FinishedOf(state))
	}
	want := event.Wallet{ID: wallet.ID, Tenant: wallet.Tenant, Currency: wallet.Currency}.Run(finished...)
	if want.Truncated = e.Truncated; e.Truncated {
		want.Operations[0].Metadata = nil
	}
	return want
}

func TestEveryOutcomeIsToldOfInItsTransaction(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.wallet(), s.wallet()
	s.exec("INSERT INTO tenants (name) VALUES ('shop')")
	s.exec("UPDATE wallets SET tenant = 'shop', currency = 'USD' WHERE id = $1", b)
	l := s.ledger()
	s.ask(operation{WalletID: a, Type: deposit, Amount: 100})
	held := s.ask(operation{WalletID: a, Type: hold, Amount: 30})
	s.ask(operation{WalletID: a, Type: capture, SubjectID: &held.ID, CounterpartID: &b})
	s.ask(operation{WalletID: a, Type: withdraw, Amount: 1_000})
	s.ask(operation{WalletID: a, Type: freeze})
	with := s.ask(operation{WalletID: a, Type: deposit, Amount: 1})
	s.exec(`UPDATE operations SET metadata = '{"order": "8 <15>", "a": "\"b\""}', reference = 'Köln & "more"' WHERE id = $1`, with.ID)
	s.settle(l, a, b)
	events := s.wantEvents(true)
	if len(events) != 2 || events[0].WalletID != a || events[1].WalletID != b {
		t.Fatalf("events %+v", events)
	}
	if e := events[0]; e.Version != 6 || e.Balance != 71 || e.Held != 0 || e.State != "FROZEN" || e.Tenant != "default" || e.Currency != "EUR" {
		t.Errorf("%+v", e)
	}
	if o := events[0].Operations[5]; string(o.Metadata) != `{"a":"\"b\"","order":"8 <15>"}` || o.Reference != `Köln & "more"` {
		t.Errorf("%+v", o)
	}
	if e := events[1]; e.Version != 1 || e.Balance != 30 || e.Tenant != "shop" || e.Currency != "USD" || e.Operations[0].OperationType != "RECEIVE" {
		t.Errorf("%+v", e)
	}
	s.audit()
}

// A hot wallet has many operations in a transaction; its events have the order of its sequences.
func TestManyOperationsAreToldOfInRuns(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	hot, other := s.wallet(), s.wallet()
	s.accept(hot, repeat(1, maxOperations+10)...)
	s.accept(other, 1)
	s.settle(s.ledger(), hot, other)
	events := s.wantEvents(true)
	if len(events) < 200 || len(events) > 300 {
		t.Errorf("%d events", len(events))
	}
	var largest int
	s.scan(&largest, "SELECT max(octet_length(key) + octet_length(payload) + octet_length(headers)) FROM outbox WHERE topic = $1", eventsTopic)
	if largest > event.MaxRow || largest < event.MaxRow-1_000 {
		t.Errorf("the largest row has %d bytes", largest)
	}
	var moved int
	s.scan(&moved, "SELECT count(*) FROM outbox WHERE pg_column_compression(payload) IS NOT NULL OR pg_column_toast_chunk_id(payload) IS NOT NULL")
	if moved > 0 {
		t.Errorf("Postgres compresses %d rows, or moves them out of line", moved)
	}
	s.audit()
}

// An operation that is larger than a row, which the api accepts none of, is told of without its metadata, and its wallet
// goes on.
func TestNoOperationIsTooLargeToBeToldOf(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.exec("INSERT INTO tenants (name) VALUES ($1)", strings.Repeat("t", 64))
	wallet := s.wallet()
	s.exec("UPDATE wallets SET tenant = $2, balance = $3 WHERE id = $1", wallet, strings.Repeat("t", 64), int64(math.MaxInt64/2))
	l := s.ledger()
	l.events.as = strings.Repeat("s", maxSource)
	metadata := func(o operation, value string) {
		s.exec("UPDATE operations SET metadata = jsonb_build_object('k', $2::text) WHERE id = $1", o.ID, value)
	}
	other, reference := s.wallet(), strings.Repeat("\x01", 128) // the longest as JSON
	s.ask(operation{WalletID: wallet, Type: withdraw, Amount: maxBalance})
	far := time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	h := s.ask(operation{WalletID: wallet, Type: hold, Amount: 1, ExpiresAt: &far})
	yes := true
	for _, size := range []int{3_000, 6_000, 7_000, 8_000, 100_000, 2_000} {
		o := s.ask(operation{WalletID: wallet, Type: capture, SubjectID: &h.ID, CounterpartID: &other, Amount: maxBalance, Reference: &reference, Final: &yes})
		metadata(o, strings.Repeat("😀\"", size/6))
	}
	s.ask(operation{WalletID: wallet, Type: deposit, Amount: 1})
	if halted := s.settle(l, wallet); halted.count() != 0 {
		t.Error("the wallet is halted")
	}
	var truncated []int64
	for _, e := range s.wantEvents(true) {
		if e.Truncated {
			truncated = append(truncated, e.Version)
		}
	}
	if diff := cmp.Diff([]int64{4, 5, 6, 7}, truncated); diff != "" {
		t.Errorf("truncated: %s", diff)
	}
	var applied int64
	if s.scan(&applied, "SELECT applied_seq FROM wallets WHERE id = $1", wallet); applied != 9 {
		t.Errorf("applied up to %d", applied)
	}
}

// A transaction that does not happen tells nothing, and one that happens once tells once.
func TestWhatIsRolledBackIsNotToldOf(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet, poisoned := s.wallet(), s.wallet()
	s.accept(poisoned, 1)
	s.accept(wallet, 1)
	s.exec("INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ($1, 1, 'PROCESSED', 1)", poisoned)
	l := s.ledger()
	if _, err := l.transaction(t.Context(), []target{{walletID: wallet, upTo: 1}, {walletID: poisoned, upTo: 1}}, nil); err == nil {
		t.Error("a transaction with an outcome that exists succeeds")
	}
	s.exec("DELETE FROM outcomes")
	if events := s.wantEvents(true); len(events) > 0 {
		t.Errorf("events %+v", events)
	}
	for range 2 {
		if _, err := l.transaction(t.Context(), []target{{walletID: wallet, upTo: 1}}, nil); err != nil {
			t.Error(err)
		}
	}
	if events := s.wantEvents(true); len(events) != 1 {
		t.Errorf("events %+v", events)
	}
}

func TestAnEventHasTheTraceOfItsLastTracedOperation(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	s.accept(wallet, 1, 2, 3)
	var messages []received
	for seq := int64(1); seq < 4; seq++ {
		m := received{Hint: event.Hint{WalletID: wallet, Sequence: seq}}
		s.scan(&m.OperationID, "SELECT id FROM operations WHERE seq = $1", seq)
		if seq < 3 {
			span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{byte(seq)}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})
			m.parent = &span
		}
		messages = append(messages, m)
	}
	if _, err := s.ledger().transaction(t.Context(), []target{{walletID: wallet, upTo: 3}}, messages); err != nil {
		t.Fatal(err)
	}
	events := s.wantEvents(true)
	const want = "00-02000000000000000000000000000000-0100000000000000-01"
	if len(events) != 1 || events[0].headers["traceparent"] != want {
		t.Errorf("%+v, want the trace %s", events, want)
	}
}

// An upgraded system has no topic of events yet. Operations are applied, nothing is written that the relay would stop
// at, and /readyz says why. Once the topic is there, events are.
func TestWithoutATopicThereAreNoEvents(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	k := newTopic(t, 1)
	s.topic = k.name
	s.exec("DELETE FROM outbox_topics")
	w := s.startWorker(k)
	wallet := s.wallet()
	k.produce(s.accept(wallet, 1, 2)...)
	s.waitApplied()
	isMissing := func(missing bool) {
		t.Helper()
		testkit.Until(t, "the worker says so", w.admin.Is(func(s testkit.State) bool {
			return s.Says("events: topic wallet-events is not registered") == missing && s.Well() != missing && s.Ready
		}))
		want := map[bool]string{false: "0", true: "1"}[missing]
		if got, err := w.admin.Metric("wallet_worker_events_missing"); got != want || err != nil {
			t.Errorf("wallet_worker_events_missing is %s, %v; want %s", got, err, want)
		}
	}
	isMissing(true)
	if events := s.wantEvents(false); len(events) > 0 {
		t.Errorf("events %+v", events)
	}
	s.exec("INSERT INTO outbox_topics VALUES ($1, 1)", eventsTopic)
	isMissing(false)
	k.produce(s.accept(wallet, 3)...)
	s.waitApplied()
	if events := s.wantEvents(false); len(events) != 1 || events[0].FromSequence != 3 {
		t.Errorf("events %+v", events)
	}
	s.exec("DELETE FROM outbox_topics")
	isMissing(true)
	k.produce(s.accept(wallet, 4)...)
	s.waitApplied()
	if events := s.wantEvents(false); len(events) != 1 {
		t.Errorf("events %+v", events)
	}
	s.audit()
}

func TestEventsCanBeOff(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	k := newTopic(t, 1)
	s.topic = k.name
	w := s.startWorker(k, "EVENTS_TOPIC=")
	wallet := s.wallet()
	k.produce(s.accept(wallet, 1, 2)...)
	s.waitApplied()
	if events := s.wantEvents(false); len(events) > 0 {
		t.Errorf("events %+v", events)
	}
	testkit.Until(t, "the worker is well", w.admin.Is(testkit.State.Well))
}

// Whatever is wrong with the look for the topic, a worker starts.
func TestAWorkerThatMayNotLookForTheTopicWritesNoEvents(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.ledger()
	e := newEvents(l.pool, eventsTopic, "legendary-wallet", testHealth(), newMetrics())
	s.exec("REVOKE SELECT ON outbox_topics FROM wallet_worker")
	e.await(t.Context())
	if got := e.health.State().Degraded; e.source() != "" || len(got) != 1 {
		t.Errorf("source %q, degraded %q", e.source(), got)
	}
	s.exec("GRANT SELECT ON outbox_topics TO wallet_worker")
	e.await(t.Context())
	if got := e.health.State().Degraded; e.source() == "" || len(got) != 0 {
		t.Errorf("source %q, degraded %q", e.source(), got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.look(ended); err == nil || e.source() == "" {
		t.Errorf("Postgres cannot be asked (%v), and what was known counts no more", err)
	}
}

// A lock on the table of topics costs no event: what was known counts.
func TestALookForTheTopicThatALockIsInTheWayOfChangesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	impatient := s.ledger().pool.Config()
	impatient.ConnConfig.RuntimeParams["lock_timeout"] = "100"
	pool, err := pgxpool.NewWithConfig(t.Context(), impatient)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	e := s.events(pool)
	s.exec("BEGIN")
	s.exec("LOCK TABLE outbox_topics")
	defer s.exec("ROLLBACK")
	if err := e.look(t.Context()); !lockTimedOut(err) || e.source() == "" {
		t.Errorf("the table is locked (%v), and what was known counts no more", err)
	}
}

// BenchmarkEvents is what the events of a transaction cost the worker itself: b.N operations.
func BenchmarkEvents(b *testing.B) {
	for _, source := range []string{"", "legendary-wallet"} {
		for _, wallets := range []int{1, 2_000} {
			b.Run(fmt.Sprintf("source %q, %d wallets", source, wallets), func(b *testing.B) {
				const operations = 2_000
				read := reading{source: source, at: time.Now()}
				for i := range wallets {
					w := walletdb.Wallet{ID: uuid.UUID{byte(i >> 8), byte(i)}, State: active, Tenant: "default", Currency: "EUR"}
					read.wallets = append(read.wallets, w)
					for n := range operations / wallets {
						read.pending = append(read.pending, operation{WalletID: w.ID, Seq: int64(n) + 1, ID: uuid.New(), Type: deposit, Amount: 5, CreatedAt: read.at})
					}
				}
				b.ReportAllocs()
				var usage syscall.Rusage
				cpu := func() time.Duration {
					_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
					return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
				}
				begin := cpu()
				for b.Loop() {
					again := read
					again.wallets = append([]walletdb.Wallet(nil), read.wallets...)
					if _, err := newPlan(again); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpu()-begin)/float64(b.N)/operations, "cpu-ns/operation")
			})
		}
	}
}
