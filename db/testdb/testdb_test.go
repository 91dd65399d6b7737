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
		{service: testdb.API, sql: "INSERT INTO wallets (id, currency) VALUES (gen_random_uuid(), 'EUR')", allowed: true},
		{service: testdb.API, sql: "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", allowed: true},
		{service: testdb.API, sql: "SELECT FROM wallet_sequences FOR UPDATE", allowed: true},
		{service: testdb.API, sql: "UPDATE wallet_sequences SET last_seq = 1, last_at = now()", allowed: true},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, created_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1, now())", allowed: true},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1)", allowed: true},
		{service: testdb.API, sql: "SELECT FROM operation_states", allowed: true},
		{service: testdb.API, sql: "SELECT FROM schema_migrations", allowed: true},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, expires_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'HOLD', 1, now())", allowed: true},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, final, metadata) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'CAPTURE', 0, gen_random_uuid(), true, '{}')", allowed: true},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, counterpart_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'TRANSFER', 1, gen_random_uuid())", allowed: true},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, counterpart_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'RECEIVE', 1, gen_random_uuid(), gen_random_uuid())", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, counterpart_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'RETURN', 1, gen_random_uuid(), gen_random_uuid())", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'EXPIRE', 0, gen_random_uuid())", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'CAPTURE', 0)", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 0)", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, created_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1, 'infinity')", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, expires_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'HOLD', 1, 'infinity')", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, expires_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'HOLD', 1, '-infinity')", allowed: false},
		{service: testdb.API, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, expires_at) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1, now())", allowed: false},
		{service: testdb.API, sql: "UPDATE wallets SET held = 0, state = 'ACTIVE'", allowed: false},
		{service: testdb.API, sql: "UPDATE wallets SET tenant = 'other'", allowed: false},
		{service: testdb.API, sql: "UPDATE wallet_sequences SET tenant = 'other'", allowed: false},
		{service: testdb.API, sql: "UPDATE wallet_metadata SET metadata = '{}'", allowed: false},
		{service: testdb.API, sql: "DELETE FROM open_holds", allowed: false},
		{service: testdb.API, sql: "UPDATE tenants SET disabled_at = NULL", allowed: false},
		{service: testdb.API, sql: "INSERT INTO tenants (name) VALUES ('other')", allowed: false},
		{service: testdb.API, sql: "INSERT INTO wallets (id, currency, balance) VALUES (gen_random_uuid(), 'EUR', 1)", allowed: false},
		{service: testdb.API, sql: "UPDATE wallets SET balance = 1", allowed: false},
		{service: testdb.API, sql: "UPDATE operations SET amount = 1", allowed: false},
		{service: testdb.API, sql: "DELETE FROM operations", allowed: false},
		{service: testdb.API, sql: "INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES (gen_random_uuid(), 1, 'PROCESSED', 1)", allowed: false},
		{service: testdb.API, sql: "INSERT INTO outbox (topic, key, payload, xid) VALUES ('t', 'k', '', '1')", allowed: false},
		{service: testdb.API, sql: "INSERT INTO outbox (id, topic, key, payload) OVERRIDING SYSTEM VALUE VALUES (1, 't', 'k', '')", allowed: false},
		{service: testdb.API, sql: "SELECT id, xid, topic, key, created_at FROM outbox", allowed: true},
		{service: testdb.API, sql: "SELECT payload FROM outbox", allowed: false},
		{service: testdb.API, sql: "SELECT headers FROM outbox", allowed: false},
		{service: testdb.API, sql: "UPDATE outbox SET topic = 't'", allowed: false},
		{service: testdb.API, sql: "DELETE FROM outbox", allowed: false},
		{service: testdb.API, sql: "UPDATE wallets SET applied_seq = 1", allowed: false},
		{service: testdb.API, sql: "DELETE FROM wallets", allowed: false},
		{service: testdb.API, sql: "UPDATE wallet_sequences SET wallet_id = gen_random_uuid()", allowed: false},
		{service: testdb.API, sql: "INSERT INTO api_keys (id, client, hash, scopes) VALUES (gen_random_uuid(), 'c', sha256(''), '{}')", allowed: false},
		{service: testdb.API, sql: "UPDATE api_keys SET revoked_at = NULL", allowed: false},
		{service: testdb.API, sql: "INSERT INTO outbox_topics VALUES ('t', 1)", allowed: false},
		{service: testdb.API, sql: "SELECT * FROM relay_positions, relay_controls, parked_rows", allowed: true},
		{service: testdb.API, sql: "UPDATE relay_positions SET prev = '1:1:'", allowed: false},
		{service: testdb.API, sql: "DELETE FROM relay_controls", allowed: false},
		{service: testdb.API, sql: "INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (1, 'a', 'r')", allowed: false},
		{service: testdb.API, sql: "CREATE TABLE t ()", allowed: false},

		{service: testdb.Relay, sql: "SELECT FROM outbox", allowed: true},
		{service: testdb.Relay, sql: "DELETE FROM outbox", allowed: true},
		{service: testdb.Relay, sql: "SELECT system_identifier FROM pg_control_system()", allowed: true},
		{service: testdb.Relay, sql: "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", allowed: false},
		{service: testdb.Relay, sql: "SELECT FROM operations", allowed: false},
		{service: testdb.Relay, sql: "SELECT FROM wallets", allowed: false},
		{service: testdb.Relay, sql: "SELECT FROM outcomes", allowed: false},
		{service: testdb.Relay, sql: "SELECT FROM api_keys", allowed: false},
		{service: testdb.Relay, sql: "UPDATE outbox SET payload = ''", allowed: false},
		{service: testdb.Relay, sql: "UPDATE outbox_topics SET partitions = 1", allowed: false},
		{service: testdb.Relay, sql: "UPDATE relay_controls SET paused_at = NULL", allowed: false},
		{service: testdb.Relay, sql: "CREATE TABLE t ()", allowed: false},
		{service: testdb.Relay, sql: "INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (1, 'a', 'r')", allowed: false},

		{service: testdb.Worker, sql: "SELECT FROM wallets FOR NO KEY UPDATE", allowed: true},
		{service: testdb.Worker, sql: "UPDATE wallets SET balance = 1, applied_seq = 1", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO outcomes (wallet_id, seq, status, balance_after, applied_at) VALUES (gen_random_uuid(), 1, 'PROCESSED', 1, now())", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES (gen_random_uuid(), 1, 'PROCESSED', 1)", allowed: true},
		{service: testdb.Worker, sql: "SELECT FROM outbox", allowed: true},
		{service: testdb.Worker, sql: "SELECT FROM wallet_sequences", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, counterpart_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'RECEIVE', 1, gen_random_uuid(), gen_random_uuid())", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id, counterpart_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'RETURN', 1, gen_random_uuid(), gen_random_uuid())", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'EXPIRE', 0, gen_random_uuid())", allowed: true},
		{service: testdb.Worker, sql: "UPDATE wallet_sequences SET last_seq = 1, last_at = now()", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", allowed: true},
		{service: testdb.Worker, sql: "UPDATE wallets SET held = 0, state = 'ACTIVE', rules_seq = 1", allowed: true},
		{service: testdb.Worker, sql: "DELETE FROM open_holds", allowed: true},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'HOLD', 1)", allowed: false},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, counterpart_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'TRANSFER', 1, gen_random_uuid())", allowed: false},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'RELEASE', 0, gen_random_uuid())", allowed: false},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'FREEZE', 0)", allowed: false},
		{service: testdb.Worker, sql: "UPDATE wallets SET held = balance + 1", allowed: false},
		{service: testdb.Worker, sql: "UPDATE wallets SET state = 'FROZEN', rules_seq = applied_seq - 1", allowed: false},
		{service: testdb.Worker, sql: "UPDATE wallets SET tenant = 'other'", allowed: false},
		{service: testdb.Worker, sql: "UPDATE wallet_sequences SET tenant = 'other'", allowed: false},
		{service: testdb.Worker, sql: "UPDATE open_holds SET expires_at = now()", allowed: false},
		{service: testdb.Worker, sql: "SELECT FROM wallet_metadata", allowed: false},
		{service: testdb.Worker, sql: "INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES (gen_random_uuid(), 1, gen_random_uuid(), 'DEPOSIT', 1)", allowed: false},
		{service: testdb.Worker, sql: "UPDATE outcomes SET status = 'FAILED'", allowed: false},
		{service: testdb.Worker, sql: "DELETE FROM outcomes", allowed: false},
		{service: testdb.Worker, sql: "INSERT INTO wallets (id, currency) VALUES (gen_random_uuid(), 'EUR')", allowed: false},
		{service: testdb.Worker, sql: "DELETE FROM outbox", allowed: false},
		{service: testdb.Worker, sql: "UPDATE wallets SET currency = 'USD'", allowed: false},
		{service: testdb.Worker, sql: "DELETE FROM operations", allowed: false},
		{service: testdb.Worker, sql: "UPDATE operations SET amount = 1", allowed: false},
		{service: testdb.Worker, sql: "SELECT FROM api_keys", allowed: false},
		{service: testdb.Worker, sql: "SELECT FROM relay_positions", allowed: false},
		{service: testdb.Worker, sql: "CREATE TABLE t ()", allowed: false},

		// What operators did is nobody's business, and nobody's to add to.
		{service: testdb.API, sql: "SELECT FROM operator_actions", allowed: false},
		{service: testdb.Relay, sql: "INSERT INTO operator_actions (actor, action, reason) VALUES ('a', 'a', 'r')", allowed: false},
		{service: testdb.Worker, sql: "INSERT INTO operator_actions (actor, action, reason) VALUES ('a', 'a', 'r')", allowed: false},
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
