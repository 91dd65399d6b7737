package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// operationRow is an operation, and what it refers to or leads to, all of one snapshot: that of its page.
type operationRow struct {
	*walletdb.AuditOperationsRow
	*links
}

// links are the operations that those of a page refer to or lead to.
type links struct {
	linked   map[uuid.UUID]walletdb.AuditLinkedRow
	reversed map[place]walletdb.AuditReversedRow
}

// place is an operation's.
type place struct {
	walletID uuid.UUID
	seq      int64
}

// isLeg says whether it moves money to another wallet, if it is processed.
func isLeg(operationType string, counterpartID *uuid.UUID) bool {
	return counterpartID != nil && (operationType == "TRANSFER" || operationType == "CAPTURE")
}

// readLinks reads them for a page of operations. A page without any sends no statement.
func readLinks(ctx context.Context, queries *walletdb.Queries, rows []walletdb.AuditOperationsRow) (*links, error) {
	l := &links{map[uuid.UUID]walletdb.AuditLinkedRow{}, map[place]walletdb.AuditReversedRow{}}
	var ids []uuid.UUID
	named := walletdb.AuditReversedParams{MaxNamed: maxNamed}
	for _, row := range rows {
		if row.SubjectID != nil {
			ids = append(ids, *row.SubjectID)
		}
		switch {
		case isLeg(row.Type, row.CounterpartID):
			ids = append(ids, event.ReceiveID(row.ID))
		case row.Type == "RECEIVE":
			ids = append(ids, event.ReturnID(row.ID))
		case row.Type == "REVERSE" && row.SubjectID != nil:
			named.WalletIds, named.Seqs, named.SubjectIds = append(named.WalletIds, row.WalletID), append(named.Seqs, row.Seq), append(named.SubjectIds, *row.SubjectID)
		}
		if row.SubjectID != nil && (row.Type == "CAPTURE" || row.Type == "RELEASE" || row.Type == "EXPIRE") {
			ids = append(ids, event.ExpireID(*row.SubjectID))
		}
	}
	if len(ids) > 0 {
		found, err := queries.AuditLinked(ctx, ids)
		if err != nil {
			return nil, fmt.Errorf("read what operations refer to: %w", err)
		}
		for _, row := range found {
			l.linked[row.ID] = row
		}
	}
	if len(named.Seqs) > 0 {
		found, err := queries.AuditReversed(ctx, named)
		if err != nil {
			return nil, fmt.Errorf("read earlier reversals: %w", err)
		}
		for _, row := range found {
			l.reversed[place{row.WalletID, row.Seq}] = row
		}
	}
	return l, nil
}

// links holds an operation against those in other wallets, and against the cause that its id follows from.
// A debit leg and its RECEIVE are one commit, and so are a failed RECEIVE and its RETURN: in a snapshot
// there are both or none.
func (a *audit) links(row operationRow) {
	processed := row.Status == "PROCESSED"
	switch {
	case isLeg(row.Type, row.CounterpartID):
		a.leadsTo(row, processed, "RECEIVE", event.ReceiveID(row.ID), row.cameTo())
	case row.Type == "RECEIVE":
		a.follows(row, event.ReceiveID, "RECEIVE", func(cause walletdb.AuditLinkedRow) bool {
			return isLeg(cause.Type, cause.CounterpartID) && cause.Status == "PROCESSED"
		})
		a.leadsTo(row, row.Status == "FAILED", "RETURN", event.ReturnID(row.ID), row.Amount)
	case row.Type == "RETURN":
		a.follows(row, event.ReturnID, "RETURN", func(cause walletdb.AuditLinkedRow) bool {
			return cause.Type == "RECEIVE" && cause.Status == "FAILED"
		})
	case row.Type == "EXPIRE" && row.SubjectID != nil:
		hold := row.linked[*row.SubjectID]
		if row.ID != event.ExpireID(*row.SubjectID) {
			a.find("id-wrong", row.Seq, "the EXPIRE of hold %s is %s, and should be %s", *row.SubjectID, row.ID, event.ExpireID(*row.SubjectID))
		}
		if hold.ExpiresAt == nil || row.CreatedAt.Before(*hold.ExpiresAt) {
			a.find("expired-early", row.Seq, "EXPIRE was accepted at %s, and hold %s expires at %v", stamp(row.CreatedAt), *row.SubjectID, optional(hold.ExpiresAt))
		}
	}
}

// leadsTo holds an operation against the one that follows from it in another wallet.
func (a *audit) leadsTo(row operationRow, must bool, what string, id uuid.UUID, amount int64) {
	problem := strings.ToLower(what)
	next, found := row.linked[id]
	switch {
	case must && !found:
		a.find(problem+"-missing", row.Seq, "%s %s of %d has no %s %s in wallet %v: the money is lost", row.Type, row.ID, amount, what, id, optional(row.CounterpartID))
	case !must && found:
		a.find(problem+"-early", row.Seq, "%s %s is %s, but there is %s %s", row.Type, row.ID, orPending(row.Status), what, id)
	case found:
		a.sameMoney(row.Seq, what, movement{row.ID, row.WalletID, row.CounterpartID, amount}, next)
		if here := a.wallet.Currency + " of tenant " + a.wallet.Tenant; a.known && next.Realm != here {
			a.find(problem+"-wrong", row.Seq, "%s %s goes from %s to %s", row.Type, row.ID, here, next.Realm)
		}
	}
}

// follows holds an operation against the one in another wallet that it follows from.
func (a *audit) follows(row operationRow, idOf func(uuid.UUID) uuid.UUID, what string, isCause func(walletdb.AuditLinkedRow) bool) {
	if row.SubjectID == nil {
		a.find("cause-missing", row.Seq, "%s %s does not say what it follows from", what, row.ID)
		return
	}
	if id := idOf(*row.SubjectID); row.ID != id {
		a.find("id-wrong", row.Seq, "%s %s follows from %s, whose %s can only be %s: money was made", what, row.ID, *row.SubjectID, what, id)
	}
	cause, found := row.linked[*row.SubjectID]
	switch {
	case !found:
		a.find("cause-missing", row.Seq, "%s %s of %d follows from %s, which does not exist: money was made", what, row.ID, row.Amount, *row.SubjectID)
	case !isCause(cause):
		a.find("cause-missing", row.Seq, "%s %s of %d follows from %s, a %s that is %s: money was made", what, row.ID, row.Amount, cause.ID, cause.Type, orPending(cause.Status))
	default:
		this := walletdb.AuditLinkedRow{ID: row.ID, WalletID: row.WalletID, SubjectID: row.SubjectID, CounterpartID: row.CounterpartID, Type: row.Type, CameTo: row.Amount}
		a.sameMoney(row.Seq, what, movement{cause.ID, cause.WalletID, cause.CounterpartID, cause.CameTo}, this)
	}
}

// movement is what a debit leg, or a failed RECEIVE, moves to another wallet.
type movement struct {
	id     uuid.UUID
	from   uuid.UUID
	to     *uuid.UUID
	amount int64
}

// sameMoney compares a cause with what follows from it: the wallets, the amount, and what it says of its cause.
func (a *audit) sameMoney(seq int64, what string, m movement, next walletdb.AuditLinkedRow) {
	if next.Type == what && m.to != nil && *m.to == next.WalletID && next.CounterpartID != nil && *next.CounterpartID == m.from &&
		next.SubjectID != nil && *next.SubjectID == m.id && next.CameTo == m.amount {
		return
	}
	a.find(strings.ToLower(what)+"-wrong", seq, "%s brings %d from wallet %s to wallet %v; %s %s of %d in wallet %s says that it comes from wallet %v, by %v",
		m.id, m.amount, m.from, optional(m.to), next.Type, next.ID, next.CameTo, next.WalletID, optional(next.CounterpartID), optional(next.SubjectID))
}

func orPending(status string) string {
	if status == "" {
		return "PENDING"
	}
	return status
}
