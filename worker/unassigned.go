package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// groupInterval is how often the worker asks who has which partitions. What is nobody's at two looks in a row is so for
// longer than a rebalance takes a member to give a partition up.
const groupInterval = 10 * time.Second

// group is what the last look at the group has shown.
type group struct {
	name     string
	admin    *kafka.AdminClient
	lookedAt time.Time
	nobodys  []int32
}

// lookAtGroup asks Kafka every groupInterval who has which of the topic's partitions.
//
// Partitions can be nobody's for ever: a member with a GROUP_INSTANCE_ID that is killed between giving partitions up
// and joining again, which is what gives them to others, comes back to what it had last, without a rebalance.
func (c *consumer) lookAtGroup(ctx context.Context, partitions int, now time.Time) {
	if now.Sub(c.group.lookedAt) < groupInterval {
		return
	}
	c.group.lookedAt = now
	described, err := c.group.describe(ctx) // not stable, if that fails: what was seen before counts no more
	if err != nil && ctx.Err() == nil {
		c.repeats.Log(slog.LevelWarn, "who has which partitions is not known", "group", c.group.name, "error", err)
	}
	nobodys, fewest := unassigned(described, c.topic, partitions)
	c.judgeUnassigned(nobodys, fewest)
}

// describe returns an empty description with an error.
func (g *group) describe(ctx context.Context) (kafka.ConsumerGroupDescription, error) {
	result, err := g.admin.DescribeConsumerGroups(ctx, []string{g.name}, kafka.SetAdminRequestTimeout(watchTimeoutMs*time.Millisecond))
	if err != nil {
		return kafka.ConsumerGroupDescription{}, err
	}
	described := result.ConsumerGroupDescriptions[0]
	if described.Error.Code() != kafka.ErrNoError {
		return kafka.ConsumerGroupDescription{}, errors.New(described.Error.Code().String()) // its text may have no more than the name of the request
	}
	return described, nil
}

// unassigned returns which of a topic's partitions no member of a group has, and how many the member with the fewest has. A
// group that is not stable is about to give them to members.
func unassigned(described kafka.ConsumerGroupDescription, topic string, partitions int) (nobodys []int32, fewest int) {
	if described.State != kafka.ConsumerGroupStateStable {
		return nil, 0
	}
	has := make([]bool, partitions)
	fewest = partitions
	for _, member := range described.Members {
		n := 0
		for _, place := range member.Assignment.TopicPartitions {
			if *place.Topic == topic {
				n++
				if int(place.Partition) < partitions {
					has[place.Partition] = true
				}
			}
		}
		fewest = min(fewest, n)
	}
	for number, has := range has {
		if !has {
			nobodys = append(nobodys, int32(number))
		}
	}
	return nobodys, fewest
}

// judgeUnassigned makes the worker leave the group and join it again, which has all partitions given to members, if some were
// nobody's at the last look too and no member has fewer than this worker.
func (c *consumer) judgeUnassigned(nobodys []int32, fewest int) {
	still := slices.DeleteFunc(slices.Clone(nobodys), func(number int32) bool { return !slices.Contains(c.group.nobodys, number) })
	c.group.nobodys = nobodys
	c.metrics.unassigned.Set(float64(len(still)))
	if len(still) == 0 {
		c.health.Set(withoutWorker, nil)
		return
	}
	c.health.Set(withoutWorker, fmt.Errorf("the group has given partitions %d to no worker: the one with the fewest leaves it and joins it again", still))
	if len(c.assigned()) <= fewest {
		c.leaving.Store(true)
	}
}
