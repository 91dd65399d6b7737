package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// attempt runs the flush's transaction once. It reports whether COMMIT was sent.
func (f *flusher) attempt(ctx context.Context, requests []*request, m mode) (answers []answer, sent bool, err error) {
	defer func() {
		if err != nil {
			f.rollback(ctx)
		}
	}()
	if err := f.connect(ctx); err != nil {
		return nil, false, err
	}
	read, err := f.lock(ctx, requests, m)
	if err != nil {
		return nil, false, err
	}
	accepted, answers, timesBack := accept(requests, read)
	if !m.lookup && mayBeKnown(requests, answers) {
		return nil, false, errLookFirst
	}
	if len(accepted) == 0 {
		return answers, false, f.confirm(ctx, answers)
	}
	failpoint.Reach("accept-before-commit")
	err = f.insert(ctx, accepted, f.tracer.headers(requests, accepted))
	failpoint.Reach("accept-after-commit")
	if err == nil {
		timesSetBack.Add(float64(timesBack))
	}
	return answers, true, err
}

// mayBeKnown reports whether one of the requests was refused for what it refers to, although its key may have
// been used before. What a key was used for comes first, whoever asks when.
func mayBeKnown(requests []*request, answers []answer) bool {
	for i, a := range answers {
		is := func(refusal error) bool { return errors.Is(a.err, refusal) }
		if a.err != nil && requests[i].id.Version() == keyed && slices.ContainsFunc(refusals, is) {
			return true
		}
	}
	return false
}

// lock is the first pipelined round trip. Statements after the one that locks read the clock and look
// operations up: a statement that waited for a lock sees the database as it was before the wait.
func (f *flusher) lock(ctx context.Context, requests []*request, m mode) (state, error) {
	wallets, ids := identities(requests)
	s := state{
		sequences:  make(map[uuid.UUID]sequence, len(wallets.WalletIds)),
		owners:     make(map[uuid.UUID]string, len(wallets.WalletIds)),
		operations: make(map[uuid.UUID]*walletdb.OperationState, len(ids)),
	}
	refers := references(requests)
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	err := db.Pipeline(ctx, f.conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if err := s.lock(ctx, q, wallets, m.skipLocked); err != nil {
			return err
		}
		if err := s.find(ctx, q, refers); err != nil {
			return err
		}
		if !m.lookup {
			return nil
		}
		found, err := q.FindOperations(ctx, ids)
		for i := range found {
			s.operations[found[i].ID] = &found[i]
		}
		return err
	})
	return s, err
}

func (s *state) lock(ctx context.Context, q *walletdb.Queries, wallets walletdb.LockSequencesParams, skipLocked bool) (err error) {
	var rows []walletdb.WalletSequence
	if skipLocked {
		rows, err = q.LockFreeSequences(ctx, walletdb.LockFreeSequencesParams(wallets))
	} else {
		rows, err = q.LockSequences(ctx, wallets)
	}
	for _, row := range rows {
		last := sequence{lastSeq: row.LastSeq}
		if row.LastAt != nil {
			last.lastAt = *row.LastAt
		}
		s.sequences[row.WalletID] = last
		s.owners[row.WalletID] = row.Tenant
	}
	if err != nil {
		return err
	}
	if s.clock, err = q.ReadClock(ctx); err != nil || !skipLocked {
		return err
	}
	existing, err := q.ExistingWallets(ctx, walletdb.ExistingWalletsParams(wallets))
	for _, row := range existing {
		s.owners[row.WalletID] = row.Tenant
	}
	return err
}

// referred is what requests refer to.
type referred struct {
	subjects []uuid.UUID // operations
	wallets  []uuid.UUID // both wallets between which a request moves money
}

// references returns each of them once.
func references(requests []*request) referred {
	subjects, wallets := map[uuid.UUID]bool{}, map[uuid.UUID]bool{}
	for _, r := range requests {
		if r.subjectID != nil {
			subjects[*r.subjectID] = true
		}
		if r.targetID != nil {
			wallets[r.walletID], wallets[*r.targetID] = true, true
		}
	}
	return referred{slices.Collect(maps.Keys(subjects)), slices.Collect(maps.Keys(wallets))}
}

// find reads what requests refer to, if any does: deposits and withdrawals send no statement for it.
func (s *state) find(ctx context.Context, q *walletdb.Queries, r referred) error {
	if len(r.subjects) > 0 {
		found, err := q.FindSubjects(ctx, r.subjects)
		s.subjects = make(map[uuid.UUID]subject, len(found))
		for _, o := range found {
			s.subjects[o.ID] = subject{o.WalletID, o.Type, o.CounterpartID != nil}
		}
		if err != nil {
			return err
		}
	}
	if len(r.wallets) > 0 {
		found, err := q.FindWallets(ctx, r.wallets)
		s.wallets = make(map[uuid.UUID]walletdb.FindWalletsRow, len(found))
		for _, wallet := range found {
			s.wallets[wallet.ID] = wallet
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// identities returns each wallet once for each tenant that names it, and every operation id.
func identities(requests []*request) (wallets walletdb.LockSequencesParams, ids []uuid.UUID) {
	seen := map[walletRef]bool{}
	ids = make([]uuid.UUID, 0, len(requests))
	for _, r := range requests {
		ids = append(ids, r.id)
		if !seen[r.wallet()] {
			seen[r.wallet()] = true
			wallets.WalletIds = append(wallets.WalletIds, r.walletID)
			wallets.Tenants = append(wallets.Tenants, string(r.tenant))
		}
	}
	return wallets, ids
}

// confirm ends a flush that has accepted nothing: it releases the locks, and waits until the standbys have
// what the flush has found, whoever wrote that and however that transaction ended.
func (f *flusher) confirm(ctx context.Context, answers []answer) error {
	if !slices.ContainsFunc(answers, answer.found) {
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		return walletdb.New(f.conn).Rollback(ctx)
	}
	return f.commit(ctx, func(q *walletdb.Queries) error {
		if err := q.Rollback(ctx); err != nil {
			return err
		}
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if err := q.Confirm(ctx); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}

// commit sends a pipelined round trip that ends with COMMIT. A COMMIT without an answer keeps the
// connection.
func (f *flusher) commit(ctx context.Context, fn func(q *walletdb.Queries) error) error {
	conn := f.conn
	err := f.commits.Send(ctx, conn, flushTimeout, fn, func() { db.Disconnect(conn) })
	if errors.Is(err, db.ErrUnanswered) {
		f.conn = nil
	}
	return err
}

// insert is the second pipelined round trip. headers are those of each operation's row; nil if all have the
// same.
func (f *flusher) insert(ctx context.Context, accepted []walletdb.OperationState, headers []string) error {
	operations, outbox, last := f.rows(accepted)
	return f.commit(ctx, func(q *walletdb.Queries) (err error) {
		if err := q.InsertOperations(ctx, operations); err != nil {
			return err
		}
		if headers == nil {
			err = q.InsertOutbox(ctx, outbox)
		} else {
			err = q.InsertTracedOutbox(ctx, walletdb.InsertTracedOutboxParams{Topic: f.topic, Headers: headers, Keys: outbox.Keys, Payloads: outbox.Payloads})
		}
		if err != nil {
			return err
		}
		if err := q.AdvanceSequences(ctx, last); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}

// rows keeps the order of accepted, which is each wallet's order of sequences: outbox ids follow it.
func (f *flusher) rows(accepted []walletdb.OperationState) (walletdb.InsertOperationsParams, walletdb.InsertOutboxParams, walletdb.AdvanceSequencesParams) {
	n := len(accepted)
	operations := walletdb.InsertOperationsParams{
		WalletIds: make([]uuid.UUID, 0, n), Seqs: make([]int64, 0, n), Ids: make([]uuid.UUID, 0, n),
		Types: make([]string, 0, n), Amounts: make([]int64, 0, n), Refs: make([]string, 0, n),
		CreatedAts:     make([]time.Time, 0, n),
		SubjectIds:     column(accepted, func(o *walletdb.OperationState) uuid.UUID { return value(o.SubjectID) }),
		CounterpartIds: column(accepted, func(o *walletdb.OperationState) uuid.UUID { return value(o.CounterpartID) }),
		ExpiresAts: column(accepted, func(o *walletdb.OperationState) string {
			if o.ExpiresAt == nil {
				return ""
			}
			return o.ExpiresAt.UTC().Format(timeFormat)
		}),
		Finals: column(accepted, func(o *walletdb.OperationState) string {
			if o.Final == nil {
				return ""
			}
			return strconv.FormatBool(*o.Final)
		}),
		Metadatas: column(accepted, func(o *walletdb.OperationState) string { return string(o.Metadata) }),
	}
	outbox := walletdb.InsertOutboxParams{Topic: f.topic, Headers: event.Headers(string(accepted[0].Type)), Keys: make([]string, 0, n), Payloads: make([][]byte, 0, n)}
	lasts := map[uuid.UUID]*walletdb.OperationState{}
	for i := range accepted {
		o := &accepted[i]
		operations.WalletIds = append(operations.WalletIds, o.WalletID)
		operations.Seqs = append(operations.Seqs, o.Seq)
		operations.Ids = append(operations.Ids, o.ID)
		operations.Types = append(operations.Types, string(o.Type))
		operations.Amounts = append(operations.Amounts, o.Amount)
		operations.Refs = append(operations.Refs, value(o.Reference))
		operations.CreatedAts = append(operations.CreatedAts, o.CreatedAt)

		outbox.Keys = append(outbox.Keys, o.WalletID.String())
		outbox.Payloads = append(outbox.Payloads, event.Message{
			WalletID: o.WalletID, Sequence: o.Seq, OperationID: o.ID, Type: string(o.Type), Amount: o.Amount, AcceptedAt: o.CreatedAt,
		}.Encode())
		lasts[o.WalletID] = o
	}
	last := walletdb.AdvanceSequencesParams{}
	for id, o := range lasts {
		last.WalletIds = append(last.WalletIds, id)
		last.LastSeqs = append(last.LastSeqs, o.Seq)
		last.LastAts = append(last.LastAts, o.CreatedAt)
	}
	return operations, outbox, last
}

// column is what each operation has of something that most do not have; nil if none has it. Zero is none.
func column[T comparable](accepted []walletdb.OperationState, of func(o *walletdb.OperationState) T) (values []T) {
	var none T
	for i := range accepted {
		v := of(&accepted[i])
		if v == none {
			continue
		}
		if values == nil {
			values = make([]T, len(accepted))
		}
		values[i] = v
	}
	return values
}
