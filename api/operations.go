package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// statusPending is the status of an operation without an outcome, as operation_states has it.
const statusPending = "PENDING"

var errOperationNotFound = errors.New("operation not found")

// CreateOperation deposits to or withdraws from a wallet.
func (ws *wallets) CreateOperation(ctx context.Context, body *oas.OperationRequest, params oas.CreateOperationParams) (oas.CreateOperationRes, error) {
	return ws.send(ctx, params.IdempotencyKey, params.Prefer, body.Metadata, &request{
		walletID: body.WalletID, kind: walletdb.OperationType(body.OperationType),
		amount: int64(body.Amount), reference: string(body.Reference.Value),
	})
}

// operationRes is the answer to every request that is one operation.
type operationRes interface {
	oas.CreateOperationRes
	oas.CreateWalletOperationRes
	oas.CreateHoldRes
	oas.CaptureHoldRes
	oas.ReleaseHoldRes
	oas.ReverseOperationRes
	oas.CreateTransferRes
	oas.SetWalletStateRes
}

// send queues a request for the next flush, waits for its answer, and makes the client's of it.
func (ws *wallets) send(ctx context.Context, key, prefer oas.OptString, metadata oas.OptMetadata, r *request) (operationRes, error) {
	var err error
	if r.metadata, err = metadataJSON(metadata); err != nil {
		return nil, err
	}
	if r.id, err = operationID(r.walletID, plainKey(key)); err != nil {
		return nil, err
	}
	started := time.Now()
	r.tenant, r.ctx, r.deadline, r.done = tenantOf(ctx), ctx, started.Add(ws.timeout), make(chan *answer, 1)
	r.span = ws.tracer.accept(ctx, r)
	if ws.commits.Refusing() || !ws.queue.push(r) {
		accepted(r.span, &answer{err: errOverloaded})
		return nil, errOverloaded
	}
	got := ws.wait(r)
	accepted(r.span, got)
	if got.err != nil {
		return nil, ws.refusal(r, got.err)
	}
	ws.metrics.accepts.Observe(time.Since(started).Seconds())
	return ws.created(ctx, got, prefer), nil
}

// created is the answer to a request whose operation is accepted, now or before. What it cannot find out is
// no error: the operation is accepted all the same.
func (ws *wallets) created(ctx context.Context, got *answer, prefer oas.OptString) operationRes {
	operation, settlement, applied, _ := ws.finish(ctx, got.operation, prefer)
	location := walletPath(operation.WalletID) + "/operations/" + operation.ID.String()
	replayed := oas.OptBool{Value: true, Set: got.replayed}
	body := operationBody(operation, settlement)
	if operation.Status == statusPending {
		return &oas.OperationAcceptedHeaders{Location: location, IdempotencyReplayed: replayed, PreferenceApplied: applied, Response: body}
	}
	return &oas.OperationFinishedHeaders{Location: location, IdempotencyReplayed: replayed, PreferenceApplied: applied, Response: body}
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
	requests, err := batchRequests(body.Operations, plainKey(params.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(ws.timeout)
	for _, r := range requests {
		r.tenant, r.ctx, r.deadline, r.done = tenantOf(ctx), ctx, deadline, make(chan *answer, 1)
		r.span = ws.tracer.accept(ctx, r)
	}
	if ws.commits.Refusing() || !ws.queue.push(requests...) {
		for _, r := range requests {
			accepted(r.span, &answer{err: errOverloaded})
		}
		return nil, errOverloaded
	}
	answers := make([]*answer, len(requests))
	operations := make([]walletdb.OperationState, 0, len(requests))
	for i, r := range requests {
		answers[i] = ws.wait(r)
		accepted(r.span, answers[i])
		if answers[i].err == nil {
			operations = append(operations, answers[i].operation)
		}
	}
	settlements, _ := ws.settlements(ctx, operations...) // what it cannot find out is no error
	ws.cache.raise(ctx, operations...)
	response := &oas.BatchResponse{Items: make([]oas.BatchItem, len(requests))}
	for i, got := range answers {
		if got.err != nil {
			response.Items[i] = oas.NewProblemBatchItem(problemOf(ctx, ws.refusal(requests[i], got.err)).Response)
		} else {
			response.Items[i] = oas.NewOperationBatchItem(operationBody(got.operation, settlements[got.operation.ID]))
		}
	}
	return response, nil
}

// batchRequests returns a request for each operation of a batch, or a problem that names what is wrong.
func batchRequests(items []oas.BatchOperation, batchKey oas.OptString) ([]*request, error) {
	requests := make([]*request, len(items))
	var wrong []oas.FieldError
	for i, item := range items {
		r, err := itemRequest(item, itemKey(item.IdempotencyKey, batchKey, i))
		var p problem
		if err != nil && !errors.As(err, &p) {
			return nil, err
		}
		for _, e := range p.errors {
			wrong = append(wrong, oas.FieldError{Field: "operations[" + strconv.Itoa(i) + "]." + e.Field, Detail: e.Detail})
		}
		requests[i] = r
	}
	if len(wrong) > 0 {
		return nil, problem{code: invalidRequest, errors: wrong[:min(len(wrong), maxFieldErrors)]}
	}
	return requests, nil
}

func itemRequest(item oas.BatchOperation, key oas.OptString) (r *request, err error) {
	r = &request{
		walletID: item.WalletID, kind: walletdb.OperationType(item.OperationType),
		amount: int64(item.Amount), reference: string(item.Reference.Value),
	}
	switch isTransfer := item.OperationType == oas.BatchOperationTypeTRANSFER; {
	case isTransfer && !item.ToWalletID.Set:
		return nil, invalid("toWalletId", "is missing")
	case !isTransfer && item.ToWalletID.Set:
		return nil, invalid("toWalletId", "goes with TRANSFER only")
	case isTransfer:
		if r.targetID, err = target(item.WalletID, item.ToWalletID.Value); err != nil {
			return nil, err
		}
	}
	if r.metadata, err = metadataJSON(item.Metadata); err != nil {
		return nil, err
	}
	r.id, err = operationID(item.WalletID, key)
	return r, err
}

// GetOperation reads Postgres.
func (ws *wallets) GetOperation(ctx context.Context, params oas.GetOperationParams) (*oas.OperationReadHeaders, error) {
	operation, err := ws.readOperation(ctx, params.WalletID, params.OperationID)
	if err != nil {
		return nil, err
	}
	return ws.operationRead(ctx, operation, params.Prefer, params.Timeline.Value)
}

// FindOperation is GetOperation without the wallet.
func (ws *wallets) FindOperation(ctx context.Context, params oas.FindOperationParams) (*oas.OperationReadHeaders, error) {
	operation, err := ws.findOperation(ctx, params.OperationID)
	if err != nil {
		return nil, err
	}
	return ws.operationRead(ctx, operation, params.Prefer, params.Timeline.Value)
}

func (ws *wallets) findOperation(ctx context.Context, id uuid.UUID) (walletdb.OperationState, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	operation, err := walletdb.New(ws.pool).ReadOperation(ctx, walletdb.ReadOperationParams{ID: id, Tenant: string(tenantOf(ctx))})
	if errors.Is(err, pgx.ErrNoRows) {
		return operation, problem{code: operationNotFound, detail: "There is no operation with this id."}
	}
	if err != nil {
		return operation, readError(err)
	}
	return operation, nil
}

// operationRead is the answer with an operation: as it stands now, or once it is finished.
func (ws *wallets) operationRead(ctx context.Context, operation walletdb.OperationState, prefer oas.OptString, withTimeline bool) (*oas.OperationReadHeaders, error) {
	operation, settlement, applied, err := ws.finish(ctx, operation, prefer)
	if err != nil {
		return nil, readError(err)
	}
	body := operationBody(operation, settlement)
	if withTimeline {
		timeline, err := ws.timeline(ctx, operation)
		if err != nil {
			return nil, readError(err)
		}
		body.Timeline.SetTo(timeline)
	}
	return &oas.OperationReadHeaders{CacheControl: cacheControl, PreferenceApplied: applied, Response: body}, nil
}

// timeline says how far an operation is.
func (ws *wallets) timeline(ctx context.Context, operation walletdb.OperationState) (oas.Timeline, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	timeline := oas.Timeline{AcceptedAt: oas.Time(operation.CreatedAt.UTC()), AppliedAt: optTime(operation.AppliedAt)}
	found, err := walletdb.New(ws.pool).Publication(ctx, walletdb.PublicationParams{WalletID: operation.WalletID, Seq: operation.Seq, Topic: ws.topic})
	if err != nil {
		return timeline, err
	}
	ws.cache.raiseWallets(ctx, found.Wallet) // pendingBefore says how far the wallet is
	timeline.PendingBefore = max(0, operation.Seq-found.Wallet.AppliedSeq-1)
	if found.Known {
		timeline.Published.SetTo(found.Published && !found.Parked)
		timeline.Parked.SetTo(found.Parked)
	}
	return timeline, nil
}

func (ws *wallets) readOperation(ctx context.Context, walletID, id uuid.UUID) (walletdb.OperationState, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	operation, err := walletdb.New(ws.pool).GetOperation(ctx, walletdb.GetOperationParams{ID: id, WalletID: walletID, Tenant: string(tenantOf(ctx))})
	if errors.Is(err, pgx.ErrNoRows) {
		return operation, ws.noOperation(ctx, walletID)
	}
	if err != nil {
		return operation, readError(err)
	}
	return operation, nil
}

// finish waits for the outcome of an operation that is pending, and until the money of a debit leg is
// received or returned, as long as the client prefers to. It returns the operation as it then is, where its
// money is, and what Preference-Applied says. An error is about where the money is.
func (ws *wallets) finish(ctx context.Context, operation walletdb.OperationState, prefer oas.OptString) (_ walletdb.OperationState, settlement string, applied oas.OptString, err error) {
	limit, asked := preferredWait(prefer.Value)
	if asked {
		until := time.Now().Add(limit)
		var end waitEnd
		if operation, end = ws.awaitOutcome(ctx, operation, until); end == tooManyWait {
			return operation, "", applied, nil
		}
		if ws.awaitSettlement(ctx, operation, until) != tooManyWait {
			applied = appliedWait(limit)
		}
	}
	ws.cache.raise(ctx, operation)
	settlements, err := ws.settlements(ctx, operation)
	return operation, settlements[operation.ID], applied, err
}

// awaitOutcome waits for the outcome of an operation, unless it has one. It returns the operation as it then is.
func (ws *wallets) awaitOutcome(ctx context.Context, operation walletdb.OperationState, until time.Time) (walletdb.OperationState, waitEnd) {
	if operation.Status != statusPending {
		return operation, applied
	}
	end, outcome := ws.waits.wait(ctx, time.Until(until), &waiter{walletID: operation.WalletID, seq: operation.Seq, operation: operation.ID})
	switch {
	case outcome != nil:
		return *outcome, end
	case end == applied:
		if now, err := ws.readOperation(ctx, operation.WalletID, operation.ID); err == nil {
			operation = now
		}
	}
	return operation, end
}

// operationBody is an operation as clients get it, with the settlement that it has.
func operationBody(o walletdb.OperationState, settlement string) oas.Operation {
	body := oas.Operation{
		OperationID: o.ID, WalletID: o.WalletID, Sequence: o.Seq, OperationType: oas.OperationKind(o.Type),
		Status: oas.OperationStatus(o.Status), FailureReason: optString(o.FailureReason),
		Counterpart: counterpart(o), Settlement: oas.OptString{Value: settlement, Set: settlement != ""},
		ExpiresAt: optTime(o.ExpiresAt), Reference: optReference(o.Reference), Metadata: optMetadata(o.Metadata),
		CreatedAt: oas.Time(o.CreatedAt.UTC()), AppliedAt: optTime(o.AppliedAt),
	}
	switch {
	case o.AppliedAmount != nil:
		body.Amount.SetTo(*o.AppliedAmount)
	case o.Amount > 0:
		body.Amount.SetTo(o.Amount)
	}
	if o.BalanceAfter != nil {
		held := value(o.HeldAfter)
		body.BalanceAfter.SetTo(oas.Balance(*o.BalanceAfter))
		body.HeldAfter.SetTo(held)
		body.AvailableAfter.SetTo(*o.BalanceAfter - held)
	}
	if o.SubjectID != nil {
		body.SubjectID.SetTo(*o.SubjectID)
	}
	if o.Final != nil {
		body.Final.SetTo(*o.Final)
	}
	return body
}
