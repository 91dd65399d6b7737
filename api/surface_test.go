package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-faster/yaml"
	"github.com/google/go-cmp/cmp"
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
		{"a batch with no such wallet", "POST", batchPath, batch(item + "," + strings.Replace(item, "W", absent, 1)), nil, 200, "wallet-not-found", ""},
		{"a batch with a key of other content", "POST", batchPath, batch(strings.Replace(item, ":1}", `:2,"idempotencyKey":"k"}`, 1)), nil, 200, "idempotency-key-reused", ""},
		{"another content type for a batch", "POST", batchPath, batch(item), []string{"Content-Type: text/plain"}, 415, "unsupported-media-type", ""},
		{"another content type for a wallet", "POST", walletsPath, "{}", []string{"Content-Type: text/plain"}, 415, "unsupported-media-type", ""},
		{"a wrong amount, and no such wallet", "POST", operationsPath, strings.Replace(amount("0"), "W", absent, 1), nil, 400, "invalid-request", "amount"},
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

// everyRoute is a right request of each route, which something else makes fail, and how it does.
func everyRoute(name string, status int, code string, header ...string) []surface {
	const item = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	return []surface{
		{name + ": create a wallet", "POST", walletsPath, `{}`, header, status, code, ""},
		{name + ": find wallets", "GET", walletsPath, "", header, status, code, ""},
		{name + ": read a wallet", "GET", walletsW, "", header, status, code, ""},
		{name + ": deposit", "POST", operationsPath, item, header, status, code, ""},
		{name + ": send a batch", "POST", batchPath, `{"operations":[` + item + `]}`, header, status, code, ""},
		{name + ": read a statement", "GET", statementW, "", header, status, code, ""},
		{name + ": read an operation", "GET", operationO, "", header, status, code, ""},
		{name + ", and the body is wrong too", "POST", operationsPath, "x", append(header, "Content-Type: x"), status, code, ""},
	}
}

// situation is a state of the api and of what is around it, with requests and their answers in it.
type situation struct {
	name     string
	settings []string
	begin    func(t *testing.T, s *scene) // after a wallet and an operation have been made
	each     func(t *testing.T, s *scene) // before each request
	rows     []surface
}

// scene is where a situation plays.
type scene struct {
	*api
	database testdb.Database
	proxy    *proxy
	walletID uuid.UUID
}

func (s *scene) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := s.database.Conn(t).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func situations() []situation {
	const two = `{"operations":[{"walletId":"W","operationType":"DEPOSIT","amount":1},{"walletId":"W","operationType":"DEPOSIT","amount":1}]}`
	const one = `{"operations":[{"walletId":"W","operationType":"DEPOSIT","amount":1}]}`
	const deposit = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	newKeyOf := func(scopes ...string) func(*testing.T, *scene) {
		return func(t *testing.T, s *scene) { s.key = newKey(t, s.database, "another", scopes...) }
	}
	return []situation{
		{name: "all is well", rows: append(surfaces(), everyRoute("without a key", 401, "unauthorized", "Authorization: ")...)},
		{
			name: "the key is allowed nothing", begin: newKeyOf("nothing"),
			rows: everyRoute("without scopes", 403, "forbidden"),
		},
		{
			name: "the key's rate is used up", settings: []string{"RATE_LIMIT=1"},
			each: func(t *testing.T, s *scene) {
				eventually(t, "the rate is used up", func() bool { return s.send("GET", walletsPath, "").status == 429 })
			},
			rows: everyRoute("too fast", 429, "rate-limited"),
		},
		{
			name: "Postgres is away",
			begin: func(t *testing.T, s *scene) {
				newKeyOf(apikey.Scopes...)(t, s) // that the api does not know yet
				s.proxy.close()
			},
			rows: append(everyRoute("without Postgres", 503, "overloaded"),
				surface{"garbage for a key does not reach Postgres", "GET", walletsW, "", []string{"Authorization: Bearer x"}, 401, "unauthorized", ""}),
		},
		{
			name: "the api meets what it does not expect",
			begin: func(t *testing.T, s *scene) {
				newKeyOf(apikey.Scopes...)(t, s)
				s.exec(t, "REVOKE SELECT ON api_keys FROM wallet_api")
			},
			rows: everyRoute("our mistake", 500, "internal"),
		},
		{
			name: "Postgres refuses an operation",
			begin: func(t *testing.T, s *scene) {
				s.exec(t, "ALTER TABLE operations ADD CHECK (amount <> 1) NOT VALID")
			},
			rows: []surface{
				{"a deposit that is refused", "POST", operationsPath, deposit, nil, 500, "internal", ""},
				{"an item that is refused", "POST", batchPath, one, nil, 200, "internal", ""},
			},
		},
		{
			name: "the queue is full", settings: []string{"QUEUE_MAX_OPERATIONS=1", "REQUEST_TIMEOUT=1s"},
			begin: func(t *testing.T, s *scene) { lockWallet(t, s.database, s.walletID) },
			rows: []surface{
				{"no room for a batch", "POST", batchPath, two, nil, 503, "overloaded", ""},
				{"a deposit that is not accepted in time", "POST", operationsPath, deposit, nil, 503, "overloaded", ""},
				{"an item that is not accepted in time", "POST", batchPath, one, nil, 200, "overloaded", ""},
			},
		},
		{
			name: "the answer to COMMIT is lost", settings: []string{"REQUEST_TIMEOUT=1s"},
			each: func(t *testing.T, s *scene) {
				s.proxy.close()
				s.proxy.open(t)
				s.proxy.cutInsert(true, true)
			},
			rows: []surface{
				{"a deposit that may be accepted", "POST", operationsPath, deposit, nil, 503, "outcome-unknown", ""},
				{"an item that may be accepted", "POST", batchPath, one, nil, 200, "outcome-unknown", ""},
				{"a wallet that may be created", "POST", walletsPath, `{"reference":"` + cutHere + `"}`, nil, 503, "outcome-unknown", ""},
			},
		},
	}
}

// Together the requests below meet every code that openapi.yaml lists for a route, none that it does not
// list, and every code that the source knows.
func TestEveryRequestIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	met := map[string]map[string]bool{} // by route; a batch's items are a route of their own
	t.Run("when", func(t *testing.T) {
		for _, s := range situations() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.play(t, func(route, code string) {
					mu.Lock()
					defer mu.Unlock()
					if met[route] == nil {
						met[route] = map[string]bool{}
					}
					met[route][code] = true
				})
			})
		}
	})
	known := map[string]bool{}
	for _, codes := range met {
		maps.Copy(known, codes)
		delete(codes, "not-found") // which the contract lists for all paths together
		delete(codes, "method-not-allowed")
	}
	delete(met, "")
	if diff := cmp.Diff(listedCodes(t), met); diff != "" {
		t.Errorf("codes of each route (-listed in openapi.yaml +met):\n%s", diff)
	}
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, constant := range regexp.MustCompile(`(?m)^\t\w+ +code = "(.+)"$`).FindAllStringSubmatch(string(source), -1) {
		written[constant[1]] = true
	}
	if diff := cmp.Diff(written, known); diff != "" {
		t.Errorf("codes (-in problem.go +met):\n%s", diff)
	}
}

func (s situation) play(t *testing.T, met func(route, code string)) {
	database := testdb.New(t)
	proxy := newProxy(t, database.As(testdb.API))
	a := startAPI(t, proxy.url, append([]string{"AUTH=on"}, s.settings...)...)
	a.key = newKey(t, database, "client", apikey.Scopes...)
	here := &scene{api: a, database: database, proxy: proxy}
	eventually(t, "a wallet is made", func() bool { // a key's rate may be low
		id, _ := a.send("POST", walletsPath, "{}").body["walletId"].(string)
		here.walletID, _ = uuid.Parse(id)
		return id != ""
	})
	var operation any
	eventually(t, "an operation is made", func() bool {
		operation = a.deposit(here.walletID, 5).body["operationId"]
		return operation != nil
	})
	if s.begin != nil {
		s.begin(t, here)
	}
	ids := strings.NewReplacer(`"W"`, `"`+here.walletID.String()+`"`, "/W", "/"+here.walletID.String(), "/O", "/"+fmt.Sprint(operation))
	for _, test := range s.rows {
		send := func() reply {
			if s.each != nil {
				s.each(t, here)
			}
			return a.send(test.method, ids.Replace(test.path), ids.Replace(test.body), test.header...)
		}
		r := send()
		for try := 0; test.code == "rate-limited" && r.status != test.status && try < 10; try++ {
			r = send() // the rate had grown by one meanwhile
		}
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
		route := routeOf(test)
		switch {
		case test.code == "":
			continue
		case test.status == 200:
			route += " item"
			mustBeItemProblem(t, test, r)
		default:
			mustBeProblem(t, test, r)
		}
		met(route, test.code)
	}
	if failures := a.lines("request failed"); len(failures) > 0 && !slices.ContainsFunc(s.rows, func(row surface) bool { return row.code == "internal" }) {
		t.Errorf("the api logged: %s", failures)
	}
}

// routeOf is the route of a request as openapi.yaml has it, or empty for other paths and methods.
func routeOf(test surface) string {
	path, _, _ := strings.Cut(test.path, "?")
	segments := strings.Split(path, "/")
	if len(segments) > 4 && segments[3] == "wallets" {
		segments[4] = "{walletId}"
	}
	if len(segments) > 6 {
		segments[6] = "{operationId}"
	}
	if test.code == "not-found" || test.code == "method-not-allowed" || !strings.HasPrefix(path, "/api/") {
		return ""
	}
	return test.method + " " + strings.Join(segments, "/")
}

// listedCodes are the codes that the description of each route in openapi.yaml lists.
func listedCodes(t *testing.T) map[string]map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Paths map[string]map[string]struct{ Description string }
	}
	if err := yaml.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	listed := map[string]map[string]bool{}
	for path, methods := range contract.Paths {
		for method, route := range methods {
			_, codes, _ := strings.Cut(route.Description, "Codes: ")
			whole, items, _ := strings.Cut(codes, "; in an item")
			name := strings.ToUpper(method) + " " + path
			for name, codes := range map[string]string{name: whole, name + " item": items} {
				for _, code := range regexp.MustCompile("`(.+?)`").FindAllStringSubmatch(codes, -1) {
					if listed[name] == nil {
						listed[name] = map[string]bool{}
					}
					listed[name][code[1]] = true
				}
			}
		}
	}
	return listed
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
	if (r.header.Get("WWW-Authenticate") != "") != (test.status == 401 || test.status == 403) {
		t.Errorf("%s: WWW-Authenticate %q", test.name, r.header.Get("WWW-Authenticate"))
	}
	if (r.header.Get("Retry-After") != "") != slices.Contains([]int{409, 429, 503}, test.status) {
		t.Errorf("%s: Retry-After %q", test.name, r.header.Get("Retry-After"))
	}
	if unknown := r.body["operationId"] != nil || r.body["walletId"] != nil; unknown != (test.code == "outcome-unknown") {
		t.Errorf("%s: %s", test.name, r.text)
	}
	allow := r.header.Get("Allow")
	if (allow != "") != (test.status == 405) || strings.Contains(allow, "GET") != strings.Contains(allow, "GET, HEAD") {
		t.Errorf("%s: Allow %q", test.name, allow)
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

// mustBeItemProblem checks the first problem among the items of a batch.
func mustBeItemProblem(t *testing.T, test surface, r reply) {
	t.Helper()
	items, _ := r.body["items"].([]any)
	for _, item := range items {
		if item, _ := item.(map[string]any); item["code"] != nil {
			if item["code"] != test.code || item["type"] == nil || item["title"] == nil || item["status"] == nil {
				t.Errorf("%s: want code %s in %s", test.name, test.code, r.text)
			}
			if (item["operationId"] != nil) != (test.code == "outcome-unknown") {
				t.Errorf("%s: %s", test.name, r.text)
			}
			return
		}
	}
	t.Errorf("%s: no problem in %s", test.name, r.text)
}
