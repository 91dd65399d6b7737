package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// asyncAPI is asyncapi.yaml, which is open: consumers ignore fields that they do not know. To a test it is
// closed: what comes has to be described.
type asyncAPI struct {
	document map[string]any
	compiler *jsonschema.Compiler
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	document := readDocument(t, "asyncapi.yaml")
	closed := clone(t, document)
	for _, schema := range at(closed, "components", "schemas") {
		closeObjects(schema.(map[string]any))
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7)
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", closed); err != nil {
		t.Fatal(err)
	}
	return asyncAPI{document, compiler}
}

// readDocument reads YAML of the top level as JSON has it.
func readDocument(t *testing.T, name string) (document map[string]any) {
	t.Helper()
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return clone(t, document)
}

// clone is a document as encoding/json has it.
func clone(t *testing.T, document map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return value.(map[string]any)
}

func at(document map[string]any, path ...string) map[string]any {
	for _, name := range path {
		document, _ = document[name].(map[string]any)
	}
	return document
}

func closeObjects(schema map[string]any) {
	if properties := at(schema, "properties"); properties != nil {
		if _, said := schema["additionalProperties"]; !said {
			schema["additionalProperties"] = false
		}
		for _, property := range properties {
			closeObjects(property.(map[string]any))
		}
	}
}

// validate holds a value against one of the schemas.
func (a asyncAPI) validate(t *testing.T, schema string, value any) {
	t.Helper()
	compiled, err := a.compiler.Compile("asyncapi.json#/components/schemas/" + schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%s: %v: %v", schema, value, err)
	}
}

func TestExamplesOfTheTopicsAreWhatTheirSchemasSay(t *testing.T) {
	t.Parallel()
	a := readAsyncAPI(t)
	for message, schemas := range map[string][2]string{
		"OperationAccepted": {"AcceptedHeaders", "AcceptedOperation"},
		"WalletAdvanced":    {"EventHeaders", "Run"},
	} {
		examples, _ := at(a.document, "components", "messages", message)["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", message)
		}
		for _, example := range examples {
			a.validate(t, schemas[0], example.(map[string]any)["headers"])
			a.validate(t, schemas[1], example.(map[string]any)["payload"])
		}
	}
}

// The schema of an accepted operation has a file of its own, whose address consumers know.
func TestAcceptedOperationsHaveOneSchema(t *testing.T) {
	t.Parallel()
	a := readAsyncAPI(t)
	published := rules(readDocument(t, "db/event/message.schema.json"))
	for _, only := range []string{"$schema", "$id", "title"} {
		delete(published, only)
	}
	if diff := cmp.Diff(published, rules(at(a.document, "components", "schemas", "AcceptedOperation"))); diff != "" {
		t.Errorf("(-message.schema.json +asyncapi.yaml):\n%s", diff)
	}
}

// rules are a schema without what is said to people, and without int64, which is OpenAPI's.
func rules(schema map[string]any) map[string]any {
	schema = maps.Clone(schema)
	delete(schema, "description")
	if schema["format"] == "int64" {
		delete(schema, "format")
	}
	if properties := maps.Clone(at(schema, "properties")); properties != nil {
		for name := range properties {
			properties[name] = rules(properties[name].(map[string]any))
		}
		schema["properties"] = properties
	}
	return schema
}

// An event tells an operation as the API answers it, once it is finished, but for its settlement and its
// timeline.
func TestEventsTellOperationsAsTheAPIDoes(t *testing.T) {
	t.Parallel()
	a, api := readAsyncAPI(t), readDocument(t, "openapi.yaml")
	fields := func(document map[string]any) []string {
		return slices.Sorted(maps.Keys(at(document, "components", "schemas", "Operation", "properties")))
	}
	want := slices.DeleteFunc(fields(api), func(name string) bool { return name == "settlement" || name == "timeline" })
	if diff := cmp.Diff(want, fields(a.document)); diff != "" {
		t.Errorf("(-openapi.yaml +asyncapi.yaml):\n%s", diff)
	}
}
