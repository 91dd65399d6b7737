package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The states of a hold.
const (
	holdPending = "PENDING"
	holdOpen    = "OPEN"
	holdClosed  = "CLOSED"
	holdExpired = "EXPIRED"
	holdFailed  = "FAILED"
)

// GetHold reads a hold's operation, and what became of it.
func (ws *wallets) GetHold(ctx context.Context, params oas.GetHoldParams) (*oas.HoldReadHeaders, error) {
	operation, err := ws.readOperation(ctx, params.WalletID, params.HoldID)
	if errors.Is(err, errOperationNotFound) || err == nil && operation.Type != walletdb.OperationTypeHOLD {
		return nil, errHoldNotFound
	}
	if err != nil {
		return nil, err
	}
	hold := oas.Hold{
		HoldID: operation.ID, Sequence: operation.Seq, Amount: oas.Amount(operation.Amount), ExpiresAt: optTime(operation.ExpiresAt),
		Reference: optReference(operation.Reference), Metadata: optMetadata(operation.Metadata), CreatedAt: oas.Time(operation.CreatedAt.UTC()),
	}
	switch operation.Status {
	case statusPending:
		hold.Status, hold.Remaining = holdPending, operation.Amount
	case string(walletdb.OutcomeStatusFAILED):
		hold.Status, hold.FailureReason = holdFailed, optString(operation.FailureReason)
		ws.cache.raise(ctx, operation)
	default:
		if err := ws.readHold(ctx, operation, &hold); err != nil {
			return nil, err
		}
	}
	return &oas.HoldReadHeaders{CacheControl: cacheControl, Response: hold}, nil
}

// readHold completes a processed hold.
func (ws *wallets) readHold(ctx context.Context, operation walletdb.OperationState, hold *oas.Hold) error {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	state, err := walletdb.New(ws.pool).HoldState(ctx, walletdb.HoldStateParams{
		WalletID: operation.WalletID, HoldID: operation.ID, ExpireID: event.ExpireID(operation.ID), Amount: operation.Amount,
	})
	if err != nil {
		return readError(err)
	}
	ws.cache.raiseWallets(ctx, state.Wallet)
	hold.Captured, hold.Remaining = state.Captured, state.Remaining
	switch {
	case state.Expired:
		hold.Status = holdExpired
	case state.Remaining == 0:
		hold.Status = holdClosed
	default:
		hold.Status = holdOpen
	}
	return nil
}

// ListHolds reads one hold more than the page, to know whether there is a next one.
func (ws *wallets) ListHolds(ctx context.Context, params oas.ListHoldsParams) (*oas.HoldListHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	q := walletdb.New(ws.pool)
	stored, err := q.ReadWallet(ctx, walletdb.ReadWalletParams{ID: params.WalletID, Tenant: string(tenantOf(ctx))})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ws.noWallet(params.WalletID)
	}
	if err != nil {
		return nil, readError(err)
	}
	limit := int(params.Limit.Value)
	found, err := q.OpenHolds(ctx, walletdb.OpenHoldsParams{WalletID: params.WalletID, After: params.After.Value, MaxRows: int32(limit + 1)})
	if err != nil {
		return nil, readError(err)
	}
	page := oas.HoldPage{Items: []oas.OpenHold{}, Next: oas.NilInt64{Null: true}}
	if len(found) > limit {
		found = found[:limit]
		page.Next = oas.NilInt64{Value: found[limit-1].Seq}
	}
	wallet := stored.Wallet
	for _, h := range found {
		wallet = h.Wallet
		page.Items = append(page.Items, oas.OpenHold{
			HoldID: h.HoldID, Sequence: h.Seq, Amount: oas.Amount(h.Amount), Remaining: h.Remaining,
			ExpiresAt: optTime(h.ExpiresAt), Reference: optReference(h.Reference), CreatedAt: oas.Time(h.CreatedAt.UTC()),
		})
	}
	ws.cache.raiseWallets(ctx, wallet)
	return &oas.HoldListHeaders{CacheControl: cacheControl, Response: page}, nil
}

func optTime(t *time.Time) (opt oas.OptTime) {
	if t != nil {
		opt.SetTo(oas.Time(t.UTC()))
	}
	return opt
}

func optString(s *string) (opt oas.OptString) {
	if s != nil {
		opt.SetTo(*s)
	}
	return opt
}
