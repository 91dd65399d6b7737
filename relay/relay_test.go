package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// brokers returns the address of Apache Kafka.
func brokers(t testing.TB) string {
	t.Helper()
	given := os.Getenv("TEST_KAFKA_BROKERS")
	if given == "" {
		t.Fatal("TEST_KAFKA_BROKERS is not set: run `make test`, or set it to the address of an Apache Kafka broker")
	}
	return given
}

// put inserts rows of a key in one transaction; their payloads count on from first.
func put(t testing.TB, conn *pgx.Conn, topic, key string, first, rows int) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `INSERT INTO outbox (topic, key, payload, headers)
		SELECT $1, $2, convert_to(n::text, 'UTF8'), '{"version": "1"}' FROM generate_series($3::int, $3::int + $4::int - 1) n`, topic, key, first, rows)
	if err != nil {
		t.Fatal(err)
	}
}

// newTopic makes a topic of its own for a test and registers it.
func newTopic(t testing.TB, database testdb.Database, brokers string, partitions int, config ...string) string {
	t.Helper()
	name := "relay-test-" + uuid.NewString()
	settings := map[string]string{}
	for _, pair := range config {
		setting, value, _ := strings.Cut(pair, "=")
		settings[setting] = value
	}
	admin, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": brokers})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	results, err := admin.CreateTopics(t.Context(), []kafka.TopicSpecification{{Topic: name, NumPartitions: partitions, ReplicationFactor: 1, Config: settings}})
	if err != nil || results[0].Error.Code() != kafka.ErrNoError {
		t.Fatal(err, results)
	}
	register(t, database, name, partitions)
	return name
}

// register tells the relays of a topic.
func register(t testing.TB, database testdb.Database, topic string, partitions int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "INSERT INTO outbox_topics VALUES ($1, $2)", topic, partitions); err != nil {
		t.Fatal(err)
	}
}

// environ is the environment of a relay.
func environ(database testdb.Database, brokers string, more ...string) []string {
	return append([]string{
		"DATABASE_URL=" + database.As(testdb.Relay), "KAFKA_BROKERS=" + brokers, "ADMIN_ADDR=127.0.0.1:0",
	}, more...)
}

// newAdmin returns a relay's admin port to be, and the setting.
func newAdmin(t testing.TB) (admin testkit.Admin, setting string) {
	t.Helper()
	admin = testkit.Admin(testkit.FreeAddr(t).String())
	return admin, "ADMIN_ADDR=" + string(admin)
}

// start runs a relay until the test ends or stop is called, which waits for its end.
func start(t testing.TB, environ []string, stderr io.Writer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- program.Start(ctx, environ, stderr); close(ended) }()
	stop = func() {
		cancel()
		select {
		case code := <-ended:
			if code != 0 {
				t.Errorf("the relay ended with %d", code)
			}
		case <-time.After(30 * time.Second):
			t.Error("the relay does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// silence is how long a test waits for the next message.
const silence = 15 * time.Second

// A received message.
type received struct {
	key, value string
	headers    string
	partition  int32
}

// subscribe opens a topic at its begin.
func subscribe(t testing.TB, brokers, topic string, partitions int) *kafka.Consumer {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": brokers, "group.id": topic, "enable.auto.commit": false, "fetch.wait.max.ms": 20, "log_level": 0})
	if err != nil {
		t.Fatal(err)
	}
	var assignment []kafka.TopicPartition
	for p := range partitions {
		assignment = append(assignment, kafka.TopicPartition{Topic: &topic, Partition: int32(p), Offset: 0})
	}
	if err := consumer.Assign(assignment); err != nil {
		t.Fatal(err)
	}
	return consumer
}

// receive waits 50 ms for a message.
func receive(consumer *kafka.Consumer) (r received, ok bool) {
	m, ok := consumer.Poll(50).(*kafka.Message)
	if !ok {
		return r, false
	}
	r = received{key: string(m.Key), value: string(m.Value), partition: m.TopicPartition.Partition}
	for _, h := range m.Headers {
		r.headers += h.Key + "=" + string(h.Value) + ";"
	}
	return r, true
}

// consume reads a topic from its begin until enough says so.
func consume(t testing.TB, brokers, topic string, partitions int, enough func(all []received) bool) (all []received) {
	t.Helper()
	consumer := subscribe(t, brokers, topic, partitions)
	defer consumer.Close()
	for last := time.Now(); !enough(all); {
		if r, ok := receive(consumer); ok {
			all, last = append(all, r), time.Now()
		} else if time.Since(last) > silence {
			t.Fatalf("nothing comes after %d messages", len(all))
		}
	}
	return all
}

func TestRowsArriveInOrderWithTheirHeadersAndPartitions(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 4)
	conn := database.Conn(t)
	_, err := conn.Exec(t.Context(), `INSERT INTO outbox (topic, key, payload, headers)
		SELECT $1, 'wallet-' || (n - 1) % 10, convert_to(((n + 9) / 10)::text, 'UTF8'), '{"version": "1", "n": 2}' FROM generate_series(1, 20000) n`, topic)
	if err != nil {
		t.Fatal(err)
	}
	start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	all := consume(t, brokers(t), topic, 4, distinct(20000))
	want := map[string]int{}
	for n := range 10 {
		want[fmt.Sprint("wallet-", n)] = 2000
	}
	if duplicates := checkOrder(t, all, want); duplicates > 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	for _, m := range all {
		if m.partition != partition(m.key, 4) || m.headers != "n=2;version=1;" {
			t.Fatalf("%+v", m)
		}
	}
}

// Ten writers insert in transactions that take long, overlap, abort and use savepoints, each wallet's
// rows under the wallet's lock as the API does; none may be lost or out of order.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	owner := database.Conn(t)
	if _, err := owner.Exec(ctx, "CREATE TABLE wallet (id int PRIMARY KEY, seq int NOT NULL); INSERT INTO wallet SELECT n, 0 FROM generate_series(1, 5) n"); err != nil {
		t.Fatal(err)
	}
	start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	var writers sync.WaitGroup
	for n := range 10 {
		conn := database.Conn(t)
		random := rand.New(rand.NewPCG(1, uint64(n)))
		writers.Go(func() {
			for range 40 {
				if err := writeSome(ctx, conn, topic, random); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	want := map[string]int{}
	rows, err := owner.Query(ctx, "SELECT 'wallet-' || id, seq FROM wallet")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var key string
		var seq int
		if err := rows.Scan(&key, &seq); err != nil {
			t.Fatal(err)
		}
		want[key] = seq
	}
	var total int
	for _, seq := range want {
		total += seq
	}
	checkOrder(t, consume(t, brokers(t), topic, 3, distinct(total)), want)
	t.Logf("%d rows", total)
}

// writeSome is one transaction: it locks wallets in order, and inserts their next rows.
func writeSome(ctx context.Context, conn *pgx.Conn, topic string, random *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	first := 1 + random.IntN(5)
	for wallet := first; wallet <= min(5, first+random.IntN(2)); wallet++ {
		for range 1 + random.IntN(20) {
			_, err := tx.Exec(ctx, `WITH w AS (UPDATE wallet SET seq = seq + 1 WHERE id = $2 RETURNING *)
				INSERT INTO outbox (topic, key, payload) SELECT $1, 'wallet-' || id, convert_to(seq::text, 'UTF8') FROM w`, topic, wallet)
			if err != nil {
				return err
			}
		}
		if random.IntN(3) == 0 {
			savepoint, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			if _, err := savepoint.Exec(ctx, "INSERT INTO outbox (topic, key, payload) VALUES ($1, 'nobody', '')", topic); err != nil {
				return err
			}
			if err := savepoint.Rollback(ctx); err != nil {
				return err
			}
		}
		time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond) // A transaction that takes its time.
	}
	if random.IntN(4) == 0 {
		return nil // Aborted.
	}
	return tx.Commit(ctx)
}

// distinct waits for n different messages.
func distinct(n int) func([]received) bool {
	seen, read := map[string]bool{}, 0
	return func(all []received) bool {
		for ; read < len(all); read++ {
			seen[all[read].key+" "+all[read].value] = true
		}
		return len(seen) >= n
	}
}

// checkOrder fails unless every key's values are 1, 2, 3 and so on to what is wanted, in order of
// their first appearance, and each key in one partition.
func checkOrder(t testing.TB, all []received, want map[string]int) (duplicates int) {
	t.Helper()
	last, home := map[string]int{}, map[string]int32{}
	for _, m := range all {
		value, err := strconv.Atoi(m.value)
		if err != nil {
			t.Fatalf("%+v", m)
		}
		if partition, seen := home[m.key]; seen && partition != m.partition {
			t.Fatalf("%s in partitions %d and %d", m.key, partition, m.partition)
		}
		home[m.key] = m.partition
		switch {
		case value <= last[m.key]:
			duplicates++
		case value == last[m.key]+1:
			last[m.key] = value
		default:
			t.Fatalf("%s: %d appears after %d", m.key, value, last[m.key])
		}
	}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("last values (-want +got):\n%s", diff)
	}
	return duplicates
}

func slogTo(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

// endOffsets returns how many messages a topic has.
func endOffsets(t testing.TB, brokers, topic string, partitions int) (n int64) {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": brokers, "group.id": topic})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for p := range partitions {
		_, end, err := consumer.QueryWatermarkOffsets(topic, int32(p), 5000)
		if err != nil {
			t.Fatal(err)
		}
		n += end
	}
	return n
}

// copyOf restores a copy of a database, to which nobody may be connected.
func copyOf(t testing.TB, original testdb.Database) testdb.Database {
	t.Helper()
	u, err := url.Parse(original.URL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	admin := testdb.Database{URL: u.String()}.Conn(t)
	if _, err := admin.Exec(t.Context(), "CREATE DATABASE "+name+"_copy TEMPLATE "+name); err != nil {
		t.Fatal(err)
	}
	server := u.String()
	t.Cleanup(func() {
		admin, err := pgx.Connect(context.Background(), server)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close(context.Background())
		if _, err := admin.Exec(context.Background(), "DROP DATABASE "+name+"_copy WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + name + "_copy"
	return testdb.Database{URL: u.String()}
}

// rebase does what `ctl relay rebase` does.
func rebase(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		q := walletdb.New(tx)
		if _, err := q.AdoptRows(t.Context()); err != nil {
			return err
		}
		_, err := q.ResetPositions(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A batch of few rows does not make the next one wait longer than the interval, one of many up to three times.
func TestLargeBatchesAreFurtherApart(t *testing.T) {
	t.Parallel()
	r := relay{interval: 20 * time.Millisecond}
	for messages, want := range map[int]time.Duration{1: r.interval, 20: r.interval, 100: r.interval, 150: 3 * r.interval / 2, 300: 3 * r.interval, 5000: 3 * r.interval} {
		if got := r.spacing(messages); got != want {
			t.Errorf("after %d messages %v, want %v", messages, got, want)
		}
	}
	r.lane.others = true
	if got := r.spacing(1); got != 100*time.Millisecond {
		t.Errorf("after an event %v, want 100 ms", got)
	}
}
