package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// outbox compares every message that is still kept, or those with one key, with its operation.
func (v *verifier) outbox(ctx context.Context, key string) error {
	queries := walletdb.New(v.conn)
	edges, err := queries.OutboxAge(ctx)
	if err != nil {
		return fmt.Errorf("find the outbox's ends: %w", err)
	}
	for after := edges.FirstID - 1; after < edges.LastID; after += int64(v.pages.rows) {
		rows, err := queries.AuditOutbox(ctx, walletdb.AuditOutboxParams{After: after, UpTo: after + int64(v.pages.rows), Topic: v.topic, OnlyKey: key})
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if err := v.compareMessages(ctx, queries, rows); err != nil {
			return err
		}
		v.total.OutboxRows += len(rows)
	}
	return nil
}

func (v *verifier) compareMessages(ctx context.Context, queries *walletdb.Queries, rows []walletdb.AuditOutboxRow) error {
	messages := make([]event.Message, len(rows))
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		var err error
		if messages[i], err = event.Decode(row.Payload); err == nil && messages[i].OperationID == uuid.Nil {
			err = errors.New("it names no operation")
		}
		if err != nil {
			v.report(finding{"message-unreadable", nil, 0, fmt.Sprintf("outbox row %d: %v", row.ID, err)})
			continue
		}
		messages[i].AcceptedAt = time.Time{} // not compared
		ids[i] = messages[i].OperationID
	}
	operations, err := queries.AcceptedOperations(ctx, ids)
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	accepted := make(map[uuid.UUID]event.Message, len(operations))
	for _, o := range operations {
		accepted[o.ID] = event.Message{WalletID: o.WalletID, Sequence: o.Seq, OperationID: o.ID, Type: string(o.Type), Amount: o.Amount}
	}
	for i, m := range messages {
		if ids[i] != uuid.Nil && (accepted[m.OperationID] != m || rows[i].Key != m.WalletID.String()) {
			v.report(finding{"message-wrong", &m.WalletID, m.Sequence, fmt.Sprintf("outbox row %d says %+v with key %s, accepted was %+v", rows[i].ID, m, rows[i].Key, accepted[m.OperationID])})
		}
	}
	return nil
}
