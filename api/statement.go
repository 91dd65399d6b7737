package main

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// ListOperations reads a page of a wallet's statement.
func (ws *wallets) ListOperations(ctx context.Context, params oas.ListOperationsParams) (*oas.OperationListHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	q := walletdb.New(ws.pool)
	lastSeq, err := q.LastSequence(ctx, params.WalletID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errWalletNotFound
	}
	if err != nil {
		return nil, readError(err)
	}
	newestFirst := params.Order.Value == oas.OrderDesc
	after, before, next := pageBounds(lastSeq, params.After, int64(params.Limit.Value), newestFirst)
	operations, err := q.OperationsBetween(ctx, walletdb.OperationsBetweenParams{WalletID: params.WalletID, After: after, Before: before})
	if err != nil {
		return nil, readError(err)
	}
	outcomes, err := q.OutcomesBetween(ctx, walletdb.OutcomesBetweenParams{WalletID: params.WalletID, After: after, Before: before})
	if err != nil {
		return nil, readError(err)
	}
	states := withOutcomes(operations, outcomes)
	page := oas.OperationPage{Items: make([]oas.Operation, 0, len(states)), Next: next}
	var newest walletdb.OperationState
	for _, state := range states {
		if state.BalanceAfter != nil {
			newest = state
		}
		page.Items = append(page.Items, operationBody(state))
	}
	ws.cache.raise(ctx, newest)
	if newestFirst {
		slices.Reverse(page.Items)
	}
	return &oas.OperationListHeaders{CacheControl: cacheControl, Response: page}, nil
}

// pageBounds returns the sequences between which a page lies, and what the next one goes on after.
// Sequences are dense up to lastSeq, so a page's bounds follow from its first one.
func pageBounds(lastSeq int64, start oas.OptInt64, limit int64, newestFirst bool) (after, before int64, next oas.NilInt64) {
	if newestFirst {
		before = lastSeq + 1
		if start.Set {
			before = min(before, start.Value)
		}
		after = max(0, before-1-limit)
		return after, before, oas.NilInt64{Value: after + 1, Null: after == 0}
	}
	after = start.Value
	before = after + limit + 1
	return after, before, oas.NilInt64{Value: before - 1, Null: before > lastSeq}
}

// withOutcomes joins operations with their outcomes, both in order. What has no outcome is pending.
func withOutcomes(operations []walletdb.Operation, outcomes []walletdb.Outcome) []walletdb.OperationState {
	states := make([]walletdb.OperationState, len(operations))
	for i, o := range operations {
		states[i] = walletdb.OperationState{
			WalletID: o.WalletID, Seq: o.Seq, ID: o.ID, Type: o.Type, Amount: o.Amount,
			Reference: o.Reference, CreatedAt: o.CreatedAt, Status: statusPending,
		}
		for len(outcomes) > 0 && outcomes[0].Seq < o.Seq {
			outcomes = outcomes[1:]
		}
		if len(outcomes) > 0 && outcomes[0].Seq == o.Seq {
			c := &outcomes[0]
			states[i].Status, states[i].FailureReason = string(c.Status), c.FailureReason
			states[i].BalanceAfter, states[i].AppliedAt = &c.BalanceAfter, &c.AppliedAt
		}
	}
	return states
}
