package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-faster/jx"
	"github.com/go-faster/yaml"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// odd is a request as it stands on the wire, as proxies and libraries send some, and its answer.
type odd struct {
	name    string
	line    string   // the request line
	headers []string // besides Host and Connection, and the right Authorization and Content-Type unless the name is there
	body    string   // its length is sent unless the headers say one
	status  int
	says    string // in the answer's head or body, if not empty
}

const (
	oddDeposit = `{"walletId":"W","operationType":"DEPOSIT","amount":1}`
	postOdd    = "POST /api/v1/wallet HTTP/1.1"
	getOdd     = "GET /api/v1/wallets/W HTTP/1.1"
)

func oddRequests() []odd {
	reference := func(text string) string {
		return `{"walletId":"W","operationType":"DEPOSIT","amount":1,"reference":"` + text + `"}`
	}
	return []odd{
		{name: "nothing odd", line: postOdd, body: oddDeposit, status: 202},

		// Strings that cannot be stored as they were sent.
		{name: "the first half of a pair", line: postOdd, body: reference(`\ud800`), status: 400, says: "surrogate"},
		{name: "the second half of a pair", line: postOdd, body: reference(`a\udfffb`), status: 400, says: "surrogate"},
		{name: "a pair the wrong way round", line: postOdd, body: reference(`\udc00\ud800`), status: 400, says: "surrogate"},
		{name: "half a pair before another escape", line: postOdd, body: reference(`\ud83d\n`), status: 400},
		{name: "half a pair in a field's name", line: postOdd, body: `{"\udc00":1}`, status: 400, says: "surrogate"},
		{name: "half a pair in a wallet", line: "POST /api/v1/wallets HTTP/1.1", body: `{"reference":"\ud800"}`, status: 400, says: "surrogate"},
		{name: "half a pair in a batch", line: "POST /api/v1/wallet/batch HTTP/1.1", body: `{"operations":[` + reference(`\uDBFF`) + `]}`, status: 400, says: "surrogate"},
		{name: "half a pair in an item's key", line: "POST /api/v1/wallet/batch HTTP/1.1", body: `{"operations":[{"idempotencyKey":"\ud800"}]}`, status: 400, says: "surrogate"},
		{name: "a whole pair", line: postOdd, body: reference(`\ud83d\uDE00`), status: 202},
		{name: "an escaped backslash before u", line: postOdd, body: reference(`\\ud800`), status: 202},
		{name: "an escape that is cut short", line: postOdd, body: `{"reference":"\ud8`, status: 400},
		{name: "invalid UTF-8", line: postOdd, body: reference("\xed\xa0\x80"), status: 400, says: "UTF-8"},
		{name: "invalid UTF-8 in the query", line: "GET /api/v1/wallets?reference=%ed%a0%80 HTTP/1.1", status: 400, says: "UTF-8"},
		{name: "NUL in a string", line: postOdd, body: reference(`\u0000`), status: 400},
		{name: "a byte order mark", line: postOdd, body: "\xef\xbb\xbf" + oddDeposit, status: 400},
		{name: "UTF-16", line: postOdd, body: "\xff\xfe{\x00}\x00", status: 400},

		// Encodings of the body.
		{name: "gzip said, not done", line: postOdd, headers: []string{"Content-Encoding: gzip"}, body: oddDeposit, status: 415, says: "Accept-Encoding: identity"},
		{name: "gzip", line: postOdd, headers: []string{"Content-Encoding: gzip"}, body: "\x1f\x8b\x08\x00\x00", status: 415, says: "Accept-Encoding: identity"},
		{name: "brotli in a batch", line: "POST /api/v1/wallet/batch HTTP/1.1", headers: []string{"Content-Encoding: br"}, body: "x", status: 415, says: "Accept-Encoding: identity"},
		{name: "two codings", line: postOdd, headers: []string{"Content-Encoding: identity, deflate"}, body: oddDeposit, status: 415, says: "Accept-Encoding: identity"},
		{name: "a coding in a second line", line: postOdd, headers: []string{"Content-Encoding: identity", "Content-Encoding: zstd"}, body: oddDeposit, status: 415, says: "Accept-Encoding: identity"},
		{name: "identity", line: postOdd, headers: []string{"Content-Encoding: Identity"}, body: oddDeposit, status: 202},
		{name: "a coding of an answer's request", line: getOdd, headers: []string{"Content-Encoding: gzip"}, status: 200},
		{name: "answers may be compressed", line: getOdd, headers: []string{"Accept-Encoding: gzip, br"}, status: 200},
		{name: "another charset", line: postOdd, headers: []string{"Content-Type: application/json; charset=iso-8859-1"}, body: oddDeposit, status: 202},
		{name: "another media type", line: postOdd, headers: []string{"Content-Type: text/json"}, body: oddDeposit, status: 415},
		{name: "no media type", line: postOdd, headers: []string{"Content-Type:"}, body: oddDeposit, status: 415},
		{name: "a media type in capitals", line: postOdd, headers: []string{"Content-Type: Application/JSON"}, body: oddDeposit, status: 202},

		// Header fields that have one value.
		{name: "two Authorization", line: getOdd, headers: []string{"Authorization: Bearer K", "Authorization: Bearer K"}, status: 400, says: "Authorization"},
		{name: "two Authorization of two schemes", line: getOdd, headers: []string{"Authorization: Basic eDp5", "Authorization: Bearer K"}, status: 400, says: "Authorization"},
		{name: "two Content-Type", line: postOdd, headers: []string{"Content-Type: application/json", "Content-Type: text/plain"}, body: oddDeposit, status: 400, says: "Content-Type"},
		{name: "two Idempotency-Key", line: postOdd, headers: []string{"Idempotency-Key: a", "Idempotency-Key: b"}, body: oddDeposit, status: 400, says: "Idempotency-Key"},
		{name: "two traceparent", line: getOdd, headers: []string{"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "traceparent: x"}, status: 400, says: "Traceparent"},
		{name: "two X-Request-Id", line: getOdd, headers: []string{"X-Request-Id: a", "X-Request-Id: b"}, status: 400, says: "X-Request-Id"},
		{name: "two Host", line: getOdd, headers: []string{"Host: b"}, status: 400},
		{name: "two lengths", line: postOdd, headers: []string{"Content-Length: 2", "Content-Length: 3"}, body: "{}", status: 400},
		{name: "two Expect", line: postOdd, headers: []string{"Expect: 100-continue", "Expect: x"}, body: oddDeposit, status: 400},
		{name: "two lines of a list", line: getOdd, headers: []string{"Accept: */*", "Accept: application/json", `If-None-Match: "8"`, `If-None-Match: "9"`}, status: 200},
		{name: "two lines of what we do not read", line: getOdd, headers: []string{"X-Forwarded-For: a", "X-Forwarded-For: b", "Via: 1.1 a", "Via: 1.1 b"}, status: 200},

		// Methods and paths.
		{name: "an unknown method", line: "FOO /api/v1/wallet HTTP/1.1", status: 405, says: "Allow: POST\r\n"},
		{name: "an unknown method on a wallet", line: "FOO /api/v1/wallets/W HTTP/1.1", status: 405, says: "Allow: GET, HEAD\r\n"},
		{name: "an unknown method on wallets", line: "PROPFIND /api/v1/wallets HTTP/1.1", status: 405, says: "Allow: GET, HEAD,POST\r\n"},
		{name: "an unknown method on an unknown path", line: "FOO /nowhere HTTP/1.1", status: 404, says: "not-found"},
		{name: "an unknown method on the contract", line: "FOO /openapi.yaml HTTP/1.1", status: 405, says: "Allow: GET, HEAD\r\n"},
		{name: "a method in small letters", line: "post /api/v1/wallet HTTP/1.1", status: 405, says: "Allow: POST\r\n"},
		{name: "TRACE", line: "TRACE /api/v1/wallet HTTP/1.1", status: 405, says: "Allow: POST\r\n"},
		{name: "CONNECT", line: "CONNECT 127.0.0.1:443 HTTP/1.1", status: 404},
		{name: "OPTIONS of everything", line: "OPTIONS * HTTP/1.1", status: 200},
		{name: "an absolute path", line: "GET http://other.example/api/v1/wallets/W HTTP/1.1", status: 200},
		{name: "a path with two slashes", line: "GET //api/v1/wallets/W HTTP/1.1", status: 404},
		{name: "a path with dots", line: "GET /api/v1/../v1/wallets/W HTTP/1.1", status: 404},
		{name: "an escaped slash", line: "GET /api/v1%2Fwallets/W HTTP/1.1", status: 404},
		{name: "a broken escape", line: "GET /api/v1/wallets/%zz HTTP/1.1", status: 400},
		{name: "a path in capitals", line: "GET /API/v1/wallets/W HTTP/1.1", status: 404},
		{name: "a malformed query", line: "GET /api/v1/wallets?limit=%zz HTTP/1.1", status: 400, says: "query string"},
		{name: "a semicolon in the query", line: "GET /api/v1/wallets?limit=1;after=2 HTTP/1.1", status: 400},
		{name: "a fragment", line: "GET /api/v1/wallets/W#x HTTP/1.1", status: 400},

		// Credentials.
		{name: "two spaces before the key", line: getOdd, headers: []string{"Authorization: Bearer  K"}, status: 200},
		{name: "many spaces before the key", line: getOdd, headers: []string{"Authorization: Bearer     K"}, status: 200},
		{name: "the scheme in small letters", line: getOdd, headers: []string{"Authorization: bearer K"}, status: 200},
		{name: "a tab before the key", line: getOdd, headers: []string{"Authorization: Bearer\tK"}, status: 401},
		{name: "no scheme", line: getOdd, headers: []string{"Authorization: K"}, status: 401},
		{name: "no key", line: getOdd, headers: []string{"Authorization: Bearer"}, status: 401},
		{name: "two keys", line: getOdd, headers: []string{"Authorization: Bearer K, Bearer K"}, status: 401},

		// Ways of sending.
		{name: "chunked", line: postOdd, headers: []string{"Transfer-Encoding: chunked"}, body: "CHUNKED", status: 202},
		{name: "chunked and a length", line: postOdd, headers: []string{"Transfer-Encoding: chunked", "Content-Length: 3"}, body: "CHUNKED", status: 202},
		{name: "another transfer coding", line: postOdd, headers: []string{"Transfer-Encoding: gzip"}, body: oddDeposit, status: 501},
		{name: "waiting for 100", line: postOdd, headers: []string{"Expect: 100-continue"}, body: oddDeposit, status: 202},
		{name: "another expectation", line: postOdd, headers: []string{"Expect: the best"}, body: oddDeposit, status: 417},
		{name: "HTTP/1.0", line: "POST /api/v1/wallet HTTP/1.0", body: oddDeposit, status: 202},
		{name: "HTTP/2.0 by name", line: "GET / HTTP/2.0", status: 505},
		{name: "a body on a read", line: getOdd, body: `{"x":1}`, status: 200},
		{name: "a body that is too large", line: postOdd, body: strings.Repeat(" ", maxBody+1), status: 413},
		{name: "no body", line: postOdd, headers: []string{"Content-Length: 0", "Content-Type: application/json"}, status: 400, says: "needs a body"},
		{name: "HEAD of an error", line: "HEAD /api/v1/wallets/x HTTP/1.1", status: 400},
		{name: "a range", line: getOdd, headers: []string{"Range: bytes=0-1"}, status: 200},
		{name: "a header that goes on in the next line", line: getOdd, headers: []string{"X-Old: a\r\n b"}, status: 200},
		{name: "a header without a name", line: getOdd, headers: []string{": x"}, status: 400},
		{name: "a space before the colon", line: getOdd, headers: []string{"Prefer : wait=1"}, status: 400},
		{name: "an upgrade", line: getOdd, headers: []string{"Upgrade: websocket"}, status: 200},

		// People.
		{name: "home for a browser", line: "GET / HTTP/1.1", headers: []string{"Accept: text/html,*/*;q=0.8"}, status: 200, says: "/swagger/"},
		{name: "home leads to the console", line: "GET / HTTP/1.1", headers: []string{"Accept: text/html"}, status: 200, says: "/console/"},
		{name: "home for a program", line: "GET / HTTP/1.1", headers: []string{"Accept: application/json"}, status: 404, says: "not-found"},
		{name: "home for curl", line: "GET / HTTP/1.1", headers: []string{"Accept: */*"}, status: 404, says: "not-found"},
		{name: "writing home", line: "POST / HTTP/1.1", headers: []string{"Accept: text/html"}, status: 405, says: "Allow: GET, HEAD\r\n"},
		{name: "the icon for a browser", line: "GET /favicon.ico HTTP/1.1", headers: []string{"Accept: image/avif,image/*"}, status: 200, says: "image/svg+xml"},
		{name: "the icon for a program", line: "GET /favicon.ico HTTP/1.1", status: 404, says: "not-found"},
	}
}

func TestOddRequestsAreAnsweredAsTheStandardsSay(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	a.key = newKey(t, database, "odd", apikey.Scopes...)
	wallet, _ := a.send("POST", walletsPath, "{}").body["walletId"].(string)
	if wallet == "" {
		t.Fatal("no wallet is made")
	}
	put := strings.NewReplacer(`"W"`, `"`+wallet+`"`, "/W", "/"+wallet, " K", " "+a.key, "\tK", "\t"+a.key, "CHUNKED", chunked(strings.Replace(oddDeposit, `"W"`, `"`+wallet+`"`, 1)))
	for _, request := range oddRequests() {
		t.Run(request.name, func(t *testing.T) {
			status, text := a.write(t, put.Replace(request.wire(put.Replace(request.body))))
			if status != request.status || !strings.Contains(text, request.says) {
				t.Errorf("%d, want %d and %q:\n%s", status, request.status, request.says, text)
			}
			if status >= 400 && strings.Contains(text, "problem+json") && !strings.Contains(text, "X-Request-Id") {
				t.Errorf("no X-Request-Id:\n%s", text)
			}
		})
	}
	if failures := a.log.Lines("request failed"); len(failures) > 0 {
		t.Errorf("the api logged: %s", failures)
	}
}

// wire is the request as it is sent.
func (o odd) wire(body string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\r\nHost: a\r\nConnection: close\r\n", o.line)
	has := func(name string) bool {
		return slices.ContainsFunc(o.headers, func(header string) bool { return strings.HasPrefix(header, name) })
	}
	if !has("Authorization") {
		text.WriteString("Authorization: Bearer K\r\n")
	}
	if !has("Content-Type") && body != "" {
		text.WriteString("Content-Type: application/json\r\n")
	}
	if !has("Content-Length") && !has("Transfer-Encoding") && body != "" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	for _, header := range o.headers {
		text.WriteString(header + "\r\n")
	}
	return text.String() + "\r\n" + body
}

func chunked(text string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text), text) }

// write sends a request as it stands and returns the answer's status, and all of the last answer.
func (a *api) write(t *testing.T, request string) (int, string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(a.url, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(bufio.NewReader(conn)) // a body that was not read is answered by a reset, too
	text := strings.TrimPrefix(string(answer), "HTTP/1.1 100 Continue\r\n\r\n")
	var status int
	if _, err := fmt.Sscanf(text, "HTTP/1.%1d %d", new(int), &status); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return status, text
}

func TestPagesOfAllowedOriginsMayUseTheAPI(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	allowed := startAPI(t, database.As(testdb.API), "AUTH=on", "CORS_ORIGINS=https://shop.example, http://127.0.0.1:3000")
	all := startAPI(t, database.As(testdb.API), "AUTH=on", "CORS_ORIGINS=*")
	none := startAPI(t, database.As(testdb.API), "AUTH=on")
	preflight := []string{"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,idempotency-key"}
	for _, c := range []struct {
		name   string
		api    *api
		origin string
		want   string // Access-Control-Allow-Origin
	}{
		{name: "one of the origins", api: allowed, origin: "https://shop.example", want: "https://shop.example"},
		{name: "the other one", api: allowed, origin: "http://127.0.0.1:3000", want: "http://127.0.0.1:3000"},
		{name: "another scheme", api: allowed, origin: "http://shop.example"},
		{name: "an origin that ends alike", api: allowed, origin: "https://eshop.example"},
		{name: "a page from a file", api: allowed, origin: "null"},
		{name: "any origin", api: all, origin: "https://other.example", want: "*"},
		{name: "without CORS", api: none, origin: "https://shop.example"},
	} {
		// A preflight has no key.
		asked := sendTo(c.api.url, "OPTIONS", operationsPath, "", append(preflight, "Origin: "+c.origin)...)
		if got := asked.header.Get("Access-Control-Allow-Origin"); got != c.want {
			t.Errorf("%s: the preflight allows %q, want %q", c.name, got, c.want)
		}
		if wanted := c.want != ""; wanted != (asked.status == 204 && asked.header.Get("Access-Control-Allow-Methods") == "POST") {
			t.Errorf("%s: the preflight is answered with %d, %v", c.name, asked.status, asked.header)
		}
		read := sendTo(c.api.url, "GET", walletsPath, "", "Origin: "+c.origin)
		if got := read.header.Get("Access-Control-Allow-Origin"); got != c.want || read.status != 401 {
			t.Errorf("%s: reading allows %q with status %d, want %q and 401", c.name, got, read.status, c.want)
		}
		if says := read.header.Get("Access-Control-Expose-Headers"); strings.Contains(says, "X-Request-Id") != (c.want != "") || c.want == "" && says != "" {
			t.Errorf("%s: %q is exposed", c.name, says)
		}
	}
	contract, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^    (get|post|put|patch|delete):$`).FindAllSubmatch(contract, -1) {
		method := strings.ToUpper(string(found[1]))
		asked := all.send("OPTIONS", operationsPath, "", "Origin: https://shop.example", "Access-Control-Request-Method: "+method)
		if got := asked.header.Get("Access-Control-Allow-Methods"); got != method {
			t.Errorf("pages may send %q, want %s", got, method)
		}
	}
	if refused := none.send("OPTIONS", operationsPath, "", append(preflight, "Origin: https://shop.example")...); refused.status != 405 {
		t.Errorf("without CORS, OPTIONS is answered with %d", refused.status)
	}
}

// What pages may read is what openapi.yaml declares.
func TestAllDeclaredHeadersAreExposed(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var contract struct {
		Components struct {
			Responses map[string]struct{ Headers map[string]any }
		}
	}
	if err := yaml.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	declared := []string{"X-Request-Id"}
	for _, response := range contract.Components.Responses {
		for name := range response.Headers {
			if name != "Cache-Control" && !slices.Contains(declared, name) { // scripts can read that one anyway
				declared = append(declared, name)
			}
		}
	}
	slices.Sort(declared)
	if !slices.Equal(declared, exposedHeaders) {
		t.Errorf("exposed are %q, declared %q", exposedHeaders, declared)
	}
}

func TestOriginsAreReadExactly(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "[]",
		" https://a.example ,http://b:3000":   `["https://a.example" "http://b:3000"]`,
		"*":                                   `["*"]`,
		"a.example":                           "mistake",
		"https://a.example/":                  "mistake",
		"https://*.example":                   "mistake",
		"ftp://a.example":                     "mistake",
		"https://a.example https://b.example": "mistake",
	} {
		origins, err := parseOrigins(text)
		got := fmt.Sprintf("%q", origins)
		if err != nil {
			got = "mistake"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// encoding/json puts U+FFFD in the place of each half, and has no other way to it from text without one.
func FuzzHalfSurrogate(f *testing.F) {
	for _, seed := range []string{`"\ud800"`, `"\ud83d\ude00"`, `"\\ud800"`, `"\u00e4\udc00"`, `"\ud800\ud800\udc00"`, `"x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var decoded string
		if !utf8.ValidString(text) || strings.Contains(text, "\uFFFD") || strings.Contains(strings.ToLower(text), `\ufffd`) || json.Unmarshal([]byte(text), &decoded) != nil {
			return
		}
		if half := halfSurrogate([]byte(text)); half != strings.Contains(decoded, "\uFFFD") {
			t.Errorf("%q: half a pair: %v, decoded %q", text, half, decoded)
		}
	})
}

// What a body costs to look at is bounded by its size.
func TestABodyIsLookedAtInLittleMemory(t *testing.T) {
	for what, body := range map[string]string{
		"objects in each other":          strings.Repeat(`{"`+strings.Repeat("n", 100)+`":`, 10_000),
		"arrays in each other":           strings.Repeat("[", 1<<20),
		"many arrays under a long name":  `{"` + strings.Repeat("n", 500_000) + `":[` + strings.Repeat("[],", 150_000) + "0]}",
		"many objects under a long name": `{"` + strings.Repeat("n", 500_000) + `":[` + strings.Repeat(`{"a":[]},`, 50_000) + "0]}",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := strictFields(jx.DecodeStr(body), "", 0)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 100<<20 {
			t.Errorf("%s: %d bytes were looked at in %d bytes of memory", what, len(body), took)
		}
		var p problem
		if deep := strings.HasSuffix(what, "in each other"); deep != (errors.As(err, &p) && p.code == invalidRequest) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
