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
	OperationID   uuid.UUID       `json:"operationId"`
	WalletID      uuid.UUID       `json:"walletId"`
	Sequence      int64           `json:"sequence"`
	Type          string          `json:"type"`
	Amount        int64           `json:"amount"` // as asked; 0: open, or none
	SubjectID     *uuid.UUID      `json:"subjectId,omitempty"`
	Counterpart   *uuid.UUID      `json:"counterpartWalletId,omitempty"`
	ExpiresAt     *time.Time      `json:"expiresAt,omitempty"`
	Final         *bool           `json:"final,omitempty"`
	Reference     *string         `json:"reference,omitempty"`
	Metadata      json.RawMessage `json:"metadata,omitempty"`
	AcceptedAt    time.Time       `json:"acceptedAt"`
	Published     string          `json:"published"` // yes, no, parked or unknown
	OutboxID      int64           `json:"outboxId,omitempty"`
	Publication   string          `json:"publication"`
	Log           *recordPlace    `json:"kafka,omitempty"` // only with --kafka
	Status        string          `json:"status"`
	FailureReason *string         `json:"failureReason,omitempty"`
	Why           string          `json:"why,omitempty"`           // the reason in words
	AppliedAmount *int64          `json:"appliedAmount,omitempty"` // if it is not as asked
	BalanceAfter  *int64          `json:"balanceAfter,omitempty"`
	HeldAfter     *int64          `json:"heldAfter,omitempty"`
	StateAfter    *string         `json:"stateAfter,omitempty"`
	SubjectLeft   *int64          `json:"subjectLeft,omitempty"` // what remained of what it refers to
	AppliedAt     *time.Time      `json:"appliedAt,omitempty"`
	Before        int64           `json:"pendingBefore"`

	Settlement string   `json:"settlement,omitempty"` // of a processed debit leg: PENDING, COMPLETED or RETURNED
	Receive    *leg     `json:"receive,omitempty"`
	Return     *leg     `json:"return,omitempty"`
	Left       *remains `json:"left,omitempty"` // of a hold, or of what can be reversed, once it is applied
}

// leg is an operation in another wallet that this one has led to.
type leg struct {
	OperationID   uuid.UUID `json:"operationId"`
	WalletID      uuid.UUID `json:"walletId"`
	Sequence      int64     `json:"sequence"`
	Status        string    `json:"status"`
	FailureReason *string   `json:"failureReason,omitempty"`
	Before        int64     `json:"pendingBefore"`
}

// remains is what is left of a hold, or can still be reversed.
type remains struct {
	State     string `json:"state"` // of a hold: OPEN, CLOSED, EXPIRED or FAILED; of others empty
	Remaining int64  `json:"remaining"`
	Named     int64  `json:"named"` // operations that name it, counted up to 1,000
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
		r, err := reportOf(ctx, c.q, op)
		if err != nil {
			return err
		}
		if err := r.addPublication(ctx, c.q, op.XID, c.topic); err != nil {
			return err
		}
		if *inKafka {
			if err := r.addLog(ctx, c, c.topic); err != nil {
				return err
			}
		}
		if *asJSON {
			return json.NewEncoder(c.stdout).Encode(r)
		}
		return r.print(c.stdout, c.terminal().colours)
	}, nil
}

// reportOf is all but where its message is.
func reportOf(ctx context.Context, q *walletdb.Queries, op walletdb.FindOperationRow) (r operationReport, err error) {
	wallet, err := q.GetWallet(ctx, op.WalletID)
	if err != nil {
		return r, fmt.Errorf("read wallet: %w", err)
	}
	r = operationReport{
		OperationID: op.ID, WalletID: op.WalletID, Sequence: op.Seq, Type: string(op.Type), Amount: op.Amount,
		SubjectID: op.SubjectID, Counterpart: op.CounterpartID, ExpiresAt: op.ExpiresAt, Final: op.Final, Reference: op.Reference, Metadata: op.Metadata,
		AcceptedAt: op.CreatedAt.UTC(), Status: op.Status, FailureReason: op.FailureReason, AppliedAmount: op.AppliedAmount,
		BalanceAfter: op.BalanceAfter, HeldAfter: op.HeldAfter, StateAfter: (*string)(op.StateAfter), SubjectLeft: op.SubjectLeft, AppliedAt: op.AppliedAt,
		Before: max(0, op.Seq-wallet.AppliedSeq-1),
	}
	if op.FailureReason != nil {
		r.Why = inWords(r.Type, *op.FailureReason)
	}
	if err := r.addSettlement(ctx, q); err != nil {
		return r, err
	}
	return r, r.addLeft(ctx, q, op, wallet.AppliedSeq)
}

// inWords says why an operation failed; nothing if the reason is of a later release.
func inWords(operationType, reason string) string {
	switch {
	case reason == "LIMIT_REACHED" && operationType == "HOLD":
		return "the wallet had 1,000 open holds"
	case reason == "HOLD_EXPIRED" && operationType == "HOLD":
		return "its expiresAt had passed when it was accepted"
	}
	return map[string]string{
		"INSUFFICIENT_FUNDS": "it was for more than was available: the balance without what is held",
		"BALANCE_LIMIT":      "the balance would have passed 9,007,199,254,740,991, the largest that every client can read",
		"WALLET_CLOSED":      "the wallet was closed; ACTIVATE opens it again",
		"WALLET_FROZEN":      "the wallet was frozen: no money leaves it until ACTIVATE",
		"WALLET_NOT_EMPTY":   "a wallet is closed only when it has no balance, and holds nothing",
		"HOLD_EXPIRED":       "the hold's time was over when this was accepted",
		"HOLD_CLOSED":        "nothing remained of the hold: it was captured, released or expired before, or had failed itself",
		"LIMIT_REACHED":      "100 operations before it had named the same hold or original, failed ones too",
		"EXCEEDS_HOLD":       "it was for more than remained of the hold",
		"EXCEEDS_ORIGINAL":   "it was for more than was left to reverse, or nothing was left",
	}[reason]
}

// addSettlement follows the money to the other wallet, and back.
func (r *operationReport) addSettlement(ctx context.Context, q *walletdb.Queries) (err error) {
	if isLeg(r.Type, r.Counterpart) && r.Status == "PROCESSED" {
		if r.Receive, err = legOf(ctx, q, event.ReceiveID(r.OperationID)); err != nil || r.Receive == nil {
			return err
		}
		r.Settlement = "PENDING"
		if r.Receive.Status == "PROCESSED" {
			r.Settlement = "COMPLETED"
		}
	}
	var failed uuid.UUID
	switch {
	case r.Type == "RECEIVE" && r.Status == "FAILED":
		failed = r.OperationID
	case r.Receive != nil && r.Receive.Status == "FAILED":
		failed = r.Receive.OperationID
	default:
		return nil
	}
	if r.Return, err = legOf(ctx, q, event.ReturnID(failed)); err == nil && r.Settlement != "" && r.Return != nil && r.Return.Status == "PROCESSED" {
		r.Settlement = "RETURNED"
	}
	return err
}

// legOf returns nil if there is no such operation.
func legOf(ctx context.Context, q *walletdb.Queries, id uuid.UUID) (*leg, error) {
	op, err := q.StateOfOperation(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read operation %s: %w", id, err)
	}
	wallet, err := q.GetWallet(ctx, op.WalletID)
	if err != nil {
		return nil, fmt.Errorf("read wallet: %w", err)
	}
	return &leg{id, op.WalletID, op.Seq, op.Status, op.FailureReason, max(0, op.Seq-wallet.AppliedSeq-1)}, nil
}

// addLeft says what remains of a hold, or of what can be reversed.
func (r *operationReport) addLeft(ctx context.Context, q *walletdb.Queries, op walletdb.FindOperationRow, applied int64) error {
	reversible := r.Type == "DEPOSIT" || r.Type == "WITHDRAW" || r.Type == "CAPTURE" && r.Counterpart == nil
	if r.Status == "PENDING" || r.Type != "HOLD" && (!reversible || r.Status != "PROCESSED") {
		return nil
	}
	r.Left = &remains{Remaining: op.Amount}
	if op.AppliedAmount != nil {
		r.Left.Remaining = *op.AppliedAmount
	}
	if r.Status == "FAILED" {
		*r.Left = remains{State: "FAILED"}
	}
	last, err := q.LastNaming(ctx, walletdb.LastNamingParams{ID: &op.ID, AppliedSeq: applied})
	if err == nil {
		r.Left.Remaining, r.Left.Named = last.SubjectLeft, last.Named
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read what is left: %w", err)
	}
	if r.Type != "HOLD" || r.Left.State != "" {
		return nil
	}
	if r.Left.State = "OPEN"; r.Left.Remaining == 0 {
		r.Left.State = "CLOSED"
		expiry, err := legOf(ctx, q, event.ExpireID(op.ID))
		if err != nil {
			return err
		}
		if expiry != nil && expiry.Status == "PROCESSED" {
			r.Left.State = "EXPIRED"
		}
	}
	return nil
}

// addPublication finds the operation's outbox row. A row is deleted only after every relay has
// published it.
func (r *operationReport) addPublication(ctx context.Context, q *walletdb.Queries, xid, topic string) error {
	row, err := q.MessageOfOperation(ctx, walletdb.MessageOfOperationParams{XID: xid, Topic: topic, Key: r.WalletID.String(), OperationID: r.OperationID.String()})
	if errors.Is(err, pgx.ErrNoRows) {
		r.Published, r.Publication = "unknown", "its outbox row is gone: published and deleted since (OUTBOX_RETENTION), or this database was restored from a dump"
		return nil
	} else if err != nil {
		return fmt.Errorf("read outbox row: %w", err)
	}
	r.OutboxID = row.ID
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
		if name == "" { // it goes on with the line before
			mark = " "
		}
		if err == nil {
			_, err = fmt.Fprintf(out, "  %s %-10s %s\n", mark, name, fmt.Sprintf(format, args...))
		}
	}
	_, err = fmt.Fprintf(out, "%s\n%s\n\n", paint(bold, "operation "+r.OperationID.String()), paint(dim, r.asked()))
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
		line(true, "applied", "%s, %s, %s, %s%s", stamp(*r.AppliedAt), paint(red, r.Status), *r.FailureReason, r.became(), r.after(*r.AppliedAt))
		if r.Why != "" {
			line(true, "", "%s", r.Why)
		}
	case r.AppliedAt != nil:
		line(true, "applied", "%s, %s, %s%s", stamp(*r.AppliedAt), paint(green, r.Status), r.became(), r.after(*r.AppliedAt))
	default:
		line(false, "applied", "%s, with %s operations of this wallet before it", paint(yellow, r.Status), count(r.Before))
	}
	if r.Receive != nil {
		line(r.Receive.Status != "PENDING", "received", "%s", r.Receive.line(paint))
	}
	if r.Return != nil {
		line(r.Return.Status != "PENDING", "returned", "%s", r.Return.line(paint))
	}
	if r.Settlement != "" {
		line(r.Settlement != "PENDING", "settlement", "%s", r.Settlement)
	}
	switch {
	case r.Left != nil && r.Left.State != "":
		line(r.Left.State != "OPEN", "hold", "%s, %s remain, after %s operations that name it", r.Left.State, count(r.Left.Remaining), count(r.Left.Named))
	case r.Left != nil && r.Left.Named > 0:
		line(true, "reversed", "%s can still be reversed, after %s operations that name it", count(r.Left.Remaining), count(r.Left.Named))
	}
	return err
}

// asked is what the client, or the worker, has asked for.
func (r operationReport) asked() string {
	text := r.Type
	if r.Amount != 0 {
		text += " of " + count(r.Amount)
	}
	text += fmt.Sprintf(", number %d of wallet %s", r.Sequence, r.WalletID)
	if r.SubjectID != nil {
		text += fmt.Sprintf(", of operation %s", *r.SubjectID)
	}
	if r.Counterpart != nil {
		text += fmt.Sprintf(", the other wallet is %s", *r.Counterpart)
	}
	if r.ExpiresAt != nil {
		text += ", expires " + stamp(*r.ExpiresAt)
	}
	if r.Final != nil && !*r.Final {
		text += ", not final"
	}
	if r.Reference != nil {
		text += ", reference " + *r.Reference
	}
	if r.Metadata != nil {
		text += fmt.Sprintf(", metadata %s", r.Metadata)
	}
	return text
}

// became is the wallet after it.
func (r operationReport) became() string {
	text := "balance " + count(*r.BalanceAfter)
	if r.AppliedAmount != nil {
		text = "of " + count(*r.AppliedAmount) + ", " + text
	}
	if r.HeldAfter != nil && *r.HeldAfter != 0 {
		text += ", held " + count(*r.HeldAfter)
	}
	if r.StateAfter != nil {
		text += ", " + *r.StateAfter
	}
	if r.SubjectLeft != nil {
		text += ", which left " + count(*r.SubjectLeft)
	}
	return text
}

func (l *leg) line(paint paint) string {
	text := fmt.Sprintf("number %d of wallet %s, %s", l.Sequence, l.WalletID, l.OperationID)
	switch {
	case l.Status == "PENDING":
		return fmt.Sprintf("%s: %s, with %s operations of that wallet before it", paint(yellow, l.Status), text, count(l.Before))
	case l.FailureReason != nil:
		return fmt.Sprintf("%s by %s: %s", paint(red, l.Status), *l.FailureReason, text)
	}
	return paint(green, l.Status) + ": " + text
}

func (r operationReport) after(t time.Time) string {
	return fmt.Sprintf(" (after %s)", t.Sub(r.AcceptedAt).Round(time.Millisecond))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }
