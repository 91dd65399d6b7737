// Hooks delivers what happened to wallets, as the topic of events says it, to the endpoints that clients
// registered: webhooks.
//
// The log is the queue. Of each endpoint and partition there is a cursor in Postgres, saved once a second; no row
// is stored for a delivery, so an endpoint that is down for days costs nothing, and a replay moves its cursors back. A
// process may die at any line: another one takes its endpoints, as soon as Postgres has ended its session, and sends
// again what was not saved. The deliveries of a wallet come one after the other, so a receiver never misses one and
// never sees a later one first; it may see one twice.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

var program = service.Program[config]{
	Name:   "hooks",
	About:  "Hooks sends what happened to wallets to the endpoints that clients registered, signed, each wallet's in order.",
	Config: parseConfig,
	Run:    run,
}

func main() { program.Main() }

// run works until ctx ends.
func run(ctx context.Context, c config, log *slog.Logger) error {
	metrics := newMetrics()
	health := service.NewHealth(log, metrics.registry, "postgres", "kafka")
	context.AfterFunc(ctx, health.Drain)
	admin, err := service.ListenAdmin(c.adminAddr, health, metrics.registry, log)
	if err != nil {
		return err
	}
	defer admin.Close()
	spans, err := tracing.New(ctx, "wallet-hooks", c.tracing, log)
	if err != nil {
		return err
	}
	defer spans.End()
	if err := awaitMigrations(ctx, c, health); err != nil {
		return err
	}
	client, err := newConsumer(c.kafka, nil, log)
	if err != nil {
		return err
	}
	events := newEventLog(client, c.topic, health, metrics, service.NewRepeats(log))
	catchUp := newCatchUp(ctx, func() (*kafka.Consumer, error) { return newConsumer(c.kafka, catchUpConfig, log) }, c.topic, events.read, metrics)
	owner := &owner{
		database: c.database.ConnConfig, keys: c.keys, retries: c.retries, log: events, catchUp: catchUp, sender: newSender(c.policy),
		tracer: newTracer(spans), health: health, metrics: metrics, logger: log,
		base: time.Now(), owned: map[uuid.UUID]*ownedEndpoint{},
	}
	events.wake = owner.wake
	delivering, stop := context.WithCancel(ctx)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		owner.run(delivering)
	}()
	log.Info("hooks started", "admin", admin.Addr, "topic", c.topic)
	err = events.run(ctx)
	stop()
	<-delivered
	return err
}

// awaitMigrations needs connections of its own for a while only.
func awaitMigrations(ctx context.Context, c config, health *service.Health) error {
	pool, err := db.Open(ctx, c.database)
	if err != nil {
		return err
	}
	defer db.Close(pool)
	return service.AwaitMigrations(ctx, pool, health)
}

// newConsumer makes a client of Kafka, and passes on what it logs: that channel must be read.
func newConsumer(properties, more kafka.ConfigMap, log *slog.Logger) (*kafka.Consumer, error) {
	all := maps.Clone(properties)
	maps.Copy(all, more)
	client, err := kafka.NewConsumer(&all)
	if err != nil {
		return nil, fmt.Errorf("make a kafka consumer: %w", err)
	}
	go func() {
		for event := range client.Logs() {
			log.Debug("kafka client", "name", event.Name, "tag", event.Tag, "message", event.Message)
		}
	}()
	return client, nil
}
