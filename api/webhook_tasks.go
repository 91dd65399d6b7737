package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// TestWebhook asks hooks for a delivery by which a receiver is tried out.
func (ws *wallets) TestWebhook(ctx context.Context, params oas.TestWebhookParams) (*oas.WebhookTask, error) {
	asked, err := ws.request(ctx, walletdb.RequestOfWebhookParams{ID: params.ID, Kind: hook.Test})
	if err != nil {
		return nil, err
	}
	return &oas.WebhookTask{RequestID: asked.id, MessageID: oas.NewOptString(hook.TestID(params.ID, asked.id))}, nil
}

// ReplayWebhook asks hooks to go back in the log.
func (ws *wallets) ReplayWebhook(ctx context.Context, body *oas.ReplayRequest, params oas.ReplayWebhookParams) (*oas.WebhookTask, error) {
	since := time.Time(body.Since)
	if since.After(time.Now()) {
		return nil, invalid("since", rules["since"])
	}
	asked, err := ws.request(ctx, walletdb.RequestOfWebhookParams{ID: params.ID, Kind: hook.Replay, Since: &since})
	if err != nil {
		return nil, err
	}
	return &oas.WebhookTask{RequestID: asked.id, Since: optTime(&since), LogBegins: optTime(asked.webhook.LogBegins)}, nil
}

// SkipWebhookRun asks hooks to pass over a run that the receiver refuses. Which those are, hooks has saved.
func (ws *wallets) SkipWebhookRun(ctx context.Context, body oas.OptSkipRequest, params oas.SkipWebhookRunParams) (*oas.WebhookTask, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	what := walletdb.RequestSkipParams{ID: params.ID, Tenant: string(tenantOf(ctx)), Run: optional(string(body.Value.Run.Value), body.Value.Run.Set), Actor: actorOf(ctx)}
	asked, _, err := commitUntilKnown(ctx, ws, unknownWebhook(params.ID), func(q *walletdb.Queries, asked *walletdb.RequestSkipRow) (err error) {
		if _, err := q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: what.ID, Tenant: what.Tenant}); err != nil {
			return err
		}
		if *asked, err = q.RequestSkip(ctx, what); errors.Is(err, pgx.ErrNoRows) {
			return problem{code: notStalled}
		}
		return err
	})
	if err := webhookError(err); err != nil {
		return nil, err
	}
	return &oas.WebhookTask{RequestID: asked.ID, Run: oas.NewOptRunName(oas.RunName(value(asked.Run)))}, nil
}

// askedOfHooks is what hooks was asked to do, and the webhook.
type askedOfHooks struct {
	id      int64
	webhook walletdb.Webhook
}

// request leaves hooks something to do. After a COMMIT without an answer it may stand there twice: hooks then does
// it twice, which is no harm.
func (ws *wallets) request(ctx context.Context, what walletdb.RequestOfWebhookParams) (askedOfHooks, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	what.Tenant, what.Actor = string(tenantOf(ctx)), actorOf(ctx)
	asked, _, err := commitUntilKnown(ctx, ws, unknownWebhook(what.ID), func(q *walletdb.Queries, asked *askedOfHooks) (err error) {
		if asked.id, err = q.RequestOfWebhook(ctx, what); err != nil {
			return err
		}
		asked.webhook, err = q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: what.ID, Tenant: what.Tenant})
		return err
	})
	return asked, webhookError(err)
}

// actorOf is who asks hooks for something.
func actorOf(ctx context.Context) string { return "client " + callerOf(ctx).client }
