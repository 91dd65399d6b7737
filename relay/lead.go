package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	// electInterval is how often a standby tries to lead.
	electInterval = 250 * time.Millisecond
	// A leader pings Postgres every aliveInterval. After aliveTimeout without a ping, Postgres closes the
	// connection, which releases the lock.
	aliveInterval = time.Second
	aliveTimeout  = "5s"
	// answerTimeout is how long Postgres may take to answer the simplest query.
	answerTimeout = 3 * time.Second
)

// elect runs lead for as long as this process has the leader's lock, again and again until ctx
// ends. One leader saves duplicates, and nothing else rests on it: a leader that was stopped and
// continues beside the next one does no harm.
func elect(ctx context.Context, config *pgx.ConnConfig, relay string, status *status, lead func(context.Context)) {
	config = config.Copy()
	config.RuntimeParams["idle_session_timeout"] = aliveTimeout
	for ctx.Err() == nil {
		if err := term(ctx, config, relay, status, lead); ctx.Err() == nil {
			status.health.Set(service.Postgres, err)
		}
		service.Sleep(ctx, electInterval)
	}
}

// term opens a connection, waits for the lock on it, and leads until the connection is lost.
func term(ctx context.Context, config *pgx.ConnConfig, relay string, status *status, lead func(context.Context)) error {
	conn, err := db.Connect(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to postgres: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	for leading := false; !leading; {
		if leading, err = tryLead(ctx, conn, relay); err != nil {
			return fmt.Errorf("ask for the leader's lock: %w", err)
		}
		status.health.Set(service.Postgres, nil)
		if !leading && !service.Sleep(ctx, electInterval) {
			return nil
		}
	}
	leading, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lead(leading)
	}()
	defer func() { cancel(); <-ended }()
	for service.Sleep(ctx, aliveInterval) {
		if err := ping(ctx, conn); err != nil {
			return fmt.Errorf("keep the leader's lock: %w", err)
		}
	}
	return nil
}

func tryLead(ctx context.Context, conn *pgx.Conn, relay string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return db.HoldLock(ctx, conn, db.RelayLock, relay)
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return conn.Ping(ctx)
}
