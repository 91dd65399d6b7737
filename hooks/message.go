package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
)

// message is one of the topic of events: a run of operations of one wallet.
type message struct {
	partition int32
	offset    int64
	at        time.Time // when the operations were finished, by the clock of Postgres
	trace     string    // traceparent

	walletID      uuid.UUID
	tenant        string
	from, version int64 // sequences

	value      []byte
	head       event.Run // without operations
	operations []byte    // JSON, without the brackets
	types      []string  // of the operations
}

// parse reads a message's value; the rest of it is the caller's.
func parse(value []byte) (*message, error) {
	var v struct {
		event.Run
		Operations json.RawMessage `json:"operations"`
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return nil, err
	}
	at := bytes.Index(value, v.Operations) // not a copy of them
	if at < 0 || len(v.Operations) < 2 || v.Operations[0] != '[' {
		return nil, errors.New("it has no operations")
	}
	operations := value[at : at+len(v.Operations)]
	if v.WalletID == uuid.Nil || v.FromSequence < 1 || v.Version < v.FromSequence {
		return nil, fmt.Errorf("wallet %s, sequences from %d to %d", v.WalletID, v.FromSequence, v.Version)
	}
	var kinds []struct {
		Type string `json:"operationType"`
	}
	if err := json.Unmarshal(operations, &kinds); err != nil {
		return nil, err
	}
	m := &message{
		walletID: v.WalletID, tenant: v.Tenant, from: v.FromSequence, version: v.Version,
		value: value, head: v.Run, operations: bytes.TrimSpace(operations[1 : len(operations)-1]),
	}
	for _, kind := range kinds {
		if !slices.Contains(m.types, kind.Type) {
			m.types = append(m.types, kind.Type)
		}
	}
	return m, nil
}

// id is the message's ce_id.
func (m *message) id() string { return event.RunID(m.walletID, m.version) }

func (m *message) run() hook.Run {
	return hook.Run{Run: m.id(), WalletID: m.walletID, FromSequence: m.from, Version: m.version}
}

// body is what is sent: of several messages, which join without a gap, one run from the first's sequence, and the
// rest as the last says.
func body(messages []*message) []byte {
	last := messages[len(messages)-1]
	data := last.value
	if len(messages) > 1 {
		data = merge(messages)
	}
	return envelope(event.RunType, last.at, data)
}

func merge(messages []*message) []byte {
	head := messages[len(messages)-1].head
	head.FromSequence, head.Truncated, head.Operations = messages[0].from, false, nil
	text := head.Append(make([]byte, 0, sizeOf(messages)+256))
	text = append(text[:len(text)-len("}")], `,"operations":[`...)
	truncated := false
	for i, m := range messages {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, m.operations...)
		truncated = truncated || m.head.Truncated
	}
	text = append(text, ']')
	if truncated {
		text = append(text, `,"truncated":true`...)
	}
	return append(text, '}')
}

// envelope is the body that Standard Webhooks asks for.
func envelope(kind string, at time.Time, data []byte) []byte {
	text := make([]byte, 0, len(data)+128)
	text = append(append(text, `{"type":"`...), kind...)
	text = at.UTC().AppendFormat(append(text, `","timestamp":"`...), "2006-01-02T15:04:05.000000Z")
	text = append(append(text, `","data":`...), data...)
	return append(text, '}')
}

func sizeOf(messages []*message) (bytes int) {
	for _, m := range messages {
		bytes += len(m.value)
	}
	return bytes
}

// filter says which messages an endpoint takes. A message goes out whole if one of its operations matches.
type filter struct {
	tenant  string
	since   time.Time // what was finished before it is not told
	wallets map[uuid.UUID]bool
	types   []string
}

func (f *filter) takes(m *message) bool {
	return m.tenant == f.tenant &&
		(f.wallets == nil || f.wallets[m.walletID]) &&
		(f.types == nil || slices.ContainsFunc(m.types, func(kind string) bool { return slices.Contains(f.types, kind) }))
}

// early reports whether a message was finished before the endpoint's time. The log is read from lookBack before it, and
// may be out of order by as much: what seems to be older still was finished while the clock was set back.
func (f *filter) early(m *message) bool {
	return m.at.Before(f.since) && !m.at.Before(f.since.Add(-2*lookBack))
}
