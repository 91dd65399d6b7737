package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// history replays every operation in a range of wallet ids. A wallet without one is audited too, and
// so are operations without a wallet.
func (v *verifier) history(ctx context.Context, queries *walletdb.Queries, wallets []walletdb.AuditWalletsRow, from, end uuid.UUID) error {
	var current *audit
	for e, err := range merge(walletEntries(wallets), v.operations(ctx, queries, from, end), v.openHolds(ctx, queries, from, end)) {
		if err != nil {
			return err
		}
		if current == nil || current.wallet.ID != e.walletID {
			current.end()
			current = newAudit(e.walletID, v)
		}
		switch {
		case e.wallet != nil:
			current.wallet, current.known = *e.wallet, true
			v.flows.addBalance(*e.wallet)
			v.sequences.LastSeq += max(e.wallet.LastSeq, 0)
			v.sequences.AppliedSeq += e.wallet.AppliedSeq
		case e.hold != nil:
			current.hold(*e.hold)
		default:
			v.total.Operations++
			current.next(e.operation)
		}
	}
	current.end()
	return nil
}

// entry is a wallet, or one of its operations or of its open holds.
type entry struct {
	walletID  uuid.UUID
	wallet    *walletdb.AuditWalletsRow
	operation operationRow
	hold      *walletdb.AuditOpenHoldsRow
}

func walletEntries(wallets []walletdb.AuditWalletsRow) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for i := range wallets {
			if !yield(entry{walletID: wallets[i].ID, wallet: &wallets[i]}, nil) {
				return
			}
		}
	}
}

// merge joins streams that are each in order of the wallets' ids: of one wallet those of an earlier stream
// come first. It ends at the first error.
func merge(streams ...iter.Seq2[entry, error]) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		heads := make([]entry, len(streams))
		pulls := make([]func() (entry, error, bool), len(streams)) // nil: it has ended
		pull := func(i int) (err error) {
			var more bool
			if heads[i], err, more = pulls[i](); !more {
				pulls[i] = nil
			}
			return err
		}
		for i, stream := range streams {
			next, stop := iter.Pull2(stream)
			defer stop()
			pulls[i] = next
			if err := pull(i); err != nil {
				yield(entry{}, err)
				return
			}
		}
		for {
			least := -1
			for i := range heads {
				if pulls[i] != nil && (least < 0 || compare(heads[i].walletID, heads[least].walletID) < 0) {
					least = i
				}
			}
			if least < 0 || !yield(heads[least], nil) {
				return
			}
			if err := pull(least); err != nil {
				yield(entry{}, err)
				return
			}
		}
	}
}

// operations reads those of a range of wallet ids, by wallet and sequence, page by page.
func (v *verifier) operations(ctx context.Context, queries *walletdb.Queries, from, end uuid.UUID) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		cursor := walletdb.AuditOperationsParams{AfterWallet: from, AfterSeq: math.MinInt64, UpTo: end, MaxRows: int64(v.pages.rows)}
		for more := true; more; {
			rows, err := queries.AuditOperations(ctx, cursor)
			if err != nil {
				yield(entry{}, fmt.Errorf("read operations: %w", err))
				return
			}
			if more = len(rows) == v.pages.rows; more {
				rows = withoutLastKey(rows)
				cursor.AfterWallet, cursor.AfterSeq = rows[len(rows)-1].WalletID, rows[len(rows)-1].Seq
			}
			links, err := readLinks(ctx, queries, rows)
			if err != nil {
				yield(entry{}, err)
				return
			}
			for i := range rows {
				if !yield(entry{walletID: rows[i].WalletID, operation: operationRow{&rows[i], links}}, nil) {
					return
				}
			}
		}
	}
}

// withoutLastKey leaves the rows of the last sequence to the next page: there may be more of them, and
// two operations with one sequence are what an audit is to find.
func withoutLastKey(rows []walletdb.AuditOperationsRow) []walletdb.AuditOperationsRow {
	last := rows[len(rows)-1]
	for n := len(rows); n > 0; n-- {
		if rows[n-1].WalletID != last.WalletID || rows[n-1].Seq != last.Seq {
			return rows[:n]
		}
	}
	return rows
}

// openHolds reads those of a range of wallet ids, by wallet and sequence, page by page.
func (v *verifier) openHolds(ctx context.Context, queries *walletdb.Queries, from, end uuid.UUID) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		cursor := walletdb.AuditOpenHoldsParams{AfterWallet: from, AfterSeq: math.MinInt64, UpTo: end, MaxRows: int64(v.pages.rows)}
		for {
			rows, err := queries.AuditOpenHolds(ctx, cursor)
			if err != nil {
				yield(entry{}, fmt.Errorf("read open holds: %w", err))
				return
			}
			for i := range rows {
				if !yield(entry{walletID: rows[i].WalletID, hold: &rows[i]}, nil) {
					return
				}
			}
			if len(rows) < v.pages.rows {
				return
			}
			cursor.AfterWallet, cursor.AfterSeq = rows[len(rows)-1].WalletID, rows[len(rows)-1].Seq
		}
	}
}

func compare(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
