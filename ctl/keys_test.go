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
	hash, recognised := apikey.Hash(key)
	if !recognised {
		t.Fatalf("%q is no key", key)
	}
	q := walletdb.New(database.Conn(t))
	stored, err := q.FindKey(t.Context(), hash[:])
	if err != nil || stored.Client != "shop" || strings.Join(stored.Scopes, " ") != "wallets:read operations:write" {
		t.Errorf("stored: %+v, %v", stored, err)
	}
	list := ctl(0, "keys", "list")
	if !strings.Contains(list, stored.ID.String()) || !strings.Contains(list, "shop") || strings.Contains(list, key) {
		t.Errorf("list:\n%s", list)
	}
	ctl(0, "keys", "revoke", stored.ID.String(), "--reason", "lost", "--yes")
	ctl(1, "keys", "revoke", stored.ID.String(), "--reason", "lost", "--yes")
	if _, err := q.FindKey(t.Context(), hash[:]); err == nil {
		t.Error("a revoked key is found")
	}
	if again := ctl(0, "keys", "list"); len(strings.Fields(again)) != len(strings.Fields(list))+1 {
		t.Errorf("the list does not tell that it was revoked:\n%s", again)
	}
	ctl(2, "keys", "create", "shop", "--scopes", "wallets:all")
	ctl(2, "keys", "create")
	ctl(2, "keys", "revoke", "shop")
}
