package main

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-faster/jx"
	"github.com/google/go-cmp/cmp"
	"github.com/ogen-go/ogen/ogenerrors"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// ogenVersion is the version of ogen whose error texts are below.
const ogenVersion = "v1.24.0"

func TestTheTextsOfOgensErrorsAreThoseOfItsVersion(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`github.com/ogen-go/ogen (\S+)`).FindSubmatch(module)
	if found == nil || string(found[1]) != ogenVersion {
		t.Errorf("go.mod has ogen %q, and ogen_errors.go was last checked with %s: generate oas anew, see that the other test of this file passes "+
			"and that no text of ogen's jx and validate packages has changed (decode field, unexpected field), then put the new version here", found, ogenVersion)
	}
}

func TestEveryMistakeThatOgenFindsNamesItsField(t *testing.T) {
	t.Parallel()
	const walletID = `"walletId":"0192f0a4-6c8e-7d3a-9b1f-2e5d7c4a8f60"`
	operation := func(body string) error { return decodeAndValidate(body, new(oas.OperationRequest)) }
	batch := func(body string) error { return decodeAndValidate(body, new(oas.BatchRequest)) }
	field := func(name, detail string) []oas.FieldError { return []oas.FieldError{{Field: name, Detail: detail}} }
	for _, test := range []struct {
		name   string
		err    error
		text   string // part of ogen's error, that we read
		fields []oas.FieldError
		detail string
	}{
		{
			name: "another field", err: operation(`{` + walletID + `,"operationType":"DEPOSIT","amount":1,"balance":5}`),
			text: `unexpected field "balance"`, fields: field("balance", "is not a field of this request"),
		},
		{
			name: "a field with a quote in its name", err: operation(`{"a\"b":5}`),
			text: `unexpected field "a\"b"`, fields: field(`a\"b`, "is not a field of this request"),
		},
		{
			name: "a string for a number", err: operation(`{` + walletID + `,"amount":"1"}`),
			text: `decode field "amount"`, fields: field("amount", rules["amount"]),
		},
		{
			name: "no UUID", err: operation(`{"walletId":"mine"}`),
			text: `decode field "walletId"`, fields: field("walletId", rules["walletId"]),
		},
		{
			name: "a missing field", err: operation(`{` + walletID + `,"operationType":"DEPOSIT"}`),
			text: "amount", fields: field("amount", "is missing"),
		},
		{
			name: "a number out of its range", err: operation(`{` + walletID + `,"operationType":"DEPOSIT","amount":0}`),
			text: "amount", fields: field("amount", rules["amount"]),
		},
		{
			name: "another field in a batch", err: batch(`{"operations":[{` + walletID + `,"operationType":"DEPOSIT","amount":1},{"balance":5}]}`),
			text: `decode field "operations"`, fields: field("operations[1].balance", "is not a field of this request"),
		},
		{
			name: "a string for a number in a batch", err: batch(`{"operations":[{"amount":"1"}]}`),
			text: `decode field "operations"`, fields: field("operations[0].amount", rules["amount"]),
		},
		{
			name: "a number out of its range in a batch", err: batch(`{"operations":[{` + walletID + `,"operationType":"DEPOSIT","amount":0}]}`),
			text: "operations", fields: field("operations[0].amount", rules["amount"]),
		},
		{
			name: "an item that is no object", err: batch(`{"operations":[7]}`),
			text: `decode field "operations"`, fields: field("operations[0]", "must be an object"),
		},
		{
			name: "a batch that is no array", err: batch(`{"operations":7}`),
			text: `decode field "operations"`, fields: field("operations", rules["operations"]),
		},
		{
			name: "an empty batch", err: batch(`{"operations":[]}`),
			text: "operations", fields: field("operations", rules["operations"]),
		},
		{name: "no JSON", err: operation(`{`), detail: "The body is not JSON, or not an object."},
		{name: "no object", err: operation(`7`), detail: "The body is not JSON, or not an object."},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.err == nil || !strings.Contains(test.err.Error(), test.text) {
				t.Fatalf("ogen says %v, want %s", test.err, test.text)
			}
			got := decodeProblem(httptest.NewRequest("POST", operationsPath, nil), test.err)
			if diff := cmp.Diff(problem{code: invalidRequest, errors: test.fields, detail: test.detail}, got, cmp.AllowUnexported(problem{})); diff != "" {
				t.Errorf("of %v (-want +got):\n%s", test.err, diff)
			}
		})
	}
}

// decodeAndValidate does what ogen does with a body.
func decodeAndValidate(body string, request interface {
	Decode(d *jx.Decoder) error
	Validate() error
},
) error {
	if err := request.Decode(jx.DecodeStr(body)); err != nil {
		return &ogenerrors.DecodeBodyError{ContentType: "application/json", Body: []byte(body), Err: err}
	}
	return request.Validate()
}
