// The worker applies accepted operations to wallets.
//
// It reads which wallets have new operations from Kafka and what those operations are from Postgres,
// and writes each operation's outcome and the wallet's new balance in one transaction. Everything it
// knows is in Postgres, so it may die at any line: before the commit nothing has happened, and after
// it the same messages, read again, find nothing left to do. Two workers that have the same
// partition, because the group took one of them for dead, wait for each other at the wallet's row.
package main

import (
	"context"
	"log/slog"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

var program = service.Program[config]{
	Name:    "worker",
	About:   "The worker applies accepted operations to wallets, each wallet's in strict order and exactly once.",
	Config:  parseConfig,
	Run:     work,
	Ballast: 32 << 20,
}

func main() { program.Main() }

// work runs until ctx ends.
func work(ctx context.Context, c config, log *slog.Logger) error {
	go logKafka(c.client.Logs(), log)
	metrics := newMetrics()
	health := service.NewHealth(log, metrics.registry, "postgres", "redis", "kafka")
	context.AfterFunc(ctx, health.Drain)
	admin, err := service.ListenAdmin(c.adminAddr, health, metrics.registry, log)
	if err != nil {
		return err
	}
	defer admin.Close()

	// Neither pool is closed at the end: an abandoned transaction may still use it.
	db.PlanByIndex(c.database.ConnConfig)
	pool, err := db.Open(ctx, c.database)
	if err != nil {
		return err
	}
	commits := service.WatchCommits(ctx, c.database.ConnConfig, health, metrics.registry)
	if err := service.AwaitMigrations(ctx, pool, health); err != nil {
		return err
	}
	metrics.registry.MustRegister(pgxpoolprometheus.NewCollector(pool, nil))
	cache := newCache(c.redis, health, metrics)
	halted := newHalted(log)
	metrics.gauge("wallet_worker_halted_wallets", "Wallets that are not applied because operations are missing, or cannot be understood.", halted.count)
	metrics.gauge("wallet_worker_unknown_type_wallets", "Wallets that are not applied because a newer release has accepted an operation of a type that this one does not know.", halted.unknown)
	spans, err := tracing.New(ctx, "wallet-worker", c.tracing, log)
	if err != nil {
		return err
	}
	defer spans.End()
	tracer := newTracer(spans)
	repeats := service.NewRepeats(log)
	recorder := &recorder{cache: cache, metrics: metrics, tracer: tracer, log: repeats}
	events := newEvents(pool, c.eventsTopic, c.eventsSource, health, metrics)
	events.await(ctx)
	ledger := postgres{pool, commits, c.topic, events}
	kafkaAdmin, err := kafka.NewAdminClientFromConsumer(c.client)
	if err != nil {
		return err
	}
	consumer := &consumer{
		client: c.client, topic: c.topic, group: group{name: c.group, admin: kafkaAdmin}, health: health, metrics: metrics, tracer: tracer, log: log, repeats: repeats,
		interval: c.batchInterval, size: c.batchSize, commits: commits,
		applier:    &applier{ledger: ledger, committed: recorder.batch, halted: halted},
		partitions: map[int32]*assignedPartition{}, paused: map[int32]*assignedPartition{},
	}
	sweeper := &sweeper{
		database: c.database.ConnConfig, topic: c.topic, distance: c.sweepAfter, health: health, transit: newTransit(metrics.inTransit.Set), tracer: tracer, log: log,
		applier: &applier{ledger: ledger, committed: recorder.sweep, halted: halted},
	}
	expirer := &expirer{
		database: c.database.ConnConfig, commits: commits, topic: c.topic, health: health, metrics: metrics,
		applier: &applier{ledger: ledger, committed: recorder.expiry, halted: halted},
	}
	go cache.Run(ctx)
	go events.run(ctx)
	go sweeper.run(ctx)
	go expirer.run(ctx)
	log.Info("worker started", "admin", admin.Addr, "topic", c.topic)
	return consumer.run(ctx)
}

// logKafka passes on what Kafka's client logs; its channel must be read.
func logKafka(events <-chan kafka.LogEvent, log *slog.Logger) {
	for event := range events {
		log.Debug("kafka client", "name", event.Name, "tag", event.Tag, "message", event.Message)
	}
}
