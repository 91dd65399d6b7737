package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	pollTimeoutMs = 100

	// A partition with maxQueued messages waiting is paused until it is down to resumeQueued. Kafka's
	// client throws away what it has fetched of a paused partition, so the two are far apart.
	maxQueued    = 20_000
	resumeQueued = 10_000

	stopTimeout  = 3 * time.Second // for running transactions
	closeTimeout = 1500 * time.Millisecond
)

// consumer reads the topic as a member of the group. Its poll loop never waits for the database; it
// hands messages to the partitions, each of which works in a goroutine of its own.
type consumer struct {
	client   *kafka.Consumer
	topic    string
	group    group // only the watch uses it
	interval time.Duration
	size     int
	commits  *db.Commits
	applier  *applier
	health   *service.Health
	metrics  *metrics
	tracer   *tracer
	log      *slog.Logger
	repeats  *service.Repeats // what may come with every message

	paused map[int32]*assignedPartition // only the poll loop uses it

	vanished atomic.Bool // partitions are assigned that the topic does not have
	leaving  atomic.Bool // the poll loop has to leave the group and to join it again

	mu         sync.Mutex
	partitions map[int32]*assignedPartition
}

// assignedPartition is a partition that this worker has, and what the consumer knows of it. Its partition
// reports to it.
type assignedPartition struct {
	*partition
	consumer *consumer
	blocked  service.Condition

	paused   atomic.Bool  // Kafka's client fetches none of its messages
	polled   atomic.Int64 // the offset after the last message received, or unknownOffset
	wentBack atomic.Int64 // an offset that is less than the one stored before it, until it is committed; or unknownOffset

	// Only the watch uses these.
	begin    int64 // the group's offset at the watch's first look, or unknownOffset
	movement movement
}

func (c *consumer) newPartition(number int32) *assignedPartition {
	p := &assignedPartition{consumer: c, blocked: blocked(number), begin: unknownOffset}
	p.partition = newPartition(number, newQueue(c.interval, c.size), c.applier, p)
	p.polled.Store(unknownOffset)
	p.wentBack.Store(unknownOffset)
	return p
}

func (p *assignedPartition) store(next int64) {
	place := p.consumer.place(p.number)
	place[0].Offset = kafka.Offset(next)
	// An error says that the partition is no longer ours; its next owner begins further back.
	_, _ = p.consumer.client.StoreOffsets(place)
	if next < p.stored.Load() { // and not earlier: the client would commit what it had stored before once more
		p.wentBack.Store(next)
	}
}

// report sets why the partition cannot apply its messages, or that it can, in health and metrics.
func (p *assignedPartition) report(err error) {
	c := p.consumer
	switch cause := causeOf(err); {
	case err == nil:
		c.health.Set(p.blocked, nil)
		c.health.Set(service.Postgres, nil)
		return
	case cause == connection && c.commits.Missing() != "": // health has that reason already
	case cause == connection:
		c.health.Set(service.Postgres, err)
	case cause == conflict:
		c.health.Set(p.blocked, err)
	default:
		condition := p.blocked
		condition.NotReady = true
		c.health.Set(condition, err)
	}
	c.metrics.databaseErrors.WithLabelValues(string(causeOf(err))).Inc()
}

func (p *assignedPartition) took(messages int, d time.Duration) {
	p.consumer.metrics.batchMessages.Observe(float64(messages))
	p.consumer.metrics.batchSeconds.Observe(d.Seconds())
}

// run consumes until ctx ends, or until Kafka's client or the watch reports a fatal error: a new process then
// starts where the stored offsets are. Running transactions get stopTimeout to finish.
func (c *consumer) run(ctx context.Context) error {
	if err := c.client.Subscribe(c.topic, c.rebalance); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	consuming, giveUp := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(consuming, giveUp)
	}()
	for consuming.Err() == nil {
		err := c.poll()
		if err == nil && c.leaving.CompareAndSwap(true, false) {
			err = c.rejoin()
		}
		if err != nil {
			giveUp(err)
		}
	}
	c.stop(c.assigned(), stopTimeout)
	c.close(watched)
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(consuming)
}

func (c *consumer) poll() error {
	switch event := c.client.Poll(pollTimeoutMs).(type) {
	case *kafka.Message:
		c.receive(event)
	case kafka.Error:
		if event.IsFatal() {
			return fmt.Errorf("kafka client: %w", event)
		}
		if !c.vanished.Load() || !aboutPartition(event) {
			c.health.Set(service.Kafka, event)
		}
	case kafka.OffsetsCommitted:
		// Messages whose offsets are not committed may come again, which does no harm.
		if event.Error != nil {
			c.health.Set(offsetCommit, event.Error)
		} else {
			c.health.Set(offsetCommit, nil)
		}
	}
	c.resume()
	return nil
}

// aboutPartition reports whether Kafka's client may be speaking of a partition that is not there.
func aboutPartition(err kafka.Error) bool {
	return slices.Contains([]kafka.ErrorCode{kafka.ErrUnknownPartition, kafka.ErrUnknownTopicOrPart, kafka.ErrAutoOffsetReset}, err.Code())
}

// rejoin leaves the group and joins it again as a member that owns nothing. Poll then takes all
// partitions away first, as at any rebalance.
//
// It is for partitions that no member has, and for those that the topic no longer has. The group would keep the latter for
// ever: each member reports to the leader what it owns, and the leader leaves it that as long as the topic exists, whatever
// its number of partitions. A member still owns what its program unassigns by itself.
func (c *consumer) rejoin() error {
	c.log.Warn("leaving the group and joining it again")
	if err := c.client.Unsubscribe(); err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	if err := c.client.Subscribe(c.topic, c.rebalance); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// receive hands a message to its partition. One that cannot be read is skipped: its wallet heals by its
// next message, or by a sweep.
func (c *consumer) receive(m *kafka.Message) {
	p := c.partition(m.TopicPartition.Partition)
	if p == nil {
		return
	}
	decoded, err := event.DecodeHint(m.Value)
	if err != nil {
		c.metrics.unparseable.Inc()
		c.repeats.Log(slog.LevelError, "unparseable message", "topic", c.topic, "partition", p.number, "offset", m.TopicPartition.Offset, "error", err)
	}
	offset := int64(m.TopicPartition.Offset)
	queued := p.queue.add(received{decoded, offset, c.tracer.parent(m.Headers)})
	p.polled.Store(offset + 1)
	if queued >= maxQueued && !p.paused.Load() {
		if err := c.client.Pause(c.place(p.number)); err == nil {
			p.paused.Store(true)
			c.paused[p.number] = p
		}
	}
}

func (c *consumer) resume() {
	for number, p := range c.paused {
		if p.queue.length() <= resumeQueued && c.client.Resume(c.place(number)) == nil {
			p.paused.Store(false)
			delete(c.paused, number)
		}
	}
}

// rebalance runs within Poll.
func (c *consumer) rebalance(client *kafka.Consumer, event kafka.Event) error {
	switch event := event.(type) {
	case kafka.AssignedPartitions:
		c.log.Info("partitions assigned", "partitions", numbers(event.Partitions))
		// Messages whose offsets could not be committed before come again, to the worker that has their partition now.
		c.health.Set(offsetCommit, nil)
		c.assign(event.Partitions)
		return client.IncrementalAssign(event.Partitions)
	case kafka.RevokedPartitions:
		lost := client.AssignmentLost()
		c.log.Info("partitions revoked", "partitions", numbers(event.Partitions), "lost", lost)
		c.revoke(event.Partitions, lost)
		failpoint.Reach("worker-after-revoke")
		return client.IncrementalUnassign(event.Partitions)
	}
	return nil
}

func (c *consumer) assign(places []kafka.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, place := range places {
		p := c.newPartition(place.Partition)
		c.partitions[p.number] = p
		p.start()
	}
}

// revoke lets running transactions finish and store their offsets, unless the partitions are lost:
// then another worker may have them already.
func (c *consumer) revoke(places []kafka.TopicPartition, lost bool) {
	var revoked []*assignedPartition
	c.mu.Lock()
	for _, place := range places {
		if p := c.partitions[place.Partition]; p != nil {
			revoked = append(revoked, p)
			delete(c.partitions, place.Partition)
			delete(c.paused, place.Partition)
		}
	}
	c.mu.Unlock()
	timeout := stopTimeout
	if lost {
		timeout = 0
	}
	c.stop(revoked, timeout)
	for _, p := range revoked {
		c.health.Set(p.blocked, nil)
	}
}

// stop starts no other transactions and waits for those that run. A partition that does not end in time is
// abandoned: it may still commit, which does no harm.
func (c *consumer) stop(partitions []*assignedPartition, timeout time.Duration) {
	for _, p := range partitions {
		p.stop()
	}
	deadline, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, p := range partitions {
		select {
		case <-p.done:
		case <-deadline.Done():
			p.abandoned.Store(true)
			c.log.Warn("partition abandoned", "partition", p.number)
		}
	}
}

// close leaves the group and commits what is stored. It can hang in Kafka's client, and then the end
// of the process does the rest.
func (c *consumer) close(watched <-chan struct{}) {
	closed := make(chan error, 1)
	go func() {
		<-watched // nothing may use a closed client
		// Without this a member that has no partition yet does not leave, and the others wait for
		// the end of its session.
		_ = c.client.Unsubscribe()
		closed <- c.client.Close()
	}()
	select {
	case err := <-closed:
		if err != nil {
			c.log.Warn("close kafka client", "error", err)
		}
	case <-time.After(closeTimeout):
		c.log.Warn("kafka client does not close")
	}
}

func (c *consumer) partition(number int32) *assignedPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.partitions[number]
}

func (c *consumer) assigned() []*assignedPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.partitions))
}

func (c *consumer) place(number int32) []kafka.TopicPartition {
	return []kafka.TopicPartition{{Topic: &c.topic, Partition: number}}
}

func numbers(places []kafka.TopicPartition) []int32 {
	numbers := make([]int32, len(places))
	for i, place := range places {
		numbers[i] = place.Partition
	}
	return numbers
}
