package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// hooksPage is how many webhooks are read at a time.
const hooksPage = 1000

// hooksList prints how every webhook fares. A query of a URL is left out: it may be a password.
func hooksList(c *call) (task, error) {
	tenant := c.flags.String("tenant", db.AllTenants, "only those of a tenant")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	if *tenant != db.AllTenants {
		if err := checkTenant(*tenant); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tTENANT\tCLIENT\tURL\tSTATE\tLAG\tFAILING SINCE\tWHY")
		for after := uuid.Nil; ; {
			page, err := c.q.ListWebhooks(ctx, walletdb.ListWebhooksParams{Tenant: *tenant, After: after, MaxRows: hooksPage})
			if err != nil {
				return fmt.Errorf("list webhooks: %w", err)
			}
			for _, w := range page {
				after = w.ID
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", w.ID, w.Tenant, w.Client, withoutQuery(w.Url), hookState(w), hookLag(w), moment(w.FailingSince), hookTrouble(w))
			}
			if len(page) < hooksPage {
				return table.Flush()
			}
		}
	}, nil
}

func withoutQuery(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "?"
	}
	u.RawQuery, u.ForceQuery = "", false
	return u.String()
}

// hookState is the state, and what was asked for if hooks has not done it yet.
func hookState(w walletdb.Webhook) string {
	switch {
	case w.DisabledAt != nil && w.Enabled:
		return "disabled, to be enabled"
	case w.DisabledAt != nil:
		return "disabled"
	case !w.Enabled:
		return "to be disabled"
	case w.FailingSince != nil:
		return "failing"
	case w.LagMessages == nil:
		return "not begun"
	}
	return "active"
}

func hookLag(w walletdb.Webhook) string {
	if w.LagMessages == nil {
		return ""
	}
	return fmt.Sprintf("%d messages, %s", *w.LagMessages, time.Duration(*w.LagSeconds*float64(time.Second)).Round(time.Second))
}

func hookTrouble(w walletdb.Webhook) string {
	for _, why := range []*string{w.Reason, w.LastError} {
		if why != nil {
			return *why
		}
	}
	return ""
}

// hooksDisable asks hooks to end deliveries. The client sees that it was done, and may undo it.
func hooksDisable(c *call) (task, error) {
	return hookAction(c, false, "Nothing is delivered to webhook %s (tenant %s, %s) until it is enabled again. It keeps its place in the log.")
}

// hooksEnable asks hooks to go on.
func hooksEnable(c *call) (task, error) {
	return hookAction(c, true, "Deliveries to webhook %s (tenant %s, %s) go on where they ended.")
}

func hookAction(c *call, enabled bool, does string) (task, error) {
	a := newAction(c)
	args, err := a.parse("ID")
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(args[0])
	if err != nil {
		return nil, usageError("ID must be a webhook's id, as hooks list shows it")
	}
	return func(ctx context.Context) error {
		w, err := findHook(ctx, c.q, id, enabled)
		if err != nil {
			return err
		}
		if err := a.confirm(fmt.Sprintf(does, id, w.Tenant, withoutQuery(w.Url))); err != nil {
			return err
		}
		return a.do(ctx, func(q *walletdb.Queries) error {
			if _, err := findHook(ctx, q, id, enabled); err != nil {
				return err
			}
			return q.RequestEnabled(ctx, walletdb.RequestEnabledParams{ID: id, Tenant: db.AllTenants, Enabled: enabled, Actor: c.actor()})
		})
	}, nil
}

// findHook finds a webhook that is not yet what is asked for.
func findHook(ctx context.Context, q *walletdb.Queries, id uuid.UUID, enabled bool) (walletdb.Webhook, error) {
	w, err := q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: id, Tenant: db.AllTenants})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return w, errors.New("there is no webhook with this id")
	case err != nil:
		return w, fmt.Errorf("read the webhook: %w", err)
	case w.Enabled == enabled && enabled:
		return w, errors.New("the webhook is enabled already")
	case w.Enabled == enabled:
		return w, errors.New("the webhook is disabled already")
	}
	return w, nil
}
