// Relay publishes the outbox to Kafka: every row at least once, and each key's rows in the order of
// their ids.
//
// Several may run; one leads (lead.go) and publishes (publish.go). Killed at any moment, it or the
// next leader begins at the position that Postgres holds, which is one that Kafka has acknowledged:
// what was published after it is published again.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("relay", release())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Environ(), os.Stderr))
}

// run returns the exit code: 0 after a normal end, 1 if it cannot start, 2 if the settings are wrong.
func run(ctx context.Context, environ []string, stderr io.Writer) int {
	config, err := loadConfig(environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: config.logLevel}))
	status := newStatus(log)
	context.AfterFunc(ctx, status.drain)

	listener, err := net.Listen("tcp", config.adminAddr)
	if err != nil {
		log.Error("listen on ADMIN_ADDR", "error", err)
		return 1
	}
	admin := &http.Server{Handler: status.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = admin.Serve(listener) }()
	defer admin.Close()

	config.postgres.MaxConns = 2 // of upkeep
	pool, err := db.Open(ctx, config.postgres)
	if err != nil {
		log.Error("open postgres", "error", err)
		return 1
	}
	defer db.Close(pool)

	var traces *tracing
	if config.traced {
		if traces, err = newTracing(ctx, config.sampler, log); err != nil {
			log.Error("OTEL_EXPORTER_OTLP_ENDPOINT", "error", err)
			return 1
		}
		defer traces.end()
	}
	commits := db.NewCommits(config.postgres.ConnConfig, status.standbyMissing)
	go commits.Watch(ctx)
	log.Info("relay started", "admin", listener.Addr().String(), "relay", config.relay)
	if awaitMigrations(ctx, pool, status); ctx.Err() != nil {
		return 0
	}
	relay := newRelay(config, status)
	relay.tracing = traces
	var work sync.WaitGroup
	work.Go(func() { upkeep(ctx, pool, config.relay, config.retention, status) })
	work.Go(func() {
		elect(ctx, config.postgres.ConnConfig, config.relay, status, relay.lead)
	})
	work.Wait()
	log.Info("relay ended")
	return 0
}

// awaitMigrations returns when the database has all that this program knows.
func awaitMigrations(ctx context.Context, pool *pgxpool.Pool, status *status) {
	for ; ctx.Err() == nil; sleep(ctx, electInterval) {
		attempt, cancel := context.WithTimeout(ctx, answerTimeout)
		pending, err := db.PendingMigrations(attempt, pool)
		cancel()
		if ctx.Err() != nil {
			return
		}
		status.reached(err)
		if status.migrations(pending); err == nil && len(pending) == 0 {
			return
		}
	}
}

// newRelay wires the relay to Postgres and Kafka.
func newRelay(config config, status *status) *relay {
	return &relay{
		openOutbox: func(ctx context.Context) (outbox, error) {
			return openPostgres(ctx, config.postgres.ConnConfig, config.relay)
		},
		openProducer: func() (producer, error) {
			status.metrics.producers.Inc()
			return newKafkaProducer(config.kafka, status.log, status.took)
		},
		limits:      waveLimits,
		interval:    config.pollInterval,
		waveTimeout: config.waveTimeout,
		now:         time.Now,
		sleep:       func(ctx context.Context, d time.Duration) { sleep(ctx, d) },
		status:      status,
	}
}
