package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// operationReport is what ctl operation tells.
type operationReport struct {
	OperationID   uuid.UUID    `json:"operationId"`
	WalletID      uuid.UUID    `json:"walletId"`
	Sequence      int64        `json:"sequence"`
	Type          string       `json:"type"`
	Amount        int64        `json:"amount"`
	Reference     *string      `json:"reference,omitempty"`
	AcceptedAt    time.Time    `json:"acceptedAt"`
	Published     string       `json:"published"` // yes, no, parked or unknown
	OutboxID      int64        `json:"outboxId,omitempty"`
	Publication   string       `json:"publication"`
	Log           *recordPlace `json:"kafka,omitempty"` // only with --kafka
	Status        string       `json:"status"`
	FailureReason *string      `json:"failureReason,omitempty"`
	BalanceAfter  *int64       `json:"balanceAfter,omitempty"`
	AppliedAt     *time.Time   `json:"appliedAt,omitempty"`
	Before        int64        `json:"pendingBefore"`
}

// recordPlace is where a message is in Kafka. Time is the record's own.
type recordPlace struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	Found     bool      `json:"found"`
}

// showOperation says where an operation is. Whether it is published follows from the relays' saved
// positions; --kafka looks for its message there.
func showOperation(c *call) (task, error) {
	inKafka := c.flags.Bool("kafka", false, "look for its message in Kafka too")
	asJSON := c.flags.Bool("json", false, "print one JSON object")
	args, err := c.arguments("ID")
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(args[0])
	if err != nil {
		return nil, usageError("ID must be an operation's id: " + err.Error())
	}
	return func(ctx context.Context) error {
		op, err := c.q.FindOperation(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("operation %s was never accepted by this database", id)
		} else if err != nil {
			return fmt.Errorf("read operation: %w", err)
		}
		wallet, err := c.q.GetWallet(ctx, op.WalletID)
		if err != nil {
			return fmt.Errorf("read wallet: %w", err)
		}
		r := operationReport{
			OperationID: id, WalletID: op.WalletID, Sequence: op.Seq, Type: string(op.Type), Amount: op.Amount, Reference: op.Reference,
			AcceptedAt: op.CreatedAt.UTC(), Status: op.Status, FailureReason: op.FailureReason, BalanceAfter: op.BalanceAfter, AppliedAt: op.AppliedAt,
			Before: max(0, op.Seq-wallet.AppliedSeq-1),
		}
		topic := c.topic
		if err := r.addPublication(ctx, c.q, op.XID, &topic); err != nil {
			return err
		}
		if *inKafka {
			if err := r.addLog(ctx, c, topic); err != nil {
				return err
			}
		}
		if *asJSON {
			return json.NewEncoder(c.stdout).Encode(r)
		}
		return r.print(c.stdout, c.terminal().colours)
	}, nil
}

// addPublication finds the operation's outbox row. A row is deleted only after every relay has
// published it.
func (r *operationReport) addPublication(ctx context.Context, q *walletdb.Queries, xid string, topic *string) error {
	row, err := q.MessageOfOperation(ctx, walletdb.MessageOfOperationParams{XID: xid, Key: r.WalletID.String(), OperationID: r.OperationID.String()})
	if errors.Is(err, pgx.ErrNoRows) {
		r.Published, r.Publication = "unknown", "its outbox row is gone: published and deleted since (OUTBOX_RETENTION), or this database was restored from a dump"
		return nil
	} else if err != nil {
		return fmt.Errorf("read outbox row: %w", err)
	}
	r.OutboxID, *topic = row.ID, row.Topic
	relays, err := q.RelaysPast(ctx, row.ID)
	if err != nil {
		return fmt.Errorf("read relays: %w", err)
	}
	r.Published, r.Publication = "yes", ""
	if len(relays) == 0 {
		r.Published, r.Publication = "no", "no relay has ever published"
	}
	for _, relay := range relays {
		if !relay.Past {
			r.Published, r.Publication = "no", relay.Relay+" has not saved a position past it yet"
		}
	}
	if row.ParkedReason != "" {
		r.Published, r.Publication = "parked", "an operator parked it: "+row.ParkedReason
	}
	return nil
}

// addLog looks for the operation's message in what Kafka has from just before its acceptance.
func (r *operationReport) addLog(ctx context.Context, c *call, topic string) error {
	r.Log = &recordPlace{}
	id := []byte(r.OperationID.String())
	return c.readLog(ctx, topic, r.AcceptedAt.Add(-time.Minute), func(m *kafka.Message) bool {
		if string(m.Key) == r.WalletID.String() && bytes.Contains(m.Value, id) {
			*r.Log = recordPlace{m.TopicPartition.Partition, int64(m.TopicPartition.Offset), m.Timestamp.UTC(), true}
		}
		return !r.Log.Found
	})
}

func (r operationReport) print(out io.Writer, colours bool) error {
	paint := newPaint(colours)
	var err error
	line := func(done bool, name, format string, args ...any) {
		mark := paint(yellow, "○")
		if done {
			mark = paint(green, "●")
		}
		if err == nil {
			_, err = fmt.Fprintf(out, "  %s %-10s %s\n", mark, name, fmt.Sprintf(format, args...))
		}
	}
	reference := ""
	if r.Reference != nil {
		reference = ", reference " + *r.Reference
	}
	_, err = fmt.Fprintf(out, "%s\n%s\n\n", paint(bold, "operation "+r.OperationID.String()),
		paint(dim, fmt.Sprintf("%s of %s, number %d of wallet %s%s", r.Type, count(r.Amount), r.Sequence, r.WalletID, reference)))
	line(true, "accepted", "%s", stamp(r.AcceptedAt))
	switch {
	case r.Published == "yes":
		line(true, "published", "outbox row %d", r.OutboxID)
	case r.OutboxID != 0:
		line(false, "published", "%s: outbox row %d, %s", paint(yellow, r.Published), r.OutboxID, r.Publication)
	default:
		line(false, "published", "%s: %s", paint(yellow, r.Published), r.Publication)
	}
	if r.Log != nil && r.Log.Found {
		line(true, "in kafka", "%s, partition %d, offset %d%s", stamp(r.Log.Time), r.Log.Partition, r.Log.Offset, r.after(r.Log.Time))
	} else if r.Log != nil {
		line(false, "in kafka", "%s", paint(yellow, "not found"))
	}
	switch {
	case r.AppliedAt != nil && r.FailureReason != nil:
		line(true, "applied", "%s, %s, %s, balance %s%s", stamp(*r.AppliedAt), paint(red, r.Status), *r.FailureReason, count(*r.BalanceAfter), r.after(*r.AppliedAt))
	case r.AppliedAt != nil:
		line(true, "applied", "%s, %s, balance %s%s", stamp(*r.AppliedAt), paint(green, r.Status), count(*r.BalanceAfter), r.after(*r.AppliedAt))
	default:
		line(false, "applied", "%s, with %s operations of this wallet before it", paint(yellow, r.Status), count(r.Before))
	}
	return err
}

func (r operationReport) after(t time.Time) string {
	return fmt.Sprintf(" (after %s)", t.Sub(r.AcceptedAt).Round(time.Millisecond))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

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
