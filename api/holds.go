package main

import (
	"context"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

func (ws *wallets) GetHold(context.Context, oas.GetHoldParams) (*oas.HoldReadHeaders, error) {
	return nil, errUnbuilt
}

func (ws *wallets) ListHolds(context.Context, oas.ListHoldsParams) (*oas.HoldListHeaders, error) {
	return nil, errUnbuilt
}
