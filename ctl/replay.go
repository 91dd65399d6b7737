package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// replayIDs is how many ids one transaction of a replay covers.
	replayIDs = 10_000
	// longestFlush is how far the order of ids may stray from the order of times: a row's time is when
	// its transaction began.
	longestFlush = 30 * time.Second
)

// relayReplay publishes messages again, for consumers that lost them. It copies rows to the end of the
// outbox, and the relay publishes the copies as it does all rows: no position moves, and nothing
// else waits. Each page is a transaction of its own. A replay that was cut short goes on with --up-to, or it would
// copy what it has written already.
func relayReplay(c *call) (task, error) {
	a := newAction(c)
	sinceText := c.flags.String("since", "", "what was written since this `TIME` (2026-11-24T15:04:05Z): operations when they were accepted, events when these were applied")
	topic := c.flags.String("topic", "", "only the messages of this topic `NAME`")
	upTo := c.flags.Int64("up-to", 0, "no row after this `ID`: what an earlier replay has written is not copied again")
	walletText := c.flags.String("wallet", "", "the messages of this wallet `ID` alone")
	if _, err := a.parse(); err != nil {
		return nil, err
	}
	var since time.Time
	key := ""
	if *sinceText == "" && *walletText == "" {
		return nil, usageError("--since or --wallet is required")
	}
	if *sinceText != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, *sinceText); err != nil {
			return nil, usageError("--since: want a time such as 2026-11-24T15:04:05Z")
		}
	}
	if *walletText != "" {
		id, err := uuid.Parse(*walletText)
		if err != nil {
			return nil, usageError("--wallet: " + err.Error())
		}
		key = id.String()
	}
	return func(ctx context.Context) error {
		edges, err := c.q.OutboxAge(ctx)
		if err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
		if edges.LastID == 0 {
			return errors.New("the outbox is empty: there is nothing to publish again")
		}
		last := edges.LastID
		if *upTo > 0 {
			last = min(last, *upTo)
		}
		oldest := time.Now().Add(-time.Duration(edges.FirstSeconds * float64(time.Second))).UTC()
		first, err := firstRowSince(ctx, c.q, edges.FirstID, last, since.Add(-longestFlush))
		if err != nil {
			return err
		}
		what := "Everything"
		if key != "" {
			what = "What wallet " + key + " has"
		}
		if *topic != "" {
			what += " of topic " + *topic
		}
		does := fmt.Sprintf("%s in the outbox since %s is published again, out of at most %d rows. Older rows are deleted (OUTBOX_RETENTION).",
			what, later(since, oldest).Format(time.RFC3339), max(0, last-first+1))
		if err := a.confirm(does); err != nil {
			return err
		}
		if err := db.Write(ctx, c.conn, func(q *walletdb.Queries) error { return a.note(ctx, q) }); err != nil {
			return err
		}
		var copied int64
		for after := first - 1; after < last; after += replayIDs {
			var n int64
			err := db.Write(ctx, c.conn, func(q *walletdb.Queries) (err error) {
				n, err = q.ReplayRows(ctx, walletdb.ReplayRowsParams{After: after, UpTo: min(after+replayIDs, last), Since: since, Topic: *topic, Key: key})
				return err
			})
			if err != nil {
				return fmt.Errorf("copy rows, after %d of them (--up-to %d leaves these out the next time): %w", copied, last, err)
			}
			copied += n
		}
		fmt.Fprintf(c.stdout, "%d messages are in the outbox again\n", copied)
		return nil
	}, nil
}

// firstRowSince finds, by halves, an id with no rows of a time or later before it.
func firstRowSince(ctx context.Context, q *walletdb.Queries, first, last int64, since time.Time) (int64, error) {
	for first < last {
		middle := first + (last-first)/2
		row, err := q.FirstRowFrom(ctx, middle)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return 0, fmt.Errorf("read outbox: %w", err)
		}
		if err != nil || !row.CreatedAt.Before(since) {
			last = middle
		} else {
			first = row.ID + 1
		}
	}
	return min(first, last), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
