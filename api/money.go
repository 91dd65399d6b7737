package main

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// maxHoldTime is how far ahead a hold may expire.
const maxHoldTime = 400 * 24 * time.Hour

// CreateWalletOperation is CreateOperation with the wallet in the path.
func (ws *wallets) CreateWalletOperation(ctx context.Context, body *oas.WalletOperationRequest, params oas.CreateWalletOperationParams) (oas.CreateWalletOperationRes, error) {
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, body.Metadata, &request{
		walletID: params.WalletID, kind: walletdb.OperationType(body.OperationType),
		amount: int64(body.Amount), reference: string(body.Reference.Value),
	})
}

// CreateHold keeps a part of the balance. A time that is over makes the hold fail, at its turn, so that a
// retry is answered as the first request was.
func (ws *wallets) CreateHold(ctx context.Context, body *oas.HoldRequest, params oas.CreateHoldParams) (oas.CreateHoldRes, error) {
	r := &request{
		walletID: params.WalletID, kind: walletdb.OperationTypeHOLD,
		amount: int64(body.Amount), reference: string(body.Reference.Value),
	}
	if body.ExpiresAt.Set {
		expiresAt := time.Time(body.ExpiresAt.Value).UTC()
		if expiresAt.Year() < 1 || time.Until(expiresAt) > maxHoldTime {
			return nil, invalid("expiresAt", rules["expiresAt"])
		}
		r.expiresAt = &expiresAt
	}
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, body.Metadata, r)
}

// CaptureHold takes money that a hold keeps.
func (ws *wallets) CaptureHold(ctx context.Context, body *oas.CaptureRequest, params oas.CaptureHoldParams) (_ oas.CaptureHoldRes, err error) {
	final := body.Final.Or(true)
	r := &request{
		walletID: params.WalletID, kind: walletdb.OperationTypeCAPTURE, subjectID: &params.HoldID, final: &final,
		amount: int64(body.Amount.Value), reference: string(body.Reference.Value),
	}
	if body.ToWalletID.Set {
		if r.targetID, err = target(params.WalletID, body.ToWalletID.Value); err != nil {
			return nil, err
		}
	}
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, body.Metadata, r)
}

// ReleaseHold gives back all that a hold keeps.
func (ws *wallets) ReleaseHold(ctx context.Context, body *oas.ReleaseRequest, params oas.ReleaseHoldParams) (oas.ReleaseHoldRes, error) {
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, oas.OptMetadata{}, &request{
		walletID: params.WalletID, kind: walletdb.OperationTypeRELEASE, subjectID: &params.HoldID,
		reference: string(body.Reference.Value),
	})
}

// ReverseOperation undoes an operation, or a part of it.
func (ws *wallets) ReverseOperation(ctx context.Context, body *oas.ReverseRequest, params oas.ReverseOperationParams) (oas.ReverseOperationRes, error) {
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, body.Metadata, &request{
		walletID: params.WalletID, kind: walletdb.OperationTypeREVERSE, subjectID: &params.OperationID,
		amount: int64(body.Amount.Value), reference: string(body.Reference.Value),
	})
}

// CreateTransfer pays another wallet.
func (ws *wallets) CreateTransfer(ctx context.Context, body *oas.TransferRequest, params oas.CreateTransferParams) (oas.CreateTransferRes, error) {
	to, err := target(params.WalletID, body.ToWalletID)
	if err != nil {
		return nil, err
	}
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, body.Metadata, &request{
		walletID: params.WalletID, kind: walletdb.OperationTypeTRANSFER, targetID: to,
		amount: int64(body.Amount), reference: string(body.Reference.Value),
	})
}

// target is where a wallet's money is to go.
func target(from, to uuid.UUID) (*uuid.UUID, error) {
	if to == from {
		return nil, invalid("toWalletId", rules["toWalletId"])
	}
	return &to, nil
}

// stateOperations are the operations that set each state.
var stateOperations = map[oas.WalletState]walletdb.OperationType{
	oas.WalletStateACTIVE: walletdb.OperationTypeACTIVATE,
	oas.WalletStateFROZEN: walletdb.OperationTypeFREEZE,
	oas.WalletStateCLOSED: walletdb.OperationTypeCLOSE,
}

// SetWalletState freezes, activates or closes a wallet.
func (ws *wallets) SetWalletState(ctx context.Context, body *oas.StateRequest, params oas.SetWalletStateParams) (oas.SetWalletStateRes, error) {
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, oas.OptMetadata{}, &request{
		walletID: params.WalletID, kind: stateOperations[body.State], reference: string(body.Reason),
	})
}
