package main

import (
	"strconv"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// chunk is consecutive operations of a wallet, as all its streams get them.
type chunk struct {
	first int64 // sequence
	ends  []int // of each operation in text
	text  []byte
}

// newChunk encodes operations, of which there is one at least.
func newChunk(wallet event.Wallet, states []walletdb.OperationState) *chunk {
	c := &chunk{first: states[0].Seq, ends: make([]int, 0, len(states))}
	for _, state := range states {
		run := wallet.Run(event.FinishedOf(state))
		c.text = appendEvent(c.text, "operation", &run)
		c.ends = append(c.ends, len(c.text))
	}
	return c
}

func (c *chunk) last() int64 { return c.first + int64(len(c.ends)) - 1 }

// after returns the events above a sequence, and how many they are.
func (c *chunk) after(seq int64) (text []byte, operations int) {
	known := max(0, min(seq-c.first+1, int64(len(c.ends))))
	if known == 0 {
		return c.text, len(c.ends)
	}
	return c.text[c.ends[known-1]:], len(c.ends) - int(known)
}

// balance is the state of a wallet, as all its streams get it.
type balance struct {
	version int64
	text    []byte
}

// stateOfWallet takes from state only what operations change.
func stateOfWallet(wallet event.Wallet, state walletdb.Wallet) balance {
	run := event.Run{
		WalletID: wallet.ID, Tenant: wallet.Tenant, Currency: wallet.Currency, Version: state.AppliedSeq,
		Balance: state.Balance, Held: state.Held, Available: state.Balance - state.Held, State: string(state.State),
	}
	return balance{version: state.AppliedSeq, text: appendEvent(nil, "balance", &run)}
}

// appendEvent appends a server-sent event. JSON has no line breaks.
func appendEvent(text []byte, name string, run *event.Run) []byte {
	text = append(append(text, "event: "...), name...)
	text = strconv.AppendInt(append(text, "\nid: "...), run.Version, 10)
	text = run.Append(append(text, "\ndata: "...))
	return append(text, "\n\n"...)
}
