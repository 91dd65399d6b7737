package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	upkeepInterval = time.Second
	maxCounted     = 10000 // rows
	// A leader deletes at most maxChunks chunks each upkeepInterval: twice what is ever accepted.
	chunkWidth = 2000 // ids
	maxChunks  = 10
	unsearched = -1 // a low mark of which nothing is known
)

// upkeep measures the backlog and deletes old rows, beside the publishing, until ctx ends: each for itself,
// as the search for the first row to delete can take minutes when a relay starts.
func upkeep(ctx context.Context, pool *pgxpool.Pool, config config, status *status) {
	low := int64(unsearched)
	var work sync.WaitGroup
	work.Go(func() {
		repeat(ctx, status.health, measuring, func() error { return measureBacklog(ctx, pool, config, status) })
	})
	work.Go(func() {
		repeat(ctx, status.health, deleting, func() (err error) {
			if !status.isLeading() {
				low = unsearched // another relay deletes
				return nil
			}
			var deleted int64
			low, deleted, err = deleteOld(ctx, pool, low, config.retention)
			status.metrics.deleted.Add(float64(deleted))
			return err
		})
	})
	work.Wait()
}

// repeat runs fn every upkeepInterval until ctx ends.
func repeat(ctx context.Context, health *service.Health, failing service.Condition, fn func() error) {
	for service.Sleep(ctx, upkeepInterval) {
		if err := fn(); ctx.Err() == nil {
			health.Set(failing, err)
		}
	}
}

func measureBacklog(ctx context.Context, conn walletdb.DBTX, config config, status *status) error {
	operations, events := lanes(config.relay, config.topic)
	backlogs, err := walletdb.New(conn).RelayBacklog(ctx, walletdb.RelayBacklogParams{
		Relay: operations.position, Events: events.position, Topic: config.topic, MaxRows: maxCounted,
	})
	if err != nil {
		return err
	}
	for _, backlog := range backlogs {
		of := status.operations.metrics
		if backlog.Relay == events.position {
			of = status.events.metrics
		}
		of.waitingRows.Set(float64(backlog.WaitingRows))
		of.oldestWaiting.Set(backlog.OldestSeconds)
	}
	return nil
}

// deleteOld deletes rows from the lowest id upwards, in chunks, until it comes to one that is to be
// kept. low is an id below which there are no rows; deleteOld returns the next one.
func deleteOld(ctx context.Context, conn transactor, low int64, retention time.Duration) (_, deleted int64, err error) {
	for range maxChunks {
		first, err := firstRow(ctx, conn, low)
		if errors.Is(err, pgx.ErrNoRows) {
			return max(low, 0), deleted, nil
		}
		if err != nil {
			return low, deleted, fmt.Errorf("find the first outbox row: %w", err)
		}
		low = first - 1
		n, err := walletdb.New(conn).DeletePublished(ctx, walletdb.DeletePublishedParams{After: low, UpTo: low + chunkWidth, RetentionSeconds: retention.Seconds()})
		if err != nil {
			return low, deleted, fmt.Errorf("delete old outbox rows: %w", err)
		}
		if deleted += n; n == 0 {
			break
		}
	}
	return low, deleted, nil
}

// firstRow looks behind low. The first search may have to read the dead tuples of all that was ever deleted.
func firstRow(ctx context.Context, conn transactor, low int64) (first int64, err error) {
	if low != unsearched {
		return walletdb.New(conn).FirstRow(ctx, low)
	}
	err = patiently(ctx, conn, func(q *walletdb.Queries) (err error) {
		first, err = q.FirstRow(ctx, low)
		return err
	})
	return first, err
}
