package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// finding is one thing that is not as promised.
type finding struct {
	Problem  string     `json:"problem"`
	WalletID *uuid.UUID `json:"walletId,omitempty"`
	Sequence int64      `json:"sequence,omitempty"`
	Detail   string     `json:"detail"`
}

func (f finding) String() string {
	where := "-"
	if f.WalletID != nil {
		where = f.WalletID.String()
	}
	return fmt.Sprintf("%-20s %s seq %d: %s", f.Problem, where, f.Sequence, f.Detail)
}

// audit replays one wallet's history by the rules of the wallet, which are written again here, so
// that a mistake in the worker's cannot hide itself.
type audit struct {
	wallet  walletdb.AuditWalletsRow
	known   bool // false if there are operations but no wallet
	overdue time.Duration
	report  func(finding)
	total   *summary
	flows   flows

	last     int64                  // the last sequence seen
	finished int64                  // the last sequence with an outcome, without a gap before it
	money    money                  // after finished
	open     map[uuid.UUID]openHold // what open_holds has to say: at most 1,000, as there can be of a wallet
	young    int64                  // the last outcome of a type that the first release does not know
	accepted time.Time              // when the last operation was, that is there
	applied  time.Time              // the same, of the last outcome
}

// openHold is a hold of which something remains.
type openHold struct {
	seq       int64
	expiresAt *time.Time
	left      int64
	named     int64 // by CAPTUREs
}

func newAudit(id uuid.UUID, v *verifier) *audit {
	return &audit{
		wallet: walletdb.AuditWalletsRow{ID: id}, overdue: v.overdue, report: v.report, total: v.total, flows: v.flows,
		money: money{state: "ACTIVE"}, open: map[uuid.UUID]openHold{},
	}
}

// next takes the wallet's next row in sequence order.
func (a *audit) next(row operationRow) {
	switch {
	case row.Seq == a.last:
		a.find("sequence-doubled", row.Seq, "it is there twice")
		return
	case row.Seq != a.last+1:
		a.find("sequence-gap", row.Seq, "the sequence before it is %d", a.last)
	}
	a.last = row.Seq
	a.times(row)
	if row.Type == "" {
		a.find("operation-missing", row.Seq, "it has an outcome, %s, but no operation", row.Status)
	} else {
		a.links(row)
	}
	a.flows.add(a.wallet, row)
	if row.Status == "" {
		a.pending(row)
		return
	}
	if row.Seq > a.wallet.AppliedSeq {
		a.find("outcome-early", row.Seq, "it has an outcome, but the wallet's applied_seq is %d", a.wallet.AppliedSeq)
	}
	got := row.result()
	if row.Type != "" {
		a.judge(row, got)
	}
	a.finished, a.money = row.Seq, got.after
}

// judge holds an outcome against the rules.
func (a *audit) judge(row operationRow, got result) {
	if row.Type != "DEPOSIT" && row.Type != "WITHDRAW" {
		a.young = row.Seq
	}
	s, problem := a.subjectOf(row)
	if problem != "" {
		a.find("subject-wrong", row.Seq, "%s of %v: %s", row.Type, optional(row.SubjectID), problem)
		return
	}
	if want := rule(a.money, int64(len(a.open)), row, s); got != want {
		a.find("outcome-wrong", row.Seq, "%s of %d on %s%s gives %s, but the outcome is %s", row.Type, row.Amount, a.money, s, want, got)
	}
	a.keepHolds(row, got)
}

// keepHolds goes by the outcomes as they are stored, so that each mistake is found once.
func (a *audit) keepHolds(row operationRow, got result) {
	switch row.Type {
	case "HOLD":
		if got.reason == "" {
			a.open[row.ID] = openHold{seq: row.Seq, expiresAt: row.ExpiresAt, left: row.Amount}
		}
	case "CAPTURE", "RELEASE", "EXPIRE":
		h, isOpen := a.open[*row.SubjectID]
		if !isOpen {
			return
		}
		if row.Type == "CAPTURE" {
			h.named++
		}
		if h.left = got.left; h.left <= 0 {
			delete(a.open, *row.SubjectID)
			return
		}
		a.open[*row.SubjectID] = h
	}
}

// times counts an operation that was accepted or applied at an earlier time than the one before.
func (a *audit) times(row operationRow) {
	back := false
	if row.Type != "" {
		back = row.CreatedAt.Before(a.accepted)
		a.accepted = row.CreatedAt
	}
	if row.Status != "" {
		back = back || row.AppliedAt.Before(a.applied)
		a.applied = row.AppliedAt
	}
	if back {
		a.total.TimesBack++
	}
}

func (a *audit) pending(row operationRow) {
	if row.Seq <= a.wallet.AppliedSeq {
		a.find("outcome-missing", row.Seq, "the wallet's applied_seq is %d", a.wallet.AppliedSeq)
	} else if row.Seq == a.wallet.AppliedSeq+1 && row.AgeSeconds > a.overdue.Seconds() {
		a.find("behind", row.Seq, "pending for %.0f s", row.AgeSeconds)
	}
}

// hold takes the wallet's next row of open_holds, after all of its operations.
func (a *audit) hold(row walletdb.AuditOpenHoldsRow) {
	a.total.OpenHolds++
	h, isOpen := a.open[row.HoldID]
	switch {
	case !isOpen || h.seq != row.Seq:
		a.find("open-hold-wrong", row.Seq, "open_holds has hold %s, of which the operations leave nothing", row.HoldID)
	case !equal(h.expiresAt, row.ExpiresAt):
		a.find("open-hold-wrong", row.Seq, "open_holds says that hold %s expires at %v, the operation at %v", row.HoldID, optional(row.ExpiresAt), optional(h.expiresAt))
	case row.LateSeconds > a.overdue.Seconds():
		a.find("expiry-late", row.Seq, "hold %s should have expired, and is late for %.0f s", row.HoldID, row.LateSeconds)
	}
	h.seq = 0 // seen
	if isOpen {
		a.open[row.HoldID] = h
	}
}

// end compares the replayed history with the wallet's counters. Before the first wallet there is none.
func (a *audit) end() {
	if a == nil {
		return
	}
	var held int64
	for id, h := range a.open {
		held += h.left
		if h.seq != 0 {
			a.find("open-hold-missing", h.seq, "%d of hold %s remains, and open_holds has no row for it", h.left, id)
		}
	}
	if !a.known {
		if a.last > 0 {
			a.find("wallet-missing", a.last, "there are operations of a wallet that does not exist")
		}
		return
	}
	w := a.wallet
	if w.Balance != a.money.balance {
		a.find("balance-wrong", a.finished, "the wallet has %d, its operations give %d", w.Balance, a.money.balance)
	}
	if w.Held != a.money.held || w.Held != held {
		a.find("held-wrong", a.finished, "the wallet holds %d, its operations give %d, and what remains of its open holds is %d", w.Held, a.money.held, held)
	}
	if w.State != a.money.state {
		a.find("state-wrong", a.finished, "the wallet is %s, its operations make it %s", w.State, a.money.state)
	}
	if w.AppliedSeq != a.finished {
		a.find("applied-seq-wrong", a.finished, "the wallet's applied_seq is %d, its last outcome %d", w.AppliedSeq, a.finished)
	}
	if w.LastSeq != a.last {
		a.find("last-seq-wrong", a.last, "last_seq is %d, the last operation %d", w.LastSeq, a.last)
	}
	if w.Tenant != w.SequenceTenant && w.LastSeq >= 0 {
		a.find("tenant-wrong", a.last, "the wallet is of tenant %q, but operations are accepted in it as of tenant %q", w.Tenant, w.SequenceTenant)
	}
	// A worker of the first release leaves rules_seq as it is, and must not apply what it does not know.
	if w.RulesSeq > w.AppliedSeq || w.RulesSeq < a.young || w.RulesSeq < w.AppliedSeq && (w.Held != 0 || w.State != "ACTIVE") {
		a.find("rules-seq-wrong", a.finished, "rules_seq is %d, applied_seq %d, and operation %d is the last that the first release does not know: has its worker applied here?", w.RulesSeq, w.AppliedSeq, a.young)
	}
}

func (a *audit) find(problem string, seq int64, format string, args ...any) {
	id := a.wallet.ID
	a.report(finding{problem, &id, seq, fmt.Sprintf(format, args...)})
}

// equal compares what may be missing.
func equal(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }

// optional is printed as its value, or as none.
func optional[T any](v *T) any {
	if v == nil {
		return "none"
	}
	return *v
}
