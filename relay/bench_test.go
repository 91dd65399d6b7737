package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const benchPayload = 220 // bytes, as an operation's message

// cpu is the process's CPU time.
func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func report(b *testing.B, before time.Duration) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/row")
}

// BenchmarkDrain publishes a backlog of b.N rows: go test -run - -bench . -benchtime 300000x
func BenchmarkDrain(b *testing.B) {
	database := testdb.New(b)
	topic := newTopic(b, database, brokers(b), 8)
	conn := database.Conn(b)
	_, err := conn.Exec(b.Context(), `INSERT INTO outbox (topic, key, payload, headers)
		SELECT $1, gen_random_uuid(), convert_to(repeat('x', $2), 'UTF8'), '{"version": "1"}' FROM generate_series(1, $3)`, topic, benchPayload, b.N)
	if err != nil {
		b.Fatal(err)
	}
	config, err := configOf(environ(database, brokers(b), "TOPIC="+topic))
	if err != nil {
		b.Fatal(err)
	}
	operations, _ := lanes(config.relay, config.topic)
	r := newRelay(config, operations, newLookout(), newStatus(slogTo(b.Output())).operations)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	published := 0
	r.sleep = func(context.Context, time.Duration) { // The relay pauses when nothing is left.
		if n := endOffsets(b, brokers(b), topic, 8); n >= int64(b.N) {
			published = int(n)
			cancel()
		}
	}
	before := cpu()
	b.ResetTimer()
	r.lead(ctx)
	b.StopTimer()
	report(b, before)
	if published != b.N {
		b.Errorf("%d messages", published)
	}
}

// BenchmarkOutbox shows what OUTBOX (0) rows cost the relay's statements, and the one that the worker's
// sweep starts with: while all rows wait; when all are published; when they are deleted, half of them
// while an open transaction keeps their remains; when that has ended; when they are vacuumed. Beside
// these, 100 rows wait. It logs how fast rows are deleted, what it costs to vacuum after 2 % and after 20 %
// of them, and how large the table is. A row takes 800 bytes of disk, its log included. Times are the
// server's, buffers those found and those read.
//
//	for n in 0 10000000; do OUTBOX=$n go test -v -run - -bench Outbox -benchtime 20x -timeout 1h ./relay; done
func BenchmarkOutbox(b *testing.B) {
	rows, _ := strconv.ParseInt(os.Getenv("OUTBOX"), 10, 64)
	database := testdb.New(b)
	config, err := pgx.ParseConfig(database.URL)
	if err != nil {
		b.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { b.Log(notice.Message) }
	conn, err := pgx.ConnectConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(sql string) {
		b.Helper()
		if _, err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatalf("%s: %v", sql, err)
		}
	}
	low := int64(0)
	remove := func(upTo int64) {
		b.Helper()
		began, total := time.Now(), int64(0)
		for deleted := int64(1); deleted > 0 && low < upTo; total += deleted {
			var err error
			if low, deleted, err = deleteOld(b.Context(), conn, low, 0); err != nil {
				b.Fatal(err)
			}
		}
		b.Logf("%d rows deleted in %s", total, time.Since(began))
	}
	if err := walletdb.New(conn).CreatePosition(b.Context(), "wallet-relay"); err != nil {
		b.Fatal(err)
	}
	exec("ALTER TABLE outbox SET (autovacuum_enabled = false)")
	exec("SET synchronous_commit = off")
	exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN 1 .. %d LOOP
		INSERT INTO outbox (topic, key, payload, headers)
		SELECT 'wallet-operations', gen_random_uuid(), convert_to(repeat('x', %d), 'UTF8'), '{"version": "1"}' FROM generate_series(1, 500);
		COMMIT; END LOOP; END $$`, rows/500, benchPayload))
	exec("SET synchronous_commit = on")
	exec("VACUUM ANALYZE outbox")
	measureOutbox(b, database, "waiting", low)

	publish := "UPDATE relay_positions SET prev = pg_current_snapshot()"
	exec(publish)
	measureOutbox(b, database, "published", low)

	exec(publish)
	for _, upTo := range []int64{rows / 50, rows/50 + rows/5} {
		remove(upTo)
		exec("VACUUM (VERBOSE, PROCESS_TOAST false) outbox")
	}
	remove(rows / 2)
	held := database.Conn(b)
	if _, err := held.Exec(b.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM outbox LIMIT 1"); err != nil {
		b.Fatal(err)
	}
	b.Log("a transaction is open")
	remove(1 << 62)
	measureOutbox(b, database, "held", low)

	exec(publish)
	if _, err := held.Exec(b.Context(), "COMMIT"); err != nil {
		b.Fatal(err)
	}
	measureOutbox(b, database, "ended", low)

	exec(publish)
	exec("VACUUM (VERBOSE, PROCESS_TOAST false) outbox")
	measureOutbox(b, database, "vacuumed", low)
}

// measureOutbox runs the statements with what waits and 100 rows more. Rows up to low are deleted.
func measureOutbox(b *testing.B, database testdb.Database, stage string, low int64) {
	b.Helper()
	ctx, conn, p := b.Context(), database.Conn(b), newPlanner(b, database)
	if _, err := p.conn.Exec(ctx, "SET statement_timeout = 0"); err != nil {
		b.Fatal(err)
	}
	put(b, conn, "t", "a", 1, 100)
	var prev, cur, sizes string
	err := conn.QueryRow(ctx, `SELECT prev, pg_current_snapshot()::text,
		(SELECT string_agg(format('%s %s MB', relname, pg_relation_size(oid) / 1000000), ', ') FROM pg_class WHERE relname ~ '^outbox(_pkey|_xid)?$')
		FROM relay_positions`).Scan(&prev, &cur, &sizes)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%s: %s", stage, sizes)
	q := walletdb.New(p)
	for _, statement := range []struct {
		name string
		run  func() error
	}{
		{"window", func() error {
			_, err := q.RelayWindow(ctx, walletdb.RelayWindowParams{Prev: prev, MaxRows: int64(batchLimits.rows), MaxBytes: int64(batchLimits.bytes), Topic: "wallet-operations"})
			return err
		}},
		{"extent", func() error {
			_, err := q.RelayExtent(ctx, walletdb.RelayExtentParams{Prev: prev, Cur: cur})
			return err
		}},
		{"page", func() error {
			_, err := q.RelayPage(ctx, walletdb.RelayPageParams{After: low, UpTo: low + batchLimits.pageWidth, Prev: prev, Cur: cur, MaxBytes: int64(batchLimits.bytes), Topic: "wallet-operations"})
			return err
		}},
		{"backlog", func() error {
			_, err := q.RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: "wallet-relay", Events: "wallet-relay/events", Topic: "wallet-operations", MaxRows: maxCounted})
			return err
		}},
		{"first row", func() error { _, err := q.FirstRow(ctx, low); return err }},
		{"first row of a relay that starts", func() error { _, err := q.FirstRow(ctx, 0); return err }},
		{"the last row, for a sweep that starts", func() error { _, err := q.LastOutboxID(ctx); return err }},
	} {
		b.Run(stage+"/"+statement.name, func(b *testing.B) {
			var ms float64
			var hits, reads int
			for b.Loop() {
				if err := statement.run(); err != nil {
					b.Fatal(err)
				}
				ms, hits, reads = ms+p.Last.Time, hits+p.Last.Hit, reads+p.Last.Read
			}
			b.ReportMetric(ms/float64(b.N), "ms")
			b.ReportMetric(float64(hits)/float64(b.N), "hits")
			b.ReportMetric(float64(reads)/float64(b.N), "reads")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLibrdkafka publishes as many messages as fast as the client library can.
func BenchmarkLibrdkafka(b *testing.B) {
	database := testdb.New(b)
	topic := newTopic(b, database, brokers(b), 8)
	config := producerConfig(service.NewEnv(nil), brokers(b), map[string]string{"queue.buffering.max.messages": "1000000", "queue.buffering.max.kbytes": "1000000"})
	p, err := newKafkaProducer(config, slogTo(b.Output()), func(string, time.Duration) {})
	if err != nil {
		b.Fatal(err)
	}
	defer p.close()
	payload := []byte(strings.Repeat("x", benchPayload))
	before := cpu()
	b.ResetTimer()
	acknowledged := 0
	for i := range b.N {
		key := fmt.Sprintf("%08x-0000-0000-0000-000000000000", i)
		err := p.producer.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: partition(key, 8)},
			Key:            []byte(key), Value: payload, Headers: []kafka.Header{{Key: "version", Value: []byte("1")}},
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		for ; len(p.producer.Events()) > 0; acknowledged++ {
			<-p.producer.Events()
		}
	}
	for ; acknowledged < b.N; acknowledged++ {
		<-p.producer.Events()
	}
	b.StopTimer()
	report(b, before)
}
