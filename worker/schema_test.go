package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(event.Schema))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("message.schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("message.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// sample is as every acceptance writes it.
var sample = string(event.Message{
	WalletID: uuid.MustParse("6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"), Sequence: 42, OperationID: uuid.MustParse("0192f5a0-7b1c-7def-8a3b-1234567890ab"),
	Type: "WITHDRAW", Amount: 2500, AcceptedAt: time.Date(2026, 11, 24, 10, 15, 30, 123456000, time.UTC),
}.Encode())

func TestSchemaTellsMessagesFromOthers(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for fact, test := range map[string]struct {
		old, new string
		valid    bool
	}{
		"as it is written":       {valid: true},
		"with a new field":       {old: `,"type"`, new: `,"note":"x","type"`, valid: true},
		"the largest amount":     {old: "2500", new: "9007199254740991", valid: true},
		"too large an amount":    {old: "2500", new: "9007199254740992", valid: false},
		"no amount":              {old: `"amount":2500,`, valid: false},
		"amount zero":            {old: "2500", new: "0", valid: true},
		"a negative amount":      {old: "2500", new: "-1", valid: false},
		"a fraction":             {old: "2500", new: "25.5", valid: false},
		"another type":           {old: "WITHDRAW", new: "HOLD", valid: true},
		"a type of tomorrow":     {old: "WITHDRAW", new: "NEW_KIND", valid: true},
		"no type":                {old: "WITHDRAW", new: "", valid: false},
		"sequence zero":          {old: "42", new: "0", valid: false},
		"no UUID":                {old: "6a1c0f2e-", valid: false},
		"milliseconds":           {old: ".123456Z", new: ".123Z", valid: false},
		"a time that is not UTC": {old: ".123456Z", new: ".123456+01:00", valid: false},
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(sample, test.old, test.new, 1)))
		if err != nil {
			t.Fatalf("%s: %v", fact, err)
		}
		if err := s.Validate(value); (err == nil) != test.valid {
			t.Errorf("%s: %v, want valid = %v", fact, err, test.valid)
		}
	}
}
