package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// maxFollowing bounds what one transaction accepts in other wallets, and with it the time for which it keeps
// their sequences, and those who accept operations there, waiting.
const maxFollowing = 500

// reading is what a transaction has read.
type reading struct {
	wallets   []walletdb.Wallet // locked, and ordered by id
	pending   []operation       // their operations, ordered by wallet and sequence
	subjects  subjects          // what these refer to
	openHolds map[uuid.UUID]int // of the wallets in which something is to be held
	at        time.Time         // by the clock of Postgres, once the wallets were locked
	refused   map[uuid.UUID]string
	// refused are operations that cannot be applied, and why, as an earlier attempt has found out.

	source string               // of the events; empty: there are to be none
	traces map[uuid.UUID]string // of the operations that are traced: their traceparent
}

// subjects are what a wallet's operations refer to, by wallet and id. Those that are nil have not been applied.
type subjects map[uuid.UUID]map[uuid.UUID]*subject

// wanted returns what the operations refer to in their own wallet, and the wallets that are to hold something.
func wanted(pending []operation) (wanted subjects, holding []uuid.UUID) {
	for _, op := range pending {
		switch op.Type {
		case hold:
			if n := len(holding); n == 0 || holding[n-1] != op.WalletID {
				holding = append(holding, op.WalletID)
			}
		case capture, release, expire, reverse:
			if op.SubjectID == nil {
				continue
			}
			if wanted == nil {
				wanted = subjects{}
			}
			if wanted[op.WalletID] == nil {
				wanted[op.WalletID] = map[uuid.UUID]*subject{}
			}
			wanted[op.WalletID][*op.SubjectID] = nil
		}
	}
	return wanted, holding
}

// params are how Subjects asks for them.
func (s subjects) params() walletdb.SubjectsParams {
	params := walletdb.SubjectsParams{MaxNamed: maxNamed}
	for walletID, ids := range s {
		for id := range ids {
			params.WalletIds = append(params.WalletIds, walletID)
			params.Ids = append(params.Ids, id)
			params.ExpireIds = append(params.ExpireIds, event.ExpireID(id))
		}
	}
	return params
}

func (s subjects) fill(rows []walletdb.SubjectsRow) {
	for _, row := range rows {
		s[row.WalletID][row.ID] = &subject{
			seq: row.Seq, kind: row.Type, counterpartID: row.CounterpartID, expiresAt: row.ExpiresAt,
			expired: row.Expired, left: row.LeftOver, named: int(row.Named),
		}
	}
}

// damage is why a wallet is not applied any further. Its batch goes on without it.
type damage struct {
	walletID uuid.UUID
	what     string
	newer    bool // a newer release has accepted the operation
}

const missing = "operations are missing after the last one applied"

// plan is what a transaction is going to write.
type plan struct {
	outcomes  walletdb.InsertOutcomesParams
	advances  walletdb.AdvanceWalletsParams
	events    *event.Rows // nil: there are to be none
	opened    walletdb.InsertOpenHoldsParams
	closed    walletdb.DeleteOpenHoldsParams
	following []following
	wallets   []walletdb.Wallet // every locked wallet, as the transaction leaves it
	applied   []operation       // one for each of the outcomes
	timesBack int64             // wallets in which the time of what follows goes back
	beganAt   time.Time
	readAt    time.Time // when Postgres had the time of outcomes.AppliedAt
	damaged   []damage  // they are applied up to the damage
	full      bool      // there may be more operations than one transaction applies
}

// newPlan applies what was read. An error means that this program does not understand it.
func newPlan(r reading) (plan, error) {
	p := plan{wallets: r.wallets}
	p.outcomes = walletdb.InsertOutcomesParams{
		AppliedAt:      r.at,
		WalletIds:      make([]uuid.UUID, 0, len(r.pending)),
		Seqs:           make([]int64, 0, len(r.pending)),
		Statuses:       make([]string, 0, len(r.pending)),
		FailureReasons: make([]string, 0, len(r.pending)),
		BalancesAfter:  make([]int64, 0, len(r.pending)),
	}
	if r.source != "" {
		p.events = event.NewRows(r.source, len(r.pending))
	}
	pending := r.pending
	for i := range r.wallets {
		of := ofWallet(pending, r.wallets[i].ID)
		pending = pending[len(of):]
		p.apply(&r.wallets[i], of, r)
	}
	if len(pending) > 0 {
		return plan{}, fmt.Errorf("%w operations of wallet %s, which is not locked", errUnexpected, pending[0].WalletID)
	}
	return p, nil
}

// apply applies the operations of a wallet, up to the first that has to wait.
func (p *plan) apply(row *walletdb.Wallet, ops []operation, r reading) {
	w := account{
		balance: row.Balance, held: row.Held, state: row.State,
		openHolds: r.openHolds[row.ID], subjects: r.subjects[row.ID],
	}
	before := row.AppliedSeq
	if p.events != nil && len(ops) > 0 {
		p.events.Begin(event.Wallet{ID: row.ID, Tenant: row.Tenant, Currency: row.Currency})
		defer p.events.End()
	}
	var o outcome // of the operation whose turn it is
	for _, op := range ops {
		if op.Seq != row.AppliedSeq+1 {
			// Operations are accepted without gaps, so that a missing one is damage to the database.
			p.damaged = append(p.damaged, damage{walletID: row.ID, what: missing})
			break
		}
		if len(p.following) == maxFollowing && mayLead(op) {
			p.full = true
			break
		}
		damaged := r.refused[op.ID]
		if damaged == "" {
			o, damaged = w.apply(op)
		}
		if damaged != "" {
			what := fmt.Sprintf("operation %s at sequence %d: %s", op.ID, op.Seq, damaged)
			p.damaged = append(p.damaged, damage{row.ID, what, !slices.Contains(types, op.Type)})
			break
		}
		row.AppliedSeq = op.Seq
		p.add(op, o)
		if p.events != nil {
			finished := event.FinishedOf(o.stored(op, &r.at))
			if len(r.traces) > 0 {
				finished.Traceparent = r.traces[op.ID]
			}
			p.events.Add(&finished)
		}
		if _, wanted := w.subjects[op.ID]; wanted {
			w.subjects[op.ID] = o.subject(op)
		}
	}
	if row.AppliedSeq == before {
		return
	}
	row.Balance, row.Held, row.State, row.RulesSeq = w.balance, w.held, w.state, row.AppliedSeq
	p.advance(*row)
	p.holds(row.ID, w)
}

// add writes down what became of an operation. As long as there is nothing but plain deposits and withdrawals
// of wallets without holds, the four last columns stay empty, and cost nothing.
func (p *plan) add(op operation, o outcome) {
	p.applied = append(p.applied, op)
	to := &p.outcomes
	if len(to.HeldsAfter) == 0 && !o.plain() {
		n := len(to.Seqs)
		to.HeldsAfter = slices.Repeat([]int64{0}, n)
		to.StatesAfter = slices.Repeat([]string{string(active)}, n)
		to.AppliedAmounts = slices.Repeat([]int64{unsaid}, n)
		to.SubjectsLeft = slices.Repeat([]int64{unsaid}, n)
	}
	if len(to.HeldsAfter) > 0 || !o.plain() {
		to.HeldsAfter = append(to.HeldsAfter, o.heldAfter)
		to.StatesAfter = append(to.StatesAfter, string(o.stateAfter))
		to.AppliedAmounts = append(to.AppliedAmounts, o.appliedAmount)
		to.SubjectsLeft = append(to.SubjectsLeft, o.subjectLeft)
	}
	to.WalletIds = append(to.WalletIds, op.WalletID)
	to.Seqs = append(to.Seqs, op.Seq)
	to.Statuses = append(to.Statuses, o.status())
	to.FailureReasons = append(to.FailureReasons, o.failureReason)
	to.BalancesAfter = append(to.BalancesAfter, o.balanceAfter)
	if f := o.leadsTo(op); f != nil {
		p.following = append(p.following, *f)
	}
}

func (o outcome) plain() bool {
	return o.heldAfter == 0 && o.stateAfter == active && o.appliedAmount == unsaid && o.subjectLeft == unsaid
}

// mayLead reports whether something may follow from an operation.
func mayLead(op operation) bool {
	return op.Type == transfer || op.Type == receive || op.Type == capture && op.CounterpartID != nil
}

func (p *plan) advance(w walletdb.Wallet) {
	to := &p.advances
	if len(to.Helds) == 0 && (w.Held != 0 || w.State != active) {
		to.Helds = slices.Repeat([]int64{0}, len(to.Ids))
		to.States = slices.Repeat([]string{string(active)}, len(to.Ids))
	}
	if len(to.Helds) > 0 || w.Held != 0 || w.State != active {
		to.Helds = append(to.Helds, w.Held)
		to.States = append(to.States, string(w.State))
	}
	to.Ids = append(to.Ids, w.ID)
	to.Balances = append(to.Balances, w.Balance)
	to.AppliedSeqs = append(to.AppliedSeqs, w.AppliedSeq)
}

// holds writes down which holds of a wallet are open now and were not before, and which no longer are.
func (p *plan) holds(walletID uuid.UUID, w account) {
	if len(w.opens)+len(w.closes) == 0 {
		return
	}
	closes := map[int64]bool{}
	for _, seq := range w.closes {
		closes[seq] = true
	}
	for _, op := range w.opens {
		if closes[op.Seq] {
			delete(closes, op.Seq)
			continue
		}
		p.opened.WalletIds = append(p.opened.WalletIds, walletID)
		p.opened.Seqs = append(p.opened.Seqs, op.Seq)
		p.opened.HoldIds = append(p.opened.HoldIds, op.ID)
		expiresAt := time.Time{}
		if op.ExpiresAt != nil {
			expiresAt = *op.ExpiresAt
		}
		p.opened.ExpiresAts = append(p.opened.ExpiresAts, expiresAt)
	}
	for _, seq := range w.closes {
		if closes[seq] {
			p.closed.WalletIds = append(p.closed.WalletIds, walletID)
			p.closed.Seqs = append(p.closed.Seqs, seq)
		}
	}
}

// leadsTo is what one kind of operation has led to.
func (p *plan) leadsTo(kind walletdb.OperationType) bool {
	return slices.ContainsFunc(p.following, func(f following) bool { return f.kind == kind })
}

// ofWallet returns the operations of a wallet that ops begins with.
func ofWallet(ops []operation, id uuid.UUID) []operation {
	n := 0
	for n < len(ops) && ops[n].WalletID == id {
		n++
	}
	return ops[:n]
}

// acceptance is how AcceptFollowing asks for them.
func acceptance(topic string, all []following) walletdb.AcceptFollowingParams {
	params := walletdb.AcceptFollowingParams{Topic: topic, Headers: event.Headers(string(receive))} // the same for all that a worker accepts
	for _, f := range all {
		params.WalletIds = append(params.WalletIds, f.walletID)
		params.Ids = append(params.Ids, f.id)
		params.Types = append(params.Types, string(f.kind))
		params.Amounts = append(params.Amounts, f.amount)
		params.SubjectIds = append(params.SubjectIds, f.subjectID)
		reference, counterpartID := "", uuid.Nil
		if f.reference != nil {
			reference = *f.reference
		}
		if f.counterpartID != nil {
			counterpartID = *f.counterpartID
		}
		params.Refs = append(params.Refs, reference)
		params.CounterpartIds = append(params.CounterpartIds, counterpartID)
	}
	return params
}

// into returns the wallets in which something is accepted.
func into(all []following) []uuid.UUID {
	var ids []uuid.UUID
	for _, f := range all {
		ids = append(ids, f.walletID)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}
