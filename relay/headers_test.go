package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// aRunsHeaders are those of an event.
const aRunsHeaders = `{"ce_specversion":"1.0","ce_type":"legendary-wallet.wallet.advanced.v1","ce_source":"/legendary-wallet",` +
	`"ce_id":"0b5a3f0e-8b1a-5f5e-9d0c-6d1f5b2c4a11:12345","ce_subject":"0b5a3f0e-8b1a-5f5e-9d0c-6d1f5b2c4a11",` +
	`"ce_time":"2026-11-29T10:00:00.123456Z","content-type":"application/json","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`

func FuzzHeaders(f *testing.F) {
	for _, text := range []string{
		aRunsHeaders, `{}`, ` { } `, `{"a":"b"}`, "\n{ \"b\" :\t\"1\" , \"a\":\"2\" } ", `{"a":"b","a":"c"}`, `{"a":1,"b":null,"c":{"d":[]}}`,
		`{"a":"\u00e9\n"}`, `{"é":"☃"}`, `{"a":"b"}x`, `{"a":"b",}`, `{"a":"b"`, `{"a"`, `{"":""}`, "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", `[]`, `{"a":"b" "c":"d"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasPrefix(strings.TrimLeft(text, jsonSpace), "{") {
			return // the table has objects alone
		}
		var fields map[string]json.RawMessage
		invalid := json.Unmarshal([]byte(text), &fields)
		headers, err := parseHeaders(text)
		if (err != nil) != (invalid != nil) {
			t.Fatalf("%v, but encoding/json says %v", err, invalid)
		}
		if err != nil {
			return
		}
		got, want := map[string]string{}, map[string]string{}
		for i, h := range headers {
			got[h.Key] = string(h.Value)
			if i > 0 && headers[i-1].Key >= h.Key {
				t.Errorf("%q after %q", h.Key, headers[i-1].Key)
			}
		}
		for name, value := range fields {
			want[name] = string(value)
			var s string
			if json.Unmarshal(value, &s) == nil {
				want[name] = s
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("headers (-encoding/json +ours):\n%s", diff)
		}
	})
}

func BenchmarkHeaders(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseHeaders(aRunsHeaders); err != nil {
			b.Fatal(err)
		}
	}
}
