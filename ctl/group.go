package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// kafkaReport is about the workers' consumer group.
type kafkaReport struct {
	Group      string         `json:"group"`
	Partitions int            `json:"partitions"` // of the topic, at Kafka
	Lag        int64          `json:"lagMessages"`
	Behind     []partitionLag `json:"behind"`  // the partitions with a lag, the longest first
	Unowned    []int32        `json:"unowned"` // the partitions that no member of the group has
	Error      string         `json:"error,omitempty"`
}

type partitionLag struct {
	Partition int32 `json:"partition"`
	Lag       int64 `json:"lagMessages"`
}

// groupState says how many messages of a topic a consumer group has yet to finish, and who has which
// partition.
func (c *call) groupState(ctx context.Context, group, topic string) *kafkaReport {
	r := &kafkaReport{Group: group, Behind: []partitionLag{}, Unowned: []int32{}}
	if err := c.askGroup(ctx, r, topic); err != nil {
		r.Error = err.Error()
	}
	return r
}

func (c *call) askGroup(ctx context.Context, r *kafkaReport, topic string) error {
	config, err := c.kafkaConfig()
	if err != nil {
		return err
	}
	config["group.id"] = r.Group
	config["enable.auto.commit"] = false
	consumer, err := kafka.NewConsumer(&config)
	if err != nil {
		return fmt.Errorf("RDKAFKA_* and kafka: %w", err)
	}
	defer consumer.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	metadata, err := consumer.GetMetadata(&topic, false, left(ctx))
	if err != nil {
		return fmt.Errorf("ask kafka for topic %s: %w", topic, err)
	}
	var partitions []kafka.TopicPartition
	for _, p := range metadata.Topics[topic].Partitions {
		partitions = append(partitions, kafka.TopicPartition{Topic: &topic, Partition: p.ID})
	}
	if r.Partitions = len(partitions); r.Partitions == 0 {
		return fmt.Errorf("kafka has no topic %s", topic)
	}
	committed, err := consumer.Committed(partitions, left(ctx))
	if noGroup(err) {
		committed = partitions // whose offsets are 0
	} else if err != nil {
		return fmt.Errorf("ask kafka for group %s: %w", r.Group, err)
	}
	for _, p := range committed {
		low, high, err := consumer.QueryWatermarkOffsets(topic, p.Partition, left(ctx))
		if err != nil {
			return fmt.Errorf("ask kafka for offsets: %w", err)
		}
		// None committed yet is a negative number; one beyond the end is of a topic that was deleted.
		lag := high - max(low, int64(p.Offset))
		if lag < 0 {
			lag = high - low
		}
		if lag > 0 {
			r.Lag += lag
			r.Behind = append(r.Behind, partitionLag{p.Partition, lag})
		}
	}
	slices.SortFunc(r.Behind, func(a, b partitionLag) int { return cmp.Compare(b.Lag, a.Lag) })
	return askOwners(ctx, consumer, r, partitions)
}

// askOwners finds the partitions that nobody has.
func askOwners(ctx context.Context, consumer *kafka.Consumer, r *kafkaReport, partitions []kafka.TopicPartition) error {
	admin, err := kafka.NewAdminClientFromConsumer(consumer)
	if err != nil {
		return err
	}
	defer admin.Close()
	described, err := admin.DescribeConsumerGroups(ctx, []string{r.Group})
	if err != nil && !noGroup(err) {
		return fmt.Errorf("ask kafka for group %s: %w", r.Group, err)
	}
	owned := map[int32]bool{}
	for _, group := range described.ConsumerGroupDescriptions {
		for _, member := range group.Members {
			for _, p := range member.Assignment.TopicPartitions {
				owned[p.Partition] = owned[p.Partition] || *p.Topic == *partitions[0].Topic
			}
		}
	}
	for _, p := range partitions {
		if !owned[p.Partition] {
			r.Unowned = append(r.Unowned, p.Partition)
		}
	}
	return nil
}

// noGroup reports whether no worker has ever joined the group.
func noGroup(err error) bool {
	var refused kafka.Error
	return errors.As(err, &refused) && refused.Code() == kafka.ErrGroupIDNotFound
}

// left is how many milliseconds a context has, at least one.
func left(ctx context.Context) int {
	deadline, _ := ctx.Deadline()
	return int(max(1, time.Until(deadline).Milliseconds()))
}

// judgeKafka compares what Kafka has with what is registered.
func (r *statusReport) judgeKafka() {
	k := r.Kafka
	if k == nil {
		return
	}
	registered := int(known(r.Partitions))
	switch {
	case k.Error != "" && strings.Contains(k.Error, "kafka has no topic"):
		r.problem(k.Error, fmt.Sprintf("if it was deleted: ctl topic create %s --partitions %s, with the --replication-factor and --min-insync-replicas that it had, and for consumers that need the old messages ctl relay replay --since TIME --reason TEXT. What was accepted is in Postgres, and is applied", r.topic, partitionCount(registered)))
	case k.Error != "":
		r.problem(k.Error, "is it running, and does KAFKA_BROKERS name it? What is accepted meanwhile waits in the outbox")
	case k.Partitions < registered:
		r.problem(fmt.Sprintf("topic %s has %d partitions at Kafka, and is registered with %d: the relay does not publish", r.topic, k.Partitions, registered),
			addPartitions(r.topic, registered))
	case len(k.Unowned) > 0 && known(&r.Processes)["worker"] > 0:
		what := fmt.Sprintf("no worker of group %s has partition %s", k.Group, list(k.Unowned))
		if len(k.Unowned) == k.Partitions {
			what = fmt.Sprintf("no worker is in group %s, though some are connected to Postgres", k.Group)
		}
		r.problem(what, "if this lasts for a minute: is the worker stopped, does it reach Kafka, is KAFKA_GROUP right? Its log says; restarting it does no harm")
	}
}

// addPartitions is a command of Kafka's.
func addPartitions(topic string, partitions int) string {
	return fmt.Sprintf("kafka-topics.sh --bootstrap-server $KAFKA_BROKERS --alter --topic %s --partitions %d", topic, partitions)
}

// partitionCount is what a command wants, where it is known.
func partitionCount(n int) string {
	if n == 0 {
		return "N"
	}
	return fmt.Sprint(n)
}

func list(partitions []int32) string {
	var texts []string
	for _, p := range partitions {
		texts = append(texts, fmt.Sprint(p))
	}
	return strings.Join(texts, ", ")
}

// line is what the screen says.
func (k *kafkaReport) line(paint paint) string {
	if k.Error != "" {
		return paint(red, k.Error)
	}
	text := fmt.Sprintf("group %s, messages not committed: %s", k.Group, count(k.Lag))
	for i, b := range k.Behind[:min(len(k.Behind), 3)] {
		if i == 0 {
			text += " ("
		} else {
			text += ", "
		}
		text += fmt.Sprintf("partition %d: %s", b.Partition, count(b.Lag))
	}
	if len(k.Behind) > 0 {
		text += ")"
	}
	return text
}
