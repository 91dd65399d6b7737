package check

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// historyPatience is what finding an order of a wallet's operations may take. It takes milliseconds
// when there is one.
const historyPatience = 20 * time.Second

// sequences is what a wallet does as its clients see it: each operation gets the next sequence at one
// moment between its first request and its answer.
var sequences = porcupine.Model{
	Partition: func(history []porcupine.Operation) (wallets [][]porcupine.Operation) {
		byWallet := map[uuid.UUID][]porcupine.Operation{}
		for _, op := range history {
			wallet := op.Input.(uuid.UUID)
			byWallet[wallet] = append(byWallet[wallet], op)
		}
		for _, operations := range byWallet {
			wallets = append(wallets, operations)
		}
		return wallets
	},
	Init: func() any { return int64(0) },
	Step: func(state, _, output any) (bool, any) {
		next := state.(int64) + 1
		return output.(int64) == next, next
	},
}

// History looks for an order in which the wallets could have given the sequences that the
// clients were told. An operation that was never answered may have got its sequence, which only
// Postgres knows, at any time after it was sent; if it is not stored, it has none. What the system has accepted
// itself takes sequences that clients are not told: these are left out, and the others counted without them.
func History(told []load.Operation, stored []walletdb.StoredOperationsRow) Invariant {
	p := Invariant{says: fmt.Sprintf("the histories of the clients, %d operations, have an order that explains them", len(told))}
	sequence := make(map[uuid.UUID]int64, len(stored))
	itself := map[uuid.UUID][]int64{} // in order, by wallet
	for _, row := range stored {
		sequence[row.ID] = row.Seq
		if row.Type == "RECEIVE" || row.Type == "RETURN" || row.Type == "EXPIRE" {
			itself[row.WalletID] = append(itself[row.WalletID], row.Seq)
		}
	}
	among := func(wallet uuid.UUID, seq int64) int64 {
		before, _ := slices.BinarySearch(itself[wallet], seq)
		return seq - int64(before)
	}
	var history []porcupine.Operation
	for _, op := range told {
		o := porcupine.Operation{Input: op.Wallet, Call: op.SentAt.UnixNano(), Output: op.Sequence, Return: op.Answered.UnixNano()}
		if op.Answered.IsZero() {
			seq, found := sequence[op.ID]
			if !found {
				continue
			}
			o.Output, o.Return = seq, math.MaxInt64
		}
		o.Output = among(op.Wallet, o.Output.(int64))
		history = append(history, o)
	}
	switch result := porcupine.CheckOperationsTimeout(sequences, history, historyPatience); result {
	case porcupine.Ok:
	case porcupine.Illegal:
		p.Broken = append(p.Broken, "no order of the clients' operations explains the sequences that they were told")
	default:
		p.Broken = append(p.Broken, fmt.Sprintf("no order of the clients' operations was found within %s", historyPatience))
	}
	return p
}
