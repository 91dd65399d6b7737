package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Whatever a client sends for a key, it is refused without a look at Postgres unless it is one, written
// exactly so, behind any number of spaces.
func FuzzCredentials(f *testing.F) {
	key, _ := apikey.New()
	for _, header := range []string{"Bearer " + key, "bearer " + key, "Bearer  " + key, "Bearer " + key + " ", "Bearer", "Basic " + key, key, "Bearer lw_", "Bearer " + strings.ToUpper(key), "Bearer " + key + "," + key} {
		f.Add(header)
	}
	handler := fullAPI(f, &keys{db: noPostgres{}})
	f.Fuzz(func(t *testing.T, header string) {
		request := httptest.NewRequest(http.MethodGet, walletsPath, nil)
		request.Header.Set("Authorization", header)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		scheme, token, _ := strings.Cut(header, " ")
		want := http.StatusUnauthorized
		if strings.EqualFold(scheme, "Bearer") && isAPIKey(strings.TrimLeft(token, " ")) {
			want = http.StatusServiceUnavailable // Postgres was to be asked
		}
		if recorder.Code != want {
			t.Errorf("%q: %d, want %d", header, recorder.Code, want)
		}
	})
}

// isAPIKey reads a key as its package has it in words.
func isAPIKey(token string) bool {
	match := regexp.MustCompile("^lw_([0-9a-f]{64})([0-9a-f]{8})$").FindStringSubmatch(token)
	if match == nil || strings.HasSuffix(token, "\n") {
		return false
	}
	secret, _ := hex.DecodeString(match[1])
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(secret)) == match[2]
}

// noPostgres answers no query.
type noPostgres struct{ walletdb.DBTX }

func (noPostgres) QueryRow(context.Context, string, ...any) pgx.Row { return noRow{} }

type noRow struct{}

func (noRow) Scan(...any) error { return io.EOF }

// fullAPI answers as the api does, but its queue has no room: what is right is answered with 503.
func fullAPI(t testing.TB, k *keys) http.Handler {
	t.Helper()
	q := newQueue(limits{flush: 1})
	m := newMetrics(prometheus.NewRegistry(), q, func() int { return 0 })
	handler, err := newHandler(&wallets{queue: q, metrics: m}, k, m, nil)
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
	handler := fullAPI(f, &keys{off: true})
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
	handler := fullAPI(f, &keys{off: true})
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
