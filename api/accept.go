package main

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

var (
	errWalletNotFound   = errors.New("wallet not found")
	errTargetNotFound   = errors.New("target wallet not found")
	errHoldNotFound     = errors.New("hold not found")
	errCurrencyMismatch = errors.New("the target has another currency")
	errNotReversible    = errors.New("operations of this kind cannot be reversed")
	errKeyReused        = errors.New("idempotency key used before for something else")

	// errLocked means that another transaction has locked the wallet: try again.
	errLocked = errors.New("wallet is locked")

	// errLookFirst means that a request was refused, but perhaps repeats an operation that was not looked for.
	errLookFirst = errors.New("known operations were not looked up")
)

// clockStep is how far a wallet's last operation may be ahead of the clock. If it is further ahead, the
// clock was set back by as much, and the wallet's time would not advance until the clock has caught up.
const clockStep = 5 * time.Second

// state is what a flush has read once its wallets are locked.
type state struct {
	clock      time.Time                              // of the database, read once the wallets are locked
	sequences  map[uuid.UUID]sequence                 // of the locked wallets; accept advances them
	owners     map[uuid.UUID]string                   // tenants of the wallets that exist, not locked ones too
	operations map[uuid.UUID]*walletdb.OperationState // accepted before, by id; accept adds the new ones
	subjects   map[uuid.UUID]subject                  // by id, of whatever wallet: what requests refer to
	wallets    map[uuid.UUID]walletdb.FindWalletsRow  // those between which requests move money
}

// subject is what a request may refer to: an operation that was accepted before.
type subject struct {
	walletID uuid.UUID
	kind     walletdb.OperationType
	target   bool // its money goes to another wallet
}

// sequence is a locked wallet's row of wallet_sequences. lastAt is zero until a program that knows it has
// accepted something.
type sequence struct {
	lastSeq int64
	lastAt  time.Time
}

// next is the sequence with one more operation, at the clock's time but not before the last one's. It
// reports whether that time goes back all the same, because the clock was set back.
func (s sequence) next(clock time.Time) (next sequence, goesBack bool) {
	ahead := s.lastAt.Sub(clock)
	if ahead > 0 && ahead <= clockStep {
		clock = s.lastAt
	}
	return sequence{s.lastSeq + 1, clock}, ahead > clockStep
}

// accept decides what becomes of each request of a flush, in order: it gives new operations the next
// sequence of their wallet and returns them, with an answer for every request, and with the number of
// wallets whose times go back. The answers are true once the new operations are committed. It does no I/O.
func accept(requests []*request, s state) (accepted []walletdb.OperationState, answers []answer, timesBack int) {
	accepted = make([]walletdb.OperationState, 0, len(requests))
	answers = make([]answer, len(requests))
	for i, r := range requests {
		owner, exists := s.owners[r.walletID]
		if !exists || !r.tenant.sees(owner) { // another request of the flush may see it
			answers[i] = answer{err: errWalletNotFound}
			continue
		}
		if known, ok := s.operations[r.id]; ok {
			answers[i] = again(r, *known)
			continue
		}
		last, locked := s.sequences[r.walletID]
		if !locked {
			answers[i] = answer{err: errLocked}
			continue
		}
		if err := s.refuse(r); err != nil {
			answers[i] = answer{err: err}
			continue
		}
		next, goesBack := last.next(s.clock)
		if s.sequences[r.walletID] = next; goesBack {
			timesBack++
		}
		accepted = append(accepted, r.operation(next.lastSeq, next.lastAt))
		operation := &accepted[len(accepted)-1]
		s.operations[r.id] = operation
		answers[i] = answer{operation: *operation}
	}
	return accepted, answers, timesBack
}

// refusals are what refuse says.
var refusals = []error{errHoldNotFound, errOperationNotFound, errNotReversible, errTargetNotFound, errCurrencyMismatch}

// refuse says why a request can never be an operation of its wallet, by facts that never change. What
// depends on amounts, times and states is decided at the operation's turn.
func (s state) refuse(r *request) error {
	if r.subjectID != nil {
		subject, found := s.subject(*r.subjectID)
		found = found && subject.walletID == r.walletID
		switch {
		case r.kind == walletdb.OperationTypeREVERSE && !found:
			return errOperationNotFound
		case r.kind == walletdb.OperationTypeREVERSE && !subject.reversible():
			return errNotReversible
		case r.kind != walletdb.OperationTypeREVERSE && (!found || subject.kind != walletdb.OperationTypeHOLD):
			return errHoldNotFound
		}
	}
	if r.targetID != nil {
		from, to := s.wallets[r.walletID], s.wallets[*r.targetID]
		switch {
		case to.ID != *r.targetID || to.Tenant != from.Tenant:
			return errTargetNotFound
		case to.Currency != from.Currency:
			return errCurrencyMismatch
		}
	}
	return nil
}

// subject is the operation with an id, accepted before or by this flush.
func (s state) subject(id uuid.UUID) (subject, bool) {
	if o := s.operations[id]; o != nil {
		return subject{o.WalletID, o.Type, o.CounterpartID != nil}, true
	}
	found, ok := s.subjects[id]
	return found, ok
}

// reversible reports whether reversing it concerns no other wallet: of a transfer, the receiver would keep
// what the sender gets back.
func (s subject) reversible() bool {
	switch s.kind {
	case walletdb.OperationTypeDEPOSIT, walletdb.OperationTypeWITHDRAW:
		return true
	case walletdb.OperationTypeCAPTURE:
		return !s.target
	default:
		return false
	}
}

// again answers a request whose operation is known: a retry with the same idempotency key, or an
// insert of our own whose commit went unanswered.
func again(r *request, known walletdb.OperationState) answer {
	if !r.asked(known) {
		return answer{err: errKeyReused}
	}
	return answer{operation: known, replayed: !r.sent}
}

// asked reports whether a request has the content of the one that made the operation.
func (r *request) asked(o walletdb.OperationState) bool {
	return o.WalletID == r.walletID && o.Type == r.kind && o.Amount == r.amount && value(o.Reference) == r.reference &&
		same(o.SubjectID, r.subjectID) && same(o.CounterpartID, r.targetID) && same(o.Final, r.final) &&
		sameTime(o.ExpiresAt, r.expiresAt) && sameMetadata(o.Metadata, r.metadata)
}

func same[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// operation is the row of a request, pending.
func (r *request) operation(seq int64, acceptedAt time.Time) walletdb.OperationState {
	operation := walletdb.OperationState{
		WalletID: r.walletID, Seq: seq, ID: r.id, Type: r.kind, Amount: r.amount,
		CreatedAt: acceptedAt, Status: statusPending, Metadata: r.metadata,
		SubjectID: r.subjectID, CounterpartID: r.targetID, ExpiresAt: r.expiresAt, Final: r.final,
	}
	if r.reference != "" {
		operation.Reference = &r.reference
	}
	return operation
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
