package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service/egress"
)

// The api keeps what clients want to hear of; the service hooks delivers. What hooks is to do once is a row that
// hooks carries out, and how an endpoint fares is what hooks has saved last: the two share tables only.

const (
	webhooksPath = "/api/v1/webhooks"

	// maxWebhooks is how many a tenant may have.
	maxWebhooks = 200
)

// The states of a webhook.
const (
	webhookActive   = "ACTIVE"
	webhookFailing  = "FAILING"
	webhookDisabled = "DISABLED"
)

var errWebhookNotFound = errors.New("no such webhook")

// webhooks are what the routes of webhooks need besides the database.
type webhooks struct {
	keys   hook.Keys // that encrypt secrets; none: there are no webhooks
	egress egress.Policy
}

// withoutWebhooks answers the paths of webhooks as if there were none, before a key is asked for.
func withoutWebhooks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if below, found := strings.CutPrefix(r.URL.Path, webhooksPath); found && (below == "" || below[0] == '/') {
			answerNotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// madeWebhook is a webhook as it is stored, and whether its secret is that of this request: then it has made it.
type madeWebhook struct {
	stored walletdb.Webhook
	ours   bool
}

// CreateWebhook inserts the webhook. Its id follows from the idempotency key, so that a retry makes no second one.
func (ws *wallets) CreateWebhook(ctx context.Context, body *oas.WebhookRequest, params oas.CreateWebhookParams) (oas.CreateWebhookRes, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	id, err := newWebhookID(callerOf(ctx), plainKey(params.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	if err := ws.hooks.judge(ctx, body.URL); err != nil {
		return nil, err
	}
	secret := hook.NewSecret()
	wanted := walletdb.CreateWebhookParams{
		ID: id, Tenant: string(tenantOf(ctx).owner()), Client: callerOf(ctx).client, Url: string(body.URL), Description: optional(string(body.Description.Value), body.Description.Set),
		Wallets: once(body.Wallets), Types: typeNames(body.Types), Secret: ws.hooks.keys.Seal(id, secret), Most: maxWebhooks,
	}
	made, _, err := commitUntilKnown(ctx, ws, unknownWebhook(id), func(q *walletdb.Queries, made *madeWebhook) (err error) {
		if err := q.LockWebhooks(ctx, wanted.Tenant); err != nil {
			return err
		}
		if err := q.CreateWebhook(ctx, wanted); err != nil {
			return err
		}
		if made.ours, err = q.HasSecret(ctx, walletdb.HasSecretParams{ID: id, Secret: wanted.Secret}); err != nil {
			return err
		}
		made.stored, err = q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: id, Tenant: wanted.Tenant})
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem{code: tooManyWebhooks}
	}
	if err != nil {
		return nil, err
	}
	answer, err := webhookBody(made.stored)
	if err != nil {
		return nil, err
	}
	location := webhooksPath + "/" + id.String()
	if made.ours {
		answer.Secret.SetTo(secret)
		return &oas.WebhookCreatedHeaders{Location: location, Response: answer}, nil
	}
	if !sameWebhook(made.stored, wanted) {
		return nil, errKeyReused
	}
	return &oas.WebhookReplayedHeaders{Location: location, IdempotencyReplayed: oas.NewOptBool(true), Response: answer}, nil
}

// judge refuses a URL that may not be called.
func (h *webhooks) judge(ctx context.Context, url oas.WebhookURL) error {
	err := h.egress.URL(ctx, string(url))
	var refused egress.Refused
	switch {
	case errors.As(err, &refused):
		return problem{code: urlRefused, detail: "The URL may not be called: " + string(refused) + ".", errors: []oas.FieldError{{Field: "url", Detail: string(refused)}}}
	case err != nil: // the request has ended
		return errOverloaded
	}
	return nil
}

// sameWebhook reports whether a webhook is what a request asks for.
func sameWebhook(stored walletdb.Webhook, wanted walletdb.CreateWebhookParams) bool {
	return stored.Url == wanted.Url && value(stored.Description) == value(wanted.Description) &&
		slices.Equal(stored.Wallets, wanted.Wallets) && slices.Equal(stored.Types, wanted.Types)
}

// ListWebhooks reads one webhook more than the page, to know whether there is a next one.
func (ws *wallets) ListWebhooks(ctx context.Context, params oas.ListWebhooksParams) (*oas.WebhookListHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	limit := int(params.Limit.Value)
	found, err := walletdb.New(ws.pool).ListWebhooks(ctx, walletdb.ListWebhooksParams{Tenant: string(tenantOf(ctx)), After: params.After.Value, MaxRows: int32(limit + 1)})
	if err != nil {
		return nil, readError(err)
	}
	page := oas.WebhookPage{Items: []oas.Webhook{}, Next: oas.NilUUID{Null: true}}
	if len(found) > limit {
		found = found[:limit]
		page.Next = oas.NilUUID{Value: found[limit-1].ID}
	}
	for _, stored := range found {
		answer, err := webhookBody(stored)
		if err != nil {
			return nil, err
		}
		page.Items = append(page.Items, answer)
	}
	return &oas.WebhookListHeaders{CacheControl: cacheControl, Response: page}, nil
}

// GetWebhook reads a webhook and how it fares.
func (ws *wallets) GetWebhook(ctx context.Context, params oas.GetWebhookParams) (*oas.WebhookReadHeaders, error) {
	stored, err := ws.readWebhook(ctx, params.ID)
	return webhookRead(stored, "", err)
}

func (ws *wallets) readWebhook(ctx context.Context, id uuid.UUID) (walletdb.Webhook, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	stored, err := walletdb.New(ws.pool).ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: id, Tenant: string(tenantOf(ctx))})
	return stored, webhookError(err)
}

// webhookError translates what a query of one webhook returns.
func webhookError(err error) error {
	var p problem
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errWebhookNotFound
	case err == nil, errors.As(err, &p), errors.Is(err, errOverloaded):
		return err
	}
	return readError(err)
}

// webhookRead is an answer with a webhook, and with its secret if it is new.
func webhookRead(stored walletdb.Webhook, secret string, err error) (*oas.WebhookReadHeaders, error) {
	if err != nil {
		return nil, err
	}
	answer, err := webhookBody(stored)
	if secret != "" {
		answer.Secret.SetTo(secret)
	}
	return &oas.WebhookReadHeaders{CacheControl: cacheControl, Response: answer}, err
}

// UpdateWebhook changes what the body names. To enable and to disable are for hooks to do.
func (ws *wallets) UpdateWebhook(ctx context.Context, body *oas.WebhookUpdate, params oas.UpdateWebhookParams) (*oas.WebhookReadHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	changes := walletdb.UpdateWebhookParams{
		ID: params.ID, Tenant: string(tenantOf(ctx)),
		SetDescription: body.Description.Set, Description: optional(body.Description.Value, !body.Description.Null),
		SetWallets: body.Wallets.Set, Wallets: once(body.Wallets.Value),
		SetTypes: body.Types.Set, Types: typeNames(body.Types.Value),
	}
	if body.URL.Set {
		if _, err := ws.readWebhook(ctx, params.ID); err != nil {
			return nil, err // nobody learns by another's webhook where a name leads
		}
		if err := ws.hooks.judge(ctx, body.URL.Value); err != nil {
			return nil, err
		}
		changes.Url = optional(string(body.URL.Value), true)
	}
	stored, _, err := commitUntilKnown(ctx, ws, unknownWebhook(params.ID), func(q *walletdb.Queries, stored *walletdb.Webhook) (err error) {
		if err := q.UpdateWebhook(ctx, changes); err != nil {
			return err
		}
		if body.Enabled.Set {
			enabled := walletdb.RequestEnabledParams{ID: params.ID, Tenant: changes.Tenant, Enabled: body.Enabled.Value, Actor: actorOf(ctx)}
			if err := q.RequestEnabled(ctx, enabled); err != nil {
				return err
			}
		}
		*stored, err = q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: params.ID, Tenant: changes.Tenant})
		return err
	})
	return webhookRead(stored, "", webhookError(err))
}

// DeleteWebhook deletes the webhook and all that hooks knows of it.
func (ws *wallets) DeleteWebhook(ctx context.Context, params oas.DeleteWebhookParams) error {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	deleted, again, err := commitUntilKnown(ctx, ws, unknownWebhook(params.ID), func(q *walletdb.Queries, deleted *int64) (err error) {
		*deleted, err = q.DeleteWebhook(ctx, walletdb.DeleteWebhookParams{ID: params.ID, Tenant: string(tenantOf(ctx))})
		return err
	})
	if err == nil && deleted == 0 && !again {
		return errWebhookNotFound
	}
	return err
}

// RotateWebhookSecret stores a new secret; the one before it signs too for a day.
func (ws *wallets) RotateWebhookSecret(ctx context.Context, params oas.RotateWebhookSecretParams) (*oas.WebhookReadHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	secret, of := hook.NewSecret(), string(tenantOf(ctx))
	sealed := ws.hooks.keys.Seal(params.ID, secret)
	stored, _, err := commitUntilKnown(ctx, ws, unknownWebhook(params.ID), func(q *walletdb.Queries, stored *walletdb.Webhook) (err error) {
		if err := q.RotateSecret(ctx, walletdb.RotateSecretParams{ID: params.ID, Tenant: of, Secret: sealed}); err != nil {
			return err
		}
		*stored, err = q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: params.ID, Tenant: of})
		return err
	})
	return webhookRead(stored, secret, webhookError(err))
}

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

// ListWebhookAttempts reads what hooks has saved last, the newest first.
func (ws *wallets) ListWebhookAttempts(ctx context.Context, params oas.ListWebhookAttemptsParams) (*oas.WebhookAttemptListHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	stored, err := walletdb.New(ws.pool).WebhookAttempts(ctx, walletdb.WebhookAttemptsParams{ID: params.ID, Tenant: string(tenantOf(ctx))})
	if err := webhookError(err); err != nil {
		return nil, err
	}
	var attempts []hook.Attempt
	if err := json.Unmarshal(stored, &attempts); err != nil {
		return nil, fmt.Errorf("attempts of webhook %s: %w", params.ID, err)
	}
	list := oas.WebhookAttempts{Items: []oas.WebhookAttempt{}}
	for _, a := range slices.Backward(attempts) {
		list.Items = append(list.Items, attemptBody(a))
	}
	return &oas.WebhookAttemptListHeaders{CacheControl: cacheControl, Response: list}, nil
}

func attemptBody(a hook.Attempt) oas.WebhookAttempt {
	body := oas.WebhookAttempt{At: oas.Time(a.At.UTC()), MessageID: a.WebhookID, Type: a.Type, Attempt: int64(a.Number), Milliseconds: a.Milliseconds}
	if a.WalletID != nil {
		body.WalletID, body.FromSequence, body.Version = oas.NewOptUUID(*a.WalletID), oas.NewOptInt64(a.FromSequence), oas.NewOptInt64(a.Version)
	}
	if a.Status != 0 {
		body.Status.SetTo(int32(a.Status))
	}
	if a.Error != "" {
		body.Error.SetTo(a.Error)
	}
	return body
}

// webhookBody is a webhook as a client gets it, without its secret.
func webhookBody(w walletdb.Webhook) (oas.Webhook, error) {
	body := oas.Webhook{
		ID: w.ID, URL: oas.WebhookURL(w.Url), Wallets: w.Wallets, Tenant: w.Tenant, PreviousSecretUntil: optTime(w.PreviousUntil), Enabled: w.Enabled,
		State: webhookState(w), DisabledAt: optTime(w.DisabledAt), DisabledReason: optString(w.Reason),
		FailingSince: optTime(w.FailingSince), NextAttemptAt: optTime(w.NextAttempt), LastError: optString(w.LastError), LogBegins: optTime(w.LogBegins),
		Stalled: []oas.StalledRun{}, Skipped: []oas.SkippedRun{}, Missed: []oas.MissedRange{}, CreatedAt: oas.Time(w.CreatedAt.UTC()), UpdatedAt: oas.Time(w.UpdatedAt.UTC()),
	}
	if w.Description != nil {
		body.Description.SetTo(oas.WebhookDescription(*w.Description))
	}
	for _, name := range w.Types {
		body.Types = append(body.Types, oas.OperationKind(name))
	}
	if w.PreviousUntil != nil && w.PreviousUntil.Before(time.Now()) {
		body.PreviousSecretUntil.Reset()
	}
	if w.LagMessages != nil {
		body.LagMessages, body.LagSeconds = oas.NewOptInt64(*w.LagMessages), oas.NewOptFloat64(value(w.LagSeconds))
		body.LastRequestID.SetTo(value(w.LastRequest))
	}
	var (
		stalled []hook.Stalled
		skipped []hook.Skipped
		missed  []hook.Missed
	)
	if err := errors.Join(json.Unmarshal(w.Stalled, &stalled), json.Unmarshal(w.Skipped, &skipped), json.Unmarshal(w.Missed, &missed)); err != nil {
		return body, fmt.Errorf("state of webhook %s: %w", w.ID, err)
	}
	for _, s := range stalled {
		body.Stalled = append(body.Stalled, oas.StalledRun{
			Run: oas.RunName(s.Run.Run), WalletID: s.WalletID, FromSequence: s.FromSequence, Version: s.Version,
			Since: oas.Time(s.Since.UTC()), Attempts: int64(s.Attempts), NextAttemptAt: optTime(s.NextAttempt), Error: s.Error,
		})
	}
	for _, s := range skipped {
		body.Skipped = append(body.Skipped, oas.SkippedRun{
			Run: oas.RunName(s.Run.Run), WalletID: s.WalletID, FromSequence: s.FromSequence, Version: s.Version, At: oas.Time(s.At.UTC()),
		})
	}
	for _, m := range missed {
		body.Missed = append(body.Missed, oas.MissedRange{Partition: m.Partition, From: m.From, To: m.To, At: oas.Time(m.At.UTC())})
	}
	return body, nil
}

func webhookState(w walletdb.Webhook) string {
	switch {
	case w.DisabledAt != nil:
		return webhookDisabled
	case w.FailingSince != nil:
		return webhookFailing
	}
	return webhookActive
}

// unknownWebhook is the answer when what was asked of the webhook may have been done.
func unknownWebhook(id uuid.UUID) problem {
	return problem{code: outcomeUnknown, webhookID: oas.NewOptUUID(id), detail: "It may have been done or not. Read the webhook, or send the request again."}
}

// actorOf is who asks hooks for something.
func actorOf(ctx context.Context) string { return "client " + callerOf(ctx).client }

func optional(text string, given bool) *string {
	if !given {
		return nil
	}
	return &text
}

// typeNames are the types of a filter, nil for none.
func typeNames(types []oas.TypeFilter) (names []string) {
	for _, t := range once(types) {
		names = append(names, string(t))
	}
	return names
}

// once is a list without what stands in it twice.
func once[T comparable](list []T) (different []T) {
	for _, item := range list {
		if !slices.Contains(different, item) {
			different = append(different, item)
		}
	}
	return different
}
