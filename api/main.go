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
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// contract is openapi.yaml; `make generate` copies it here, because a module embeds only its own.
//
//go:embed openapi.yaml
var contract []byte

// drainTime is how long waiting requests have to get their answer after SIGTERM.
const drainTime = 3 * time.Second

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("api", release())
		return
	}
	ballast := make([]byte, ballastBytes)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	code := run(ctx, os.Getenv, os.Stderr)
	runtime.KeepAlive(ballast)
	os.Exit(code)
}

// ballastBytes are never touched and take no memory, but the garbage collector counts them: it starts
// when there is as much garbage as ballast, stacks and what is in use. With the latter alone it would
// run twenty times a second, and each time look through the stacks of all waiting requests. Unlike a
// higher GOGC it lets memory grow no further with more clients.
const ballastBytes = 8 << 20

// run returns the exit code: 0 after SIGTERM, 2 for a wrong configuration, else 1.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) int {
	c, err := parseConfig(getenv)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	slog.SetDefault(slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: c.logLevel})))
	if err := serve(ctx, c); err != nil && ctx.Err() == nil {
		slog.Error("api ends", "error", err)
		return 1
	}
	slog.Info("api ended")
	return 0
}

// serve runs the api until the context ends, and then until waiting requests have their answer.
func serve(ctx context.Context, c config) error {
	if c.database.MinConns == 0 {
		c.database.MinConns = c.database.MaxConns // balances are read while a standby is missing, and no connection can be added
	}
	pool, err := db.Open(ctx, c.database)
	if err != nil {
		return err
	}
	defer db.Close(pool)
	walletcache.Silence()
	defer c.redis.Close()

	var traces *tracing
	if c.traced {
		if traces, err = newTracing(ctx, c.sampler); err != nil {
			return err
		}
		defer traces.end()
	}
	q := newQueue(c.limits)
	entries := newCache(c.redis)
	commits := db.NewCommits(c.database.ConnConfig, sayMissing)
	h := &health{pool: pool, cache: entries, queue: q, commits: commits}
	draining, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	w := newWaits(pool, entries, draining.Done())
	m := newMetrics(q, h, w.waiters)
	m.registry.MustRegister(pgxpoolprometheus.NewCollector(pool, nil))
	ws := &wallets{pool: pool, cache: entries, queue: q, commits: commits, waits: w, metrics: m, tracing: traces, currency: c.currency, timeout: c.requestTimeout}
	f := &flusher{queue: q, commits: commits, config: flushConfig(c.database.ConnConfig), topic: c.topic, interval: c.flushInterval, observe: m.flushed, tracing: traces}
	k := &keys{db: pool, off: !c.auth, perSec: c.ratePerSecond, lifetime: keyLifetime, known: map[[32]byte]*key{}}
	handler, err := newHandler(ws, k, m)
	if err != nil {
		return err
	}

	// Everything below outlives ctx, so that requests that wait when it ends get their answer.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	defer background.Wait()
	defer end()

	failed := make(chan error, 2)
	admin, err := listen(running, c.adminAddr, newAdminHandler(h, m), time.Second, failed)
	if err != nil {
		return err
	}
	defer admin.Close()
	background.Go(func() { commits.Watch(running) })
	if err := h.waitForDatabase(ctx); err != nil {
		return err
	}
	background.Go(func() { f.run(running) })
	background.Go(func() { entries.guard.Run(running) })
	background.Go(func() { w.run(running, c.redis) })
	background.Go(func() { h.watchPostgres(running) })
	server, err := listen(running, c.httpAddr, h.sayGoodbye(allowOrigins(c.origins, handler)), c.requestTimeout+flushTimeout+maxWait, failed)
	if err != nil {
		return err
	}
	h.started.Store(true)
	slog.Info("api listening", "addr", server.Addr, "admin", admin.Addr)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	h.draining.Store(true)
	slog.Info("api drains", "delay", c.drainDelay.String())
	time.Sleep(c.drainDelay) // load balancers read /readyz now and then, and send requests until they have
	drain()
	time.AfterFunc(drainTime, end) // what still waits then is told that it was not accepted in time
	err = server.Shutdown(context.WithoutCancel(ctx))
	return err
}

// flushConfig is the flusher's own connection: it waits for locks less long than others.
func flushConfig(config *pgx.ConnConfig) *pgx.ConnConfig {
	config = config.Copy()
	config.RuntimeParams["lock_timeout"] = fmt.Sprint(lockWait.Milliseconds())
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
