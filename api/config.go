package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// config is everything that the environment decides.
type config struct {
	database       *pgxpool.Config
	redis          redis.UniversalClient
	httpAddr       string
	adminAddr      string
	logLevel       slog.Level
	topic          string
	currency       string
	limits         limits
	flushInterval  time.Duration
	requestTimeout time.Duration
	drainDelay     time.Duration
	traced         bool
	sampler        sdktrace.Sampler // nil: as OTEL_TRACES_SAMPLER says
	auth           bool             // API keys are asked for
	ratePerSecond  int              // requests of one key; 0: any number
	origins        []string         // of pages that may use the API; none: CORS is off
}

// parseConfig reports every mistake at once, each with the name of its variable.
func parseConfig(getenv func(string) string) (config, error) {
	var mistakes []error
	text := func(name, otherwise string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return otherwise
	}
	check := func(name string, err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
	}
	address := func(name, otherwise string) string {
		value := text(name, otherwise)
		_, port, err := net.SplitHostPort(value)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		check(name, err)
		return value
	}
	number := func(name string, otherwise, least int) int {
		value, err := strconv.Atoi(text(name, strconv.Itoa(otherwise)))
		if err != nil || value < least {
			check(name, fmt.Errorf("must be a whole number of at least %d", least))
		}
		return value
	}
	duration := func(name string, otherwise, least time.Duration) time.Duration {
		value, err := time.ParseDuration(text(name, otherwise.String()))
		if err != nil || value < least {
			check(name, fmt.Errorf("must be a duration of at least %s, such as %s", least, otherwise))
		}
		return value
	}
	// required is a secret too, which may come from the file that NAME_FILE says.
	required := func(name string) string {
		value := getenv(name)
		if path := getenv(name + "_FILE"); path != "" {
			text, err := os.ReadFile(path)
			if err == nil && value != "" {
				err = fmt.Errorf("is set, and %s too", name)
			}
			check(name+"_FILE", err)
			value = strings.TrimSpace(string(text))
			if err != nil {
				return ""
			}
		}
		if value == "" {
			check(name, errors.New("is required"))
		}
		return value
	}

	// optional is a setting that is unset by default, as config.env says.
	optional := getenv

	c := config{
		httpAddr:  address("HTTP_ADDR", ":8080"),
		adminAddr: address("ADMIN_ADDR", "127.0.0.1:9080"),
		topic:     text("TOPIC", "wallet-operations"),
		currency:  text("DEFAULT_CURRENCY", "USD"),
		limits: limits{
			operations: number("QUEUE_MAX_OPERATIONS", 10_000, 1),
			bytes:      number("QUEUE_MAX_BYTES", 32<<20, 1<<20),
			flush:      number("FLUSH_MAX", 500, 1),
		},
		flushInterval:  duration("FLUSH_INTERVAL", 5*time.Millisecond, 0),
		auth:           text("AUTH", "on") == "on",
		ratePerSecond:  number("RATE_LIMIT", 0, 0),
		requestTimeout: duration("REQUEST_TIMEOUT", 10*time.Second, 100*time.Millisecond),
		drainDelay:     duration("DRAIN_DELAY", 0, 0),
	}
	if !regexp.MustCompile("^[A-Z]{3}$").MatchString(c.currency) {
		check("DEFAULT_CURRENCY", errors.New("must be three capital letters"))
	}
	if auth := text("AUTH", "on"); auth != "on" && auth != "off" {
		check("AUTH", errors.New("must be on or off"))
	}
	c.traced = optional("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
	ratio, err := strconv.ParseFloat(text("OTEL_TRACES_SAMPLER_ARG", "0.01"), 64)
	check("OTEL_TRACES_SAMPLER_ARG", err)
	c.origins, err = parseOrigins(optional("CORS_ORIGINS"))
	check("CORS_ORIGINS", err)
	if optional("OTEL_TRACES_SAMPLER") == "" {
		c.sampler = sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))
	}
	check("LOG_LEVEL", c.logLevel.UnmarshalText([]byte(text("LOG_LEVEL", "info"))))
	if url := required("DATABASE_URL"); url != "" {
		c.database, err = db.Config(url)
		check("DATABASE_URL", err)
	}
	if url := required("REDIS_URL"); url != "" {
		c.redis, err = walletcache.Open(url)
		check("REDIS_URL", err)
	}
	return c, errors.Join(mistakes...)
}
