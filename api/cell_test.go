package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletid"
)

// ours is an id of a wallet that cell 7 does not have. The wallets T and D were made by cell 0, and are here all
// the same.
const ours = "00000000-0000-8007-8000-00000000000a"

// inCell7 are requests to an api with CELL=7, and their answers.
func inCell7() []surface {
	const deposit = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	get := func(name, path string, status int, code string, header ...string) surface {
		return surface{name: name, method: "GET", path: path, header: header, status: status, code: code}
	}
	post := func(name, path, body string, status int, code string) surface {
		return surface{name: name, method: "POST", path: path, body: body, status: status, code: code}
	}
	rows := []surface{
		get("a wallet of this cell", walletsW, 200, ""),
		get("a wallet that was made elsewhere and is here", "/api/v1/wallets/T", 200, ""),
		get("no such wallet of this cell", walletsPath+"/"+ours, 404, "wallet-not-found"),
		get("a statement of none", walletsPath+"/"+ours+"/operations", 404, "wallet-not-found"),
		get("an operation of none", walletsPath+"/"+ours+"/operations/O", 404, "operation-not-found"),
		get("no such operation of a wallet that was made elsewhere and is here", "/api/v1/wallets/T/operations/O", 404, "operation-not-found"),
		get("no such hold of it", "/api/v1/wallets/T/holds/H", 404, "hold-not-found"),
		get("a wallet that is here, before there was one", "/api/v1/wallets/T?at=1999-01-01T00:00:00Z", 404, "wallet-not-found"),
		get("another cell's wallet, as it was", walletsPath+"/"+absent+"?at=1999-01-01T00:00:00Z", 421, "wrong-cell"),
		get("another cell's wallet, when it is that far", walletsPath+"/"+absent+"?minSequence=1", 421, "wrong-cell"),
		get("another cell's wallet in capital letters", walletsPath+"/00000000-0000-8FFF-8000-00000000000A", 421, "wrong-cell"),
		get("another cell's filtered statement", walletsPath+"/"+absent+"/operations?type=DEPOSIT", 421, "wrong-cell"),
		get("another cell's stream", walletsPath+"/"+absent+"/events", 421, "wrong-cell"),
		get("a stream of none", walletsPath+"/"+ours+"/events", 404, "wallet-not-found"),
		get("another cell's hold", walletsPath+"/"+absent+"/holds/H", 421, "wrong-cell"),
		post("a deposit to no wallet of this cell", operationsPath, strings.Replace(deposit, "W", ours, 1), 404, "wallet-not-found"),
		post("a transfer to no wallet of this cell", transfersW, `{"toWalletId":"`+ours+`","amount":1}`, 404, "wallet-not-found"),
		post("a transfer to a wallet that was made elsewhere and is here", transfersW, `{"toWalletId":"T","amount":1}`, 202, ""),
		post("a transfer to another cell", transfersW, `{"toWalletId":"`+absent+`","amount":1}`, 422, "other-cell"),
		post("a transfer from another cell", walletsPath+"/"+absent+"/transfers", `{"toWalletId":"W","amount":1}`, 421, "wrong-cell"),
		post("a capture for another cell", captureH, `{"toWalletId":"`+absent+`"}`, 422, "other-cell"),
		post("a batch with another cell's wallet", batchPath, `{"operations":[`+deposit+`,`+strings.Replace(deposit, "W", absent, 1)+`]}`, 200, "wrong-cell"),
		post("a batch with a transfer to another cell", batchPath, `{"operations":[{"walletId":"W","operationType":"TRANSFER","amount":1,"toWalletId":"`+absent+`"}]}`, 200, "other-cell"),
		get("a wallet of this cell, and another one in the header", walletsW, 200, "", "Wallet-Cell: 3"),
		get("this cell's wallets", walletsPath, 200, "", "Wallet-Cell: 7"),
		get("what the key may do in this cell", keyPath, 200, "", "Wallet-Cell: 7"),
		get("what the key may do in another cell", keyPath, 421, "wrong-cell", "Wallet-Cell: 3"),
		get("another cell's wallets, without a key", walletsPath, 401, "unauthorized", "Wallet-Cell: 3", "Authorization: "),
	}
	for _, cell := range []string{"x", "", "-1", "07", "+7", "4096", "7.0", "7, 7"} {
		row := get("wallets of cell "+cell, walletsPath, 400, "invalid-request", "Wallet-Cell: "+cell)
		row.field = "Wallet-Cell"
		if cell == "" {
			row.status, row.code, row.field = 200, "", ""
		}
		rows = append(rows, row)
	}
	for _, row := range everyRoute("of another cell", 421, "wrong-cell") {
		switch {
		case row.path == batchPath || len(row.header) > 0: // an item's answer is above; the last one has a wrong body
			continue
		case row.path != operationsPath && !strings.HasPrefix(row.path, walletsPath+"/"):
			row.header = []string{"Wallet-Cell: 3"}
		default:
			row.path = strings.Replace(row.path, "/W", "/"+absent, 1)
			row.body = strings.Replace(row.body, `"W"`, `"`+absent+`"`, 1)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestEachCellMakesIDsOfItsOwn(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	for _, cell := range []int{0, 1, walletid.MaxCell} {
		a := startAPI(t, database.As(testdb.API), fmt.Sprintf("CELL=%d", cell))
		if id := a.newWallet(t); walletid.Cell(id) != cell || (cell == 0) != (id.Version() == 7) {
			t.Errorf("cell %d makes %s", cell, id)
		}
		key := "Idempotency-Key: the-same"
		first := a.send("POST", walletsPath, "{}", key)
		again := a.send("POST", walletsPath, "{}", key)
		id, err := uuid.Parse(fmt.Sprint(first.body["walletId"]))
		if err != nil || walletid.Cell(id) != cell || again.body["walletId"] != first.body["walletId"] || again.status != http.StatusOK {
			t.Errorf("cell %d: %d %s, again: %d %s", cell, first.status, first.text, again.status, again.text)
		}
		if r := a.deposit(id, 5); r.status != http.StatusAccepted {
			t.Errorf("cell %d: %d %s", cell, r.status, r.text)
		}
	}
}

// Retries of many creations come at once, and to several apis of the cell.
func TestAKeyMakesOneWalletOfACell(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	apis := []*api{startAPI(t, database.As(testdb.API), "CELL=5"), startAPI(t, database.As(testdb.API), "CELL=5")}
	made := make([]string, 100)
	var sent sync.WaitGroup
	for i := range made {
		sent.Go(func() {
			r := apis[i%2].send("POST", walletsPath, "{}", "Idempotency-Key: one")
			made[i] = fmt.Sprint(r.body["walletId"])
		})
	}
	sent.Wait()
	slices.Sort(made)
	if distinct := slices.Compact(made); len(distinct) != 1 || walletid.Cell(uuid.MustParse(distinct[0])) != 5 {
		t.Errorf("one key made %v", distinct)
	}
}

func TestAFullCellOpensNothingAndAnswersRetries(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	open := startAPI(t, database.As(testdb.API), "CELL=2")
	key := "Idempotency-Key: from-before"
	before := open.send("POST", walletsPath, "{}", key)
	full := startAPI(t, database.As(testdb.API), "CELL=2", "NEW_WALLETS=off")
	if r := full.send("POST", walletsPath, "{}", key); r.status != http.StatusOK || r.body["walletId"] != before.body["walletId"] {
		t.Errorf("a retry: %d %s", r.status, r.text)
	}
	if r := full.send("POST", walletsPath, `{"currency":"CHF"}`, key); r.status != http.StatusUnprocessableEntity {
		t.Errorf("other content: %d %s", r.status, r.text)
	}
	for _, headers := range [][]string{nil, {"Idempotency-Key: new"}} {
		r := full.send("POST", walletsPath, "{}", headers...)
		if r.status != http.StatusServiceUnavailable || r.body["code"] != "overloaded" || r.header.Get("Retry-After") == "" {
			t.Errorf("%v: %d %s", headers, r.status, r.text)
		}
	}
	if r := full.deposit(uuid.MustParse(before.body["walletId"].(string)), 5); r.status != http.StatusAccepted {
		t.Errorf("a deposit to a wallet that it has: %d %s", r.status, r.text)
	}
	var wallets int
	if err := database.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM wallets").Scan(&wallets); err != nil || wallets != 1 {
		t.Errorf("there are %d wallets (%v)", wallets, err)
	}
}

func TestTheWrongCellIsNamed(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API)) // cell 0
	here := a.newWallet(t)
	foreign, err := walletid.New(4095)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]reply{
		"wrong-cell": a.send("GET", walletPath(foreign), ""),
		"other-cell": a.send("POST", walletPath(here)+"/transfers", `{"toWalletId":"`+foreign.String()+`","amount":1}`),
	} {
		if r.body["code"] != name || r.number(t, "cell") != 4095 || !strings.Contains(fmt.Sprint(r.body["detail"]), "cell 4095") {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}
	items := a.items(t, []string{depositBody(here, 1), depositBody(foreign, 2), depositBody(here, 3)})
	if items[0]["sequence"] == nil || items[1]["code"] != "wrong-cell" || fmt.Sprint(items[1]["cell"]) != "4095" || items[2]["sequence"] == nil {
		t.Errorf("%v", items)
	}
	mustBeDense(t, database.Conn(t), here, 2)
}
