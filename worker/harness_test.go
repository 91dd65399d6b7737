package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// A store is a test's database, with what the api does to it.
type store struct {
	testing.TB
	testdb.Database
	conn    *pgx.Conn
	topic   string    // of the outbox rows
	damaged uuid.UUID // a wallet that offsets may pass
}

func newStore(t testing.TB) *store {
	database := testdb.New(t)
	s := &store{TB: t, Database: database, conn: database.Conn(t), topic: "wallet-operations"}
	s.exec("INSERT INTO outbox_topics VALUES ($1, 1)", eventsTopic)
	return s
}

// wallet opens a wallet.
func (s *store) wallet() uuid.UUID {
	s.Helper()
	id, err := testdb.CreateWallet(context.Background(), s.conn)
	if err != nil {
		s.Fatal(err)
	}
	return id
}

func (s *store) exec(sql string, args ...any) {
	s.Helper()
	if _, err := s.conn.Exec(context.Background(), sql, args...); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
}

// accept accepts operations: positive amounts are deposits, negative ones withdrawals. It returns
// their messages, as the api writes them.
func (s *store) accept(wallet uuid.UUID, amounts ...int64) [][]byte {
	s.Helper()
	operations := make([]testdb.Operation, len(amounts))
	for i, amount := range amounts {
		operations[i] = testdb.Operation{WalletID: wallet, ID: uuid.New(), Amount: amount}
	}
	messages, err := testdb.Accept(context.Background(), s.conn, s.topic, operations...)
	if err != nil {
		s.Fatalf("accept: %v", err)
	}
	return messages
}

// ask accepts an operation of any type, as the api does.
func (s *store) ask(o operation) operation {
	s.Helper()
	if o.ID == uuid.Nil {
		o.ID = uuid.New()
	}
	ctx := context.Background()
	err := pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `UPDATE wallet_sequences SET last_seq = last_seq + 1, last_at = greatest(last_at, clock_timestamp())
			WHERE wallet_id = $1 RETURNING last_seq, last_at`, o.WalletID).Scan(&o.Seq, &o.CreatedAt)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO operations (wallet_id, seq, id, type, amount, reference, created_at, subject_id, counterpart_id, expires_at, final)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			o.WalletID, o.Seq, o.ID, o.Type, o.Amount, o.Reference, o.CreatedAt, o.SubjectID, o.CounterpartID, o.ExpiresAt, o.Final); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO outbox (topic, key, payload, headers) VALUES ($1, $2, $3, $4)",
			s.topic, o.WalletID.String(), message(o), event.Headers(string(o.Type)))
		return err
	})
	if err != nil {
		s.Fatalf("accept %+v: %v", o, err)
	}
	return o
}

// message is an operation's.
func message(o operation) []byte {
	return event.Message{WalletID: o.WalletID, Sequence: o.Seq, OperationID: o.ID, Type: string(o.Type), Amount: o.Amount, AcceptedAt: o.CreatedAt}.Encode()
}

// A topic of the real Kafka that TEST_KAFKA_BROKERS names.
type topic struct {
	testing.TB
	name    string
	brokers string
	client  *kgo.Client

	mu       sync.Mutex
	produced []*kgo.Record
}

func newTopic(t testing.TB, partitions int32) *topic {
	t.Helper()
	brokers := os.Getenv("TEST_KAFKA_BROKERS")
	if brokers == "" {
		t.Fatal("TEST_KAFKA_BROKERS is not set: run `make test`, or set it to a Kafka broker's address")
	}
	return newTopicAt(t, brokers, partitions)
}

func newTopicAt(t testing.TB, brokers string, partitions int32) *topic {
	t.Helper()
	k := &topic{TB: t, name: "worker-test-" + uuid.NewString(), brokers: brokers}
	k.connect()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = k.name, partitions, 1
	create.Topics = append(create.Topics, topic)
	if _, err := create.RequestWith(t.Context(), k.client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		remove := kmsg.NewPtrDeleteTopicsRequest()
		remove.TopicNames = []string{k.name}
		remove.Topics = append(remove.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &k.name})
		_, _ = remove.RequestWith(context.Background(), k.client)
	})
	return k
}

func (k *topic) connect() {
	k.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.brokers, ",")...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		k.Fatal(err)
	}
	k.client = client
	k.Cleanup(client.Close)
}

// produce writes messages keyed by wallet.
func (k *topic) produce(payloads ...[]byte) {
	k.Helper()
	records := make([]*kgo.Record, len(payloads))
	for i, payload := range payloads {
		m, err := event.DecodeHint(payload)
		if err != nil {
			k.Fatal(err)
		}
		records[i] = &kgo.Record{Topic: k.name, Key: []byte(m.WalletID.String()), Value: payload}
	}
	if err := k.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		k.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.produced = append(k.produced, records...)
}

// committed returns the group's committed offsets by partition.
func (k *topic) committed(group string) map[int32]int64 {
	k.Helper()
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group = group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	request.Groups = append(request.Groups, g)
	response, err := request.RequestWith(context.Background(), k.client)
	if err != nil {
		k.Fatal(err)
	}
	offsets := map[int32]int64{}
	for _, g := range response.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				offsets[p.Partition] = max(0, p.Offset)
			}
		}
	}
	return offsets
}

// checkOffsets checks that everything below the committed offsets is finished in Postgres, but for
// the damaged wallet, and returns how many messages that is.
func (s *store) checkOffsets(k *topic) int64 {
	s.Helper()
	committed := k.committed(k.name)
	applied := map[uuid.UUID]int64{}
	rows, err := s.conn.Query(context.Background(), "SELECT id, applied_seq FROM wallets")
	if err != nil {
		s.Fatal(err)
	}
	var id uuid.UUID
	var seq int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &seq}, func() error { applied[id] = seq; return nil }); err != nil {
		s.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, record := range k.produced {
		m, _ := event.DecodeHint(record.Value)
		if record.Offset < committed[record.Partition] && applied[m.WalletID] < m.Sequence && m.WalletID != s.damaged {
			s.Errorf("partition %d is committed up to %d, but offset %d is not applied", record.Partition, committed[record.Partition], record.Offset)
		}
	}
	var sum int64
	for _, offset := range committed {
		sum += offset
	}
	return sum
}

// waitCommitted waits until the group has committed n messages in all.
func (s *store) waitCommitted(k *topic, n int64) {
	s.Helper()
	testkit.Until(s, "all is committed", func() error {
		got := s.checkOffsets(k)
		return testkit.Unless(got == n, "%d messages of %d are", got, n)
	})
}

// testHealth is of a worker that says nothing.
func testHealth() *service.Health { return service.NewHealth(discard, prometheus.NewRegistry()) }

// A worker that runs within the test.
type running struct {
	testing.TB
	group  string
	cancel context.CancelFunc
	done   chan struct{}
	code   int
	log    *testkit.Log
	admin  testkit.Admin
}

// startWorker runs a worker; settings override the test's own, as NAME=value.
func (s *store) startWorker(k *topic, settings ...string) *running {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &running{
		TB: s.TB, group: k.name, cancel: cancel, done: make(chan struct{}),
		log: testkit.NewLog(s, "a worker"), admin: testkit.Admin(testkit.FreeAddr(s).String()),
	}
	environ := s.environ(k, append(settings, "ADMIN_ADDR="+string(w.admin))...)
	go func() {
		defer close(w.done)
		w.code = program.Start(ctx, environ, w.log)
	}()
	s.Cleanup(w.stop)
	return w
}

func (s *store) environ(k *topic, settings ...string) []string {
	return append([]string{
		"DATABASE_URL=" + s.As(testdb.Worker), "REDIS_URL=" + redisURL(s), "KAFKA_BROKERS=" + k.brokers,
		"TOPIC=" + k.name, "KAFKA_GROUP=" + k.name, "ADMIN_ADDR=127.0.0.1:0", "BATCH_INTERVAL=20ms",
	}, settings...)
}

// stop ends a worker as SIGTERM does.
func (w *running) stop() {
	w.Helper()
	w.cancel()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second): // it takes 4.5 s itself at most
		w.Error("the worker does not stop within 20 s")
	}
}

// waitForPartitions waits until the worker has been given a partition.
func (w *running) waitForPartitions() {
	w.Helper()
	testkit.Until(w, "the worker has a partition", func() error {
		return testkit.Unless(assignedSome.MatchString(w.log.String()), "it has none")
	})
}

var assignedSome = regexp.MustCompile(`"partitions assigned","partitions":\[\d`)

func (w *running) waitForLog(text string) {
	w.Helper()
	testkit.Until(w, "the worker logs it", w.log.Has(text))
}

func redisURL(t testing.TB) string {
	given := os.Getenv("TEST_REDIS_URL")
	if given == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or set it to a Redis server's URL")
	}
	return given
}

// waitApplied waits until every accepted operation has an outcome.
func (s *store) waitApplied() {
	s.Helper()
	testkit.Until(s, "all is applied", func() error {
		var behind int
		s.scan(&behind, "SELECT count(*) FROM operation_states WHERE status = 'PENDING'")
		return testkit.Unless(behind == 0, "%d operations are pending", behind)
	})
}

func (s *store) scan(value any, sql string, args ...any) {
	s.Helper()
	if err := s.conn.QueryRow(context.Background(), sql, args...).Scan(value); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
}

func (s *store) wantBalance(wallet uuid.UUID, balance, appliedSeq int64) {
	s.Helper()
	w, err := walletdb.New(s.conn).GetWallet(context.Background(), wallet)
	if err != nil || w.Balance != balance || w.AppliedSeq != appliedSeq {
		s.Errorf("wallet has balance %d at sequence %d (%v), want %d at %d", w.Balance, w.AppliedSeq, err, balance, appliedSeq)
	}
}

// audit checks that every operation was applied once and in order, that the balances add up, and that the events say so.
func (s *store) audit() {
	s.Helper()
	for fact, sql := range map[string]string{
		"every sequence is dense and finished": `
			SELECT count(*) FROM wallets w JOIN wallet_sequences s ON s.wallet_id = w.id
			LEFT JOIN LATERAL (SELECT count(*) n, max(seq) last FROM outcomes o WHERE o.wallet_id = w.id) o ON true
			WHERE w.applied_seq <> s.last_seq OR o.n <> s.last_seq OR coalesce(o.last, 0) <> s.last_seq`,
		"balance_after is an unbroken chain": `
			SELECT count(*) FROM (
			  SELECT o.balance_after, lag(o.balance_after, 1, 0::bigint) OVER (PARTITION BY o.wallet_id ORDER BY o.seq)
			    + CASE WHEN o.status = 'FAILED' THEN 0
			        WHEN o.type IN ('DEPOSIT', 'RECEIVE', 'RETURN') OR o.type = 'REVERSE' AND s.type <> 'DEPOSIT' THEN 1
			        WHEN o.type IN ('WITHDRAW', 'CAPTURE', 'TRANSFER', 'REVERSE') THEN -1 ELSE 0 END * coalesce(o.applied_amount, o.amount) AS expected
			  FROM operation_states o LEFT JOIN operations s ON s.id = o.subject_id) c WHERE balance_after IS DISTINCT FROM expected`,
		"what is held is what the open holds have left": `
			SELECT count(*) FROM wallets w WHERE w.held <> (
			  SELECT coalesce(sum(coalesce((SELECT n.subject_left FROM operation_states n WHERE n.subject_id = h.hold_id AND n.status <> 'PENDING' ORDER BY n.seq DESC LIMIT 1), o.amount)), 0)
			  FROM open_holds h JOIN operations o ON o.id = h.hold_id WHERE h.wallet_id = w.id)`,
		"what one wallet has given another one has been offered": `
			SELECT count(*) FROM operation_states d WHERE d.status = 'PROCESSED' AND (d.type = 'TRANSFER' OR d.type = 'CAPTURE' AND d.counterpart_id IS NOT NULL)
			AND NOT EXISTS (SELECT FROM operations r WHERE r.type = 'RECEIVE' AND r.subject_id = d.id AND r.amount = coalesce(d.applied_amount, d.amount))`,
		"what was not received is given back": `
			SELECT count(*) FROM operation_states d WHERE d.status = 'FAILED' AND d.type = 'RECEIVE'
			AND NOT EXISTS (SELECT FROM operations r WHERE r.type = 'RETURN' AND r.subject_id = d.id AND r.amount = d.amount)`,
		"the balance is the last one of the chain": `
			SELECT count(*) FROM wallets w WHERE w.balance <> coalesce((
			  SELECT balance_after FROM outcomes o WHERE o.wallet_id = w.id ORDER BY seq DESC LIMIT 1), 0)`,
	} {
		var violations int
		s.scan(&violations, sql)
		if violations > 0 {
			s.Errorf("%s: %d violations", fact, violations)
		}
	}
	s.wantEvents(false)
}

var discard = slog.New(slog.DiscardHandler)

func testLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
