package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func relayPark(c *call) (task, error) {
	a := newAction(c)
	id, err := a.parseRow()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		row, err := c.q.OutboxRow(ctx, walletdb.OutboxRowParams{ID: id, Operations: c.topic})
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("there is no outbox row %d", id)
		case err != nil:
			return fmt.Errorf("read outbox row: %w", err)
		case row.Published:
			return fmt.Errorf("outbox row %d is published already", id)
		}
		if err := a.confirm(fmt.Sprintf("The relays pass over outbox row %d (topic %s, key %s): it is never published.", id, row.Topic, row.Key)); err != nil {
			return err
		}
		var parked int64
		err = a.do(ctx, func(q *walletdb.Queries) (err error) {
			parked, err = q.ParkRow(ctx, walletdb.ParkRowParams{OutboxID: id, Actor: c.actor(), Reason: *a.reason})
			return err
		})
		if err != nil {
			return fmt.Errorf("park row: %w", err)
		}
		if parked == 0 {
			fmt.Fprintf(c.stdout, "outbox row %d was parked before\n", id)
			return nil
		}
		fmt.Fprintf(c.stdout, "outbox row %d (topic %s, key %s) is parked: the relays pass over it\n", id, row.Topic, row.Key)
		return nil
	}, nil
}

func relayParked(c *call) (task, error) {
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		rows, err := c.q.ParkedRows(ctx)
		if err != nil {
			return fmt.Errorf("list parked rows: %w", err)
		}
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ROW\tPARKED\tBY\tREASON")
		for _, row := range rows {
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", row.OutboxID, row.ParkedAt.UTC().Format(time.RFC3339), row.Actor, row.Reason)
		}
		return table.Flush()
	}, nil
}

func relayUnpark(c *call) (task, error) {
	a := newAction(c)
	id, err := a.parseRow()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		row, err := c.q.OutboxRow(ctx, walletdb.OutboxRowParams{ID: id, Operations: c.topic})
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("read outbox row: %w", err)
		}
		if err != nil || row.Published {
			return fmt.Errorf("outbox row %d was passed over already, and cannot be published in its place any more", id)
		}
		if err := a.confirm(fmt.Sprintf("Outbox row %d is published.", id)); err != nil {
			return err
		}
		err = a.do(ctx, func(q *walletdb.Queries) error {
			unparked, err := q.UnparkRow(ctx, id)
			if err == nil && unparked == 0 {
				err = fmt.Errorf("outbox row %d is not parked", id)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("unpark row: %w", err)
		}
		fmt.Fprintf(c.stdout, "outbox row %d is published in its place, unless a relay passes it this very second\n", id)
		return nil
	}, nil
}

func relayPause(c *call) (task, error) {
	return setPaused(c, true, "publishes nothing until it is resumed. Operations are accepted, and wait.")
}

func relayResume(c *call) (task, error) {
	return setPaused(c, false, "goes on publishing.")
}

func setPaused(c *call, paused bool, does string) (task, error) {
	a := newAction(c)
	if _, err := a.parse(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := a.confirm(c.relay + " " + does); err != nil {
			return err
		}
		err := a.do(ctx, func(q *walletdb.Queries) error {
			return q.SetPaused(ctx, walletdb.SetPausedParams{Relay: c.relay, Paused: paused, Reason: *a.reason})
		})
		if err != nil {
			return fmt.Errorf("pause or resume: %w", err)
		}
		relays, err := c.q.RelayStates(ctx, int32(db.RelayLock))
		if err != nil {
			return fmt.Errorf("list the relays: %w", err)
		}
		if !slices.ContainsFunc(relays, func(r walletdb.RelayStatesRow) bool { return r.Relay == c.relay }) {
			fmt.Fprintf(c.stdout, "%s is told, but no relay of that name has published here so far: is RELAY_NAME right?\n", c.relay)
			return nil
		}
		fmt.Fprintf(c.stdout, "%s is told; it heeds it within a second\n", c.relay)
		return nil
	}, nil
}

// relayRebase makes a restored outbox one of this database. What was published before the dump and
// what was not can no longer be told apart, so all of it is published again: duplicates are allowed,
// losses are not.
func relayRebase(c *call) (task, error) {
	a := newAction(c)
	if _, err := a.parse(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		fit, err := c.q.PositionsFit(ctx)
		if err != nil {
			return fmt.Errorf("check positions: %w", err)
		}
		if fit {
			fmt.Fprintln(c.stdout, "nothing to do: the relays' positions are from this database")
			return nil
		}
		rows, err := c.q.OutboxSpan(ctx)
		if err != nil {
			return fmt.Errorf("measure outbox: %w", err)
		}
		if err := a.confirm(fmt.Sprintf("The relays will begin at the first row of the outbox: all of its rows, at most %d, are published again.", rows)); err != nil {
			return err
		}
		err = a.do(ctx, func(q *walletdb.Queries) error {
			// Adopting many rows takes its time.
			if err := q.SetStatementTimeout(ctx, "0"); err != nil {
				return err
			}
			if _, err := q.AdoptRows(ctx); err != nil {
				return err
			}
			_, err := q.ResetPositions(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("rebase: %w", err)
		}
		fmt.Fprintln(c.stdout, "done: stopped relays go on within a second")
		return nil
	}, nil
}

// parseRow reads the flags and one argument, the id of an outbox row.
func (a action) parseRow() (int64, error) {
	args, err := a.parse("ID")
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || id < 1 {
		return 0, usageError("ID is the number of an outbox row")
	}
	return id, nil
}
