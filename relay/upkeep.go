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
)

// upkeep measures the backlog and deletes old rows, beside the publishing, until ctx ends: each for itself,
// as the search for the first row to delete can take minutes when a relay starts.
func upkeep(ctx context.Context, pool *pgxpool.Pool, config config, status *status) {
	low := int64(0)
	var work sync.WaitGroup
	work.Go(func() {
		operations, events := lanes(config.relay, config.topic)
		repeat(ctx, status.health, measuring, func() error {
			return errors.Join(measureBacklog(ctx, pool, operations, status.operations), measureBacklog(ctx, pool, events, status.events))
		})
	})
	work.Go(func() {
		repeat(ctx, status.health, deleting, func() (err error) {
			if !status.isLeading() {
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

func measureBacklog(ctx context.Context, conn walletdb.DBTX, lane lane, status *progress) error {
	backlog, err := walletdb.New(conn).RelayBacklog(ctx, walletdb.RelayBacklogParams{
		Relay: lane.position, Topic: lane.topic, Others: lane.others, MaxRows: maxCounted,
	})
	if err != nil {
		return err
	}
	status.metrics.waitingRows.Set(float64(backlog.WaitingRows))
	status.metrics.oldestWaiting.Set(backlog.OldestSeconds)
	return nil
}

// deleteOld deletes rows from the lowest id upwards, in chunks, until it comes to one that is to be
// kept. low is an id below which there are no rows; deleteOld returns the next one.
func deleteOld(ctx context.Context, conn transactor, low int64, retention time.Duration) (_, deleted int64, err error) {
	for range maxChunks {
		var first int64
		err := patiently(ctx, conn, func(q *walletdb.Queries) (err error) {
			first, err = q.FirstRow(ctx, low)
			return err
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return low, deleted, nil
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
