package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// surface is one request and what it is answered. In paths and bodies W is a wallet, O one of its
// operations.
type surface struct {
	name   string
	method string
	path   string
	body   string
	header []string
	status int
	code   string // of a problem
	field  string // that the problem names
}

const (
	walletsPath    = "/api/v1/wallets"
	walletsW       = "/api/v1/wallets/W"
	operationsPath = "/api/v1/wallet"
	statementW     = "/api/v1/wallets/W/operations"
	operationO     = "/api/v1/wallets/W/operations/O"
	absent         = "00000000-0000-4000-8000-00000000000a"
	capitals       = "00000000-0000-4000-8000-00000000000A"
)

var strangersKey, _ = apikey.New()

func surfaces() []surface {
	big := strings.Repeat(" ", maxBody)
	key := func(value string) []string { return []string{"Idempotency-Key: " + value} }
	deposit := func(fields string) string {
		return `{"walletId":"W","operationType":"DEPOSIT","amount":1` + fields + `}`
	}
	amount := func(value string) string { return `{"walletId":"W","operationType":"DEPOSIT","amount":` + value + `}` }
	invalid := func(name, body, field string) surface {
		return surface{name, "POST", operationsPath, body, nil, 400, "invalid-request", field}
	}
	const item = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	batch := func(items string) string { return `{"operations":[` + items + `]}` }
	invalidBatch := func(name, body, field string) surface {
		return surface{name, "POST", batchPath, body, nil, 400, "invalid-request", field}
	}
	invalidKey := func(name string, header ...string) surface {
		return surface{name, "POST", operationsPath, deposit(""), header, 400, "invalid-request", "Idempotency-Key"}
	}
	return []surface{
		{"create a wallet", "POST", walletsPath, `{}`, nil, 201, "", ""},
		{"create a wallet with everything", "POST", walletsPath, `{"currency":"EUR","reference":"größe ✓"}`, nil, 201, "", ""},
		{"create it with a key", "POST", walletsPath, `{"currency":"EUR"}`, key("w1"), 201, "", ""},
		{"create it again", "POST", walletsPath, `{"currency":"EUR"}`, key(`"w1"`), 200, "", ""},
		{"create another one with its key", "POST", walletsPath, `{"currency":"USD"}`, key("w1"), 422, "idempotency-key-reused", ""},
		{"read a wallet", "GET", walletsW, "", nil, 200, "", ""},
		{"read a wallet's head", "HEAD", walletsW, "", nil, 200, "", ""},
		{"deposit", "POST", operationsPath, deposit(`,"reference":"r"`), nil, 202, "", ""},
		{"deposit with a key", "POST", operationsPath, deposit(""), key("k"), 202, "", ""},
		{"the key once more", "POST", operationsPath, deposit(""), key("k"), 202, "", ""},
		{"the key with another amount", "POST", operationsPath, amount("2"), key("k"), 422, "idempotency-key-reused", ""},
		{"the key with another reference", "POST", operationsPath, deposit(`,"reference":"r"`), key("k"), 422, "idempotency-key-reused", ""},
		{"the key with another type", "POST", operationsPath, `{"walletId":"W","operationType":"WITHDRAW","amount":1}`, key("k"), 422, "idempotency-key-reused", ""},
		{"the largest amount", "POST", operationsPath, amount("9007199254740991"), nil, 202, "", ""},
		{"content type with a charset", "POST", operationsPath, deposit(""), []string{"Content-Type: application/json; charset=utf-8"}, 202, "", ""},
		{"read an operation", "GET", operationO, "", nil, 200, "", ""},
		{"read an operation's head", "HEAD", operationO, "", nil, 200, "", ""},
		{"find wallets", "GET", walletsPath + "?reference=x&limit=500&after=" + absent, "", nil, 200, "", ""},
		{"list wallets", "GET", walletsPath, "", nil, 200, "", ""},
		{"read a statement", "GET", statementW, "", nil, 200, "", ""},
		{"read a statement with everything", "GET", statementW + "?after=1&limit=1&order=asc", "", nil, 200, "", ""},
		{"read an unchanged wallet", "GET", walletsW, "", []string{`If-None-Match: "0"`}, 304, "", ""},
		{"a least sequence", "GET", walletsW + "?minSequence=0", "", nil, 200, "", ""},
		{"a sequence that was never given", "GET", walletsW + "?minSequence=9007199254740991", "", nil, 409, "not-yet-applied", ""},
		{"a negative sequence", "GET", walletsW + "?minSequence=-1", "", nil, 400, "invalid-request", "minSequence"},
		{"two least sequences", "GET", walletsW + "?minSequence=0&minSequence=0", "", nil, 400, "invalid-request", "minSequence"},
		{"nonsense preferred", "POST", operationsPath, deposit(""), []string{"Prefer: wait=soon"}, 202, "", ""},
		{"the contract", "GET", "/openapi.yaml", "", nil, 200, "", ""},
		{"the contract's head", "HEAD", "/openapi.yaml", "", nil, 200, "", ""},
		{"Swagger UI", "GET", "/swagger/", "", nil, 200, "", ""},
		{"Swagger UI without its slash", "GET", "/swagger", "", nil, 301, "", ""},
		{"an unknown query parameter", "GET", walletsW + "?x=1", "", nil, 200, "", ""},

		{"an unknown path", "GET", "/nowhere", "", nil, 404, "not-found", ""},
		{"an unknown path of the API", "GET", "/api/v1/nowhere", "", nil, 404, "not-found", ""},
		{"a trailing slash", "POST", operationsPath + "/", deposit(""), nil, 404, "not-found", ""},
		{"a method that wallets do not have", "DELETE", walletsW, "", nil, 405, "method-not-allowed", ""},
		{"a method that operations do not have", "PUT", operationsPath, deposit(""), nil, 405, "method-not-allowed", ""},
		{"reading where only writing is", "GET", operationsPath, "", nil, 405, "method-not-allowed", ""},
		{"OPTIONS", "OPTIONS", operationsPath, "", nil, 405, "method-not-allowed", ""},
		{"writing the contract", "POST", "/openapi.yaml", "{}", nil, 405, "method-not-allowed", ""},
		{"no such wallet", "GET", "/api/v1/wallets/" + absent, "", nil, 404, "wallet-not-found", ""},
		{"a deposit to no wallet", "POST", operationsPath, `{"walletId":"` + absent + `","operationType":"DEPOSIT","amount":1}`, nil, 404, "wallet-not-found", ""},
		{"no such operation", "GET", walletsW + "/operations/" + absent, "", nil, 404, "operation-not-found", ""},
		{"another wallet's operation", "GET", "/api/v1/wallets/" + absent + "/operations/O", "", nil, 404, "operation-not-found", ""},
		{"a wallet id that is none", "GET", "/api/v1/wallets/x", "", nil, 400, "invalid-request", "walletId"},
		{"an operation id that is none", "GET", walletsW + "/operations/x", "", nil, 400, "invalid-request", "operationId"},
		{"a wallet id in braces", "GET", "/api/v1/wallets/{" + absent + "}", "", nil, 400, "invalid-request", "walletId"},
		{"a wallet id as a URN", "GET", "/api/v1/wallets/urn:uuid:" + absent, "", nil, 400, "invalid-request", "walletId"},
		{"a wallet id without hyphens", "GET", "/api/v1/wallets/" + strings.ReplaceAll(absent, "-", "") + "/operations", "", nil, 400, "invalid-request", "walletId"},
		{"a wallet id in capital letters", "GET", "/api/v1/wallets/" + capitals, "", nil, 404, "wallet-not-found", ""},
		{"an escaped wallet id", "GET", "/api/v1/wallets/%30" + absent[1:], "", nil, 404, "wallet-not-found", ""},
		{"an operation id in braces", "GET", walletsW + "/operations/%7B" + absent + "%7D", "", nil, 400, "invalid-request", "operationId"},
		{"an operation id without hyphens", "GET", walletsW + "/operations/" + strings.ReplaceAll(absent, "-", ""), "", nil, 400, "invalid-request", "operationId"},
		{"a statement of no wallet", "GET", "/api/v1/wallets/" + absent + "/operations", "", nil, 404, "wallet-not-found", ""},
		{"a page of 0", "GET", statementW + "?limit=0", "", nil, 400, "invalid-request", "limit"},
		{"a page of 501", "GET", walletsPath + "?limit=501", "", nil, 400, "invalid-request", "limit"},
		{"a page of words", "GET", walletsPath + "?limit=all", "", nil, 400, "invalid-request", "limit"},
		{"two limits", "GET", walletsPath + "?limit=1&limit=2", "", nil, 400, "invalid-request", "limit"},
		{"an empty limit", "GET", walletsPath + "?limit=", "", nil, 400, "invalid-request", "limit"},
		{"after nothing", "GET", statementW + "?after=0", "", nil, 400, "invalid-request", "after"},
		{"after no wallet", "GET", walletsPath + "?after=x", "", nil, 400, "invalid-request", "after"},
		{"after a wallet without hyphens", "GET", walletsPath + "?after=" + strings.ReplaceAll(absent, "-", ""), "", nil, 400, "invalid-request", "after"},
		{"after a wallet in capital letters", "GET", walletsPath + "?after=" + capitals, "", nil, 200, "", ""},
		{"another order", "GET", statementW + "?order=up", "", nil, 400, "invalid-request", "order"},
		{"an empty reference to find", "GET", walletsPath + "?reference=", "", nil, 400, "invalid-request", "reference"},
		{"a malformed query", "GET", walletsW + "?a=%zz", "", nil, 400, "invalid-request", ""},

		{"no key", "GET", walletsW, "", []string{"Authorization: "}, 401, "unauthorized", ""},
		{"another scheme", "GET", walletsW, "", []string{"Authorization: Basic x"}, 401, "unauthorized", ""},
		{"garbage for a key", "GET", walletsW, "", []string{"Authorization: Bearer x"}, 401, "unauthorized", ""},
		{"a key that nobody has", "GET", walletsW, "", []string{"Authorization: Bearer " + strangersKey}, 401, "unauthorized", ""},
		{"no key, and no such path", "GET", "/api/v1/nowhere", "", []string{"Authorization: "}, 404, "not-found", ""},
		{"no key, and no such method", "PUT", walletsW, "", []string{"Authorization: "}, 405, "method-not-allowed", ""},
		{"no key, and everything else wrong", "POST", operationsPath, "x", []string{"Authorization: ", "Content-Type: x", "Idempotency-Key: "}, 401, "unauthorized", ""},
		{"the contract without a key", "GET", "/openapi.yaml", "", []string{"Authorization: "}, 200, "", ""},
		{"Swagger UI without a key", "GET", "/swagger/", "", []string{"Authorization: "}, 200, "", ""},

		{"no content type", "POST", operationsPath, deposit(""), []string{"Content-Type: "}, 415, "unsupported-media-type", ""},
		{"another content type", "POST", operationsPath, deposit(""), []string{"Content-Type: text/plain"}, 415, "unsupported-media-type", ""},
		{"another content type and too large", "POST", operationsPath, deposit(big), []string{"Content-Type: text/plain"}, 415, "unsupported-media-type", ""},
		{"too large", "POST", operationsPath, deposit(big), nil, 413, "request-too-large", ""},
		{"too large with a bad key", "POST", operationsPath, deposit(big), key("a b"), 413, "request-too-large", ""},
		{"a wallet too large", "POST", walletsPath, "{" + big + "}", nil, 413, "request-too-large", ""},

		invalid("no body", "", ""),
		invalid("broken JSON", `{"walletId":`, ""),
		invalid("not an object", `[]`, ""),
		invalid("trailing data", deposit("")+`{}`, ""),
		invalid("an unknown field", deposit(`,"x":1`), "x"),
		invalid("a repeated field", deposit(`,"amount":1`), "amount"),
		invalid("a field repeated in an escape", deposit(`,"amoun\u0074":1`), "amount"),
		invalid("invalid UTF-8", deposit(",\"reference\":\"\xff\""), ""),
		invalid("no wallet", `{"operationType":"DEPOSIT","amount":1}`, "walletId"),
		invalid("no amount", `{"walletId":"W","operationType":"DEPOSIT"}`, "amount"),
		invalid("null", deposit(`,"reference":null`), "reference"),
		invalid("a wallet that is no UUID", `{"walletId":"x","operationType":"DEPOSIT","amount":1}`, "walletId"),
		invalid("a wallet in braces", strings.Replace(deposit(""), "W", "{"+absent+"}", 1), "walletId"),
		invalid("a wallet as a URN", strings.Replace(deposit(""), "W", "urn:uuid:"+absent, 1), "walletId"),
		invalid("a wallet without hyphens", strings.Replace(deposit(""), "W", strings.ReplaceAll(absent, "-", ""), 1), "walletId"),
		{"a wallet in capital letters", "POST", operationsPath, strings.Replace(deposit(""), "W", capitals, 1), nil, 404, "wallet-not-found", ""},
		invalid("another type", `{"walletId":"W","operationType":"TRANSFER","amount":1}`, "operationType"),
		invalid("an amount of 0", amount("0"), "amount"),
		invalid("a negative amount", amount("-1"), "amount"),
		invalid("a fraction", amount("1.5"), "amount"),
		invalid("a fraction of zero", amount("1.0"), "amount"),
		invalid("an exponent", amount("1e2"), "amount"),
		invalid("an amount as text", amount(`"1"`), "amount"),
		invalid("an amount one too large", amount("9007199254740992"), "amount"),
		invalid("an amount that no integer holds", amount("99999999999999999999"), "amount"),
		invalid("an empty reference", deposit(`,"reference":""`), "reference"),
		invalid("a long reference", deposit(`,"reference":"`+strings.Repeat("é", 129)+`"`), "reference"),
		invalid("a control character", deposit(`,"reference":"a\nb"`), "reference"),
		invalid("a zero character", deposit(`,"reference":"a\u0000b"`), "reference"),
		invalidBatch("no operations", `{}`, "operations"),
		invalidBatch("an empty batch", `{"operations":[]}`, "operations"),
		invalidBatch("a batch that is no array", `{"operations":{}}`, "operations"),
		invalidBatch("a batch of 1001", batch(strings.Repeat(item+",", 1000)+item), "operations"),
		invalidBatch("an amount of 0 in a batch", batch(item+","+strings.Replace(item, ":1}", ":0}", 1)), "operations[1].amount"),
		invalidBatch("a fraction in a batch", batch(item+","+strings.Replace(item, ":1}", ":1.5}", 1)), "operations[1].amount"),
		invalidBatch("no amount in a batch", batch(item+`,{"walletId":"W","operationType":"DEPOSIT"}`), "operations[1].amount"),
		invalidBatch("an unknown field in a batch", batch(item+","+strings.Replace(item, ":1}", `:1,"x":1}`, 1)), "operations[1].x"),
		invalidBatch("a repeated field in a batch", batch(item+","+strings.Replace(item, ":1}", `:1,"amount":1}`, 1)), "operations[1].amount"),
		invalidBatch("an empty key in a batch", batch(strings.Replace(item, ":1}", `:1,"idempotencyKey":""}`, 1)), "operations[0].idempotencyKey"),
		invalidBatch("a wallet without hyphens in a batch", batch(item+","+strings.Replace(item, "W", strings.ReplaceAll(absent, "-", ""), 1)), "operations[1].walletId"),
		invalidBatch("an item that is no object", batch(item+",7"), "operations[1]"),
		{"a batch too large", "POST", batchPath, batch(item) + strings.Repeat(" ", maxBatchBody), nil, 413, "request-too-large", ""},
		{"a batch", "POST", batchPath, batch(item), nil, 200, "", ""},
		{"a large batch", "POST", batchPath, batch(strings.Repeat(item+",", 999) + item), nil, 200, "", ""},
		{"reading a batch", "GET", batchPath, "", nil, 405, "method-not-allowed", ""},
		{"a currency in small letters", "POST", walletsPath, `{"currency":"eur"}`, nil, 400, "invalid-request", "currency"},
		{"the longest reference", "POST", operationsPath, deposit(`,"reference":"` + strings.Repeat("é", 128) + `"`), nil, 202, "", ""},

		{"the longest key", "POST", operationsPath, deposit(""), key(strings.Repeat("k", 255)), 202, "", ""},
		{"the longest quoted key", "POST", operationsPath, deposit(""), key(`"` + strings.Repeat(`\"`, 255) + `"`), 202, "", ""},
		{"a quoted key with spaces", "POST", operationsPath, deposit(""), key(`" a b "`), 202, "", ""},
		invalidKey("a long key", key(strings.Repeat("k", 256))...),
		invalidKey("a long quoted key", key(`"`+strings.Repeat(`k`, 256)+`"`)...),
		invalidKey("an empty key", "Idempotency-Key: "),
		invalidKey("an empty quoted key", `Idempotency-Key: ""`),
		invalidKey("a bare key with a space", "Idempotency-Key: a b"),
		invalidKey("a quoted key with parameters", `Idempotency-Key: "a";b=1`),
		invalidKey("a key that is not closed", `Idempotency-Key: "a`),
		invalidKey("a wrong escape", `Idempotency-Key: "\a"`),
		invalidKey("a key beyond ASCII", "Idempotency-Key: é"),
		invalidKey("two keys", "Idempotency-Key: a", "Idempotency-Key: a"),
		{"two keys for a wallet", "POST", walletsPath, "{}", []string{"Idempotency-Key: a", "Idempotency-Key: b"}, 400, "invalid-request", "Idempotency-Key"},
	}
}

func TestEveryRequestIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	a.key = newKey(t, database, "client", apikey.Scopes...)
	walletID := a.newWallet(t)
	operation := a.deposit(walletID, 1)
	ids := strings.NewReplacer(`"W"`, `"`+walletID.String()+`"`, "/W", "/"+walletID.String(), "/O", "/"+fmt.Sprint(operation.body["operationId"]))
	for _, test := range surfaces() {
		r := a.send(test.method, ids.Replace(test.path), ids.Replace(test.body), test.header...)
		if r.status != test.status {
			t.Errorf("%s: %d, want %d: %s %v", test.name, r.status, test.status, r.text, r.err)
			continue
		}
		if r.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no X-Request-Id", test.name)
		}
		if test.method == "HEAD" && r.text != "" {
			t.Errorf("%s: HEAD has a body", test.name)
		}
		if test.code != "" {
			mustBeProblem(t, test, r)
		}
	}
	if failures := a.lines("request failed"); len(failures) > 0 {
		t.Errorf("the api logged: %s", failures)
	}
}

// leaks are words of our insides, which no client is to read.
var leaks = regexp.MustCompile(`(?i)decode|validate|callback|unmarshal|\.go\b|SQLSTATE|goroutine|strconv|jx`)

func mustBeProblem(t *testing.T, test surface, r reply) {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%s: Content-Type %s", test.name, got)
	}
	for _, field := range []string{"type", "title", "detail", "instance"} {
		if r.body[field] == nil {
			t.Errorf("%s: no %s in %s", test.name, field, r.text)
		}
	}
	if r.body["code"] != test.code || fmt.Sprint(r.body["status"]) != fmt.Sprint(test.status) {
		t.Errorf("%s: want code %s and status %d in %s", test.name, test.code, test.status, r.text)
	}
	if leaks.MatchString(r.text) {
		t.Errorf("%s: it tells of our insides: %s", test.name, r.text)
	}
	if (r.header.Get("WWW-Authenticate") != "") != (test.status == 401) {
		t.Errorf("%s: WWW-Authenticate %q", test.name, r.header.Get("WWW-Authenticate"))
	}
	if (r.header.Get("Allow") != "") != (test.status == 405) {
		t.Errorf("%s: Allow %q", test.name, r.header.Get("Allow"))
	}
	field := ""
	if errors, ok := r.body["errors"].([]any); ok {
		first, _ := errors[0].(map[string]any)
		field, _ = first["field"].(string)
		if first["detail"] == "" {
			t.Errorf("%s: no detail for %s", test.name, field)
		}
	}
	if field != test.field {
		t.Errorf("%s: it names the field %q, want %q: %s", test.name, field, test.field, r.text)
	}
}

// Codes that need a fault, and the test that brings it about.
var codesElsewhere = []string{
	"overloaded",      // TestAFullQueueRefusesWithoutAccepting
	"outcome-unknown", // TestAnOutcomeThatStaysUnknownIsToldWithTheOperationsID
	"internal",        // TestAPanicIsAProblem
	"forbidden",       // TestAKeyMayDoWhatItsScopesSay
	"rate-limited",    // TestAKeyHasARate
}

func TestEveryCodeIsInTheTableAndInTheContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tested := codesElsewhere
	for _, test := range surfaces() {
		tested = append(tested, test.code)
	}
	for code := range kinds {
		if !slices.Contains(tested, string(code)) {
			t.Errorf("no test of code %s", code)
		}
		if !strings.Contains(string(text), string(code)) {
			t.Errorf("openapi.yaml does not know code %s", code)
		}
	}
}

func TestAnswersCarryWhatTheContractPromises(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API), "DEFAULT_CURRENCY=CHF")
	key := "Idempotency-Key: " + uuid.NewString() // Redis outlives the test, and a key is a wallet
	created := a.send("POST", walletsPath, `{"reference":"r"}`, key, "X-Request-Id: mine")
	walletID := uuid.MustParse(created.body["walletId"].(string))
	if created.header.Get("Location") != "/api/v1/wallets/"+walletID.String() || created.header.Get("X-Request-Id") != "mine" {
		t.Errorf("headers of a created wallet: %v", created.header)
	}
	if created.body["currency"] != "CHF" || created.body["reference"] != "r" || created.number(t, "balance") != 0 || created.number(t, "version") != 0 {
		t.Errorf("created: %s", created.text)
	}
	if again := a.send("POST", walletsPath, `{"reference":"r"}`, key); again.text != created.text || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("created again: %s %v", again.text, again.header)
	}
	if read := a.send("GET", created.header.Get("Location"), ""); read.text != created.text || read.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("read: %s %v", read.text, read.header)
	}

	accepted := a.deposit(walletID, 5, `Idempotency-Key: "a\"b"`)
	wantID := uuid.NewSHA1(walletID, []byte(`a"b`)).String()
	if accepted.body["operationId"] != wantID || accepted.header.Get("Location") != created.header.Get("Location")+"/operations/"+wantID {
		t.Errorf("accepted: %s %v", accepted.text, accepted.header)
	}
	if !regexp.MustCompile(`"createdAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"`).MatchString(accepted.text) {
		t.Errorf("createdAt is not RFC 3339 in UTC with six decimals: %s", accepted.text)
	}
	read := a.send("GET", accepted.header.Get("Location"), "")
	if read.status != http.StatusOK || read.text != accepted.text {
		t.Errorf("read: %d %s", read.status, read.text)
	}
}

func TestAPanicIsAProblem(t *testing.T) {
	t.Parallel()
	handler := identify(recoverPanic(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("password") })))
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/v1/wallets/x", nil))
	want := `{"type":"urn:legendary-wallet:error:internal","title":"Internal error","status":500,` +
		`"detail":"The error is on our side and was logged.","code":"internal","instance":"/api/v1/wallets/x"}`
	if answer.Code != http.StatusInternalServerError || answer.Body.String() != want {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestARequestKeepsTheIDThatItCameWith(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	const trace = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, test := range []struct {
		headers []string
		want    string
	}{
		{[]string{"X-Request-Id: mine", trace}, "mine"},
		{[]string{trace}, "0af7651916cd43dd8448eb211c80319c"},
		{[]string{"X-Request-Id: with a space", trace}, "0af7651916cd43dd8448eb211c80319c"},
		{[]string{"X-Request-Id: " + strings.Repeat("x", 129)}, ""},
		{[]string{"Traceparent: nonsense"}, ""},
	} {
		got := a.send("GET", "/nowhere", "", test.headers...).header.Get("X-Request-Id")
		if _, err := uuid.Parse(got); got != test.want && (test.want != "" || err != nil) {
			t.Errorf("%v: %q, want %q or a new one", test.headers, got, test.want)
		}
	}
}

func TestAnETagChangesWithTheVersionOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ifNoneMatch string
		want        bool
	}{
		{`"7"`, true},
		{`W/"7"`, true},
		{`"6", "7"`, true},
		{`"6",W/"7"`, true},
		{`*`, true},
		{`"6"`, false},
		{`7`, false},
		{``, false},
		{`"77"`, false},
	} {
		if got := hasETag(test.ifNoneMatch, `"7"`); got != test.want {
			t.Errorf("If-None-Match: %s: %v", test.ifNoneMatch, got)
		}
	}
	a := startAPI(t, testdb.New(t).As(testdb.API))
	path := walletsPath + "/" + a.newWallet(t).String()
	read := a.send("GET", path, "")
	etag := read.header.Get("ETag")
	unchanged := a.send("GET", path, "", `If-None-Match: "x"`, "If-None-Match: "+etag)
	if unchanged.status != http.StatusNotModified || unchanged.text != "" || unchanged.header.Get("ETag") != etag {
		t.Errorf("%d %q %v", unchanged.status, unchanged.text, unchanged.header)
	}
}
