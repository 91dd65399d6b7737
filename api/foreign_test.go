package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-faster/yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// What another tenant has is answered as what does not exist. The requests are made from openapi.yaml: for each
// route a right one, which its owner sends; then, by a key of another tenant, the same one with the ids that it
// names replaced, each alone and all together, by ids of the owner and by ids of nobody. A new route is among
// them as soon as the contract has it.
func TestWhatAnotherTenantHasIsAsIfItDidNotExist(t *testing.T) {
	t.Parallel()
	f := newForeign(t)
	for _, r := range contractRoutes(t) {
		request := r.request()
		if r.name == "GET "+statusPath { // of everybody's: no key of one tenant may
			f.mustBeForbidden(t, request)
			continue
		}
		ownerSends := func() bool {
			own := f.send(request, f.owner, f.owners, usedKey(r.name))
			if own.status >= 300 {
				t.Errorf("%s: the contract makes a request that its owner cannot send: %d %s", r.name, own.status, own.text)
			}
			return own.status < 300
		}
		deletes := request.method == http.MethodDelete // then the owner comes last, and finds what the stranger has not deleted
		if !deletes && !ownerSends() {
			continue
		}
		for _, optional := range r.optional() {
			request := r.request(optional...)
			slots := request.slots()
			for _, asked := range append(single(slots), slots) {
				for _, header := range []string{usedKey(r.name), "Prefer: wait=1", "If-None-Match: *"} {
					name := fmt.Sprintf("%s %v, %v of another tenant, %s", r.name, optional, asked, header)
					theirs := f.send(request, f.stranger, f.strangers.with(f.owners, asked), header)
					if len(slots) == 0 && header == usedKey(r.name) { // of the owner it names the key alone
						header = usedKey("nobody's")
					}
					nobodys := f.send(request, f.stranger, f.strangers.with(f.nobodys(), asked), header)
					f.mustBeAlike(t, name, theirs, nobodys)
				}
			}
		}
		if deletes {
			ownerSends()
		}
	}
	if n := f.stored(t, f.owners["walletId"], f.owners["toWalletId"]); n != f.accepted {
		t.Errorf("the owner's wallets have %d operations, and the owner has sent %d", n, f.accepted)
	}
}

func (f *foreign) mustBeForbidden(t *testing.T, request contractRequest) {
	t.Helper()
	for _, key := range []string{f.owner, f.stranger} {
		if r := f.send(request, key, f.owners); r.status != http.StatusForbidden || r.body["code"] != "forbidden" {
			t.Fatalf("%s %s: %d %s", request.method, request.path, r.status, r.text)
		}
	}
}

// foreign are two tenants of one api: the owner, and a stranger, whose client has the same name.
type foreign struct {
	a                 *api
	database          testdb.Database
	owner, stranger   string // keys
	owners, strangers ids
	accepted          int // operations of the owner
}

// ids are what a request may name, by the name of the parameter or field.
type ids map[string]string

// with replaces those with some names.
func (i ids) with(others ids, names []string) ids {
	mixed := maps.Clone(i)
	for _, name := range names {
		mixed[name] = others[name]
	}
	return mixed
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	database, cached := testdb.New(t), newCached(t)
	f := &foreign{
		a: startAPI(t, database.As(testdb.API), "AUTH=on", "REQUEST_TIMEOUT=30s", hooksKey, cached.setting()), database: database,
		owner: newTenantKey(t, database, "owner", "shop"), stranger: newTenantKey(t, database, "stranger", "shop"),
	}
	f.owners, f.strangers = f.populate(t, f.owner, "owners"), f.populate(t, f.stranger, "strangers")
	f.accepted = 2
	f.a.key = f.owner
	cached.hold(t, f.a, uuid.MustParse(f.owners["walletId"]))
	return f
}

// populate makes two wallets, a deposit and a hold.
func (f *foreign) populate(t *testing.T, key, reference string) ids {
	t.Helper()
	post := func(path, body, id string) string {
		t.Helper()
		r := f.a.send("POST", path, body, "Authorization: Bearer "+key)
		made, _ := r.body[id].(string)
		if made == "" {
			t.Fatalf("POST %s: %d %s %v", path, r.status, r.text, r.err)
		}
		return made
	}
	made := ids{"reference": reference}
	made["walletId"] = post(walletsPath, `{"reference":"`+reference+`"}`, "walletId")
	made["toWalletId"] = post(walletsPath, `{}`, "walletId")
	wallet := walletsPath + "/" + made["walletId"]
	made["operationId"] = post(wallet+"/operations", `{"operationType":"DEPOSIT","amount":1000}`, "operationId")
	made["holdId"] = post(wallet+"/holds", `{"amount":1}`, "operationId")
	made["subjectId"] = made["holdId"]
	made["after"] = made["walletId"]
	made["id"] = post(webhooksPath, `{"url":"https://1.1.1.1/"}`, "id")
	f.stall(t, made["id"])
	return made
}

// stall lets a run stall a webhook, so that there is something to skip.
func (f *foreign) stall(t *testing.T, webhook string) {
	t.Helper()
	const sql = `INSERT INTO hook_states (endpoint_id, term, stalled) VALUES ($1, 1, '[{"run":"x:1"}]')`
	if _, err := f.database.Conn(t).Exec(t.Context(), sql, webhook); err != nil {
		t.Fatal(err)
	}
}

// nobodys are next to the owner's: a list that goes on after one of them goes on with the same.
func (f *foreign) nobodys() ids {
	made := ids{"reference": "nobodys"}
	for name, id := range f.owners {
		if parsed, err := uuid.Parse(id); err == nil {
			parsed[15] ^= 1
			made[name] = parsed.String()
		}
	}
	return made
}

func (f *foreign) send(r contractRequest, key string, ids ids, headers ...string) reply {
	path, body := r.fill(ids)
	if key == f.owner && strings.HasSuffix(r.path, "/events") {
		r.method = http.MethodHead // the answer to GET would not end
	}
	answer := f.a.send(r.method, path, body, append(headers, "Authorization: Bearer "+key)...)
	if key == f.owner && r.method != http.MethodGet && r.method != http.MethodHead {
		items, _ := answer.body["items"].([]any)
		if f.accepted += len(items); answer.body["operationId"] != nil {
			f.accepted++
		}
	}
	return answer
}

// stored is how many operations wallets have.
func (f *foreign) stored(t *testing.T, wallets ...string) (n int) {
	t.Helper()
	if err := f.database.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM operations WHERE wallet_id = ANY ($1::uuid[])", wallets).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// mustBeAlike compares answers but for what differs between any two: ids and times. instance is the path, which
// the client has sent.
func (f *foreign) mustBeAlike(t *testing.T, name string, theirs, nobodys reply) {
	t.Helper()
	if theirs.err != nil || nobodys.err != nil || nobodys.status >= 500 {
		t.Fatalf("%s: %d %s %v, %d %s %v", name, theirs.status, theirs.text, theirs.err, nobodys.status, nobodys.text, nobodys.err)
	}
	type answer struct {
		Status int
		Header http.Header
		Body   string
	}
	alike := func(r reply) answer {
		header := r.header.Clone()
		for _, other := range []string{"X-Request-Id", "Date"} {
			header.Del(other)
		}
		if r.status < 300 { // sequences grow
			header.Del("Content-Length")
		}
		for name, values := range header {
			header[name] = []string{unlike(strings.Join(values, ", "))}
		}
		return answer{r.status, header, unlike(r.text)}
	}
	if diff := cmp.Diff(alike(nobodys), alike(theirs)); diff != "" {
		t.Fatalf("%s (-nobody's +theirs):\n%s", name, diff)
	}
	text := theirs.text
	if instance, ok := theirs.body["instance"].(string); ok {
		text = strings.Replace(text, instance, "", 1)
	}
	for what, id := range f.owners {
		if strings.Contains(text, id) {
			t.Errorf("%s: the answer tells the owner's %s: %s", name, what, theirs.text)
		}
	}
}

// unlike blanks what differs between any two answers.
func unlike(text string) string {
	for pattern, word := range map[string]string{
		`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`: "ID",
		`\d{4}-\d\d-\d\dT[0-9:.]+Z`:                 "TIME",
		`"sequence":\d+`:                            "SEQUENCE",
		`whsec_[0-9A-Za-z+/]+=`:                     "SECRET",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, word)
	}
	return text
}

// usedKey is the header with the key that the owner uses for a route.
func usedKey(name string) string { return `Idempotency-Key: "` + name + `"` }

func single(names []string) (each [][]string) {
	for _, name := range names {
		each = append(each, []string{name})
	}
	return each
}

// contractRoute is a route as openapi.yaml has it.
type contractRoute struct {
	name     string // "POST /path"
	contract map[string]any
	route    map[string]any
}

// contractRequest is a request in which {name} stands for ids.
type contractRequest struct{ method, path, body string }

func contractRoutes(t *testing.T) (routes []contractRoute) {
	t.Helper()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var contract map[string]any
	if err := yaml.Unmarshal(text, &contract); err != nil {
		t.Fatal(err)
	}
	for path, methods := range contract["paths"].(map[string]any) {
		for method, route := range methods.(map[string]any) {
			routes = append(routes, contractRoute{strings.ToUpper(method) + " " + path, contract, route.(map[string]any)})
		}
	}
	last := func(r contractRoute) string { return strings.Replace(r.name, "DELETE", "~", 1) } // it takes from the others what they need
	slices.SortFunc(routes, func(a, b contractRoute) int { return strings.Compare(last(a), last(b)) })
	return routes
}

// resolve follows $ref and allOf.
func (r contractRoute) resolve(node any) map[string]any {
	object, _ := node.(map[string]any)
	if all, ok := object["allOf"].([]any); ok {
		return r.resolve(all[0])
	}
	ref, ok := object["$ref"].(string)
	if !ok {
		return object
	}
	at := any(r.contract)
	for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = at.(map[string]any)[step]
	}
	return r.resolve(at)
}

func (r contractRoute) parameters(in string) map[string]map[string]any {
	found := map[string]map[string]any{}
	listed, _ := r.route["parameters"].([]any)
	for _, node := range listed {
		if p := r.resolve(node); p["in"] == in {
			found[p["name"].(string)] = p
		}
	}
	return found
}

func (r contractRoute) bodySchema() map[string]any {
	content, _ := r.resolve(r.route["requestBody"])["content"].(map[string]any)
	if content == nil {
		return nil
	}
	return r.resolve(content["application/json"].(map[string]any)["schema"])
}

// optional are the optional parts of the route's requests that a test adds, one at a time: the query's
// parameters, and fields of the body that name something. The first has none.
func (r contractRoute) optional() [][]string {
	parts := [][]string{nil}
	for _, name := range slices.Sorted(maps.Keys(r.parameters("query"))) {
		parts = append(parts, []string{name})
	}
	for _, name := range []string{"toWalletId"} {
		if strings.Contains(r.request(name).body, "{"+name+"}") && !strings.Contains(r.request().body, "{"+name+"}") {
			parts = append(parts, []string{name})
		}
	}
	return parts
}

// request makes a right request with what is required, and with some optional parts.
func (r contractRoute) request(optional ...string) contractRequest {
	method, path, _ := strings.Cut(r.name, " ")
	query := url.Values{}
	for name, p := range r.parameters("query") {
		if p["required"] == true || slices.Contains(optional, name) {
			query.Set(name, fmt.Sprint(r.value(name, p["schema"], nil)))
		}
	}
	if len(query) > 0 {
		path += "?" + strings.NewReplacer("%7B", "{", "%7D", "}").Replace(query.Encode())
	}
	request := contractRequest{method: method, path: path}
	if schema := r.bodySchema(); schema != nil {
		text, _ := json.Marshal(r.value("", schema, optional))
		request.body = string(text)
	}
	return request
}

// value is a value that a schema lets in, with {name} for ids.
func (r contractRoute) value(name string, node any, optional []string) any {
	schema := r.resolve(node)
	switch {
	case schema["format"] == "uuid":
		return "{" + name + "}"
	case name == "reference" && optional == nil: // of a query
		return "{" + name + "}"
	case schema["format"] == "date-time":
		return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	case schema["enum"] != nil:
		values := schema["enum"].([]any)
		if slices.Contains(optional, "toWalletId") && slices.Contains(values, any("TRANSFER")) {
			return "TRANSFER"
		}
		return values[0]
	case name == "url":
		return "https://1.1.1.1/"
	case schema["type"] == "integer":
		return 1
	case schema["type"] == "boolean":
		return false
	case schema["type"] == "array":
		return []any{r.value(name, schema["items"], optional), r.value(name, schema["items"], optional)}
	case schema["type"] == "object":
		object := map[string]any{}
		required, _ := schema["required"].([]any)
		properties, _ := schema["properties"].(map[string]any)
		for field, of := range properties {
			if slices.Contains(required, any(field)) || slices.Contains(optional, field) {
				object[field] = r.value(field, of, append([]string{""}, optional...))
			}
		}
		return object
	default:
		return "a reason"
	}
}

// slots are the names of the ids that the request names.
func (r contractRequest) slots() (names []string) {
	for _, found := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.path+r.body, -1) {
		if !slices.Contains(names, found[1]) {
			names = append(names, found[1])
		}
	}
	return names
}

func (r contractRequest) fill(ids ids) (path, body string) {
	path, body = r.path, r.body
	for name, id := range ids {
		path, body = strings.ReplaceAll(path, "{"+name+"}", id), strings.ReplaceAll(body, "{"+name+"}", id)
	}
	return path, body
}
