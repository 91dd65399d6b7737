// The worker applies accepted operations to wallets.
//
// It reads which wallets have new operations from Kafka and what those operations are from Postgres,
// and writes each operation's outcome and the wallet's new balance in one transaction. Everything it
// knows is in Postgres, so it may die at any line: before the commit nothing has happened, and after
// it the same messages, read again, find nothing left to do. Two workers that hold the same
// partition, because one of them was taken for dead, wait for each other at the wallet's row.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("worker", release())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Environ(), os.Stderr))
}

// run returns the exit code: 2 for a wrong setting, 1 for what only a new process can fix.
func run(ctx context.Context, environ []string, stderr io.Writer) int {
	c, err := parseConfig(environ)
	client, kafkaErr := kafka.NewConsumer(&c.kafka)
	if kafkaErr != nil {
		err = errors.Join(err, fmt.Errorf("KAFKA_BROKERS, KAFKA_GROUP, GROUP_INSTANCE_ID or RDKAFKA_*: %w", kafkaErr))
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: c.logLevel}))
	if err := work(ctx, c, client, log); err != nil {
		log.Error("worker ends", "error", err)
		return 1
	}
	log.Info("worker stopped")
	return 0
}

// work runs until ctx ends.
func work(ctx context.Context, c config, client *kafka.Consumer, log *slog.Logger) error {
	go logKafka(client.Logs(), log)
	health, metrics := newHealth(log), newMetrics()
	metrics.tell(health)
	context.AfterFunc(ctx, health.drain)
	admin, err := net.Listen("tcp", c.adminAddr)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	defer admin.Close()
	server := &http.Server{Handler: adminHandler(health, metrics), ReadTimeout: 5 * time.Second}
	go func() { _ = server.Serve(admin) }()

	// Neither pool is closed at the end: a transaction that was given up may still use it.
	pool, err := db.Open(ctx, c.database)
	if err != nil {
		return err
	}
	commits := db.NewCommits(c.database.ConnConfig, func(missing string) {
		if missing == "" {
			health.ok("standby")
			return
		}
		health.degrade("standby", fmt.Errorf("commits wait for %s (synchronous_standby_names)", missing))
	})
	go commits.Watch(ctx)
	metrics.commits(commits)
	if waitForMigrations(ctx, pool, health); ctx.Err() != nil {
		return nil
	}
	metrics.registry.MustRegister(pgxpoolprometheus.NewCollector(pool, nil))
	walletcache.Silence()
	cache := newCache(c.redis, health, metrics)
	halted := newHalted(log)
	metrics.gauge("wallet_worker_halted_wallets", "Wallets that stand still because operations are missing.", nil, halted.count)
	var traces *tracing
	if c.traced {
		if traces, err = newTracing(ctx, c.sampler, log); err != nil {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
		}
		defer traces.end()
	}
	recorder := &recorder{cache: cache, metrics: metrics, tracing: traces, log: log}
	consumer := &consumer{
		client: client, topic: c.topic, health: health, metrics: metrics, tracing: traces, log: log,
		interval: c.batchInterval, size: c.batchSize, commits: commits,
		applier:    &applier{ledger: postgres{pool, commits}, committed: recorder.batch, halted: halted},
		partitions: map[int32]*partition{}, paused: map[int32]*partition{},
	}
	sweeper := &sweeper{
		database: c.database.ConnConfig, topic: c.topic, distance: c.sweepAfter, health: health, tracing: traces, log: log,
		applier: &applier{ledger: postgres{pool, commits}, committed: recorder.sweep, halted: halted},
	}
	go cache.Run(ctx)
	go sweeper.run(ctx)
	log.Info("worker started", "admin", admin.Addr().String(), "topic", c.topic)
	return consumer.run(ctx)
}

// waitForMigrations returns when the database has all that this program knows.
func waitForMigrations(ctx context.Context, pool *pgxpool.Pool, health *health) {
	for ; ctx.Err() == nil; sleep(ctx, 500*time.Millisecond) {
		attempt, cancel := context.WithTimeout(ctx, transactionTimeout)
		pending, err := db.PendingMigrations(attempt, pool)
		cancel()
		health.pending.Store(int64(len(pending)))
		if err == nil && len(pending) == 0 {
			health.ok("postgres")
			health.ok("migrations")
			return
		}
		if err == nil {
			health.ok("postgres")
			health.fail("migrations", fmt.Errorf("pending: %v", pending))
			continue
		}
		health.degrade("postgres", err)
	}
}

// logKafka passes on what Kafka's client logs; its channel must be read.
func logKafka(events <-chan kafka.LogEvent, log *slog.Logger) {
	for event := range events {
		log.Debug("kafka client", "name", event.Name, "tag", event.Tag, "message", event.Message)
	}
}

// sleep ends early when ctx does.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
