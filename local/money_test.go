package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// moneyStep is one request and what of its answer counts. W and T in paths and bodies are wallets, {name} is the
// id of the operation that an earlier step made, and {name receive} and {name return} are what follows from it.
type moneyStep struct {
	name   string
	method string
	path   string // below the wallets' path
	body   string
	status int
	want   map[string]any // of the answer; nil: it has no such field
}

// A stack does what the contract says of holds, reversals, transfers and states, one request after the other.
func TestMoneyMovesAsTheContractSays(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallets := s.OpenWallets(2)
	ids := map[string]string{"W": wallets[0].String(), "T": wallets[1].String()}
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z")
	processed := func(more map[string]any) map[string]any {
		more["status"], more["failureReason"] = "PROCESSED", nil
		return more
	}
	failed := func(reason string, more map[string]any) map[string]any {
		more["status"], more["failureReason"] = "FAILED", reason
		return more
	}
	type is = map[string]any
	var history []load.Operation
	for _, step := range []moneyStep{
		{"deposit", "POST", "/W/operations", `{"operationType":"DEPOSIT","amount":1000,"metadata":{"order":"815"}}`, 200, processed(is{"amount": 1000, "balanceAfter": 1000, "heldAfter": 0, "availableAfter": 1000, "metadata": is{"order": "815"}, "settlement": nil})},
		{"hold", "POST", "/W/holds", `{"amount":600,"expiresAt":"` + tomorrow + `"}`, 200, processed(is{"operationType": "HOLD", "amount": 600, "balanceAfter": 1000, "heldAfter": 600, "availableAfter": 400, "expiresAt": tomorrow, "subjectId": nil})},
		{"more than is available", "POST", "/W/operations", `{"operationType":"WITHDRAW","amount":500}`, 200, failed("INSUFFICIENT_FUNDS", is{"amount": 500, "balanceAfter": 1000, "heldAfter": 600})},
		{"part", "POST", "/W/holds/{hold}/capture", `{"amount":250,"final":false}`, 200, processed(is{"operationType": "CAPTURE", "amount": 250, "balanceAfter": 750, "heldAfter": 350, "availableAfter": 400, "subjectId": "{hold}", "final": false, "counterpart": nil})},
		{"", "GET", "/W/holds/{hold}", "", 200, is{"status": "OPEN", "amount": 600, "captured": 250, "remaining": 350}},
		{"too much", "POST", "/W/holds/{hold}/capture", `{"amount":351}`, 200, failed("EXCEEDS_HOLD", is{"amount": 351})},
		{"rest", "POST", "/W/holds/{hold}/capture", `{}`, 200, processed(is{"amount": 350, "balanceAfter": 400, "heldAfter": 0, "final": true})},
		{"", "GET", "/W/holds/{hold}", "", 200, is{"status": "CLOSED", "captured": 600, "remaining": 0}},
		{"again", "POST", "/W/holds/{hold}/capture", `{}`, 200, failed("HOLD_CLOSED", is{"amount": nil, "balanceAfter": 400})},
		{"second", "POST", "/W/holds", `{"amount":100}`, 200, processed(is{"heldAfter": 100, "expiresAt": nil})},
		{"released", "POST", "/W/holds/{second}/release", `{"reference":"cancelled"}`, 200, processed(is{"operationType": "RELEASE", "amount": 100, "heldAfter": 0, "reference": "cancelled", "subjectId": "{second}", "final": nil})},
		{"released twice", "POST", "/W/holds/{second}/release", `{}`, 200, failed("HOLD_CLOSED", is{"amount": nil})},
		{"late", "POST", "/W/holds", `{"amount":100,"expiresAt":"2026-01-01T00:00:00Z"}`, 200, failed("HOLD_EXPIRED", is{"heldAfter": 0})},

		{"a part back", "POST", "/W/operations/{deposit}/reverse", `{"amount":300}`, 200, processed(is{"operationType": "REVERSE", "amount": 300, "balanceAfter": 100, "subjectId": "{deposit}"})},
		{"all back, but it is spent", "POST", "/W/operations/{deposit}/reverse", `{}`, 200, failed("INSUFFICIENT_FUNDS", is{"amount": nil})},
		{"top-up", "POST", "/W/operations", `{"operationType":"DEPOSIT","amount":1000}`, 200, processed(is{"balanceAfter": 1100})},
		{"the rest back", "POST", "/W/operations/{deposit}/reverse", `{}`, 200, processed(is{"amount": 700, "balanceAfter": 400})},
		{"nothing left", "POST", "/W/operations/{deposit}/reverse", `{}`, 200, failed("EXCEEDS_ORIGINAL", is{"amount": nil})},
		{"a capture back", "POST", "/W/operations/{part}/reverse", `{"amount":50}`, 200, processed(is{"amount": 50, "balanceAfter": 450})},

		{"sent", "POST", "/W/transfers", `{"toWalletId":"T","amount":150,"reference":"rent"}`, 200, processed(is{"operationType": "TRANSFER", "amount": 150, "balanceAfter": 300, "settlement": "COMPLETED", "counterpart": is{"walletId": "T", "operationId": "{sent receive}"}})},
		{"", "GET", "/T/operations/{sent receive}", "", 200, processed(is{"operationType": "RECEIVE", "amount": 150, "balanceAfter": 150, "subjectId": "{sent}", "reference": "rent", "settlement": nil, "counterpart": is{"walletId": "W", "operationId": "{sent}"}})},
		{"", "GET", "/T", "", 200, is{"balance": 150, "available": 150, "state": "ACTIVE"}},
		{"third", "POST", "/W/holds", `{"amount":80}`, 200, processed(is{"heldAfter": 80})},
		{"paid out", "POST", "/W/holds/{third}/capture", `{"toWalletId":"T","amount":50}`, 200, processed(is{"amount": 50, "balanceAfter": 250, "heldAfter": 0, "settlement": "COMPLETED", "counterpart": is{"walletId": "T", "operationId": "{paid out receive}"}})},
		{"", "POST", "/W/operations/{sent}/reverse", `{}`, 422, is{"code": "not-reversible"}},
		{"", "POST", "/W/operations/{paid out}/reverse", `{}`, 422, is{"code": "not-reversible"}},
		{"more than there is", "POST", "/W/transfers", `{"toWalletId":"T","amount":251}`, 200, failed("INSUFFICIENT_FUNDS", is{"amount": 251, "settlement": nil})},

		{"closed too early", "PUT", "/T/state", `{"state":"CLOSED","reason":"gone"}`, 200, failed("WALLET_NOT_EMPTY", is{"operationType": "CLOSE", "amount": nil, "reference": "gone"})},
		{"emptied", "POST", "/T/operations", `{"operationType":"WITHDRAW","amount":200}`, 200, processed(is{"balanceAfter": 0})},
		{"closed", "PUT", "/T/state", `{"state":"CLOSED","reason":"gone"}`, 200, processed(is{"operationType": "CLOSE", "amount": nil})},
		{"", "GET", "/T", "", 200, is{"balance": 0, "state": "CLOSED"}},
		{"returned", "POST", "/W/transfers", `{"toWalletId":"T","amount":60}`, 200, processed(is{"amount": 60, "balanceAfter": 190, "settlement": "RETURNED"})},
		{"", "GET", "/W", "", 200, is{"balance": 250}},
		{"", "GET", "/T/operations/{returned receive}", "", 200, failed("WALLET_CLOSED", is{"operationType": "RECEIVE", "amount": 60})},
		{"", "GET", "/W/operations/{returned return}", "", 200, processed(is{"operationType": "RETURN", "amount": 60, "balanceAfter": 250, "subjectId": "{returned receive}", "counterpart": is{"walletId": "T", "operationId": "{returned receive}"}})},
		{"", "GET", "/W/operations/{returned}", "", 200, processed(is{"settlement": "RETURNED"})},

		{"frozen", "PUT", "/W/state", `{"state":"FROZEN","reason":"case 17"}`, 200, processed(is{"operationType": "FREEZE", "reference": "case 17", "amount": nil, "balanceAfter": 250})},
		{"", "GET", "/W", "", 200, is{"balance": 250, "state": "FROZEN"}},
		{"frozen again", "PUT", "/W/state", `{"state":"FROZEN","reason":"case 18"}`, 200, processed(is{"operationType": "FREEZE"})},
		{"a withdrawal", "POST", "/W/operations", `{"operationType":"WITHDRAW","amount":1}`, 200, failed("WALLET_FROZEN", is{})},
		{"a hold", "POST", "/W/holds", `{"amount":1}`, 200, failed("WALLET_FROZEN", is{})},
		{"a transfer", "POST", "/W/transfers", `{"toWalletId":"T","amount":1}`, 200, failed("WALLET_FROZEN", is{"settlement": nil, "counterpart": is{"walletId": "T", "operationId": "{a transfer receive}"}})},
		{"a reversal", "POST", "/W/operations/{top-up}/reverse", `{"amount":1}`, 200, failed("WALLET_FROZEN", is{})},
		{"a deposit", "POST", "/W/operations", `{"operationType":"DEPOSIT","amount":1}`, 200, processed(is{"balanceAfter": 251})},
		{"active", "PUT", "/W/state", `{"state":"ACTIVE","reason":"solved"}`, 200, processed(is{"operationType": "ACTIVATE"})},
		{"at last", "POST", "/W/operations", `{"operationType":"WITHDRAW","amount":1}`, 200, processed(is{"balanceAfter": 250})},
	} {
		header := http.Header{"Prefer": {"wait=20"}}
		if step.name != "" {
			ids["{"+step.name+"}"] = uuid.NewSHA1(uuid.MustParse(ids[step.path[1:2]]), []byte(step.name)).String()
			header.Set("Idempotency-Key", `"`+step.name+`"`)
			receive := event.ReceiveID(uuid.MustParse(ids["{"+step.name+"}"]))
			ids["{"+step.name+" receive}"], ids["{"+step.name+" return}"] = receive.String(), event.ReturnID(receive).String()
		}
		sentAt := time.Now()
		body, first := step.send(t, s, ids, header)
		if step.name == "" {
			continue
		}
		history = append(history, sentOperation(t, body, first, sentAt))
		if _, again := step.send(t, s, ids, header); again != first {
			t.Errorf("%s: sent again with its key it is answered %s, before %s", step.name, again, first)
		}
	}
	s.KeepPromises(history)
}

// sentOperation is what the client of a request knows of it.
func sentOperation(t *testing.T, body, answer string, sentAt time.Time) load.Operation {
	t.Helper()
	var asked struct {
		Amount     int64
		ToWalletID uuid.UUID
		ExpiresAt  time.Time
		Final      *bool
	}
	var made struct {
		WalletID, OperationID, SubjectID uuid.UUID
		Sequence                         int64
		OperationType                    string
	}
	if err := errors.Join(json.Unmarshal([]byte(body), &asked), json.Unmarshal([]byte(answer), &made)); err != nil {
		t.Fatal(err)
	}
	return load.Operation{
		Wallet: made.WalletID, ID: made.OperationID, Kind: made.OperationType, Amount: asked.Amount,
		Subject: made.SubjectID, Target: asked.ToWalletID, Partial: asked.Final != nil && !*asked.Final, Expires: asked.ExpiresAt,
		SentAt: sentAt, Answered: time.Now(), Sequence: made.Sequence,
	}
}

// send returns the body that it sent and the answer, after a look at what of it counts.
func (step moneyStep) send(t *testing.T, s *system, ids map[string]string, header http.Header) (body, answer string) {
	t.Helper()
	pairs := []string{}
	for name, id := range ids {
		if len(name) == 1 {
			pairs = append(pairs, "/"+name, "/"+id, `"`+name+`"`, `"`+id+`"`)
		} else {
			pairs = append(pairs, name, id)
		}
	}
	named := strings.NewReplacer(pairs...)
	body = named.Replace(step.body)
	r, err := http.NewRequestWithContext(t.Context(), step.method, s.APIURLs[0]+"/api/v1/wallets"+named.Replace(step.path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	r.Header.Set("Authorization", "Bearer "+s.APIKey)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil || response.StatusCode != step.status {
		t.Fatalf("%s %s %s: %d %s %v", step.name, step.method, step.path, response.StatusCode, text, err)
	}
	wanted, err := json.Marshal(step.want)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal([]byte(named.Replace(string(wanted))), &want); err != nil {
		t.Fatal(err)
	}
	for field, value := range want {
		if diff := cmp.Diff(value, got[field]); diff != "" {
			t.Errorf("%s %s %s: %s (-want +got)\n%sin %s", step.name, step.method, step.path, field, diff, text)
		}
	}
	return body, string(text)
}
