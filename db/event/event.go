// Package event is what the topics say. Message is that of wallet-operations: a wallet has accepted an operation.
// message.schema.json describes it for any consumer. Those who accept operations write it, the worker's
// statement for what it accepts itself among them (db/queries/apply.sql), which a test compares with Encode. Run is
// that of wallet-events: what became of consecutive operations of a wallet.
package event

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Schema is message.schema.json.
//
//go:embed message.schema.json
var Schema []byte

// timeFormat has six decimals, which is all that Postgres stores.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// Message says what was accepted.
type Message struct {
	WalletID    uuid.UUID `json:"walletId"`
	Sequence    int64     `json:"sequence"`
	OperationID uuid.UUID `json:"operationId"`
	Type        string    `json:"type"`
	Amount      int64     `json:"amount"` // minor units, as asked for; 0: open, or none
	AcceptedAt  time.Time `json:"acceptedAt,omitzero"`
}

// Encode writes the layout that DecodeHint knows.
func (m Message) Encode() []byte {
	text := make([]byte, 0, 256)
	text = appendID(append(text, beforeWallet...), m.WalletID)
	text = strconv.AppendInt(append(text, beforeSequence...), m.Sequence, 10)
	text = appendID(append(text, beforeOperation...), m.OperationID)
	text = append(append(text, beforeType...), m.Type...)
	text = strconv.AppendInt(append(text, `","amount":`...), m.Amount, 10)
	text = m.AcceptedAt.UTC().AppendFormat(append(text, `,"acceptedAt":"`...), timeFormat)
	return append(text, `"}`...)
}

func appendID(text []byte, id uuid.UUID) []byte {
	text = append(hex.AppendEncode(text, id[:4]), '-')
	text = append(hex.AppendEncode(text, id[4:6]), '-')
	text = append(hex.AppendEncode(text, id[6:8]), '-')
	text = append(hex.AppendEncode(text, id[8:10]), '-')
	return hex.AppendEncode(text, id[10:])
}

// Version is that of a message's header: 1 for the types of the first release, whose consumers may know no
// others, 2 for all others.
func Version(kind string) string {
	if kind == "DEPOSIT" || kind == "WITHDRAW" {
		return "1"
	}
	return "2"
}

// Headers are those of an outbox row that names no trace.
func Headers(kind string) string {
	if Version(kind) == "1" {
		return `{"version":"1"}`
	}
	return `{"version":"2"}`
}

// Decode reads all of a message, in whatever layout.
func Decode(payload []byte) (m Message, err error) {
	err = json.Unmarshal(payload, &m)
	return m, err
}

// Hint is where to look, and all that the worker takes from a message: the wallet has operations up to
// the sequence, of which this one is the last.
type Hint struct {
	WalletID    uuid.UUID `json:"walletId"`
	Sequence    int64     `json:"sequence"`
	OperationID uuid.UUID `json:"operationId"`
}

// ErrNoOperation is about a message that is something else.
var ErrNoOperation = errors.New("not an operation")

// DecodeHint knows the layout of Encode, because decoding any JSON took half of the worker's time, and
// reads every other layout by encoding/json.
func DecodeHint(payload []byte) (Hint, error) {
	if h, ok := decodeKnownLayout(payload); ok {
		return h, nil
	}
	var h Hint
	if err := json.Unmarshal(payload, &h); err != nil {
		return Hint{}, fmt.Errorf("%w: %w", ErrNoOperation, err)
	}
	if h.WalletID == uuid.Nil || h.Sequence < 1 || h.OperationID == uuid.Nil {
		return Hint{}, fmt.Errorf("%w: walletId, sequence or operationId is missing or zero", ErrNoOperation)
	}
	return h, nil
}

const (
	beforeWallet    = `{"walletId":"`
	beforeSequence  = `","sequence":`
	beforeOperation = `,"operationId":"`
	beforeType      = `","type":"`
)

// decodeKnownLayout reads {"walletId":"…","sequence":n,"operationId":"…", and looks no further.
func decodeKnownLayout(payload []byte) (h Hint, ok bool) {
	rest := payload
	if h.WalletID, rest, ok = cutID(rest, beforeWallet, beforeSequence); !ok {
		return h, false
	}
	digits := bytes.IndexByte(rest, ',')
	if digits < 1 || rest[0] < '1' || rest[0] > '9' {
		return h, false
	}
	var err error
	if h.Sequence, err = strconv.ParseInt(string(rest[:digits]), 10, 64); err != nil {
		return h, false
	}
	h.OperationID, _, ok = cutID(rest[digits:], beforeOperation, beforeType)
	return h, ok && h.WalletID != uuid.Nil && h.OperationID != uuid.Nil
}

// cutID reads a UUID between two literals and returns what follows.
func cutID(text []byte, before, after string) (id uuid.UUID, rest []byte, ok bool) {
	const length = 36
	end := len(before) + length
	if len(text) < end+len(after) || string(text[:len(before)]) != before || string(text[end:end+len(after)]) != after {
		return id, nil, false
	}
	id, err := uuid.ParseBytes(text[len(before):end])
	return id, text[end+len(after):], err == nil
}

// What the worker accepts has an id that follows from its cause: so it is accepted once, whoever does.

// ReceiveID is of the RECEIVE that a TRANSFER, or a CAPTURE that goes to another wallet, leads to.
func ReceiveID(debitLeg uuid.UUID) uuid.UUID { return uuid.NewSHA1(debitLeg, []byte("receive")) }

// ReturnID is of the RETURN that a RECEIVE leads to if it fails.
func ReturnID(receive uuid.UUID) uuid.UUID { return uuid.NewSHA1(receive, []byte("return")) }

// ExpireID is of a hold's EXPIRE.
func ExpireID(hold uuid.UUID) uuid.UUID { return uuid.NewSHA1(hold, []byte("expire")) }
