package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// items sends a batch and returns what became of each operation.
func (a *api) items(t *testing.T, operations []string, headers ...string) (items []map[string]any) {
	t.Helper()
	r := a.send("POST", batchPath, `{"operations":[`+strings.Join(operations, ",")+`]}`, headers...)
	list, _ := r.body["items"].([]any)
	if r.status != http.StatusOK || len(list) != len(operations) {
		t.Fatalf("%d with %d items: %s %v", r.status, len(list), r.text, r.err)
	}
	for _, item := range list {
		items = append(items, item.(map[string]any))
	}
	return items
}

func TestABatchAnswersEachOperationOnItsOwn(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	one, two := a.newWallet(t), a.newWallet(t)
	keyed := func(walletID uuid.UUID, amount int, key string) string {
		return strings.TrimSuffix(depositBody(walletID, amount), "}") + `,"idempotencyKey":"` + key + `"}`
	}
	batch := []string{
		depositBody(one, 1),
		keyed(one, 2, "a b"),
		depositBody(uuid.New(), 3),
		keyed(two, 4, "a b"), // a key belongs to its wallet
		keyed(one, 5, "a b"), // other content
		keyed(one, 2, "a b"), // once more
		depositBody(one, 7),
	}
	items := a.items(t, batch)
	for i, want := range []string{"1", "2", "wallet-not-found", "1", "idempotency-key-reused", "2", "3"} {
		got := items[i]["code"]
		if got == nil {
			got = items[i]["sequence"]
		}
		if fmt.Sprint(got) != want {
			t.Errorf("item %d: %v, want %s", i, items[i], want)
		}
	}
	if single := a.deposit(one, 2, `Idempotency-Key: "a b"`); single.body["operationId"] != items[1]["operationId"] {
		t.Errorf("the key of an item and the same one in a header: %s, %v", single.text, items[1])
	}
	mustBeDense(t, database.Conn(t), one, 3)
	mustBeDense(t, database.Conn(t), two, 1)
}

func TestABatchKeepsItsOrderAndCanBeSentAgainAsAWhole(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "FLUSH_MAX=64")
	walletID := a.newWallet(t)
	var batch []string
	for amount := range 1000 {
		batch = append(batch, depositBody(walletID, amount+1))
	}
	first := a.items(t, batch, `Idempotency-Key: "payday"`)
	again := a.items(t, batch, "Idempotency-Key: payday")
	for i, item := range first {
		want := uuid.NewSHA1(walletID, fmt.Appendf(nil, "payday:%d", i)).String()
		if fmt.Sprint(item["sequence"]) != fmt.Sprint(i+1) || item["operationId"] != want || again[i]["operationId"] != want {
			t.Fatalf("item %d: %v, again: %v", i, item, again[i])
		}
	}
	mustBeDense(t, database.Conn(t), walletID, 1000)
}

func TestABatchThatBreaksTheSchemaIsRefusedWhole(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	walletID := a.newWallet(t)
	r := a.send("POST", batchPath, `{"operations":[`+depositBody(walletID, 1)+","+depositBody(walletID, 0)+`]}`)
	if r.status != http.StatusBadRequest {
		t.Errorf("%d %s", r.status, r.text)
	}
	mustBeDense(t, database.Conn(t), walletID, 0)
}
