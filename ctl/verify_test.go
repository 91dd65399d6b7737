package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache/cachetest"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// history makes three wallets: the first with 30 operations of which every third fails, the second
// with one pending operation, the third with none. w(0) and w(-1) are the first and the last id there are.
const history = `
CREATE FUNCTION w(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE n WHEN 0 THEN '00000000-0000-0000-0000-000000000000' WHEN -1 THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff' ELSE md5('wallet' || n) END::uuid $$;
INSERT INTO wallets (id, currency, balance, applied_seq) VALUES (w(1), 'EUR', 50, 30), (w(2), 'EUR', 0, 0), (w(3), 'EUR', 0, 0);
INSERT INTO wallet_sequences VALUES (w(1), 30), (w(2), 1), (w(3), 0);
INSERT INTO operations (wallet_id, seq, id, type, amount)
SELECT w(1), n, md5('operation' || n)::uuid, (CASE n % 3 WHEN 1 THEN 'DEPOSIT' ELSE 'WITHDRAW' END)::operation_type,
       CASE n % 3 WHEN 0 THEN 1000 WHEN 1 THEN 10 ELSE 5 END FROM generate_series(1, 30) n
UNION ALL SELECT w(2), 1, md5('pending')::uuid, 'DEPOSIT', 7;
INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after)
SELECT wallet_id, seq, (CASE seq % 3 WHEN 0 THEN 'FAILED' ELSE 'PROCESSED' END)::outcome_status,
       CASE seq % 3 WHEN 0 THEN 'INSUFFICIENT_FUNDS' END,
       5 * ((seq + 2) / 3) + CASE seq % 3 WHEN 1 THEN 5 ELSE 0 END
FROM operations WHERE wallet_id = w(1);
INSERT INTO outbox (topic, key, payload)
SELECT 'wallet-operations', wallet_id::text, convert_to(json_build_object('walletId', wallet_id, 'sequence', seq,
       'operationId', id, 'type', type, 'amount', amount, 'acceptedAt', created_at)::text, 'UTF8') FROM operations ORDER BY wallet_id, seq;
`

func TestVerifyFindsEachTampering(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, tamper, finding string }{
		{"nothing", "", ""},
		{"nothing, with wallets at both ends of all ids", "INSERT INTO wallets (id, currency) VALUES (w(0), 'EUR'), (w(-1), 'EUR'); INSERT INTO wallet_sequences SELECT id FROM wallets WHERE id IN (w(0), w(-1))", ""},
		{"the balance of the first of all ids", "INSERT INTO wallets (id, currency, balance) VALUES (w(0), 'EUR', 1); INSERT INTO wallet_sequences VALUES (w(0))", "balance-wrong"},
		{"the balance of the last of all ids", "INSERT INTO wallets (id, currency, balance) VALUES (w(-1), 'EUR', 1); INSERT INTO wallet_sequences VALUES (w(-1))", "balance-wrong"},
		{"an amount", "UPDATE operations SET amount = 11 WHERE wallet_id = w(1) AND seq = 4", "outcome-wrong"},
		{"an amount of a failed operation", "UPDATE operations SET amount = 1 WHERE wallet_id = w(1) AND seq = 3", "outcome-wrong"},
		{"a balance", "UPDATE wallets SET balance = 49 WHERE id = w(1)", "balance-wrong"},
		{"a balance after", "UPDATE outcomes SET balance_after = 11 WHERE wallet_id = w(1) AND seq = 4", "outcome-wrong"},
		{"a status", "UPDATE outcomes SET status = 'FAILED', failure_reason = 'X' WHERE wallet_id = w(1) AND seq = 4", "outcome-wrong"},
		{"a deleted operation", "DELETE FROM operations WHERE wallet_id = w(1) AND seq = 4", "operation-missing"},
		{"a deleted outcome", "DELETE FROM outcomes WHERE wallet_id = w(1) AND seq = 4", "outcome-missing"},
		{"a gap", "DELETE FROM operations WHERE wallet_id = w(1) AND seq = 4; DELETE FROM outcomes WHERE wallet_id = w(1) AND seq = 4", "sequence-gap"},
		{"the last operation", "DELETE FROM operations WHERE wallet_id = w(1) AND seq = 30; DELETE FROM outcomes WHERE wallet_id = w(1) AND seq = 30", "last-seq-wrong"},
		{"a doubled sequence", "ALTER TABLE operations DROP CONSTRAINT operations_pkey; INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (w(1), 4, w(4), 'DEPOSIT', 10)", "sequence-doubled"},
		{"a doubled outcome", "ALTER TABLE outcomes DROP CONSTRAINT outcomes_pkey; INSERT INTO outcomes SELECT * FROM outcomes WHERE seq = 7", "sequence-doubled"},
		{"applied_seq", "UPDATE wallets SET applied_seq = 29 WHERE id = w(1)", "outcome-early"},
		{"applied_seq of a wallet without outcomes", "UPDATE wallets SET applied_seq = 1 WHERE id = w(3)", "applied-seq-wrong"},
		{"last_seq", "UPDATE wallet_sequences SET last_seq = 31 WHERE wallet_id = w(1)", "last-seq-wrong"},
		{"a deleted wallet", "DELETE FROM wallets WHERE id = w(1)", "wallet-missing"},
		{"a deleted wallet without operations", "DELETE FROM wallets WHERE id = w(3)", "wallet-missing"},
		{"a wallet deleted with all that it had", "DELETE FROM wallets WHERE id = w(1); DELETE FROM operations WHERE wallet_id = w(1); DELETE FROM outcomes WHERE wallet_id = w(1); DELETE FROM outbox WHERE key = w(1)::text", "wallet-missing"},
		{"an amount that a failed operation came to", "UPDATE outcomes SET applied_amount = 0 WHERE wallet_id = w(1) AND seq = 3", "outcome-wrong"},
		{"a wallet that is behind", "UPDATE operations SET created_at = now() - interval '2 hours' WHERE wallet_id = w(2)", "behind"},
		{"a message", "UPDATE outbox SET payload = convert_to(replace(convert_from(payload, 'UTF8'), '\"amount\" : 7', '\"amount\" : 8'), 'UTF8')", "message-wrong"},
		{"a message's key", "UPDATE outbox SET key = w(3)::text WHERE key = w(2)::text", "message-wrong"},
		{"an unreadable message", "UPDATE outbox SET payload = 'x' WHERE id = 1", "message-unreadable"},
		{"an empty message", "UPDATE outbox SET payload = '{}' WHERE id = 1", "message-unreadable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			conn := database.Conn(t)
			if _, err := conn.Exec(t.Context(), history+test.tamper); err != nil {
				t.Fatal(err)
			}
			expectFinding(t, test.finding, []string{"DATABASE_URL=" + database.URL})

			expectSameInAllPages(t, conn, "SELECT w(n) FROM generate_series(-1, 3) n", pages{1, 3, 1_000}, pages{2, 4, 1_000}, pages{3, 5, 1_000}, pages{4, 7, 1_000}, pages{5, 31, 1_000}, pages{6, 32, 1_000})
		})
	}
}

// audited returns the findings, in an order that does not depend on how they were found.
func audited(t *testing.T, conn *pgx.Conn, size pages, audit func(*verifier, context.Context) error) (found []string) {
	t.Helper()
	v := &verifier{conn: conn, pages: size, topic: "wallet-operations", eventsTopic: "wallet-events", overdue: time.Hour, total: &summary{}}
	v.report = func(f finding) { found = append(found, strings.Split(f.String(), " for ")[0]) } // without the age
	if err := audit(v, t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func TestVerifyFindsCacheEntriesThatAreNotTheWallets(t *testing.T) {
	t.Parallel()
	for i, test := range []struct {
		name             string
		version, balance int64
		held             int64
		state            walletdb.WalletState
		tenant           string
		finding          string
	}{
		{"the wallet as it is", 30, 50, 0, "ACTIVE", "default", ""},
		{"an older version", 29, 50, 0, "ACTIVE", "default", "cache-stale"},
		{"another balance", 30, 51, 0, "ACTIVE", "default", "cache-wrong"},
		{"what is not held", 30, 50, 1, "ACTIVE", "default", "cache-wrong"},
		{"another state", 30, 50, 0, "FROZEN", "default", "cache-wrong"},
		{"another tenant", 30, 50, 0, "ACTIVE", "other", "cache-wrong"},
		{"a version that was never reached", 31, 50, 0, "ACTIVE", "default", "cache-ahead"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database, id := testdb.New(t), uuid.New()
			conn := database.Conn(t)
			cache, cacheURL := ownCache(t, 1+i)
			// A wallet of its own: what an earlier run has cached may be there still.
			if _, err := conn.Exec(t.Context(), strings.ReplaceAll(history, "md5('wallet' || n)", "md5('"+id.String()+"' || n)")); err != nil {
				t.Fatal(err)
			}
			if err := conn.QueryRow(t.Context(), "SELECT w(1)").Scan(&id); err != nil {
				t.Fatal(err)
			}
			entry := walletdb.Wallet{ID: id, Currency: "EUR", AppliedSeq: test.version, Balance: test.balance, Held: test.held, State: test.state, Tenant: test.tenant}
			cachetest.Put(t, cache, entry)
			environ := []string{"DATABASE_URL=" + database.URL, "REDIS_URL=" + cacheURL}
			expectFinding(t, test.finding, environ)
			expectFinding(t, test.finding, environ, "--wallet", id.String())
		})
	}
}

func TestVerifyOfOneWalletReadsThatWalletAlone(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	_, err := conn.Exec(t.Context(), history+`UPDATE wallets SET balance = 1 WHERE id = w(1);
		INSERT INTO wallets (id, currency) VALUES (w(0), 'EUR'), (w(-1), 'EUR'); INSERT INTO wallet_sequences SELECT id FROM wallets WHERE id IN (w(0), w(-1))`)
	if err != nil {
		t.Fatal(err)
	}
	for wallet, want := range map[int]summary{
		1:  {Wallets: 1, Operations: 30, OutboxRows: 30, Findings: 1},
		2:  {Wallets: 1, Operations: 1, OutboxRows: 1},
		0:  {Wallets: 1},
		-1: {Wallets: 1},
	} {
		var id string
		if err := conn.QueryRow(t.Context(), "SELECT w($1)::text", wallet).Scan(&id); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"verify", "--wallet", id, "--json"}, []string{"DATABASE_URL=" + database.URL}, nil, &stdout, &stderr)
		if code != want.Findings {
			t.Errorf("wallet %d: exit code %d\n%s%s", wallet, code, &stdout, &stderr)
		}
		lines := json.NewDecoder(&stdout)
		for range want.Findings {
			var f finding
			if err := lines.Decode(&f); err != nil || f.Problem != "balance-wrong" || f.WalletID == nil || f.WalletID.String() != id {
				t.Errorf("wallet %d: %+v, %v", wallet, f, err)
			}
		}
		var got summary
		if err := lines.Decode(&got); err != nil || lines.More() {
			t.Errorf("wallet %d: the last line is no summary: %v", wallet, err)
		}
		got.Seconds = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("wallet %d: %s", wallet, diff)
		}
	}
}

// Times that go back are no finding: a clock may be set back, and old releases did not prevent it.
func TestVerifyCountsTimesThatGoBack(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	_, err := database.Conn(t).Exec(t.Context(), history+`UPDATE operations SET created_at = created_at - interval '1 second' WHERE seq IN (4, 9);
		UPDATE outcomes SET applied_at = applied_at + interval '1 second' WHERE seq = 20`)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"verify"}, []string{"DATABASE_URL=" + database.URL}, nil, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "; 3 operations have an earlier time") {
		t.Errorf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
}

func expectFinding(t *testing.T, finding string, environ []string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"verify"}, args...), environ, nil, &stdout, &stderr)
	switch {
	case finding == "" && code != 0:
		t.Errorf("exit code %d:\n%s%s", code, &stdout, &stderr)
	case finding != "" && (code != 1 || !strings.Contains(stdout.String(), finding)):
		t.Errorf("exit code %d, want 1 and %s:\n%s%s", code, finding, &stdout, &stderr)
	}
}
