package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// fullAPI answers as the api does, but its queue has no room: what is right is answered with 503.
func fullAPI(t testing.TB) http.Handler {
	t.Helper()
	q := newQueue(limits{flush: 1})
	h := &health{queue: q, cache: newCache(nil)}
	m := newMetrics(q, h, func() int { return 0 })
	handler, err := newHandler(&wallets{queue: q, metrics: m}, &keys{off: true}, m)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// Whatever a body holds, the answer is a problem that blames the client, or the body was right.
func FuzzBodies(f *testing.F) {
	const operation = `{"walletId":"7d1c4f0e-5a0b-4c7e-9d53-0f6f5c1b2a3d","operationType":"DEPOSIT","amount":1,"reference":"r"}`
	for _, body := range []string{
		operation, `{"operations":[` + operation + `]}`, strings.Replace(operation, "{", `{"amount":1,`, 1),
		strings.Replace(operation, ":1,", ":1e2,", 1), operation + operation, "[[[[", `{"a":{"a":{"a":[{"a":0,"a":1}]}}}`, "\xff", `{"\u0061mount":1,"amount":1}`,
	} {
		f.Add(body)
	}
	handler := fullAPI(f)
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{operationsPath, batchPath} {
			request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			var problem struct {
				Code   string
				Errors []struct{ Field, Detail string }
			}
			if err := json.Unmarshal(recorder.Body.Bytes(), &problem); err != nil {
				t.Fatalf("%q: the answer is no JSON: %s", body, recorder.Body)
			}
			switch problem.Code {
			case "request-too-large":
			case "invalid-request":
				for _, e := range problem.Errors {
					if e.Detail == "" {
						t.Errorf("%q: %s", body, recorder.Body)
					}
				}
			case "overloaded":
				var object map[string]json.RawMessage
				if err := json.Unmarshal([]byte(body), &object); err != nil || !utf8.ValidString(body) {
					t.Errorf("%q was let through: %v", body, err)
				}
			default:
				t.Errorf("%q: %d %s", body, recorder.Code, recorder.Body)
			}
		}
	})
}

// A header is a key exactly if it is one by the rules read character by character, and bare or quoted
// it is the same key.
func FuzzKeys(f *testing.F) {
	for _, header := range []string{`a`, `"a"`, `"a b"`, `"\""`, `"\\"`, `"\a"`, `"a`, `a"`, `""`, ` `, "\x7f", "é", strings.Repeat("k", 256)} {
		f.Add(header)
	}
	handler := fullAPI(f)
	f.Fuzz(func(t *testing.T, header string) {
		request := httptest.NewRequest(http.MethodPost, operationsPath, strings.NewReader(
			`{"walletId":"7d1c4f0e-5a0b-4c7e-9d53-0f6f5c1b2a3d","operationType":"DEPOSIT","amount":1}`))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", header)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		key, isKey := readKey(header)
		if letIn := recorder.Code == http.StatusServiceUnavailable; letIn != isKey {
			t.Errorf("%q: %d, by the rules a key: %v", header, recorder.Code, isKey)
		}
		if isKey && plainKey(oas.NewOptString(header)).Value != key {
			t.Errorf("%q: not the key %q", header, key)
		}
	})
}

// readKey reads a key as the contract has it in words.
func readKey(header string) (key string, ok bool) {
	inside, quoted := strings.CutPrefix(header, `"`)
	if quoted {
		if inside, ok = strings.CutSuffix(inside, `"`); !ok {
			return "", false
		}
	}
	var read []byte
	for i := 0; i < len(inside); i++ {
		c := inside[i]
		switch {
		case quoted && c == '\\':
			i++
			if i == len(inside) || inside[i] != '"' && inside[i] != '\\' {
				return "", false
			}
			c = inside[i]
		case quoted && c == '"', c < ' ', c > '~', c == ' ' && !quoted:
			return "", false
		}
		read = append(read, c)
	}
	return string(read), len(read) >= 1 && len(read) <= 255
}
