package main

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// A debit leg takes money out of a wallet for another one: a TRANSFER, or a CAPTURE with a target. The commit
// that applies it accepts a RECEIVE in the other wallet; the commit that fails a RECEIVE accepts a RETURN in
// the first one. Their ids follow from the leg's. So where the money is needs no column: it is looked up.

// Where the money of a processed debit leg is.
const (
	settlementPending   = "PENDING"
	settlementCompleted = "COMPLETED" // received
	settlementReturned  = "RETURNED"  // back in its wallet
)

const (
	statusProcessed = string(walletdb.OutcomeStatusPROCESSED)
	statusFailed    = string(walletdb.OutcomeStatusFAILED)
)

func isDebitLeg(o walletdb.OperationState) bool {
	return o.CounterpartID != nil && (o.Type == walletdb.OperationTypeTRANSFER || o.Type == walletdb.OperationTypeCAPTURE)
}

// counterpart is the other leg of an operation between two wallets. The id of a RECEIVE is known before
// there is one.
func counterpart(o walletdb.OperationState) (other oas.OptCounterpart) {
	switch {
	case isDebitLeg(o):
		other.SetTo(oas.Counterpart{WalletID: *o.CounterpartID, OperationID: event.ReceiveID(o.ID)})
	case o.CounterpartID != nil && o.SubjectID != nil: // RECEIVE, RETURN
		other.SetTo(oas.Counterpart{WalletID: *o.CounterpartID, OperationID: *o.SubjectID})
	}
	return other
}

// settlements returns where the money is of each processed debit leg among the operations, by its id. It is
// one query, or none without such a leg. What it has found is in the cache before a client sees it. After an
// error the money counts as on its way.
func (ws *wallets) settlements(ctx context.Context, operations ...walletdb.OperationState) (map[uuid.UUID]string, error) {
	var legs, ids []uuid.UUID
	for _, o := range operations {
		if isDebitLeg(o) && o.Status == statusProcessed {
			receive := event.ReceiveID(o.ID)
			legs, ids = append(legs, o.ID), append(ids, receive, event.ReturnID(receive))
		}
	}
	if len(legs) == 0 {
		return nil, nil
	}
	found, err := ws.findOperations(ctx, ids...)
	var ends []walletdb.OperationState
	settlements := make(map[uuid.UUID]string, len(legs))
	for _, leg := range legs {
		receive := event.ReceiveID(leg)
		received, returned := found[receive], found[event.ReturnID(receive)]
		switch {
		case received.Status == statusProcessed:
			settlements[leg] = settlementCompleted
			ends = append(ends, received)
		case returned.Status == statusProcessed:
			settlements[leg] = settlementReturned
			ends = append(ends, returned)
		default:
			settlements[leg] = settlementPending
		}
	}
	ws.cache.raise(ctx, ends...)
	return settlements, err
}

// awaitSettlement waits until the money of a processed debit leg is received or returned, as far as it can
// find out.
func (ws *wallets) awaitSettlement(ctx context.Context, leg walletdb.OperationState, until time.Time) (end waitEnd) {
	if !isDebitLeg(leg) || leg.Status != statusProcessed {
		return applied
	}
	receive := event.ReceiveID(leg.ID)
	for _, id := range []uuid.UUID{receive, event.ReturnID(receive)} {
		found, err := ws.findOperations(ctx, id)
		next, exists := found[id]
		if err != nil || !exists {
			return applied
		}
		if next, end = ws.awaitOutcome(ctx, next, until); next.Status != statusFailed {
			return end
		}
	}
	return applied
}

// findOperations returns those of the operations that exist, by their ids.
func (ws *wallets) findOperations(ctx context.Context, ids ...uuid.UUID) (map[uuid.UUID]walletdb.OperationState, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	rows, err := walletdb.New(ws.pool).FindOperations(ctx, ids)
	found := make(map[uuid.UUID]walletdb.OperationState, len(rows))
	for _, row := range rows {
		found[row.ID] = row
	}
	return found, err
}
