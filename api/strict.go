package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-faster/jx"
	"github.com/ogen-go/ogen/middleware"
)

const (
	batchPath = "/api/v1/wallet/batch"

	// The largest bodies, in bytes.
	maxBody      = 16 << 10
	maxBatchBody = 1 << 20

	// maxFieldErrors is the most mistakes that one answer names.
	maxFieldErrors = 20
)

func bodyLimit(path string) int64 {
	if path == batchPath {
		return maxBatchBody
	}
	return maxBody
}

// strictBody is a request's body that refuses, when it is read, what ogen's decoder lets through: a
// content coding, too many bytes, invalid UTF-8, half surrogate pairs, fields that come twice and ids in
// other forms. It is read only after a request's path, method and credentials have been found right.
type strictBody struct {
	body    io.ReadCloser
	coding  []string // Content-Encoding
	checked bool
	rest    bytes.Reader
	err     error
}

func (b *strictBody) Read(p []byte) (int, error) {
	if !b.checked {
		b.check()
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.rest.Read(p)
}

func (b *strictBody) Close() error { return b.body.Close() }

func (b *strictBody) check() {
	b.checked = true
	if !identity(b.coding) {
		b.err = problem{code: unsupportedMediaType, detail: "The body may have no Content-Encoding.", acceptEncoding: "identity"}
		return
	}
	text, err := io.ReadAll(b.body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		b.err = problem{code: requestTooLarge, detail: "The body may have " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes."}
	case err != nil:
		b.err = problem{code: invalidRequest, detail: "The body could not be read."}
	case !utf8.Valid(text):
		b.err = problem{code: invalidRequest, detail: "The body is not valid UTF-8."}
	case halfSurrogate(text):
		b.err = problem{code: invalidRequest, detail: `A string has half a surrogate pair (\ud800 to \udfff), which is not a character.`}
	default:
		b.err = strictFields(jx.DecodeBytes(text), "", 0)
		b.rest.Reset(text)
	}
}

// identity reports whether a body that was sent with these lines of Content-Encoding is not encoded.
func identity(lines []string) bool {
	for _, line := range lines {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return false
			}
		}
	}
	return true
}

// halfSurrogate reports whether JSON text escapes one half of a surrogate pair without the other (RFC
// 8259, section 8.2). The decoder would put U+FFFD in its place, which is not what was sent.
func halfSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 >= len(text) {
			return false
		}
		unit := escapedUnit(text[i:])
		switch {
		case unit < 0:
			text = text[i+2:]
		case !utf16.IsSurrogate(unit):
			text = text[i+6:]
		case utf16.DecodeRune(unit, escapedUnit(text[i+6:])) == utf8.RuneError:
			return true
		default:
			text = text[i+12:]
		}
	}
}

// escapedUnit is the UTF-16 code unit that \uXXXX at the beginning of text stands for, or -1.
func escapedUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(unit)
}

const (
	// maxNesting is how deep objects and arrays may lie in each other: deeper than any that are asked for.
	maxNesting = 8
	// maxFieldName is how many bytes of a field's name a path has: a body can have a megabyte of them, over and over.
	maxFieldName = 100
)

// strictFields refuses objects that have a field twice: readers would disagree on which one counts; and
// ids and times in forms that ogen takes, but openapi.yaml does not. It leaves broken JSON to the decoder.
func strictFields(d *jx.Decoder, path string, depth int) error {
	if depth > maxNesting {
		return problem{code: invalidRequest, detail: "Objects and arrays may lie " + strconv.Itoa(maxNesting) + " deep in each other."}
	}
	switch d.Next() {
	case jx.Object:
		seen := map[string]bool{}
		return onlyProblem(d.Obj(func(d *jx.Decoder, key string) error {
			if seen[key] {
				return invalid(path+key, "stands there twice")
			}
			seen[key] = true
			if isRight := forms[key]; isRight != nil && d.Next() == jx.String && !strings.HasSuffix(path, "metadata.") {
				text, err := d.Str()
				if err == nil && !isRight(text) {
					return invalid(path+key, rules[key])
				}
				return err
			}
			if isPlain(d) {
				return d.Skip()
			}
			return strictFields(d, path+strings.ToValidUTF8(key[:min(len(key), maxFieldName)], "")+".", depth+1)
		}))
	case jx.Array:
		i := -1
		isRight := forms[strings.TrimSuffix(path, ".")+"[]"]
		return onlyProblem(d.Arr(func(d *jx.Decoder) error {
			i++
			if isRight != nil && d.Next() == jx.String {
				text, err := d.Str()
				if err == nil && !isRight(text) {
					return invalid(strings.TrimSuffix(path, ".")+"["+strconv.Itoa(i)+"]", rules["walletId"])
				}
				return err
			}
			if isPlain(d) {
				return d.Skip()
			}
			return strictFields(d, strings.TrimSuffix(path, ".")+"["+strconv.Itoa(i)+"].", depth+1)
		}))
	default:
		return d.Skip()
	}
}

// isPlain reports whether what comes next has nothing in it that could be wrong here: its path need not be known.
func isPlain(d *jx.Decoder) bool {
	next := d.Next()
	return next != jx.Object && next != jx.Array
}

// forms says whether the text of a field has the right form, as far as ogen does not.
var forms = map[string]func(text string) bool{
	"walletId": canonical, "toWalletId": canonical, "expiresAt": moment.MatchString, "since": moment.MatchString, "wallets[]": canonical,
}

func onlyProblem(err error) error {
	var p problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

// mistakeKey is what the context of a request has its mistake under.
type mistakeKey struct{}

// reportMistake answers a request that ogen finds right, but whose mistake ogen does not look for.
func reportMistake(request middleware.Request, _ middleware.Next) (middleware.Response, error) {
	err, _ := request.Context.Value(mistakeKey{}).(error)
	return middleware.Response{}, err
}

// mistake finds what ogen does not look for.
func mistake(r *http.Request) error {
	for name, lines := range r.Header {
		if len(lines) > 1 && singular[name] {
			return invalid(name, "stands there twice")
		}
	}
	below := ""                                                       // of a wallet
	if rest, ok := strings.CutPrefix(r.URL.Path, walletsPrefix); ok { // {walletId}/operations/{operationId}/reverse
		parts := strings.Split(rest, "/")
		if !canonical(parts[0]) {
			return invalid("walletId", rules["walletId"])
		}
		if len(parts) > 1 {
			below = parts[1]
		}
		if name := idBelow[below]; name != "" && len(parts) > 2 && !canonical(parts[2]) {
			return invalid(name, rules[name])
		}
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/api/v1/operations/"); ok && !canonical(id) {
		return invalid("operationId", rules["operationId"])
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, webhooksPath+"/"); ok {
		if id, _, _ := strings.Cut(rest, "/"); !canonical(id) {
			return invalid("id", rules["id"])
		}
	}
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !validText(query) {
		return problem{code: invalidRequest, detail: "The query string is malformed, or not UTF-8."}
	}
	if after := query["after"]; (r.URL.Path == "/api/v1/wallets" || r.URL.Path == webhooksPath) && len(after) > 0 && !canonical(after[0]) {
		return invalid("after", rules["after"])
	}
	if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, walletsPrefix) {
		return mistakenFilter(below, query)
	}
	return nil
}

// walletsPrefix is what the paths of one wallet begin with.
const walletsPrefix = "/api/v1/wallets/"

// idBelow names the id that a path has below a wallet.
var idBelow = map[string]string{"operations": "operationId", "holds": "holdId"}

// mistakenFilter looks at the times and ids in a query of a wallet or of its statement. ogen takes times with
// more decimals than Postgres keeps, and two ways to write them that RFC 3339 does not know.
func mistakenFilter(below string, query url.Values) error {
	for _, name := range timesOf[below] {
		for _, text := range query[name] {
			if !moment.MatchString(text) {
				return invalid(name, rules[name])
			}
		}
	}
	if subject := query["subjectId"]; below == "operations" && len(subject) > 0 && !canonical(subject[0]) {
		return invalid("subjectId", rules["subjectId"])
	}
	return nil
}

// timesOf names the times in the query of a wallet, and of what is below it.
var timesOf = map[string][]string{"": {"at"}, "operations": {"from", "to"}}

// moment is how a client writes a time: RFC 3339, with up to six decimals. Go takes an offset of 24 hours, and
// one of 60 minutes.
var moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// singular are the header fields that have one value: of two lines, a proxy might read another than we.
// (net/http refuses two of Host and of Content-Length.) All other fields are lists, or the API does not read them.
var singular = map[string]bool{
	"Access-Control-Request-Headers": true, "Access-Control-Request-Method": true, "Authorization": true,
	"Content-Type": true, "Date": true, "Expect": true, "Idempotency-Key": true, "If-Modified-Since": true,
	"If-Range": true, "If-Unmodified-Since": true, "Last-Event-Id": true, "Max-Forwards": true, "Origin": true,
	"Proxy-Authorization": true, "Range": true, "Referer": true, "Traceparent": true, "User-Agent": true,
	"X-Request-Id": true,
}

// validText reports whether all parameters are UTF-8: others could not be looked up as they were sent.
func validText(query url.Values) bool {
	for name, values := range query {
		if !utf8.ValidString(name) || slices.ContainsFunc(values, func(value string) bool { return !utf8.ValidString(value) }) {
			return false
		}
	}
	return true
}

// canonical reports whether an id that ogen takes is written as 36 characters (RFC 9562, section 4), in
// small or capital letters. ogen's other forms, in braces, without hyphens or as a URN, differ in length.
func canonical(id string) bool { return len(id) == 36 }

// rules says in words what openapi.yaml demands of each field and parameter.
var rules = map[string]string{
	"walletId":        "must be a UUID of 36 characters",
	"operationId":     "must be a UUID of 36 characters",
	"holdId":          "must be a UUID of 36 characters",
	"subjectId":       "must be a UUID of 36 characters",
	"toWalletId":      "must be the UUID of another wallet, in 36 characters",
	"operationType":   "must be DEPOSIT or WITHDRAW",
	"amount":          "must be an integer from 1 to 9007199254740991",
	"expiresAt":       "must be a time by RFC 3339 with up to six decimals, from the year 1 on, at most 400 days from now",
	"final":           "must be true or false",
	"state":           "must be ACTIVE, FROZEN or CLOSED",
	"reason":          "must be a string of 1 to 128 characters without control characters",
	"reference":       "must be a string of 1 to 128 characters without control characters",
	"metadata":        "must be an object of up to 20 keys of 1 to 40 characters, with strings of up to 500 characters for values, without control characters, and 2048 bytes together as compact JSON",
	"currency":        "must be three capital letters",
	"after":           "must be next of the page before; of a stream an integer from 0 to 9007199254740991",
	"Last-Event-ID":   "must be an integer from 0 to 9007199254740991",
	"balances":        "must be true or false",
	"minSequence":     "must be an integer from 0 to 9007199254740991",
	"limit":           "must be an integer from 1 to 500",
	"order":           "must be asc or desc",
	"type":            "must be a type of operations, such as DEPOSIT",
	"status":          "must be PENDING, PROCESSED or FAILED",
	"at":              timeRule + ", not in the future",
	"timeline":        "must be true or false",
	"from":            timeRule,
	"to":              timeRule,
	"id":              "must be a UUID of 36 characters",
	"url":             "must be an absolute URL of up to 2048 visible ASCII characters that begins with https://",
	"description":     "must be a string of 1 to 200 characters without control characters",
	"wallets":         "must be an array of 1 to 100 UUIDs of 36 characters",
	"types":           "must be an array of 1 to 100 types of operations, such as DEPOSIT",
	"enabled":         "must be true or false",
	"run":             "must be the run of one in stalled: walletId:version",
	"since":           "must be a time by RFC 3339 with up to six decimals, not in the future",
	"operations":      "must be an array of 1 to 1000 operations",
	"idempotencyKey":  "must be 1 to 255 visible ASCII characters and spaces",
	"Idempotency-Key": "must be 1 to 255 visible ASCII characters, or a quoted string of them and spaces",
}

const timeRule = "must be a time by RFC 3339 with up to six decimals (a + is written %2B in a query)"
