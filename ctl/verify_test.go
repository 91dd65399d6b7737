package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// history makes three wallets: the first with 30 operations of which every third fails, the second
// with one pending operation, the third with none.
const history = `
CREATE FUNCTION w(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT md5('wallet' || n)::uuid $$;
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
		{"applied_seq", "UPDATE wallets SET applied_seq = 29 WHERE id = w(1)", "outcome-early"},
		{"applied_seq of a wallet without outcomes", "UPDATE wallets SET applied_seq = 1 WHERE id = w(3)", "applied-seq-wrong"},
		{"last_seq", "UPDATE wallet_sequences SET last_seq = 31 WHERE wallet_id = w(1)", "last-seq-wrong"},
		{"a deleted wallet", "DELETE FROM wallets WHERE id = w(1)", "wallet-missing"},
		{"a wallet that is behind", "UPDATE operations SET created_at = now() - interval '2 minutes' WHERE wallet_id = w(2)", "behind"},
		{"a message", "UPDATE outbox SET payload = convert_to(replace(convert_from(payload, 'UTF8'), '\"amount\" : 7', '\"amount\" : 8'), 'UTF8')", "message-wrong"},
		{"a message's key", "UPDATE outbox SET key = w(3)::text WHERE key = w(2)::text", "message-wrong"},
		{"an unreadable message", "UPDATE outbox SET payload = 'x' WHERE id = 1", "message-unreadable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			if _, err := database.Conn(t).Exec(t.Context(), history+test.tamper); err != nil {
				t.Fatal(err)
			}
			expectFinding(t, test.finding, []string{"DATABASE_URL=" + database.URL})
		})
	}
}

func TestVerifyFindsCacheEntriesThatAreNotTheWallets(t *testing.T) {
	t.Parallel()
	redisURL := os.Getenv("TEST_REDIS_URL")
	if redisURL == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or set it to a Redis server's URL")
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	cache := redis.NewClient(options)
	t.Cleanup(func() { _ = cache.Close() })
	for _, test := range []struct {
		name             string
		version, balance int64
		finding          string
	}{
		{"the wallet as it is", 30, 50, ""},
		{"an older version", 29, 50, "cache-stale"},
		{"another balance", 30, 51, "cache-wrong"},
		{"a version that was never reached", 31, 50, "cache-ahead"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database, id := testdb.New(t), uuid.New()
			conn := database.Conn(t)
			// Other tests use the same cache: this wallet has an id of its own.
			if _, err := conn.Exec(t.Context(), strings.ReplaceAll(history, "md5('wallet' || n)", "md5('"+id.String()+"' || n)")); err != nil {
				t.Fatal(err)
			}
			if err := conn.QueryRow(t.Context(), "SELECT w(1)").Scan(&id); err != nil {
				t.Fatal(err)
			}
			entry := walletdb.Wallet{ID: id, Currency: "EUR", AppliedSeq: test.version, Balance: test.balance}
			if err := walletcache.Fill(t.Context(), cache, entry); err != nil {
				t.Fatal(err)
			}
			expectFinding(t, test.finding, []string{"DATABASE_URL=" + database.URL, "REDIS_URL=" + redisURL})
		})
	}
}

func TestVerifyOfOneWalletReadsThatWalletAlone(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	var id string
	conn := database.Conn(t)
	if _, err := conn.Exec(t.Context(), history+"UPDATE wallets SET balance = 1 WHERE id = w(1)"); err != nil {
		t.Fatal(err)
	}
	for wallet, want := range map[int]int{1: 1, 2: 0} {
		if err := conn.QueryRow(t.Context(), "SELECT w($1)::text", wallet).Scan(&id); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"verify", "--wallet", id, "--json"}, []string{"DATABASE_URL=" + database.URL}, nil, &stdout, &stderr)
		if code != want || !strings.Contains(stdout.String(), `"wallets":1,`) {
			t.Errorf("wallet %d: exit code %d, want %d\n%s%s", wallet, code, want, &stdout, &stderr)
		}
	}
}

func expectFinding(t *testing.T, finding string, environ []string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"verify"}, environ, nil, &stdout, &stderr)
	switch {
	case finding == "" && code != 0:
		t.Errorf("exit code %d:\n%s%s", code, &stdout, &stderr)
	case finding != "" && (code != 1 || !strings.Contains(stdout.String(), finding)):
		t.Errorf("exit code %d, want 1 and %s:\n%s%s", code, finding, &stdout, &stderr)
	}
}
