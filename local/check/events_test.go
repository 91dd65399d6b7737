package check

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// outcomes are five finished operations of a wallet, told in the runs 1 to 2, 3, and 4 to 5.
func outcomes() ([]Event, []walletdb.FinishedOperationsRow) {
	applied := time.Date(2026, 11, 24, 10, 15, 30, 0, time.UTC)
	var stored []walletdb.FinishedOperationsRow
	var all []event.Finished
	for seq := int64(1); seq <= 5; seq++ {
		balance, reference := 5*seq, "invoice"
		row := walletdb.FinishedOperationsRow{Currency: "EUR", Tenant: "default", OperationState: walletdb.OperationState{
			WalletID: wallet, Seq: seq, ID: uuid.NewSHA1(wallet, []byte{byte(seq)}), Type: "DEPOSIT", Amount: 5, Reference: &reference, CreatedAt: applied,
			Status: "PROCESSED", BalanceAfter: &balance, AppliedAt: &applied, Metadata: []byte(`{"order": "815"}`),
		}}
		stored, all = append(stored, row), append(all, event.FinishedOf(row.OperationState))
	}
	of := event.Wallet{ID: wallet, Tenant: "default", Currency: "EUR"}
	return []Event{{Run: of.Run(all[:2]...)}, {Run: of.Run(all[2])}, {Run: of.Run(all[3:]...)}}, stored
}

func TestEventsAreHeldAgainstWhatIsStored(t *testing.T) {
	joined := func(l []Event, first, last int) Event {
		run := l[last]
		run.FromSequence, run.Operations = l[first].FromSequence, nil
		for _, e := range l[first : last+1] {
			run.Operations = append(run.Operations, e.Operations...)
		}
		return run
	}
	for name, c := range map[string]struct {
		change            func(log []Event) []Event
		topic, byWebhooks string
	}{
		"in order":               {func(l []Event) []Event { return l }, "", ""},
		"repeated":               {func(l []Event) []Event { return append(l, l...) }, "", ""},
		"three times":            {func(l []Event) []Event { return append(l, l[1], l[1]) }, "", ""},
		"swapped":                {func(l []Event) []Event { return []Event{l[1], l[0], l[2]} }, "1 runs came before", "1 runs came before"},
		"one missing":            {func(l []Event) []Event { return []Event{l[0], l[2]} }, "1 of 5 finished operations are missing", "1 of 5"},
		"the end missing":        {func(l []Event) []Event { return l[:2] }, "2 of 5", "2 of 5"},
		"nothing":                {func([]Event) []Event { return nil }, "5 of 5", "5 of 5"},
		"in two partitions":      {func(l []Event) []Event { l[1].Partition = 1; return l }, "in partitions 0 and 1", ""},
		"joined":                 {func(l []Event) []Event { return []Event{joined(l, 0, 2)} }, "", ""},
		"repeated, but joined":   {func(l []Event) []Event { return append(l, joined(l, 1, 2)) }, "begins with 4 and with 3", ""},
		"in an overlapping run":  {func(l []Event) []Event { return append(l[:2], joined(l, 1, 2)) }, "1 operations are in several runs", ""},
		"another balance":        {func(l []Event) []Event { l[1].Balance++; return l }, "told was", "told was"},
		"another state":          {func(l []Event) []Event { l[1].State = "FROZEN"; return l }, "told was", "told was"},
		"another tenant":         {func(l []Event) []Event { l[1].Tenant = "other"; return l }, "told was", "told was"},
		"another amount":         {func(l []Event) []Event { l[1].Operations[0].Amount++; return l }, "told was", "told was"},
		"another time":           {func(l []Event) []Event { l[1].Operations[0].AppliedAt = time.Now(); return l }, "told was", "told was"},
		"other metadata":         {func(l []Event) []Event { l[1].Operations[0].Metadata = json.RawMessage(`{}`); return l }, "told was", "told was"},
		"without one operation":  {func(l []Event) []Event { l[0].Operations = l[0].Operations[:1]; return l }, "told was", "told was"},
		"one that is not stored": {func(l []Event) []Event { l[2].Version = 6; return l }, "not all of them are finished", "not all of them are finished"},
		"truncated": {func(l []Event) []Event {
			l[1].Truncated, l[1].Operations[0].Metadata = true, nil
			return l
		}, "", ""},
		"truncated among others": {func(l []Event) []Event {
			l[0].Truncated, l[0].Operations[0].Metadata = true, nil
			return l
		}, "is truncated, and has 2", ""},
		"truncated, and nothing is missing": {func(l []Event) []Event { l[1].Truncated = true; return l }, "told was", "told was"},
		"not all of it, and not truncated":  {func(l []Event) []Event { l[1].Operations[0].Metadata = nil; return l }, "told was", "told was"},
	} {
		t.Run(name, func(t *testing.T) {
			log, stored := outcomes()
			log = c.change(log)
			expectBroken(t, Events(log, stored), c.topic)
			came := make([]event.Run, len(log))
			for i := range log {
				came[i] = log[i].Run
			}
			invariant, _ := Webhooks(came, stored)
			expectBroken(t, invariant, c.byWebhooks)
		})
	}
}

func TestReceiptsCountWhatCame(t *testing.T) {
	log, stored := outcomes()
	r := Receive([]event.Run{log[2].Run, log[0].Run, log[0].Run}, stored)
	if r.Operations != 5 || r.Missed != 1 || r.Doubled != 2 || r.OutOfOrder != 1 || len(r.wrong) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestRecordsThatAreNoEventsAreRefused(t *testing.T) {
	log, _ := outcomes()
	run := log[0].Run
	record := func() *kgo.Record {
		headers := []kgo.RecordHeader{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte(event.RunType)}, {Key: "ce_id", Value: []byte(event.RunID(wallet, 2))}, {Key: "ce_subject", Value: []byte(wallet.String())}}
		return &kgo.Record{Key: []byte(wallet.String()), Value: run.Append(nil), Headers: headers, Partition: 3}
	}
	if e, err := ParseEvent(record()); err != nil || e.Version != 2 || e.Partition != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	for name, change := range map[string]func(*kgo.Record){
		"no JSON":      func(r *kgo.Record) { r.Value = []byte("x") },
		"another key":  func(r *kgo.Record) { r.Key = []byte(first.String()) },
		"another id":   func(r *kgo.Record) { r.Headers[2].Value = []byte(event.RunID(wallet, 3)) },
		"another type": func(r *kgo.Record) { r.Headers[1].Value = []byte("x") },
		"no header":    func(r *kgo.Record) { r.Headers = nil },
	} {
		r := record()
		change(r)
		if e, err := ParseEvent(r); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
