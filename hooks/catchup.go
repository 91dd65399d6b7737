package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	// maxCatchUp is how many consumers endpoints share that are behind the rings.
	maxCatchUp = 8
	// A turn brings at most so much, and takes at most so long.
	turnMessages = 256
	turnBytes    = 512 << 10
	turnTimeout  = 3 * time.Second
	// catchUpIdle is how long a consumer is kept without work.
	catchUpIdle = time.Minute
)

// catchUp reads the log for endpoints that are behind the rings: each gets a turn after the other, however
// many there are.
type catchUp struct {
	ctx       context.Context
	newClient func() (*kafka.Consumer, error)
	topic     string
	read      func(*kafka.Message) *message
	metrics   *metrics

	mu      sync.Mutex
	tasks   []task
	running int
	idle    int
	more    *sync.Cond
}

// task is a turn: it gets a consumer, or the reason why there is none.
type task func(client *kafka.Consumer, err error)

func newCatchUp(ctx context.Context, newClient func() (*kafka.Consumer, error), topic string, read func(*kafka.Message) *message, m *metrics) *catchUp {
	c := &catchUp{ctx: ctx, newClient: newClient, topic: topic, read: read, metrics: m}
	c.more = sync.NewCond(&c.mu)
	return c
}

// submit gives a task its turn, after those that wait.
func (c *catchUp) submit(t task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tasks = append(c.tasks, t)
	if c.idle == 0 && c.running < maxCatchUp {
		c.running++
		go c.work()
	}
	c.more.Signal()
}

// work does tasks until the process ends or there is nothing to do for a while.
func (c *catchUp) work() {
	stop := context.AfterFunc(c.ctx, c.wakeAll)
	defer stop()
	var client *kafka.Consumer
	defer func() {
		if client != nil {
			_ = client.Close()
		}
	}()
	for t := c.next(); t != nil; t = c.next() {
		var err error
		if client == nil {
			client, err = c.newClient()
		}
		c.metrics.turns.Inc()
		t(client, err)
	}
}

func (c *catchUp) wakeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more.Broadcast()
}

// next waits for a task; nil ends the worker.
func (c *catchUp) next() task {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.Now().Add(catchUpIdle)
	timer := time.AfterFunc(catchUpIdle, c.wakeAll)
	defer timer.Stop()
	c.idle++
	for len(c.tasks) == 0 && c.ctx.Err() == nil && time.Now().Before(deadline) {
		c.more.Wait()
	}
	c.idle--
	if len(c.tasks) == 0 || c.ctx.Err() != nil {
		c.running--
		return nil
	}
	t := c.tasks[0]
	c.tasks = c.tasks[1:]
	return t
}

// chunk is what a turn has brought.
type chunk struct {
	messages  []*message
	low, high int64 // of the partition
}

// readFrom returns messages from an offset on; none if the log does not have it.
func (c *catchUp) readFrom(client *kafka.Consumer, partition int32, from int64) (found chunk, err error) {
	if found.low, found.high, err = client.QueryWatermarkOffsets(c.topic, partition, watchTimeoutMs); err != nil {
		return found, err
	}
	if from < found.low || from >= found.high {
		return found, nil
	}
	if err := client.Assign([]kafka.TopicPartition{{Topic: &c.topic, Partition: partition, Offset: kafka.Offset(from)}}); err != nil {
		return found, err
	}
	defer func() { _ = client.Unassign() }()
	bytes := 0
	for deadline := time.Now().Add(turnTimeout); time.Now().Before(deadline); {
		switch event := client.Poll(pollTimeoutMs).(type) {
		case *kafka.Message:
			m := c.read(event)
			if m.partition != partition || m.offset < from {
				continue
			}
			found.messages = append(found.messages, m)
			bytes += len(event.Value)
			if len(found.messages) == turnMessages || bytes >= turnBytes || m.offset+1 >= found.high {
				return found, nil
			}
		case kafka.Error:
			if code := event.Code(); code == kafka.ErrAutoOffsetReset || code == kafka.ErrOffsetOutOfRange || event.IsFatal() {
				return found, event
			}
		}
	}
	if len(found.messages) == 0 {
		return found, fmt.Errorf("partition %d brought nothing from offset %d on within %v", partition, from, turnTimeout)
	}
	return found, nil
}

// offsetsAt returns where each partition has the first message that was written at a time or later; its end if
// there is none.
func (c *catchUp) offsetsAt(client *kafka.Consumer, partitions []int32, at time.Time) (map[int32]int64, error) {
	offsets, times := map[int32]int64{}, make([]kafka.TopicPartition, len(partitions))
	for i, partition := range partitions {
		// The end is asked for first: what is written meanwhile is behind it.
		_, high, err := client.QueryWatermarkOffsets(c.topic, partition, watchTimeoutMs)
		if err != nil {
			return nil, err
		}
		offsets[partition] = high
		times[i] = kafka.TopicPartition{Topic: &c.topic, Partition: partition, Offset: kafka.Offset(max(0, at.UnixMilli()))} // Kafka refuses times before 1970
	}
	found, err := client.OffsetsForTimes(times, watchTimeoutMs)
	if err != nil {
		return nil, err
	}
	for _, place := range found {
		if place.Error != nil {
			return nil, place.Error
		}
		if place.Offset >= 0 {
			offsets[place.Partition] = int64(place.Offset)
		}
	}
	return offsets, nil
}

// beginning returns when the oldest message that the log still has was written.
func (c *catchUp) beginning(client *kafka.Consumer, partitions int) (oldest time.Time, err error) {
	for partition := range int32(partitions) {
		low, high, err := client.QueryWatermarkOffsets(c.topic, partition, watchTimeoutMs)
		if err != nil {
			return oldest, err
		}
		if low == high {
			continue
		}
		found, err := c.first(client, partition, low)
		if err != nil {
			return oldest, err
		}
		if oldest.IsZero() || found.Before(oldest) {
			oldest = found
		}
	}
	return oldest, nil
}

var errNothing = errors.New("the log brought nothing")

func (c *catchUp) first(client *kafka.Consumer, partition int32, offset int64) (time.Time, error) {
	if err := client.Assign([]kafka.TopicPartition{{Topic: &c.topic, Partition: partition, Offset: kafka.Offset(offset)}}); err != nil {
		return time.Time{}, err
	}
	defer func() { _ = client.Unassign() }()
	for deadline := time.Now().Add(turnTimeout); time.Now().Before(deadline); {
		if m, ok := client.Poll(pollTimeoutMs).(*kafka.Message); ok && m.TopicPartition.Partition == partition {
			return m.Timestamp, nil
		}
	}
	return time.Time{}, errNothing
}
