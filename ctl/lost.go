package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// lostPage is how many messages are compared with the database at a time.
const lostPage = 10_000

// lostOperation is one that Kafka tells of and the database does not have.
type lostOperation struct {
	event.Message
	PublishedAt time.Time `json:"publishedAt"`
	Partition   int32     `json:"partition"`
	Offset      int64     `json:"offset"`
	Instead     string    `json:"instead,omitempty"` // the operation that has its sequence now
}

func (l lostOperation) String() string {
	s := fmt.Sprintf("%s  wallet %s seq %d: %s of %d, published %s, partition %d offset %d",
		l.OperationID, l.WalletID, l.Sequence, l.Type, l.Amount, stamp(l.PublishedAt), l.Partition, l.Offset)
	if l.Instead != "" {
		s += ", its sequence was given to " + l.Instead
	}
	return s
}

// relayLost lists, once each, the operations in Kafka's log that the database does not have: those
// that a failover to an asynchronous standby, or a restore to an earlier time, took back after they
// were published. What was accepted and not yet published is known to its clients alone.
func relayLost(c *call) (task, error) {
	sinceText := c.flags.String("since", "", "look at messages from this `TIME` on (2026-11-24T15:04:05Z)")
	asJSON := c.flags.Bool("json", false, "print one JSON object a line")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	since, err := time.Parse(time.RFC3339, *sinceText)
	if err != nil {
		return nil, usageError("--since is required: a time such as 2026-11-24T15:04:05Z")
	}
	return func(ctx context.Context) error {
		f := lostFinder{q: c.q, seen: map[uuid.UUID]bool{}, print: func(l lostOperation) {
			if *asJSON {
				_ = json.NewEncoder(c.stdout).Encode(l)
			} else {
				fmt.Fprintln(c.stdout, l)
			}
		}}
		err := c.readLog(ctx, c.topic, since, func(m *kafka.Message) bool {
			f.read++
			if told, err := event.Decode(m.Value); err == nil && told.OperationID != uuid.Nil {
				f.page = append(f.page, lostOperation{Message: told, PublishedAt: m.Timestamp, Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset)})
			}
			if len(f.page) == lostPage {
				f.err = f.check(ctx)
			}
			return f.err == nil
		})
		if err = errors.Join(err, f.err); err == nil {
			err = f.check(ctx)
		}
		if err != nil {
			return err
		}
		if !*asJSON {
			fmt.Fprintf(c.stdout, "%d messages read, %d operations lost\n", f.read, f.lost)
		}
		return nil
	}, nil
}

type lostFinder struct {
	q     *walletdb.Queries
	page  []lostOperation
	seen  map[uuid.UUID]bool
	print func(lostOperation)
	read  int
	lost  int
	err   error
}

// check compares a page of messages with the database.
func (f *lostFinder) check(ctx context.Context) error {
	ids := make([]uuid.UUID, len(f.page))
	for i, l := range f.page {
		ids[i] = l.OperationID
	}
	stored, err := f.q.AcceptedOperations(ctx, ids)
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	known := make(map[uuid.UUID]bool, len(stored))
	for _, o := range stored {
		known[o.ID] = true
	}
	for _, l := range f.page {
		if known[l.OperationID] || f.seen[l.OperationID] {
			continue
		}
		f.seen[l.OperationID] = true
		instead, err := f.q.OperationsBetween(ctx, walletdb.OperationsBetweenParams{WalletID: l.WalletID, After: l.Sequence - 1, Before: l.Sequence + 1})
		if err != nil {
			return fmt.Errorf("read operations: %w", err)
		}
		if len(instead) > 0 {
			l.Instead = instead[0].ID.String()
		}
		f.lost++
		f.print(l)
	}
	f.page = f.page[:0]
	return nil
}
