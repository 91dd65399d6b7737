package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// maxLooked is how many sequences one request with a filter looks at.
	maxLooked = 10_000

	// timesOff is how far operations of a wallet can be out of the order of their times: those that were
	// accepted before times followed the sequence. It is looked for them that much longer.
	timesOff = time.Minute
)

// ListOperations reads a page of a wallet's statement.
func (ws *wallets) ListOperations(ctx context.Context, params oas.ListOperationsParams) (*oas.OperationListHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	states, next, err := ws.statement(ctx, params)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ws.noWallet(params.WalletID)
	}
	if err != nil {
		return nil, readError(err)
	}
	settlements, err := ws.settlements(ctx, states...)
	if err != nil {
		return nil, readError(err)
	}
	page := oas.OperationPage{Items: make([]oas.Operation, 0, len(states)), Next: next}
	for _, state := range states {
		page.Items = append(page.Items, operationBody(state, settlements[state.ID]))
	}
	ws.cache.raise(ctx, states...)
	return &oas.OperationListHeaders{CacheControl: cacheControl, Response: page}, nil
}

// statement returns a page's operations in the order that the client wants, and what the next page goes on
// after. Its error is pgx.ErrNoRows if there is no such wallet.
func (ws *wallets) statement(ctx context.Context, params oas.ListOperationsParams) (states []walletdb.OperationState, next oas.NilInt64, err error) {
	q := walletdb.New(ws.pool)
	newestFirst := params.Order.Value == oas.OrderDesc
	if params.Type.Set || params.Status.Set || params.From.Set || params.To.Set || params.SubjectID.Set {
		states, next, err = filtered(ctx, q, params, newestFirst)
	} else {
		states, next, err = unfiltered(ctx, q, params, newestFirst)
	}
	if newestFirst {
		slices.Reverse(states)
	}
	return states, next, err
}

// unfiltered returns a page's operations in the order of their sequences.
func unfiltered(ctx context.Context, q *walletdb.Queries, params oas.ListOperationsParams, newestFirst bool) (_ []walletdb.OperationState, next oas.NilInt64, err error) {
	lastSeq, err := q.LastSequence(ctx, walletdb.LastSequenceParams{WalletID: params.WalletID, Tenant: string(tenantOf(ctx))})
	if err != nil {
		return nil, next, err
	}
	after, before, next := pageBounds(lastSeq, params.After, int64(params.Limit.Value), newestFirst)
	operations, err := q.OperationsBetween(ctx, walletdb.OperationsBetweenParams{WalletID: params.WalletID, After: after, Before: before})
	if err != nil {
		return nil, next, err
	}
	outcomes, err := q.OutcomesBetween(ctx, walletdb.OutcomesBetweenParams{WalletID: params.WalletID, After: after, Before: before})
	return withOutcomes(operations, outcomes), next, err
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

// filtered returns the operations that the filters let through, in the order of their sequences. It looks at
// some sequences, at twice as many if these were not enough, and so on up to maxLooked.
func filtered(ctx context.Context, q *walletdb.Queries, params oas.ListOperationsParams, newestFirst bool) (_ []walletdb.OperationState, next oas.NilInt64, err error) {
	after, before, err := filterBounds(ctx, q, params)
	if err != nil {
		return nil, next, err
	}
	if params.After.Set && newestFirst {
		before = min(before, params.After.Value)
	} else if params.After.Set {
		after = max(after, params.After.Value)
	}
	seqs, goOn, err := candidates(ctx, q, params, after, before, newestFirst)
	if err != nil {
		return nil, next, err
	}
	limit := int(params.Limit.Value)
	wanted := walletdb.FilterOperationsParams{
		WalletID: params.WalletID, Type: string(params.Type.Value), Status: string(params.Status.Value),
		Since: time.Time(params.From.Value), Until: endOfTime,
	}
	if params.To.Set {
		wanted.Until = time.Time(params.To.Value)
	}
	var found []walletdb.Operation // in the order of the page
	looked := 0
	for size := limit; looked < len(seqs) && len(found) < limit; size *= 2 {
		wanted.Seqs = seqs[looked:min(looked+size, len(seqs))]
		looked += len(wanted.Seqs)
		some, err := q.FilterOperations(ctx, wanted)
		if err != nil {
			return nil, next, err
		}
		if newestFirst {
			slices.Reverse(some)
		}
		found = append(found, some...)
	}
	switch {
	case len(found) > limit:
		found = found[:limit]
		next.Value = found[limit-1].Seq
	case looked < len(seqs):
		next.Value = seqs[looked-1]
	default:
		next = oas.NilInt64{Value: goOn, Null: goOn == 0}
	}
	if newestFirst {
		slices.Reverse(found)
	}
	at := make([]int64, len(found))
	for i, o := range found {
		at[i] = o.Seq
	}
	outcomes, err := q.OutcomesAt(ctx, walletdb.OutcomesAtParams{WalletID: params.WalletID, Seqs: at})
	states := withOutcomes(found, outcomes)
	// An operation that was pending when it was found may be finished by now.
	states = slices.DeleteFunc(states, func(o walletdb.OperationState) bool {
		return params.Status.Set && o.Status != string(params.Status.Value)
	})
	return states, next, err
}

// endOfTime is after every time that Postgres is asked for.
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// filterBounds returns the sequences between which all operations are that the filters can let through.
// Operations are applied in order, so that those without an outcome are the last ones.
func filterBounds(ctx context.Context, q *walletdb.Queries, params oas.ListOperationsParams) (after, before int64, err error) {
	ends, err := q.StatementEnds(ctx, walletdb.StatementEndsParams{WalletID: params.WalletID, Tenant: string(tenantOf(ctx))})
	if err != nil {
		return 0, 0, err
	}
	before = ends.LastSeq + 1
	switch {
	case params.Status.Value == oas.StatusFilterPENDING:
		after = ends.AppliedSeq
	case params.Status.Set:
		before = ends.AppliedSeq + 1
	}
	if params.From.Set {
		early, err := q.LastBefore(ctx, walletdb.LastBeforeParams{WalletID: params.WalletID, LastSeq: ends.LastSeq, Time: time.Time(params.From.Value).Add(-timesOff)})
		if err != nil {
			return 0, 0, err
		}
		after = max(after, early)
	}
	if params.To.Set {
		late, err := q.LastBefore(ctx, walletdb.LastBeforeParams{WalletID: params.WalletID, LastSeq: ends.LastSeq, Time: time.Time(params.To.Value).Add(timesOff)})
		if err != nil {
			return 0, 0, err
		}
		before = min(before, late+1)
	}
	return after, before, nil
}

// candidates returns up to maxLooked sequences between two, in the order of the page, and what the next page
// goes on after: 0 if there are no more.
func candidates(ctx context.Context, q *walletdb.Queries, params oas.ListOperationsParams, after, before int64, newestFirst bool) (seqs []int64, goOn int64, err error) {
	if params.SubjectID.Set {
		subject := walletdb.SubjectSequencesParams{SubjectID: &params.SubjectID.Value, After: after, Before: before, MaxRows: maxLooked}
		if !params.Type.Set && !params.Status.Set && !params.From.Set && !params.To.Set {
			subject.MaxRows = params.Limit.Value + 1 // all of them are let through
		}
		return namedBy(ctx, q, params.WalletID, subject, newestFirst)
	}
	for len(seqs) < maxLooked && after+1 < before {
		if newestFirst {
			before--
			seqs = append(seqs, before)
		} else {
			after++
			seqs = append(seqs, after)
		}
	}
	if after+1 < before {
		goOn = seqs[maxLooked-1]
	}
	return seqs, goOn, nil
}

// namedBy returns the sequences of a wallet's operations that name a subject. Perhaps others' do, too.
func namedBy(ctx context.Context, q *walletdb.Queries, walletID uuid.UUID, subject walletdb.SubjectSequencesParams, newestFirst bool) (seqs []int64, goOn int64, err error) {
	var rows []walletdb.SubjectSequencesRow
	if newestFirst {
		var last []walletdb.LastSubjectSequencesRow
		last, err = q.LastSubjectSequences(ctx, walletdb.LastSubjectSequencesParams(subject))
		for _, row := range last {
			rows = append(rows, walletdb.SubjectSequencesRow(row))
		}
	} else {
		rows, err = q.SubjectSequences(ctx, subject)
	}
	for _, row := range rows {
		if row.WalletID == walletID {
			seqs = append(seqs, row.Seq)
		}
	}
	if len(rows) == int(subject.MaxRows) {
		goOn = rows[len(rows)-1].Seq
	}
	return seqs, goOn, err
}

// withOutcomes joins operations with their outcomes, both in order. What has no outcome is pending.
func withOutcomes(operations []walletdb.Operation, outcomes []walletdb.Outcome) []walletdb.OperationState {
	states := make([]walletdb.OperationState, len(operations))
	for i, o := range operations {
		states[i] = walletdb.OperationState{
			WalletID: o.WalletID, Seq: o.Seq, ID: o.ID, Type: o.Type, Amount: o.Amount,
			Reference: o.Reference, CreatedAt: o.CreatedAt, Status: statusPending,
			SubjectID: o.SubjectID, CounterpartID: o.CounterpartID, ExpiresAt: o.ExpiresAt, Final: o.Final, Metadata: o.Metadata,
		}
		for len(outcomes) > 0 && outcomes[0].Seq < o.Seq {
			outcomes = outcomes[1:]
		}
		if len(outcomes) > 0 && outcomes[0].Seq == o.Seq {
			c := &outcomes[0]
			states[i].Status, states[i].FailureReason = string(c.Status), c.FailureReason
			states[i].BalanceAfter, states[i].AppliedAt = &c.BalanceAfter, &c.AppliedAt
			states[i].HeldAfter, states[i].StateAfter = c.HeldAfter, c.StateAfter
			states[i].AppliedAmount, states[i].SubjectLeft = c.AppliedAmount, c.SubjectLeft
		}
	}
	return states
}
