package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// maxBalanceMinor is the largest balance of a wallet in minor units, 2^53 - 1.
const maxBalanceMinor = 1<<53 - 1

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

	last     int64     // the last sequence seen
	finished int64     // the last sequence with an outcome, without a gap before it
	balance  int64     // after finished
	accepted time.Time // when the last operation was, that is there
	applied  time.Time // the same, of the last outcome
}

// next takes the wallet's next row in sequence order.
func (a *audit) next(row walletdb.AuditOperationsRow) {
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
	}
	if row.Status == "" {
		a.pending(row)
		return
	}
	if row.Seq > a.wallet.AppliedSeq {
		a.find("outcome-early", row.Seq, "it has an outcome, but the wallet's applied_seq is %d", a.wallet.AppliedSeq)
	}
	if row.Type != "" {
		status, balance := rule(a.balance, row.Type, row.Amount)
		if status != row.Status || balance != row.BalanceAfter {
			a.find("outcome-wrong", row.Seq, "%s of %d on a balance of %d gives %s and %d, but the outcome is %s and %d",
				row.Type, row.Amount, a.balance, status, balance, row.Status, row.BalanceAfter)
		}
	}
	a.finished, a.balance = row.Seq, row.BalanceAfter
}

// times counts an operation that was accepted or applied at an earlier time than the one before.
func (a *audit) times(row walletdb.AuditOperationsRow) {
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

func (a *audit) pending(row walletdb.AuditOperationsRow) {
	if row.Seq <= a.wallet.AppliedSeq {
		a.find("outcome-missing", row.Seq, "the wallet's applied_seq is %d", a.wallet.AppliedSeq)
	} else if row.Seq == a.wallet.AppliedSeq+1 && row.AgeSeconds > a.overdue.Seconds() {
		a.find("behind", row.Seq, "pending for %.0f s", row.AgeSeconds)
	}
}

// end compares the replayed history with the wallet's counters. Before the first wallet there is none.
func (a *audit) end() {
	if a == nil {
		return
	}
	if !a.known {
		if a.last > 0 {
			a.find("wallet-missing", a.last, "there are operations of a wallet that does not exist")
		}
		return
	}
	if a.wallet.Balance != a.balance {
		a.find("balance-wrong", a.finished, "the wallet has %d, its operations give %d", a.wallet.Balance, a.balance)
	}
	if a.wallet.AppliedSeq != a.finished {
		a.find("applied-seq-wrong", a.finished, "the wallet's applied_seq is %d, its last outcome %d", a.wallet.AppliedSeq, a.finished)
	}
	if a.wallet.LastSeq != a.last {
		a.find("last-seq-wrong", a.last, "last_seq is %d, the last operation %d", a.wallet.LastSeq, a.last)
	}
}

func (a *audit) find(problem string, seq int64, format string, args ...any) {
	id := a.wallet.ID
	a.report(finding{problem, &id, seq, fmt.Sprintf(format, args...)})
}

// rule says what an operation must lead to.
func rule(balance int64, operationType string, amount int64) (status string, after int64) {
	switch {
	case operationType == "DEPOSIT" && amount <= maxBalanceMinor-balance:
		return "PROCESSED", balance + amount
	case operationType == "WITHDRAW" && amount <= balance:
		return "PROCESSED", balance - amount
	}
	return "FAILED", balance
}
