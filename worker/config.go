package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

type config struct {
	database      *pgxpool.Config
	redis         redis.UniversalClient
	kafka         kafka.ConfigMap
	topic         string
	adminAddr     string
	logLevel      slog.Level
	batchInterval time.Duration // least time between the starts of two transactions of a partition
	batchSize     int           // messages that start a transaction early
	sweepAfter    time.Duration // age from which an operation should have been applied
	traced        bool
	sampler       sdktrace.Sampler // nil: as OTEL_TRACES_SAMPLER says
}

// parseConfig reads the environment. Its error names every setting that is wrong.
func parseConfig(environ []string) (config, error) {
	env := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	given := maps.Clone(env)
	mistakes := readFiles(env)
	text := func(name, fallback string) string {
		if value := env[name]; value != "" {
			return value
		}
		if fallback == "" && given[name+"_FILE"] == "" {
			mistakes = append(mistakes, fmt.Errorf("%s is required", name))
		}
		return fallback
	}
	check := func(name string, err error) {
		if err != nil && env[name] != "" {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
	}
	address := func(name, fallback string) string {
		value := text(name, fallback)
		_, port, err := net.SplitHostPort(value)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		check(name, err)
		return value
	}
	duration := func(name string, fallback, least time.Duration) time.Duration {
		value, err := time.ParseDuration(text(name, fallback.String()))
		if err == nil && value < least {
			err = fmt.Errorf("%v is less than %v", value, least)
		}
		check(name, err)
		return value
	}

	var c config
	var err error
	c.database, err = db.Config(text("DATABASE_URL", ""))
	check("DATABASE_URL", err)
	c.redis, err = walletcache.Open(text("REDIS_URL", ""))
	check("REDIS_URL", err)
	c.topic = text("TOPIC", "wallet-operations")
	var fixed []string
	c.kafka, fixed = kafkaConfig(env, text("KAFKA_BROKERS", ""), text("KAFKA_GROUP", "wallet-worker"), env["GROUP_INSTANCE_ID"])
	for _, name := range fixed {
		check(name, errors.New("is set by the worker itself"))
	}
	c.traced = env["OTEL_EXPORTER_OTLP_ENDPOINT"] != ""
	ratio, err := strconv.ParseFloat(text("OTEL_TRACES_SAMPLER_ARG", "0.01"), 64)
	check("OTEL_TRACES_SAMPLER_ARG", err)
	if env["OTEL_TRACES_SAMPLER"] == "" {
		c.sampler = sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))
	}
	c.adminAddr = address("ADMIN_ADDR", "127.0.0.1:9082")
	check("LOG_LEVEL", c.logLevel.UnmarshalText([]byte(text("LOG_LEVEL", "info"))))
	c.batchInterval = duration("BATCH_INTERVAL", 100*time.Millisecond, 0)
	c.sweepAfter = duration("SWEEP_AFTER", 30*time.Second, time.Second)
	c.batchSize, err = strconv.Atoi(text("BATCH_SIZE", "2000"))
	if err == nil && (c.batchSize < 1 || c.batchSize > maxOperations) {
		err = fmt.Errorf("%d is not in 1…%d", c.batchSize, maxOperations)
	}
	check("BATCH_SIZE", err)
	return c, errors.Join(mistakes...)
}

// kafkaConfig lets RDKAFKA_* set any librdkafka property (RDKAFKA_SASL_USERNAME is sasl.username),
// so that security needs no code here. It names those of them that it does not take: what the
// worker's promises rest on, and what has a setting of its own.
func kafkaConfig(env map[string]string, brokers, group, instance string) (properties kafka.ConfigMap, fixed []string) {
	properties = kafka.ConfigMap{
		"client.id": "wallet-worker",
		// A dead worker's wallets stand still until its session ends.
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
		// A dead broker shows in ten seconds, a new topic too.
		"socket.timeout.ms":                  10_000,
		"socket.connection.setup.timeout.ms": 10_000,
		"socket.keepalive.enable":            true,
		"reconnect.backoff.ms":               50,
		"reconnect.backoff.max.ms":           1_000,
		"topic.metadata.refresh.interval.ms": 10_000,
	}
	own := kafka.ConfigMap{
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
		own["group.instance.id"] = instance
	}
	for name, value := range env {
		property, found := strings.CutPrefix(name, "RDKAFKA_")
		property = strings.ToLower(strings.ReplaceAll(property, "_", "."))
		if _, taken := own[property]; found && taken {
			fixed = append(fixed, name)
		} else if found {
			properties[property] = value
		}
	}
	maps.Copy(properties, own)
	return properties, fixed
}

// readFiles gives the settings that are secrets their values from files: NAME_FILE says which.
func readFiles(env map[string]string) (mistakes []error) {
	for name, path := range env {
		setting, isFile := strings.CutSuffix(name, "_FILE")
		if !isFile || path == "" || setting != "DATABASE_URL" && setting != "REDIS_URL" && !strings.HasPrefix(setting, "RDKAFKA_") {
			continue
		}
		text, err := os.ReadFile(path)
		value := strings.TrimSpace(string(text))
		switch {
		case err == nil && env[setting] != "":
			err = fmt.Errorf("is set, and %s too", setting)
		case err == nil && value == "":
			err = errors.New("is an empty file")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
		env[setting] = value
		delete(env, name)
	}
	return mistakes
}
