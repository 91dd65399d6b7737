package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
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
	config, err := loadConfig(environ(database, brokers(b)))
	if err != nil {
		b.Fatal(err)
	}
	r := newRelay(config, newStatus(slogTo(b.Output())))
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

// BenchmarkLibrdkafka publishes as many messages as fast as the client library can.
func BenchmarkLibrdkafka(b *testing.B) {
	database := testdb.New(b)
	topic := newTopic(b, database, brokers(b), 8)
	config := producerConfig(brokers(b), map[string]string{"queue.buffering.max.messages": "1000000", "queue.buffering.max.kbytes": "1000000"})
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
