package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

const sample = `{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","sequence":42,"operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","type":"WITHDRAW","amount":2500,"acceptedAt":"2026-11-24T10:15:30.123456Z"}`

func TestDecode(t *testing.T) {
	t.Parallel()
	want := message{uuid.MustParse("6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"), 42, uuid.MustParse("0192f5a0-7b1c-7def-8a3b-1234567890ab")}
	if got, ok := decodeKnownLayout([]byte(sample)); !ok || got != want {
		t.Errorf("the api's own layout is not known: %+v, %v", got, ok)
	}
	for fact, payload := range map[string]string{
		"as the api writes it": sample,
		"with spaces":          strings.ReplaceAll(sample, `,"`, `, "`),
		"in another order":     `{"sequence":42,"operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"}`,
		"with a new field":     strings.Replace(sample, `,"type"`, `,"note":"x","type"`, 1),
	} {
		if got, err := decode([]byte(payload)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", fact, got, err)
		}
	}
	for fact, payload := range map[string]string{
		"nothing":               "",
		"bytes":                 "\x00\xff\x00",
		"another message":       `{"hello":"world"}`,
		"a number":              "42",
		"no wallet":             strings.Replace(sample, "6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11", "00000000-0000-0000-0000-000000000000", 1),
		"no UUID":               strings.Replace(sample, "6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11", "6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9ezz", 1),
		"sequence zero":         strings.Replace(sample, "42", "0", 1),
		"a negative sequence":   strings.Replace(sample, "42", "-42", 1),
		"a fractional sequence": strings.Replace(sample, "42", "42.5", 1),
		"a huge sequence":       strings.Replace(sample, "42", "99999999999999999999", 1),
		"cut off":               sample[:60],
	} {
		if got, err := decode([]byte(payload)); err == nil {
			t.Errorf("%s: decoded as %+v", fact, got)
		}
	}
}

// The quick way and encoding/json agree on everything the quick way accepts.
func TestDecodingIsAsStrictAsJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		payload := []byte(sample)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, strings.Index(sample, `,"type"`)-1).Draw(t, "at")
			payload[at] = rapid.SampledFrom([]byte(`{}":,-0123456789abcdefg .eE`)).Draw(t, "byte")
		}
		quick, ok := decodeKnownLayout(payload)
		var slow struct {
			WalletID    uuid.UUID `json:"walletId"`
			Sequence    int64     `json:"sequence"`
			OperationID uuid.UUID `json:"operationId"`
		}
		err := json.Unmarshal(payload, &slow)
		if ok && (err != nil || quick != message{slow.WalletID, slow.Sequence, slow.OperationID}) {
			t.Fatalf("%s\nquick %+v, json %+v, %v", payload, quick, slow, err)
		}
	})
}
