package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	metadataTimeout = 3 * time.Second // it cannot be cut short when the relay has to end
	// closeTimeout bounds the wait for librdkafka, whose destructor can hang. A producer that hangs is
	// abandoned; beyond maxAbandoned of them the process ends, and its restart cleans up.
	closeTimeout = time.Second
	maxAbandoned = 10
	causeTimeout = 300 * time.Millisecond
)

// producerRules are what the order of messages rests on, and how this file uses librdkafka; operators cannot set them.
var producerRules = kafka.ConfigMap{
	"acks":               "all",
	"enable.idempotence": true,
	// Without this, a permanent error of one batch lets the next one in.
	"enable.gapless.guarantee": true,
	// With more, a new partition can take B before A (KAFKA-15591).
	"max.in.flight.requests.per.connection": 1,
	// A message that librdkafka abandons by itself is a gap: the publish batch has a deadline instead.
	"message.timeout.ms": 0,

	"go.delivery.report.fields": "none",
	"go.events.channel.size":    4 * batchLimits.rows,
	"go.logs.channel.enable":    true,
}

// producerDefaults can be set otherwise by RDKAFKA_ variables.
var producerDefaults = kafka.ConfigMap{
	"linger.ms":          1, // 0 sends a first request of one message
	"batch.num.messages": 10000,
	"batch.size":         1000000,
	// Bounded memory. publish waits while the queue is full.
	"queue.buffering.max.messages": 2 * batchLimits.rows,
	"queue.buffering.max.kbytes":   16384,
	// The relay notices a dead broker within 10 s.
	"socket.timeout.ms":                  10000,
	"request.timeout.ms":                 10000,
	"socket.connection.setup.timeout.ms": 10000,
	"reconnect.backoff.ms":               50,
	"reconnect.backoff.max.ms":           1000,
	"socket.keepalive.enable":            true,
	"allow.auto.create.topics":           false,
	"client.id":                          "wallet-relay",
}

// rejections are the errors that a message gets on every try.
var rejections = []kafka.ErrorCode{
	kafka.ErrMsgSizeTooLarge, kafka.ErrInvalidMsgSize, kafka.ErrInvalidMsg, kafka.ErrInvalidRecord,
	kafka.ErrInvalidTimestamp, kafka.ErrTopicAuthorizationFailed, kafka.ErrTopicException, kafka.ErrPolicyViolation,
}

// kafkaProducer is a producer for as long as nothing fails.
type kafkaProducer struct {
	producer *kafka.Producer
	checked  map[string]bool
	log      *slog.Logger
	lastErr  error // the last one that librdkafka has reported and works on
	took     func(phase string, d time.Duration)
}

// producerConfig is what the producer is made with.
func producerConfig(env *service.Env, brokers string, given map[string]string) *kafka.ConfigMap {
	rules := maps.Clone(producerRules)
	rules["bootstrap.servers"] = brokers
	config := service.Properties(env, "the relay", given, producerDefaults, rules)
	return &config
}

func newKafkaProducer(config *kafka.ConfigMap, log *slog.Logger, took func(phase string, d time.Duration)) (*kafkaProducer, error) {
	p, err := kafka.NewProducer(config)
	if err != nil {
		return nil, fmt.Errorf("make a kafka producer: %w", err)
	}
	go func() { // An unread channel would freeze the producer.
		for event := range p.Logs() {
			log.Debug("librdkafka", "tag", event.Tag, "text", event.Message)
		}
	}()
	return &kafkaProducer{producer: p, checked: map[string]bool{}, log: log, took: took}, nil
}

func (k *kafkaProducer) publish(ctx context.Context, messages []message) error {
	acknowledged, started := 0, time.Now()
	for i := range messages {
		m := &messages[i]
		if err := k.check(ctx, m); err != nil {
			return err
		}
		headers, err := parseHeaders(m.Headers)
		if err != nil {
			return &rejectedError{fmt.Errorf("headers of outbox row %d: %w", m.ID, err)}
		}
		if m.span != nil {
			headers = slices.DeleteFunc(headers, func(h kafka.Header) bool { return h.Key == "traceparent" })
			headers = append(headers, kafka.Header{Key: "traceparent", Value: traceparent(m.span)})
		}
		out := &kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &m.Topic, Partition: m.partition},
			Key:            []byte(m.Key),
			Value:          m.Payload,
			Headers:        headers,
		}
		err = k.producer.Produce(out, nil)
		for ; isFull(err); err = k.producer.Produce(out, nil) {
			if err := k.await(ctx, &acknowledged, len(messages)); err != nil {
				return err
			}
		}
		if err != nil {
			out.TopicPartition.Error = err
			return failure(out)
		}
	}
	produced := time.Now()
	k.took("produce", produced.Sub(started))
	for acknowledged < len(messages) {
		if err := k.await(ctx, &acknowledged, len(messages)); err != nil {
			return err
		}
	}
	k.took("ack", time.Since(produced))
	return nil
}

// await waits for the next event and counts it if it is an acknowledgement. Messages need not be
// told apart: a batch is acknowledged as a whole, or not.
func (k *kafkaProducer) await(ctx context.Context, acknowledged *int, of int) error {
	select {
	case event := <-k.producer.Events():
		switch event := event.(type) {
		case *kafka.Message:
			if event.TopicPartition.Error != nil {
				return k.cause(failure(event))
			}
			*acknowledged++
			failpoint.Reach("relay-mid-wave")
		case kafka.Error:
			if event.IsFatal() {
				return k.cause(fmt.Errorf("kafka producer: %w", event))
			}
			k.lastErr = event
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("kafka acknowledged %d of %d messages: %w", *acknowledged, of, ctx.Err()), k.lastErr)
	}
}

// cause looks for a rejection among the reports that follow the first error of a batch: the error of
// the producer, which ends with it, comes first, and the other messages' reports do not name the reason.
func (k *kafkaProducer) cause(err error) error {
	patience := time.After(causeTimeout)
	for {
		var rejected *rejectedError
		if errors.As(err, &rejected) {
			return err
		}
		select {
		case event := <-k.producer.Events():
			m, ok := event.(*kafka.Message)
			if ok && m.TopicPartition.Error != nil && errors.As(failure(m), &rejected) {
				return rejected
			}
		case <-patience:
			return err
		}
	}
}

// check refuses a topic that has fewer partitions than registered, or is missing: its messages would
// wait for ever. More partitions do no harm.
func (k *kafkaProducer) check(ctx context.Context, m *message) error {
	if k.checked[m.Topic] {
		return nil
	}
	timeout := metadataTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	metadata, err := k.producer.GetMetadata(&m.Topic, false, int(max(timeout, time.Millisecond).Milliseconds()))
	if err != nil {
		return fmt.Errorf("ask kafka for topic %q: %w", m.Topic, errors.Join(err, k.lastErr))
	}
	topic := metadata.Topics[m.Topic]
	if topic.Error.Code() != kafka.ErrNoError {
		return fmt.Errorf("ask kafka for topic %q: %w", m.Topic, topic.Error)
	}
	if len(topic.Partitions) < int(m.partitions) {
		return &stoppedError{fmt.Sprintf("publishing has stopped: topic %q has %d partitions at the broker and %d registered; add the missing ones at the broker", m.Topic, len(topic.Partitions), m.partitions)}
	}
	k.checked[m.Topic] = true
	return nil
}

// abandoned counts the producers that are still closing.
var abandoned atomic.Int32

// close forgets what is unsent. A request under way may still reach the broker, and is a duplicate then.
func (k *kafkaProducer) close() {
	_ = k.producer.Purge(kafka.PurgeInFlight | kafka.PurgeQueue | kafka.PurgeNonBlocking)
	closed := make(chan struct{})
	n := abandoned.Add(1)
	go func() {
		k.producer.Close()
		abandoned.Add(-1)
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
		if n > maxAbandoned {
			k.log.Error("kafka producers do not close; the process ends to be started anew", "producers", n)
			os.Exit(1)
		}
	}
}

func isFull(err error) bool {
	var e kafka.Error
	return errors.As(err, &e) && e.Code() == kafka.ErrQueueFull
}

// failure marks an error that comes back on every try, as rejectedError. A new producer may not have others.
func failure(m *kafka.Message) error {
	err := fmt.Errorf("kafka, topic %q: %w", *m.TopicPartition.Topic, m.TopicPartition.Error)
	var e kafka.Error
	if errors.As(err, &e) && slices.Contains(rejections, e.Code()) {
		return &rejectedError{err}
	}
	return err
}
