package main

import (
	"errors"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-faster/jx"
	"github.com/ogen-go/ogen/ogenerrors"
	"github.com/ogen-go/ogen/validate"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// ogen names the field that it could not decode in the text of its error only. Another version of ogen may
// write other texts: clients would then get 400 without the field. ogen_errors_test.go has every text that
// counts, and fails at another version.
var (
	decodedField    = regexp.MustCompile(`decode field "(\w+)"`)
	unexpectedField = regexp.MustCompile(`unexpected field "((?:[^"\\]|\\.){1,128})"`)
)

// decodeProblem finds out what is wrong with a request that ogen could not decode. Of several mistakes
// it answers the first of 415, 413 and 400.
func decodeProblem(r *http.Request, err error) problem {
	var p problem
	if body, unread := r.Body.(*strictBody); unread { // once it has read a body, ogen puts another in its place
		mediaType, _, mediaErr := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if mediaErr != nil || mediaType != "application/json" {
			return problem{code: unsupportedMediaType}
		}
		if _, err := body.Read(nil); errors.As(err, &p) {
			return p
		}
	}
	var parameter *ogenerrors.DecodeParamError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &parameter):
		return invalid(parameter.Name, rules[parameter.Name])
	case errors.Is(err, validate.ErrBodyRequired):
		return problem{code: invalidRequest, detail: "The request needs a body."}
	}
	p = problem{code: invalidRequest, errors: fieldErrors(itemPath(err), err)}
	if len(p.errors) == 0 {
		p.detail = "The body is not JSON, or not an object."
	}
	p.errors = p.errors[:min(len(p.errors), maxFieldErrors)]
	return p
}

// fieldErrors finds the fields in an error of ogen's. Validation names them, one in the other;
// decoding names them in its text only.
func fieldErrors(path string, err error) (found []oas.FieldError) {
	var fields *validate.Error
	if errors.As(err, &fields) {
		for _, field := range fields.Fields {
			name := strings.TrimPrefix(strings.TrimSuffix(path, ".")+"."+field.Name, ".")
			name = strings.Replace(name, ".[", "[", 1)
			nested := fieldErrors(name+".", field.Error)
			if len(nested) > 0 {
				found = append(found, nested...)
				continue
			}
			detail := ruleOf(path, field.Name)
			if strings.HasSuffix(path, "metadata.") {
				detail = rules["metadata"] // the name is a client's own
			}
			if errors.Is(field.Error, validate.ErrFieldRequired) {
				detail = "is missing"
			}
			found = append(found, oas.FieldError{Field: name, Detail: detail})
		}
		return found
	}
	if names := unexpectedField.FindStringSubmatch(err.Error()); names != nil {
		return []oas.FieldError{{Field: path + names[1], Detail: "is not a field of this request"}}
	}
	if names := decodedField.FindAllStringSubmatch(err.Error(), -1); names != nil {
		name := names[len(names)-1][1]
		for _, outer := range names {
			if outer[1] == "metadata" {
				name = "metadata" // what follows is a client's own
			}
		}
		if path != "" && name == "operations" {
			return []oas.FieldError{{Field: strings.TrimSuffix(path, "."), Detail: "must be an object"}}
		}
		return []oas.FieldError{{Field: path + name, Detail: ruleOf(path, name)}}
	}
	return nil
}

// ruleOf is the rule of a field at a path.
func ruleOf(path, name string) string {
	if strings.HasPrefix(name, "[") { // of an array
		name = strings.TrimSuffix(path, ".")
	}
	if strings.HasPrefix(path, "operations[") && name == "operationType" {
		return "must be DEPOSIT, WITHDRAW or TRANSFER"
	}
	return rules[name]
}

// itemPath is the place of the batch's operation at which decoding stopped, as in "operations[3].".
func itemPath(err error) string {
	var body *ogenerrors.DecodeBodyError
	if !errors.As(err, &body) || !strings.Contains(err.Error(), `decode field "operations"`) {
		return ""
	}
	i := -1
	_ = jx.DecodeBytes(body.Body).Obj(func(d *jx.Decoder, key string) error {
		if key != "operations" {
			return d.Skip()
		}
		return d.Arr(func(d *jx.Decoder) error {
			i++
			return new(oas.BatchOperation).Decode(d)
		})
	})
	if i < 0 {
		return "" // it is no array
	}
	return "operations[" + strconv.Itoa(i) + "]."
}
