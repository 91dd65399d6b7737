package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	watchInterval  = 2 * time.Second
	watchTimeoutMs = 1_000

	// stalled is how long lag may stay the same before the worker is not ready.
	stalled = 15 * time.Second
	// silent is how long a partition may bring nothing although there is something: then Kafka's
	// client hangs, and only a new process helps.
	silent = 30 * time.Second
	// vanishedFor is how long a partition has to be missing from the topic before the worker leaves the
	// group because of it: a broker that has not heard yet of a topic's growth says the same.
	vanishedFor = 10 * time.Second
)

// movement says since when a partition has had something to do and not done it.
type movement struct {
	stored, polled, end      int64
	storedSince, polledSince time.Time
}

// follow is the next look at a partition that ends at end in Kafka.
func (m movement) follow(now time.Time, stored, polled, end int64) movement {
	if stored != m.stored || stored >= end || m.storedSince.IsZero() {
		m.storedSince = now
	}
	if polled != m.polled || polled >= end || m.polledSince.IsZero() {
		m.polledSince = now
	}
	m.stored, m.polled, m.end = stored, polled, end
	return m
}

// watch asks Kafka every watchInterval where each partition ends. It reports the lag and whether it
// moves, and calls giveUp when Kafka's client brings no messages although there are some.
func (c *consumer) watch(ctx context.Context, giveUp context.CancelCauseFunc) {
	var since time.Time
	for ; ctx.Err() == nil; service.Sleep(ctx, watchInterval) {
		partitions := c.assigned()
		count, err := c.lookAtTopic()
		if err == nil {
			var vanished []int32
			partitions, vanished = divide(partitions, count)
			since = c.judgeVanished(vanished, count, since, time.Now())
			c.lookAtGroup(ctx, count, time.Now())
		}
		for _, p := range partitions {
			if err == nil && ctx.Err() == nil {
				err = c.lookAt(p)
			}
			if err != nil || c.commits.Missing() != "" {
				p.movement = movement{} // Kafka is unreachable or a standby missing: that, and not the partition, is why nothing moves
			}
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			c.health.Set(service.Kafka, err)
			c.metrics.still.Set(0)
		default:
			c.health.Set(service.Kafka, nil)
			c.health.Started()
			c.judge(partitions, time.Now(), giveUp)
		}
	}
}

// judge says what the looks at the partitions have shown.
func (c *consumer) judge(partitions []*assignedPartition, now time.Time, giveUp context.CancelCauseFunc) {
	var still error
	var longest time.Duration
	c.metrics.lag.Reset()
	for _, p := range partitions {
		m := p.movement
		if m == (movement{}) {
			continue // taken away, or not looked at yet
		}
		c.metrics.lag.WithLabelValues(fmt.Sprint(p.number)).Set(float64(max(0, m.end-m.stored)))
		longest = max(longest, now.Sub(m.storedSince))
		if now.Sub(m.storedSince) >= stalled {
			still = fmt.Errorf("that of partition %d does not move", p.number)
		}
		if now.Sub(m.polledSince) >= silent {
			giveUp(fmt.Errorf("partition %d has messages from offset %d on, and none came for %v", p.number, m.polled, silent))
		}
	}
	c.metrics.still.Set(longest.Seconds())
	c.health.Set(lagging, still)
}

// divide returns those of the assigned partitions that a topic with so many has, and the numbers of the
// others.
func divide(assigned []*assignedPartition, count int) (there []*assignedPartition, vanished []int32) {
	for _, p := range assigned {
		if int(p.number) < count {
			there = append(there, p)
		} else {
			vanished = append(vanished, p.number)
		}
	}
	slices.Sort(vanished)
	return there, vanished
}

// judgeVanished makes the worker leave the group if it has had partitions for a while that the topic
// does not have. Kafka is not lost then: the other partitions work. It returns since when.
func (c *consumer) judgeVanished(vanished []int32, count int, since, now time.Time) time.Time {
	c.vanished.Store(len(vanished) > 0)
	if len(vanished) == 0 {
		c.health.Set(assignment, nil)
		return time.Time{}
	}
	c.health.Set(assignment, fmt.Errorf("the group holds partitions %d, but the topic has %d: it was deleted and created again with fewer; in %v this worker leaves the group and joins it again without them",
		vanished, count, vanishedFor))
	switch {
	case since.IsZero():
		return now
	case now.Sub(since) >= vanishedFor:
		c.leaving.Store(true)
		return now
	}
	return since
}

// lookAtTopic returns how many partitions the topic has.
func (c *consumer) lookAtTopic() (partitions int, err error) {
	metadata, err := c.client.GetMetadata(&c.topic, false, watchTimeoutMs)
	if err != nil {
		return 0, err
	}
	topic := metadata.Topics[c.topic]
	if topic.Error.Code() != kafka.ErrNoError {
		return 0, fmt.Errorf("topic %s: %w", c.topic, topic.Error)
	}
	return len(topic.Partitions), nil
}

func (c *consumer) lookAt(p *assignedPartition) error {
	stored, polled := p.stored.Load(), p.polled.Load() // before the end is asked for: in one log they are not past it
	first, end, err := c.client.QueryWatermarkOffsets(c.topic, p.number, watchTimeoutMs)
	if err != nil {
		return err
	}
	if p.begin == unknownOffset {
		committed, err := c.client.Committed(c.place(p.number), watchTimeoutMs)
		if err == nil {
			err = committed[0].Error
		}
		switch {
		case err == nil:
			p.begin = int64(committed[0].Offset) // or less than unknownOffset, if nothing was committed
		case p.stored.Load() == unknownOffset:
			return nil // a rebalance delays the answer
		}
	}
	if back := p.wentBack.Swap(unknownOffset); back != unknownOffset {
		c.commitBack(p, back)
	} else if now := p.stored.Load(); now != unknownOffset && now < p.begin { // begin may be newer than stored
		c.commitBack(p, now)
	}
	stored, polled = within(stored, p.begin, first, end), within(polled, p.begin, first, end)
	if p.paused.Load() {
		polled = end
	}
	p.movement = p.movement.follow(time.Now(), stored, polled, end)
	return nil
}

// within is an offset as one of a log that has those from first to end; begin stands for one that is not known. One past
// the end is of a log before, which was deleted: Kafka's client may not find the new one (librdkafka #4898).
func within(offset, begin, first, end int64) int64 {
	switch {
	case offset == unknownOffset:
		offset = begin
	case offset > end:
		offset = first
	}
	return max(first, offset)
}

// commitBack commits an offset that is less than the last one, of a log that has lost its end since, or was made anew.
// Kafka's client only commits what is more: until the log has come so far again the group would have no offset, or one
// past what is applied, from which a worker that starts leaves out what it has to read.
func (c *consumer) commitBack(p *assignedPartition, offset int64) {
	place := c.place(p.number)
	place[0].Offset = kafka.Offset(offset)
	committed, err := c.client.CommitOffsets(place)
	if err == nil {
		err = committed[0].Error
	}
	if err != nil {
		p.wentBack.CompareAndSwap(unknownOffset, offset) // the next look tries again
		return
	}
	c.log.Warn("the log is shorter than it was: it has lost its end, or was made anew", "partition", p.number, "offset", offset)
	p.begin = min(p.begin, offset)
}
