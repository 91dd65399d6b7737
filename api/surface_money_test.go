package main

import "strings"

const (
	captureH   = holdsW + "/H/capture"
	releaseH   = holdsW + "/H/release"
	reverseO   = operationO + "/reverse"
	transfersW = walletsW + "/transfers"
	stateW     = walletsW + "/state"
)

// moneyRoute is a route that makes one operation of the wallet in its path, with a right body and another one.
type moneyRoute struct{ name, method, path, body, other string }

var moneyRoutes = []moneyRoute{
	{"deposit by path", "POST", statementW, `{"operationType":"DEPOSIT","amount":1}`, `{"operationType":"DEPOSIT","amount":1,"metadata":{"a":"b"}}`},
	{"hold", "POST", holdsW, `{"amount":1,"expiresAt":"2026-12-01T12:00:00.000001Z"}`, `{"amount":1,"expiresAt":"2026-12-01T12:00:00.000002Z"}`},
	{"capture", "POST", captureH, `{}`, `{"final":false}`},
	{"release", "POST", releaseH, `{}`, `{"reference":"r"}`},
	{"reverse", "POST", reverseO, `{}`, `{"amount":1}`},
	{"transfer", "POST", transfersW, `{"toWalletId":"T","amount":1}`, `{"toWalletId":"T","amount":2}`},
	{"freeze", "PUT", stateW, `{"state":"FROZEN","reason":"r"}`, `{"state":"FROZEN","reason":"s"}`},
}

// everyMoneyRoute is a right request of each of them, which something else makes fail, and how it does.
func everyMoneyRoute(name string, status int, code string, header ...string) (rows []surface) {
	for _, route := range moneyRoutes {
		rows = append(rows, surface{name: name + ": " + route.name, method: route.method, path: route.path, body: route.body, header: header, status: status, code: code})
	}
	return rows
}

func moneySurfaces() []surface {
	var rows []surface
	for _, route := range moneyRoutes {
		row := func(name, body string, status int, code, field string, header ...string) {
			rows = append(rows, surface{name: route.name + ": " + name, method: route.method, path: route.path, body: body, header: header, status: status, code: code, field: field})
		}
		key := "Idempotency-Key: " + route.name
		key = strings.ReplaceAll(key, " by ", "-by-")
		row("right", route.body, 202, "", "")
		row("with a key", route.body, 202, "", "", key)
		row("the key once more", route.body, 202, "", "", key)
		row("the key with other content", route.other, 422, "idempotency-key-reused", "", key)
		row("other content", route.other, 202, "", "")
		row("no body", "", 400, "invalid-request", "")
		row("no object", "[]", 400, "invalid-request", "")
		row("an unknown field", `{"x":1}`, 400, "invalid-request", "x")
		row("a repeated field", strings.Replace(route.body, "{", `{"reference":"r","reference":"r",`, 1), 400, "invalid-request", "reference")
		row("invalid UTF-8", "{\"reference\":\"\xff\"}", 400, "invalid-request", "")
		row("two keys", route.body, 400, "invalid-request", "Idempotency-Key", key, key)
		row("another content type", route.body, 415, "unsupported-media-type", "", "Content-Type: text/plain")
		row("too large", route.body+strings.Repeat(" ", maxBody), 413, "request-too-large", "")
		elsewhere := route
		elsewhere.path = strings.Replace(route.path, "/W", "/"+absent, 1)
		rows = append(rows,
			surface{name: route.name + ": no such wallet", method: route.method, path: elsewhere.path, body: route.body, status: 404, code: "wallet-not-found"},
			surface{name: route.name + ": a wallet without hyphens", method: route.method, path: strings.ReplaceAll(elsewhere.path, absent, strings.ReplaceAll(absent, "-", "")), body: route.body, status: 400, code: "invalid-request", field: "walletId"})
	}
	refused := func(name, path, body string, status int, code string, header ...string) {
		rows = append(rows, surface{name: name, method: "POST", path: path, body: body, header: header, status: status, code: code})
	}
	refused("a capture of no hold", holdsW+"/"+absent+"/capture", `{}`, 404, "hold-not-found")
	refused("a capture of a deposit", holdsW+"/O/capture", `{}`, 404, "hold-not-found")
	refused("a capture of another wallet's hold", "/api/v1/wallets/T/holds/H/capture", `{}`, 404, "hold-not-found")
	refused("a release of no hold", holdsW+"/"+absent+"/release", `{}`, 404, "hold-not-found")
	refused("a reversal of nothing", walletsW+"/operations/"+absent+"/reverse", `{}`, 404, "operation-not-found")
	refused("a reversal of another wallet's operation", "/api/v1/wallets/T/operations/O/reverse", `{}`, 404, "operation-not-found")
	refused("a reversal of a hold", walletsW+"/operations/H/reverse", `{}`, 422, "not-reversible")
	refused("a transfer to no wallet", transfersW, `{"toWalletId":"`+absent+`","amount":1}`, 404, "wallet-not-found")
	refused("a transfer to the wallet of zeros", transfersW, `{"toWalletId":"00000000-0000-0000-0000-000000000000","amount":1}`, 404, "wallet-not-found")
	refused("a transfer to another currency", transfersW, `{"toWalletId":"D","amount":1}`, 422, "currency-mismatch")
	refused("a capture for no wallet", captureH, `{"toWalletId":"`+absent+`"}`, 404, "wallet-not-found")
	refused("a capture for the wallet of zeros", captureH, `{"toWalletId":"00000000-0000-0000-0000-000000000000"}`, 404, "wallet-not-found")
	refused("a capture for another currency", captureH, `{"toWalletId":"D"}`, 422, "currency-mismatch")
	refused("a key that made a deposit, and no hold", holdsW+"/"+absent+"/capture", `{}`, 422, "idempotency-key-reused", "Idempotency-Key: deposit-by-path")
	refused("a capture for another wallet", captureH, `{"toWalletId":"T","amount":1,"metadata":{"walletId":"x","expiresAt":"x"}}`, 202, "")
	refused("a capture with everything", captureH, `{"amount":1,"final":false,"reference":"r","metadata":{}}`, 202, "")
	refused("a hold whose time is over", holdsW, `{"amount":1,"expiresAt":"0001-01-01T00:00:00Z"}`, 202, "")
	refused("a hold in another zone", holdsW, `{"amount":1,"expiresAt":"2026-12-01T12:00:00.5+05:45"}`, 202, "")
	rows = append(rows, surface{name: "close", method: "PUT", path: stateW, body: `{"state":"CLOSED","reason":"r"}`, status: 202},
		surface{name: "activate", method: "PUT", path: stateW, body: `{"state":"ACTIVE","reason":"r"}`, status: 202},
		surface{name: "POST where PUT is", method: "POST", path: stateW, body: `{"state":"ACTIVE","reason":"r"}`, status: 405, code: "method-not-allowed"})

	invalid := func(name, path, body, field string) {
		method := "POST"
		if path == stateW {
			method = "PUT"
		}
		rows = append(rows, surface{name: name, method: method, path: path, body: body, status: 400, code: "invalid-request", field: field})
	}
	invalid("a hold of nothing", holdsW, `{}`, "amount")
	invalid("a hold of 0", holdsW, `{"amount":0}`, "amount")
	for name, time := range map[string]string{
		"with seven decimals": "2026-12-01T12:00:00.1234567Z", "with seven decimals, all 0": "2026-12-01T12:00:00.0000000Z",
		"with a comma": "2026-12-01T12:00:00,1Z", "without a zone": "2026-12-01T12:00:00", "in small letters": "2026-12-01t12:00:00z",
		"of a 13th month": "2026-13-01T12:00:00Z", "in 401 days": "2999-01-01T00:00:00Z", "before the year 1": "0001-01-01T00:00:00+01:00", "that is a date": "2026-12-01",
		"that is empty": "", "24 hours from UTC": "2026-12-01T12:00:00+24:00", "60 minutes from UTC": "2026-12-01T12:00:00-00:60",
	} {
		invalid("a hold until a time "+name, holdsW, `{"amount":1,"expiresAt":"`+time+`"}`, "expiresAt")
	}
	invalid("a hold until a number", holdsW, `{"amount":1,"expiresAt":1}`, "expiresAt")
	invalid("a hold until null", holdsW, `{"amount":1,"expiresAt":null}`, "expiresAt")
	invalid("a capture of 0", captureH, `{"amount":0}`, "amount")
	invalid("a capture that is final or not", captureH, `{"final":"yes"}`, "final")
	invalid("a capture for its own wallet", captureH, `{"toWalletId":"W"}`, "toWalletId")
	invalid("a capture for no id", captureH, `{"toWalletId":"x"}`, "toWalletId")
	invalid("a capture of a hold without hyphens", strings.Replace(captureH, "H", strings.ReplaceAll(absent, "-", ""), 1), `{}`, "holdId")
	invalid("a release of a hold in braces", strings.Replace(releaseH, "H", "%7B"+absent+"%7D", 1), `{}`, "holdId")
	invalid("a release with metadata", releaseH, `{"metadata":{}}`, "metadata")
	invalid("a reversal of 0", reverseO, `{"amount":0}`, "amount")
	invalid("a reversal of an operation without hyphens", strings.Replace(reverseO, "O", strings.ReplaceAll(absent, "-", ""), 1), `{}`, "operationId")
	invalid("a transfer to nobody", transfersW, `{"amount":1}`, "toWalletId")
	invalid("a transfer of nothing", transfersW, `{"toWalletId":"T"}`, "amount")
	invalid("a transfer to itself", transfersW, `{"toWalletId":"W","amount":1}`, "toWalletId")
	invalid("a transfer to a wallet without hyphens", transfersW, `{"toWalletId":"`+strings.ReplaceAll(absent, "-", "")+`","amount":1}`, "toWalletId")
	invalid("another state", stateW, `{"state":"GONE","reason":"r"}`, "state")
	invalid("no reason", stateW, `{"state":"FROZEN"}`, "reason")
	invalid("an empty reason", stateW, `{"state":"FROZEN","reason":""}`, "reason")
	invalid("a transfer by type", statementW, `{"operationType":"TRANSFER","amount":1}`, "operationType")
	for name, metadata := range map[string]string{
		"that is null": `null`, "with a number": `{"a":1}`, "of 2049 bytes": metadataOf(2049), "with an empty key": `{"":"x"}`,
		"with a control character": `{"a":"\u0007"}`, "with 21 keys": "{" + strings.Join(numbered(`"%d":""`, 21), ",") + "}",
	} {
		invalid("a transfer with metadata "+name, transfersW, `{"toWalletId":"T","amount":1,"metadata":`+metadata+`}`, "metadata")
	}
	rows = append(rows, surface{name: "2048 bytes of metadata of an operation", method: "POST", path: operationsPath, body: `{"walletId":"W","operationType":"DEPOSIT","amount":1,"metadata":` + metadataOf(2048) + `}`, status: 202})

	item := func(fields string) string {
		return `{"operations":[` + depositItem + `,{"walletId":"W","amount":1,` + fields + `}]}`
	}
	rows = append(rows, surface{name: "a batch with a transfer", method: "POST", path: batchPath, body: item(`"operationType":"TRANSFER","toWalletId":"T","metadata":{"a":"b"}`), status: 200},
		surface{name: "a batch with a transfer to another currency", method: "POST", path: batchPath, body: item(`"operationType":"TRANSFER","toWalletId":"D"`), status: 200, code: "currency-mismatch"},
		surface{name: "a batch with a transfer to no wallet", method: "POST", path: batchPath, body: item(`"operationType":"TRANSFER","toWalletId":"` + absent + `"`), status: 200, code: "wallet-not-found"})
	invalid("a batch with a transfer to nobody", batchPath, item(`"operationType":"TRANSFER"`), "operations[1].toWalletId")
	invalid("a batch with a transfer to itself", batchPath, item(`"operationType":"TRANSFER","toWalletId":"W"`), "operations[1].toWalletId")
	invalid("a batch with a deposit to two wallets", batchPath, item(`"operationType":"DEPOSIT","toWalletId":"T"`), "operations[1].toWalletId")
	invalid("a batch with a transfer to a wallet without hyphens", batchPath, item(`"operationType":"TRANSFER","toWalletId":"`+strings.ReplaceAll(absent, "-", "")+`"`), "operations[1].toWalletId")
	invalid("a batch with a hold", batchPath, item(`"operationType":"HOLD"`), "operations[1].operationType")
	invalid("a batch with metadata of 2049 bytes", batchPath, item(`"operationType":"DEPOSIT","metadata":`+metadataOf(2049)), "operations[1].metadata")
	return rows
}

const depositItem = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
