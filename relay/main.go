// Relay publishes the outbox to Kafka: every row at least once, and each topic's and key's rows in the order
// of their ids.
//
// Several may run; one leads (lead.go) and publishes (session.go) by the rules of order.go, in two lanes: operations,
// and all that only tells of them. Neither waits for the other. Killed at any
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
	Name:    "relay",
	About:   "The relay publishes accepted operations to Kafka, each wallet's in their order.",
	Config:  parseConfig,
	Run:     run,
	Ballast: 16 << 20,
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
	lead := leader(c, status, newTracer(spans))
	var work sync.WaitGroup
	work.Go(func() { upkeep(ctx, pool, c, status) })
	work.Go(func() { elect(ctx, c.postgres.ConnConfig, c.relay, status, lead) })
	work.Go(func() { status.watch(ctx) })
	work.Wait()
	return nil
}

// leader returns what a leader does until its context ends.
func leader(c config, status *status, tracer *tracer) (lead func(context.Context)) {
	operations, events := lanes(c.relay, c.topic)
	lookout := newLookout()
	relays := []*relay{newRelay(c, operations, lookout, status.operations), newRelay(c, events, lookout, status.events)}
	return func(ctx context.Context) {
		status.lead(true)
		defer status.lead(false)
		var work sync.WaitGroup
		for _, r := range relays {
			r.tracer = tracer
			work.Go(func() { r.lead(ctx) })
		}
		work.Wait()
	}
}

// newRelay wires the relay of a lane to Postgres and Kafka.
func newRelay(config config, lane lane, lookout *lookout, status *progress) *relay {
	return &relay{
		lane: lane,
		openOutbox: func(ctx context.Context) (outbox, error) {
			return openPostgres(ctx, config.postgres.ConnConfig, config.relay, lane)
		},
		openProducer: func() (producer, error) {
			status.metrics.producers.Inc()
			p, err := newKafkaProducer(config.kafka, status.log, status.took)
			if err != nil {
				return nil, err
			}
			return p, nil
		},
		lookout:        lookout,
		limits:         batchLimits,
		interval:       config.pollInterval,
		publishTimeout: config.publishTimeout,
		now:            time.Now,
		sleep:          func(ctx context.Context, d time.Duration) { service.Sleep(ctx, d) },
		status:         status,
	}
}
