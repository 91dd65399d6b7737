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
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// surface is one request and what it is answered. In paths and bodies W is a wallet, O one of its
// deposits, H one of its holds, T another wallet of its currency, and D one of another.
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
	eventsW        = "/api/v1/wallets/W/events"
	holdsW         = "/api/v1/wallets/W/holds"
	operationO     = "/api/v1/wallets/W/operations/O"
	findO          = "/api/v1/operations/O"
	keyPath        = "/api/v1/key"
	statusPath     = "/api/v1/status"
	absent         = "00000000-0000-4000-8000-00000000000a"
	capitals       = "00000000-0000-4000-8000-00000000000A"
)

var strangersKey, _ = apikey.New()

// metadataOf is metadata of so many bytes.
func metadataOf(bytes int) string {
	values := numbered(`"%d":"`+strings.Repeat("x", 490)+`"`, 4)
	text := "{" + strings.Join(values, ",") + `,"\\\"":""}`
	return strings.Replace(text, `:""`, `:"`+strings.Repeat("y", bytes-len(text))+`"`, 1)
}

// numbered is a text n times, with the numbers from 0.
func numbered(format string, n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprintf(format, i))
	}
	return texts
}

func surfaces() []surface {
	big := strings.Repeat(" ", maxBody)
	key := func(value string) []string { return []string{"Idempotency-Key: " + value} }
	deposit := func(fields string) string {
		return `{"walletId":"W","operationType":"DEPOSIT","amount":1` + fields + `}`
	}
	amount := func(value string) string { return `{"walletId":"W","operationType":"DEPOSIT","amount":` + value + `}` }
	invalid := func(name, body, field string) surface {
		return surface{name: name, method: "POST", path: operationsPath, body: body, status: 400, code: "invalid-request", field: field}
	}
	const item = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	batch := func(items string) string { return `{"operations":[` + items + `]}` }
	invalidBatch := func(name, body, field string) surface {
		return surface{name: name, method: "POST", path: batchPath, body: body, status: 400, code: "invalid-request", field: field}
	}
	invalidKey := func(name string, header ...string) surface {
		return surface{name: name, method: "POST", path: operationsPath, body: deposit(""), header: header, status: 400, code: "invalid-request", field: "Idempotency-Key"}
	}
	return []surface{
		{name: "create a wallet", method: "POST", path: walletsPath, body: `{}`, status: 201},
		{name: "create a wallet with everything", method: "POST", path: walletsPath, body: `{"currency":"EUR","reference":"größe ✓"}`, status: 201},
		{name: "create it with a key", method: "POST", path: walletsPath, body: `{"currency":"EUR"}`, header: key("w1"), status: 201},
		{name: "create it again", method: "POST", path: walletsPath, body: `{"currency":"EUR"}`, header: key(`"w1"`), status: 200},
		{name: "create another one with its key", method: "POST", path: walletsPath, body: `{"currency":"USD"}`, header: key("w1"), status: 422, code: "idempotency-key-reused"},
		{name: "read a wallet", method: "GET", path: walletsW, status: 200},
		{name: "read a wallet's head", method: "HEAD", path: walletsW, status: 200},
		{name: "deposit", method: "POST", path: operationsPath, body: deposit(`,"reference":"r"`), status: 202},
		{name: "deposit with a key", method: "POST", path: operationsPath, body: deposit(""), header: key("k"), status: 202},
		{name: "the key once more", method: "POST", path: operationsPath, body: deposit(""), header: key("k"), status: 202},
		{name: "the key with another amount", method: "POST", path: operationsPath, body: amount("2"), header: key("k"), status: 422, code: "idempotency-key-reused"},
		{name: "the key with another reference", method: "POST", path: operationsPath, body: deposit(`,"reference":"r"`), header: key("k"), status: 422, code: "idempotency-key-reused"},
		{name: "the key with another type", method: "POST", path: operationsPath, body: `{"walletId":"W","operationType":"WITHDRAW","amount":1}`, header: key("k"), status: 422, code: "idempotency-key-reused"},
		{name: "the largest amount", method: "POST", path: operationsPath, body: amount("9007199254740991"), status: 202},
		{name: "content type with a charset", method: "POST", path: operationsPath, body: deposit(""), header: []string{"Content-Type: application/json; charset=utf-8"}, status: 202},
		{name: "read an operation", method: "GET", path: operationO, status: 200},
		{name: "read an operation's head", method: "HEAD", path: operationO, status: 200},
		{name: "read an operation with its timeline", method: "GET", path: operationO + "?timeline=true", status: 200},
		{name: "a timeline or not", method: "GET", path: operationO + "?timeline=maybe", status: 400, code: "invalid-request", field: "timeline"},
		{name: "find an operation", method: "GET", path: findO, status: 200},
		{name: "find an operation's head", method: "HEAD", path: findO, status: 200},
		{name: "find an operation with its timeline", method: "GET", path: findO + "?timeline=true", status: 200},
		{name: "find no operation", method: "GET", path: "/api/v1/operations/" + absent + "?timeline=true", status: 404, code: "operation-not-found"},
		{name: "find an operation in capital letters", method: "GET", path: "/api/v1/operations/" + capitals, status: 404, code: "operation-not-found"},
		{name: "find an operation by a word", method: "GET", path: "/api/v1/operations/x", status: 400, code: "invalid-request", field: "operationId"},
		{name: "find an operation in braces", method: "GET", path: "/api/v1/operations/%7B" + absent + "%7D", status: 400, code: "invalid-request", field: "operationId"},
		{name: "find an operation without hyphens", method: "GET", path: "/api/v1/operations/" + strings.ReplaceAll(absent, "-", ""), status: 400, code: "invalid-request", field: "operationId"},
		{name: "find an operation with two timelines", method: "GET", path: findO + "?timeline=true&timeline=true", status: 400, code: "invalid-request", field: "timeline"},
		{name: "change an operation", method: "PUT", path: findO, body: "{}", status: 405, code: "method-not-allowed"},
		{name: "a path below an operation", method: "GET", path: "/api/v1/operations/" + absent + "/x", status: 404, code: "not-found"},
		{name: "all operations", method: "GET", path: "/api/v1/operations", status: 404, code: "not-found"},
		{name: "the key", method: "GET", path: keyPath, status: 200},
		{name: "the key's head", method: "HEAD", path: keyPath, status: 200},
		{name: "the key with a malformed query", method: "GET", path: keyPath + "?a=%zz", status: 400, code: "invalid-request"},
		{name: "another key", method: "POST", path: keyPath, body: "{}", status: 405, code: "method-not-allowed"},
		{name: "the status", method: "GET", path: statusPath, status: 200},
		{name: "the status's head", method: "HEAD", path: statusPath, status: 200},
		{name: "the status with a malformed query", method: "GET", path: statusPath + "?a=%zz", status: 400, code: "invalid-request"},
		{name: "change the status", method: "POST", path: statusPath, body: "{}", status: 405, code: "method-not-allowed"},
		{name: "find wallets", method: "GET", path: walletsPath + "?reference=x&limit=500&after=" + absent, status: 200},
		{name: "list wallets", method: "GET", path: walletsPath, status: 200},
		{name: "read a statement", method: "GET", path: statementW, status: 200},
		{name: "read a statement with everything", method: "GET", path: statementW + "?after=1&limit=1&order=asc", status: 200},
		{name: "read an unchanged wallet", method: "GET", path: walletsW, header: []string{`If-None-Match: "2-0"`}, status: 304},
		{name: "a wallet that was unchanged for v0.1.0", method: "GET", path: walletsW, header: []string{`If-None-Match: "0"`}, status: 200},
		{name: "create a wallet with metadata", method: "POST", path: walletsPath, body: `{"metadata":{"order":"815","` + strings.Repeat("é", 40) + `":"` + strings.Repeat("é", 500) + `"}}`, status: 201},
		{name: "create a wallet with 2048 bytes of metadata", method: "POST", path: walletsPath, body: `{"metadata":` + metadataOf(2048) + `}`, status: 201},
		{name: "2049 bytes of metadata", method: "POST", path: walletsPath, body: `{"metadata":` + metadataOf(2049) + `}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "21 keys of metadata", method: "POST", path: walletsPath, body: `{"metadata":{` + strings.Join(numbered(`"%d":""`, 21), ",") + `}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "an empty key of metadata", method: "POST", path: walletsPath, body: `{"metadata":{"":""}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "a long key of metadata", method: "POST", path: walletsPath, body: `{"metadata":{"` + strings.Repeat("é", 41) + `":""}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "a long value of metadata", method: "POST", path: walletsPath, body: `{"metadata":{"order":"` + strings.Repeat("é", 501) + `"}}`, status: 400, code: "invalid-request", field: "metadata.order"},
		{name: "a number in metadata", method: "POST", path: walletsPath, body: `{"metadata":{"order":815}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "null in metadata", method: "POST", path: walletsPath, body: `{"metadata":{"order":null}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "metadata that is none", method: "POST", path: walletsPath, body: `{"metadata":"x"}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "metadata that is null", method: "POST", path: walletsPath, body: `{"metadata":null}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "a control character in metadata", method: "POST", path: walletsPath, body: `{"metadata":{"a":"b\u007f"}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "a zero in a key of metadata", method: "POST", path: walletsPath, body: `{"metadata":{"a\u0000":""}}`, status: 400, code: "invalid-request", field: "metadata"},
		{name: "a repeated key of metadata", method: "POST", path: walletsPath, body: `{"metadata":{"a":"","a":""}}`, status: 400, code: "invalid-request", field: "metadata.a"},
		{name: "a wallet as it was", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00.123456Z", status: 404, code: "wallet-not-found"},
		{name: "a wallet as it will be", method: "GET", path: walletsW + "?at=2999-01-01T00:00:00%2B01:00", status: 400, code: "invalid-request", field: "at"},
		{name: "a time with a sequence", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00Z&minSequence=0", status: 400, code: "invalid-request", field: "at"},
		{name: "a time with an ETag", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00Z", header: []string{`If-None-Match: "2-0"`}, status: 400, code: "invalid-request", field: "at"},
		{name: "a time with seven decimals", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00.1234567Z", status: 400, code: "invalid-request", field: "at"},
		{name: "a time with seven decimals, all 0", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00.0000000Z", status: 400, code: "invalid-request", field: "at"},
		{name: "a time with a comma", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00,1Z", status: 400, code: "invalid-request", field: "at"},
		{name: "a time with a bare plus", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00+01:00", status: 400, code: "invalid-request", field: "at"},
		{name: "a time without a zone", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00", status: 400, code: "invalid-request", field: "at"},
		{name: "a date", method: "GET", path: walletsW + "?at=1999-01-01", status: 400, code: "invalid-request", field: "at"},
		{name: "a 13th month", method: "GET", path: walletsW + "?at=1999-13-01T00:00:00Z", status: 400, code: "invalid-request", field: "at"},
		{name: "an empty time", method: "GET", path: walletsW + "?at=", status: 400, code: "invalid-request", field: "at"},
		{name: "two times", method: "GET", path: walletsW + "?at=1999-01-01T00:00:00Z&at=1999-01-01T00:00:00Z", status: 400, code: "invalid-request", field: "at"},
		{name: "the first time there is", method: "GET", path: walletsW + "?at=0000-01-01T00:00:00Z", status: 404, code: "wallet-not-found"},

		{name: "open holds", method: "GET", path: holdsW, status: 200},
		{name: "open holds with everything", method: "GET", path: holdsW + "?after=1&limit=500", status: 200},
		{name: "open holds of no wallet", method: "GET", path: walletsPath + "/" + absent + "/holds", status: 404, code: "wallet-not-found"},
		{name: "open holds after nothing", method: "GET", path: holdsW + "?after=0", status: 400, code: "invalid-request", field: "after"},
		{name: "501 open holds", method: "GET", path: holdsW + "?limit=501", status: 400, code: "invalid-request", field: "limit"},
		{name: "no such hold", method: "GET", path: holdsW + "/" + absent, status: 404, code: "hold-not-found"},
		{name: "a deposit for a hold", method: "GET", path: holdsW + "/O", status: 404, code: "hold-not-found"},
		{name: "a hold id that is none", method: "GET", path: holdsW + "/x", status: 400, code: "invalid-request", field: "holdId"},
		{name: "a hold id without hyphens", method: "GET", path: holdsW + "/" + strings.ReplaceAll(absent, "-", ""), status: 400, code: "invalid-request", field: "holdId"},

		{name: "a statement with every filter", method: "GET", path: statementW + "?type=CAPTURE&status=FAILED&from=1999-01-01T00:00:00Z&to=2999-01-01T00:00:00Z&subjectId=" + absent, status: 200},
		{name: "a filtered statement of no wallet", method: "GET", path: walletsPath + "/" + absent + "/operations?type=DEPOSIT", status: 404, code: "wallet-not-found"},
		{name: "from the first time there is to the last", method: "GET", path: statementW + "?from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59.999999Z", status: 200},
		{name: "a type that there is not", method: "GET", path: statementW + "?type=LOAN", status: 400, code: "invalid-request", field: "type"},
		{name: "a type in small letters", method: "GET", path: statementW + "?type=deposit", status: 400, code: "invalid-request", field: "type"},
		{name: "a status that there is not", method: "GET", path: statementW + "?status=DONE", status: 400, code: "invalid-request", field: "status"},
		{name: "from no time", method: "GET", path: statementW + "?from=yesterday", status: 400, code: "invalid-request", field: "from"},
		{name: "from a time with seven decimals", method: "GET", path: statementW + "?from=1999-01-01T00:00:00.1234567Z", status: 400, code: "invalid-request", field: "from"},
		{name: "to a time with seven decimals", method: "GET", path: statementW + "?to=1999-01-01T00:00:00.1234567Z", status: 400, code: "invalid-request", field: "to"},
		{name: "to no time", method: "GET", path: statementW + "?to=", status: 400, code: "invalid-request", field: "to"},
		{name: "a subject that is no id", method: "GET", path: statementW + "?subjectId=x", status: 400, code: "invalid-request", field: "subjectId"},
		{name: "a subject without hyphens", method: "GET", path: statementW + "?subjectId=" + strings.ReplaceAll(absent, "-", ""), status: 400, code: "invalid-request", field: "subjectId"},
		{name: "a time where there is none", method: "GET", path: walletsW + "?from=yesterday", status: 200},

		{name: "a stream's head", method: "HEAD", path: eventsW + "?after=0&balances=true", header: []string{"Last-Event-ID: 9007199254740991"}, status: 200},
		{name: "a stream of no wallet", method: "GET", path: walletsPath + "/" + absent + "/events", status: 404, code: "wallet-not-found"},
		{name: "a stream after less than nothing", method: "GET", path: eventsW + "?after=-1", status: 400, code: "invalid-request", field: "after"},
		{name: "a stream after words", method: "GET", path: eventsW + "?after=all", status: 400, code: "invalid-request", field: "after"},
		{name: "a stream after two operations", method: "GET", path: eventsW + "?after=1&after=1", status: 400, code: "invalid-request", field: "after"},
		{name: "a stream after a word", method: "GET", path: eventsW, header: []string{"Last-Event-ID: x"}, status: 400, code: "invalid-request", field: "Last-Event-ID"},
		{name: "a stream after a word, and after an operation", method: "GET", path: eventsW + "?after=1", header: []string{"Last-Event-ID: x"}, status: 400, code: "invalid-request", field: "Last-Event-ID"},
		{name: "a stream after an operation that there cannot be", method: "GET", path: eventsW, header: []string{"Last-Event-ID: 9007199254740992"}, status: 400, code: "invalid-request", field: "Last-Event-ID"},
		{name: "a stream after two events", method: "GET", path: eventsW, header: []string{"Last-Event-ID: 1", "Last-Event-ID: 1"}, status: 400, code: "invalid-request", field: "Last-Event-Id"},
		{name: "a stream of some balances", method: "GET", path: eventsW + "?balances=some", status: 400, code: "invalid-request", field: "balances"},
		{name: "a stream of a wallet that is no UUID", method: "GET", path: walletsPath + "/x/events", status: 400, code: "invalid-request", field: "walletId"},
		{name: "writing to a stream", method: "POST", path: eventsW, body: "{}", status: 405, code: "method-not-allowed"},

		{name: "a least sequence", method: "GET", path: walletsW + "?minSequence=0", status: 200},
		{name: "a sequence that was never given", method: "GET", path: walletsW + "?minSequence=9007199254740991", status: 409, code: "not-yet-applied"},
		{name: "a negative sequence", method: "GET", path: walletsW + "?minSequence=-1", status: 400, code: "invalid-request", field: "minSequence"},
		{name: "two least sequences", method: "GET", path: walletsW + "?minSequence=0&minSequence=0", status: 400, code: "invalid-request", field: "minSequence"},
		{name: "nonsense preferred", method: "POST", path: operationsPath, body: deposit(""), header: []string{"Prefer: wait=soon"}, status: 202},
		{name: "the contract", method: "GET", path: "/openapi.yaml", status: 200},
		{name: "the contract's head", method: "HEAD", path: "/openapi.yaml", status: 200},
		{name: "Swagger UI", method: "GET", path: "/swagger/", status: 200},
		{name: "Swagger UI without its slash", method: "GET", path: "/swagger", status: 301},
		{name: "the console", method: "GET", path: "/console/", status: 200},
		{name: "the console's head", method: "HEAD", path: "/console/", status: 200},
		{name: "the console without its slash", method: "GET", path: "/console", status: 301},
		{name: "the console's script", method: "GET", path: "/console/console.js", status: 200},
		{name: "an unknown file of the console", method: "GET", path: "/console/nothing.js", status: 404, code: "not-found"},
		{name: "the console's page by its file's name", method: "GET", path: "/console/index.html", status: 404, code: "not-found"},
		{name: "writing to the console", method: "POST", path: "/console/", body: "{}", status: 405, code: "method-not-allowed"},
		{name: "an unknown query parameter", method: "GET", path: walletsW + "?x=1", status: 200},

		{name: "an unknown path", method: "GET", path: "/nowhere", status: 404, code: "not-found"},
		{name: "an unknown path of the API", method: "GET", path: "/api/v1/nowhere", status: 404, code: "not-found"},
		{name: "a trailing slash", method: "POST", path: operationsPath + "/", body: deposit(""), status: 404, code: "not-found"},
		{name: "a method that wallets do not have", method: "DELETE", path: walletsW, status: 405, code: "method-not-allowed"},
		{name: "a method that operations do not have", method: "PUT", path: operationsPath, body: deposit(""), status: 405, code: "method-not-allowed"},
		{name: "reading where only writing is", method: "GET", path: operationsPath, status: 405, code: "method-not-allowed"},
		{name: "OPTIONS", method: "OPTIONS", path: operationsPath, status: 405, code: "method-not-allowed"},
		{name: "writing the contract", method: "POST", path: "/openapi.yaml", body: "{}", status: 405, code: "method-not-allowed"},
		{name: "no such wallet", method: "GET", path: "/api/v1/wallets/" + absent, status: 404, code: "wallet-not-found"},
		{name: "a deposit to no wallet", method: "POST", path: operationsPath, body: `{"walletId":"` + absent + `","operationType":"DEPOSIT","amount":1}`, status: 404, code: "wallet-not-found"},
		{name: "no such operation", method: "GET", path: walletsW + "/operations/" + absent, status: 404, code: "operation-not-found"},
		{name: "another wallet's operation", method: "GET", path: "/api/v1/wallets/" + absent + "/operations/O", status: 404, code: "operation-not-found"},
		{name: "a wallet id that is none", method: "GET", path: "/api/v1/wallets/x", status: 400, code: "invalid-request", field: "walletId"},
		{name: "an operation id that is none", method: "GET", path: walletsW + "/operations/x", status: 400, code: "invalid-request", field: "operationId"},
		{name: "a wallet id in braces", method: "GET", path: "/api/v1/wallets/{" + absent + "}", status: 400, code: "invalid-request", field: "walletId"},
		{name: "a wallet id as a URN", method: "GET", path: "/api/v1/wallets/urn:uuid:" + absent, status: 400, code: "invalid-request", field: "walletId"},
		{name: "a wallet id without hyphens", method: "GET", path: "/api/v1/wallets/" + strings.ReplaceAll(absent, "-", "") + "/operations", status: 400, code: "invalid-request", field: "walletId"},
		{name: "a wallet id in capital letters", method: "GET", path: "/api/v1/wallets/" + capitals, status: 404, code: "wallet-not-found"},
		{name: "an escaped wallet id", method: "GET", path: "/api/v1/wallets/%30" + absent[1:], status: 404, code: "wallet-not-found"},
		{name: "an operation id in braces", method: "GET", path: walletsW + "/operations/%7B" + absent + "%7D", status: 400, code: "invalid-request", field: "operationId"},
		{name: "an operation id without hyphens", method: "GET", path: walletsW + "/operations/" + strings.ReplaceAll(absent, "-", ""), status: 400, code: "invalid-request", field: "operationId"},
		{name: "a statement of no wallet", method: "GET", path: "/api/v1/wallets/" + absent + "/operations", status: 404, code: "wallet-not-found"},
		{name: "a page of 0", method: "GET", path: statementW + "?limit=0", status: 400, code: "invalid-request", field: "limit"},
		{name: "a page of 501", method: "GET", path: walletsPath + "?limit=501", status: 400, code: "invalid-request", field: "limit"},
		{name: "a page of words", method: "GET", path: walletsPath + "?limit=all", status: 400, code: "invalid-request", field: "limit"},
		{name: "two limits", method: "GET", path: walletsPath + "?limit=1&limit=2", status: 400, code: "invalid-request", field: "limit"},
		{name: "an empty limit", method: "GET", path: walletsPath + "?limit=", status: 400, code: "invalid-request", field: "limit"},
		{name: "after nothing", method: "GET", path: statementW + "?after=0", status: 400, code: "invalid-request", field: "after"},
		{name: "after no wallet", method: "GET", path: walletsPath + "?after=x", status: 400, code: "invalid-request", field: "after"},
		{name: "after a wallet without hyphens", method: "GET", path: walletsPath + "?after=" + strings.ReplaceAll(absent, "-", ""), status: 400, code: "invalid-request", field: "after"},
		{name: "after a wallet in capital letters", method: "GET", path: walletsPath + "?after=" + capitals, status: 200},
		{name: "another order", method: "GET", path: statementW + "?order=up", status: 400, code: "invalid-request", field: "order"},
		{name: "an empty reference to find", method: "GET", path: walletsPath + "?reference=", status: 400, code: "invalid-request", field: "reference"},
		{name: "a malformed query", method: "GET", path: walletsW + "?a=%zz", status: 400, code: "invalid-request"},

		{name: "no key", method: "GET", path: walletsW, header: []string{"Authorization: "}, status: 401, code: "unauthorized"},
		{name: "another scheme", method: "GET", path: walletsW, header: []string{"Authorization: Basic x"}, status: 401, code: "unauthorized"},
		{name: "garbage for a key", method: "GET", path: walletsW, header: []string{"Authorization: Bearer x"}, status: 401, code: "unauthorized"},
		{name: "a key that nobody has", method: "GET", path: walletsW, header: []string{"Authorization: Bearer " + strangersKey}, status: 401, code: "unauthorized"},
		{name: "no key, and no such path", method: "GET", path: "/api/v1/nowhere", header: []string{"Authorization: "}, status: 404, code: "not-found"},
		{name: "no key, and no such method", method: "PUT", path: walletsW, header: []string{"Authorization: "}, status: 405, code: "method-not-allowed"},
		{name: "no key, and everything else wrong", method: "POST", path: operationsPath, body: "x", header: []string{"Authorization: ", "Content-Type: x", "Idempotency-Key: "}, status: 401, code: "unauthorized"},
		{name: "the contract without a key", method: "GET", path: "/openapi.yaml", header: []string{"Authorization: "}, status: 200},
		{name: "Swagger UI without a key", method: "GET", path: "/swagger/", header: []string{"Authorization: "}, status: 200},
		{name: "the console without a key", method: "GET", path: "/console/", header: []string{"Authorization: "}, status: 200},

		{name: "no content type", method: "POST", path: operationsPath, body: deposit(""), header: []string{"Content-Type: "}, status: 415, code: "unsupported-media-type"},
		{name: "another content type", method: "POST", path: operationsPath, body: deposit(""), header: []string{"Content-Type: text/plain"}, status: 415, code: "unsupported-media-type"},
		{name: "another content type and too large", method: "POST", path: operationsPath, body: deposit(big), header: []string{"Content-Type: text/plain"}, status: 415, code: "unsupported-media-type"},
		{name: "too large", method: "POST", path: operationsPath, body: deposit(big), status: 413, code: "request-too-large"},
		{name: "too large with a bad key", method: "POST", path: operationsPath, body: deposit(big), header: key("a b"), status: 413, code: "request-too-large"},
		{name: "a wallet too large", method: "POST", path: walletsPath, body: "{" + big + "}", status: 413, code: "request-too-large"},

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
		{name: "a wallet in capital letters", method: "POST", path: operationsPath, body: strings.Replace(deposit(""), "W", capitals, 1), status: 404, code: "wallet-not-found"},
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
		{name: "a batch with no such wallet", method: "POST", path: batchPath, body: batch(item + "," + strings.Replace(item, "W", absent, 1)), status: 200, code: "wallet-not-found"},
		{name: "a batch with a key of other content", method: "POST", path: batchPath, body: batch(strings.Replace(item, ":1}", `:2,"idempotencyKey":"k"}`, 1)), status: 200, code: "idempotency-key-reused"},
		{name: "another content type for a batch", method: "POST", path: batchPath, body: batch(item), header: []string{"Content-Type: text/plain"}, status: 415, code: "unsupported-media-type"},
		{name: "another content type for a wallet", method: "POST", path: walletsPath, body: "{}", header: []string{"Content-Type: text/plain"}, status: 415, code: "unsupported-media-type"},
		{name: "a wrong amount, and no such wallet", method: "POST", path: operationsPath, body: strings.Replace(amount("0"), "W", absent, 1), status: 400, code: "invalid-request", field: "amount"},
		invalidBatch("an item that is no object", batch(item+",7"), "operations[1]"),
		{name: "a batch too large", method: "POST", path: batchPath, body: batch(item) + strings.Repeat(" ", maxBatchBody), status: 413, code: "request-too-large"},
		{name: "a batch", method: "POST", path: batchPath, body: batch(item), status: 200},
		{name: "a large batch", method: "POST", path: batchPath, body: batch(strings.Repeat(item+",", 999) + item), status: 200},
		{name: "reading a batch", method: "GET", path: batchPath, status: 405, code: "method-not-allowed"},
		{name: "a currency in small letters", method: "POST", path: walletsPath, body: `{"currency":"eur"}`, status: 400, code: "invalid-request", field: "currency"},
		{name: "the longest reference", method: "POST", path: operationsPath, body: deposit(`,"reference":"` + strings.Repeat("é", 128) + `"`), status: 202},

		{name: "the longest key", method: "POST", path: operationsPath, body: deposit(""), header: key(strings.Repeat("k", 255)), status: 202},
		{name: "the longest quoted key", method: "POST", path: operationsPath, body: deposit(""), header: key(`"` + strings.Repeat(`\"`, 255) + `"`), status: 202},
		{name: "a quoted key with spaces", method: "POST", path: operationsPath, body: deposit(""), header: key(`" a b "`), status: 202},
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
		{name: "two keys for a wallet", method: "POST", path: walletsPath, body: "{}", header: []string{"Idempotency-Key: a", "Idempotency-Key: b"}, status: 400, code: "invalid-request", field: "Idempotency-Key"},
	}
}

// everyRoute is a right request of each route, which something else makes fail, and how it does.
func everyRoute(name string, status int, code string, header ...string) []surface {
	const item = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	return append(append(everyMoneyRoute(name, status, code, header...), everyWebhookRoute(name, status, code, header...)...), []surface{
		{name: name + ": create a wallet", method: "POST", path: walletsPath, body: `{}`, header: header, status: status, code: code},
		{name: name + ": find wallets", method: "GET", path: walletsPath, header: header, status: status, code: code},
		{name: name + ": read a wallet", method: "GET", path: walletsW, header: header, status: status, code: code},
		{name: name + ": deposit", method: "POST", path: operationsPath, body: item, header: header, status: status, code: code},
		{name: name + ": send a batch", method: "POST", path: batchPath, body: `{"operations":[` + item + `]}`, header: header, status: status, code: code},
		{name: name + ": read a statement", method: "GET", path: statementW, header: header, status: status, code: code},
		{name: name + ": follow a wallet", method: "GET", path: eventsW, header: header, status: status, code: code},
		{name: name + ": read an operation", method: "GET", path: operationO, header: header, status: status, code: code},
		{name: name + ": find an operation", method: "GET", path: findO + "?timeline=true", header: header, status: status, code: code},
		{name: name + ": read the status", method: "GET", path: statusPath, header: header, status: status, code: code},
		{name: name + ": list holds", method: "GET", path: holdsW, header: header, status: status, code: code},
		{name: name + ": read a hold", method: "GET", path: holdsW + "/O", header: header, status: status, code: code},
		{name: name + ", and the body is wrong too", method: "POST", path: operationsPath, body: "x", header: append(header, "Content-Type: x"), status: status, code: code},
	}...)
}

// theKey is the route that needs no scope.
func theKey(name string, status int, code string, header ...string) surface {
	return surface{name: name + ": read the key", method: "GET", path: keyPath, header: header, status: status, code: code}
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
		{name: "all is well", rows: slices.Concat(surfaces(), moneySurfaces(), webhookSurfaces(), everyRoute("without a key", 401, "unauthorized", "Authorization: "),
			[]surface{theKey("without a key", 401, "unauthorized", "Authorization: ")})},
		{name: "there is no HOOKS_KEY", settings: []string{"HOOKS_KEY="}, rows: withoutHooks()},
		{
			name: "the tenant has 200 webhooks",
			begin: func(t *testing.T, s *scene) {
				s.exec(t, "INSERT INTO hook_endpoints (id, tenant, client, url, secret) SELECT gen_random_uuid(), 'default', '', 'https://1.1.1.1/', '' FROM generate_series(1, 199)")
			},
			rows: []surface{{name: "one more webhook", method: "POST", path: webhooksPath, body: `{"url":"https://1.1.1.1/"}`, status: 422, code: "too-many-webhooks"}},
		},
		{name: "it is a cell of several", settings: []string{"CELL=7"}, rows: inCell7()},
		{
			name: "the key is allowed nothing", begin: newKeyOf("nothing"),
			rows: append(everyRoute("without scopes", 403, "forbidden"), theKey("without scopes", 200, "")),
		},
		{
			name:  "the key is one tenant's",
			begin: func(t *testing.T, s *scene) { s.key = newTenantKey(t, s.database, "default", "client") },
			rows:  []surface{{name: "one tenant reads the status of all", method: "GET", path: statusPath, status: 403, code: "forbidden"}},
		},
		{
			name: "the key's rate is used up", settings: []string{"RATE_LIMIT=1"},
			each: func(t *testing.T, s *scene) {
				testkit.Until(t, "the rate is used up", func() error {
					r := s.send("GET", walletsPath, "")
					return testkit.Unless(r.status == 429, "%d %s", r.status, r.text)
				})
			},
			rows: append(everyRoute("too fast", 429, "rate-limited"), theKey("too fast", 429, "rate-limited")),
		},
		{
			name: "Postgres is away",
			begin: func(t *testing.T, s *scene) {
				newKeyOf(apikey.Scopes...)(t, s) // that the api does not know yet
				s.proxy.Cut()
			},
			rows: append(everyRoute("without Postgres", 503, "overloaded"), theKey("without Postgres", 503, "overloaded"),
				surface{name: "garbage for a key does not reach Postgres", method: "GET", path: walletsW, header: []string{"Authorization: Bearer x"}, status: 401, code: "unauthorized"}),
		},
		{
			name: "the api meets what it does not expect",
			begin: func(t *testing.T, s *scene) {
				newKeyOf(apikey.Scopes...)(t, s)
				s.exec(t, "REVOKE SELECT ON api_keys FROM wallet_api")
			},
			rows: append(everyRoute("our mistake", 500, "internal"), theKey("our mistake", 500, "internal")),
		},
		{
			name: "Postgres refuses an operation",
			begin: func(t *testing.T, s *scene) {
				s.exec(t, "ALTER TABLE operations ADD CHECK (amount <> 1) NOT VALID")
			},
			rows: []surface{
				{name: "a deposit that is refused", method: "POST", path: operationsPath, body: deposit, status: 500, code: "internal"},
				{name: "an item that is refused", method: "POST", path: batchPath, body: one, status: 200, code: "internal"},
			},
		},
		{
			name: "the queue is full", settings: []string{"QUEUE_MAX_OPERATIONS=1", "REQUEST_TIMEOUT=1s"},
			begin: func(t *testing.T, s *scene) { lockWallet(t, s.database, s.walletID) },
			rows: []surface{
				{name: "no room for a batch", method: "POST", path: batchPath, body: two, status: 503, code: "overloaded"},
				{name: "a deposit that is not accepted in time", method: "POST", path: operationsPath, body: deposit, status: 503, code: "overloaded"},
				{name: "an item that is not accepted in time", method: "POST", path: batchPath, body: one, status: 200, code: "overloaded"},
			},
		},
		{
			name: "the answer to COMMIT is lost", settings: []string{"REQUEST_TIMEOUT=1s"},
			each: func(t *testing.T, s *scene) {
				s.proxy.Cut()
				s.proxy.Open(t)
				s.proxy.cutInsert(true, true)
			},
			rows: append(append(everyMoneyRoute("it may be accepted", 503, "outcome-unknown"), everyWebhookWrite("it may be done", 503, "outcome-unknown")...), []surface{
				{name: "a deposit that may be accepted", method: "POST", path: operationsPath, body: deposit, status: 503, code: "outcome-unknown"},
				{name: "an item that may be accepted", method: "POST", path: batchPath, body: one, status: 200, code: "outcome-unknown"},
				{name: "a wallet that may be created", method: "POST", path: walletsPath, body: `{"reference":"` + cutHere + `"}`, status: 503, code: "outcome-unknown"},
			}...),
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
	a := startAPI(t, proxy.URL, append([]string{"AUTH=on", hooksKey}, s.settings...)...)
	a.key = newKey(t, database, "client", apikey.Scopes...)
	here := &scene{api: a, database: database, proxy: proxy}
	testkit.Until(t, "a wallet is made", func() error { // a key's rate may be low
		r := a.send("POST", walletsPath, "{}")
		id, _ := r.body["walletId"].(string)
		here.walletID, _ = uuid.Parse(id)
		return testkit.Unless(id != "", "%d %s %v", r.status, r.text, r.err)
	})
	var operation any
	testkit.Until(t, "an operation is made", func() error {
		r := a.deposit(here.walletID, 5)
		operation = r.body["operationId"]
		return testkit.Unless(operation != nil, "%d %s %v", r.status, r.text, r.err)
	})
	var hold any
	testkit.Until(t, "a hold is made", func() error {
		r := a.send("POST", walletPath(here.walletID)+"/holds", `{"amount":1}`)
		hold = r.body["operationId"]
		return testkit.Unless(hold != nil, "%d %s %v", r.status, r.text, r.err)
	})
	other, dollars := insertWallet(t, database), insertWallet(t, database)
	here.exec(t, "UPDATE wallets SET currency = 'EUR' WHERE id IN ('"+here.walletID.String()+"', '"+other.String()+"')")
	here.exec(t, "UPDATE wallets SET currency = 'USD' WHERE id = '"+dollars.String()+"'")
	insertWebhook(t, database, webhookV, "default")
	if s.begin != nil {
		s.begin(t, here)
	}
	ids := strings.NewReplacer(`"W"`, `"`+here.walletID.String()+`"`, "/W", "/"+here.walletID.String(), "/O", "/"+fmt.Sprint(operation),
		"/V", "/"+webhookV.String(), "/H", "/"+fmt.Sprint(hold), `"T"`, `"`+other.String()+`"`, "/T", "/"+other.String(), `"D"`, `"`+dollars.String()+`"`)
	for _, test := range s.rows {
		send := func() reply {
			if s.each != nil {
				s.each(t, here)
			}
			return a.send(test.method, ids.Replace(test.path), ids.Replace(test.body), test.header...)
		}
		r := send()
		missed := func() bool { // the rate had grown by one meanwhile; the second was over before anything was sent
			return test.code == "rate-limited" && r.status != test.status || test.code == "outcome-unknown" && strings.Contains(r.text, `"code":"overloaded"`)
		}
		for try := 0; missed() && try < 10; try++ {
			r = send()
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
	if failures := a.log.Lines("request failed"); len(failures) > 0 && !slices.ContainsFunc(s.rows, func(row surface) bool { return row.code == "internal" }) {
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
	if len(segments) > 4 && segments[3] == "operations" {
		segments[4] = "{operationId}"
	}
	if len(segments) > 4 && segments[3] == "webhooks" {
		segments[4] = "{id}"
	}
	if len(segments) > 6 {
		segments[6] = map[string]string{"operations": "{operationId}", "holds": "{holdId}"}[segments[5]]
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
	if unknown := r.body["operationId"] != nil || r.body["walletId"] != nil || r.body["webhookId"] != nil; unknown != (test.code == "outcome-unknown") {
		t.Errorf("%s: %s", test.name, r.text)
	}
	if (r.body["cell"] != nil) != (test.code == "wrong-cell" || test.code == "other-cell") {
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
