package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// A consumer of events may use the types that it has for the API.
func TestAnEventHasAnOperationAsTheAPIAnswersIt(t *testing.T) {
	t.Parallel()
	wallet, other, id, cause := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}, uuid.UUID{4}
	at := time.Date(2026, 11, 24, 11, 15, 30, 120000000, time.FixedZone("an hour ahead", 3600))
	later := at.Add(time.Hour)
	amount := func(n int64) *int64 { return &n }
	text := func(s string) *string { return &s }
	yes, no := true, false
	metadata := []byte(`{"<order>": "8 \"1\" 5", "shop": "Köln & more"}`)
	for name, stored := range map[string]walletdb.OperationState{
		"a deposit":              {Type: "DEPOSIT", Amount: 5, BalanceAfter: amount(9), Reference: text(`<a> & "b" \`), Metadata: metadata},
		"empty metadata":         {Type: "DEPOSIT", Amount: 5, BalanceAfter: amount(9), Metadata: []byte("{}")},
		"a failed one":           {Type: "WITHDRAW", Amount: 5, BalanceAfter: amount(0), Status: statusFailed, FailureReason: text("INSUFFICIENT_FUNDS")},
		"a hold":                 {Type: "HOLD", Amount: 5, BalanceAfter: amount(9), HeldAfter: amount(5), ExpiresAt: &later},
		"a capture":              {Type: "CAPTURE", Amount: 5, BalanceAfter: amount(9), SubjectID: &cause, Final: &no},
		"an open capture":        {Type: "CAPTURE", AppliedAmount: amount(7), BalanceAfter: amount(9), HeldAfter: amount(2), SubjectID: &cause, Final: &yes},
		"a failed open capture":  {Type: "CAPTURE", Status: statusFailed, FailureReason: text("HOLD_CLOSED"), BalanceAfter: amount(9), SubjectID: &cause},
		"a capture for another":  {Type: "CAPTURE", Amount: 5, BalanceAfter: amount(9), CounterpartID: &other, SubjectID: &cause},
		"a release":              {Type: "RELEASE", AppliedAmount: amount(7), BalanceAfter: amount(9), SubjectID: &cause},
		"an expiry":              {Type: "EXPIRE", AppliedAmount: amount(7), BalanceAfter: amount(9), SubjectID: &cause},
		"a reversal":             {Type: "REVERSE", Amount: 3, BalanceAfter: amount(9), SubjectID: &cause},
		"a transfer":             {Type: "TRANSFER", Amount: 5, BalanceAfter: amount(9), CounterpartID: &other},
		"a receive":              {Type: "RECEIVE", Amount: 5, BalanceAfter: amount(9), CounterpartID: &other, SubjectID: &cause},
		"a return above 2^53":    {Type: "RETURN", Amount: 5, BalanceAfter: amount(1<<53 + 1), CounterpartID: &other, SubjectID: &cause},
		"a freeze":               {Type: "FREEZE", BalanceAfter: amount(9), HeldAfter: amount(2)},
		"a close":                {Type: "CLOSE", BalanceAfter: amount(0)},
		"a type of tomorrow":     {Type: "NEW_KIND", Amount: 1, BalanceAfter: amount(9)},
		"a reference in Chinese": {Type: "DEPOSIT", Amount: 1, BalanceAfter: amount(9), Reference: text("發票\u2028😀\x7f")},
	} {
		stored.ID, stored.WalletID, stored.Seq, stored.CreatedAt, stored.AppliedAt = id, wallet, 42, at, &later
		if stored.Status == "" {
			stored.Status = statusProcessed
		}
		answer := operationBody(stored, "")
		body, err := answer.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		finished := event.FinishedOf(stored)
		var want, got any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(finished.Append(nil), &got); err != nil {
			t.Fatalf("%s: %s: %v", name, finished.Append(nil), err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-api +event):\n%s", name, diff)
		}
		if stored.Metadata == nil && string(body) != string(finished.Append(nil)) { // else the API's order is random
			t.Errorf("%s:\n%s in the API\n%s in the event", name, body, finished.Append(nil))
		}
	}
}
