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
		"as the api writes it":   {valid: true},
		"with a new field":       {old: `,"type"`, new: `,"note":"x","type"`, valid: true},
		"the largest amount":     {old: "2500", new: "9007199254740991", valid: true},
		"too large an amount":    {old: "2500", new: "9007199254740992", valid: false},
		"no amount":              {old: `"amount":2500,`, valid: false},
		"amount zero":            {old: "2500", new: "0", valid: false},
		"a fraction":             {old: "2500", new: "25.5", valid: false},
		"an unknown type":        {old: "WITHDRAW", new: "HOLD", valid: false},
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
