// Package check checks the invariants: what clients were told, what the database holds and what Kafka's
// log says have to be the same.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// Invariant is one thing that must hold, and what speaks against it.
type Invariant struct {
	says   string
	Broken []string
}

// AwaitIdle waits until everything accepted is applied, and no hold is about to expire.
func AwaitIdle(ctx context.Context, conn *pgx.Conn, within time.Duration) (walletdb.TotalsRow, error) {
	deadline := time.Now().Add(within)
	for {
		totals, err := walletdb.New(conn).Totals(ctx, nil)
		if err != nil || totals.Operations == totals.Outcomes && totals.LastSeq == totals.AppliedSeq && totals.Expiring == 0 || time.Now().After(deadline) {
			return totals, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return totals, ctx.Err()
		}
	}
}

// Subject is the system that is checked.
type Subject struct {
	Log    TopicLog
	Events TopicLog                               // of outcomes; without a topic: none are told
	Audit  func(context.Context, io.Writer) error // ctl verify
	// OtherTimes is for programs of the last release, whose times need not follow the sequence.
	OtherTimes bool
	// Without are wallets that were not the clients', and are not in the log.
	Without []uuid.UUID
}

// Check compares what clients were told, what the database holds and what Kafka's log says,
// once everything is quiet.
func (s Subject) Check(ctx context.Context, conn *pgx.Conn, history []load.Operation) ([]Invariant, error) {
	totals, err := AwaitIdle(ctx, conn, 30*time.Second)
	if err != nil {
		return nil, err
	}
	stored, err := walletdb.New(conn).StoredOperations(ctx, walletdb.StoredOperationsParams{Without: s.Without})
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	log, err := s.whole(ctx, s.Log, func() (Invariant, error) {
		messages, err := readLog(ctx, s.Log, ParseMessage)
		return Log(messages, stored), err
	})
	if err != nil {
		return nil, err
	}
	invariants := []Invariant{
		Totals(totals),
		Audit(ctx, s.Audit),
		Settled(stored),
		Clients(history, stored),
		Order(history, stored),
		log,
	}
	if !s.OtherTimes {
		invariants = append(invariants, Times(stored))
	}
	if s.Events.Topic == "" {
		return invariants, nil
	}
	finished, err := walletdb.New(conn).FinishedOperations(ctx, walletdb.FinishedOperationsParams{Without: s.Without})
	if err != nil {
		return nil, fmt.Errorf("read outcomes: %w", err)
	}
	events, err := s.whole(ctx, s.Events, func() (Invariant, error) {
		told, err := readLog(ctx, s.Events, ParseEvent)
		return Events(told, finished), err
	})
	return append(invariants, events), err
}

// whole gives the relay some time: what a worker has accepted it may have applied itself, before any message of it, and
// what it tells of outcomes comes after them.
func (s Subject) whole(ctx context.Context, log TopicLog, look func() (Invariant, error)) (Invariant, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		seen, err := look()
		if err != nil {
			return Invariant{}, fmt.Errorf("read topic %s: %w", log.Topic, err)
		}
		if len(seen.Broken) == 0 || time.Now().After(deadline) {
			return seen, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return Invariant{}, ctx.Err()
		}
	}
}

// Totals holds the counters and sums of all wallets against each other.
func Totals(t walletdb.TotalsRow) Invariant {
	p := Invariant{says: fmt.Sprintf("operations %d = outcomes %d = last sequences %d = applied %d; balance %d = what came in - what went out; %d failed",
		t.Operations, t.Outcomes, t.LastSeq, t.AppliedSeq, t.Balance, t.Failed)}
	if t.Operations != t.Outcomes || t.Operations != t.LastSeq || t.Operations != t.AppliedSeq {
		p.Broken = append(p.Broken, "the counts differ")
	}
	if t.Expiring > 0 {
		p.Broken = append(p.Broken, fmt.Sprintf("%d holds should have expired, or are about to", t.Expiring))
	}
	if t.Balance != t.Processed {
		p.Broken = append(p.Broken, fmt.Sprintf("balances are %d, processed operations come to %d", t.Balance, t.Processed))
	}
	if t.Balance != t.Outside {
		p.Broken = append(p.Broken, fmt.Sprintf("balances are %d, but %d came in and did not go out: between wallets money was lost or made", t.Balance, t.Outside))
	}
	return p
}

// Audit replays every wallet's history with the operator's command: sequences dense, none pending,
// each outcome as the rules say, balances an unbroken chain, cache and outbox in agreement.
func Audit(ctx context.Context, audit func(context.Context, io.Writer) error) Invariant {
	p := Invariant{says: "every wallet replayed: sequences dense, none pending, each balance follows from the one before, never negative"}
	var out lines
	if err := audit(ctx, &out); err != nil {
		p.Broken = append(out, err.Error())
	}
	return p
}

// lines collects what a command writes.
type lines []string

func (l *lines) Write(text []byte) (int, error) {
	*l = append(*l, string(text))
	return len(text), nil
}

// Settled looks at what left a wallet for another one: it has arrived, or is back. It is for wallets that are all
// among stored, once everything is quiet.
func Settled(stored []walletdb.StoredOperationsRow) Invariant {
	byID := make(map[uuid.UUID]walletdb.StoredOperationsRow, len(stored))
	for _, row := range stored {
		byID[row.ID] = row
	}
	p := Invariant{}
	var arrived, back int
	for _, row := range stored {
		if !isLeg(row) {
			continue
		}
		receive, received := byID[idOf(row.ID, "receive")]
		giveBack, returned := byID[idOf(receive.ID, "return")]
		switch {
		case received && receive.Status == "PROCESSED" && !returned && receive.WalletID == *row.CounterpartID && receive.CameTo == row.CameTo:
			arrived++
		case received && receive.Status == "FAILED" && returned && giveBack.Status == "PROCESSED" && giveBack.WalletID == row.WalletID && giveBack.CameTo == row.CameTo:
			back++
		default:
			p.Broken = append(p.Broken, fmt.Sprintf("%d left wallet %s by operation %s, and neither arrived once nor is back: %+v, %+v", row.CameTo, row.WalletID, row.ID, receive, giveBack))
		}
	}
	p.says = fmt.Sprintf("all that left a wallet for another one arrived (%d times), or is back (%d times)", arrived, back)
	return p
}

// isLeg says whether it has taken money out of a wallet for another one.
func isLeg(row walletdb.StoredOperationsRow) bool {
	return row.CounterpartID != nil && (row.Type == "TRANSFER" || row.Type == "CAPTURE") && row.Status == "PROCESSED"
}

// idOf is the identity that the contract gives an operation that follows from another one.
func idOf(cause uuid.UUID, what string) uuid.UUID { return uuid.NewSHA1(cause, []byte(what)) }

// follows says whether the system itself has accepted an operation, because of one of the others.
func follows(row walletdb.StoredOperationsRow, byID map[uuid.UUID]walletdb.StoredOperationsRow) bool {
	if row.SubjectID == nil {
		return false
	}
	cause, found := byID[*row.SubjectID]
	switch row.Type {
	case "EXPIRE":
		return found && cause.Type == "HOLD" && cause.WalletID == row.WalletID && row.ID == idOf(cause.ID, "expire")
	case "RECEIVE":
		return found && isLeg(cause) && row.ID == idOf(cause.ID, "receive")
	case "RETURN":
		return found && cause.Type == "RECEIVE" && cause.Status == "FAILED" && row.ID == idOf(cause.ID, "return")
	}
	return false
}

// Clients compares every acknowledged operation with the one stored, and every stored one with
// what was sent.
func Clients(history []load.Operation, stored []walletdb.StoredOperationsRow) Invariant {
	byID := make(map[uuid.UUID]walletdb.StoredOperationsRow, len(stored))
	for _, row := range stored {
		byID[row.ID] = row
	}
	left := maps.Clone(byID)
	var acknowledged, unknown, followed int
	p := Invariant{}
	for _, op := range history {
		row, found := byID[op.ID]
		if op.Wrong != "" {
			p.Broken = append(p.Broken, op.Wrong)
		}
		if op.Answered.IsZero() && !found {
			unknown++
			continue
		}
		if !op.Answered.IsZero() {
			acknowledged++
		}
		if row.WalletID != op.Wallet || !asSent(op, row) || !op.Answered.IsZero() && row.Seq != op.Sequence {
			p.Broken = append(p.Broken, fmt.Sprintf("a client sent %s %d to %s and was told sequence %d of operation %s; stored is %+v", op.Kind, op.Amount, op.Wallet, op.Sequence, op.ID, row))
		}
		delete(left, op.ID)
	}
	for id, row := range left {
		if follows(row, byID) {
			followed++
			continue
		}
		p.Broken = append(p.Broken, fmt.Sprintf("operation %s was sent by nobody, or acknowledged twice: %+v", id, row))
	}
	p.says = fmt.Sprintf("%d acknowledged operations exist once, as they were sent; nothing else does", acknowledged)
	if followed > 0 {
		p.says = fmt.Sprintf("%d acknowledged operations exist once, as they were sent, and %d that follow from them; nothing else does", acknowledged, followed)
	}
	if unknown > 0 {
		p.says += fmt.Sprintf(" (%d more were never answered, and not accepted)", unknown)
	}
	return p
}

// asSent says whether an operation is stored as it was asked for.
func asSent(op load.Operation, row walletdb.StoredOperationsRow) bool {
	same := func(sent uuid.UUID, stored *uuid.UUID) bool {
		return stored == nil && sent == uuid.Nil || stored != nil && *stored == sent
	}
	expires := row.ExpiresAt == nil && op.Expires.IsZero() || row.ExpiresAt != nil && row.ExpiresAt.Equal(op.Expires)
	final := row.Final == nil || *row.Final != op.Partial
	return string(row.Type) == op.Kind && row.Amount == op.Amount && same(op.Subject, row.SubjectID) && same(op.Target, row.CounterpartID) && expires && final
}

// Order looks for an operation that was acknowledged before another one of its wallet was sent,
// and yet has the larger sequence. One that is stored but was never acknowledged may have been
// accepted at any time after it was sent.
func Order(history []load.Operation, stored []walletdb.StoredOperationsRow) Invariant {
	p := Invariant{says: "an operation acknowledged before another one was sent comes before it"}
	byID := make(map[uuid.UUID]load.Operation, len(history))
	for _, op := range history {
		byID[op.ID] = op
	}
	// stored is in order of wallet and sequence. Going back in it, earliest is the first
	// acknowledgement among the later operations of the wallet.
	var earliest load.Operation
	for i := len(stored) - 1; i >= 0; i-- {
		op, found := byID[stored[i].ID]
		if earliest.Wallet != stored[i].WalletID {
			earliest = load.Operation{Wallet: stored[i].WalletID}
		}
		if !found {
			continue
		}
		if !earliest.Answered.IsZero() && earliest.Answered.Before(op.SentAt) {
			p.Broken = append(p.Broken, fmt.Sprintf("sequence %d was acknowledged %s before sequence %d was sent", earliest.Sequence, op.SentAt.Sub(earliest.Answered), stored[i].Seq))
		}
		if !op.Answered.IsZero() && (earliest.Answered.IsZero() || op.Answered.Before(earliest.Answered)) {
			earliest = op
		}
	}
	return p
}

// Times looks for operations that were accepted or applied at an earlier time than the one before.
func Times(stored []walletdb.StoredOperationsRow) Invariant {
	p := Invariant{says: "no operation has an earlier time than the one before, of acceptance or of application"}
	var last walletdb.StoredOperationsRow
	for _, row := range stored {
		if row.WalletID != last.WalletID {
			last = walletdb.StoredOperationsRow{WalletID: row.WalletID}
		}
		if by := last.CreatedAt.Sub(row.CreatedAt); by > 0 {
			p.Broken = append(p.Broken, fmt.Sprintf("sequence %d of wallet %s was accepted %s before the one before", row.Seq, row.WalletID, by))
		}
		if row.AppliedAt != nil && last.AppliedAt != nil && row.AppliedAt.Before(*last.AppliedAt) {
			p.Broken = append(p.Broken, fmt.Sprintf("sequence %d of wallet %s was applied %s before the one before", row.Seq, row.WalletID, last.AppliedAt.Sub(*row.AppliedAt)))
		}
		last = row
	}
	return p
}

// Log holds Kafka's log against the operations: a wallet's first occurrences are its operations
// in order, all in one partition. Repetitions are allowed.
func Log(log []Message, stored []walletdb.StoredOperationsRow) Invariant {
	p := Invariant{}
	type key struct {
		wallet uuid.UUID
		seq    int64
	}
	operations := make(map[key]walletdb.StoredOperationsRow, len(stored))
	for _, row := range stored {
		operations[key{row.WalletID, row.Seq}] = row
	}
	last := map[uuid.UUID]int64{}
	partitions := map[uuid.UUID]int32{}
	repeated := 0
	for _, m := range log {
		row := operations[key{m.WalletID, m.Sequence}]
		if row.ID != m.OperationID || string(row.Type) != m.Type || row.Amount != m.Amount || !row.CreatedAt.Equal(m.AcceptedAt) {
			p.Broken = append(p.Broken, fmt.Sprintf("the log says %+v, stored is %+v", m, row))
		}
		if partition, seen := partitions[m.WalletID]; seen && partition != m.Partition {
			p.Broken = append(p.Broken, fmt.Sprintf("wallet %s is in partitions %d and %d", m.WalletID, partition, m.Partition))
		}
		partitions[m.WalletID] = m.Partition
		switch {
		case m.Sequence <= last[m.WalletID]:
			repeated++
		case m.Sequence == last[m.WalletID]+1:
			last[m.WalletID]++
		default:
			p.Broken = append(p.Broken, fmt.Sprintf("wallet %s: sequence %d follows %d in the log", m.WalletID, m.Sequence, last[m.WalletID]))
			last[m.WalletID] = m.Sequence
		}
	}
	for _, row := range stored {
		if row.Seq > last[row.WalletID] {
			p.Broken = append(p.Broken, fmt.Sprintf("sequence %d of wallet %s is not in the log", row.Seq, row.WalletID))
		}
	}
	p.says = fmt.Sprintf("the log has them all in order, each wallet in one partition, %d repeated", repeated)
	return p
}

// Print returns an error if one is broken.
func Print(out io.Writer, invariants []Invariant) error {
	const shown = 5
	kept := true
	for _, p := range invariants {
		if len(p.Broken) == 0 {
			fmt.Fprintf(out, "  ✓ %s\n", p.says)
			continue
		}
		kept = false
		fmt.Fprintf(out, "  ✗ %s\n", p.says)
		for _, line := range p.Broken[:min(shown, len(p.Broken))] {
			fmt.Fprintf(out, "      %s\n", strings.TrimSpace(line))
		}
		if more := len(p.Broken) - shown; more > 0 {
			fmt.Fprintf(out, "      and %d more\n", more)
		}
	}
	fmt.Fprintln(out)
	if !kept {
		return errors.New("a promise is broken")
	}
	fmt.Fprintln(out, "  Every promise holds.")
	return nil
}
