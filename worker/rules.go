package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// maxBalance is the largest balance of a wallet: 2^53 - 1, which every JSON parser can represent.
const maxBalance = 1<<53 - 1

// Why an operation failed. Clients see these words.
const (
	insufficientFunds = "INSUFFICIENT_FUNDS"
	balanceLimit      = "BALANCE_LIMIT"
)

// operation is an accepted operation that has no outcome yet.
type operation = walletdb.PendingOperationsRow

// outcome is what became of an operation: processed if there is no reason why it failed.
type outcome struct {
	failureReason string
	balanceAfter  int64
}

func (o outcome) status() string {
	if o.failureReason != "" {
		return "FAILED"
	}
	return "PROCESSED"
}

// apply runs one wallet's operations in sequence order. It returns the new balance and each
// operation's outcome. It does no I/O, so that tests can try every order. Nothing but apply decides
// that an operation failed.
func apply(balance int64, ops []operation) (int64, []outcome) {
	outcomes := make([]outcome, len(ops))
	for i, op := range ops {
		after, ok := applyOne(balance, op)
		switch {
		case ok:
			balance = after
		case op.Type == walletdb.OperationTypeWITHDRAW:
			outcomes[i].failureReason = insufficientFunds
		default:
			outcomes[i].failureReason = balanceLimit
		}
		outcomes[i].balanceAfter = balance
	}
	return balance, outcomes
}

// applyOne reports false if op would overdraw the wallet or pass its limit.
func applyOne(balance int64, op operation) (int64, bool) {
	if op.Type == walletdb.OperationTypeWITHDRAW {
		return balance - op.Amount, op.Amount <= balance
	}
	return balance + op.Amount, op.Amount <= maxBalance-balance
}

// plan is what a transaction is going to write.
type plan struct {
	outcomes walletdb.InsertOutcomesParams
	advances walletdb.AdvanceWalletsParams
	wallets  []walletdb.Wallet // every locked wallet, as the transaction leaves it
	applied  []operation       // one for each of the outcomes
	beganAt  time.Time
	readAt   time.Time   // when the operations had their AgeSeconds
	damaged  []uuid.UUID // wallets whose operations are not contiguous; they are applied up to the gap
	full     bool        // there may be more operations than one transaction applies
}

// newPlan takes the locked wallets and their pending operations, both ordered by wallet, and the
// latter by sequence too. An error means that this program does not understand what it read.
func newPlan(wallets []walletdb.Wallet, pending []operation) (plan, error) {
	p := plan{wallets: wallets}
	p.outcomes = walletdb.InsertOutcomesParams{
		WalletIds:      make([]uuid.UUID, 0, len(pending)),
		Seqs:           make([]int64, 0, len(pending)),
		Statuses:       make([]string, 0, len(pending)),
		FailureReasons: make([]string, 0, len(pending)),
		BalancesAfter:  make([]int64, 0, len(pending)),
	}
	for i := range wallets {
		w := &wallets[i]
		of := ofWallet(pending, w.ID)
		pending = pending[len(of):]
		ops := contiguous(w.AppliedSeq, of)
		if len(ops) < len(of) {
			p.damaged = append(p.damaged, w.ID)
		}
		if len(ops) == 0 {
			continue
		}
		for _, op := range ops {
			if op.Type != walletdb.OperationTypeDEPOSIT && op.Type != walletdb.OperationTypeWITHDRAW {
				return plan{}, fmt.Errorf("%w operation type %q: wallet %s, sequence %d", errUnexpected, op.Type, w.ID, op.Seq)
			}
		}
		balance, outcomes := apply(w.Balance, ops)
		w.Balance, w.AppliedSeq = balance, ops[len(ops)-1].Seq
		p.advance(*w, ops, outcomes)
	}
	if len(pending) > 0 {
		return plan{}, fmt.Errorf("%w operations of wallet %s, which is not locked", errUnexpected, pending[0].WalletID)
	}
	return p, nil
}

func (p *plan) advance(w walletdb.Wallet, ops []operation, outcomes []outcome) {
	p.applied = append(p.applied, ops...)
	p.advances.Ids = append(p.advances.Ids, w.ID)
	p.advances.Balances = append(p.advances.Balances, w.Balance)
	p.advances.AppliedSeqs = append(p.advances.AppliedSeqs, w.AppliedSeq)
	for i, o := range outcomes {
		p.outcomes.WalletIds = append(p.outcomes.WalletIds, w.ID)
		p.outcomes.Seqs = append(p.outcomes.Seqs, ops[i].Seq)
		p.outcomes.Statuses = append(p.outcomes.Statuses, o.status())
		p.outcomes.FailureReasons = append(p.outcomes.FailureReasons, o.failureReason)
		p.outcomes.BalancesAfter = append(p.outcomes.BalancesAfter, o.balanceAfter)
	}
}

// ofWallet returns the operations of a wallet that ops begins with.
func ofWallet(ops []operation, id uuid.UUID) []operation {
	n := 0
	for n < len(ops) && ops[n].WalletID == id {
		n++
	}
	return ops[:n]
}

// contiguous returns the operations that follow appliedSeq without a gap. Operations are accepted
// without gaps, so that a missing one is damage to the database, and what comes after it must wait.
func contiguous(appliedSeq int64, ops []operation) []operation {
	n := 0
	for n < len(ops) && ops[n].Seq == appliedSeq+1+int64(n) {
		n++
	}
	return ops[:n]
}
