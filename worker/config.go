package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

type config struct {
	database      *pgxpool.Config
	redis         redis.UniversalClient
	kafka         kafka.ConfigMap
	client        *kafka.Consumer // of kafka
	topic         string
	group         string
	eventsTopic   string // empty: no events
	eventsSource  string
	adminAddr     string
	batchInterval time.Duration // least time between the starts of two transactions of a partition
	batchSize     int           // messages that start a transaction early
	sweepAfter    time.Duration // age from which an operation should have been applied
	tracing       tracing.Settings
}

func parseConfig(env *service.Env) config {
	c := config{
		database: service.DatabaseURL(env),
		redis:    service.RedisURL(env),
		topic:    service.Topic(env),
	}
	brokers := service.Brokers(env)
	rdkafka := service.Librdkafka(env)
	c.group = service.Group(env)
	instance := env.Optional("GROUP_INSTANCE_ID", "worker-1",
		`A name that stays with this worker over restarts, and no other has: it gets its partitions back at
		once. Without one they are stalled for up to 10 s after a crash. (Not passed on by docker compose.)`)
	c.kafka = service.Properties(env, "the worker", rdkafka, consumerDefaults, consumerRules(brokers, c.group, instance))
	if brokers != "" || len(rdkafka) > 0 {
		var err error
		if c.client, err = kafka.NewConsumer(&c.kafka); err != nil {
			env.Check("KAFKA_BROKERS, KAFKA_GROUP, GROUP_INSTANCE_ID or RDKAFKA_*", err)
		}
	}
	c.batchInterval = env.Duration("BATCH_INTERVAL", 100*time.Millisecond, 0,
		`The least time between the starts of two transactions of a partition: operations that arrive
		meanwhile share one. One that comes after a quiet time is applied at once. 0 for no pause.`)
	c.batchSize = env.Int("BATCH_SIZE", 2000, 1, maxOperations, "As many messages start a transaction early.")
	c.sweepAfter = env.Duration("SWEEP_AFTER", 30*time.Second, time.Second,
		"The age at which the worker looks in the database for an operation that no message announced.")
	c.eventsTopic, c.eventsSource = eventSettings(env, c.topic)
	c.adminAddr = service.AdminAddr(env, "127.0.0.1:9082")
	c.tracing = tracing.Read(env)
	return c
}

// eventSettings reads what it is about events.
func eventSettings(env *service.Env, operations string) (topic, source string) {
	topic = service.EventsTopic(env)
	if topic != "" && topic == operations {
		env.Check("EVENTS_TOPIC", errors.New("is TOPIC: events need a topic of their own"))
	}
	source = env.String("EVENTS_SOURCE", "legendary-wallet",
		"The ce_source of events: a URI, or a part of one, that tells this system from others.")
	_, err := url.Parse(source)
	if err != nil || len(source) > maxSource || strings.ContainsFunc(source, func(c rune) bool { return c <= ' ' || c > '~' }) {
		env.Check("EVENTS_SOURCE", fmt.Errorf("is not a URI reference of at most %d ASCII characters", maxSource))
	}
	return topic, source
}

const maxSource = 256

// consumerDefaults can be set otherwise by RDKAFKA_ variables.
var consumerDefaults = kafka.ConfigMap{
	"client.id": "wallet-worker",
	// A dead worker's wallets are stalled until its session ends.
	"session.timeout.ms":    10_000,
	"heartbeat.interval.ms": 2_000,
	"max.poll.interval.ms":  120_000,
	// The default back-off of one second stalls a consumer that keeps up.
	"fetch.wait.max.ms":          50,
	"fetch.queue.backoff.ms":     10,
	"queued.min.messages":        4_000,
	"queued.max.messages.kbytes": 16_384,
	"check.crcs":                 true,
	"auto.commit.interval.ms":    500,
	// The worker notices a dead broker, and a new topic, within ten seconds.
	"socket.timeout.ms":                  10_000,
	"socket.connection.setup.timeout.ms": 10_000,
	"socket.keepalive.enable":            true,
	"reconnect.backoff.ms":               50,
	"reconnect.backoff.max.ms":           1_000,
	"topic.metadata.refresh.interval.ms": 10_000,
}

// consumerRules are what the worker's guarantees rest on, and properties with a setting of their own.
func consumerRules(brokers, group, instance string) kafka.ConfigMap {
	rules := kafka.ConfigMap{
		"bootstrap.servers":             brokers,
		"group.id":                      group,
		"group.protocol":                "classic",
		"partition.assignment.strategy": "cooperative-sticky",
		"enable.auto.commit":            true,
		"enable.auto.offset.store":      false,
		"auto.offset.reset":             "earliest",
		"allow.auto.create.topics":      false,
		"go.logs.channel.enable":        true,
	}
	if instance != "" {
		rules["group.instance.id"] = instance
	}
	return rules
}
