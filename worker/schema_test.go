package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("message.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
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

func TestSchemaTellsMessagesFromOthers(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for fact, test := range map[string]struct {
		old, new string
		valid    bool
	}{
		"as the api writes it":   {"", "", true},
		"with a new field":       {`,"type"`, `,"note":"x","type"`, true},
		"the largest amount":     {"2500", "9007199254740991", true},
		"too large an amount":    {"2500", "9007199254740992", false},
		"no amount":              {`"amount":2500,`, "", false},
		"amount zero":            {"2500", "0", false},
		"a fraction":             {"2500", "25.5", false},
		"an unknown type":        {"WITHDRAW", "HOLD", false},
		"sequence zero":          {"42", "0", false},
		"no UUID":                {"6a1c0f2e-", "", false},
		"milliseconds":           {".123456Z", ".123Z", false},
		"a time that is not UTC": {".123456Z", ".123456+01:00", false},
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
