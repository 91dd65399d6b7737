package main

import (
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/service"
)

// BenchmarkLibrdkafka consumes b.N messages as fast as the client library can, with the worker's
// settings: go test -run - -bench Librdkafka -benchtime 300000x
func BenchmarkLibrdkafka(b *testing.B) {
	const partitions, payload = 8, 220 // bytes, as an operation's message
	topic := newTopic(b, partitions)
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers": topic.brokers, "go.delivery.reports": false,
		"queue.buffering.max.messages": 10_000_000, "queue.buffering.max.kbytes": 2_000_000,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer producer.Close()
	for i := range b.N {
		place := kafka.TopicPartition{Topic: &topic.name, Partition: int32(i % partitions)}
		if err := producer.Produce(&kafka.Message{TopicPartition: place, Value: []byte(strings.Repeat("x", payload))}, nil); err != nil {
			b.Fatal(err)
		}
	}
	if left := producer.Flush(60_000); left > 0 {
		b.Fatalf("%d messages are not acknowledged", left)
	}
	config := service.Properties(service.NewEnv(nil), "the worker", nil, consumerDefaults, consumerRules(topic.brokers, topic.name, ""))
	consumer, err := kafka.NewConsumer(&config)
	if err != nil {
		b.Fatal(err)
	}
	defer consumer.Close()
	go func() {
		for range consumer.Logs() { // An unread channel would freeze the consumer.
		}
	}()
	if err := consumer.Subscribe(topic.name, nil); err != nil {
		b.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for n := 0; n < b.N && time.Now().Before(deadline); {
		if _, isMessage := consumer.Poll(pollTimeoutMs).(*kafka.Message); isMessage {
			if n++; n == 1 {
				b.ResetTimer() // joining the group is over
			}
		}
	}
	b.StopTimer()
	if time.Now().After(deadline) {
		b.Fatalf("not all %d messages came", b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
