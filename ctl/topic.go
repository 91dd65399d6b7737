package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const kafkaTimeout = 30 * time.Second

// topicCreate makes each topic at Kafka first and registers it then: a registered topic is always one
// that rows can be published to. Run again after it died between the two, it does what is missing. An empty name is
// a topic that a deployment does without.
func topicCreate(c *call) (task, error) {
	partitions := c.flags.Int("partitions", 0, "partition count, which never changes: it decides the partition of every key")
	replicas := c.flags.Int("replication-factor", 1, "copies of each partition; 3 in production")
	insync := c.flags.Int("min-insync-replicas", 1, "copies that an acknowledged message has at least; 2 in production")
	retention := c.flags.Duration("retention", 7*24*time.Hour, "how long messages are kept")
	args, err := c.anyArguments()
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(args, func(name string) bool { return name == "" })
	if len(names) == 0 {
		return nil, usageError("name at least one topic")
	}
	if *partitions < 1 {
		return nil, usageError("--partitions is required, and at least 1")
	}
	return func(ctx context.Context) error {
		for _, name := range names {
			topic := kafka.TopicSpecification{
				Topic: name, NumPartitions: *partitions, ReplicationFactor: *replicas,
				Config: map[string]string{
					"min.insync.replicas":            strconv.Itoa(*insync),
					"retention.ms":                   strconv.FormatInt(retention.Milliseconds(), 10),
					"unclean.leader.election.enable": "false",
				},
			}
			if err := c.createTopic(ctx, topic); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (c *call) createTopic(ctx context.Context, topic kafka.TopicSpecification) error {
	if err := checkRegistered(ctx, c.q, topic); err != nil {
		return err
	}
	if err := c.createAtKafka(ctx, topic); err != nil {
		return err
	}
	if _, err := c.q.RegisterTopic(ctx, walletdb.RegisterTopicParams{Topic: topic.Topic, Partitions: int32(topic.NumPartitions)}); err != nil {
		return fmt.Errorf("register topic: %w", err)
	}
	// Someone else may have registered it meanwhile.
	if err := checkRegistered(ctx, c.q, topic); err != nil {
		return err
	}
	if err := db.Confirm(ctx, c.conn); err != nil {
		return fmt.Errorf("register topic: %w", err)
	}
	fmt.Fprintf(c.stdout, "topic %s has %d partitions and is registered\n", topic.Topic, topic.NumPartitions)
	return nil
}

// checkRegistered refuses another partition count than the registered one, if there is one.
func checkRegistered(ctx context.Context, q *walletdb.Queries, topic kafka.TopicSpecification) error {
	registered, err := q.TopicPartitions(ctx, topic.Topic)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read registered topic: %w", err)
	}
	if int(registered) != topic.NumPartitions {
		return fmt.Errorf("topic %s is registered with %d partitions; another count would move keys to other partitions and break their order", topic.Topic, registered)
	}
	return nil
}

// createAtKafka leaves a topic alone that is there and has the partitions.
func (c *call) createAtKafka(ctx context.Context, topic kafka.TopicSpecification) error {
	config, err := c.kafkaConfig()
	if err != nil {
		return err
	}
	admin, err := kafka.NewAdminClient(&config)
	if err != nil {
		return usageError("RDKAFKA_*: " + err.Error())
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	results, err := admin.CreateTopics(ctx, []kafka.TopicSpecification{topic}, kafka.SetAdminOperationTimeout(kafkaTimeout))
	if err != nil {
		return fmt.Errorf("create topic at kafka: %w", err)
	}
	switch err := results[0].Error; err.Code() {
	case kafka.ErrNoError:
		return nil
	case kafka.ErrTopicAlreadyExists:
	default:
		return fmt.Errorf("create topic at kafka: %w", err)
	}
	metadata, err := admin.GetMetadata(&topic.Topic, false, int(kafkaTimeout.Milliseconds()))
	if err != nil {
		return fmt.Errorf("ask kafka for the topic: %w", err)
	}
	switch n := len(metadata.Topics[topic.Topic].Partitions); {
	case n < topic.NumPartitions:
		return fmt.Errorf("topic %s exists at kafka with %d partitions, not %d; to add the others: %s", topic.Topic, n, topic.NumPartitions, addPartitions(topic.Topic, topic.NumPartitions))
	case n > topic.NumPartitions:
		return fmt.Errorf("topic %s exists at kafka with %d partitions, not %d", topic.Topic, n, topic.NumPartitions)
	}
	return nil
}
