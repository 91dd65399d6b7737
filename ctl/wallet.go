package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// lastOperations is how many of a wallet's operations are shown.
const lastOperations = 10

// walletState is what ctl wallet tells.
type walletState struct {
	WalletID   uuid.UUID `json:"walletId"`
	Currency   string    `json:"currency"`
	Reference  *string   `json:"reference,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	Balance    int64     `json:"balance"`
	Applied    int64     `json:"appliedSequence"`
	Last       int64     `json:"lastSequence"`
	Cache      string    `json:"cache"`
	Operations []stated  `json:"lastOperations"`
}

type stated struct {
	Sequence     int64     `json:"sequence"`
	OperationID  uuid.UUID `json:"operationId"`
	Type         string    `json:"type"`
	Amount       int64     `json:"amount"`
	AcceptedAt   time.Time `json:"acceptedAt"`
	Status       string    `json:"status"`
	BalanceAfter *int64    `json:"balanceAfter,omitempty"`
}

// showWallet prints a wallet and its last operations.
func showWallet(c *call) (task, error) {
	asJSON := c.flags.Bool("json", false, "print one JSON object")
	args, err := c.arguments("ID")
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(args[0])
	if err != nil {
		return nil, usageError("ID must be a wallet's id: " + err.Error())
	}
	return func(ctx context.Context) error {
		w, err := readWallet(ctx, c.q, id)
		if err != nil {
			return err
		}
		w.Cache = c.cached(ctx, id)
		if *asJSON {
			return json.NewEncoder(c.stdout).Encode(w)
		}
		fmt.Fprintf(c.stdout, "wallet    %s\nbalance   %s %s (minor units)\napplied   %d of %d operations\ncreated   %s\ncache     %s\n\n",
			id, count(w.Balance), w.Currency, w.Applied, w.Last, stamp(w.CreatedAt), w.Cache)
		for _, o := range w.Operations {
			after := ""
			if o.BalanceAfter != nil {
				after = "→ " + count(*o.BalanceAfter)
			}
			fmt.Fprintf(c.stdout, "%8d  %s  %s  %-8s %12s  %-9s %s\n", o.Sequence, stamp(o.AcceptedAt), o.OperationID, o.Type, count(o.Amount), o.Status, after)
		}
		return nil
	}, nil
}

func readWallet(ctx context.Context, q *walletdb.Queries, id uuid.UUID) (walletState, error) {
	wallet, err := q.GetWallet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return walletState{}, fmt.Errorf("there is no wallet %s", id)
	} else if err != nil {
		return walletState{}, fmt.Errorf("read wallet: %w", err)
	}
	last, err := q.LastSequence(ctx, id)
	if err != nil {
		return walletState{}, fmt.Errorf("read last sequence: %w", err)
	}
	operations, err := q.OperationsBetween(ctx, walletdb.OperationsBetweenParams{WalletID: id, After: last - lastOperations, Before: last + 1})
	if err != nil {
		return walletState{}, fmt.Errorf("read operations: %w", err)
	}
	outcomes, err := q.OutcomesBetween(ctx, walletdb.OutcomesBetweenParams{WalletID: id, After: last - lastOperations, Before: last + 1})
	if err != nil {
		return walletState{}, fmt.Errorf("read outcomes: %w", err)
	}
	w := walletState{
		WalletID: id, Currency: wallet.Currency, Reference: wallet.Reference, CreatedAt: wallet.CreatedAt.UTC(),
		Balance: wallet.Balance, Applied: wallet.AppliedSeq, Last: last, Operations: []stated{},
	}
	finished := map[int64]walletdb.Outcome{}
	for _, o := range outcomes {
		finished[o.Seq] = o
	}
	for _, o := range operations {
		s := stated{o.Seq, o.ID, string(o.Type), o.Amount, o.CreatedAt.UTC(), "PENDING", nil}
		if outcome, found := finished[o.Seq]; found {
			s.Status, s.BalanceAfter = string(outcome.Status), &outcome.BalanceAfter
		}
		w.Operations = append(w.Operations, s)
	}
	return w, nil
}

// cached says what readers of the cache see.
func (c *call) cached(ctx context.Context, id uuid.UUID) string {
	if c.cache == nil {
		return "not looked at: REDIS_URL is not set"
	}
	entry, found, err := walletcache.Get(ctx, c.cache, id)
	switch {
	case err != nil:
		return "does not answer: " + err.Error()
	case !found:
		return "has no entry"
	}
	return fmt.Sprintf("balance %s at version %d", count(entry.Balance), entry.AppliedSeq)
}

// cacheRenew begins a new generation of the cache. After the database went back to an earlier state
// the cache holds versions that it has not reached again, and would keep newer ones out.
func cacheRenew(c *call) (task, error) {
	a := newAction(c)
	if _, err := a.parse(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := a.confirm("Every cached balance becomes unreadable. Readers are answered from Postgres until the cache has filled again."); err != nil {
			return err
		}
		return a.do(ctx, func(*walletdb.Queries) error {
			if err := walletcache.Invalidate(ctx, c.cache); err != nil {
				return fmt.Errorf("write to the cache: %w", err)
			}
			fmt.Fprintln(c.stdout, "done")
			return nil
		})
	}, nil
}
