package event

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const sample = `{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","sequence":42,"operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","type":"WITHDRAW","amount":2500,"acceptedAt":"2026-11-24T10:15:30.123456Z"}`

func TestEncode(t *testing.T) {
	t.Parallel()
	m := Message{
		WalletID: uuid.MustParse("6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"), Sequence: 42, OperationID: uuid.MustParse("0192f5a0-7b1c-7def-8a3b-1234567890ab"),
		Type: "WITHDRAW", Amount: 2500, AcceptedAt: time.Date(2026, 11, 24, 11, 15, 30, 123456000, time.FixedZone("an hour ahead", 3600)),
	}
	if got := string(m.Encode()); got != sample {
		t.Errorf("%s\nwant %s", got, sample)
	}
	got, err := Decode([]byte(sample))
	m.AcceptedAt = m.AcceptedAt.UTC()
	if err != nil || got != m {
		t.Errorf("decoded as %+v, %v", got, err)
	}
}

func TestDecodeHint(t *testing.T) {
	t.Parallel()
	want := Hint{uuid.MustParse("6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"), 42, uuid.MustParse("0192f5a0-7b1c-7def-8a3b-1234567890ab")}
	if got, ok := decodeKnownLayout([]byte(sample)); !ok || got != want {
		t.Errorf("the layout of Encode is not known: %+v, %v", got, ok)
	}
	for fact, payload := range map[string]string{
		"as it is written": sample,
		"with spaces":      strings.ReplaceAll(sample, `,"`, `, "`),
		"in another order": `{"sequence":42,"operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"}`,
		"with a new field": strings.Replace(sample, `,"type"`, `,"note":"x","type"`, 1),
		"another type":     strings.Replace(sample, "WITHDRAW", "HOLD", 1),
	} {
		if got, err := DecodeHint([]byte(payload)); err != nil || got != want {
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
		if got, err := DecodeHint([]byte(payload)); err == nil {
			t.Errorf("%s: decoded as %+v", fact, got)
		}
	}
}

// The quick way and encoding/json agree on everything the quick way accepts.
func TestDecodingIsAsStrictAsJSON(t *testing.T) {
	t.Parallel()
	const alphabet = `{}":,-0123456789abcdefg .eE`
	random := rand.New(rand.NewPCG(1, 1))
	accepted := 0
	for range 20_000 {
		payload := []byte(sample)
		for range 1 + random.IntN(3) {
			payload[random.IntN(strings.Index(sample, `,"type"`))] = alphabet[random.IntN(len(alphabet))]
		}
		quick, ok := decodeKnownLayout(payload)
		if !ok {
			continue
		}
		accepted++
		var slow Hint
		if err := json.Unmarshal(payload, &slow); err != nil || quick != slow {
			t.Fatalf("%s\nquick %+v, json %+v, %v", payload, quick, slow, err)
		}
	}
	if accepted < 1_000 {
		t.Errorf("only %d of the messages are accepted", accepted)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"DEPOSIT": "1", "WITHDRAW": "1", "HOLD": "2", "TRANSFER": "2"} {
		if Version(kind) != want || Headers(kind) != `{"version":"`+want+`"}` {
			t.Errorf("%s: version %s, headers %s", kind, Version(kind), Headers(kind))
		}
	}
}
