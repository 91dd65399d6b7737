package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const testTopic = "wallet-operations"

// execute runs statements of the test's own.
func execute(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// acceptDeposits accepts deposits of a wallet in one transaction, and returns their ids.
func acceptDeposits(t *testing.T, conn *pgx.Conn, walletID uuid.UUID, n int) (ids []uuid.UUID) {
	t.Helper()
	operations := make([]testdb.Operation, n)
	for i := range operations {
		operations[i] = testdb.Operation{WalletID: walletID, ID: uuid.New(), Amount: 1}
		ids = append(ids, operations[i].ID)
	}
	if _, err := testdb.Accept(t.Context(), conn, testTopic, operations...); err != nil {
		t.Fatal(err)
	}
	return ids
}

// A relay's position says of each row whether it is published, also in the middle of a transaction.
func TestATimelineSaysWhetherAnOperationIsPublished(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	a := startAPI(t, database.As(testdb.API))
	walletID, other := insertWallet(t, database), insertWallet(t, database)
	first := acceptDeposits(t, conn, walletID, 1)
	before := snapshot(t, conn)
	// One transaction has operations of two wallets, in turn; its rows are those with the ids 2 to 7.
	var batch []testdb.Operation
	for range 3 {
		batch = append(batch, testdb.Operation{WalletID: walletID, ID: uuid.New(), Amount: 1}, testdb.Operation{WalletID: other, ID: uuid.New(), Amount: 1})
	}
	if _, err := testdb.Accept(t.Context(), conn, testTopic, batch...); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, conn)
	last := acceptDeposits(t, conn, walletID, 1)
	all := []uuid.UUID{first[0], batch[0].ID, batch[2].ID, batch[4].ID, last[0]}

	must := func(what string, want ...string) {
		t.Helper()
		var got []string
		for i, id := range all {
			for _, path := range []string{walletPath(walletID) + "/operations/", "/api/v1/operations/"} {
				r := a.send("GET", path+id.String()+"?timeline=true", "")
				timeline, _ := r.body["timeline"].(map[string]any)
				if timeline == nil || timeline["acceptedAt"] != r.body["createdAt"] || timeline["appliedAt"] != r.body["appliedAt"] || fmt.Sprint(timeline["pendingBefore"]) != fmt.Sprint(i) {
					t.Fatalf("%s: operation %d: %d %s", what, i, r.status, r.text)
				}
				published := map[string]string{"true false": "yes", "false false": "no", "false true": "parked", "<nil> <nil>": "unknown"}[fmt.Sprint(timeline["published"], " ", timeline["parked"])]
				if path == "/api/v1/operations/" {
					got = append(got, published)
				} else if r.text != a.send("GET", "/api/v1/operations/"+id.String()+"?timeline=true", "").text {
					t.Errorf("%s: operation %d: the two routes differ: %s", what, i, r.text)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	must("no relay", "no", "no", "no", "no", "no")
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1), ('wallet-relay/events', '1:1:', 1, 1)")
	must("nothing published", "no", "no", "no", "no", "no")
	execute(t, conn, "UPDATE relay_positions SET prev = $1 WHERE relay = 'wallet-relay'", before)
	must("the first", "yes", "no", "no", "no", "no")
	execute(t, conn, "UPDATE relay_positions SET cur = $1, after_id = 4, last_id = 7 WHERE relay = 'wallet-relay'", after)
	must("two of the transaction's", "yes", "yes", "yes", "no", "no")
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('second', '1:1:', 1, 1)")
	must("a second relay that is behind", "no", "no", "no", "no", "no")
	execute(t, conn, "DELETE FROM relay_positions WHERE relay = 'second'")
	execute(t, conn, "INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (4, 'a', 'r')")
	must("one is parked", "yes", "yes", "parked", "no", "no")
	execute(t, conn, "UPDATE relay_positions SET prev = $1, cur = NULL, after_id = 0, last_id = 0", after)
	execute(t, conn, "DELETE FROM outbox WHERE id <= 3")
	must("the first rows are deleted", "unknown", "unknown", "parked", "yes", "no")
	execute(t, conn, "DELETE FROM outbox")
	must("all rows are deleted", "unknown", "unknown", "unknown", "unknown", "unknown")
}

func snapshot(t *testing.T, conn *pgx.Conn) (now string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT pg_current_snapshot()::text").Scan(&now); err != nil {
		t.Fatal(err)
	}
	return now
}

func TestATimelineEndsWithTheOutcome(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	a := startAPI(t, database.As(testdb.API))
	walletID := insertWallet(t, database)
	ids := acceptDeposits(t, conn, walletID, 2)
	if err := testdb.Apply(t.Context(), conn, walletID); err != nil {
		t.Fatal(err)
	}
	third := acceptDeposits(t, conn, walletID, 1)
	r := a.send("GET", "/api/v1/operations/"+ids[1].String()+"?timeline=true", "")
	timeline, _ := r.body["timeline"].(map[string]any)
	if r.body["status"] != "PROCESSED" || timeline["appliedAt"] == nil || timeline["appliedAt"] != r.body["appliedAt"] || fmt.Sprint(timeline["pendingBefore"]) != "0" {
		t.Errorf("applied: %d %s", r.status, r.text)
	}
	r = a.send("GET", "/api/v1/operations/"+third[0].String()+"?timeline=true", "")
	timeline, _ = r.body["timeline"].(map[string]any)
	if timeline["appliedAt"] != nil || fmt.Sprint(timeline["pendingBefore"]) != "0" {
		t.Errorf("the next to be applied: %d %s", r.status, r.text)
	}
	if plain := a.send("GET", "/api/v1/operations/"+third[0].String(), ""); plain.body["timeline"] != nil {
		t.Errorf("nobody has asked for a timeline: %s", plain.text)
	}
}

// A timeline says how far the wallet is applied: the next balance that the client reads is not from before that.
func TestATimelineRaisesTheCache(t *testing.T) {
	t.Parallel()
	database, cache := testdb.New(t), newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	var walletID, pending uuid.UUID
	testkit.Until(t, "it is read from the cache", func() error { // which a busy machine can make too slow
		walletID, pending = insertWallet(t, database), uuid.New()
		cache.hold(t, a, walletID)
		write(t, database.Conn(t), walletID, row{kind: "DEPOSIT", amount: 5, status: processed, balance: 5}, row{kind: "DEPOSIT", amount: 1, id: pending})
		r := a.send("GET", walletPath(walletID), "")
		return testkit.Unless(r.number(t, "version") == 0, "%s", r.text)
	})
	a.send("GET", "/api/v1/operations/"+pending.String()+"?timeline=true", "")
	if r := a.send("GET", walletPath(walletID), ""); r.number(t, "version") != 1 {
		t.Errorf("after a timeline: %s", r.text)
	}
}

// The worker accepts operations too, with their rows.
func TestATimelineKnowsWhatTheWorkerAccepts(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	a := startAPI(t, database.As(testdb.API))
	walletID, other := insertWallet(t, database), insertWallet(t, database)
	follow := walletdb.AcceptFollowingParams{Topic: testTopic, Headers: event.Headers("RECEIVE")}
	for range 3 {
		follow.WalletIds, follow.Ids, follow.Types = append(follow.WalletIds, walletID), append(follow.Ids, uuid.New()), append(follow.Types, "RECEIVE")
		follow.Amounts, follow.Refs = append(follow.Amounts, 1), append(follow.Refs, "")
		follow.SubjectIds, follow.CounterpartIds = append(follow.SubjectIds, uuid.New()), append(follow.CounterpartIds, other)
	}
	if _, err := walletdb.New(conn).AcceptFollowing(t.Context(), follow); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, cur, after_id, last_id, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', $1, 2, 3, 1, 1)", snapshot(t, conn))
	for i, id := range follow.Ids {
		r := a.send("GET", "/api/v1/operations/"+id.String()+"?timeline=true", "")
		timeline, _ := r.body["timeline"].(map[string]any)
		if timeline["published"] != (i < 2) {
			t.Errorf("operation %d: %d %s", i, r.status, r.text)
		}
	}
}

// statusOf reads the status, once the one before it is forgotten.
func statusOf(t *testing.T, a *api) (r reply) {
	t.Helper()
	before := a.send("GET", statusPath, "").body["at"]
	testkit.Until(t, "a new status", func() error {
		r = a.send("GET", statusPath, "")
		return testkit.Unless(r.status == 200 && r.body["at"] != before, "%d %s", r.status, r.text)
	})
	return r
}

func TestTheStatusHasTheNumbersOfTheWholeSystem(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on")
	a.key = newKey(t, database, "operator", "status:read")
	if r := a.send("GET", statusPath, ""); r.status != 200 || fmt.Sprint(r.body["unknown"]) != "[]" || fmt.Sprint(r.body["wallets"]) != "0" || fmt.Sprint(r.body["relays"]) != "[]" || fmt.Sprint(r.body["registeredPartitions"]) != "0" {
		t.Errorf("an empty database: %d %s", r.status, r.text)
	}
	walletID, other := insertWallet(t, database), insertWallet(t, database)
	execute(t, conn, "UPDATE wallets SET currency = 'EUR'")
	acceptDeposits(t, conn, walletID, 3)
	if err := testdb.Apply(t.Context(), conn, walletID); err != nil {
		t.Fatal(err)
	}
	acceptDeposits(t, conn, walletID, 2)
	write(t, conn, other, row{kind: "RECEIVE", amount: 7, subject: uuid.New(), other: walletID})
	execute(t, conn, "INSERT INTO outbox (topic, key, payload) VALUES ($1, $2, ''), ('wallet-events', $2, '')", testTopic, other)
	execute(t, conn, "UPDATE operations SET created_at = now() - interval '1 minute' WHERE wallet_id = $1", walletID)
	// Not before the last second, however long the test takes.
	execute(t, conn, "UPDATE outbox SET created_at = now() + interval '1 hour'")
	execute(t, conn, "UPDATE outcomes SET applied_at = now() + interval '1 hour'")
	execute(t, conn, "INSERT INTO open_holds (wallet_id, seq, hold_id, expires_at) VALUES ($1, 1, gen_random_uuid(), now() - interval '1 hour')", walletID)
	execute(t, conn, "INSERT INTO tenants (name, disabled_at) VALUES ('gone', now())")
	execute(t, conn, "INSERT INTO outbox_topics VALUES ($1, 24)", testTopic)
	insertWebhook(t, database, uuid.New(), "default")
	execute(t, conn, "UPDATE hook_states SET failing_since = now(), lag_messages = 17, lag_seconds = 4.5, updated_at = now() - interval '1 hour'")
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1), ('wallet-relay/events', '1:1:', 1, 1)")
	execute(t, conn, "INSERT INTO relay_controls (relay, paused_at, reason) VALUES ('wallet-relay', now(), 'upgrade')")
	execute(t, conn, "SET application_name = 'secret.host/1'")
	if _, err := db.HoldLock(t.Context(), conn, db.RelayLock, "wallet-relay"); err != nil {
		t.Fatal(err)
	}

	r := statusOf(t, a)
	got := map[string]string{}
	for name, value := range r.body {
		text, _ := json.Marshal(value)
		got[name] = string(text)
	}
	for _, changing := range []string{"at", "outbox", "relays", "standingWallets", "inTransit", "lateHolds", "webhooks", "oldestPendingSeconds"} {
		if got[changing] == "" {
			t.Errorf("no %s", changing)
		}
		delete(got, changing)
	}
	want := map[string]string{
		"unknown": "[]", "processes": `{"api":1,"hooks":0,"relay":0,"worker":0}`, "wallets": "2", "walletsEstimated": "false", "acceptedOperations": "6", "acceptedOperationsEstimated": "false",
		"acceptedPerSecond": "6", "appliedPerSecond": "3", "pendingOperations": "3", "registeredPartitions": "24", "disabledTenants": `["gone"]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	var s struct {
		Outbox               struct{ FirstID, LastID int64 }
		OldestPendingSeconds float64
		Relays               []struct {
			Relay, PauseReason string
			Leading, Paused    bool
			WaitingRows        int64
		}
		StandingWallets []struct {
			WalletID                      string
			AppliedSequence, LastSequence int64
			OldestPendingSeconds          float64
			NextType                      string
			Halted                        bool
		}
		InTransit []struct {
			Currency                string
			Operations, AmountMinor int64
		}
		LateHolds struct {
			Holds         int64
			OldestSeconds float64
		}
		Webhooks struct {
			Webhooks, Failing, Disabled, LagMessages int64
			DisabledIDs                              []uuid.UUID
			LagSeconds, SavedSecondsAgo              float64
		}
	}
	if err := json.Unmarshal([]byte(r.text), &s); err != nil {
		t.Fatal(err)
	}
	if s.Outbox.FirstID != 1 || s.Outbox.LastID != 7 || s.OldestPendingSeconds < 60 || s.LateHolds.Holds != 1 || s.LateHolds.OldestSeconds < 3600 {
		t.Errorf("%s", r.text)
	}
	if w := s.Webhooks; w.Webhooks != 1 || w.Failing != 1 || w.Disabled != 0 || w.LagMessages != 17 || w.LagSeconds != 4.5 || w.DisabledIDs == nil || w.SavedSecondsAgo < 3600 {
		t.Errorf("webhooks: %+v", w)
	}
	if len(s.Relays) != 2 || !s.Relays[0].Leading || !s.Relays[0].Paused || s.Relays[0].PauseReason != "upgrade" || s.Relays[0].WaitingRows != 6 || s.Relays[1].WaitingRows != 1 || !s.Relays[1].Leading {
		t.Errorf("relays: %+v", s.Relays)
	}
	if len(s.StandingWallets) != 1 || s.StandingWallets[0].WalletID != walletID.String() || s.StandingWallets[0].AppliedSequence != 3 || s.StandingWallets[0].LastSequence != 5 || s.StandingWallets[0].NextType != "DEPOSIT" || s.StandingWallets[0].Halted {
		t.Errorf("standing: %+v", s.StandingWallets)
	}
	if len(s.InTransit) != 1 || s.InTransit[0].Currency != "EUR" || s.InTransit[0].AmountMinor != 7 || s.InTransit[0].Operations != 1 {
		t.Errorf("in transit: %+v", s.InTransit)
	}
	if strings.Contains(r.text, "secret.host") || strings.Contains(r.text, "postgres") || strings.Contains(r.text, "test_") {
		t.Errorf("it names hosts or logins: %s", r.text)
	}
}

// Whatever is locked, the other sections are known, and the answer comes soon.
func TestTheStatusSaysWhatItCanWhileATableIsLocked(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	a := startAPI(t, database.As(testdb.API))
	acceptDeposits(t, conn, insertWallet(t, database), 1)
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1)")
	for table, needs := range map[string][]string{
		"operations": {"operations"}, "outcomes": {"applied"}, "outbox": {"outbox", "pending", "transit", "relays"}, "open_holds": {"holds"},
		"tenants": {"tenants"}, "hook_states": {"webhooks"}, "relay_positions": {"relays"}, "relay_controls": {"relays"}, "outbox_topics": {"topic"},
	} {
		execute(t, conn, "BEGIN; LOCK TABLE "+table)
		started := time.Now()
		r := statusOf(t, a)
		execute(t, conn, "ROLLBACK")
		var unknown []string
		items, _ := r.body["unknown"].([]any)
		for _, item := range items {
			item := item.(map[string]any)
			if unknown = append(unknown, item["section"].(string)); item["error"] != "a table is locked" && item["error"] != errNotBefore.Error() {
				t.Errorf("%s is locked: %v", table, item)
			}
		}
		for _, section := range needs {
			if !slices.Contains(unknown, section) {
				t.Errorf("%s is locked, and %s is known: %s", table, section, r.text)
			}
		}
		if len(unknown) > len(needs)+3 || time.Since(started) > 20*time.Second {
			t.Errorf("%s is locked: after %v not known: %v", table, time.Since(started), unknown)
		}
	}
	if r := statusOf(t, a); fmt.Sprint(r.body["unknown"]) != "[]" {
		t.Errorf("nothing is locked: %s", r.text)
	}
}

// Many who look cost what one does.
func TestAStatusIsShownForASecond(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	testkit.Until(t, "a status is shown again", func() error { // unless its second is over already
		first, second := a.send("GET", statusPath, "").body["at"], a.send("GET", statusPath, "").body["at"]
		return testkit.Unless(first == second, "%v, then %v", first, second)
	})
	insertWallet(t, database)
	seen, started := map[any]bool{}, time.Now()
	for time.Since(started) < statusLifetime*3/2 {
		seen[a.send("GET", statusPath, "").body["at"]] = true
	}
	if took := time.Since(started); len(seen) > 2+int(took/statusLifetime) {
		t.Errorf("%d statuses in %v", len(seen), took)
	}
	if r := statusOf(t, a); fmt.Sprint(r.body["wallets"]) != "1" {
		t.Errorf("a second later: %s", r.text)
	}
}
