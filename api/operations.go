package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// statusPending is the status of an operation without an outcome, as operation_states has it.
const statusPending = "PENDING"

var errOperationNotFound = errors.New("operation not found")

// CreateOperation queues the operation for the next flush and waits for its answer.
func (ws *wallets) CreateOperation(ctx context.Context, body *oas.OperationRequest, params oas.CreateOperationParams) (oas.CreateOperationRes, error) {
	id, err := operationID(body.WalletID, params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	started := time.Now()
	accepted := ws.accept(&request{
		walletID: body.WalletID, id: id, kind: walletdb.OperationType(body.OperationType),
		amount: int64(body.Amount), reference: string(body.Reference.Value),
		ctx: ctx, done: make(chan answer, 1),
	})
	if errors.Is(accepted.err, errOutcomeUnknown) {
		return nil, unknownOperation(id)
	}
	if accepted.err != nil {
		return nil, accepted.err
	}
	ws.metrics.accepts.Observe(time.Since(started).Seconds())
	location := walletPath(body.WalletID) + "/operations/" + id.String()
	replayed := oas.OptBool{Value: true, Set: accepted.replayed}
	if accepted.operation.Status == statusPending {
		return &oas.OperationAcceptedHeaders{Location: location, IdempotencyReplayed: replayed, Response: operationBody(accepted.operation)}, nil
	}
	ws.cache.raise(ctx, accepted.operation)
	return &oas.OperationFinishedHeaders{Location: location, IdempotencyReplayed: replayed, Response: operationBody(accepted.operation)}, nil
}

// accept waits for the request's flush. If the time is over before that starts, nothing is accepted;
// after that the flush decides, which ends soon.
func (ws *wallets) accept(r *request) answer {
	if !ws.queue.push(r) {
		return answer{err: errOverloaded}
	}
	select {
	case a := <-r.done:
		return a
	case <-r.ctx.Done():
	}
	if ws.queue.drop(r) {
		return answer{err: r.givenUp()}
	}
	return <-r.done
}

// GetOperation reads Postgres.
func (ws *wallets) GetOperation(ctx context.Context, params oas.GetOperationParams) (*oas.OperationReadHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	operation, err := walletdb.New(ws.pool).GetOperation(ctx, walletdb.GetOperationParams{ID: params.OperationID, WalletID: params.WalletID})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errOperationNotFound
	}
	if err != nil {
		return nil, readError(err)
	}
	ws.cache.raise(ctx, operation)
	return &oas.OperationReadHeaders{CacheControl: cacheControl, Response: operationBody(operation)}, nil
}

func operationBody(o walletdb.OperationState) oas.Operation {
	body := oas.Operation{
		OperationID: o.ID, WalletID: o.WalletID, Sequence: o.Seq, OperationType: oas.OperationType(o.Type),
		Amount: oas.Amount(o.Amount), Status: oas.OperationStatus(o.Status), Reference: optReference(o.Reference),
		CreatedAt: oas.Time(o.CreatedAt.UTC()),
	}
	if o.FailureReason != nil {
		body.FailureReason.SetTo(*o.FailureReason)
	}
	if o.BalanceAfter != nil {
		body.BalanceAfter.SetTo(oas.Balance(*o.BalanceAfter))
	}
	if o.AppliedAt != nil {
		body.AppliedAt.SetTo(oas.Time(o.AppliedAt.UTC()))
	}
	return body
}
