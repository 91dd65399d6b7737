package event

import (
	"math"
	"strconv"

	"github.com/google/uuid"
)

// MaxRow bounds the bytes of an outbox row's key, payload and headers together: with the rest of the row they fit on
// a page of Postgres.
const MaxRow = 7_680

// RunType is the ce_type of a Run, and the type of a webhook that has one.
const RunType = "legendary-wallet.wallet.advanced.v1"

// RunID is the ce_id of a run: no two have the same.
func RunID(walletID uuid.UUID, version int64) string {
	return walletID.String() + ":" + strconv.FormatInt(version, 10)
}

// Rows are rows of the outbox, column by column.
type Rows struct {
	Keys      []string
	Payloads  [][]byte
	Headers   []string
	Truncated int // of them
}

// Source is the ce_source of runs: which system it is that tells of them.
type Source string

// Append appends the rows that tell of consecutive operations of a wallet: runs of as many as a row holds. No
// operation is too large for a row: one whose metadata would make it so is a run of its own, without that.
func (s Source) Append(rows *Rows, wallet Wallet, operations []Finished) {
	around := s.around(wallet)
	for len(operations) > 0 {
		operations = operations[s.appendRun(rows, wallet, operations, MaxRow-around):]
	}
}

// around is how many bytes a row has at most, its operations apart.
func (s Source) around(wallet Wallet) int {
	const most = math.MaxInt64
	last := Finished{
		Operation:   Operation{Sequence: most, BalanceAfter: most, HeldAfter: most, AvailableAfter: most},
		State:       "A LONGER ONE THAN ANY",
		Traceparent: "00-00000000000000000000000000000000-0000000000000000-00",
	}
	run := wallet.begin(last)
	run.end(last)
	run.Truncated = true
	return len(wallet.ID.String()) + len(run.appendTail(run.appendHead(nil), 1)) + len(s.headers(run, last))
}

// appendRun appends the run that operations begin with, and returns how many it has. room is for them.
func (s Source) appendRun(rows *Rows, wallet Wallet, operations []Finished, room int) int {
	run := wallet.begin(operations[0])
	text := make([]byte, 0, min(room, 512*len(operations)))
	n := 0
	for ; n < len(operations); n++ {
		before := len(text)
		text = operations[n].Append(appendSeparator(text, n))
		if len(text) > room {
			text = text[:before]
			break
		}
	}
	if n == 0 {
		run.Truncated = true
		rows.Truncated++
		bare := operations[0].Operation
		bare.Metadata = nil
		text = bare.Append(appendSeparator(text, 0))
		n = 1
	}
	last := operations[n-1]
	run.end(last)
	for i := n - 1; i >= 0 && last.Traceparent == ""; i-- {
		last.Traceparent = operations[i].Traceparent
	}
	payload := run.appendHead(make([]byte, 0, 400+len(text)))
	rows.Keys = append(rows.Keys, wallet.ID.String())
	rows.Payloads = append(rows.Payloads, run.appendTail(append(payload, text...), n))
	rows.Headers = append(rows.Headers, s.headers(run, last))
	return n
}

// headers are those of CloudEvents 1.0 in Kafka's binary mode.
func (s Source) headers(run Run, last Finished) string {
	text := make([]byte, 0, 512)
	text = append(text, `{"ce_specversion":"1.0","ce_type":"`+RunType+`"`...)
	text = appendString(append(text, `,"ce_source":`...), string(s))
	text = appendID(append(text, `,"ce_id":"`...), run.WalletID)
	text = strconv.AppendInt(append(text, ':'), run.Version, 10)
	text = appendID(append(text, `","ce_subject":"`...), run.WalletID)
	text = appendTime(append(text, `","ce_time":`...), last.AppliedAt)
	text = append(text, `,"content-type":"application/json"`...)
	if last.Traceparent != "" {
		text = appendString(append(text, `,"traceparent":`...), last.Traceparent)
	}
	return string(append(text, '}'))
}
