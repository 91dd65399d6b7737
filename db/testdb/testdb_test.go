package testdb_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// Each service may do its own work and nothing else: every refused statement here would let a
// service touch what another one is trusted with.
func TestServicesHaveOnlyTheirGrants(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	for _, test := range []struct {
		service testdb.Service
		sql     string
		allowed bool
	}{
		{testdb.API, "INSERT INTO wallets (id, currency) VALUES (gen_random_uuid(), 'EUR')", true},
		{testdb.API, "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", true},
		{testdb.API, "SELECT FROM wallet_sequences FOR UPDATE", true},
		{testdb.API, "UPDATE wallet_sequences SET last_seq = 1, last_at = now()", true},
		{testdb.API, "INSERT INTO operations (wallet_id, seq, id, type, amount, created_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1, now())", true},
		{testdb.API, "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1)", true},
		{testdb.API, "SELECT FROM operation_states", true},
		{testdb.API, "SELECT FROM schema_migrations", true},
		{testdb.API, "INSERT INTO wallets (id, currency, balance) VALUES (gen_random_uuid(), 'EUR', 1)", false},
		{testdb.API, "UPDATE wallets SET balance = 1", false},
		{testdb.API, "UPDATE operations SET amount = 1", false},
		{testdb.API, "DELETE FROM operations", false},
		{testdb.API, "INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES (gen_random_uuid(), 1, 'PROCESSED', 1)", false},
		{testdb.API, "INSERT INTO outbox (topic, key, payload, xid) VALUES ('t', 'k', '', '1')", false},
		{testdb.API, "INSERT INTO outbox (id, topic, key, payload) OVERRIDING SYSTEM VALUE VALUES (1, 't', 'k', '')", false},
		{testdb.API, "SELECT FROM outbox", false},
		{testdb.API, "DELETE FROM outbox", false},
		{testdb.API, "UPDATE wallets SET applied_seq = 1", false},
		{testdb.API, "DELETE FROM wallets", false},
		{testdb.API, "UPDATE wallet_sequences SET wallet_id = gen_random_uuid()", false},
		{testdb.API, "INSERT INTO api_keys (id, client, hash, scopes) VALUES (gen_random_uuid(), 'c', sha256(''), '{}')", false},
		{testdb.API, "UPDATE api_keys SET revoked_at = NULL", false},
		{testdb.API, "INSERT INTO outbox_topics VALUES ('t', 1)", false},
		{testdb.API, "SELECT FROM relay_positions", false},
		{testdb.API, "CREATE TABLE t ()", false},

		{testdb.Relay, "SELECT FROM outbox", true},
		{testdb.Relay, "DELETE FROM outbox", true},
		{testdb.Relay, "SELECT system_identifier FROM pg_control_system()", true},
		{testdb.Relay, "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", false},
		{testdb.Relay, "SELECT FROM operations", false},
		{testdb.Relay, "SELECT FROM wallets", false},
		{testdb.Relay, "SELECT FROM outcomes", false},
		{testdb.Relay, "SELECT FROM api_keys", false},
		{testdb.Relay, "UPDATE outbox SET payload = ''", false},
		{testdb.Relay, "UPDATE outbox_topics SET partitions = 1", false},
		{testdb.Relay, "UPDATE relay_controls SET paused_at = NULL", false},
		{testdb.Relay, "CREATE TABLE t ()", false},
		{testdb.Relay, "INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (1, 'a', 'r')", false},

		{testdb.Worker, "SELECT FROM wallets FOR NO KEY UPDATE", true},
		{testdb.Worker, "UPDATE wallets SET balance = 1, applied_seq = 1", true},
		{testdb.Worker, "INSERT INTO outcomes (wallet_id, seq, status, balance_after, applied_at) VALUES (gen_random_uuid(), 1, 'PROCESSED', 1, now())", true},
		{testdb.Worker, "INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES (gen_random_uuid(), 1, 'PROCESSED', 1)", true},
		{testdb.Worker, "SELECT FROM outbox", true},
		{testdb.Worker, "SELECT FROM wallet_sequences", true},
		{testdb.Worker, "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1)", false},
		{testdb.Worker, "UPDATE wallet_sequences SET last_seq = 1", false},
		{testdb.Worker, "UPDATE wallet_sequences SET last_at = now()", false},
		{testdb.Worker, "UPDATE outcomes SET status = 'FAILED'", false},
		{testdb.Worker, "DELETE FROM outcomes", false},
		{testdb.Worker, "INSERT INTO wallets (id, currency) VALUES (gen_random_uuid(), 'EUR')", false},
		{testdb.Worker, "DELETE FROM outbox", false},
		{testdb.Worker, "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", false},
		{testdb.Worker, "UPDATE wallets SET currency = 'USD'", false},
		{testdb.Worker, "DELETE FROM operations", false},
		{testdb.Worker, "UPDATE operations SET amount = 1", false},
		{testdb.Worker, "SELECT FROM api_keys", false},
		{testdb.Worker, "SELECT FROM relay_positions", false},
		{testdb.Worker, "CREATE TABLE t ()", false},

		// What operators did is nobody's business, and nobody's to add to.
		{testdb.API, "SELECT FROM operator_actions", false},
		{testdb.Relay, "INSERT INTO operator_actions (actor, action, reason) VALUES ('a', 'a', 'r')", false},
		{testdb.Worker, "INSERT INTO operator_actions (actor, action, reason) VALUES ('a', 'a', 'r')", false},
	} {
		conn, err := pgx.Connect(t.Context(), database.As(test.service))
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Exec(t.Context(), test.sql)
		if allowed := err == nil; allowed != test.allowed {
			t.Errorf("%s: %s: allowed = %v, want %v (%v)", test.service, test.sql, allowed, test.allowed, err)
		}
		_ = conn.Close(t.Context())
	}
}

func TestPendingMigrationsAreNamed(t *testing.T) {
	t.Parallel()
	conn := testdb.New(t).Conn(t)
	pending, err := db.PendingMigrations(t.Context(), conn)
	if err != nil || len(pending) != 0 {
		t.Fatalf("after all migrations: %v, %v", pending, err)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM schema_migrations WHERE version = '20261124000003'"); err != nil {
		t.Fatal(err)
	}
	pending, err = db.PendingMigrations(t.Context(), conn)
	if err != nil || len(pending) != 1 || pending[0] != "20261124000003_outbox.sql" {
		t.Fatalf("without the outbox: %v, %v", pending, err)
	}
}
