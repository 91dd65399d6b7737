package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// books is what Postgres has of some wallets, ordered by id, as far as the worker reads and writes it. It is slow,
// and keeps what the constraints of the tables keep.
type books []*book

type book struct {
	walletdb.Wallet
	operations []operation // accepted
	outcomes   []outcome   // applied
	holds      map[int64]operation
	told       int64 // the sequence of the last operation that an event has told of
}

func newBooks(ids ...uuid.UUID) books {
	b := make(books, len(ids))
	for i, id := range ids {
		b[i] = &book{Wallet: walletdb.Wallet{ID: id, State: active}, holds: map[int64]operation{}}
	}
	slices.SortFunc(b, func(a, b *book) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return b
}

func (b books) of(id uuid.UUID) *book {
	i := slices.IndexFunc(b, func(k *book) bool { return k.ID == id })
	if i < 0 {
		return nil
	}
	return b[i]
}

func (b books) has(id uuid.UUID) bool {
	return slices.ContainsFunc(b, func(k *book) bool { return k.find(id) != nil })
}

func (k *book) find(id uuid.UUID) *operation {
	if i := slices.IndexFunc(k.operations, func(o operation) bool { return o.ID == id }); i >= 0 {
		return &k.operations[i]
	}
	return nil
}

// accept gives an operation its sequence.
func (k *book) accept(o operation) operation {
	o.WalletID, o.Seq = k.ID, int64(len(k.operations))+1
	k.operations = append(k.operations, o)
	return o
}

// read is what lockAndRead returns of operations that are pending.
func (b books) read(wallets []walletdb.Wallet, pending []operation) reading {
	subjects, holding := wanted(pending)
	for walletID, ids := range subjects {
		for id := range ids {
			if row := b.of(walletID).subject(id); row != nil {
				subjects.fill([]walletdb.SubjectsRow{*row})
			}
		}
	}
	open := map[uuid.UUID]int{}
	for _, id := range holding {
		open[id] = len(b.of(id).holds)
	}
	return reading{wallets: wallets, pending: pending, subjects: subjects, openHolds: open}
}

// subject is what query Subjects returns.
func (k *book) subject(id uuid.UUID) *walletdb.SubjectsRow {
	s := k.find(id)
	if s == nil || s.Seq > int64(len(k.outcomes)) {
		return nil
	}
	o := k.outcomes[s.Seq-1]
	row := &walletdb.SubjectsRow{WalletID: k.ID, ID: id, Seq: s.Seq, Type: s.Type, CounterpartID: s.CounterpartID, ExpiresAt: s.ExpiresAt}
	switch {
	case o.failureReason != "":
	case o.appliedAmount != unsaid:
		row.LeftOver = o.appliedAmount
	default:
		row.LeftOver = s.Amount
	}
	for i, later := range k.outcomes {
		n := k.operations[i]
		if n.SubjectID == nil || *n.SubjectID != id {
			continue
		}
		if row.Named = min(row.Named+1, maxNamed); o.failureReason == "" {
			row.LeftOver = later.subjectLeft
		}
		if n.ID == event.ExpireID(id) && later.failureReason == "" {
			row.Expired = true
		}
	}
	return row
}

// commit writes a plan, and returns what it has accepted. An error is the first violation; it writes all the same.
func (b books) commit(p plan, at time.Time) (accepted []operation, violation error) {
	violated := func(format string, args ...any) {
		if violation == nil {
			violation = fmt.Errorf(format, args...)
		}
	}
	o := p.outcomes
	for i, id := range o.WalletIds {
		row := outcome{o.FailureReasons[i], o.BalancesAfter[i], 0, active, unsaid, unsaid}
		if len(o.HeldsAfter) > 0 {
			row.heldAfter, row.stateAfter, row.appliedAmount, row.subjectLeft = o.HeldsAfter[i], walletdb.WalletState(o.StatesAfter[i]), o.AppliedAmounts[i], o.SubjectsLeft[i]
		}
		k := b.of(id)
		k.outcomes = append(k.outcomes, row)
		switch n := int64(len(k.outcomes)); {
		case n != o.Seqs[i]:
			violated("outcome %d is given to sequence %d", n, o.Seqs[i])
		case row.heldAfter < 0 || row.heldAfter > row.balanceAfter:
			violated("of a balance of %d, %d is held", row.balanceAfter, row.heldAfter)
		}
	}
	for i, id := range p.advances.Ids {
		k := b.of(id)
		k.Balance, k.AppliedSeq, k.RulesSeq, k.Held, k.State = p.advances.Balances[i], p.advances.AppliedSeqs[i], p.advances.AppliedSeqs[i], 0, active
		if len(p.advances.Helds) > 0 {
			k.Held, k.State = p.advances.Helds[i], walletdb.WalletState(p.advances.States[i])
		}
		last := k.outcomes[len(k.outcomes)-1]
		if k.AppliedSeq != int64(len(k.outcomes)) || k.Balance != last.balanceAfter || k.Held != last.heldAfter || k.State != last.stateAfter {
			violated("the wallet has %+v, its outcome %d says %+v", k.Wallet, len(k.outcomes), last)
		}
	}
	told := 0
	for i := 0; p.events != nil && i < len(p.events.Keys); i++ {
		n, err := b.hear(p.events.Keys[i], p.events.Payload(i))
		if told += n; err != nil {
			violated("%w", err)
		}
	}
	if n := len(p.applied); p.events != nil && told != n {
		violated("events tell of %d operations, and %d were applied", told, n)
	}
	for i, id := range p.opened.WalletIds {
		if _, there := b.of(id).holds[p.opened.Seqs[i]]; there {
			violated("hold %d is opened twice", p.opened.Seqs[i])
		}
		b.of(id).holds[p.opened.Seqs[i]] = operation{ID: p.opened.HoldIds[i]}
	}
	for i, id := range p.closed.WalletIds {
		if _, there := b.of(id).holds[p.closed.Seqs[i]]; !there {
			violated("hold %d is closed and was not open", p.closed.Seqs[i])
		}
		delete(b.of(id).holds, p.closed.Seqs[i])
	}
	for _, f := range p.following {
		if b.has(f.id) {
			violated("%s %s is accepted twice", f.kind, f.id)
		}
		accepted = append(accepted, b.of(f.walletID).accept(operation{
			ID: f.id, Type: f.kind, Amount: f.amount, Reference: f.reference, SubjectID: &f.subjectID, CounterpartID: f.counterpartID, CreatedAt: at,
		}))
	}
	return accepted, violation
}

// hear is a consumer's part: events follow each other, and say what the books say. Only while there were none is there a
// gap. It returns of how many operations the event tells.
func (b books) hear(key string, payload []byte) (operations int, violation error) {
	var run event.Run
	if err := json.Unmarshal(payload, &run); err != nil {
		return 0, fmt.Errorf("event %s: %w", payload, err)
	}
	k := b.of(run.WalletID)
	operations = len(run.Operations)
	switch {
	case key != run.WalletID.String():
		return operations, fmt.Errorf("an event of wallet %s has the key %s", run.WalletID, key)
	case run.FromSequence <= k.told, run.Version != run.FromSequence+int64(operations)-1, run.Version > int64(len(k.outcomes)):
		return operations, fmt.Errorf("an event tells of sequences %d to %d after %d, with %d operations of %d that are applied", run.FromSequence, run.Version, k.told, operations, len(k.outcomes))
	}
	for i, told := range run.Operations {
		o := k.operations[run.FromSequence-1+int64(i)]
		want := event.FinishedOf(k.outcomes[o.Seq-1].stored(o, &told.AppliedAt))
		if diff := cmp.Diff(want.Operation, told); diff != "" {
			return operations, fmt.Errorf("operation %d of an event: %s", o.Seq, diff)
		}
	}
	last := k.outcomes[run.Version-1]
	if run.Balance != last.balanceAfter || run.Held != last.heldAfter || run.Available != last.balanceAfter-last.heldAfter || run.State != string(last.stateAfter) {
		return operations, fmt.Errorf("an event says %+v of a wallet with %+v", run, last)
	}
	k.told = run.Version
	return operations, nil
}
