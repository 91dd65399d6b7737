package main

import (
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

type config struct {
	postgres       *pgxpool.Config
	kafka          *kafka.ConfigMap
	adminAddr      string
	relay          string
	topic          string
	retention      time.Duration
	pollInterval   time.Duration
	publishTimeout time.Duration
	tracing        tracing.Settings
}

func parseConfig(env *service.Env) config {
	c := config{postgres: service.DatabaseURL(env)}
	if c.postgres != nil {
		// The plans that are tested, and no single poll planned anew: else every poll does a full scan of an outbox that
		// few large transactions have filled, once for each transaction that runs.
		db.PlanByIndex(c.postgres.ConnConfig)
		c.postgres.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	}
	brokers, rdkafka := service.Brokers(env), service.Librdkafka(env)
	c.kafka = producerConfig(env, brokers, rdkafka)
	if brokers != "" && len(rdkafka) > 0 {
		p, err := kafka.NewProducer(c.kafka)
		env.Check("RDKAFKA_*", err)
		if err == nil {
			p.Close()
		}
	}
	c.relay = service.RelayName(env)
	c.topic = service.Topic(env)
	c.retention = env.Duration("OUTBOX_RETENTION", 24*time.Hour, time.Minute, "How long a published row is kept.")
	c.pollInterval = env.Duration("POLL_INTERVAL", 20*time.Millisecond, minPause,
		`The least time between the starts of two publish batches while rows keep coming; batches of more than 100
		rows start up to three times as far apart, those of events five times. A row that comes alone is seen within
		10ms; after a second without any, when the api announces it, or within 250ms.`)
	c.publishTimeout = env.Was("WAVE_TIMEOUT").Duration("PUBLISH_TIMEOUT", 15*time.Second, time.Second,
		"How long Kafka may take to acknowledge a publish batch; then the relay reads and sends it again.")
	c.adminAddr = service.AdminAddr(env, "127.0.0.1:9081")
	c.tracing = tracing.Read(env)
	return c
}
