// The api accepts operations over HTTP. It writes each operation with its outbox row in one
// transaction, and answers once that is committed; others publish and apply it.
//
// It keeps nothing but the requests that wait for their answer. If it dies, those were accepted or
// not, and clients find out by sending them again with the same idempotency key. Any number of api
// processes may run on one database.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

// contract is openapi.yaml; `make generate` copies it here, because a module embeds only its own.
//
//go:embed openapi.yaml
var contract []byte

// drainTime is how long waiting requests have to get their answer after SIGTERM.
const drainTime = 3 * time.Second

var program = service.Program[config]{
	Name:    "api",
	About:   "The api accepts operations over HTTP, as openapi.yaml says.",
	Config:  parseConfig,
	Run:     serve,
	Ballast: 8 << 20, // each collection looks through the stacks of all waiting requests
}

func main() { program.Main() }

// serve runs the api until the context ends, and then until waiting requests have their answer.
func serve(ctx context.Context, c config, log *slog.Logger) error {
	slog.SetDefault(log)
	if c.database.MinConns == 0 {
		c.database.MinConns = c.database.MaxConns // balances are read while a standby is missing, and no connection can be added
	}
	pool, err := db.Open(ctx, c.database)
	if err != nil {
		return err
	}
	defer db.Close(pool)
	defer c.redis.Close()
	spans, err := tracing.New(ctx, "wallet-api", c.tracing, log)
	if err != nil {
		return err
	}
	defer spans.End()

	// Everything below outlives ctx, so that requests that wait when it ends get their answer.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	defer background.Wait()
	defer end()

	registry := service.NewRegistry()
	health := service.NewHealth(log, registry, "postgres", "redis")
	draining, drain := context.WithCancel(running)
	defer drain()
	p, err := assemble(running, draining.Done(), c, pool, newTracer(spans), health, registry, log)
	if err != nil {
		return err
	}

	admin, err := service.ListenAdmin(c.adminAddr, health, registry, log)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := service.AwaitMigrations(ctx, pool, health); err != nil {
		return err
	}
	background.Go(func() { p.flusher.run(running) })
	background.Go(func() { p.entries.guard.Run(running) })
	background.Go(func() { p.waits.run(running, c.redis) })
	background.Go(func() { watch(running, pool, p.queue, health) })
	failed := make(chan error, 1)
	server, err := listen(running, c.httpAddr, p.handler, c.requestTimeout+flushTimeout+maxWait, failed)
	if err != nil {
		return err
	}
	health.Started()
	log.Info("api listening", "addr", server.Addr, "admin", admin.Addr)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	health.Drain()
	log.Info("api drains", "delay", c.drainDelay.String())
	time.Sleep(c.drainDelay) // load balancers read /readyz now and then, and send requests until they have
	drain()
	time.AfterFunc(drainTime, end) // requests that still wait then are answered: not accepted in time
	return server.Shutdown(context.WithoutCancel(ctx))
}

// parts are what an api runs, and what its handler uses.
type parts struct {
	queue   *queue
	flusher *flusher
	entries *cache
	waits   *waits
	handler http.Handler
}

// assemble starts nothing but what watches commits.
func assemble(running context.Context, draining <-chan struct{}, c config, pool *pgxpool.Pool, traces *tracer, health *service.Health, registry *prometheus.Registry, log *slog.Logger) (parts, error) {
	commits := service.WatchCommits(running, c.database.ConnConfig, health, registry)
	q := newQueue(c.limits)
	entries := newCache(c.redis, health, registry)
	following := newStreams(pool, entries, c.streams, draining, registry)
	w := newWaits(pool, entries, following, draining)
	m := newMetrics(registry, q, w.waiters)
	registry.MustRegister(pgxpoolprometheus.NewCollector(pool, nil))
	k := &keys{db: pool, off: !c.auth, cell: c.cell, perSec: c.ratePerSecond, lifetime: keyLifetime, known: map[[32]byte]*key{}}
	ws := &wallets{pool: pool, cache: entries, hooks: c.hooks, queue: q, commits: commits, waits: w, streams: following, keys: k, metrics: m, tracer: traces, topic: c.topic, currency: c.currency, cell: c.cell, full: !c.newWallets, timeout: c.requestTimeout}
	f := &flusher{
		queue: q, commits: commits, config: flushConfig(c.database.ConnConfig), topic: c.topic, interval: c.flushInterval,
		observe: m.flushed, tracer: traces, wake: func() { go wakeRelay(running, pool) }, report: func(err error) { health.Set(accepting, err) }, repeats: service.NewRepeats(log),
	}
	var console http.Handler
	if c.console {
		var err error
		if console, err = newConsole(c.auth); err != nil {
			return parts{}, err
		}
	}
	handler, err := newHandler(ws, k, m, console)
	return parts{q, f, entries, w, closeConnections(health, allowOrigins(c.origins, handler))}, err
}

// wakeRelay may fail: the relay polls soon by itself.
func wakeRelay(ctx context.Context, pool *pgxpool.Pool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = walletdb.New(pool).WakeRelay(ctx)
}

// flushConfig is the flusher's own connection: it waits for locks less long than others.
func flushConfig(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	config.RuntimeParams["lock_timeout"] = fmt.Sprint(lockWait.Milliseconds())
	db.PlanByIndex(config)
	return config
}

// listen starts a server whose requests end with ctx.
func listen(ctx context.Context, addr string, handler http.Handler, longest time.Duration, failed chan<- error) (*http.Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	server := newHTTPServer(handler, longest)
	server.Addr = listener.Addr().String()
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	return server, nil
}
