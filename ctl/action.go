package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// An action is a command that changes what the system does. It says what it will do and asks, and
// leaves who did it, when and why in operator_actions, in the transaction of what it did.
type action struct {
	call   *call
	reason *string
	yes    *bool
}

// newAction registers the flags of an action.
func newAction(c *call) action {
	return action{
		call:   c,
		reason: c.flags.String("reason", "", "why; it is kept"),
		yes:    c.flags.Bool("yes", false, "do not ask"),
	}
}

// parse is call.arguments for an action.
func (a action) parse(names ...string) ([]string, error) {
	args, err := a.call.arguments(names...)
	if err == nil && *a.reason == "" {
		err = usageError("--reason is required")
	}
	return args, err
}

// confirm says what will be done and asks. Anything but yes is an error.
func (a action) confirm(does string) error {
	fmt.Fprintln(a.call.stdout, does)
	if *a.yes {
		return nil
	}
	fmt.Fprint(a.call.stdout, "Go on? (yes/no) ")
	if answer, _ := bufio.NewReader(a.call.stdin).ReadString('\n'); strings.TrimSpace(answer) != "yes" {
		return errors.New("not done")
	}
	return nil
}

// do runs fn in a transaction that notes the action too.
func (a action) do(ctx context.Context, fn func(q *walletdb.Queries) error) error {
	return db.Write(ctx, a.call.conn, func(q *walletdb.Queries) error {
		if err := fn(q); err != nil {
			return err
		}
		return a.note(ctx, q)
	})
}

func (a action) note(ctx context.Context, q *walletdb.Queries) error {
	text := strings.Join(append([]string{a.call.words}, a.call.args...), " ")
	err := q.NoteAction(ctx, walletdb.NoteActionParams{Actor: a.call.actor(), Action: text, Reason: *a.reason})
	if err != nil {
		return fmt.Errorf("note the action: %w", err)
	}
	return nil
}

// actor is who runs this: in a container, where every user is the same, ACTOR says it.
func (c *call) actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return cmp.Or(c.settings.actor, name+"@"+host)
}

// listActions prints the last actions, the newest first.
func listActions(c *call) (task, error) {
	most := c.flags.Int("last", 50, "how many")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		actions, err := c.q.ListActions(ctx, int32(min(max(*most, 1), 10_000)))
		if err != nil {
			return fmt.Errorf("list actions: %w", err)
		}
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "DONE\tBY\tREASON\tACTION")
		for _, a := range actions {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", a.DoneAt.UTC().Format(time.RFC3339), a.Actor, a.Reason, a.Action)
		}
		return table.Flush()
	}, nil
}
