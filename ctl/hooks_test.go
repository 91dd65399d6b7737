package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

func TestWebhooksAreListedDisabledAndEnabled(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	ctl := func(wantCode int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errors bytes.Buffer
		environ := []string{"DATABASE_URL=" + database.URL, "ACTOR=ada"}
		if code := run(t.Context(), args, environ, strings.NewReader(""), &out, &errors); code != wantCode {
			t.Errorf("ctl %s: code %d, want %d: %s%s", strings.Join(args, " "), code, wantCode, out.String(), errors.String())
		}
		return out.String(), errors.String()
	}
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	acme, globex := uuid.NewString(), uuid.NewString()
	exec("INSERT INTO tenants (name) VALUES ('acme'), ('globex')")
	exec("INSERT INTO hook_endpoints (id, tenant, client, url, secret) VALUES ($1, 'acme', 'shop', 'https://acme.example/hook?token=hunter2', 'sealed'), ($2, 'globex', 'desk', 'https://globex.example/', 'sealed')", acme, globex)
	exec("INSERT INTO hook_states (endpoint_id, term, lag_messages, lag_seconds, failing_since, last_error) VALUES ($1, 1, 7, 90, '2026-11-24T09:15:00Z', 'status 500')", acme)

	list, _ := ctl(0, "hooks", "list")
	for _, want := range []string{acme, "https://acme.example/hook ", "failing", "7 messages, 1m30s", "2026-11-24T09:15:00Z", "status 500", globex, "not begun", "desk"} {
		if !strings.Contains(list, want) {
			t.Errorf("%s is not in the list:\n%s", want, list)
		}
	}
	if strings.Contains(list, "hunter2") || strings.Contains(list, "sealed") {
		t.Errorf("the list shows secrets:\n%s", list)
	}
	if only, _ := ctl(0, "hooks", "list", "--tenant", "globex"); strings.Contains(only, acme) || !strings.Contains(only, globex) {
		t.Errorf("globex's:\n%s", only)
	}
	state := func(want string) {
		t.Helper()
		if list, _ := ctl(0, "hooks", "list", "--tenant", "acme"); !strings.Contains(list, want) {
			t.Errorf("it is not %s:\n%s", want, list)
		}
	}
	if said, _ := ctl(0, "hooks", "disable", acme, "--reason", "floods us", "--yes"); !strings.Contains(said, "acme.example") || strings.Contains(said, "hunter2") {
		t.Errorf("it said: %s", said)
	}
	state("to be disabled")
	if _, why := ctl(1, "hooks", "disable", acme, "--reason", "floods us", "--yes"); !strings.Contains(why, "disabled already") {
		t.Error(why)
	}
	exec("UPDATE hook_states SET disabled_at = now(), reason = 'asked for by ada', last_request = (SELECT max(id) FROM hook_requests)")
	state("disabled ")
	status := func(wants ...string) {
		t.Helper()
		screen, _ := ctl(1, "status")
		for _, want := range wants {
			if !strings.Contains(screen, want) {
				t.Errorf("status does not say %q:\n%s", want, screen)
			}
		}
	}
	status("2, 1 disabled: "+acme+", up to 0s behind, saved", "no hooks is connected to Postgres: no webhook is delivered", "0 worker, 0 hooks")
	hooks, err := pgx.Connect(t.Context(), database.As(testdb.Hooks)+"&application_name=host/1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hooks.Close(context.WithoutCancel(t.Context())) })
	exec("INSERT INTO hook_states (endpoint_id, term, lag_messages, lag_seconds, updated_at) VALUES ($1, 1, 1200, 90, now() - interval '1 hour')", globex)
	exec("UPDATE hook_states SET updated_at = now() - interval '40 s' WHERE endpoint_id = $1", acme)
	status("up to 1m30s behind, saved 4", "hooks has saved nothing for 4", "1,200 messages wait", "0 worker, 1 hooks")
	exec("UPDATE hook_states SET lag_messages = 0 WHERE endpoint_id = $1", globex)
	if screen, _ := ctl(1, "status"); strings.Contains(screen, "hooks has saved nothing") || strings.Contains(screen, "no hooks") {
		t.Errorf("nothing waits, and status says:\n%s", screen)
	}
	exec("DELETE FROM hook_states WHERE endpoint_id = $1", globex)
	state("asked for by ada")
	ctl(0, "hooks", "enable", acme, "--reason", "mended", "--yes")
	state("disabled, to be enabled")
	var asked, noted string
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(kind || ' ' || actor, ', ' ORDER BY id) FROM hook_requests").Scan(&asked); err != nil || asked != "DISABLE ada, ENABLE ada" {
		t.Errorf("asked of hooks: %s, %v", asked, err)
	}
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(reason, ', ' ORDER BY id) FROM operator_actions").Scan(&noted); err != nil || noted != "floods us, mended" {
		t.Errorf("noted: %s, %v", noted, err)
	}
	if _, why := ctl(1, "hooks", "enable", uuid.NewString(), "--reason", "x", "--yes"); !strings.Contains(why, "no webhook") {
		t.Error(why)
	}
	if _, why := ctl(1, "hooks", "enable", globex, "--reason", "x", "--yes"); !strings.Contains(why, "enabled already") {
		t.Error(why)
	}
	ctl(2, "hooks", "enable", "x", "--reason", "x")
	ctl(2, "hooks", "enable", acme)
	ctl(2, "hooks", "list", "--tenant", "A")
}
