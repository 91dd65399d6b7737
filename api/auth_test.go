package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// newKey makes a key of all tenants.
func newKey(t *testing.T, database testdb.Database, client string, scopes ...string) string {
	t.Helper()
	key, hash := apikey.New()
	err := walletdb.New(database.Conn(t)).CreateKey(t.Context(), walletdb.CreateKeyParams{ID: uuid.New(), Client: client, Hash: hash, Scopes: scopes, AllTenants: true})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newTenantKey makes a key of one tenant, which it adds if it is new, with every scope.
func newTenantKey(t *testing.T, database testdb.Database, tenant, client string) string {
	t.Helper()
	q := walletdb.New(database.Conn(t))
	key, _ := apikey.New()
	hash := apikey.TenantHash(key)
	err := errors.Join(q.AddTenant(t.Context(), tenant),
		q.CreateKey(t.Context(), walletdb.CreateKeyParams{ID: uuid.New(), Client: client, Hash: hash[:], Scopes: apikey.Scopes, Tenant: &tenant}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAKeyMayDoWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	a.key = newKey(t, database, "all", apikey.Scopes...)
	walletID := a.newWallet(t)
	operation := a.deposit(walletID, 1).header.Get("Location")
	wallet := walletsPath + "/" + walletID.String()
	for _, test := range []struct{ method, path, body, scope string }{
		{method: "POST", path: walletsPath, body: "{}", scope: "wallets:write"},
		{method: "GET", path: walletsPath, scope: "wallets:read"},
		{method: "GET", path: wallet, scope: "wallets:read"},
		{method: "GET", path: wallet + "/operations", scope: "wallets:read"},
		{method: "GET", path: operation, scope: "wallets:read"},
		{method: "GET", path: "/api/v1/operations/" + operation[strings.LastIndex(operation, "/")+1:], scope: "wallets:read"},
		{method: "GET", path: statusPath, scope: "status:read"},
		{method: "POST", path: operationsPath, body: depositBody(walletID, 1), scope: "operations:write"},
		{method: "POST", path: batchPath, body: `{"operations":[` + depositBody(walletID, 1) + `]}`, scope: "operations:write"},
	} {
		for _, scope := range apikey.Scopes {
			r := a.send(test.method, test.path, test.body, "Authorization: Bearer "+newKey(t, database, "one", scope))
			want := `Bearer error="insufficient_scope", scope="` + test.scope + `"`
			switch {
			case scope == test.scope && r.status >= 300:
				t.Errorf("%s %s with %s: %d %s", test.method, test.path, scope, r.status, r.text)
			case scope != test.scope && (r.status != http.StatusForbidden || r.body["code"] != "forbidden" || r.header.Get("WWW-Authenticate") != want):
				t.Errorf("%s %s with %s: %d %s %v", test.method, test.path, scope, r.status, r.text, r.header)
			}
		}
	}
}

func TestAKeySaysWhatItMayDo(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	for _, test := range []struct{ key, want string }{
		{newKey(t, database, "shop", "wallets:read", "later:scope"), `{"client":"shop","allTenants":true,"scopes":["wallets:read","later:scope"]}`},
		{newKey(t, database, "nothing", []string{}...), `{"client":"nothing","allTenants":true,"scopes":[]}`},
		{newTenantKey(t, database, "acme", "shop"), `{"client":"shop","tenant":"acme","allTenants":false,"scopes":["` + strings.Join(apikey.Scopes, `","`) + `"]}`},
	} {
		r := a.send("GET", keyPath, "", "Authorization: Bearer "+test.key)
		if r.text != test.want || r.header.Get("Cache-Control") != cacheControl {
			t.Errorf("%d %s %v, want %s", r.status, r.text, r.header, test.want)
		}
	}
	open := startAPI(t, database.As(testdb.API), "AUTH=off")
	if r := open.send("GET", keyPath, ""); r.text != `{"client":"","allTenants":true,"scopes":["`+strings.Join(apikey.Scopes, `","`)+`"]}` {
		t.Errorf("without keys: %d %s", r.status, r.text)
	}
}

// Keys are rotated, and retries go on: what an idempotency key of a wallet means depends on the client.
func TestAWalletsKeyBelongsToTheClient(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	create := func(client string) reply {
		return a.send("POST", walletsPath, "{}", "Idempotency-Key: k", "Authorization: Bearer "+newKey(t, database, client, apikey.Scopes...))
	}
	mine, rotated, theirs := create("me"), create("me"), create("them")
	if mine.status != http.StatusCreated || rotated.status != http.StatusOK || rotated.body["walletId"] != mine.body["walletId"] {
		t.Errorf("another key of the same client: %d %s, %d %s", mine.status, mine.text, rotated.status, rotated.text)
	}
	if theirs.status != http.StatusCreated || theirs.body["walletId"] == mine.body["walletId"] {
		t.Errorf("a key of another client: %d %s", theirs.status, theirs.text)
	}
}

func TestARevokedKeyStopsWhenItsTimeIsOverAndANewOneWorksAtOnce(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	config, err := db.Config(database.As(testdb.API))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if keyLifetime > time.Minute {
		t.Errorf("a revoked key lives for %v", keyLifetime)
	}
	k := &keys{db: pool, lifetime: keyLifetime, known: map[[32]byte]*key{}}
	secret := newKey(t, database, "client", apikey.Scopes...)
	letIn := func() bool {
		_, err := k.HandleBearerAuth(context.Background(), oas.GetWalletOperation, oas.BearerAuth{Token: secret, Roles: []string{"wallets:read"}})
		return err == nil
	}
	if !letIn() {
		t.Fatal("a new key is refused")
	}
	if _, err := database.Conn(t).Exec(t.Context(), "UPDATE api_keys SET revoked_at = now()"); err != nil {
		t.Fatal(err)
	}
	if !letIn() {
		t.Error("a key that was just seen is looked up again")
	}
	k.lifetime = 0
	if letIn() {
		t.Error("a revoked key is let in")
	}
	if len(k.known) != 0 {
		t.Error("a revoked key is remembered")
	}
}

func TestKeysOfATenantThatIsDisabledOrUnknownAreRefused(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	config, err := db.Config(database.As(testdb.API))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	k := &keys{db: pool, known: map[[32]byte]*key{}} // without a lifetime: each request looks
	acme, every := newTenantKey(t, database, "acme", "client"), newKey(t, database, "client", apikey.Scopes...)
	conn := database.Conn(t)
	for _, test := range []struct {
		after, key string
		want       tenant // empty: refused
	}{
		{"SELECT", acme, "acme"},
		{"SELECT", every, allTenants},
		{"UPDATE tenants SET disabled_at = now() WHERE name = 'acme'", acme, ""},
		{"SELECT", every, allTenants},
		{"UPDATE tenants SET disabled_at = NULL", acme, "acme"},
		// What the database's constraints rule out means nothing, never everything.
		{"ALTER TABLE api_keys DROP CONSTRAINT api_keys_tenant_fkey; DELETE FROM tenants WHERE name = 'acme'", acme, ""},
		{"ALTER TABLE api_keys DROP CONSTRAINT api_keys_tenant; UPDATE api_keys SET tenant = NULL", acme, ""},
		{"UPDATE api_keys SET tenant = ''", acme, ""},
	} {
		if _, err := conn.Exec(t.Context(), test.after); err != nil {
			t.Fatal(err)
		}
		ctx, err := k.HandleBearerAuth(t.Context(), oas.GetWalletOperation, oas.BearerAuth{Token: test.key, Roles: []string{"wallets:read"}})
		var refused problem
		switch {
		case test.want == "" && (!errors.As(err, &refused) || refused.code != unauthorized):
			t.Errorf("after %s: %v", test.after, err)
		case test.want != "" && (err != nil || tenantOf(ctx) != test.want):
			t.Errorf("after %s: %v", test.after, err)
		}
	}
}

func TestTwoTenantsWithAClientOfOneNameShareNoWallet(t *testing.T) {
	t.Parallel()
	made := map[string]caller{}
	for _, by := range []caller{{"shop", allTenants}, {"shop", defaultTenant}, {"shop", "acme"}, {"shop", "globex"}, {"acme", allTenants}} {
		id, err := newWalletID(0, by, oas.NewOptString("k"))
		if other, taken := made[id.String()]; taken || err != nil {
			t.Errorf("%v and %v make the same wallet (%v)", by, other, err)
		}
		made[id.String()] = by
	}
	// A retry may come after an upgrade: all-tenants keys make what keys made before there were tenants.
	if made["f4e36031-bf36-5eab-9579-beb5621f5ee2"] != (caller{"shop", allTenants}) {
		t.Errorf("%v", made)
	}
}

func TestWithoutPostgresAKeyIsNotCalledWrong(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	proxy := newProxy(t, database.As(testdb.API))
	a := startAPI(t, proxy.URL, "AUTH=on")
	key := newKey(t, database, "client", apikey.Scopes...)
	proxy.Cut()
	r := a.send("GET", walletsPath+"/"+absent, "", "Authorization: Bearer "+key)
	if r.status != http.StatusServiceUnavailable || r.body["code"] != "overloaded" {
		t.Errorf("%d %s", r.status, r.text)
	}
}

func TestAKeyHasARate(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on", "RATE_LIMIT=1")
	a.key = newKey(t, database, "client", apikey.Scopes...)
	other := newKey(t, database, "other", apikey.Scopes...)
	refused := 0
	for range 20 {
		if r := a.send("GET", walletsPath, ""); r.status == http.StatusTooManyRequests {
			refused++
			if r.body["code"] != "rate-limited" || r.header.Get("Retry-After") != "1" {
				t.Errorf("%s %v", r.text, r.header)
			}
		}
	}
	if refused == 0 {
		t.Error("20 requests at once were let in at one a second")
	}
	if r := a.send("GET", walletsPath, "", "Authorization: Bearer "+other); r.status != http.StatusOK {
		t.Errorf("another key: %d %s", r.status, r.text)
	}
}

func TestARateRefillsWithTime(t *testing.T) {
	t.Parallel()
	start := time.Now()
	hash := [32]byte{1}
	k := &keys{perSec: 2, known: map[[32]byte]*key{hash: {tokens: 2, refilled: start}}}
	for _, test := range []struct {
		after time.Duration
		want  time.Duration
	}{
		{0, 0},
		{0, 0},
		{0, 500 * time.Millisecond},
		{400 * time.Millisecond, 100 * time.Millisecond},
		{500 * time.Millisecond, 0},
		{500 * time.Millisecond, 500 * time.Millisecond},
		{time.Hour, 0},
		{time.Hour, 0},
		{time.Hour, 500 * time.Millisecond},
	} {
		if got := k.take(hash, start.Add(test.after)); got.Round(time.Millisecond) != test.want {
			t.Errorf("after %v: wait %v, want %v", test.after, got, test.want)
		}
	}
}

func TestRequestsOfOneKeyLookItUpOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		secret, _ := apikey.New()
		database := &slowDatabase{answer: make(chan struct{})}
		k := &keys{db: database, lifetime: keyLifetime, known: map[[32]byte]*key{}}
		const requests = 20
		errs := make(chan error, requests)
		for range requests {
			go func() {
				_, err := k.HandleBearerAuth(t.Context(), oas.GetWalletOperation, oas.BearerAuth{Token: secret})
				errs <- err
			}()
		}
		synctest.Wait()
		close(database.answer)
		for range requests {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := database.asked.Load(); n != 1 {
			t.Errorf("%d requests asked %d times", requests, n)
		}
	})
}

// slowDatabase finds every key, once it may answer.
type slowDatabase struct {
	walletdb.DBTX
	answer chan struct{}
	asked  atomic.Int64
}

func (d *slowDatabase) QueryRow(context.Context, string, ...any) pgx.Row {
	d.asked.Add(1)
	<-d.answer
	return d
}

func (d *slowDatabase) Scan(...any) error { return nil }
