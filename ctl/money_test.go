package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// told is an operation, and what became of it, as the rules are meant.
type told struct {
	wallet, name, kind string
	amount             int64
	subject, to        string // names of an operation and of a wallet
	expires            string // of the HOLD, after it was accepted
	notFinal           bool

	reason         string // why it failed; PENDING: it is not applied
	balance, held  int64
	state          string // empty: ACTIVE
	applied, left  int64  // 0: not said, -1: 0 is said
	acceptedBefore time.Duration
}

// transfers is a history of every type: a and b have money, c is closed. 10 are in transit.
var transfers = []told{
	{wallet: "a", name: "deposit", kind: "DEPOSIT", amount: 1000, balance: 1000},
	{wallet: "a", name: "open", kind: "HOLD", amount: 300, expires: "1 hour", balance: 1000, held: 300},
	{wallet: "a", name: "half", kind: "CAPTURE", amount: 100, subject: "open", notFinal: true, balance: 900, held: 200, left: 200},
	{wallet: "a", name: "whole", kind: "HOLD", amount: 400, balance: 900, held: 600},
	{wallet: "a", name: "sold", kind: "CAPTURE", subject: "whole", balance: 500, held: 200, applied: 400, left: -1},
	{wallet: "a", name: "again", kind: "CAPTURE", subject: "whole", reason: "HOLD_CLOSED", balance: 500, held: 200, left: -1},
	{wallet: "a", name: "unwanted", kind: "HOLD", amount: 50, balance: 500, held: 250},
	{wallet: "a", name: "released", kind: "RELEASE", subject: "unwanted", balance: 500, held: 200, applied: 50, left: -1},
	{wallet: "a", name: "short", kind: "HOLD", amount: 60, expires: "1 ms", balance: 500, held: 260},
	{wallet: "a", name: "short/expire", kind: "EXPIRE", subject: "short", balance: 500, held: 200, applied: 60, left: -1},
	{wallet: "a", name: "late", kind: "CAPTURE", amount: 1, subject: "short", reason: "HOLD_EXPIRED", balance: 500, held: 200, left: -1},
	{wallet: "a", name: "back", kind: "REVERSE", amount: 100, subject: "deposit", balance: 400, held: 200, left: 900},
	{wallet: "a", name: "too much", kind: "REVERSE", subject: "deposit", reason: "INSUFFICIENT_FUNDS", balance: 400, held: 200, left: 900},
	{wallet: "a", name: "refund", kind: "REVERSE", subject: "sold", balance: 800, held: 200, applied: 400, left: -1},
	{wallet: "a", name: "pay", kind: "TRANSFER", amount: 250, to: "b", balance: 550, held: 200},
	{wallet: "a", name: "refused", kind: "TRANSFER", amount: 50, to: "c", balance: 500, held: 200},
	{wallet: "a", name: "refused/receive/return", kind: "RETURN", amount: 50, subject: "refused/receive", to: "c", balance: 550, held: 200},
	{wallet: "a", name: "order", kind: "HOLD", amount: 80, balance: 550, held: 280},
	{wallet: "a", name: "shop", kind: "CAPTURE", subject: "order", to: "b", balance: 470, held: 200, applied: 80, left: -1},
	{wallet: "a", name: "poor", kind: "TRANSFER", amount: 1000, to: "b", reason: "INSUFFICIENT_FUNDS", balance: 470, held: 200},
	{wallet: "a", name: "under way", kind: "TRANSFER", amount: 10, to: "b", balance: 460, held: 200},
	{wallet: "a", name: "freeze", kind: "FREEZE", balance: 460, held: 200, state: "FROZEN"},
	{wallet: "a", name: "cold", kind: "WITHDRAW", amount: 1, reason: "WALLET_FROZEN", balance: 460, held: 200, state: "FROZEN"},
	{wallet: "a", name: "thaw", kind: "ACTIVATE", balance: 460, held: 200},
	{wallet: "a", name: "payout", kind: "WITHDRAW", amount: 60, balance: 400, held: 200},
	{wallet: "a", name: "mended", kind: "REVERSE", amount: 20, subject: "payout", balance: 420, held: 200, left: 40},
	{wallet: "b", name: "pay/receive", kind: "RECEIVE", amount: 250, subject: "pay", to: "a", balance: 250},
	{wallet: "b", name: "shop/receive", kind: "RECEIVE", amount: 80, subject: "shop", to: "a", balance: 330},
	{wallet: "b", name: "full", kind: "CLOSE", reason: "WALLET_NOT_EMPTY", balance: 330},
	{wallet: "b", name: "under way/receive", kind: "RECEIVE", amount: 10, subject: "under way", to: "a", reason: "PENDING"},
	{wallet: "c", name: "close", kind: "CLOSE", state: "CLOSED"},
	{wallet: "c", name: "refused/receive", kind: "RECEIVE", amount: 50, subject: "refused", to: "a", reason: "WALLET_CLOSED", state: "CLOSED"},
}

// named is the id of an operation: what follows from another has an id that does.
func named(name string) uuid.UUID {
	for _, end := range []string{"receive", "return", "expire"} {
		if cause, found := strings.CutSuffix(name, "/"+end); found {
			return uuid.NewSHA1(named(cause), []byte(end))
		}
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name))
}

const naming = `
CREATE FUNCTION w(name text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT md5('wallet ' || name)::uuid $$;
CREATE TABLE names (name text PRIMARY KEY, id uuid);
CREATE FUNCTION o(n text) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT id FROM names WHERE name = n $$;
INSERT INTO tenants (name) VALUES ('other');
`

// store writes a history, and what the wallets and open_holds have to be after it.
func store(t *testing.T, conn *pgx.Conn, history []told) {
	t.Helper()
	ctx := t.Context()
	execute(t, conn, naming)
	batch := &pgx.Batch{}
	names := map[string]bool{}
	for _, o := range history {
		names[o.name] = true
	}
	for name := range names {
		batch.Queue("INSERT INTO names VALUES ($1, $2)", name, named(name))
	}
	for _, o := range history {
		batch.Queue("INSERT INTO wallets (id, currency) VALUES (w($1), 'EUR') ON CONFLICT DO NOTHING", o.wallet)
		batch.Queue("INSERT INTO wallet_sequences (wallet_id) VALUES (w($1)) ON CONFLICT DO NOTHING", o.wallet)
		batch.Queue("UPDATE wallet_sequences SET last_seq = last_seq + 1 WHERE wallet_id = w($1)", o.wallet)
		batch.Queue(`INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, counterpart_id, expires_at, final, created_at)
			SELECT wallet_id, last_seq, o($2), $3::text::operation_type, $4, o($5), CASE WHEN $6 <> '' THEN w($6) END, c.at + nullif($7, '')::interval,
			CASE WHEN $3 = 'CAPTURE' THEN NOT $8::boolean END, c.at - $9::interval FROM wallet_sequences, (SELECT clock_timestamp() AS at OFFSET 0) c WHERE wallet_id = w($1)`,
			o.wallet, o.name, o.kind, o.amount, o.subject, o.to, o.expires, o.notFinal, o.acceptedBefore)
		batch.Queue(`INSERT INTO outbox (topic, key, payload) SELECT 'wallet-operations', wallet_id::text, convert_to(json_build_object('walletId', wallet_id, 'sequence', seq,
			'operationId', id, 'type', type, 'amount', amount, 'acceptedAt', created_at)::text, 'UTF8') FROM operations WHERE id = o($1)`, o.name)
		if o.expires == "1 ms" {
			batch.Queue("SELECT pg_sleep(0.002)")
		}
		if o.reason == "PENDING" {
			continue
		}
		said := func(n int64) *int64 {
			if n == 0 {
				return nil
			}
			n = max(n, 0)
			return &n
		}
		status := "PROCESSED"
		if o.reason != "" {
			status = "FAILED"
		}
		batch.Queue(`INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, held_after, state_after, applied_amount, subject_left)
			SELECT wallet_id, seq, $2::text::outcome_status, nullif($3, ''), $4, nullif($5, 0), nullif($6, '')::wallet_state, $7, $8 FROM operations WHERE id = o($1)`,
			o.name, status, o.reason, o.balance, o.held, o.state, said(o.applied), said(o.left))
		batch.Queue(`UPDATE wallets SET balance = $2, held = $3, state = coalesce(nullif($4, ''), 'ACTIVE')::wallet_state, applied_seq = applied_seq + 1, rules_seq = applied_seq + 1
			WHERE id = w($1)`, o.wallet, o.balance, o.held, o.state)
		if o.kind == "HOLD" && o.reason == "" {
			batch.Queue("INSERT INTO open_holds SELECT wallet_id, seq, id, expires_at FROM operations WHERE id = o($1)", o.name)
		}
		if o.left == -1 && o.reason == "" {
			batch.Queue("DELETE FROM open_holds WHERE hold_id = o($1)", o.subject)
		}
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsEachTamperingWithMoney(t *testing.T) {
	t.Parallel()
	const of = " WHERE (wallet_id, seq) = (SELECT wallet_id, seq FROM operations WHERE id = o('%s'))"
	outcome := func(change, name string) string {
		return "UPDATE outcomes SET " + change + strings.Replace(of, "%s", name, 1)
	}
	operation := func(change, name string) string {
		return "UPDATE operations SET " + change + strings.Replace(of, "%s", name, 1)
	}
	for _, test := range []struct{ name, tamper, finding string }{
		{"nothing", "", ""},
		{"what was held after", outcome("held_after = 299", "open"), "outcome-wrong"},
		{"the state after", outcome("state_after = 'FROZEN'", "pay"), "outcome-wrong"},
		{"a state that was reached, forgotten", outcome("state_after = NULL", "freeze"), "outcome-wrong"},
		{"what an open capture came to", outcome("applied_amount = 399", "sold"), "outcome-wrong"},
		{"what an open capture came to, forgotten", outcome("applied_amount = NULL", "sold"), "outcome-wrong"},
		{"what a capture came to, and was not asked for", outcome("applied_amount = 99", "half"), "outcome-wrong"},
		{"what a failed one came to", outcome("applied_amount = 1", "late"), "outcome-wrong"},
		{"what is left of a hold", outcome("subject_left = 199", "half"), "outcome-wrong"},
		{"what is left of a hold, forgotten", outcome("subject_left = NULL", "half"), "outcome-wrong"},
		{"what is left of a dead hold", outcome("subject_left = 1", "again"), "outcome-wrong"},
		{"what is left of an original", outcome("subject_left = 899", "back"), "outcome-wrong"},
		{"what is left of an original after a failure", outcome("subject_left = 0", "too much"), "outcome-wrong"},
		{"a chain of what is left, from its second link on", outcome("subject_left = 899", "back") + ";" + outcome("subject_left = 899", "too much"), "outcome-wrong"},
		{"something left of what is no subject", outcome("subject_left = 0", "pay"), "outcome-wrong"},
		{"why one failed", outcome("failure_reason = 'HOLD_CLOSED'", "late"), "outcome-wrong"},
		{"a capture above its hold", operation("amount = 301", "half"), "outcome-wrong"},
		{"a capture that was final", operation("final = true", "half"), "outcome-wrong"},
		{"a reversal above its original", operation("amount = 61", "mended"), "outcome-wrong"},
		{"a failed capture made a success", outcome("status = 'PROCESSED', failure_reason = NULL", "again"), "outcome-wrong"},
		{"what a capture refers to", operation("subject_id = o('deposit')", "half"), "subject-wrong"},
		{"a subject that does not exist", operation("subject_id = w('x')", "half"), "subject-wrong"},
		{"a subject of another wallet", operation("subject_id = o('pay/receive')", "mended"), "subject-wrong"},
		{"a subject that comes later", operation("subject_id = o('order')", "half"), "subject-wrong"},
		{"a transfer that is reversed", operation("subject_id = o('pay')", "mended"), "subject-wrong"},
		{"a capture with a target that is reversed", operation("subject_id = o('shop')", "mended"), "subject-wrong"},

		{"held", "UPDATE wallets SET held = 199 WHERE id = w('a')", "held-wrong"},
		{"the state", "UPDATE wallets SET state = 'FROZEN' WHERE id = w('a')", "state-wrong"},
		{"the state of a closed wallet", "UPDATE wallets SET state = 'ACTIVE' WHERE id = w('c')", "state-wrong"},
		{"rules_seq", "UPDATE wallets SET rules_seq = 1 WHERE id = w('b')", "rules-seq-wrong"},
		{"rules_seq, too far", "UPDATE wallets SET rules_seq = 4 WHERE id = w('b')", "rules-seq-wrong"},
		{"rules_seq of a wallet that holds", "ALTER TABLE wallets DROP CONSTRAINT wallets_rules; UPDATE wallets SET rules_seq = 25 WHERE id = w('a')", "rules-seq-wrong"},
		{"the tenant", "UPDATE wallets SET tenant = 'other' WHERE id = w('b')", "tenant-wrong"},
		{"the tenant of the sequence", "UPDATE wallet_sequences SET tenant = 'other' WHERE wallet_id = w('b')", "tenant-wrong"},
		{"the tenant of one of two", "UPDATE wallets SET tenant = 'other' WHERE id = w('b'); UPDATE wallet_sequences SET tenant = 'other' WHERE wallet_id = w('b')", "receive-wrong"},
		{"the currency of one of two", "UPDATE wallets SET currency = 'USD' WHERE id = w('b')", "receive-wrong"},

		{"an open hold lost", "DELETE FROM open_holds", "open-hold-missing"},
		{"an open hold too many", "INSERT INTO open_holds SELECT wallet_id, seq, id FROM operations WHERE id = o('whole')", "open-hold-wrong"},
		{"an open hold of no wallet", "INSERT INTO open_holds VALUES (w('x'), 1, w('y'))", "open-hold-wrong"},
		{"an open hold at another sequence", "UPDATE open_holds SET seq = 3", "open-hold-wrong"},
		{"an open hold that never expires", "UPDATE open_holds SET expires_at = NULL", "open-hold-wrong"},
		{"a hold that should have expired", operation("expires_at = now() - interval '2 minutes', created_at = now() - interval '3 minutes'", "open") + ";" +
			operation("created_at = now() - interval '3 minutes'", "half") + "; UPDATE open_holds SET expires_at = now() - interval '2 minutes'", "expiry-late"},
		{"an EXPIRE before its time", operation("created_at = (SELECT expires_at - interval '1 us' FROM operations WHERE id = o('short'))", "short/expire"), "expired-early"},
		{"an EXPIRE of a hold that never expires", operation("expires_at = NULL", "short"), "expired-early"},
		{"an EXPIRE by another id", operation("id = w('x')", "short/expire"), "id-wrong"},

		{"a RECEIVE lost", "DELETE FROM operations WHERE id = o('under way/receive'); UPDATE wallet_sequences SET last_seq = 3 WHERE wallet_id = w('b')", "receive-missing"},
		{"a leg lost", "DELETE FROM operations WHERE id = o('under way')", "cause-missing"},
		{"a RECEIVE of less", operation("amount = 9", "under way/receive"), "receive-wrong"},
		{"a RECEIVE of a capture of more", operation("amount = 81", "shop/receive"), "receive-wrong"},
		{"a RECEIVE in another wallet than sent to", operation("counterpart_id = w('c')", "under way"), "receive-wrong"},
		{"a RECEIVE from another wallet", operation("counterpart_id = w('c')", "under way/receive"), "receive-wrong"},
		{"a RECEIVE of a leg that failed", outcome("status = 'FAILED', failure_reason = 'X'", "under way"), "receive-early"},
		{"a RECEIVE of a leg that is pending", strings.Replace(outcome("", "under way"), "UPDATE outcomes SET ", "DELETE FROM outcomes", 1), "receive-early"},
		{"a RECEIVE of a withdrawal", operation("subject_id = o('payout')", "under way/receive"), "cause-missing"},
		{"a RECEIVE by another cause", operation("subject_id = o('pay')", "under way/receive"), "id-wrong"},
		{"a RECEIVE by another id", operation("id = w('x')", "under way/receive"), "receive-missing"},
		{"a RETURN lost", "ALTER TABLE operations DROP CONSTRAINT operations_counterpart, DROP CONSTRAINT operations_subject;" +
			operation("type = 'DEPOSIT', id = w('x')", "refused/receive/return"), "return-missing"},
		{"a RETURN of more", operation("amount = 51", "refused/receive/return"), "return-wrong"},
		{"a RETURN from another wallet", operation("counterpart_id = w('b')", "refused/receive/return"), "return-wrong"},
		{"a RETURN of a RECEIVE that was processed", outcome("status = 'PROCESSED', failure_reason = NULL", "refused/receive"), "return-early"},
		{"a RETURN of what did not fail", operation("subject_id = o('pay/receive')", "refused/receive/return"), "cause-missing"},
		{"a RETURN twice", doubled, "id-wrong"},
		{"money that was made", doubled, "money-lost"},
		{"money that was lost", "DELETE FROM operations WHERE id = o('under way/receive'); UPDATE wallet_sequences SET last_seq = 3 WHERE wallet_id = w('b')", "money-lost"},
		{"a balance that was raised", "UPDATE wallets SET balance = 421 WHERE id = w('a')", "money-lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			conn := database.Conn(t)
			store(t, conn, transfers)
			if test.tamper != "" {
				execute(t, conn, test.tamper)
			}
			expectFinding(t, test.finding, []string{"DATABASE_URL=" + database.URL})
			expectSameInAllPages(t, conn, "SELECT id FROM (SELECT id FROM wallets UNION SELECT wallet_id FROM open_holds) w ORDER BY id", pages{1, 3, 1_000}, pages{2, 29, 1_000})
		})
	}
}

// doubled gives the money of a refused transfer back once more.
const doubled = `
INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, counterpart_id) VALUES (w('a'), 27, w('x'), 'RETURN', 50, o('refused/receive'), w('c'));
INSERT INTO outcomes (wallet_id, seq, status, balance_after, held_after) VALUES (w('a'), 27, 'PROCESSED', 470, 200);
UPDATE wallets SET balance = 470, applied_seq = 27, rules_seq = 27 WHERE id = w('a');
UPDATE wallet_sequences SET last_seq = 27 WHERE wallet_id = w('a')`

// Only once all is quiet do the sums of pages belong together.
func TestVerifySaysWhereAllMoneyIs(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	store(t, conn, transfers)
	execute(t, conn, "INSERT INTO wallets (id, currency, tenant) VALUES (w('x'), 'USD', 'other'); INSERT INTO wallet_sequences (wallet_id, tenant) VALUES (w('x'), 'other')")
	shell{t, []string{"DATABASE_URL=" + database.URL}}.expect("verify", "", 0,
		"EUR of tenant default: deposits 1000 - withdrawals 60 - captures 500 - reversals of deposits 100 + reversals of withdrawals and captures 420 = balances 750 + in transit 10\n"+
			"USD of tenant other: deposits 0")
	var stdout bytes.Buffer
	run(t.Context(), []string{"verify", "--json"}, []string{"DATABASE_URL=" + database.URL}, nil, &stdout, &stdout)
	var got struct {
		OpenHolds int
		Money     []struct {
			Tenant, Currency    string
			Deposits, InTransit int64
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.OpenHolds != 1 || len(got.Money) != 2 || got.Money[0].Deposits != 1000 || got.Money[0].InTransit != 10 {
		t.Errorf("%+v, %v:\n%s", got, err, &stdout)
	}

	v := &verifier{conn: conn, pages: pages{1, 100, 1_000}, topic: "wallet-operations", overdue: time.Minute, total: &summary{}, flows: flows{}, report: func(f finding) { t.Error(f) }}
	if _, err := v.page(t.Context(), uuid.Nil, uuid.Max); err != nil {
		t.Fatal(err)
	}
	if err := v.conserve(t.Context()); err != nil || v.total.Money != nil {
		t.Errorf("the first page is taken for all wallets: %v, %v", v.total.Money, err)
	}
}

// expectSameInAllPages wants the same findings wherever the borders of the pages are, and wallet by wallet.
func expectSameInAllPages(t *testing.T, conn *pgx.Conn, wallets string, sizes ...pages) {
	t.Helper()
	withoutSums := func(found []string) (rest []string) {
		for _, f := range found {
			if !strings.HasPrefix(f, "money-lost") {
				rest = append(rest, f)
			}
		}
		return rest
	}
	want := audited(t, conn, pages{1_000, 10_000, 1_000}, (*verifier).all)
	rows, err := conn.Query(t.Context(), wallets)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range sizes {
		if diff := cmp.Diff(want, audited(t, conn, size, (*verifier).all)); diff != "" {
			t.Errorf("in pages of %+v: %s", size, diff)
		}
		byWallet := audited(t, conn, size, func(v *verifier, ctx context.Context) error {
			for _, id := range ids {
				if err := v.wallet(ctx, id); err != nil {
					return err
				}
			}
			return nil
		})
		if diff := cmp.Diff(withoutSums(want), byWallet); diff != "" {
			t.Errorf("wallet by wallet, in pages of %+v: %s", size, diff)
		}
	}
}
