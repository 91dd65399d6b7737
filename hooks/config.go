package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/egress"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

type config struct {
	database  *pgxpool.Config
	kafka     kafka.ConfigMap // of each consumer
	topic     string
	keys      hook.Keys
	policy    egress.Policy
	retries   *retries
	adminAddr string
	tracing   tracing.Settings
}

func parseConfig(env *service.Env) config {
	c := config{database: service.DatabaseURL(env)}
	brokers := service.Brokers(env)
	rdkafka := service.Librdkafka(env)
	c.kafka = service.Properties(env, "hooks", rdkafka, consumerDefaults, consumerRules(brokers))
	if brokers != "" || len(rdkafka) > 0 {
		client, err := kafka.NewConsumer(&c.kafka)
		env.Check("KAFKA_BROKERS or RDKAFKA_*", err)
		if err == nil {
			client.Close()
		}
	}
	if c.topic = service.EventsTopic(env); c.topic == "" {
		env.Check("EVENTS_TOPIC", errors.New("is none: hooks delivers what that topic says"))
	}
	c.keys = service.HooksKey(env, true)
	c.policy = egress.Read(env)
	c.retries = &retries{
		delays: delays(env, "HOOKS_RETRIES", defaultRetries,
			"When a delivery that failed is tried again: after so long, then after so long, and so on; the last one repeats. Each is varied by a fifth."),
		giveUp: env.Duration("HOOKS_GIVE_UP", 72*time.Hour, time.Minute, "An endpoint that has failed for so long is disabled."),
		jitter: rand.Float64,
	}
	c.adminAddr = service.AdminAddr(env, "127.0.0.1:9083")
	c.tracing = tracing.Read(env)
	return c
}

// defaultRetries go on for 72 hours.
const defaultRetries = "5s,30s,2m,10m,1h,3h,6h"

// delays reads durations with commas between.
func delays(env *service.Env, name, otherwise, meaning string) []time.Duration {
	all, err := parseDelays(env.String(name, otherwise, meaning))
	env.Check(name, err)
	return all
}

func parseDelays(text string) (all []time.Duration, err error) {
	for part := range strings.SplitSeq(text, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || d < leastDelay {
			return nil, fmt.Errorf("must be durations of at least %v with commas between, such as %s", leastDelay, defaultRetries)
		}
		all = append(all, d)
	}
	return all, nil
}

// leastDelay keeps a receiver that fails from being called all the time.
const leastDelay = 100 * time.Millisecond

// catchUpConfig is of consumers that read a little here and a little there.
var catchUpConfig = kafka.ConfigMap{
	"fetch.message.max.bytes":    turnBytes,
	"queued.min.messages":        turnMessages,
	"queued.max.messages.kbytes": 1024,
}

// consumerDefaults can be set otherwise by RDKAFKA_ variables.
var consumerDefaults = kafka.ConfigMap{
	"client.id":                          "wallet-hooks",
	"fetch.wait.max.ms":                  50,
	"fetch.queue.backoff.ms":             10,
	"queued.min.messages":                4_000,
	"queued.max.messages.kbytes":         16_384,
	"check.crcs":                         true,
	"socket.timeout.ms":                  10_000,
	"socket.connection.setup.timeout.ms": 10_000,
	"socket.keepalive.enable":            true,
	"reconnect.backoff.ms":               50,
	"reconnect.backoff.max.ms":           1_000,
	"topic.metadata.refresh.interval.ms": 10_000,
}

// consumerRules cannot be set otherwise. Hooks keeps its positions in Postgres: the group is a name that librdkafka
// asks for, and never joined.
func consumerRules(brokers string) kafka.ConfigMap {
	return kafka.ConfigMap{
		"bootstrap.servers":        brokers,
		"group.id":                 "wallet-hooks",
		"enable.auto.commit":       false,
		"auto.offset.reset":        "error", // hooks decides where to go on
		"enable.auto.offset.store": false,
		"allow.auto.create.topics": false,
		"go.logs.channel.enable":   true,
	}
}
