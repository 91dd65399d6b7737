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
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/legendary-wallet/legendary-wallet/db"
)

// config is the relay's environment.
type config struct {
	postgres     *pgxpool.Config
	kafka        *kafka.ConfigMap
	adminAddr    string
	logLevel     slog.Level
	relay        string
	retention    time.Duration
	pollInterval time.Duration
	waveTimeout  time.Duration
	traced       bool
	sampler      sdktrace.Sampler // nil: as OTEL_TRACES_SAMPLER says
}

// loadConfig returns every mistake at once, each naming its variable.
func loadConfig(environ []string) (config, error) {
	env := map[string]string{}
	rdkafka := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	given := maps.Clone(env)
	errs := readFiles(env)
	for name, value := range env {
		if property, ok := strings.CutPrefix(name, "RDKAFKA_"); ok {
			rdkafka[strings.ToLower(strings.ReplaceAll(property, "_", "."))] = value
		}
	}
	var c config
	mistake := func(name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	text := func(name, fallback string) string {
		if env[name] != "" {
			return env[name]
		}
		if fallback == "" && given[name+"_FILE"] == "" {
			mistake(name, errors.New("is required"))
		}
		return fallback
	}
	address := func(name, fallback string) string {
		value := text(name, fallback)
		_, port, err := net.SplitHostPort(value)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		mistake(name, err)
		return value
	}
	duration := func(name string, fallback, least time.Duration) time.Duration {
		d, err := time.ParseDuration(text(name, fallback.String()))
		if err == nil && d < least {
			err = fmt.Errorf("must be at least %v", least)
		}
		mistake(name, err)
		return d
	}

	if url := text("DATABASE_URL", ""); url != "" {
		var err error
		c.postgres, err = db.Config(url)
		mistake("DATABASE_URL", err)
		if err == nil {
			maps.Copy(c.postgres.ConnConfig.RuntimeParams, planSettings)
		}
	}
	brokers := text("KAFKA_BROKERS", "")
	for name := range rdkafka {
		if _, fixed := producerRules[name]; fixed || name == "bootstrap.servers" {
			mistake("RDKAFKA_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_")), errors.New("is set by the relay itself"))
		}
	}
	c.kafka = producerConfig(brokers, rdkafka)
	if brokers != "" && len(rdkafka) > 0 {
		p, err := kafka.NewProducer(c.kafka)
		mistake("RDKAFKA_*", err)
		if err == nil {
			p.Close()
		}
	}
	c.traced = env["OTEL_EXPORTER_OTLP_ENDPOINT"] != ""
	ratio, err := strconv.ParseFloat(text("OTEL_TRACES_SAMPLER_ARG", "0.01"), 64)
	mistake("OTEL_TRACES_SAMPLER_ARG", err)
	if env["OTEL_TRACES_SAMPLER"] == "" {
		c.sampler = sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))
	}
	c.adminAddr = address("ADMIN_ADDR", "127.0.0.1:9081")
	mistake("LOG_LEVEL", c.logLevel.UnmarshalText([]byte(text("LOG_LEVEL", "info"))))
	c.relay = text("RELAY_NAME", "wallet-relay")
	c.retention = duration("OUTBOX_RETENTION", 24*time.Hour, time.Minute)
	c.pollInterval = duration("POLL_INTERVAL", 20*time.Millisecond, minPause)
	c.waveTimeout = duration("WAVE_TIMEOUT", 15*time.Second, time.Second)
	return c, errors.Join(errs...)
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
