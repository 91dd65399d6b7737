package main

import (
	"errors"
	"maps"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

type config struct {
	database  *pgxpool.Config
	kafka     kafka.ConfigMap // of each consumer
	adminAddr string
	tracing   tracing.Settings
}

func parseConfig(env *service.Env) config {
	c := config{database: service.DatabaseURL(env)}
	brokers := service.Brokers(env)
	rdkafka := service.Librdkafka(env)
	var fixed []string
	c.kafka, fixed = kafkaConfig(rdkafka, brokers)
	for _, property := range fixed {
		env.Check(service.PropertySetting(property), errors.New("is set by hooks itself"))
	}
	if brokers != "" || len(rdkafka) > 0 {
		client, err := kafka.NewConsumer(&c.kafka)
		env.Check("KAFKA_BROKERS or RDKAFKA_*", err)
		if err == nil {
			client.Close()
		}
	}
	c.adminAddr = service.AdminAddr(env, "127.0.0.1:9083")
	c.tracing = tracing.Read(env)
	return c
}

// kafkaConfig adds what the operator says of librdkafka's properties, and names those that it refuses. Hooks
// keeps its positions in Postgres: the group is a name that librdkafka asks for, and never joined.
func kafkaConfig(given map[string]string, brokers string) (properties kafka.ConfigMap, fixed []string) {
	properties = kafka.ConfigMap{
		"client.id":                          "wallet-hooks",
		"fetch.wait.max.ms":                  50,
		"fetch.queue.backoff.ms":             10,
		"check.crcs":                         true,
		"socket.timeout.ms":                  10_000,
		"socket.connection.setup.timeout.ms": 10_000,
		"socket.keepalive.enable":            true,
		"reconnect.backoff.ms":               50,
		"reconnect.backoff.max.ms":           1_000,
		"topic.metadata.refresh.interval.ms": 10_000,
	}
	own := kafka.ConfigMap{
		"bootstrap.servers":        brokers,
		"group.id":                 "wallet-hooks",
		"enable.auto.commit":       false,
		"enable.auto.offset.store": false,
		"allow.auto.create.topics": false,
		"go.logs.channel.enable":   true,
	}
	for property, value := range given {
		if _, taken := own[property]; taken {
			fixed = append(fixed, property)
		} else {
			properties[property] = value
		}
	}
	maps.Copy(properties, own)
	return properties, fixed
}
