package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

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

// The states of a webhook.
const (
	webhookActive   = "ACTIVE"
	webhookFailing  = "FAILING"
	webhookDisabled = "DISABLED"
)

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
