package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// config is the settings of a stack. The services' own settings reach them through the environment.
type config struct {
	// A part whose address is given is not started.
	databaseURL, redisURL, kafkaBrokers string
	kafka                               string
	brokers                             int
	topic                               string
	httpAddr                            string
	apis, relays, workers               int
	standbys                            int // synchronous ones, of a Postgres that is started
	secure                              bool
	env                                 []string // of all services
}

// topicPartitions bounds the workers that share the work.
const topicPartitions = 8

// parseConfig reports all mistakes at once.
func parseConfig(getenv func(string) string) (config, error) {
	var mistakes []error
	text := func(name, fallback string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return fallback
	}
	replicas := func(name string) int {
		n, err := strconv.Atoi(text(name, "1"))
		if err != nil || n < 1 || n > 20 {
			mistakes = append(mistakes, fmt.Errorf("%s=%s: want a number of processes, 1 to 20", name, getenv(name)))
		}
		return n
	}
	brokers, err := strconv.Atoi(text("BROKERS", "1"))
	if err != nil || brokers != 1 && brokers != servers.ClusterBrokers {
		mistakes = append(mistakes, fmt.Errorf("BROKERS=%s: want 1 or %d", getenv("BROKERS"), servers.ClusterBrokers))
	}
	standbys, err := strconv.Atoi(text("STANDBYS", "0"))
	if err != nil || standbys < 0 || standbys > 2 {
		mistakes = append(mistakes, fmt.Errorf("STANDBYS=%s: want 0, 1 or 2", getenv("STANDBYS")))
	}
	c := config{
		standbys:     standbys,
		databaseURL:  getenv("DATABASE_URL"),
		redisURL:     getenv("REDIS_URL"),
		kafkaBrokers: getenv("KAFKA_BROKERS"),
		kafka:        text("KAFKA", "kfake"),
		brokers:      brokers,
		topic:        text("TOPIC", "wallet-operations"),
		httpAddr:     getenv("HTTP_ADDR"),
		apis:         replicas("API"),
		relays:       replicas("RELAY"),
		workers:      replicas("WORKER"),
		secure:       getenv("SECURE") == "on",
	}
	if given := c.databaseURL + c.redisURL + c.kafkaBrokers; c.secure && (given != "" || c.kafka != "apache") {
		mistakes = append(mistakes, errors.New("SECURE=on: needs KAFKA=apache, and parts that are started here"))
	}
	if brokers > 1 && (c.kafka != "apache" || c.kafkaBrokers != "") {
		mistakes = append(mistakes, fmt.Errorf("BROKERS=%d: needs KAFKA=apache, and brokers that are started here", brokers))
	}
	if c.standbys > 0 && (c.databaseURL != "" || c.secure) {
		mistakes = append(mistakes, errors.New("STANDBYS: needs a Postgres that is started here, without SECURE"))
	}
	if c.kafka != "kfake" && c.kafka != "apache" {
		mistakes = append(mistakes, fmt.Errorf("KAFKA=%s: want kfake or apache", c.kafka))
	}
	return c, errors.Join(mistakes...)
}
