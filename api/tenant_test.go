package main

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestATenantSeesItsOwnWalletsOnly(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	acme := "Authorization: Bearer " + newTenantKey(t, database, "acme", "shop")
	globex := "Authorization: Bearer " + newTenantKey(t, database, "globex", "shop")
	every := "Authorization: Bearer " + newKey(t, database, "shop", apikey.Scopes...)
	open := func(key, tenant string) string {
		t.Helper()
		r := a.send("POST", walletsPath, `{"reference":"r"}`, "Idempotency-Key: k", key)
		if r.status != http.StatusCreated || r.body["tenant"] != tenant {
			t.Fatalf("open a wallet: %d %s", r.status, r.text)
		}
		return r.body["walletId"].(string)
	}
	wallets := map[string]string{"acme": open(acme, "acme"), "globex": open(globex, "globex"), "default": open(every, "default")}
	var disagree int
	err := database.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM wallets w FULL JOIN wallet_sequences s ON s.wallet_id = w.id WHERE w.tenant IS DISTINCT FROM s.tenant").Scan(&disagree)
	if err != nil || disagree != 0 {
		t.Errorf("%d wallets have another tenant in wallet_sequences (%v)", disagree, err)
	}
	for _, path := range []string{walletsPath, walletsPath + "?reference=r", walletsPath + "?reference=r&limit=1", walletsPath + "?after=" + uuid.Nil.String()} {
		for key, want := range map[string]string{acme: wallets["acme"], globex: wallets["globex"]} {
			r := a.send("GET", path, "", key)
			items, _ := r.body["items"].([]any)
			if len(items) != 1 || items[0].(map[string]any)["walletId"] != want || r.body["next"] != nil {
				t.Errorf("%s: %s", path, r.text)
			}
		}
	}
	if r := a.send("GET", walletsPath+"?reference=r", "", every); len(r.body["items"].([]any)) != 3 {
		t.Errorf("a key of all tenants finds %s", r.text)
	}
	for tenant, id := range wallets {
		for range 2 { // from Postgres, and then from the cache
			for key, owner := range map[string]string{acme: "acme", globex: "globex", every: tenant} {
				want := http.StatusNotFound
				if owner == tenant {
					want = http.StatusOK
				}
				if r := a.send("GET", walletsPath+"/"+id, "", key); r.status != want || want == http.StatusOK && r.body["tenant"] != tenant {
					t.Errorf("%s reads a wallet of %s: %d %s", owner, tenant, r.status, r.text)
				}
			}
		}
		for key, owner := range map[string]string{acme: "acme", globex: "globex", every: tenant} {
			want := http.StatusNotFound
			if owner == tenant {
				want = http.StatusAccepted
			}
			body := strings.Replace(`{"walletId":"W","operationType":"DEPOSIT","amount":1}`, "W", id, 1)
			if r := a.send("POST", operationsPath, body, "Idempotency-Key: "+owner, key); r.status != want {
				t.Errorf("%s deposits to a wallet of %s: %d %s", owner, tenant, r.status, r.text)
			}
		}
	}
}

// While somebody has locked a wallet, its requests wait. To another tenant that would say that there is one.
func TestAForeignWalletThatIsLockedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	walletID := insertWallet(t, database) // the default tenant's
	lockWallet(t, database, walletID)
	quickest := map[bool]time.Duration{false: time.Hour, true: time.Hour} // for a busy machine takes its time as well
	for i := range 30 {
		if max(quickest[false], quickest[true]) < lockWait {
			break
		}
		skipLocked := i%2 == 1
		f := newFlusher(t, database.As(testdb.API))
		foreign := waitingRequest(t.Context(), walletID)
		foreign.tenant = "acme"
		requests := []*request{foreign}
		if skipLocked {
			requests = append(requests, waitingRequest(t.Context(), walletID)) // the owner's, in the same flush
			f.locked = map[walletRef]bool{requests[1].wallet(): true}
		}
		if err := f.connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.queue.push(requests...)
		started := time.Now()
		back := f.flush(t.Context(), f.queue.take(nil))
		quickest[skipLocked] = min(quickest[skipLocked], time.Since(started))
		if len(back) != len(requests)-1 {
			t.Errorf("%d of %d requests wait on", len(back), len(requests))
		}
		select {
		case got := <-foreign.done:
			if !errors.Is(got.err, errWalletNotFound) {
				t.Errorf("skipLocked %v: %+v", skipLocked, got)
			}
		default:
			t.Errorf("skipLocked %v: a foreign wallet is waited for", skipLocked)
		}
	}
	for skipLocked, took := range quickest {
		if took >= lockWait {
			t.Errorf("skipLocked %v: a flush took %v", skipLocked, took)
		}
	}
}

// A flood of requests on another tenant's wallet, whose id somebody may know, must not take its share.
func TestAForeignFloodLeavesTheOwnerItsShare(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 8})
	walletID := uuid.New()
	for range 20 {
		r := waitingRequest(t.Context(), walletID)
		r.tenant = "stranger"
		q.push(r)
	}
	owners := fill(t, q, walletID, 2)
	taken := 0
	for _, r := range q.take(map[walletRef]bool{{"stranger", walletID}: true}) {
		if r == owners[0] || r == owners[1] {
			taken++
		}
	}
	if taken != 2 {
		t.Errorf("%d of the owner's requests are in the next flush", taken)
	}
}

// Whatever the planner knows, tenants cost a look at an index for each wallet, and a page of a tenant's
// wallets what the page costs.
func TestTenantsAreLookedUpByIndex(t *testing.T) {
	t.Parallel()
	conn := testdb.New(t).Conn(t)
	var ids []uuid.UUID
	for _, sql := range []string{
		"ALTER TABLE wallets SET (autovacuum_enabled = false)", "ALTER TABLE wallet_sequences SET (autovacuum_enabled = false)",
		`INSERT INTO wallets (id, currency, reference, tenant) SELECT gen_random_uuid(), 'EUR', CASE WHEN n % 2 = 0 THEN 'r' END,
			CASE WHEN n % 1000 < 2 THEN 'small' ELSE 'default' END FROM generate_series(1, 20000) n`,
		"INSERT INTO wallet_sequences (wallet_id, tenant) SELECT id, tenant FROM wallets",
		"SET plan_cache_mode = force_generic_plan",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.QueryRow(t.Context(), "SELECT array_agg(id) FROM (SELECT id FROM wallets ORDER BY id LIMIT 10) w").Scan(&ids); err != nil {
		t.Fatal(err)
	}
	wallets := walletdb.LockSequencesParams{WalletIds: ids, Tenants: slices.Repeat([]string{"default"}, len(ids))}
	explainer := testkit.Explain(conn)
	q := walletdb.New(explainer)
	for _, statistics := range []string{"without", "with"} {
		for name, query := range map[string]struct {
			most int
			do   func() error
		}{
			"lock": {10 * 6, func() error { _, err := q.LockSequences(t.Context(), wallets); return err }},
			"lock the free": {10 * 6, func() error {
				_, err := q.LockFreeSequences(t.Context(), walletdb.LockFreeSequencesParams(wallets))
				return err
			}},
			"exist": {10 * 5, func() error {
				_, err := q.ExistingWallets(t.Context(), walletdb.ExistingWalletsParams(wallets))
				return err
			}},
			"list": {20 * 5, func() error {
				_, err := q.ListTenantWallets(t.Context(), walletdb.ListTenantWalletsParams{Tenant: "small", MaxRows: 20})
				return err
			}},
			"list by reference": {20 * 5, func() error {
				_, err := q.ListTenantWalletsByReference(t.Context(), walletdb.ListTenantWalletsByReferenceParams{Tenant: "small", Reference: "r", MaxRows: 20})
				return err
			}},
			// The wallet is looked at first. That there is none is all that is read, whose operation it may be.
			"a foreign operation": {5, func() error {
				_, err := q.GetOperation(t.Context(), walletdb.GetOperationParams{ID: uuid.New(), WalletID: ids[0], Tenant: "nobody"})
				return err
			}},
		} {
			if err := query.do(); err != nil && !errors.Is(err, pgx.ErrNoRows) {
				t.Fatalf("%s: %v", name, err)
			}
			if buffers := explainer.Last.Buffers(); buffers == 0 || buffers > query.most {
				t.Errorf("%s, %s statistics: %d buffers, want up to %d", name, statistics, buffers, query.most)
			}
		}
		if _, err := conn.Exec(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}
