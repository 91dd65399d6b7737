package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// What may be wrong with an api, besides the conditions of every service. None makes the process unready:
// all replicas would be taken out of service at once.
var (
	accepting = service.Condition{Name: "accepting"}
	fullQueue = service.Condition{Name: "queue"}
)

const (
	watchInterval = time.Second
	watchTimeout  = 2 * time.Second
)

// watch looks at Postgres and at the queue until ctx ends.
func watch(ctx context.Context, pool *pgxpool.Pool, q *queue, health *service.Health) {
	for service.Sleep(ctx, watchInterval) {
		attempt, cancel := context.WithTimeout(ctx, watchTimeout)
		err := canAccept(attempt, pool)
		cancel()
		if ctx.Err() == nil {
			health.Set(service.Postgres, err)
			health.Set(fullQueue, q.nearlyFull())
			if err == nil && q.depth() == 0 {
				health.Set(accepting, nil) // whose requests failed has left, and the next would be accepted
			}
		}
	}
}

// canAccept returns why Postgres commits nothing. A standby, or a server that was made read-only, still
// answers on the connections that are open.
func canAccept(ctx context.Context, pool *pgxpool.Pool) error {
	writes, err := walletdb.New(pool).TakesWrites(ctx)
	if err == nil && !writes {
		err = errors.New("it is read-only: a standby, or default_transaction_read_only")
	}
	return err
}

// nearlyFull returns an error when a tenth of the queue is free at most.
func (q *queue) nearlyFull() error {
	if depth := q.depth(); depth >= q.limits.operations*9/10 {
		return fmt.Errorf("%d operations wait, and %d may", depth, q.limits.operations)
	}
	return nil
}

// closeConnections makes clients that keep their connection open another one while the process drains: each
// answer is the last on its connection, and so no request arrives on one that is being closed.
func closeConnections(health *service.Health, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if health.Draining() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
