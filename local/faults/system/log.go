package system

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/legendary-wallet/legendary-wallet/local/check"
)

// logReader collects the log of a topic as it grows.
type logReader[T any] struct {
	brokers []string
	topic   string
	parse   func(*kgo.Record) (T, error)
	wallet  func(T) uuid.UUID

	mu     sync.Mutex
	client *kgo.Client
	log    []T
}

// followLog follows the topic of operations, followEvents that of outcomes.
func followLog(brokers []string, topic string) (*logReader[check.Message], error) {
	r := &logReader[check.Message]{brokers: brokers, topic: topic, parse: check.ParseMessage, wallet: func(m check.Message) uuid.UUID { return m.WalletID }}
	return r, r.Reopen()
}

func followEvents(brokers []string, topic string) (*logReader[check.Event], error) {
	r := &logReader[check.Event]{brokers: brokers, topic: topic, parse: check.ParseEvent, wallet: func(e check.Event) uuid.UUID { return e.WalletID }}
	return r, r.Reopen()
}

// Reopen begins again, on a topic that was made anew: a client holds on to the one that it knew.
func (r *logReader[T]) Reopen() error {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumeTopics(r.topic), kgo.DefaultProduceTopic(r.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(2*time.Second),
		// Later requests about offsets know a topic by its id alone.
		kgo.MaxVersions(kversion.V3_9_0()))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
	}
	r.client = client
	go r.follow(client)
	return nil
}

// Kafka is for requests to the broker too.
func (r *logReader[T]) Kafka() *kgo.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client
}

// follow goes on until the client is closed. It passes over errors, which are the faults', and over
// what is something else: a record that it misses is missed by the check.
func (r *logReader[T]) follow(client *kgo.Client) {
	for {
		fetches := client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		r.mu.Lock()
		for record := range fetches.RecordsAll() {
			if m, err := r.parse(record); err == nil {
				r.log = append(r.log, m)
			}
		}
		r.mu.Unlock()
	}
}

// Of returns the messages of some wallets, in the order of their partitions.
func (r *logReader[T]) Of(wallets []uuid.UUID) (log []T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.log {
		if slices.Contains(wallets, r.wallet(m)) {
			log = append(log, m)
		}
	}
	return log
}

func (r *logReader[T]) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = nil
}

func (r *logReader[T]) close() { r.Kafka().Close() }
