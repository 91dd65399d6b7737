package main

import (
	"context"
	"errors"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

var errUnbuilt = errors.New("not built yet")

func (ws *wallets) CreateWalletOperation(context.Context, *oas.WalletOperationRequest, oas.CreateWalletOperationParams) (oas.CreateWalletOperationRes, error) {
	return nil, errUnbuilt
}

func (ws *wallets) CreateHold(context.Context, *oas.HoldRequest, oas.CreateHoldParams) (oas.CreateHoldRes, error) {
	return nil, errUnbuilt
}

func (ws *wallets) CaptureHold(context.Context, *oas.CaptureRequest, oas.CaptureHoldParams) (oas.CaptureHoldRes, error) {
	return nil, errUnbuilt
}

func (ws *wallets) ReleaseHold(context.Context, *oas.ReleaseRequest, oas.ReleaseHoldParams) (oas.ReleaseHoldRes, error) {
	return nil, errUnbuilt
}

func (ws *wallets) ReverseOperation(context.Context, *oas.ReverseRequest, oas.ReverseOperationParams) (oas.ReverseOperationRes, error) {
	return nil, errUnbuilt
}

func (ws *wallets) CreateTransfer(context.Context, *oas.TransferRequest, oas.CreateTransferParams) (oas.CreateTransferRes, error) {
	return nil, errUnbuilt
}

func (ws *wallets) SetWalletState(context.Context, *oas.StateRequest, oas.SetWalletStateParams) (oas.SetWalletStateRes, error) {
	return nil, errUnbuilt
}
