package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service/egress"
)

func testKeys(t *testing.T) hook.Keys {
	t.Helper()
	keys, err := hook.ParseKeys(strings.TrimPrefix(hooksKey, "HOOKS_KEY="))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// What is not known of a name is no refusal: the client may try again, and reads why.
func TestANameThatCannotBeResolvedNowIsAskedForAgain(t *testing.T) {
	t.Parallel()
	h := &webhooks{egress: egress.Policy{Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}}}
	answer := problemOf(t.Context(), h.judge(t.Context(), "https://shop.example/"))
	if answer.StatusCode != 503 || answer.Response.Code != "overloaded" || !strings.Contains(answer.Response.Detail.Value, "host name could not be resolved") || !answer.RetryAfter.Set {
		t.Errorf("%+v", answer)
	}
}

// storedSecrets are a webhook's, as whoever has HOOKS_KEY reads them.
func storedSecrets(t *testing.T, conn *pgx.Conn, id uuid.UUID) (secret, previous string) {
	t.Helper()
	var sealed string
	var before *string
	if err := conn.QueryRow(t.Context(), "SELECT secret, previous_secret FROM hook_endpoints WHERE id = $1", id).Scan(&sealed, &before); err != nil {
		t.Fatal(err)
	}
	secret, err := testKeys(t).Open(id, sealed)
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		if previous, err = testKeys(t).Open(id, *before); err != nil {
			t.Fatal(err)
		}
	}
	return secret, previous
}

func TestWebhooksAreKeptAndTheirSecretsAreNot(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on", "LOG_LEVEL=debug", hooksKey, "HOOKS_ALLOW=10.0.0.0/8")
	a.key = newTenantKey(t, database, "acme", "shop")
	globex := "Authorization: Bearer " + newTenantKey(t, database, "globex", "shop")
	conn := database.Conn(t)

	const body = `{"url":"http://10.0.0.1/hook","description":"receipts","wallets":["` + absent + `","` + absent + `"],"types":["DEPOSIT","HOLD","DEPOSIT"]}`
	created := a.send("POST", webhooksPath, body, "Idempotency-Key: k")
	secret, _ := created.body["secret"].(string)
	id, err := uuid.Parse(fmt.Sprint(created.body["id"]))
	if created.status != http.StatusCreated || err != nil || !strings.HasPrefix(secret, "whsec_") || created.header.Get("Location") != webhooksPath+"/"+id.String() {
		t.Fatalf("created: %d %s %v", created.status, created.text, created.header)
	}
	want := map[string]any{
		"id": id.String(), "url": "http://10.0.0.1/hook", "description": "receipts", "wallets": []any{absent}, "types": []any{"DEPOSIT", "HOLD"}, "tenant": "acme", "secret": secret,
		"enabled": true, "state": "ACTIVE", "stalled": []any{}, "skipped": []any{}, "missed": []any{}, "createdAt": created.body["createdAt"], "updatedAt": created.body["createdAt"],
	}
	if diff := cmp.Diff(want, created.body); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if stored, _ := storedSecrets(t, conn, id); stored != secret {
		t.Error("another secret is stored than the one that was shown")
	}
	path := webhooksPath + "/" + id.String()
	read := a.send("GET", path, "")
	delete(want, "secret")
	if diff := cmp.Diff(want, read.body); diff != "" || read.header.Get("Cache-Control") != cacheControl {
		t.Errorf("read (-want +got):\n%s%v", diff, read.header)
	}
	again := a.send("POST", webhooksPath, body, "Idempotency-Key: k")
	if diff := cmp.Diff(want, again.body); again.status != http.StatusOK || diff != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("created again: %d %v (-want +got):\n%s", again.status, again.header, diff)
	}
	if theirs := a.send("POST", webhooksPath, `{"url":"https://1.1.1.1/"}`, "Idempotency-Key: k", globex); theirs.status != http.StatusCreated || theirs.body["tenant"] != "globex" {
		t.Errorf("the same key of another tenant's client: %d %s", theirs.status, theirs.text)
	}

	if r := a.send("PATCH", path, `{"description":"changed"}`); r.status != http.StatusOK {
		t.Errorf("changed: %d %s", r.status, r.text)
	}
	if r := a.send("POST", webhooksPath, body, "Idempotency-Key: k"); r.status != http.StatusOK || r.body["description"] != "changed" {
		t.Errorf("created again after a change: %d %s", r.status, r.text)
	}

	rotated := a.send("POST", path+"/rotate-secret", "")
	second, _ := rotated.body["secret"].(string)
	if now, before := storedSecrets(t, conn, id); rotated.status != http.StatusOK || second == secret || now != second || before != secret {
		t.Errorf("rotated: %d %s", rotated.status, rotated.text)
	}
	until, err := time.Parse(time.RFC3339, fmt.Sprint(rotated.body["previousSecretUntil"]))
	if left := time.Until(until); err != nil || left < 23*time.Hour || left > 25*time.Hour {
		t.Errorf("the secret before signs until %v", rotated.body["previousSecretUntil"])
	}

	other := a.send("POST", webhooksPath, `{"url":"https://1.1.1.1/"}`)
	first := a.send("GET", webhooksPath+"?limit=1", "")
	rest := a.send("GET", webhooksPath+"?after="+fmt.Sprint(first.body["next"]), "")
	listed := map[any]bool{}
	for _, page := range []reply{first, rest} {
		items, _ := page.body["items"].([]any)
		for _, item := range items {
			listed[item.(map[string]any)["id"]] = true
		}
	}
	if len(listed) != 2 || !listed[id.String()] || !listed[other.body["id"]] || rest.body["next"] != nil {
		t.Errorf("the tenant's webhooks: %s %s", first.text, rest.text)
	}

	third, _ := other.body["secret"].(string)
	var rows string
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(e::text, ' ') || coalesce(string_agg(r::text, ' '), '') FROM hook_endpoints e LEFT JOIN hook_requests r ON true").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"the first secret": secret, "the second": second, "the third": third, "HOOKS_KEY": strings.TrimPrefix(hooksKey, "HOOKS_KEY=test:")} {
		secret = strings.TrimPrefix(secret, "whsec_")
		for where, text := range map[string]string{"the log": strings.Join(a.log.Lines(""), "\n"), "the database": rows, "an answer": read.text + again.text + first.text + rest.text} {
			if len(secret) < 40 || strings.Contains(text, secret) {
				t.Errorf("%s is in %s", name, where)
			}
		}
	}
	if len(a.log.Lines("")) == 0 || !strings.Contains(rows, id.String()) {
		t.Error("nothing was looked through")
	}
}

// Whoever exchanges a secret twice within a day has receivers that know any of the three.
func TestASecretThatIsExchangedTwiceSignsOn(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), hooksKey)
	conn := database.Conn(t)
	created := a.send("POST", webhooksPath, `{"url":"https://1.1.1.1/"}`)
	path := webhooksPath + "/" + fmt.Sprint(created.body["id"])
	id := uuid.MustParse(fmt.Sprint(created.body["id"]))
	secrets := []any{created.body["secret"]}
	rotate := func() reply {
		t.Helper()
		rotated := a.send("POST", path+"/rotate-secret", "")
		secrets = append(secrets, rotated.body["secret"])
		return rotated
	}
	// sign are the secrets that sign, the oldest first.
	sign := func() (sign []any) {
		t.Helper()
		var text []byte
		if err := conn.QueryRow(t.Context(), "SELECT older_secrets FROM hook_endpoints WHERE id = $1", id).Scan(&text); err != nil {
			t.Fatal(err)
		}
		var older []hook.EarlierSecret
		if err := json.Unmarshal(text, &older); err != nil {
			t.Fatal(err)
		}
		for _, o := range older {
			secret, err := testKeys(t).Open(id, o.Secret)
			if left := time.Until(o.Until); err != nil || left < 23*time.Hour || left > 24*time.Hour {
				t.Errorf("a secret signs until %v: %v", o.Until, err)
			}
			sign = append(sign, secret)
		}
		now, previous := storedSecrets(t, conn, id)
		return append(sign, previous, now)
	}
	for n := 2; n <= maxSecrets; n++ {
		if rotated := rotate(); rotated.status != http.StatusOK {
			t.Fatalf("secret %d: %d %s", n, rotated.status, rotated.text)
		}
		if diff := cmp.Diff(secrets, sign()); diff != "" {
			t.Fatalf("with %d secrets (-want +got):\n%s", n, diff)
		}
	}
	refused := a.send("POST", path+"/rotate-secret", "")
	seconds, err := strconv.Atoi(refused.header.Get("Retry-After"))
	if refused.status != http.StatusTooManyRequests || refused.body["code"] != "rate-limited" || err != nil || seconds < 23*3600 || seconds > 24*3600 {
		t.Errorf("one more: %d %s, Retry-After %s", refused.status, refused.text, refused.header.Get("Retry-After"))
	}
	if diff := cmp.Diff(secrets, sign()); diff != "" {
		t.Errorf("after the refusal (-want +got):\n%s", diff)
	}

	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	exec(`UPDATE hook_endpoints SET older_secrets = jsonb_set(older_secrets, '{0,until}', to_jsonb(now() - interval '1 s')) WHERE id = $1`)
	if rotated := rotate(); rotated.status != http.StatusOK {
		t.Fatalf("when the time of the first is over: %d %s", rotated.status, rotated.text)
	}
	if diff := cmp.Diff(secrets[1:], sign()); diff != "" {
		t.Errorf("without the first (-want +got):\n%s", diff)
	}
	exec(`UPDATE hook_endpoints SET previous_until = now() - interval '1 s', older_secrets = jsonb_set(older_secrets, '{0,until}', to_jsonb(now() - interval '1 s')) WHERE id = $1`)
	if rotated := rotate(); rotated.status != http.StatusOK {
		t.Fatalf("when the time of all is over: %d %s", rotated.status, rotated.text)
	}
	if diff := cmp.Diff(secrets[len(secrets)-2:], sign()); diff != "" {
		t.Errorf("with two (-want +got):\n%s", diff)
	}
	if missing := a.send("POST", webhooksPath+"/"+absent+"/rotate-secret", ""); missing.status != http.StatusNotFound {
		t.Errorf("of a webhook that is none: %d %s", missing.status, missing.text)
	}
}

func TestWhatHooksIsAskedAndWhatItSays(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on", hooksKey)
	a.key = newTenantKey(t, database, "acme", "shop")
	conn := database.Conn(t)
	id := uuid.MustParse(fmt.Sprint(a.send("POST", webhooksPath, `{"url":"https://1.1.1.1/"}`).body["id"]))
	path := webhooksPath + "/" + id.String()
	enable := func(enabled bool) {
		t.Helper()
		if r := a.send("PATCH", path, fmt.Sprintf(`{"enabled":%v}`, enabled)); r.status != http.StatusOK || r.body["enabled"] != enabled {
			t.Errorf("enabled %v: %d %s", enabled, r.status, r.text)
		}
	}
	enable(true) // it is
	enable(false)
	enable(false) // that is asked for already
	enable(true)
	tested := a.send("POST", path+"/test", "")
	since := "2026-11-24T09:15:00.500000Z"
	replayed := a.send("POST", path+"/replay", `{"since":"2026-11-24T10:15:00.5+01:00"}`)
	number := tested.number(t, "requestId")
	if tested.status != http.StatusAccepted || tested.body["messageId"] != hook.TestID(id, number) {
		t.Errorf("tested: %d %s", tested.status, tested.text)
	}
	if replayed.status != http.StatusAccepted || replayed.body["since"] != since || replayed.body["logBegins"] != nil {
		t.Errorf("replayed: %d %s", replayed.status, replayed.text)
	}
	if stalls := a.send("POST", path+"/skip", ""); stalls.status != http.StatusConflict {
		t.Errorf("skipped what does not stall: %d %s", stalls.status, stalls.text)
	}

	wallet, moment := uuid.New(), time.Date(2026, 11, 24, 9, 15, 0, 123456000, time.UTC)
	run := func(version int64) hook.Run {
		return hook.Run{Run: fmt.Sprintf("%s:%d", wallet, version), WalletID: wallet, FromSequence: version - 1, Version: version}
	}
	asJSON := func(value any) string {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, err := conn.Exec(t.Context(), `INSERT INTO hook_states (endpoint_id, term, last_request, failing_since, next_attempt, last_error, lag_messages, lag_seconds, log_begins, attempts, stalled, skipped, missed)
		VALUES ($1, 1, $2, $3, $3, 'refused', 3, 1.5, $3, $4, $5, $6, $7)`, id, number, moment,
		asJSON([]hook.Attempt{
			{At: moment, WebhookID: hook.TestID(id, number), Type: hook.TypeTest, Number: 1, Status: 204, Milliseconds: 12},
			{At: moment, WebhookID: run(7).Run, Type: event.RunType, WalletID: &wallet, FromSequence: 6, Version: 7, Number: 2, Error: "refused"},
		}),
		asJSON([]hook.Stalled{{Run: run(7), Since: moment, Attempts: 2, NextAttempt: &moment, Error: "refused"}, {Run: run(9), Since: moment, Attempts: 1, Error: "500"}}),
		asJSON([]hook.Skipped{{Run: run(5), At: moment}}),
		asJSON([]hook.Missed{{Partition: 3, From: 10, To: 20, At: moment}}))
	if err != nil {
		t.Fatal(err)
	}
	at := "2026-11-24T09:15:00.123456Z"
	runBody := func(version int, more map[string]any) map[string]any {
		more["run"], more["walletId"], more["fromSequence"], more["version"] = fmt.Sprintf("%s:%d", wallet, version), wallet.String(), json.Number(fmt.Sprint(version-1)), json.Number(fmt.Sprint(version))
		return more
	}
	read := a.send("GET", path, "")
	want := map[string]any{
		"id": id.String(), "url": "https://1.1.1.1/", "tenant": "acme", "enabled": true, "state": "FAILING", "createdAt": read.body["createdAt"], "updatedAt": read.body["updatedAt"],
		"failingSince": at, "nextAttemptAt": at, "lastError": "refused", "lagMessages": json.Number("3"), "lagSeconds": json.Number("1.5"), "logBegins": at, "lastRequestId": json.Number(fmt.Sprint(number)),
		"stalled": []any{
			runBody(7, map[string]any{"since": at, "attempts": json.Number("2"), "nextAttemptAt": at, "error": "refused"}),
			runBody(9, map[string]any{"since": at, "attempts": json.Number("1"), "error": "500"}),
		},
		"skipped": []any{runBody(5, map[string]any{"at": at})},
		"missed":  []any{map[string]any{"partition": json.Number("3"), "from": json.Number("10"), "to": json.Number("20"), "at": at}},
	}
	if diff := cmp.Diff(want, read.body); diff != "" {
		t.Errorf("how it fares (-want +got):\n%s", diff)
	}
	attempts := a.send("GET", path+"/attempts", "")
	refused := runBody(7, map[string]any{"at": at, "messageId": run(7).Run, "type": event.RunType, "attempt": json.Number("2"), "milliseconds": json.Number("0"), "error": "refused"})
	delete(refused, "run")
	wantAttempts := map[string]any{"items": []any{
		refused,
		map[string]any{"at": at, "messageId": hook.TestID(id, number), "type": hook.TypeTest, "attempt": json.Number("1"), "status": json.Number("204"), "milliseconds": json.Number("12")},
	}}
	if diff := cmp.Diff(wantAttempts, attempts.body); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	for body, version := range map[string]int64{"": 7, `{"run":"` + run(9).Run + `"}`: 9} {
		if r := a.send("POST", path+"/skip", body); r.status != http.StatusAccepted || r.body["run"] != run(version).Run {
			t.Errorf("skip %s: %d %s", body, r.status, r.text)
		}
	}
	if r := a.send("POST", path+"/replay", `{"since":"`+since+`"}`); r.body["logBegins"] != at {
		t.Errorf("a replay does not say how far back the log goes: %s", r.text)
	}

	// hooks disables it by itself, after everything that was asked.
	if _, err := conn.Exec(t.Context(), "UPDATE hook_states SET disabled_at = $1, reason = 'gone', last_request = 1000000, stalled = 'null', skipped = 'null', missed = 'null', attempts = 'null'", moment); err != nil {
		t.Fatal(err)
	}
	if r := a.send("GET", path, ""); r.body["enabled"] != false || r.body["state"] != "DISABLED" || r.body["disabledAt"] != at || r.body["disabledReason"] != "gone" {
		t.Errorf("disabled: %s", r.text)
	}
	if r := a.send("GET", path+"/attempts", ""); r.text != `{"items":[]}` {
		t.Errorf("no attempts: %s", r.text)
	}
	if r := a.send("POST", path+"/skip", ""); r.status != http.StatusConflict {
		t.Errorf("skipped nothing: %d %s", r.status, r.text)
	}
	rows, err := conn.Query(t.Context(), "SELECT kind || ' ' || coalesce(to_char(since AT TIME ZONE 'UTC', 'HH24:MI:SS.MS'), split_part(run, ':', 2), '') || ' ' || actor FROM hook_requests ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	asked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(asked) != 7 {
		t.Fatalf("asked: %q, %v", asked, err)
	}
	if asked[4] > asked[5] { // the two skips, in any order
		asked[4], asked[5] = asked[5], asked[4]
	}
	if diff := cmp.Diff([]string{
		"DISABLE  client shop", "ENABLE  client shop", "TEST  client shop", "REPLAY 09:15:00.500 client shop", "SKIP 7 client shop", "SKIP 9 client shop", "REPLAY 09:15:00.500 client shop",
	}, asked); diff != "" {
		t.Errorf("asked of hooks (-want +got):\n%s", diff)
	}
	if r := a.send("DELETE", path, ""); r.status != http.StatusNoContent || r.text != "" {
		t.Errorf("deleted: %d %s", r.status, r.text)
	}
	var left int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM hook_endpoints FULL JOIN hook_states ON true FULL JOIN hook_requests ON true").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left of what was deleted: %v", left, err)
	}
}

// The api finds out by itself whether it was done.
// hooks goes on from the last request that it has seen: one that commits with a lower id would never be done.
func TestRequestsOfAWebhookCommitInTheOrderOfTheirIDs(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	id, other := uuid.New(), uuid.New()
	for _, webhook := range []uuid.UUID{id, other} {
		if _, err := conn.Exec(t.Context(), "INSERT INTO hook_endpoints (id, tenant, client, url, secret) VALUES ($1, 'default', 'shop', 'https://1.1.1.1/', 's')", webhook); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `INSERT INTO hook_states (endpoint_id, term, stalled) VALUES ($1, 1, '[{"run": "r"}]')`, webhook); err != nil {
			t.Fatal(err)
		}
	}
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(t.Context(), database.As(testdb.API))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		if _, err := c.Exec(t.Context(), "SET lock_timeout = '200ms'"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := connect(), connect()
	ask := map[string]func(q *walletdb.Queries, webhook uuid.UUID) error{
		"a test": func(q *walletdb.Queries, webhook uuid.UUID) error {
			_, err := q.RequestOfWebhook(t.Context(), walletdb.RequestOfWebhookParams{ID: webhook, Tenant: "default", Kind: hook.Test, Actor: "shop"})
			return err
		},
		"to disable": func(q *walletdb.Queries, webhook uuid.UUID) error {
			return q.RequestEnabled(t.Context(), walletdb.RequestEnabledParams{ID: webhook, Tenant: "default", Actor: "shop"})
		},
		"to skip": func(q *walletdb.Queries, webhook uuid.UUID) error {
			_, err := q.RequestSkip(t.Context(), walletdb.RequestSkipParams{ID: webhook, Tenant: "default", Actor: "shop"})
			return err
		},
	}
	for before, earlier := range ask {
		for after, later := range ask {
			tx, err := first.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := earlier(walletdb.New(tx), id); err != nil {
				t.Fatal(before, err)
			}
			var refused *pgconn.PgError
			if err := later(walletdb.New(second), id); !errors.As(err, &refused) || refused.Code != "55P03" {
				t.Errorf("%s does not wait for %s: %v", after, before, err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	next, err := walletdb.New(second).RequestOfWebhook(t.Context(), walletdb.RequestOfWebhookParams{ID: other, Tenant: "default", Kind: hook.Test, Actor: "shop"})
	if err != nil || next != 10 {
		t.Errorf("after 9 requests, and 9 that waited in vain and so took no id, the next is %d: %v", next, err)
	}
}

func TestAWebhookIsWrittenOnceThoughTheAnswerToCommitWasLost(t *testing.T) {
	t.Parallel()
	for name, committed := range map[string]bool{"the answer": true, "the request": false} {
		t.Run(name+" is lost", func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			proxy := newProxy(t, database.As(testdb.API))
			a := startAPI(t, proxy.URL, hooksKey)
			conn := database.Conn(t)
			proxy.cutInsert(committed, false)
			created := a.send("POST", webhooksPath, `{"url":"https://1.1.1.1/","description":"`+cutHere+`"}`, "Idempotency-Key: k")
			id, err := uuid.Parse(fmt.Sprint(created.body["id"]))
			if err != nil || created.status != http.StatusCreated {
				t.Fatalf("created: %d %s", created.status, created.text)
			}
			if stored, _ := storedSecrets(t, conn, id); stored != created.body["secret"] {
				t.Errorf("another secret is stored than the one that was shown: %s", created.text)
			}

			insertWebhook(t, database, webhookV, "default")
			before := hook.NewSecret()
			if _, err := conn.Exec(t.Context(), "UPDATE hook_endpoints SET secret = $2 WHERE id = $1", webhookV, testKeys(t).Seal(webhookV, before)); err != nil {
				t.Fatal(err)
			}
			proxy.cutInsert(committed, false)
			rotated := a.send("POST", webhooksPath+"/"+webhookV.String()+"/rotate-secret", "")
			if now, previous := storedSecrets(t, conn, webhookV); rotated.status != http.StatusOK || now != rotated.body["secret"] || previous != before {
				t.Errorf("rotated: %d, the secret shown is stored: %v, the secret before signs too: %v", rotated.status, now == rotated.body["secret"], previous == before)
			}
			proxy.cutInsert(committed, false)
			if deleted := a.send("DELETE", webhooksPath+"/"+webhookV.String(), ""); deleted.status != http.StatusNoContent {
				t.Errorf("deleted: %d %s", deleted.status, deleted.text)
			}
		})
	}
}
