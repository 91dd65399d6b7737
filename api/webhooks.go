package main

import (
	"context"
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

	// maxSecrets is how many of a webhook's secrets sign at once: the present one, and those of a day before it.
	maxSecrets = 5
)

var (
	errWebhookNotFound = errors.New("no such webhook")
	errNameUnresolved  = problem{code: overloaded, detail: "The URL's host name could not be resolved for the moment. Nothing was accepted. Try again later."}
)

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
	// Once it was changed, nobody knows any more what it was made from.
	if unchanged := made.stored.UpdatedAt.Equal(made.stored.CreatedAt); unchanged && !sameWebhook(made.stored, wanted) {
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
	case err != nil: // nothing is known of the name, or the request has ended
		return errNameUnresolved
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

// rotatedWebhook is a webhook as it is stored, and whether its secret is that of this request. If not, there are as many
// secrets as may be, until the oldest ends.
type rotatedWebhook struct {
	madeWebhook
	ends time.Time
}

// RotateWebhookSecret stores a new secret; those before it sign too, each for a day.
func (ws *wallets) RotateWebhookSecret(ctx context.Context, params oas.RotateWebhookSecretParams) (*oas.WebhookReadHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	secret, of := hook.NewSecret(), string(tenantOf(ctx))
	sealed := ws.hooks.keys.Seal(params.ID, secret)
	rotated, _, err := commitUntilKnown(ctx, ws, unknownWebhook(params.ID), func(q *walletdb.Queries, rotated *rotatedWebhook) (err error) {
		if err := q.RotateSecret(ctx, walletdb.RotateSecretParams{ID: params.ID, Tenant: of, Secret: sealed, Most: maxSecrets}); err != nil {
			return err
		}
		if rotated.ours, err = q.HasSecret(ctx, walletdb.HasSecretParams{ID: params.ID, Secret: sealed}); err != nil {
			return err
		}
		if rotated.ends, err = q.OldestSecretEnds(ctx, params.ID); err != nil {
			return err
		}
		rotated.stored, err = q.ReadWebhook(ctx, walletdb.ReadWebhookParams{ID: params.ID, Tenant: of})
		return err
	})
	if err == nil && !rotated.ours {
		err = problem{code: rateLimited, detail: fmt.Sprintf("%d secrets of the webhook sign already. The secret was not exchanged.", maxSecrets), retryAfter: time.Until(rotated.ends)}
	}
	return webhookRead(rotated.stored, secret, webhookError(err))
}

// unknownWebhook is the answer when what was asked of the webhook may have been done.
func unknownWebhook(id uuid.UUID) problem {
	return problem{code: outcomeUnknown, webhookID: oas.NewOptUUID(id), detail: "It may have been done or not. Read the webhook, or send the request again."}
}

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
