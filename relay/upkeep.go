package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	upkeepInterval = time.Second
	maxCounted     = 10000 // rows
	// A leader deletes at most maxChunks chunks each upkeepInterval: twice what is ever accepted.
	chunkWidth = 2000 // ids
	maxChunks  = 10
)

// upkeep measures the backlog and deletes old rows, beside the publishing, until ctx ends.
func upkeep(ctx context.Context, conn walletdb.DBTX, relay string, retention time.Duration, status *status) {
	q := walletdb.New(conn)
	lost := false
	for low := int64(0); sleep(ctx, upkeepInterval); {
		var err error
		if low, err = upkeepOnce(ctx, q, relay, low, retention, status); err != nil && !lost && ctx.Err() == nil {
			status.log.Warn("upkeep of the outbox is interrupted, and tried again until it succeeds", "error", err)
		}
		lost = err != nil
	}
}

func upkeepOnce(ctx context.Context, q *walletdb.Queries, relay string, low int64, retention time.Duration, status *status) (int64, error) {
	backlog, err := q.RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: relay, MaxRows: maxCounted})
	if err != nil {
		return low, fmt.Errorf("measure backlog: %w", err)
	}
	status.metrics.waitingRows.Set(float64(backlog.WaitingRows))
	status.metrics.oldestWaiting.Set(backlog.OldestSeconds)
	if !status.isLeading() {
		return low, nil
	}
	low, deleted, err := deleteOld(ctx, q, low, retention)
	status.metrics.deleted.Add(float64(deleted))
	return low, err
}

// deleteOld deletes rows from the lowest id upwards, in chunks, until it comes to one that is to be
// kept. low is an id below which there are no rows; deleteOld returns the next one.
func deleteOld(ctx context.Context, q *walletdb.Queries, low int64, retention time.Duration) (_, deleted int64, err error) {
	for range maxChunks {
		first, err := q.FirstRow(ctx, low)
		if errors.Is(err, pgx.ErrNoRows) {
			return low, deleted, nil
		}
		if err != nil {
			return low, deleted, fmt.Errorf("find the first outbox row: %w", err)
		}
		low = first - 1
		n, err := q.DeletePublished(ctx, walletdb.DeletePublishedParams{After: low, UpTo: low + chunkWidth, RetentionSeconds: retention.Seconds()})
		if err != nil {
			return low, deleted, fmt.Errorf("delete old outbox rows: %w", err)
		}
		if deleted += n; n == 0 {
			break
		}
	}
	return low, deleted, nil
}
