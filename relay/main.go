// Relay publishes the outbox to Kafka: every row at least once, and each key's rows in the order of
// their ids.
//
// Several may run; one leads (lead.go) and publishes (session.go) by the rules of order.go. Killed at any
// moment, it or the next leader begins at the position that is saved in Postgres, up to which Kafka has
// acknowledged everything: what was published after it is published again.
package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

var program = service.Program[config]{
	Name:   "relay",
	About:  "The relay publishes accepted operations to Kafka, each wallet's in their order.",
	Config: parseConfig,
	Run:    run,
}

func main() { program.Main() }

func run(ctx context.Context, c config, log *slog.Logger) error {
	status := newStatus(log)
	context.AfterFunc(ctx, status.health.Drain)
	admin, err := service.ListenAdmin(c.adminAddr, status.health, status.metrics.registry, log)
	if err != nil {
		return err
	}
	defer admin.Close()

	c.postgres.MaxConns = 2 // of upkeep
	pool, err := db.Open(ctx, c.postgres)
	if err != nil {
		return err
	}
	defer db.Close(pool)
	spans, err := tracing.New(ctx, "wallet-relay", c.tracing, log)
	if err != nil {
		return err
	}
	defer spans.End()
	status.commits = service.WatchCommits(ctx, c.postgres.ConnConfig, status.health, status.metrics.registry)
	log.Info("relay started", "admin", admin.Addr, "relay", c.relay)
	if err := service.AwaitMigrations(ctx, pool, status.health); err != nil {
		return err
	}
	status.health.Started()
	relay := newRelay(c, status)
	relay.tracer = newTracer(spans)
	var work sync.WaitGroup
	work.Go(func() { upkeep(ctx, pool, c.relay, c.retention, status) })
	work.Go(func() { elect(ctx, c.postgres.ConnConfig, c.relay, status, relay.lead) })
	work.Go(func() { status.watch(ctx) })
	work.Wait()
	return nil
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
		limits:         batchLimits,
		interval:       config.pollInterval,
		publishTimeout: config.publishTimeout,
		now:            time.Now,
		sleep:          func(ctx context.Context, d time.Duration) { service.Sleep(ctx, d) },
		status:         status,
	}
}
