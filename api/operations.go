package main

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// statusPending is the status of an operation without an outcome, as operation_states has it.
const statusPending = "PENDING"

var errOperationNotFound = errors.New("operation not found")

// CreateOperation queues the operation for the next flush and waits for its answer.
func (ws *wallets) CreateOperation(ctx context.Context, body *oas.OperationRequest, params oas.CreateOperationParams) (oas.CreateOperationRes, error) {
	id, err := operationID(body.WalletID, plainKey(params.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	started := time.Now()
	r := &request{
		tenant: tenantOf(ctx), walletID: body.WalletID, id: id, kind: walletdb.OperationType(body.OperationType),
		amount: int64(body.Amount), reference: string(body.Reference.Value),
		ctx: ctx, deadline: started.Add(ws.timeout), done: make(chan *answer, 1),
	}
	r.span = ws.tracer.accept(ctx, r)
	if ws.commits.Refusing() || !ws.queue.push(r) {
		accepted(r.span, &answer{err: errOverloaded})
		return nil, errOverloaded
	}
	got := ws.wait(r)
	accepted(r.span, got)
	if got.err != nil {
		return nil, got.err
	}
	ws.metrics.accepts.Observe(time.Since(started).Seconds())
	return ws.created(ctx, got, params.Prefer), nil
}

// created is the answer to a request whose operation is accepted, now or before.
func (ws *wallets) created(ctx context.Context, got *answer, prefer oas.OptString) oas.CreateOperationRes {
	operation, applied := ws.finish(ctx, got.operation, prefer)
	location := walletPath(operation.WalletID) + "/operations/" + operation.ID.String()
	replayed := oas.OptBool{Value: true, Set: got.replayed}
	if operation.Status == statusPending {
		return &oas.OperationAcceptedHeaders{Location: location, IdempotencyReplayed: replayed, PreferenceApplied: applied, Response: operationBody(operation)}
	}
	return &oas.OperationFinishedHeaders{Location: location, IdempotencyReplayed: replayed, PreferenceApplied: applied, Response: operationBody(operation)}
}

// wait returns the answer to a queued request. If the client's time is over before the request's
// flush starts, nothing is accepted; after that the flush decides. A flush ends soon, unless its commit
// waits for a standby: then the outcome is unknown.
func (ws *wallets) wait(r *request) *answer {
	timer := time.NewTimer(time.Until(r.deadline))
	defer timer.Stop()
	select {
	case a := <-r.done:
		return a
	case <-r.ctx.Done():
	case <-timer.C:
	}
	if ws.queue.drop(r) {
		return &answer{err: r.abandoned()}
	}
	timer.Reset(time.Until(r.deadline.Add(flushGrace)))
	select {
	case a := <-r.done:
		return a
	case <-timer.C:
		return &answer{err: unknownOperation(r.id)}
	}
}

// CreateOperations queues a batch: all of it, in its order, or nothing.
func (ws *wallets) CreateOperations(ctx context.Context, body *oas.BatchRequest, params oas.CreateOperationsParams) (*oas.BatchResponse, error) {
	deadline := time.Now().Add(ws.timeout)
	batchKey := plainKey(params.IdempotencyKey)
	requests := make([]*request, len(body.Operations))
	for i, item := range body.Operations {
		id, err := operationID(item.WalletID, itemKey(item.IdempotencyKey, batchKey, i))
		if err != nil {
			return nil, err
		}
		requests[i] = &request{
			tenant: tenantOf(ctx), walletID: item.WalletID, id: id, kind: walletdb.OperationType(item.OperationType),
			amount: int64(item.Amount), reference: string(item.Reference.Value),
			ctx: ctx, deadline: deadline, done: make(chan *answer, 1),
		}
		requests[i].span = ws.tracer.accept(ctx, requests[i])
	}
	if ws.commits.Refusing() || !ws.queue.push(requests...) {
		for _, r := range requests {
			accepted(r.span, &answer{err: errOverloaded})
		}
		return nil, errOverloaded
	}
	response := &oas.BatchResponse{Items: make([]oas.BatchItem, len(requests))}
	operations := make([]walletdb.OperationState, 0, len(requests))
	for i, r := range requests {
		got := ws.wait(r)
		accepted(r.span, got)
		if got.err != nil {
			response.Items[i] = oas.NewProblemBatchItem(problemOf(ctx, got.err).Response)
			continue
		}
		operations = append(operations, got.operation)
		response.Items[i] = oas.NewOperationBatchItem(operationBody(got.operation))
	}
	ws.cache.raise(ctx, operations...)
	return response, nil
}

// GetOperation reads Postgres.
func (ws *wallets) GetOperation(ctx context.Context, params oas.GetOperationParams) (*oas.OperationReadHeaders, error) {
	operation, err := ws.readOperation(ctx, params.WalletID, params.OperationID)
	if err != nil {
		return nil, err
	}
	operation, applied := ws.finish(ctx, operation, params.Prefer)
	return &oas.OperationReadHeaders{CacheControl: cacheControl, PreferenceApplied: applied, Response: operationBody(operation)}, nil
}

func (ws *wallets) readOperation(ctx context.Context, walletID, id uuid.UUID) (walletdb.OperationState, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	operation, err := walletdb.New(ws.pool).GetOperation(ctx, walletdb.GetOperationParams{ID: id, WalletID: walletID, Tenant: string(tenantOf(ctx))})
	if errors.Is(err, pgx.ErrNoRows) {
		return operation, errOperationNotFound
	}
	if err != nil {
		return operation, readError(err)
	}
	return operation, nil
}

// finish waits for the outcome of an operation that is pending, as long as the client prefers to. It
// returns the operation as it then is, and what Preference-Applied says. What it cannot find out is no
// error: the operation is accepted all the same.
func (ws *wallets) finish(ctx context.Context, operation walletdb.OperationState, prefer oas.OptString) (walletdb.OperationState, oas.OptString) {
	limit, asked := preferredWait(prefer.Value)
	if !asked {
		ws.cache.raise(ctx, operation)
		return operation, oas.OptString{}
	}
	if operation.Status == statusPending {
		end, outcome := ws.waits.wait(ctx, limit, &waiter{walletID: operation.WalletID, seq: operation.Seq, operation: operation.ID})
		switch {
		case end == tooManyWait:
			return operation, oas.OptString{}
		case outcome != nil:
			return *outcome, appliedWait(limit)
		case end == applied:
			if now, err := ws.readOperation(ctx, operation.WalletID, operation.ID); err == nil {
				operation = now
			}
		}
	}
	ws.cache.raise(ctx, operation)
	return operation, appliedWait(limit)
}

func operationBody(o walletdb.OperationState) oas.Operation {
	body := oas.Operation{
		OperationID: o.ID, WalletID: o.WalletID, Sequence: o.Seq, OperationType: oas.OperationKind(o.Type),
		Amount: oas.NewOptInt64(o.Amount), Status: oas.OperationStatus(o.Status), Reference: optReference(o.Reference),
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
