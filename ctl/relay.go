package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func relayPark(ctx context.Context, c *call) error {
	reason := c.flags.String("reason", "", "why; it is kept with the row")
	id, err := c.parseRow()
	if err != nil {
		return err
	}
	if *reason == "" {
		return usageError("--reason is required")
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	q := walletdb.New(conn)
	row, err := q.OutboxRow(ctx, id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("there is no outbox row %d", id)
	case err != nil:
		return fmt.Errorf("read outbox row: %w", err)
	case row.Published:
		return fmt.Errorf("outbox row %d is published already", id)
	}
	parked, err := q.ParkRow(ctx, walletdb.ParkRowParams{OutboxID: id, Actor: actor(), Reason: *reason})
	if err != nil {
		return fmt.Errorf("park row: %w", err)
	}
	if parked == 0 {
		fmt.Fprintf(c.stdout, "outbox row %d was parked before\n", id)
		return nil
	}
	fmt.Fprintf(c.stdout, "outbox row %d (topic %s, key %s) is parked: the relays pass over it\n", id, row.Topic, row.Key)
	return nil
}

func relayParked(ctx context.Context, c *call) error {
	if _, err := c.parse(); err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := walletdb.New(conn).ParkedRows(ctx)
	if err != nil {
		return fmt.Errorf("list parked rows: %w", err)
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tPARKED\tBY\tREASON")
	for _, row := range rows {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", row.OutboxID, row.ParkedAt.UTC().Format(time.RFC3339), row.Actor, row.Reason)
	}
	return table.Flush()
}

func relayUnpark(ctx context.Context, c *call) error {
	id, err := c.parseRow()
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	q := walletdb.New(conn)
	row, err := q.OutboxRow(ctx, id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read outbox row: %w", err)
	}
	if err != nil || row.Published {
		return fmt.Errorf("outbox row %d was passed over already, and cannot be published in its place any more", id)
	}
	unparked, err := q.UnparkRow(ctx, id)
	if err != nil {
		return fmt.Errorf("unpark row: %w", err)
	}
	if unparked == 0 {
		return fmt.Errorf("outbox row %d is not parked", id)
	}
	fmt.Fprintf(c.stdout, "outbox row %d is published in its place, unless a relay passes it this very second\n", id)
	return nil
}

func relayPause(ctx context.Context, c *call) error {
	reason := c.flags.String("reason", "", "why; it is kept")
	if _, err := c.parse(); err != nil {
		return err
	}
	if *reason == "" {
		return usageError("--reason is required")
	}
	return c.setPaused(ctx, true, *reason)
}

func relayResume(ctx context.Context, c *call) error {
	if _, err := c.parse(); err != nil {
		return err
	}
	return c.setPaused(ctx, false, "")
}

func (c *call) setPaused(ctx context.Context, paused bool, reason string) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	relay := cmp.Or(c.env["RELAY_NAME"], "wallet-relay")
	if err := walletdb.New(conn).SetPaused(ctx, walletdb.SetPausedParams{Relay: relay, Paused: paused, Reason: reason}); err != nil {
		return fmt.Errorf("pause or resume: %w", err)
	}
	fmt.Fprintf(c.stdout, "%s is told; it heeds it within a second\n", relay)
	return nil
}

// relayRebase makes a restored outbox one of this database. What was published before the dump and
// what was not can no longer be told apart, so all of it is published again: duplicates are allowed,
// losses are not.
func relayRebase(ctx context.Context, c *call) error {
	yes := c.flags.Bool("yes", false, "do not ask")
	if _, err := c.parse(); err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	fit, err := walletdb.New(conn).PositionsFit(ctx)
	if err != nil {
		return fmt.Errorf("check positions: %w", err)
	}
	if fit {
		return errors.New("nothing to do: the relays' positions are from this database")
	}
	rows, err := walletdb.New(conn).OutboxSpan(ctx)
	if err != nil {
		return fmt.Errorf("measure outbox: %w", err)
	}
	fmt.Fprintf(c.stdout, "The relays will begin at the first row of the outbox: all of its rows, at most %d, are published again.\n", rows)
	if !*yes {
		fmt.Fprint(c.stdout, "Go on? (yes/no) ")
		if answer, _ := bufio.NewReader(c.stdin).ReadString('\n'); strings.TrimSpace(answer) != "yes" {
			return errors.New("not done")
		}
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		q := walletdb.New(tx)
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
}

// parseRow reads the flags and one argument, the id of an outbox row.
func (c *call) parseRow() (int64, error) {
	args, err := c.parse("ID")
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || id < 1 {
		return 0, usageError("ID is the number of an outbox row")
	}
	return id, nil
}

// actor is who runs this.
func actor() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
