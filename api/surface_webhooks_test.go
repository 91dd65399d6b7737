package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// In paths V is a webhook, which a run stalls. Its id is what the proxy knows requests by, as text and as bytes.
var (
	webhookV = uuid.UUID(append([]byte(cutHere), 0, 0x80, 0, 0, 0, 0, 0, 1)[:16])
	stalledV = absent + ":7"
)

const (
	hooksKey = "HOOKS_KEY=test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	hookV    = webhooksPath + "/V"
)

// insertWebhook makes a webhook of a tenant that a run stalls, which hooks has just said.
func insertWebhook(t *testing.T, database testdb.Database, id uuid.UUID, tenant string) {
	t.Helper()
	conn := database.Conn(t)
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO hook_endpoints (id, tenant, client, url, secret) VALUES ('%s', '%s', 'client', 'https://1.1.1.1/', 'x')`, id, tenant),
		fmt.Sprintf(`INSERT INTO hook_states (endpoint_id, term, stalled) VALUES ('%s', 1, '[{"run":"%s","walletId":"%s","fromSequence":6,"version":7,"since":"2026-11-24T09:15:00Z","attempts":3,"error":"500"}]')`, id, stalledV, absent),
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// webhookRoute is a route of webhooks, with a right body if it has one.
type webhookRoute struct{ name, method, path, body string }

var webhookRoutes = []webhookRoute{
	{"create a webhook", "POST", webhooksPath, `{"url":"https://1.1.1.1/","description":"` + cutHere + `"}`},
	{"list webhooks", "GET", webhooksPath, ""},
	{"read a webhook", "GET", hookV, ""},
	{"read its attempts", "GET", hookV + "/attempts", ""},
	{"change a webhook", "PATCH", hookV, `{"enabled":false}`},
	{"test a webhook", "POST", hookV + "/test", ""},
	{"rotate its secret", "POST", hookV + "/rotate-secret", ""},
	{"replay", "POST", hookV + "/replay", `{"since":"2026-11-24T09:15:00.5+01:00"}`},
	{"skip a run", "POST", hookV + "/skip", `{"run":"` + stalledV + `"}`},
	{"delete a webhook", "DELETE", hookV, ""},
}

func everyWebhookRoute(name string, status int, code string, header ...string) (rows []surface) {
	for _, route := range webhookRoutes {
		rows = append(rows, surface{name: name + ": " + route.name, method: route.method, path: route.path, body: route.body, header: header, status: status, code: code})
	}
	return rows
}

// everyWebhookWrite is a right request of each route that writes.
func everyWebhookWrite(name string, status int, code string) (rows []surface) {
	for _, row := range everyWebhookRoute(name, status, code) {
		if row.method != "GET" {
			rows = append(rows, row)
		}
	}
	return rows
}

func webhookSurfaces() []surface {
	var rows []surface
	add := func(name, method, path, body string, status int, code, field string, header ...string) {
		rows = append(rows, surface{name: "webhooks: " + name, method: method, path: path, body: body, header: header, status: status, code: code, field: field})
	}
	create := func(name, body string, status int, code, field string, header ...string) {
		add(name, "POST", webhooksPath, body, status, code, field, header...)
	}
	const right, key = `{"url":"https://1.1.1.1/hook?x=%20"}`, "Idempotency-Key: hook"
	create("create", right, 201, "", "")
	create("create with everything", `{"url":"https://1.1.1.1:8443/","description":"größe ✓","wallets":["W","W"],"types":["DEPOSIT","RECEIVE"]}`, 201, "", "")
	create("create with a key", right, 201, "", "", key)
	create("create again", right, 200, "", "", key)
	create("create another one with its key", `{"url":"https://1.1.1.1/"}`, 422, "idempotency-key-reused", "", key)
	create("two keys", right, 400, "invalid-request", "Idempotency-Key", key, key)
	create("no body", "", 400, "invalid-request", "")
	create("no object", "[]", 400, "invalid-request", "")
	create("no URL", "{}", 400, "invalid-request", "url")
	create("a URL that is null", `{"url":null}`, 400, "invalid-request", "url")
	create("a path for a URL", `{"url":"/hook"}`, 400, "invalid-request", "url")
	create("another scheme", `{"url":"ftp://1.1.1.1/"}`, 400, "invalid-request", "url")
	create("a space in a URL", `{"url":"https://1.1.1.1/ "}`, 400, "invalid-request", "url")
	create("a URL beyond ASCII", `{"url":"https://größe.example/"}`, 400, "invalid-request", "url")
	create("the longest URL", `{"url":"https://1.1.1.1/`+strings.Repeat("x", 2048-len("https://1.1.1.1/"))+`"}`, 201, "", "")
	create("a long URL", `{"url":"https://1.1.1.1/`+strings.Repeat("x", 2049-len("https://1.1.1.1/"))+`"}`, 400, "invalid-request", "url")
	create("http", `{"url":"http://1.1.1.1/"}`, 422, "url-refused", "url")
	create("a private address", `{"url":"https://10.0.0.1/"}`, 422, "url-refused", "url")
	create("this machine", `{"url":"https://localhost/"}`, 422, "url-refused", "url")
	create("metadata", `{"url":"https://[::ffff:169.254.169.254]/"}`, 422, "url-refused", "url")
	create("a user in a URL", `{"url":"https://user:password@1.1.1.1/"}`, 422, "url-refused", "url")
	create("an empty description", `{"url":"https://1.1.1.1/","description":""}`, 400, "invalid-request", "description")
	create("the longest description", `{"url":"https://1.1.1.1/","description":"`+strings.Repeat("é", 200)+`"}`, 201, "", "")
	create("a long description", `{"url":"https://1.1.1.1/","description":"`+strings.Repeat("é", 201)+`"}`, 400, "invalid-request", "description")
	create("a control character", `{"url":"https://1.1.1.1/","description":"a\u007fb"}`, 400, "invalid-request", "description")
	create("no wallets", `{"url":"https://1.1.1.1/","wallets":[]}`, 400, "invalid-request", "wallets")
	create("wallets that are null", `{"url":"https://1.1.1.1/","wallets":null}`, 400, "invalid-request", "wallets")
	create("a wallet that is no id", `{"url":"https://1.1.1.1/","wallets":["x"]}`, 400, "invalid-request", "wallets[0]")
	create("a wallet without hyphens", `{"url":"https://1.1.1.1/","wallets":["W","`+strings.ReplaceAll(absent, "-", "")+`"]}`, 400, "invalid-request", "wallets[1]")
	create("a number for a wallet", `{"url":"https://1.1.1.1/","wallets":[7]}`, 400, "invalid-request", "wallets")
	create("101 wallets", `{"url":"https://1.1.1.1/","wallets":[`+strings.Repeat(`"W",`, 100)+`"W"]}`, 400, "invalid-request", "wallets")
	create("no types", `{"url":"https://1.1.1.1/","types":[]}`, 400, "invalid-request", "types")
	create("a type that there is not", `{"url":"https://1.1.1.1/","types":["DEPOSIT","LOAN"]}`, 400, "invalid-request", "types[1]")
	create("a secret", `{"url":"https://1.1.1.1/","secret":"x"}`, 400, "invalid-request", "secret")
	create("an unknown field", `{"url":"https://1.1.1.1/","x":1}`, 400, "invalid-request", "x")
	create("a repeated field", `{"url":"https://1.1.1.1/","url":"https://1.1.1.1/"}`, 400, "invalid-request", "url")
	create("another content type", right, 415, "unsupported-media-type", "", "Content-Type: text/plain")
	create("too large", right+strings.Repeat(" ", maxBody), 413, "request-too-large", "")

	add("list", "GET", webhooksPath+"?limit=500&after="+absent, "", 200, "", "")
	add("a page of 0", "GET", webhooksPath+"?limit=0", "", 400, "invalid-request", "limit")
	add("after no webhook", "GET", webhooksPath+"?after=x", "", 400, "invalid-request", "after")
	add("after a webhook without hyphens", "GET", webhooksPath+"?after="+strings.ReplaceAll(absent, "-", ""), "", 400, "invalid-request", "after")
	add("a path that there is not", "GET", webhooksPath+"/"+absent+"/x", "", 404, "not-found", "")
	add("a method that there is not", "PUT", hookV, "{}", 405, "method-not-allowed", "")
	add("the list's head", "HEAD", webhooksPath, "", 200, "", "")
	for _, route := range webhookRoutes {
		if route.path == webhooksPath {
			continue
		}
		elsewhere := strings.Replace(route.path, "/V", "/"+absent, 1)
		add("no such webhook: "+route.name, route.method, elsewhere, route.body, 404, "webhook-not-found", "")
		add("no id: "+route.name, route.method, strings.Replace(elsewhere, absent, "x", 1), route.body, 400, "invalid-request", "id")
		add("an id without hyphens: "+route.name, route.method, strings.Replace(elsewhere, absent, strings.ReplaceAll(absent, "-", ""), 1), route.body, 400, "invalid-request", "id")
		if route.body != "" {
			add("another content type: "+route.name, route.method, route.path, route.body, 415, "unsupported-media-type", "", "Content-Type: text/plain")
			add("too large: "+route.name, route.method, route.path, route.body+strings.Repeat(" ", maxBody), 413, "request-too-large", "")
			add("no object: "+route.name, route.method, route.path, "[]", 400, "invalid-request", "")
			add("an unknown field: "+route.name, route.method, route.path, `{"x":1}`, 400, "invalid-request", "x")
			add("a repeated field: "+route.name, route.method, route.path, strings.Replace(route.body, "{", `{"x":1,"x":1,`, 1), 400, "invalid-request", "x")
		}
	}
	change := func(name, body string, status int, code, field string) {
		add(name, "PATCH", hookV, body, status, code, field)
	}
	change("change nothing", `{}`, 200, "", "")
	change("change everything", `{"url":"https://1.0.0.1/","description":"d","wallets":["W"],"types":["DEPOSIT"],"enabled":true}`, 200, "", "")
	change("take everything away", `{"description":null,"wallets":null,"types":null}`, 200, "", "")
	change("change to a private address", `{"url":"https://192.168.0.1/"}`, 422, "url-refused", "url")
	change("a URL that is null", `{"url":null}`, 400, "invalid-request", "url")
	change("an empty description", `{"description":""}`, 400, "invalid-request", "description")
	change("no wallets", `{"wallets":[]}`, 400, "invalid-request", "wallets")
	change("a wallet in braces", `{"wallets":["{`+absent+`}"]}`, 400, "invalid-request", "wallets[0]")
	change("a type that there is not", `{"types":["LOAN"]}`, 400, "invalid-request", "types[0]")
	change("enabled or not", `{"enabled":"yes"}`, 400, "invalid-request", "enabled")
	add("another's URL tells nothing", "PATCH", webhooksPath+"/"+absent, `{"url":"https://10.0.0.1/"}`, 404, "webhook-not-found", "")
	for name, since := range map[string]string{
		"of the future": `"2999-01-01T00:00:00Z"`, "with seven decimals": `"2026-11-24T09:15:00.1234567Z"`, "without a zone": `"2026-11-24T09:15:00"`, "that is a date": `"2026-11-24"`,
		"that is empty": `""`, "that is a number": `1`, "that is null": `null`,
	} {
		add("replay since a time "+name, "POST", hookV+"/replay", `{"since":`+since+`}`, 400, "invalid-request", "since")
	}
	add("replay since the first time there is", "POST", hookV+"/replay", `{"since":"0001-01-01T00:00:00Z"}`, 202, "", "")
	add("replay since nothing", "POST", hookV+"/replay", `{}`, 400, "invalid-request", "since")
	add("replay without a body", "POST", hookV+"/replay", "", 400, "invalid-request", "")
	add("skip without a body", "POST", hookV+"/skip", "", 202, "", "")
	add("skip that which there is", "POST", hookV+"/skip", "{}", 202, "", "")
	add("skip what does not stall", "POST", hookV+"/skip", `{"run":"`+absent+`:8"}`, 409, "not-stalled", "")
	for name, run := range map[string]string{"that is a wallet": `"` + absent + `"`, "of sequence 0": `"` + absent + `:0"`, "that is null": `null`, "in capitals": `"` + capitals + `:7"`} {
		add("skip a run "+name, "POST", hookV+"/skip", `{"run":`+run+`}`, 400, "invalid-request", "run")
	}
	for _, route := range webhookRoutes {
		if route.path != webhooksPath {
			status := map[string]int{"test": 202, "replay": 202, "skip": 202}[route.path[strings.LastIndex(route.path, "/")+1:]]
			if status == 0 {
				status = 200
			}
			if route.method == "DELETE" {
				status = 204
			}
			add(route.name, route.method, route.path, route.body, status, "", "")
		}
	}
	add("delete it again", "DELETE", hookV, "", 404, "webhook-not-found", "")
	return rows
}

// withoutHooks are the routes of webhooks where there are none: the answer is that of a path that does not exist,
// before a key is looked at.
func withoutHooks() []surface {
	rows := append(everyWebhookRoute("without HOOKS_KEY", 404, "not-found"), everyWebhookRoute("without HOOKS_KEY and a key", 404, "not-found", "Authorization: ")...)
	return append(rows, surface{name: "without HOOKS_KEY: no method either", method: "PUT", path: hookV, body: "{}", status: 404, code: "not-found"},
		surface{name: "a path that begins alike", method: "GET", path: webhooksPath + "x", status: 404, code: "not-found"})
}
