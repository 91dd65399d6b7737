package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestKeysAreMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	ctl := func(wantCode int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, []string{"DATABASE_URL=" + database.URL}, strings.NewReader(""), &stdout, &stderr); code != wantCode {
			t.Errorf("ctl %s: code %d, want %d: %s", strings.Join(args, " "), code, wantCode, stderr.String())
		}
		return stdout.String()
	}
	key := strings.TrimSuffix(ctl(0, "keys", "create", "shop", "--scopes", "wallets:read,operations:write"), "\n")
	if _, recognised := apikey.Hash(key); !recognised {
		t.Fatalf("%q is no key", key)
	}
	q := walletdb.New(database.Conn(t))
	stored, err := findKey(t, q, key)
	if err != nil || stored.Client != "shop" || strings.Join(stored.Scopes, " ") != "wallets:read operations:write" {
		t.Errorf("stored: %+v, %v", stored, err)
	}
	list := ctl(0, "keys", "list")
	if !strings.Contains(list, stored.ID.String()) || !strings.Contains(list, "shop") || strings.Contains(list, key) {
		t.Errorf("list:\n%s", list)
	}
	ctl(0, "keys", "revoke", stored.ID.String(), "--reason", "lost", "--yes")
	ctl(1, "keys", "revoke", stored.ID.String(), "--reason", "lost", "--yes")
	if _, err := findKey(t, q, key); err == nil {
		t.Error("a revoked key is found")
	}
	if again := ctl(0, "keys", "list"); len(strings.Fields(again)) != len(strings.Fields(list))+1 {
		t.Errorf("the list does not tell that it was revoked:\n%s", again)
	}
	ctl(2, "keys", "create", "shop", "--scopes", "wallets:all")
	ctl(2, "keys", "create")
	ctl(2, "keys", "revoke", "shop")
}

// One key lets a client in to every cell.
func TestAKeyIsTheSameInTwoCells(t *testing.T) {
	t.Parallel()
	cells := []testdb.Database{testdb.New(t), testdb.New(t)}
	ctl := func(cell, wantCode int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, []string{"DATABASE_URL=" + cells[cell].URL}, strings.NewReader(""), &out, &errs); code != wantCode {
			t.Errorf("ctl %s: code %d, want %d: %s", strings.Join(args, " "), code, wantCode, errs.String())
		}
		return strings.TrimSpace(out.String()), errs.String()
	}
	for _, of := range [][]string{{"--tenant", "acme"}, {"--all-tenants"}} {
		key, _ := ctl(0, 0, append([]string{"keys", "create", "shop", "--scopes", "wallets:read"}, of...)...)
		list, _ := ctl(0, 0, "keys", "list", "--hashes")
		lines := strings.Split(list, "\n")
		fields := strings.Fields(lines[len(lines)-1])
		hash := fields[len(fields)-1]
		copied := append([]string{"keys", "create", "shop", "--hash", hash, "--scopes", "wallets:read"}, of...)
		id, _ := ctl(1, 0, copied...)
		found, err := findKey(t, walletdb.New(cells[1].Conn(t)), key)
		if err != nil || found.ID.String() != id || found.Client != "shop" || found.AllTenants != (len(of) == 1) || strings.Join(found.Scopes, " ") != "wallets:read" {
			t.Errorf("%v: the other cell has %+v (%v)", of, found, err)
		}
		if again, _ := ctl(1, 0, "keys", "list", "--hashes"); !strings.Contains(again, hash) || strings.Contains(again, key) {
			t.Errorf("the other cell lists\n%s", again)
		}
		if _, says := ctl(1, 1, copied...); !strings.Contains(says, "already") {
			t.Errorf("once more: %s", says)
		}
	}
	hash := strings.Repeat("ab", 32)
	for _, wrong := range [][]string{
		{"--hash", hash},
		{"--hash", hash, "--scopes", "wallets:read"},
		{"--hash", hash, "--tenant", "acme"},
		{"--hash", hash[2:], "--scopes", "wallets:read", "--tenant", "acme"},
		{"--hash", "", "--scopes", "wallets:read", "--tenant", "acme"},
		{"--hash", "lw_" + hash, "--scopes", "wallets:read", "--tenant", "acme"},
	} {
		ctl(1, 2, append([]string{"keys", "create", "shop"}, wrong...)...)
	}
	if list, _ := ctl(1, 0, "keys", "list"); strings.Contains(list, "HASH") {
		t.Errorf("hashes are listed that nobody asked for:\n%s", list)
	}
}

// findKey looks a key up as the api does.
func findKey(t *testing.T, q *walletdb.Queries, key string) (walletdb.FindKeyRow, error) {
	t.Helper()
	hash, _ := apikey.Hash(key)
	tenantHash := apikey.TenantHash(key)
	return q.FindKey(t.Context(), walletdb.FindKeyParams{Hash: hash[:], TenantHash: tenantHash[:]})
}

func TestAKeyHasOneTenantOrAll(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	q := walletdb.New(database.Conn(t))
	ctl := func(wantCode int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, []string{"DATABASE_URL=" + database.URL}, strings.NewReader(""), &out, &errs); code != wantCode {
			t.Errorf("ctl %s: code %d, want %d: %s", strings.Join(args, " "), code, wantCode, errs.String())
		}
		return out.String(), errs.String()
	}
	create := func(args ...string) string {
		t.Helper()
		out, _ := ctl(0, append([]string{"keys", "create", "shop"}, args...)...)
		key := strings.TrimSuffix(out, "\n")
		if _, recognised := apikey.Hash(key); !recognised {
			t.Fatalf("%q is not a key alone", out)
		}
		return key
	}
	for _, args := range [][]string{nil, {"--tenant", "acme"}} {
		if _, errs := ctl(2, append([]string{"keys", "create", "shop", "--scopes", "wallets:read,status:read"}, args...)...); !strings.Contains(errs, "--all-tenants") {
			t.Errorf("one tenant may see the whole system: %s", errs)
		}
	}
	if operators, err := findKey(t, q, create("--all-tenants", "--scopes", "status:read")); err != nil || strings.Join(operators.Scopes, " ") != "status:read" {
		t.Errorf("an operator's key: %+v, %v", operators, err)
	}
	keys := map[string]string{"default": create(), "acme": create("--tenant", "acme"), "*": create("--all-tenants")}
	for tenant, key := range keys {
		found, err := findKey(t, q, key)
		if err != nil || found.AllTenants != (tenant == "*") || found.Tenant == nil != found.AllTenants || found.Tenant != nil && *found.Tenant != tenant {
			t.Errorf("the key of %s: %+v, %v", tenant, found, err)
		}
		if want := "wallets:read wallets:write operations:write"; strings.Join(found.Scopes, " ") != want {
			t.Errorf("the key of %s may do %v", tenant, found.Scopes)
		}
		// The api of the last release looks for this hash alone.
		hash, _ := apikey.Hash(key)
		var asBefore bool
		if err := database.Conn(t).QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM api_keys WHERE hash = $1)", hash[:]).Scan(&asBefore); err != nil || asBefore != (tenant == "*") {
			t.Errorf("the key of %s is found by an api that knows no tenants: %v, %v", tenant, asBefore, err)
		}
		if list, _ := ctl(0, "keys", "list"); !strings.Contains(list, found.ID.String()+"  shop    "+tenant+" ") {
			t.Errorf("the key of %s in the list:\n%s", tenant, list)
		}
	}

	ctl(0, "tenants", "disable", "acme", "--reason", "unpaid", "--yes")
	if _, err := findKey(t, q, keys["acme"]); err == nil {
		t.Error("a disabled tenant's key is found")
	}
	for _, other := range []string{"default", "*"} {
		if _, err := findKey(t, q, keys[other]); err != nil {
			t.Errorf("the key of %s: %v", other, err)
		}
	}
	if _, stderr := ctl(1, "keys", "create", "shop", "--tenant", "acme"); !strings.Contains(stderr, "tenant acme is disabled") {
		t.Errorf("a key of a disabled tenant: %s", stderr)
	}
	ctl(1, "tenants", "disable", "acme", "--reason", "unpaid", "--yes")
	list, _ := ctl(0, "tenants", "list")
	rows := strings.Split(strings.TrimSpace(list), "\n")
	if len(rows) != 3 || len(strings.Fields(rows[1])) != 4 || len(strings.Fields(rows[2])) != 3 {
		t.Errorf("the list does not say that acme alone is disabled:\n%s", list)
	}
	ctl(0, "tenants", "enable", "acme", "--reason", "paid", "--yes")
	ctl(1, "tenants", "enable", "acme", "--reason", "paid", "--yes")
	if _, err := findKey(t, q, keys["acme"]); err != nil {
		t.Errorf("an enabled tenant's key: %v", err)
	}
	if actions, _ := ctl(0, "actions"); strings.Count(actions, "tenants disable acme") != 1 || strings.Count(actions, "tenants enable acme") != 1 {
		t.Errorf("actions:\n%s", actions)
	}

	ctl(2, "keys", "create", "shop", "--tenant", "acme", "--all-tenants")
	ctl(2, "keys", "create", "shop", "--tenant", "default", "--all-tenants")
	for _, name := range []string{"", "*", "Acme", "a b", "-a", "a/b", strings.Repeat("a", 65)} {
		ctl(2, "keys", "create", "shop", "--tenant", name)
	}
	ctl(2, "tenants", "disable", "*", "--reason", "x", "--yes")
	ctl(1, "tenants", "disable", "nobody", "--reason", "x", "--yes")
	if out, _ := ctl(1, "tenants", "disable", "default", "--reason", "x"); !strings.Contains(out, "tenant default") {
		t.Errorf("it does not ask: %s", out)
	}
}
