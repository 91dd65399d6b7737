package stack

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// Config is the settings of a stack. The services' own settings reach them through the environment.
type Config struct {
	// A part whose address is given is not started.
	DatabaseURL, RedisURL, KafkaBrokers string
	Kafka                               string
	Brokers                             int
	Redis                               string // sentinel or cluster; empty: one server
	Topic                               string
	EventsTopic                         string // empty: none
	HTTPAddr                            string
	APIs, Relays, Workers, Hooks        int
	Cells                               int // whole systems behind one proxy; of a single one there is none
	Standbys                            int // synchronous ones, of a Postgres that is started
	Secure                              bool
	Env                                 []string // of all services
	// OwnHooksKey and HooksAllow are of api and hooks: whether the environment has a HOOKS_KEY, else the stack makes
	// one, and which networks webhooks may go to.
	OwnHooksKey bool
	HooksAllow  string
	Starting    Starting
}

// Starting is called while a stack starts, each of it if it is there.
type Starting struct {
	ServersReady func(context.Context) error
	Prepared     func(context.Context) error // the database, the topic and the key are there
}

// Loopback is where receivers of webhooks are on one machine.
const Loopback = "127.0.0.0/8"

// TopicPartitions bounds the workers that share the work.
const TopicPartitions = 8

// ParseConfig reports all mistakes at once.
func ParseConfig(getenv func(string) string) (Config, error) {
	var mistakes []error
	text := func(name, fallback string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return fallback
	}
	replicas := func(name string, least int) int {
		n, err := strconv.Atoi(text(name, "1"))
		if err != nil || n < least || n > 20 {
			mistakes = append(mistakes, fmt.Errorf("%s=%s: want a number of processes, %d to 20", name, getenv(name), least))
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
	redis := getenv("REDIS")
	if redis != "" && redis != "sentinel" && redis != "cluster" {
		mistakes = append(mistakes, fmt.Errorf("REDIS=%s: want sentinel or cluster", redis))
	}
	cells, err := strconv.Atoi(text("CELLS", "1"))
	if err != nil || cells < 1 || cells > 8 {
		mistakes = append(mistakes, fmt.Errorf("CELLS=%s: want a number of cells, 1 to 8", getenv("CELLS")))
	}
	c := Config{
		Cells:        cells,
		Standbys:     standbys,
		DatabaseURL:  getenv("DATABASE_URL"),
		RedisURL:     getenv("REDIS_URL"),
		Redis:        redis,
		KafkaBrokers: getenv("KAFKA_BROKERS"),
		Kafka:        text("KAFKA", "kfake"),
		Brokers:      brokers,
		Topic:        text("TOPIC", "wallet-operations"),
		EventsTopic:  text("EVENTS_TOPIC", "wallet-events"),
		HTTPAddr:     getenv("HTTP_ADDR"),
		APIs:         replicas("API", 1),
		Relays:       replicas("RELAY", 1),
		Workers:      replicas("WORKER", 1),
		Hooks:        replicas("HOOKS", 0),
		OwnHooksKey:  getenv("HOOKS_KEY")+getenv("HOOKS_KEY_FILE") != "",
		HooksAllow:   text("HOOKS_ALLOW", Loopback),
		Secure:       getenv("SECURE") == "on",
	}
	return c, errors.Join(append(mistakes, c.contradictions()...)...)
}

// contradictions are settings that do not go together.
func (c Config) contradictions() (mistakes []error) {
	if given := c.DatabaseURL + c.RedisURL + c.KafkaBrokers; c.Secure && (given != "" || c.Kafka != "apache") {
		mistakes = append(mistakes, errors.New("SECURE=on: needs KAFKA=apache, and backing services that are started here"))
	}
	if c.Brokers > 1 && (c.Kafka != "apache" || c.KafkaBrokers != "") {
		mistakes = append(mistakes, fmt.Errorf("BROKERS=%d: needs KAFKA=apache, and brokers that are started here", c.Brokers))
	}
	if c.Standbys > 0 && (c.DatabaseURL != "" || c.Secure) {
		mistakes = append(mistakes, errors.New("STANDBYS: needs a Postgres that is started here, without SECURE"))
	}
	if c.Redis != "" && (c.RedisURL != "" || c.Secure) {
		mistakes = append(mistakes, fmt.Errorf("REDIS=%s: needs servers that are started here, without SECURE", c.Redis))
	}
	if c.Cells > 1 && c.DatabaseURL+c.RedisURL+c.KafkaBrokers != "" {
		mistakes = append(mistakes, fmt.Errorf("CELLS=%d: needs backing services that are started here, for each cell its own", c.Cells))
	}
	if c.Cells > 1 && c.Secure {
		mistakes = append(mistakes, fmt.Errorf("CELLS=%d: does not go with SECURE=on", c.Cells))
	}
	if c.Kafka != "kfake" && c.Kafka != "apache" {
		mistakes = append(mistakes, fmt.Errorf("KAFKA=%s: want kfake or apache", c.Kafka))
	}
	return mistakes
}
