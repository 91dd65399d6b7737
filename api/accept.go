package main

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

var (
	errWalletNotFound = errors.New("wallet not found")
	errKeyReused      = errors.New("idempotency key used before for something else")

	// errLocked means that another transaction has locked the wallet: try again.
	errLocked = errors.New("wallet is locked")
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
		switch {
		case locked:
			next, goesBack := last.next(s.clock)
			if s.sequences[r.walletID] = next; goesBack {
				timesBack++
			}
			accepted = append(accepted, r.operation(next.lastSeq, next.lastAt))
			operation := &accepted[len(accepted)-1]
			s.operations[r.id] = operation
			answers[i] = answer{operation: *operation}
		default:
			answers[i] = answer{err: errLocked}
		}
	}
	return accepted, answers, timesBack
}

// again answers a request whose operation is known: a retry with the same idempotency key, or an
// insert of our own whose commit went unanswered.
func again(r *request, known walletdb.OperationState) answer {
	if known.WalletID != r.walletID || known.Type != r.kind || known.Amount != r.amount || value(known.Reference) != r.reference {
		return answer{err: errKeyReused}
	}
	return answer{operation: known, replayed: !r.sent}
}

// operation is the row of a request, pending.
func (r *request) operation(seq int64, acceptedAt time.Time) walletdb.OperationState {
	operation := walletdb.OperationState{
		WalletID: r.walletID, Seq: seq, ID: r.id, Type: r.kind, Amount: r.amount,
		CreatedAt: acceptedAt, Status: statusPending,
	}
	if r.reference != "" {
		operation.Reference = &r.reference
	}
	return operation
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
