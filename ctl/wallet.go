package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletid"
)

// lastOperations is how many of a wallet's operations are shown, firstHolds how many of its open holds.
const (
	lastOperations = 10
	firstHolds     = 10
)

// walletState is what ctl wallet tells.
type walletState struct {
	WalletID   uuid.UUID       `json:"walletId"`
	Cell       int             `json:"cell"` // that the id names
	Tenant     string          `json:"tenant"`
	Currency   string          `json:"currency"`
	State      string          `json:"state"`
	Reference  *string         `json:"reference,omitempty"`
	Metadata   json.RawMessage `json:"metadata,omitempty"`
	CreatedAt  time.Time       `json:"createdAt"`
	Balance    int64           `json:"balance"`
	Held       int64           `json:"held"`
	Available  int64           `json:"available"`
	Applied    int64           `json:"appliedSequence"`
	Last       int64           `json:"lastSequence"`
	Cache      string          `json:"cache"`
	OpenHolds  int64           `json:"openHolds"`
	Holds      []heldFor       `json:"firstHolds"`
	Operations []stated        `json:"lastOperations"`
}

// heldFor is an open hold.
type heldFor struct {
	HoldID    uuid.UUID  `json:"holdId"`
	Sequence  int64      `json:"sequence"`
	Remaining int64      `json:"remaining"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

type stated struct {
	Sequence      int64     `json:"sequence"`
	OperationID   uuid.UUID `json:"operationId"`
	Type          string    `json:"type"`
	Amount        int64     `json:"amount"` // what it came to, or as asked as long as that is open
	AcceptedAt    time.Time `json:"acceptedAt"`
	Status        string    `json:"status"`
	FailureReason *string   `json:"failureReason,omitempty"`
	BalanceAfter  *int64    `json:"balanceAfter,omitempty"`
	HeldAfter     int64     `json:"heldAfter,omitempty"`
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
		w.print(c.stdout)
		return nil
	}, nil
}

func (w walletState) print(out io.Writer) {
	fmt.Fprintf(out, "wallet    %s of tenant %s, %s, cell %d\nbalance   %s %s (minor units), %s held, %s available\napplied   %d of %d operations\ncreated   %s\ncache     %s\n",
		w.WalletID, w.Tenant, w.State, w.Cell, count(w.Balance), w.Currency, count(w.Held), count(w.Available), w.Applied, w.Last, stamp(w.CreatedAt), w.Cache)
	if w.Metadata != nil {
		fmt.Fprintf(out, "metadata  %s\n", w.Metadata)
	}
	if w.OpenHolds > 0 {
		fmt.Fprintf(out, "\n%s open holds", count(w.OpenHolds))
		if w.OpenHolds > firstHolds {
			fmt.Fprintf(out, ", the first %d", firstHolds)
		}
		fmt.Fprintln(out)
	}
	for _, h := range w.Holds {
		expires := "never"
		if h.ExpiresAt != nil {
			expires = stamp(*h.ExpiresAt)
		}
		fmt.Fprintf(out, "%8d  %s  %12s  expires %s\n", h.Sequence, h.HoldID, count(h.Remaining), expires)
	}
	fmt.Fprintln(out)
	for _, o := range w.Operations {
		became := ""
		if o.BalanceAfter != nil {
			became = "→ " + count(*o.BalanceAfter)
		}
		if o.HeldAfter != 0 {
			became += ", held " + count(o.HeldAfter)
		}
		if o.FailureReason != nil {
			became += " " + *o.FailureReason
		}
		amount := ""
		if o.Amount != 0 {
			amount = count(o.Amount)
		}
		fmt.Fprintf(out, "%8d  %s  %s  %-8s %12s  %-9s %s\n", o.Sequence, stamp(o.AcceptedAt), o.OperationID, o.Type, amount, o.Status, became)
	}
}

func readWallet(ctx context.Context, q *walletdb.Queries, id uuid.UUID) (walletState, error) {
	wallet, err := q.GetWallet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return walletState{}, fmt.Errorf("there is no wallet %s here; its id is one of cell %d", id, walletid.Cell(id))
	} else if err != nil {
		return walletState{}, fmt.Errorf("read wallet: %w", err)
	}
	last, err := q.LastSequence(ctx, walletdb.LastSequenceParams{WalletID: id, Tenant: db.AllTenants})
	if err != nil {
		return walletState{}, fmt.Errorf("read last sequence: %w", err)
	}
	w := walletState{
		WalletID: id, Cell: walletid.Cell(id), Tenant: wallet.Tenant, Currency: wallet.Currency, State: string(wallet.State), Reference: wallet.Reference, CreatedAt: wallet.CreatedAt.UTC(),
		Balance: wallet.Balance, Held: wallet.Held, Available: wallet.Balance - wallet.Held, Applied: wallet.AppliedSeq, Last: last,
		Holds: []heldFor{}, Operations: []stated{},
	}
	if w.Metadata, err = q.MetadataOf(ctx, id); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return w, fmt.Errorf("read metadata: %w", err)
	}
	if err := w.addHolds(ctx, q); err != nil {
		return w, fmt.Errorf("read open holds: %w", err)
	}
	return w, w.addOperations(ctx, q)
}

func (w *walletState) addHolds(ctx context.Context, q *walletdb.Queries) (err error) {
	if w.OpenHolds, err = q.CountHoldsOf(ctx, w.WalletID); err != nil {
		return err
	}
	holds, err := q.HoldsOf(ctx, walletdb.HoldsOfParams{WalletID: w.WalletID, AppliedSeq: w.Applied, MaxRows: firstHolds})
	for _, h := range holds {
		w.Holds = append(w.Holds, heldFor{h.HoldID, h.Seq, h.Remaining, h.ExpiresAt})
	}
	return err
}

func (w *walletState) addOperations(ctx context.Context, q *walletdb.Queries) error {
	operations, err := q.OperationsBetween(ctx, walletdb.OperationsBetweenParams{WalletID: w.WalletID, After: w.Last - lastOperations, Before: w.Last + 1})
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	outcomes, err := q.OutcomesBetween(ctx, walletdb.OutcomesBetweenParams{WalletID: w.WalletID, After: w.Last - lastOperations, Before: w.Last + 1})
	if err != nil {
		return fmt.Errorf("read outcomes: %w", err)
	}
	finished := map[int64]walletdb.Outcome{}
	for _, o := range outcomes {
		finished[o.Seq] = o
	}
	for _, o := range operations {
		s := stated{Sequence: o.Seq, OperationID: o.ID, Type: string(o.Type), Amount: o.Amount, AcceptedAt: o.CreatedAt.UTC(), Status: "PENDING"}
		if outcome, found := finished[o.Seq]; found {
			s.Status, s.FailureReason, s.BalanceAfter = string(outcome.Status), outcome.FailureReason, &outcome.BalanceAfter
			if outcome.HeldAfter != nil {
				s.HeldAfter = *outcome.HeldAfter
			}
			if outcome.AppliedAmount != nil {
				s.Amount = *outcome.AppliedAmount
			}
		}
		w.Operations = append(w.Operations, s)
	}
	return nil
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
	text := "balance " + count(entry.Balance)
	if entry.Held != 0 {
		text += ", " + count(entry.Held) + " held"
	}
	return fmt.Sprintf("%s at version %d", text, entry.AppliedSeq)
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
