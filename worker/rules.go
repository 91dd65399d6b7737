package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// maxBalance is the largest balance that a wallet may be brought to: 2^53 - 1, which every JSON parser can
	// represent. A RETURN alone may pass it, for it must not fail.
	maxBalance = 1<<53 - 1

	maxOpenHolds = 1_000 // of a wallet
	maxNamed     = 100   // CAPTUREs of a hold, REVERSEs of an original; the failed ones too
)

// Why an operation failed. Clients see these words.
const (
	walletClosed      = "WALLET_CLOSED"
	walletFrozen      = "WALLET_FROZEN"
	walletNotEmpty    = "WALLET_NOT_EMPTY"
	holdExpired       = "HOLD_EXPIRED"
	holdClosed        = "HOLD_CLOSED"
	limitReached      = "LIMIT_REACHED"
	exceedsHold       = "EXCEEDS_HOLD"
	exceedsOriginal   = "EXCEEDS_ORIGINAL"
	insufficientFunds = "INSUFFICIENT_FUNDS"
	balanceLimit      = "BALANCE_LIMIT"
)

const (
	deposit  = walletdb.OperationTypeDEPOSIT
	withdraw = walletdb.OperationTypeWITHDRAW
	hold     = walletdb.OperationTypeHOLD
	capture  = walletdb.OperationTypeCAPTURE
	release  = walletdb.OperationTypeRELEASE
	expire   = walletdb.OperationTypeEXPIRE
	reverse  = walletdb.OperationTypeREVERSE
	transfer = walletdb.OperationTypeTRANSFER
	receive  = walletdb.OperationTypeRECEIVE
	giveBack = walletdb.OperationTypeRETURN
	freeze   = walletdb.OperationTypeFREEZE
	activate = walletdb.OperationTypeACTIVATE
	closing  = walletdb.OperationTypeCLOSE

	active = walletdb.WalletStateACTIVE
	frozen = walletdb.WalletStateFROZEN
	closed = walletdb.WalletStateCLOSED
)

// types are those that this release knows.
var types = []walletdb.OperationType{deposit, withdraw, hold, capture, release, expire, reverse, transfer, receive, giveBack, freeze, activate, closing}

// operation is an accepted operation that has no outcome yet.
type operation = walletdb.PendingOperationsRow

// account is what decides on a wallet's operations, and what they change.
type account struct {
	balance, held int64 // minor units; held is the part of the balance that open holds keep
	state         walletdb.WalletState
	openHolds     int
	subjects      map[uuid.UUID]*subject // that operations to come refer to, by id

	opens  []operation // the holds that were opened
	closes []int64     // the sequences of those that were closed
}

func (w *account) available() int64 { return w.balance - w.held }

// subject is what an operation refers to: a hold, or the original that a REVERSE undoes. It has been applied.
type subject struct {
	seq           int64
	kind          walletdb.OperationType
	counterpartID *uuid.UUID
	expiresAt     *time.Time
	expired       bool  // its EXPIRE has released it
	left          int64 // what can still be captured, released or reversed
	named         int   // how many CAPTUREs or REVERSEs have named it
}

// outcome is what became of an operation: processed if there is no reason why it failed.
type outcome struct {
	failureReason string
	balanceAfter  int64
	heldAfter     int64
	stateAfter    walletdb.WalletState
	appliedAmount int64 // unsaid: as asked
	subjectLeft   int64 // unsaid: it has no subject
}

const unsaid = -1

func (o outcome) status() string {
	if o.failureReason != "" {
		return "FAILED"
	}
	return "PROCESSED"
}

// apply is one operation's turn. It does no I/O and reads no clock, so that the same operations in the same
// order have the same outcomes for ever, and tests can try every order. Nothing but apply decides that an
// operation failed. A failed operation leaves the wallet as it was.
//
// It changes nothing and returns why if it cannot tell what to do: the wallet then has to wait.
func (w *account) apply(op operation) (o outcome, damaged string) {
	s, damaged := w.subjectOf(op)
	if damaged != "" {
		return o, damaged
	}
	// What is asked for without an amount is all that is left.
	amount := op.Amount
	if s != nil && amount == 0 {
		amount = s.left
	}
	o = outcome{failureReason: w.refuses(op, s, amount), appliedAmount: unsaid, subjectLeft: unsaid}
	if o.failureReason == "" {
		w.change(op, s, amount)
		if amount != op.Amount {
			o.appliedAmount = amount
		}
	}
	if s != nil {
		if op.Type == capture || op.Type == reverse {
			s.named++
		}
		o.subjectLeft = s.left
	}
	o.balanceAfter, o.heldAfter, o.stateAfter = w.balance, w.held, w.state
	return o, ""
}

// subjectOf returns what op refers to, nil if it refers to nothing in its wallet. The api accepts no operation
// whose subject is not there, or is of another kind.
func (w *account) subjectOf(op operation) (s *subject, damaged string) {
	var fits func(*subject) bool
	switch op.Type {
	case deposit, withdraw, hold, freeze, activate, closing:
		return nil, ""
	case transfer, receive, giveBack:
		if op.CounterpartID == nil || op.SubjectID == nil && op.Type != transfer {
			return nil, "it does not say where its money comes from or goes to"
		}
		return nil, ""
	case capture, release, expire:
		fits = func(s *subject) bool { return s.kind == hold }
	case reverse:
		fits = reversible
	default:
		return nil, fmt.Sprintf("this release does not know the type %s", op.Type)
	}
	if op.SubjectID != nil {
		s = w.subjects[*op.SubjectID]
	}
	switch {
	case s == nil:
		return nil, "what it refers to is missing"
	case !fits(s):
		return nil, fmt.Sprintf("a %s cannot refer to a %s", op.Type, s.kind)
	}
	return s, ""
}

// reversible is not what went to another wallet: that wallet would keep it.
func reversible(s *subject) bool {
	return s.kind == deposit || s.kind == withdraw || s.kind == capture && s.counterpartID == nil
}

// refuses returns why op fails, or nothing. If there are several reasons the first one here is told.
func (w *account) refuses(op operation, s *subject, amount int64) (reason string) {
	switch {
	case w.state == closed && op.Type != giveBack && op.Type != activate && op.Type != closing:
		return walletClosed
	case w.state == frozen && takesOut(op, s):
		return walletFrozen
	case isLate(op, s):
		return holdExpired
	case (op.Type == capture || op.Type == release || op.Type == expire) && s.left == 0:
		return holdClosed
	case op.Type == hold && w.openHolds >= maxOpenHolds,
		(op.Type == capture || op.Type == reverse) && s.named >= maxNamed:
		return limitReached
	case op.Type == capture && amount > s.left:
		return exceedsHold
	case op.Type == reverse && (amount > s.left || s.left == 0):
		return exceedsOriginal
	case takesOut(op, s) && op.Type != capture && amount > w.available(): // a hold has its money already
		return insufficientFunds
	case bringsIn(op, s) && op.Type != giveBack && amount > maxBalance-w.balance:
		return balanceLimit
	case op.Type == closing && w.state != closed && w.balance != 0: // nor is anything held then
		return walletNotEmpty
	}
	return ""
}

// isLate goes by the time of acceptance, which is stored, and by no clock. An EXPIRE settles it also if the
// clock was set back after it.
func isLate(op operation, s *subject) bool {
	switch op.Type {
	case hold:
		return op.ExpiresAt != nil && !op.CreatedAt.Before(*op.ExpiresAt)
	case capture:
		return s.expired || s.expiresAt != nil && !op.CreatedAt.Before(*s.expiresAt)
	}
	return false
}

// takesOut is about money that the wallet gives away, or that is held for it.
func takesOut(op operation, s *subject) bool {
	switch op.Type {
	case withdraw, hold, capture, transfer:
		return true
	case reverse:
		return s.kind == deposit
	}
	return false
}

func bringsIn(op operation, s *subject) bool {
	switch op.Type {
	case deposit, receive, giveBack:
		return true
	case reverse:
		return s.kind != deposit
	}
	return false
}

// change is what a processed operation does.
func (w *account) change(op operation, s *subject, amount int64) {
	switch op.Type {
	case deposit, receive, giveBack:
		w.balance += amount
	case withdraw, transfer:
		w.balance -= amount
	case hold:
		w.held += amount
		w.openHolds++
		w.opens = append(w.opens, op)
	case capture:
		w.balance -= amount
		w.use(s, amount)
		if op.Final == nil || *op.Final {
			w.use(s, s.left)
		}
	case release:
		w.use(s, s.left)
	case expire:
		w.use(s, s.left)
		s.expired = true
	case reverse:
		s.left -= amount
		if s.kind == deposit {
			w.balance -= amount
		} else {
			w.balance += amount
		}
	case freeze:
		w.state = frozen
	case activate:
		w.state = active
	case closing:
		w.state = closed
	}
}

// use takes an amount out of an open hold, which is closed once nothing remains.
func (w *account) use(s *subject, amount int64) {
	if amount == 0 {
		return
	}
	w.held -= amount
	s.left -= amount
	if s.left == 0 {
		w.openHolds--
		w.closes = append(w.closes, s.seq)
	}
}

// stored is the operation with this outcome, as queries return it once it is committed.
func (o *outcome) stored(op operation, at *time.Time) walletdb.OperationState {
	state := walletdb.OperationState{
		WalletID: op.WalletID, Seq: op.Seq, ID: op.ID, Type: op.Type, Amount: op.Amount, Reference: op.Reference, CreatedAt: op.CreatedAt,
		SubjectID: op.SubjectID, CounterpartID: op.CounterpartID, ExpiresAt: op.ExpiresAt, Final: op.Final, Metadata: op.Metadata,
		Status: o.status(), BalanceAfter: &o.balanceAfter, AppliedAt: at, HeldAfter: &o.heldAfter, StateAfter: &o.stateAfter,
	}
	if o.failureReason != "" {
		state.FailureReason = &o.failureReason
	}
	if o.appliedAmount != unsaid {
		state.AppliedAmount = &o.appliedAmount
	}
	if o.subjectLeft != unsaid {
		state.SubjectLeft = &o.subjectLeft
	}
	return state
}

// subject is what an operation is to those that will refer to it.
func (o outcome) subject(op operation) *subject {
	s := &subject{seq: op.Seq, kind: op.Type, counterpartID: op.CounterpartID, expiresAt: op.ExpiresAt}
	switch {
	case o.failureReason != "":
	case o.appliedAmount != unsaid:
		s.left = o.appliedAmount
	default:
		s.left = op.Amount
	}
	return s
}

// following is an operation that the worker accepts, because another one has led to it.
type following struct {
	walletID      uuid.UUID
	id            uuid.UUID
	kind          walletdb.OperationType
	amount        int64
	reference     *string
	subjectID     uuid.UUID
	counterpartID *uuid.UUID
}

// leadsTo returns what follows from an operation in the other wallet: what it gives there is received, and
// what is not received is given back. nil: nothing.
func (o outcome) leadsTo(op operation) *following {
	f := following{amount: op.Amount, reference: op.Reference, subjectID: op.ID, counterpartID: &op.WalletID}
	processed := o.failureReason == ""
	switch {
	case processed && (op.Type == transfer || op.Type == capture && op.CounterpartID != nil):
		f.kind, f.id = receive, event.ReceiveID(op.ID)
	case !processed && op.Type == receive:
		f.kind, f.id = giveBack, event.ReturnID(op.ID)
	default:
		return nil
	}
	f.walletID = *op.CounterpartID
	if o.appliedAmount != unsaid {
		f.amount = o.appliedAmount
	}
	return &f
}
