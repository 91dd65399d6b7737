package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
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
	for _, skipLocked := range []bool{false, true} {
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
		if took := time.Since(started); took >= lockWait {
			t.Errorf("a flush took %v", took)
		}
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
