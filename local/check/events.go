package check

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Event is what the topic of outcomes tells of a wallet.
type Event struct {
	event.Run
	Partition int32
}

// ParseEvent is about what is no event too, as an error.
func ParseEvent(record *kgo.Record) (Event, error) {
	e := Event{Partition: record.Partition}
	if err := json.Unmarshal(record.Value, &e.Run); err != nil {
		return e, err
	}
	headers := map[string]string{}
	for _, h := range record.Headers {
		headers[h.Key] = string(h.Value)
	}
	switch id := event.RunID(e.WalletID, e.Version); {
	case string(record.Key) != e.WalletID.String():
		return e, fmt.Errorf("its key is %q", record.Key)
	case headers["ce_specversion"] != "1.0" || headers["ce_type"] != event.RunType || headers["ce_id"] != id || headers["ce_subject"] != e.WalletID.String():
		return e, fmt.Errorf("%s has the headers %q", id, headers)
	}
	return e, nil
}

// Receipt is what somebody got who is to hear of every outcome, in whatever runs.
type Receipt struct {
	Operations int // that are finished
	Missed     int // of them never came
	Doubled    int // came more than once
	OutOfOrder int // runs that came before those ahead of them
	wrong      []string
}

// Receive holds runs, in the order in which they came, against what is stored.
func Receive(came []event.Run, stored []walletdb.FinishedOperationsRow) Receipt {
	r := Receipt{Operations: len(stored)}
	type key struct {
		wallet uuid.UUID
		seq    int64
	}
	rows := make(map[key]*walletdb.FinishedOperationsRow, len(stored))
	for i := range stored {
		rows[key{stored[i].OperationState.WalletID, stored[i].OperationState.Seq}] = &stored[i]
	}
	times := map[key]int{}
	last := map[uuid.UUID]int64{}
	for _, run := range came {
		if run.FromSequence > last[run.WalletID]+1 {
			r.OutOfOrder++
		}
		last[run.WalletID] = max(last[run.WalletID], run.Version)
		var told []event.Finished
		for seq := run.FromSequence; seq <= run.Version; seq++ {
			k := key{run.WalletID, seq}
			if times[k]++; times[k] == 2 {
				r.Doubled++
			}
			if row := rows[k]; row != nil {
				told = append(told, event.FinishedOf(row.OperationState))
			}
		}
		if text := wrong(run, rows[key{run.WalletID, run.Version}], told); text != "" {
			r.wrong = append(r.wrong, text)
		}
	}
	for k := range rows {
		if times[k] == 0 {
			r.Missed++
		}
	}
	return r
}

// wrong says what a run tells otherwise than it is stored: row is the last of its operations.
func wrong(run event.Run, row *walletdb.FinishedOperationsRow, stored []event.Finished) string {
	if row == nil || int64(len(stored)) != run.Version-run.FromSequence+1 {
		return fmt.Sprintf("wallet %s: sequences %d to %d are told, and not all of them are finished", run.WalletID, run.FromSequence, run.Version)
	}
	want := event.Wallet{ID: run.WalletID, Tenant: row.Tenant, Currency: row.Currency}.Run(stored...)
	// Of joined runs one may be truncated.
	for i := range run.Operations {
		if run.Truncated && len(run.Operations[i].Metadata) == 0 && i < len(want.Operations) && len(want.Operations[i].Metadata) > 0 {
			want.Truncated, want.Operations[i].Metadata = true, nil
		}
	}
	if got, want := run.Append(nil), want.Append(nil); !bytes.Equal(got, want) {
		return fmt.Sprintf("told was %s, stored is %s", got, want)
	}
	return ""
}

// broken is what speaks against who sent it.
func (r Receipt) broken(who string) []string {
	broken := r.wrong
	if r.Missed > 0 {
		broken = append(broken, fmt.Sprintf("%s: %d of %d finished operations are missing", who, r.Missed, r.Operations))
	}
	if r.OutOfOrder > 0 {
		broken = append(broken, fmt.Sprintf("%s: %d runs came before those ahead of them", who, r.OutOfOrder))
	}
	return broken
}

// Events holds the topic of outcomes against what is stored: a wallet's first occurrences are its outcomes in
// order, all in one partition. A run may be repeated as it is.
func Events(log []Event, stored []walletdb.FinishedOperationsRow) Invariant {
	came := make([]event.Run, len(log))
	partitions := map[uuid.UUID]int32{}
	type told struct {
		from  int64
		times int
	}
	runs := map[string]*told{}
	p := Invariant{}
	repeated, repeatedOperations := 0, 0
	for i, e := range log {
		came[i] = e.Run
		if partition, seen := partitions[e.WalletID]; seen && partition != e.Partition {
			p.Broken = append(p.Broken, fmt.Sprintf("events of wallet %s are in partitions %d and %d", e.WalletID, partition, e.Partition))
		}
		partitions[e.WalletID] = e.Partition
		id := event.RunID(e.WalletID, e.Version)
		if e.Truncated && len(e.Operations) > 1 {
			p.Broken = append(p.Broken, fmt.Sprintf("event %s is truncated, and has %d operations", id, len(e.Operations)))
		}
		run := runs[id]
		if run == nil {
			runs[id] = &told{e.FromSequence, 1}
			continue
		}
		if repeated++; run.from != e.FromSequence {
			p.Broken = append(p.Broken, fmt.Sprintf("event %s begins with %d and with %d", id, run.from, e.FromSequence))
		}
		if run.times++; run.times == 2 {
			repeatedOperations += int(e.Version - e.FromSequence + 1)
		}
	}
	r := Receive(came, stored)
	p.Broken = append(p.Broken, r.broken("the topic of events")...)
	if n := r.Doubled - repeatedOperations; n != 0 {
		p.Broken = append(p.Broken, fmt.Sprintf("the topic of events: %d operations are in several runs", n))
	}
	p.says = fmt.Sprintf("%d events tell of all %d outcomes in order, each wallet in one partition, %d repeated", len(log), r.Operations, repeated)
	return p
}

// Webhooks holds what a receiver got against what is stored. It may get something again, in other runs too.
func Webhooks(came []event.Run, stored []walletdb.FinishedOperationsRow) (Invariant, Receipt) {
	r := Receive(came, stored)
	return Invariant{
		says:   fmt.Sprintf("%d webhooks told of all %d outcomes in order, of %d more than once", len(came), r.Operations, r.Doubled),
		Broken: r.broken("the receiver of webhooks"),
	}, r
}
