package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
)

// kafkaConfig is what every client of Kafka here begins with: RDKAFKA_* sets any property.
func (c *call) kafkaConfig() (kafka.ConfigMap, error) {
	brokers := c.env["KAFKA_BROKERS"]
	if brokers == "" {
		return nil, usageError("KAFKA_BROKERS is required: host:port[,host:port]")
	}
	config := kafka.ConfigMap{"bootstrap.servers": brokers, "log_level": 0, "client.id": "wallet-ctl"}
	for name, value := range c.env {
		if property, ok := strings.CutPrefix(name, "RDKAFKA_"); ok {
			config[strings.ToLower(strings.ReplaceAll(property, "_", "."))] = value
		}
	}
	return config, nil
}

// readLog reads a topic from a time to its present end, each partition in order, until visit returns
// false. It joins no group and commits nothing.
func (c *call) readLog(ctx context.Context, topic string, from time.Time, visit func(*kafka.Message) bool) error {
	config, err := c.kafkaConfig()
	if err != nil {
		return err
	}
	config["group.id"] = "wallet-ctl-" + uuid.NewString()
	config["enable.auto.commit"] = false
	config["auto.offset.reset"] = "earliest"
	consumer, err := kafka.NewConsumer(&config)
	if err != nil {
		return usageError("RDKAFKA_*: " + err.Error())
	}
	defer consumer.Close()
	ends, err := logRange(consumer, topic, from)
	if err != nil {
		return err
	}
	if len(ends) == 0 {
		return nil
	}
	if err := consumer.Assign(ends.starts(topic)); err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	for silent := time.Now(); len(ends) > 0; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		message, err := consumer.ReadMessage(100 * time.Millisecond)
		var kafkaErr kafka.Error
		if errors.As(err, &kafkaErr) && (kafkaErr.IsTimeout() || !kafkaErr.IsFatal()) {
			if time.Since(silent) > kafkaTimeout {
				return fmt.Errorf("read topic %s: no message for %s: %w", topic, kafkaTimeout, err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read topic %s: %w", topic, err)
		}
		silent = time.Now()
		at := message.TopicPartition
		if end, wanted := ends[at.Partition]; wanted && int64(at.Offset) < end.end {
			if !visit(message) {
				return nil
			}
		}
		if end, wanted := ends[at.Partition]; wanted && int64(at.Offset) >= end.end-1 {
			delete(ends, at.Partition)
		}
	}
	return nil
}

// span is a part of a partition, from start to before end.
type span struct{ start, end int64 }

type spans map[int32]span

func (s spans) starts(topic string) []kafka.TopicPartition {
	var starts []kafka.TopicPartition
	for partition, span := range s {
		starts = append(starts, kafka.TopicPartition{Topic: &topic, Partition: partition, Offset: kafka.Offset(span.start)})
	}
	return starts
}

// logRange returns the partitions that have messages of a time or later.
func logRange(consumer *kafka.Consumer, topic string, from time.Time) (spans, error) {
	timeout := int(kafkaTimeout.Milliseconds())
	metadata, err := consumer.GetMetadata(&topic, false, timeout)
	if err != nil {
		return nil, fmt.Errorf("ask kafka for topic %s: %w", topic, err)
	}
	var times []kafka.TopicPartition
	for _, p := range metadata.Topics[topic].Partitions {
		times = append(times, kafka.TopicPartition{Topic: &topic, Partition: p.ID, Offset: kafka.Offset(max(0, from.UnixMilli()))})
	}
	if len(times) == 0 {
		return nil, fmt.Errorf("kafka has no topic %s", topic)
	}
	starts, err := consumer.OffsetsForTimes(times, timeout)
	if err != nil {
		return nil, fmt.Errorf("ask kafka for offsets: %w", err)
	}
	found := spans{}
	for _, start := range starts {
		low, high, err := consumer.QueryWatermarkOffsets(topic, start.Partition, timeout)
		if err != nil {
			return nil, fmt.Errorf("ask kafka for offsets: %w", err)
		}
		// Without a message of that time or later, Kafka answers with the end, a negative number.
		if first := max(low, int64(start.Offset)); start.Offset >= 0 && first < high {
			found[start.Partition] = span{first, high}
		}
	}
	return found, nil
}

// groupLag is how many messages of a topic a consumer group has yet to finish.
func (c *call) groupLag(ctx context.Context, group, topic string) (int64, error) {
	config, err := c.kafkaConfig()
	if err != nil {
		return 0, err
	}
	config["group.id"] = group
	config["enable.auto.commit"] = false
	consumer, err := kafka.NewConsumer(&config)
	if err != nil {
		return 0, usageError("RDKAFKA_*: " + err.Error())
	}
	defer consumer.Close()
	const timeout = 3000
	metadata, err := consumer.GetMetadata(&topic, false, timeout)
	if err != nil {
		return 0, fmt.Errorf("ask kafka for topic %s: %w", topic, err)
	}
	var partitions []kafka.TopicPartition
	for _, p := range metadata.Topics[topic].Partitions {
		partitions = append(partitions, kafka.TopicPartition{Topic: &topic, Partition: p.ID})
	}
	if len(partitions) == 0 {
		return 0, fmt.Errorf("kafka has no topic %s", topic)
	}
	committed, err := consumer.Committed(partitions, timeout)
	if err != nil {
		return 0, fmt.Errorf("ask kafka for group %s: %w", group, err)
	}
	var lag int64
	for _, p := range committed {
		low, high, err := consumer.QueryWatermarkOffsets(topic, p.Partition, timeout)
		if err != nil {
			return 0, fmt.Errorf("ask kafka for offsets: %w", err)
		}
		lag += high - max(low, int64(p.Offset)) // none committed yet is a negative number
	}
	return lag, ctx.Err()
}
