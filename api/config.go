package main

import (
	"errors"
	"math"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletid"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/egress"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

type config struct {
	database       *pgxpool.Config
	redis          redis.UniversalClient
	httpAddr       string
	adminAddr      string
	topic          string
	currency       string
	cell           int
	newWallets     bool // are opened
	limits         limits
	flushInterval  time.Duration
	requestTimeout time.Duration
	drainDelay     time.Duration
	auth           bool // API keys are asked for
	console        bool // people may use the API in their browser
	ratePerSecond  int  // requests of one key; 0: any number
	streams        streamLimits
	hooks          webhooks
	origins        []string // of pages that may use the API; none: CORS is off
	tracing        tracing.Settings
}

func parseConfig(env *service.Env) config {
	c := config{
		database: service.DatabaseURL(env),
		redis:    service.RedisURL(env),
		topic:    service.Topic(env),
		httpAddr: env.Addr("HTTP_ADDR", ":8080", "Where the API listens."),
		currency: env.String("DEFAULT_CURRENCY", "USD", "The currency of a wallet that is created without one: three capital letters."),
		auth: env.OneOf("AUTH", []string{"on", "off"},
			`Whether requests need an API key (ctl keys create): on or off. Off is for an API that only a gateway
			can reach, which lets requests in itself.`) == "on",
	}
	c.console = env.OneOf("CONSOLE", []string{"on", "off"},
		"Whether the API serves the console, at /console/, which does what the key of whoever signs in may do: on or off.") == "on"
	c.hooks = webhooks{keys: service.HooksKey(env, false), egress: egress.Read(env)}
	c.cell = env.Int("CELL", 0, 0, walletid.MaxCell,
		`The number of this cell, where there are several behind a proxy: it is a part of the ids of new wallets, and
		never changes.`)
	c.newWallets = env.OneOf("NEW_WALLETS", []string{"on", "off"},
		`Whether new wallets are opened here: on or off. Off is for a cell that is full: a request to create one is
		answered with 503, unless its Idempotency-Key has made one before.`) == "on"
	origins, err := parseOrigins(env.Optional("CORS_ORIGINS", "https://shop.example",
		`The pages whose scripts may use the API: origins such as https://shop.example with commas between them,
		or * for all. Unset, there is no CORS.`))
	env.Check("CORS_ORIGINS", err)
	c.origins = origins
	c.ratePerSecond = env.Int("RATE_LIMIT", 0, 0, math.MaxInt,
		"How many requests one API key may send in a second, to each process; beyond it: 429. 0: any number.")
	c.streams.all = env.Int("STREAMS_MAX", 2000, 0, math.MaxInt,
		"How many clients may follow a wallet at once (GET .../events), in each process; beyond it: 503.")
	c.streams.perKey = env.Int("STREAMS_PER_KEY", 50, 1, math.MaxInt, "How many of them with one API key; beyond it: 429.")
	c.limits.flush = env.Int("FLUSH_MAX", 500, 1, math.MaxInt, "The most operations that one database transaction accepts.")
	c.flushInterval = env.Duration("FLUSH_INTERVAL", 5*time.Millisecond, 0,
		`The least time between the starts of two such transactions while requests come in, up to twice as long while
		they are few: more costs latency, less costs CPU. A lone request never waits.`)
	c.limits.operations = env.Int("QUEUE_MAX_OPERATIONS", 10_000, 1, math.MaxInt,
		"What may wait for a transaction, in operations; beyond it: 503 and Retry-After.")
	c.limits.bytes = env.Int("QUEUE_MAX_BYTES", 32<<20, 1<<20, math.MaxInt, "The same in bytes of operations.")
	c.requestTimeout = env.Duration("REQUEST_TIMEOUT", 10*time.Second, 100*time.Millisecond,
		"How long a request may take until it is answered with 503.")
	c.drainDelay = env.Duration("DRAIN_DELAY", 0, 0,
		`How long the API goes on serving after SIGTERM while /readyz says 503 already: as long as a load
		balancer may take to notice. The end takes up to 3s more.`)
	c.adminAddr = service.AdminAddr(env, "127.0.0.1:9080")
	c.tracing = tracing.Read(env)
	if !regexp.MustCompile("^[A-Z]{3}$").MatchString(c.currency) {
		env.Check("DEFAULT_CURRENCY", errors.New("must be three capital letters"))
	}
	return c
}
