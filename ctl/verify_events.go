package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// An audit of events remembers the last one of each wallet. If there are more wallets, and rows, than these, it
// reads the rows several times, each time for a part of the wallets.
const rememberedWallets = 1_000_000

// lastTold is the last that a kept row tells of a wallet.
type lastTold struct {
	version int64
	row     int64
	// copied is whether the row is a replay's: those that followed the original may be deleted.
	copied bool
}

// events audits the rows of the topic of outcomes that are still kept, or those with one key: each says what is stored, and
// those of a wallet follow each other. Where a row is missing, consumers read the statement.
func (v *verifier) events(ctx context.Context, key string) error {
	if v.eventsTopic == "" {
		return nil
	}
	queries := walletdb.New(v.conn)
	edges, err := queries.OutboxAge(ctx)
	if err != nil {
		return fmt.Errorf("find the outbox's ends: %w", err)
	}
	parts := uint64(1)
	if key == "" {
		parts += min(uint64(edges.LastID-edges.FirstID), uint64(v.total.Wallets)) / v.pages.remembered
	}
	width := max(1, int64(v.pages.rows)/10) // a row has several operations
	for part := range parts {
		last := map[uuid.UUID]lastTold{}
		for after := edges.FirstID - 1; after < edges.LastID; after += width {
			rows, err := queries.AuditEvents(ctx, walletdb.AuditEventsParams{After: after, UpTo: min(after+width, edges.LastID), Topic: v.eventsTopic, OnlyKey: key})
			if err != nil {
				return fmt.Errorf("read the outbox: %w", err)
			}
			runs := v.readRuns(rows, part == 0)
			if part == 0 {
				v.total.EventRows += len(rows)
				if err := v.compareRuns(ctx, rows, runs); err != nil {
					return err
				}
			}
			for i, run := range runs {
				if run == nil || binary.BigEndian.Uint64(run.WalletID[8:])%parts != part {
					continue
				}
				next := lastTold{run.Version, rows[i].ID, isCopy(rows[i], run)}
				if last[run.WalletID], err = v.follow(ctx, queries, last[run.WalletID], next, run); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// isCopy is whether a replay has written the row again: an event is written in the transaction that it tells of.
func isCopy(row walletdb.AuditEventsRow, run *event.Run) bool {
	return row.CreatedAt.Sub(run.Operations[len(run.Operations)-1].AppliedAt) > longestFlush
}

// readRuns returns the run of each row, nil for one that does not tell of one.
func (v *verifier) readRuns(rows []walletdb.AuditEventsRow, report bool) []*event.Run {
	runs := make([]*event.Run, len(rows))
	for i, row := range rows {
		run, err := readRun(row)
		if err == nil {
			runs[i] = run
		} else if report {
			v.report(finding{"event-unreadable", nil, 0, fmt.Sprintf("outbox row %d: %v", row.ID, err)})
		}
	}
	return runs
}

// readRun refuses what is not a run of consecutive operations of the wallet that is the row's key.
func readRun(row walletdb.AuditEventsRow) (*event.Run, error) {
	var run event.Run
	if err := json.Unmarshal(row.Payload, &run); err != nil {
		return nil, err
	}
	if row.Key != run.WalletID.String() {
		return nil, fmt.Errorf("its key %q is not the wallet %s", row.Key, run.WalletID)
	}
	if n := int64(len(run.Operations)); n == 0 || run.FromSequence < 1 || run.Version != run.FromSequence+n-1 {
		return nil, fmt.Errorf("%d operations are not the sequences %d to %d", n, run.FromSequence, run.Version)
	}
	for i, o := range run.Operations {
		if o.Sequence != run.FromSequence+int64(i) || o.WalletID != run.WalletID {
			return nil, fmt.Errorf("it tells of sequence %d of wallet %s in the place of %d", o.Sequence, o.WalletID, run.FromSequence+int64(i))
		}
	}
	var headers map[string]string
	if err := json.Unmarshal([]byte(row.Headers), &headers); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	if id := event.RunID(run.WalletID, run.Version); headers["ce_id"] != id || headers["ce_type"] != event.RunType {
		return nil, fmt.Errorf("its headers say %s %s, not %s %s", headers["ce_type"], headers["ce_id"], event.RunType, id)
	}
	return &run, nil
}

// storedRuns looks the operations of runs up, one run after the other.
func storedRuns(ctx context.Context, conn *pgx.Conn, asked walletdb.AuditRunsParams) (stored []walletdb.AuditRunsRow, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		queries := walletdb.New(tx)
		if err := queries.LookUpByIndex(ctx); err != nil {
			return err
		}
		stored, err = queries.AuditRuns(ctx, asked)
		return err
	})
	return stored, err
}

// compareRuns holds what rows tell against what is stored.
func (v *verifier) compareRuns(ctx context.Context, rows []walletdb.AuditEventsRow, runs []*event.Run) error {
	asked := walletdb.AuditRunsParams{}
	for i, run := range runs {
		if run != nil {
			asked.Runs = append(asked.Runs, int64(i))
			asked.WalletIds, asked.FromSeqs, asked.Versions = append(asked.WalletIds, run.WalletID), append(asked.FromSeqs, run.FromSequence), append(asked.Versions, run.Version)
		}
	}
	stored, err := storedRuns(ctx, v.conn, asked)
	if err != nil {
		return fmt.Errorf("read outcomes: %w", err)
	}
	for i, run := range runs {
		n := 0
		for n < len(stored) && stored[n].Run == int64(i) {
			n++
		}
		if run != nil {
			v.compareRun(rows[i].ID, run, stored[:n])
		}
		stored = stored[n:]
	}
	return nil
}

// compareRun goes by what this release would write: fields that a later one has added do not count.
func (v *verifier) compareRun(row int64, run *event.Run, stored []walletdb.AuditRunsRow) {
	operations := make([]event.Finished, 0, len(stored))
	for _, s := range stored {
		if s.OperationState.AppliedAt == nil {
			break // pending: it must not be told
		}
		operations = append(operations, event.FinishedOf(s.OperationState))
	}
	if len(operations) < len(run.Operations) {
		v.report(finding{"event-wrong", &run.WalletID, run.FromSequence + int64(len(operations)), fmt.Sprintf("outbox row %d tells of it, and it has no outcome", row)})
		return
	}
	wallet := event.Wallet{ID: run.WalletID, Tenant: stored[0].Tenant, Currency: stored[0].Currency}
	want := wallet.Run(operations...)
	if want.Truncated = run.Truncated; run.Truncated {
		for i := range want.Operations {
			want.Operations[i].Metadata = nil
		}
	}
	for i := range run.Operations {
		told, stored := run.Operations[i].Append(nil), want.Operations[i].Append(nil)
		if !bytes.Equal(told, stored) {
			v.report(finding{"event-wrong", &run.WalletID, run.Operations[i].Sequence, fmt.Sprintf("outbox row %d tells %s, stored is %s", row, told, stored)})
			return
		}
	}
	if told, stored := run.Append(nil), want.Append(nil); !bytes.Equal(told, stored) {
		v.report(finding{"event-wrong", &run.WalletID, run.Version, fmt.Sprintf("outbox row %d says that the wallet is %s, stored is %s", row, head(*run), head(want))})
	}
}

// head is a run without its operations.
func head(run event.Run) []byte {
	run.Operations = nil
	return run.Append(nil)
}

// follow holds a row against the last one of its wallet, and returns what is the last one now. A row that tells
// nothing new is a replay's.
func (v *verifier) follow(ctx context.Context, queries *walletdb.Queries, last, next lastTold, run *event.Run) (lastTold, error) {
	switch {
	case last.row == 0 || run.FromSequence == last.version+1:
		return next, nil
	case next.version <= last.version:
		return last, nil
	case run.FromSequence <= last.version:
		v.report(finding{"event-doubled", &run.WalletID, run.FromSequence, fmt.Sprintf("outbox row %d tells of %d to %d, row %d before it of all up to %d", next.row, run.FromSequence, run.Version, last.row, last.version)})
		return next, nil
	}
	// A row of a smaller id may have been committed after its page was read.
	late, err := queries.AuditEvents(ctx, walletdb.AuditEventsParams{After: last.row, UpTo: next.row - 1, Topic: v.eventsTopic, OnlyKey: run.WalletID.String()})
	if err != nil {
		return next, fmt.Errorf("read the outbox: %w", err)
	}
	for i, between := range v.readRuns(late, false) {
		if between != nil && between.FromSequence <= last.version+1 && between.Version > last.version {
			last = lastTold{between.Version, late[i].ID, isCopy(late[i], between)}
		}
	}
	untold, err := queries.AuditUntold(ctx, walletdb.AuditUntoldParams{WalletID: run.WalletID, AfterSeq: last.version, BeforeSeq: run.FromSequence, AfterRow: last.row, Copied: last.copied})
	if err != nil {
		return next, fmt.Errorf("count outcomes: %w", err)
	}
	if untold > 0 && !v.eventGaps {
		v.report(finding{"event-missing", &run.WalletID, last.version + 1, fmt.Sprintf("outbox row %d tells of all up to %d, row %d goes on with %d: "+
			"consumers read the statement; if the topic was not registered, or a worker of an older release ran, that had to be so", last.row, last.version, next.row, run.FromSequence)})
	}
	return next, nil
}
