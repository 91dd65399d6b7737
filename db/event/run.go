package event

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Run is the message of the topic wallet-events: what became of consecutive operations of a wallet, and the wallet
// after the last of them.
type Run struct {
	WalletID     uuid.UUID   `json:"walletId"`
	Tenant       string      `json:"tenant"`
	Currency     string      `json:"currency"`
	FromSequence int64       `json:"fromSequence,omitzero"` // of the first operation
	Version      int64       `json:"version"`               // the sequence of the last one
	Balance      int64       `json:"balance"`               // minor units, as are the next two
	Held         int64       `json:"held"`
	Available    int64       `json:"available"`
	State        string      `json:"state"`
	Operations   []Operation `json:"operations,omitempty"`
	// Truncated says that the only operation has metadata that is left out, because it is too large. The API has it.
	Truncated bool `json:"truncated,omitzero"`
}

// Operation is a finished operation as the API answers it, without its settlement, which may change later.
type Operation struct {
	OperationID    uuid.UUID       `json:"operationId"`
	WalletID       uuid.UUID       `json:"walletId"`
	Sequence       int64           `json:"sequence"`
	OperationType  string          `json:"operationType"`
	Amount         int64           `json:"amount,omitzero"` // what it came to, or was asked for; 0: neither is known, or there is none
	Status         string          `json:"status"`
	FailureReason  string          `json:"failureReason,omitempty"`
	BalanceAfter   int64           `json:"balanceAfter"`
	HeldAfter      int64           `json:"heldAfter"`
	AvailableAfter int64           `json:"availableAfter"`
	SubjectID      uuid.UUID       `json:"subjectId,omitzero"`
	Counterpart    Counterpart     `json:"counterpart,omitzero"`
	ExpiresAt      time.Time       `json:"expiresAt,omitzero"`
	Final          *bool           `json:"final,omitempty"`
	Reference      string          `json:"reference,omitempty"`
	Metadata       json.RawMessage `json:"metadata,omitempty"`
	CreatedAt      time.Time       `json:"createdAt"`
	AppliedAt      time.Time       `json:"appliedAt"`
}

// Wallet is what a run says of its wallet that no operation changes.
type Wallet struct {
	ID               uuid.UUID
	Tenant, Currency string
}

// Finished is an operation that has an outcome, with what a run says beside it.
type Finished struct {
	Operation
	State       string // of the wallet after it
	Traceparent string // of its trace; empty: it is not traced
}

// Run returns the run of consecutive operations of the wallet, of which there is one at least.
func (w Wallet) Run(operations ...Finished) Run {
	run := w.begin(&operations[0])
	run.end(&operations[len(operations)-1])
	for _, o := range operations {
		run.Operations = append(run.Operations, o.Operation)
	}
	return run
}

func (w Wallet) begin(first *Finished) Run {
	return Run{WalletID: w.ID, Tenant: w.Tenant, Currency: w.Currency, FromSequence: first.Sequence}
}

func (r *Run) end(last *Finished) {
	r.Version, r.Balance, r.Held, r.Available, r.State = last.Sequence, last.BalanceAfter, last.HeldAfter, last.AvailableAfter, last.State
}

// Counterpart is the other leg of a transfer.
type Counterpart struct {
	WalletID    uuid.UUID `json:"walletId"`
	OperationID uuid.UUID `json:"operationId"`
}

// FinishedOf is an operation that has an outcome, as it is stored.
func FinishedOf(o walletdb.OperationState) Finished {
	out := Finished{State: string(walletdb.WalletStateACTIVE), Operation: Operation{
		OperationID: o.ID, WalletID: o.WalletID, Sequence: o.Seq, OperationType: string(o.Type),
		Amount: o.Amount, Status: o.Status, Final: o.Final, Metadata: o.Metadata, CreatedAt: o.CreatedAt,
		FailureReason: value(o.FailureReason), Reference: value(o.Reference), ExpiresAt: value(o.ExpiresAt), AppliedAt: value(o.AppliedAt),
		BalanceAfter: value(o.BalanceAfter), HeldAfter: value(o.HeldAfter), SubjectID: value(o.SubjectID),
	}}
	out.AvailableAfter = out.BalanceAfter - out.HeldAfter
	if o.AppliedAmount != nil {
		out.Amount = *o.AppliedAmount
	}
	if o.StateAfter != nil {
		out.State = string(*o.StateAfter)
	}
	switch {
	case o.CounterpartID == nil:
	case o.Type == walletdb.OperationTypeTRANSFER || o.Type == walletdb.OperationTypeCAPTURE:
		out.Counterpart = Counterpart{*o.CounterpartID, ReceiveID(o.ID)}
	case o.SubjectID != nil: // RECEIVE, RETURN
		out.Counterpart = Counterpart{*o.CounterpartID, *o.SubjectID}
	}
	return out
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Append appends the run as JSON, whose strings have no more escapes than JSON needs. What is absent in the API is
// absent here. A run without operations says how the wallet is.
func (r *Run) Append(text []byte) []byte {
	text = r.appendHead(text)
	for i := range r.Operations {
		text = r.Operations[i].Append(appendSeparator(text, i))
	}
	return r.appendTail(text, len(r.Operations))
}

func (r *Run) appendHead(text []byte) []byte {
	text = append(appendID(append(text, `{"walletId":"`...), r.WalletID), '"')
	text = appendString(append(text, `,"tenant":`...), r.Tenant)
	text = appendString(append(text, `,"currency":`...), r.Currency)
	if r.FromSequence != 0 {
		text = strconv.AppendInt(append(text, `,"fromSequence":`...), r.FromSequence, 10)
	}
	text = strconv.AppendInt(append(text, `,"version":`...), r.Version, 10)
	text = strconv.AppendInt(append(text, `,"balance":`...), r.Balance, 10)
	text = strconv.AppendInt(append(text, `,"held":`...), r.Held, 10)
	text = strconv.AppendInt(append(text, `,"available":`...), r.Available, 10)
	return appendString(append(text, `,"state":`...), r.State)
}

// appendSeparator appends what stands before the operation of that index.
func appendSeparator(text []byte, index int) []byte {
	if index == 0 {
		return append(text, `,"operations":[`...)
	}
	return append(text, ',')
}

func (r *Run) appendTail(text []byte, operations int) []byte {
	if operations > 0 {
		text = append(text, ']')
	}
	if r.Truncated {
		text = append(text, `,"truncated":true`...)
	}
	return append(text, '}')
}

// Append appends the operation as JSON.
func (o *Operation) Append(text []byte) []byte {
	text = appendID(append(text, `{"operationId":"`...), o.OperationID)
	text = appendID(append(text, `","walletId":"`...), o.WalletID)
	text = strconv.AppendInt(append(text, `","sequence":`...), o.Sequence, 10)
	text = appendString(append(text, `,"operationType":`...), o.OperationType)
	if o.Amount != 0 {
		text = strconv.AppendInt(append(text, `,"amount":`...), o.Amount, 10)
	}
	text = appendString(append(text, `,"status":`...), o.Status)
	if o.FailureReason != "" {
		text = appendString(append(text, `,"failureReason":`...), o.FailureReason)
	}
	text = strconv.AppendInt(append(text, `,"balanceAfter":`...), o.BalanceAfter, 10)
	text = strconv.AppendInt(append(text, `,"heldAfter":`...), o.HeldAfter, 10)
	text = strconv.AppendInt(append(text, `,"availableAfter":`...), o.AvailableAfter, 10)
	if o.SubjectID != uuid.Nil {
		text = append(appendID(append(text, `,"subjectId":"`...), o.SubjectID), '"')
	}
	if o.Counterpart != (Counterpart{}) {
		text = appendID(append(text, `,"counterpart":{"walletId":"`...), o.Counterpart.WalletID)
		text = appendID(append(text, `","operationId":"`...), o.Counterpart.OperationID)
		text = append(text, `"}`...)
	}
	if !o.ExpiresAt.IsZero() {
		text = appendTime(append(text, `,"expiresAt":`...), o.ExpiresAt)
	}
	if o.Final != nil {
		text = strconv.AppendBool(append(text, `,"final":`...), *o.Final)
	}
	if o.Reference != "" {
		text = appendString(append(text, `,"reference":`...), o.Reference)
	}
	text = appendMetadata(text, o.Metadata)
	text = appendTime(append(text, `,"createdAt":`...), o.CreatedAt)
	text = appendTime(append(text, `,"appliedAt":`...), o.AppliedAt)
	return append(text, '}')
}

// appendMetadata leaves out the spaces with which Postgres writes jsonb.
func appendMetadata(text []byte, metadata json.RawMessage) []byte {
	if len(metadata) <= len("{}") {
		return text
	}
	all := bytes.NewBuffer(append(text, `,"metadata":`...))
	if json.Compact(all, metadata) != nil {
		return text
	}
	return all.Bytes()
}

// appendTime writes timeFormat, in a third of the time that the time package takes: an event has two for each operation.
func appendTime(text []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return append(t.AppendFormat(append(text, '"'), timeFormat), '"')
	}
	hour, minute, second := t.Clock()
	text = appendDigits(append(text, '"'), year, 4)
	text = appendDigits(append(text, '-'), int(month), 2)
	text = appendDigits(append(text, '-'), day, 2)
	text = appendDigits(append(text, 'T'), hour, 2)
	text = appendDigits(append(text, ':'), minute, 2)
	text = appendDigits(append(text, ':'), second, 2)
	text = appendDigits(append(text, '.'), t.Nanosecond()/1_000, 6)
	return append(text, 'Z', '"')
}

// appendDigits appends so many digits of a number.
func appendDigits(text []byte, number, digits int) []byte {
	end := len(text) + digits
	text = append(text, "000000"[:digits]...)
	for i := end - 1; number > 0; i-- {
		text[i] = byte('0' + number%10)
		number /= 10
	}
	return text
}

// appendString escapes what JSON must have escaped, and nothing else: encoding/json also escapes <, > and &.
func appendString(text []byte, s string) []byte {
	text = append(text, '"')
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		text = append(text, s[done:i]...)
		if c < ' ' {
			text = append(text, `\u00`...)
			text = append(text, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		} else {
			text = append(text, '\\', c)
		}
		done = i + 1
	}
	return append(append(text, s[done:]...), '"')
}
