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

// logReader collects Kafka's log as it grows.
type logReader struct {
	brokers []string
	topic   string

	mu     sync.Mutex
	client *kgo.Client
	log    []check.Message
}

func followLog(brokers []string, topic string) (*logReader, error) {
	r := &logReader{brokers: brokers, topic: topic}
	return r, r.Reopen()
}

// Reopen begins again, on a topic that was made anew: a client holds on to the one that it knew.
func (r *logReader) Reopen() error {
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
func (r *logReader) Kafka() *kgo.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client
}

// follow goes on until the client is closed. It passes over errors, which are the faults', and over
// what is not an operation: a record that it misses is missed by the check.
func (r *logReader) follow(client *kgo.Client) {
	for {
		fetches := client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		r.mu.Lock()
		for record := range fetches.RecordsAll() {
			if m, err := check.ParseMessage(record); err == nil {
				r.log = append(r.log, m)
			}
		}
		r.mu.Unlock()
	}
}

// Of returns the messages of some wallets, in the order of their partitions.
func (r *logReader) Of(wallets []uuid.UUID) (log []check.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.log {
		if slices.Contains(wallets, m.WalletID) {
			log = append(log, m)
		}
	}
	return log
}

func (r *logReader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = nil
}

func (r *logReader) close() { r.Kafka().Close() }
