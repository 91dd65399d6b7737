package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	eventsInterval = time.Second // between two looks for the topic
	eventsTimeout  = 5 * time.Second
)

// events knows whether outcomes are told of: while their topic is registered. At a row of any other topic the relay
// stops, and a system that was upgraded has no such topic yet: operations are applied there all the same, and consumers
// find the gap by its sequences.
type events struct {
	pool    *pgxpool.Pool
	topic   string // empty: nothing is told
	as      string // their ce_source
	health  *service.Health
	metrics *metrics

	registered atomic.Bool
}

func newEvents(pool *pgxpool.Pool, topic, as string, health *service.Health, metrics *metrics) *events {
	return &events{pool: pool, topic: topic, as: as, health: health, metrics: metrics}
}

// source is that of the events that a transaction is to write now; empty: it is to write none.
func (e *events) source() string {
	if e == nil || !e.registered.Load() {
		return ""
	}
	return e.as
}

// await returns once it is known whether the topic is registered, or when ctx ends: a worker that starts leaves no gap.
func (e *events) await(ctx context.Context) {
	for e.look(ctx) != nil && ctx.Err() == nil {
		service.Sleep(ctx, eventsInterval)
	}
}

// run looks until ctx ends.
func (e *events) run(ctx context.Context) {
	for e.topic != "" && ctx.Err() == nil {
		service.Sleep(ctx, eventsInterval)
		_ = e.look(ctx)
	}
}

// look finds out whether the topic is registered. Its error says that Postgres is unreachable, which others report, or
// that another transaction was in the way: what was known then counts. Whatever else goes wrong, no events are written, and
// money goes on.
func (e *events) look(ctx context.Context) error {
	if e.topic == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, eventsTimeout)
	defer cancel()
	registered, err := walletdb.New(e.pool).TopicIsRegistered(ctx, e.topic)
	switch {
	case err != nil && causeOf(err) != unknown:
		return err
	case err != nil:
		err = fmt.Errorf("look for topic %s: %w", e.topic, err)
	case !registered:
		err = fmt.Errorf("topic %s is not registered: ctl topic create %s --partitions N", e.topic, e.topic)
	}
	e.registered.Store(err == nil)
	e.health.Set(noEvents, err)
	missing := 0.0
	if err != nil {
		missing = 1
	}
	e.metrics.eventsMissing.Set(missing)
	return nil
}
