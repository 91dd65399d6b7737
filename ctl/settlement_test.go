package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// withTransfers is a database with the wallets of transfers.
func withTransfers(t *testing.T) (shell, *pgx.Conn) {
	t.Helper()
	database := testdb.New(t)
	conn := database.Conn(t)
	store(t, conn, transfers)
	return newShell(t, database), conn
}

func walletNamed(t *testing.T, conn *pgx.Conn, name string) (id string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT w($1)::text", name).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAWalletIsShownWithWhatItHolds(t *testing.T) {
	t.Parallel()
	s, conn := withTransfers(t)
	execute(t, conn, `INSERT INTO wallet_metadata VALUES (w('a'), '{"order": "815"}')`)
	a, c := walletNamed(t, conn, "a"), walletNamed(t, conn, "c")
	w := answer[walletState](s, "wallet --json "+a)
	if w.Balance != 420 || w.Held != 200 || w.Available != 220 || w.State != "ACTIVE" || w.Tenant != "default" || string(w.Metadata) != `{"order":"815"}` {
		t.Errorf("%+v", w)
	}
	if w.OpenHolds != 1 || len(w.Holds) != 1 || w.Holds[0].HoldID != named("open") || w.Holds[0].Remaining != 200 || w.Holds[0].ExpiresAt == nil {
		t.Errorf("its holds: %+v", w.Holds)
	}
	if o := w.Operations[2]; o.Type != "CAPTURE" || o.Amount != 80 || o.HeldAfter != 200 {
		t.Errorf("a capture of all that remains: %+v", o)
	}
	for _, says := range []string{"of tenant default, ACTIVE", "420 EUR (minor units), 200 held, 220 available", `metadata  {"order": "815"}`, "1 open holds", "INSUFFICIENT_FUNDS"} {
		s.expect("wallet "+a, "", 0, says)
	}
	s.expect("wallet "+c, "", 0, "CLOSED")
}

func TestAnOperationSaysWhatItLedTo(t *testing.T) {
	t.Parallel()
	s, conn := withTransfers(t)
	for _, test := range []struct {
		name, settlement, hold string
		remaining, named       int64
		says                   string
	}{
		{name: "pay", settlement: "COMPLETED", says: "settlement COMPLETED"},
		{name: "shop", settlement: "COMPLETED", says: "PROCESSED: number 2 of wallet " + walletNamed(t, conn, "b")},
		{name: "refused", settlement: "RETURNED", says: "FAILED by WALLET_CLOSED: number 2 of wallet " + walletNamed(t, conn, "c")},
		{name: "under way", settlement: "PENDING", says: "PENDING: number 4 of wallet " + walletNamed(t, conn, "b")},
		{name: "poor", says: "it was for more than was available"},
		{name: "open", hold: "OPEN", remaining: 200, named: 1, says: "OPEN, 200 remain, after 1 operations"},
		{name: "whole", hold: "CLOSED", named: 2, says: "CLOSED, 0 remain"},
		{name: "short", hold: "EXPIRED", named: 2, says: "EXPIRED"},
		{name: "deposit", remaining: 900, named: 2, says: "900 can still be reversed"},
		{name: "payout", remaining: 40, named: 1, says: "40 can still be reversed"},
		{name: "sold", remaining: 0, named: 1, says: "of 400, balance 500, held 200, which left 0"},
		{name: "late", says: "the hold's time was over when this was accepted"},
		{name: "half", remaining: 100, says: "not final"},
		{name: "freeze", says: "FROZEN"},
		{name: "refused/receive/return", says: "of operation " + named("refused/receive").String()},
	} {
		id := named(test.name).String()
		r := answer[operationReport](s, "operation --json "+id)
		state, remaining, naming := "", int64(0), int64(0)
		if r.Left != nil {
			state, remaining, naming = r.Left.State, r.Left.Remaining, r.Left.Named
		}
		if r.Settlement != test.settlement || state != test.hold || remaining != test.remaining || naming != test.named {
			t.Errorf("%s: settlement %q, hold %q, %d left after %d", test.name, r.Settlement, state, remaining, naming)
		}
		s.expect("operation "+id, "", 0, test.says)
	}
}

func TestStatusKnowsWhatIsInTransitAndWhatShouldHaveExpired(t *testing.T) {
	t.Parallel()
	s, conn := withTransfers(t)
	r := answer[statusReport](s, "status --json")
	if len(r.InTransit) != 1 || r.InTransit[0].Currency != "EUR" || r.InTransit[0].Amount != 10 || r.InTransit[0].Operations != 1 || r.LateHolds.Holds != 0 || len(r.DisabledTenants) > 0 {
		t.Errorf("in transit %+v, late %+v, disabled %v", r.InTransit, r.LateHolds, r.DisabledTenants)
	}
	if text := strings.Join(r.Problems, "\n"); strings.Contains(text, "transit") || strings.Contains(text, "expired") {
		t.Error(text)
	}
	s.expect("status", "", 1, "in transit  10 EUR in 1, the oldest for ")
	execute(t, conn, "UPDATE operations SET created_at = now() - interval '61 s' WHERE id = o('under way/receive')")
	s.expect("status", "", 1, "money has been in transit for 1m")
	execute(t, conn, "UPDATE open_holds SET expires_at = now() - interval '1 s'")
	if r := answer[statusReport](s, "status --json"); r.LateHolds.Holds != 0 {
		t.Errorf("late: %+v", r.LateHolds)
	}
	execute(t, conn, "UPDATE open_holds SET expires_at = now() - interval '11 s'")
	s.expect("status", "", 1, "holds that should have expired are open: 1, one since 1") // 11 s, and more on a busy machine
	execute(t, conn, "UPDATE tenants SET disabled_at = now() WHERE name = 'other'")
	s.expect("status", "", 1, "disabled    tenants other")

	// An operation that only the next release knows.
	execute(t, conn, "ALTER TYPE operation_type ADD VALUE 'BONUS'")
	execute(t, conn, "UPDATE operations SET type = 'BONUS', subject_id = NULL, counterpart_id = NULL WHERE id = o('under way/receive')")
	s.expect("status", "", 1, "operations of type BONUS wait, which this release does not know")
	s.expect("status", "", 1, "its BONUS pending for 1m")
}
