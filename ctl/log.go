package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// kafkaConfig is what every client of Kafka here begins with: RDKAFKA_* sets any property.
func (c *call) kafkaConfig() (kafka.ConfigMap, error) {
	if c.kafkaBrokers == "" {
		return nil, errNoKafka
	}
	config := kafka.ConfigMap{"bootstrap.servers": c.kafkaBrokers, "log_level": 0, "client.id": "wallet-ctl"}
	for property, value := range c.rdkafka {
		config[property] = value
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
	for began := time.Now(); electing(err) && time.Since(began) < kafkaTimeout && service.Sleep(ctx, electingPause); {
		ends, err = logRange(consumer, topic, from)
	}
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

// electingPause is between two tries while Kafka moves the lead of a partition.
const electingPause = 200 * time.Millisecond

// electing reports whether Kafka is moving the lead of a partition: a broker that led it, or is about to, answers
// so for a moment, as after the topic is created.
func electing(err error) bool {
	var refused kafka.Error
	return errors.As(err, &refused) && slices.Contains([]kafka.ErrorCode{kafka.ErrNotLeaderForPartition, kafka.ErrLeaderNotAvailable}, refused.Code())
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
		if start.Error != nil {
			return nil, fmt.Errorf("ask kafka for offsets: %w", start.Error)
		}
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
