package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"
)

// message says that a wallet has operations up to a sequence, and which operation is the last of
// them. What the operation does, the worker reads from Postgres. message.schema.json describes all
// of the message, for any other consumer.
type message struct {
	walletID    uuid.UUID
	sequence    int64
	operationID uuid.UUID
}

var errMessage = errors.New("not an operation")

// decode reads a message. It knows the layout that the api writes, because decoding any JSON took
// half of the worker's time, and reads every other layout by encoding/json.
func decode(payload []byte) (message, error) {
	if m, ok := decodeKnownLayout(payload); ok {
		return m, nil
	}
	var fields struct {
		WalletID    uuid.UUID `json:"walletId"`
		Sequence    int64     `json:"sequence"`
		OperationID uuid.UUID `json:"operationId"`
	}
	if err := json.Unmarshal(payload, &fields); err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	m := message{fields.WalletID, fields.Sequence, fields.OperationID}
	if m.walletID == uuid.Nil || m.sequence < 1 || m.operationID == uuid.Nil {
		return message{}, fmt.Errorf("%w: walletId, sequence or operationId is missing or zero", errMessage)
	}
	return m, nil
}

// decodeKnownLayout reads {"walletId":"…","sequence":n,"operationId":"…", and looks no further.
func decodeKnownLayout(payload []byte) (m message, ok bool) {
	rest := payload
	if m.walletID, rest, ok = cutID(rest, `{"walletId":"`, `","sequence":`); !ok {
		return m, false
	}
	digits := bytes.IndexByte(rest, ',')
	if digits < 1 || rest[0] < '1' || rest[0] > '9' {
		return m, false
	}
	var err error
	if m.sequence, err = strconv.ParseInt(string(rest[:digits]), 10, 64); err != nil {
		return m, false
	}
	m.operationID, _, ok = cutID(rest[digits:], `,"operationId":"`, `","type":"`)
	return m, ok && m.walletID != uuid.Nil && m.operationID != uuid.Nil
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
