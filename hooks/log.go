package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	pollTimeoutMs = 100
	// watchInterval is how often Kafka is asked for the topic's partitions and where they end.
	watchInterval  = 2 * time.Second
	watchTimeoutMs = 2_000
	// headStart is how many messages a new ring has of those that were written before: endpoints that were
	// a little behind when the process started are not behind its ring.
	headStart = 1_000
	// silent is how long a partition may bring nothing although there is something: then Kafka's client hangs,
	// and only a new process helps.
	silent = 30 * time.Second
	// wakeInterval is the least time between two times that the endpoints look for new messages.
	wakeInterval = 5 * time.Millisecond
)

// eventLog reads the end of the topic of events, once for all endpoints. It is a member of no group: where
// each endpoint is, is in Postgres.
type eventLog struct {
	client  *kafka.Consumer
	topic   string
	health  *service.Health
	metrics *metrics
	repeats *service.Repeats
	wake    func() // tells the endpoints that there may be something new

	moves    chan moves
	arrivals chan struct{}

	mu    sync.Mutex
	rings []*ring // by partition; nil: where it starts is not known yet

	moved map[int]movement // only watch uses it
}

// moves are where the rings of partitions start, if they are new or not within their partition any more.
type moves struct {
	partitions int // of the topic
	starts     map[int]int64
}

// movement is since when a partition has had something to bring and brought nothing.
type movement struct {
	end   int64
	since time.Time
}

func newEventLog(client *kafka.Consumer, topic string, health *service.Health, m *metrics, repeats *service.Repeats) *eventLog {
	return &eventLog{
		client: client, topic: topic, health: health, metrics: m, repeats: repeats,
		moves: make(chan moves), arrivals: make(chan struct{}, 1), moved: map[int]movement{},
	}
}

// run reads until ctx ends, or until only a new process can go on.
func (l *eventLog) run(ctx context.Context) error {
	reading, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var watching sync.WaitGroup
	watching.Go(func() { l.watch(reading, giveUp) })
	watching.Go(func() { l.announce(reading) })
	defer watching.Wait()
	for reading.Err() == nil {
		select {
		case to := <-l.moves:
			if err := l.move(to); err != nil {
				giveUp(err)
			}
		default:
		}
		switch event := l.client.Poll(pollTimeoutMs).(type) {
		case *kafka.Message:
			l.receive(event)
		case kafka.Error:
			if event.IsFatal() {
				giveUp(fmt.Errorf("kafka client: %w", event))
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(reading)
}

func (l *eventLog) receive(m *kafka.Message) {
	r := l.ring(int(m.TopicPartition.Partition))
	if r == nil || m.TopicPartition.Error != nil {
		return
	}
	r.add(l.read(m))
	select {
	case l.arrivals <- struct{}{}:
	default:
	}
}

// announce wakes the endpoints when messages have arrived, and not for each of them.
func (l *eventLog) announce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.arrivals:
			l.wake()
			service.Sleep(ctx, wakeInterval)
		}
	}
}

// read makes a message of one of Kafka's. One that is no run is logged and counts as done everywhere.
func (l *eventLog) read(from *kafka.Message) *message {
	m, err := parse(from.Value)
	if err != nil {
		l.metrics.unparseable.Inc()
		l.repeats.Log(slog.LevelError, "a message is not a run of operations", "topic", l.topic,
			"partition", from.TopicPartition.Partition, "offset", from.TopicPartition.Offset, "error", err)
		m = &message{}
	}
	m.partition, m.offset, m.at = from.TopicPartition.Partition, int64(from.TopicPartition.Offset), from.Timestamp
	for _, header := range from.Headers {
		switch header.Key {
		case "ce_time":
			if at, err := time.Parse(time.RFC3339Nano, string(header.Value)); err == nil {
				m.at = at
			}
		case "traceparent":
			m.trace = string(header.Value)
		}
	}
	return m
}

// move has Kafka's client read all partitions, from where their rings end.
func (l *eventLog) move(to moves) error {
	l.mu.Lock()
	rings := append(slices.Clone(l.rings), make([]*ring, max(0, to.partitions-len(l.rings)))...)
	for partition, start := range to.starts {
		if rings[partition] == nil {
			rings[partition] = newRing(start, to.partitions)
		}
	}
	l.rings = rings
	l.mu.Unlock()
	var places []kafka.TopicPartition
	for i, r := range rings {
		if r == nil {
			continue
		}
		if start, anew := to.starts[i]; anew {
			r.restart(start)
		}
		end, _ := r.ends()
		places = append(places, kafka.TopicPartition{Topic: &l.topic, Partition: int32(i), Offset: kafka.Offset(end)})
	}
	if err := l.client.Assign(places); err != nil {
		return fmt.Errorf("assign partitions: %w", err)
	}
	l.wake()
	return nil
}

// ring is that of a partition; nil if there is none yet.
func (l *eventLog) ring(partition int) *ring {
	l.mu.Lock()
	defer l.mu.Unlock()
	if partition >= len(l.rings) {
		return nil
	}
	return l.rings[partition]
}

func (l *eventLog) partitions() []*ring {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rings
}

// watch looks at the topic until ctx ends.
func (l *eventLog) watch(ctx context.Context, giveUp context.CancelCauseFunc) {
	for ; ctx.Err() == nil; service.Sleep(ctx, watchInterval) {
		err := l.look(ctx, giveUp)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errNoTopic):
			l.health.Set(service.Kafka, nil)
			l.health.Set(topicMissing, err)
			l.health.Started()
		case err != nil:
			l.health.Set(service.Kafka, err)
			clear(l.moved)
		default:
			l.health.Set(topicMissing, nil)
			l.health.Set(service.Kafka, nil)
			l.health.Started()
		}
	}
}

var errNoTopic = errors.New("there is no such topic: `ctl topic create` makes it")

// look finds new partitions, and rings that are not within their partition any more. A partition that cannot be asked,
// such as one without a leader, holds up no other: the next look asks it again.
func (l *eventLog) look(ctx context.Context, giveUp context.CancelCauseFunc) error {
	metadata, err := l.client.GetMetadata(&l.topic, false, watchTimeoutMs)
	if err != nil {
		return err
	}
	topic := metadata.Topics[l.topic]
	if code := topic.Error.Code(); code == kafka.ErrUnknownTopicOrPart || code == kafka.ErrUnknownTopic {
		return fmt.Errorf("%s: %w", l.topic, errNoTopic)
	} else if code != kafka.ErrNoError {
		return fmt.Errorf("topic %s: %w", l.topic, topic.Error)
	}
	starts := map[int]int64{}
	var failed error
	for partition := range topic.Partitions {
		low, high, err := l.client.QueryWatermarkOffsets(l.topic, int32(partition), watchTimeoutMs)
		if err != nil {
			failed = fmt.Errorf("partition %d: %w", partition, err)
			continue
		}
		r := l.ring(partition)
		if r == nil {
			starts[partition] = max(low, high-headStart)
			continue
		}
		end, _ := r.ends()
		if end < low || end > high { // retention overtook it, or the topic was made anew
			starts[partition] = max(low, high-headStart)
			continue
		}
		r.sawEnd(high)
		l.judge(partition, end, high, giveUp)
	}
	if len(starts) == 0 {
		return failed
	}
	select {
	case l.moves <- moves{len(topic.Partitions), starts}:
	case <-ctx.Done():
	}
	return failed
}

// judge gives up if Kafka's client brings nothing of what a partition has.
func (l *eventLog) judge(partition int, end, high int64, giveUp context.CancelCauseFunc) {
	m := l.moved[partition]
	if m.since.IsZero() || m.end != end || end >= high {
		m = movement{end, time.Now()}
	}
	l.moved[partition] = m
	if time.Since(m.since) >= silent {
		giveUp(fmt.Errorf("partition %d has messages from offset %d on, and none came for %v", partition, end, silent))
	}
}
