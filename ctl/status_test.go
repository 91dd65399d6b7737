package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/status"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache/cachetest"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// answer runs a command that must succeed, or find something wrong, and decodes what it prints.
func answer[T any](s shell, command string) T {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(s.t.Context(), strings.Split(command, " "), s.environ, strings.NewReader(""), &stdout, &stderr); code > 1 || stderr.Len() > 0 {
		s.t.Fatalf("ctl %s: exit code %d\n%s%s", command, code, &stdout, &stderr)
	}
	var v T
	if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
		s.t.Fatalf("ctl %s: %v\n%s", command, err, &stdout)
	}
	return v
}

// withHistory is a database with the three wallets of history.
func withHistory(t *testing.T) (shell, *pgx.Conn) {
	t.Helper()
	database := testdb.New(t)
	conn := database.Conn(t)
	execute(t, conn, history)
	return newShell(t, database), conn
}

func wallet(t *testing.T, conn *pgx.Conn, n int) (id uuid.UUID) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT w($1)", n).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	// Status of a system that nobody has started.
	r := answer[statusReport](s, "status --json --interval 100ms")
	if *r.Wallets != 3 || *r.Accepted != 31 || *r.Pending != 1 || r.Outbox.LastID != 31 || r.Healthy || len(r.Unknown) > 0 {
		t.Errorf("counted %+v", r)
	}
	for _, problem := range []string{"no relay has ever published", "no api is connected", "no worker is connected", "kafka has no topic"} {
		s.expect("status --interval 100ms", "", 1, problem)
	}
	// An upgraded system has no topic of events yet, and one that wants none is well without it.
	missing := func(s shell) bool {
		return slices.ContainsFunc(answer[statusReport](s, "status --json --interval 100ms").Problems, func(problem string) bool {
			return strings.Contains(problem, "topic wallet-events is not registered")
		})
	}
	execute(t, conn, "DELETE FROM outbox_topics WHERE topic = 'wallet-events'")
	if !missing(s) || missing(shell{t, append(slices.Clone(s.environ), "EVENTS_TOPIC=")}) {
		t.Error("status does not say that events have no topic, or says so where there are to be none")
	}
	execute(t, conn, "INSERT INTO outbox_topics VALUES ('wallet-events', 8)")
	if missing(s) {
		t.Error("status says that events have no topic, and they have")
	}
	// A relay that has published all but the last row, and leads.
	execute(t, conn, `INSERT INTO relay_positions (relay, prev, system_identifier, database_oid)
		SELECT 'wallet-relay', pg_current_snapshot(), c.system_identifier, d.oid FROM pg_control_system() c, pg_database d WHERE datname = current_database()`)
	s.expect("status --interval 100ms", "", 1, "wallet-relay has no leader")
	execute(t, conn, "SET application_name = 'here/1'")
	execute(t, conn, "SELECT pg_advisory_lock(7304518, hashtext('wallet-relay'))")
	execute(t, conn, "INSERT INTO outbox (topic, key, payload, created_at) VALUES ('wallet-operations', 'k', '', now() - interval '1 hour')")
	r = answer[statusReport](s, "status --json --interval 100ms")
	if len(r.Relays) != 1 || !strings.HasSuffix(r.Relays[0].Leader, "here/1") || r.Relays[0].Waiting != 1 || r.Relays[0].OldestWaiting < 3600 {
		t.Errorf("relays: %+v", r.Relays)
	}
	s.expect("status --interval 100ms", "", 1, "wallet-relay does not keep up: a row has waited for 1h0m")
	// Its events are a position of their own, and its own are not among them.
	execute(t, conn, `INSERT INTO relay_positions (relay, prev, system_identifier, database_oid)
		SELECT relay || '/events', prev, system_identifier, database_oid FROM relay_positions`)
	execute(t, conn, "INSERT INTO outbox (topic, key, payload, created_at) SELECT 'wallet-events', 'k', '', now() - interval '2 hours' FROM generate_series(1, 3)")
	r = answer[statusReport](s, "status --json --interval 100ms")
	if len(r.Relays) != 2 || r.Relays[0].Waiting != 1 || r.Relays[1].Relay != "wallet-relay/events" || r.Relays[1].Waiting != 3 || !strings.HasSuffix(r.Relays[1].Leader, "here/1") {
		t.Errorf("relays: %+v", r.Relays)
	}
	s.expect("status --interval 100ms", "", 1, "the position wallet-relay/events does not move, and an event has waited for 2h0m")
	s.expect("relay pause --reason upgrade --yes", "", 0, "told")
	s.expect("status --interval 100ms", "", 1, "PAUSED: upgrade")
	// A wallet that stands still, and one that is halted.
	execute(t, conn, "UPDATE operations SET created_at = now() - interval '2 minutes' WHERE wallet_id = w(2)")
	s.expect("status --interval 100ms", "", 1, "1 wallet is not applied for more than 30s")
	execute(t, conn, "DELETE FROM operations WHERE wallet_id = w(2)")
	s.expect("status --interval 100ms", "", 1, "HALTED: operation 1 is missing")
	if r = answer[statusReport](s, "status --json --interval 100ms"); len(r.Standing) != 1 || !r.Standing[0].Halted || r.Standing[0].WalletID != wallet(t, conn, 2).String() {
		t.Errorf("standing: %+v", r.Standing)
	}
	s.expect("status --interval 1ms", "", 2, "at least 100ms")
	s.expect("status now", "", 2, "want 0 arguments")
}

func TestRatesAreThoseOfTheLastSecond(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	execute(t, conn, "UPDATE outbox SET created_at = now() + CASE WHEN id > 20 THEN interval '1 hour' ELSE interval '-1 second' END")
	execute(t, conn, "UPDATE outcomes SET applied_at = now() + CASE WHEN seq > 25 THEN interval '1 hour' ELSE interval '-1 second' END")
	if r := answer[statusReport](s, "status --json"); *r.AcceptedPerSecond != 11 || *r.AppliedPerSecond != 5 {
		t.Errorf("accepted %d/s, applied %d/s", *r.AcceptedPerSecond, *r.AppliedPerSecond)
	}
}

// With any number of wallets, status reads a bounded number of rows. What it does not read it estimates,
// or looks for where it would show.
func TestStatusCostsTheSameWithAnyNumberOfWallets(t *testing.T) {
	t.Parallel()
	for _, analyzed := range []bool{true, false} {
		database := testdb.New(t)
		s, conn := newShell(t, database), database.Conn(t)
		for _, table := range []string{"wallets", "wallet_sequences", "operations", "outcomes", "outbox"} {
			execute(t, conn, "ALTER TABLE "+table+" SET (autovacuum_enabled = off)")
		}
		execute(t, conn, "INSERT INTO wallets (id, currency, applied_seq) SELECT md5(n::text)::uuid, 'EUR', 1 FROM generate_series(1, 40000) n")
		execute(t, conn, "INSERT INTO wallet_sequences SELECT id, 1 FROM wallets")
		execute(t, conn, "INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT id, 1, gen_random_uuid(), 'DEPOSIT', 1 FROM wallets")
		execute(t, conn, "INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT id, 1, 'PROCESSED', 1 FROM wallets")
		// 40 messages a second, for 1,000 seconds, and some that are no wallet's.
		execute(t, conn, `INSERT INTO outbox (topic, key, payload, created_at)
			SELECT 'wallet-operations', md5(n::text)::uuid, '', now() - (40000 - n) * interval '25 ms' FROM generate_series(1, 40000) n`)
		execute(t, conn, "INSERT INTO outbox (topic, key, payload) VALUES ('wallet-operations', 'another', ''), ('another', md5('100'), '')")
		// Wallets that are behind: for 31 seconds and for 5 minutes and 1 second, which is seen; and for 2 minutes.
		execute(t, conn, "UPDATE wallets SET applied_seq = 0 WHERE id IN (SELECT md5(n::text)::uuid FROM unnest(ARRAY[38760, 27960, 35200]) n)")
		execute(t, conn, "UPDATE operations SET created_at = now() - interval '31 s' WHERE wallet_id = md5('38760')::uuid")
		execute(t, conn, "UPDATE operations SET created_at = now() - interval '301 s' WHERE wallet_id = md5('27960')::uuid")
		about := int64(status.Counted)
		if analyzed {
			execute(t, conn, "ANALYZE")
			about = 40_000
		}
		r := answer[statusReport](s, "status --json")
		if *r.Wallets != about || *r.Accepted != about || !r.WalletsEstimated || !r.AcceptedEstimated {
			t.Errorf("analyzed %v: about %d wallets, %d operations", analyzed, *r.Wallets, *r.Accepted)
		}
		if len(r.Standing) != 2 || *r.Pending != 2 || *r.OldestPending < 301 {
			t.Errorf("analyzed %v: %d operations pending, the oldest for %v s: %+v", analyzed, *r.Pending, *r.OldestPending, r.Standing)
		}
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			conn := database.Conn(t)
			execute(t, conn, "BEGIN; SET LOCAL plan_cache_mode = "+mode)
			r := statusReport{topic: "wallet-operations"}
			if r.lookAt(t.Context(), conn, nil); len(r.Unknown) > 0 {
				t.Fatalf("not known: %v", r.Unknown)
			}
			rows, err := conn.Query(t.Context(), "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables")
			if err != nil {
				t.Fatal(err)
			}
			var table string
			var read int64
			if _, err := pgx.ForEachRow(rows, []any{&table, &read}, func() error {
				if read > 25_000 {
					t.Errorf("analyzed %v, %s: status reads %d rows of %s", analyzed, mode, read, table)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStatusCountsProcessesAndReachesTheCache(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	s := newShell(t, database)
	for _, name := range []string{"a/1", "a/1", "a/2"} {
		conn, err := pgx.Connect(t.Context(), database.As(testdb.Worker)+"&application_name="+name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(t.Context()) })
		execute(t, conn, "SELECT 1")
	}
	s.environ = append(s.environ, "REDIS_URL="+redisURL(t))
	r := answer[statusReport](s, "status --json --interval 100ms")
	if *r.Wallets != 0 || *r.AcceptedPerSecond != 0 || *r.AppliedPerSecond != 0 || *r.Pending != 0 {
		t.Errorf("of nothing: %+v", r)
	}
	if r.Processes["worker"] != 2 || r.Processes["api"] != 0 || r.Cache == nil || *r.Cache != "ok" {
		t.Errorf("%+v", r)
	}
	s.environ = append(s.environ, "REDIS_URL=redis://127.0.0.1:1")
	s.expect("status --interval 100ms", "", 1, "balances are read from postgres: dial tcp 127.0.0.1:1")
}

func TestStatusNamesWhoHoldsLocks(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	queries, console := walletdb.New(database.Conn(t)), database.Conn(t)
	execute(t, console, history)
	execute(t, console, "SET application_name = 'console'")
	problems := func(openFor time.Duration) string {
		t.Helper()
		var r statusReport
		if err := r.addLockHolders(t.Context(), queries, openFor, ""); err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.Problems, "\n")
	}
	execute(t, console, "BEGIN")
	execute(t, console, "SELECT count(*) FROM wallets") // as a dump does
	if got := problems(0); got != "" {
		t.Errorf("a reader is reported: %s", got)
	}
	execute(t, console, "SELECT FROM wallet_sequences WHERE wallet_id = w(2) FOR UPDATE")
	got := problems(0)
	for _, want := range []string{`"console", idle in transaction) holds ROW SHARE on wallet_sequences for `, "nobody waits for it", fmt.Sprintf("pg_terminate_backend(%d)", console.PgConn().PID())} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	if got := problems(time.Hour); got != "" {
		t.Errorf("reported before its time: %s", got)
	}
	execute(t, console, "ROLLBACK")
	if got := problems(0); got != "" {
		t.Errorf("reported after its end: %s", got)
	}
}

func TestStatusNamesPendingMigrations(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	execute(t, conn, "DELETE FROM schema_migrations WHERE version = '20261124141500'")
	s.expect("status", "", 1, "migrations are pending: 20261124141500_operator_actions.sql")
}

func TestColoursAreForATerminal(t *testing.T) {
	t.Parallel()
	r := statusReport{Problems: []string{"x"}, Relays: []relayReport{{Relay: "r", Paused: true}}, Standing: []walletReport{{}}}
	for _, colours := range []bool{false, true} {
		var out bytes.Buffer
		if err := r.print(&out, screen{80, colours}, false); err != nil || strings.Contains(out.String(), "\x1b[") != colours {
			t.Errorf("colours %v: %v\n%q", colours, err, out.String())
		}
	}
}

func TestCountsAndTimesAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s", n, got)
		}
	}
	for s, want := range map[float64]string{0: "0s", 0.25: "300ms", 75.4: "1m15s", 90061: "25h1m"} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %s", s, got)
		}
	}
}

func TestAWalletIsShownWithItsOperations(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	id := wallet(t, conn, 1)
	w := answer[walletState](s, "wallet --json "+id.String())
	if w.Balance != 50 || w.Applied != 30 || w.Last != 30 || len(w.Operations) != 10 || w.Operations[9].Status != "FAILED" || w.Operations[0].Sequence != 21 {
		t.Errorf("%+v", w)
	}
	s.expect("wallet "+id.String(), "", 0, "30 of 30 operations")
	s.expect("wallet "+wallet(t, conn, 2).String(), "", 0, "PENDING")
	s.expect("wallet "+uuid.NewString(), "", 1, "there is no wallet")
	const another, absent = "00000000-0000-8fff-8000-000000000001", "00000000-0000-8007-8000-000000000001"
	execute(t, conn, "UPDATE wallets SET id = '"+another+"' WHERE id = w(3)")
	execute(t, conn, "INSERT INTO wallet_sequences VALUES ('"+another+"', 0)")
	s.expect("wallet "+id.String(), "", 0, "cell 0")
	s.expect("wallet "+another, "", 0, "cell 4095")
	s.expect("wallet "+absent, "", 1, "cell 7")
	s.expect("wallet one", "", 2, "ID must be a wallet's id")
	s.expect("wallet", "", 2, "want 1 arguments")
}

func TestTheCacheIsShownAndRenewed(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	execute(t, conn, "UPDATE wallets SET id = gen_random_uuid() WHERE id = w(3)") // other tests use the same cache
	var id uuid.UUID
	if err := conn.QueryRow(t.Context(), "SELECT id FROM wallets WHERE id NOT IN (w(1), w(2))").Scan(&id); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "INSERT INTO wallet_sequences VALUES ('"+id.String()+"', 0)")
	s.expect("cache renew --reason r", "", 2, "REDIS_URL is required")
	cache, cacheURL := ownCache(t, 8)
	s.environ = append(s.environ, "REDIS_URL="+cacheURL)
	s.expect("wallet "+id.String(), "", 0, "has no entry")
	cachetest.Put(t, cache, walletdb.Wallet{ID: id, Currency: "EUR", AppliedSeq: 7, Balance: 1234, Held: 34, State: "ACTIVE"})
	s.expect("wallet "+id.String(), "", 0, "balance 1,234, 34 held at version 7")
	s.expect("cache renew", "", 2, "--reason is required")
	s.expect("cache renew --reason restored", "no\n", 1, "not done")
	s.expect("wallet "+id.String(), "", 0, "balance 1,234, 34 held at version 7")
	s.expect("cache renew --reason restored", "yes\n", 0, "Every cached balance becomes unreadable")
	s.expect("wallet "+id.String(), "", 0, "has no entry")
}

// An operation goes its way, and ctl follows it.
func TestAnOperationIsFound(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	topic := "ctl-test-" + uuid.NewString()
	s.environ = append(s.environ, "TOPIC="+topic)
	s.expect("topic create "+topic+" --partitions 3", "", 0, "registered")
	execute(t, conn, "DELETE FROM outbox")
	op, w := uuid.New(), wallet(t, conn, 3)
	payload := fmt.Sprintf(`{"walletId":"%s","sequence":1,"operationId":"%s","type":"DEPOSIT","amount":5}`, w, op)
	execute(t, conn, fmt.Sprintf(`BEGIN; INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES ('%[1]s', 1, '%[2]s', 'DEPOSIT', 5);
		INSERT INTO outbox (topic, key, payload) VALUES ('%[3]s', 'another', '{}'), ('%[3]s', '%[1]s', '%[4]s'); COMMIT`, w, op, topic, payload))
	look := func() operationReport { t.Helper(); return answer[operationReport](s, "operation --json "+op.String()) }

	if r := look(); r.Published != "no" || r.Publication != "no relay has ever published" || r.Status != "PENDING" || r.OutboxID == 0 {
		t.Errorf("accepted: %+v", r)
	}
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1)")
	s.expect("operation "+op.String(), "", 0, "wallet-relay has not saved a position past it yet")
	execute(t, conn, "UPDATE relay_positions SET cur = pg_current_snapshot(), after_id = 33, last_id = 100")
	if r := look(); r.Published != "yes" {
		t.Errorf("in the middle of a window, past it: %+v", r)
	}
	execute(t, conn, "UPDATE relay_positions SET after_id = 32")
	if r := look(); r.Published != "no" {
		t.Errorf("in the middle of a window, before it: %+v", r)
	}
	s.expect("relay park 33 --reason too-large --yes", "", 0, "parked")
	if r := look(); r.Published != "parked" {
		t.Errorf("parked: %+v", r)
	}
	s.expect("relay unpark 33 --reason mended --yes", "", 0, "published in its place")
	execute(t, conn, "UPDATE relay_positions SET prev = pg_current_snapshot(), cur = NULL")
	s.expect("operation --kafka "+op.String(), "", 0, "not found")
	produce(t, s, topic, w.String(), payload)
	if r := answer[operationReport](s, "operation --kafka --json "+op.String()); r.Published != "yes" || r.Log == nil || !r.Log.Found || time.Since(r.Log.Time) > time.Minute {
		t.Errorf("in kafka: %+v %+v", r, r.Log)
	}
	execute(t, conn, fmt.Sprintf("INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ('%s', 1, 'PROCESSED', 5)", w))
	s.expect("operation "+op.String(), "", 0, "PROCESSED, balance 5")
	execute(t, conn, "DELETE FROM outbox")
	s.expect("operation "+op.String(), "", 0, "its outbox row is gone")

	s.expect("operation "+uuid.NewString(), "", 1, "was never accepted")
	s.expect("operation 7", "", 2, "ID must be an operation's id")
	s.expect("operation", "", 2, "want 1 arguments")
}

func TestLostOperationsAreListedOnce(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	topic := "ctl-test-" + uuid.NewString()
	s.environ = append(s.environ, "TOPIC="+topic)
	s.expect("topic create "+topic+" --partitions 3", "", 0, "registered")
	since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	s.expect("relay lost --since "+since, "", 0, "0 messages read, 0 operations lost")
	tell := func(operation, wallet string, seq int) {
		produce(t, s, topic, wallet, fmt.Sprintf(`{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":7}`, wallet, seq, operation))
	}
	w := wallet(t, conn, 2).String()
	var kept string
	if err := conn.QueryRow(t.Context(), "SELECT id::text FROM operations WHERE wallet_id = w(2)").Scan(&kept); err != nil {
		t.Fatal(err)
	}
	lost, replaced := uuid.NewString(), uuid.NewString()
	tell(kept, w, 1)
	tell(replaced, w, 1)
	tell(lost, w, 2)
	tell(lost, w, 2)
	produce(t, s, topic, w, "poison")
	s.expect("relay lost --since "+since, "", 0, replaced+"  wallet "+w+" seq 1: DEPOSIT of 7")
	s.expect("relay lost --since "+since, "", 0, "its sequence was given to "+kept)
	s.expect("relay lost --since "+since, "", 0, "5 messages read, 2 operations lost")
	s.expect("relay lost --since "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "", 0, "0 messages read")
	s.expect("relay lost", "", 2, "--since is required")
	s.expect("relay lost --since yesterday", "", 2, "--since is required")
}

func TestMessagesArePublishedAgain(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	id := wallet(t, conn, 1).String()
	execute(t, conn, "UPDATE outbox SET created_at = now() - interval '2 hours' WHERE id <= 20")
	execute(t, conn, "UPDATE outbox SET created_at = now() - interval '1 hour' WHERE id > 20")
	rows := func() (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM outbox").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	since := time.Now().Add(-90 * time.Minute).UTC().Format(time.RFC3339)
	s.expect("relay replay --reason r", "", 2, "--since or --wallet is required")
	s.expect("relay replay --since noon --reason r", "", 2, "--since: want a time")
	s.expect("relay replay --wallet w --reason r", "", 2, "--wallet: invalid UUID")
	s.expect("relay replay --since "+since, "", 2, "--reason is required")
	s.expect("relay replay --since "+since+" --reason r", "no\n", 1, "out of at most 11 rows. Older rows are deleted (OUTBOX_RETENTION)")
	if rows() != 31 {
		t.Error("published again without a yes")
	}
	s.expect("relay replay --since "+since+" --reason r --yes", "", 0, "11 messages are in the outbox again")
	s.expect("relay replay --wallet "+id+" --reason r --yes", "", 0, "messages are in the outbox again")
	s.expect("relay replay --since "+since+" --topic wallet-events --reason r --yes", "", 0, "0 messages are in the outbox again")
	s.expect("relay replay --since "+since+" --up-to 24 --reason r --yes", "", 0, "4 messages are in the outbox again")
	execute(t, conn, "INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (22, 'a', 'r')")
	s.expect("relay replay --since "+since+" --up-to 24 --reason r --yes", "", 0, "3 messages are in the outbox again")
	var inOrder bool
	if err := conn.QueryRow(t.Context(), `SELECT array_agg(seq ORDER BY id) = array_agg(seq ORDER BY seq)
		FROM (SELECT id, (convert_from(payload, 'UTF8')::json->>'sequence')::int AS seq FROM outbox WHERE key = w(1)::text AND id > 42 ORDER BY id LIMIT 30) o`).Scan(&inOrder); err != nil || !inOrder {
		t.Errorf("in order = %v, %v", inOrder, err)
	}
	execute(t, conn, "DELETE FROM outbox")
	s.expect("relay replay --since "+since+" --reason r", "", 1, "the outbox is empty")
}

func TestActionsAreKeptForEver(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	s := newShell(t, database)
	s.environ = append(s.environ, "ACTOR=ada")
	s.expect("relay pause --reason upgrade", "no\n", 1, "not done")
	s.expect("relay pause --reason upgrade --yes", "", 0, "told")
	s.expect("relay resume --reason done --yes", "", 0, "told")
	s.expect("actions", "", 0, "relay pause --reason upgrade --yes")
	s.expect("actions --last 1", "", 0, "ada")
	s.expect("actions now", "", 2, "want 0 arguments")
	conn := database.Conn(t)
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM operator_actions WHERE actor = 'ada'").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d actions, %v", n, err)
	}
	for _, change := range []string{"UPDATE operator_actions SET actor = 'bob'", "DELETE FROM operator_actions", "TRUNCATE operator_actions"} {
		if _, err := conn.Exec(t.Context(), change); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", change, err)
		}
	}
}

func TestTheVersionIsTold(t *testing.T) {
	t.Parallel()
	shell{t, nil}.expect("--version", "", 0, "ctl ")
}

func redisURL(t *testing.T) string { return requiredSetting(t, "TEST_REDIS_URL") }

// ownCache is a logical database, 1 to 8, of a test: others renew the generation of what they share, and so lose all
// that is cached there.
func ownCache(t *testing.T, number int) (cache *redis.Client, url string) {
	t.Helper()
	options, err := redis.ParseURL(redisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.DB = number
	cache = redis.NewClient(options)
	t.Cleanup(func() { _ = cache.Close() })
	return cache, fmt.Sprintf("redis://%s/%d", options.Addr, number)
}

// produce sends one message and waits until it is stored.
func produce(t *testing.T, s shell, topic, key, value string) {
	t.Helper()
	c := call{settings: settings{kafkaBrokers: strings.TrimPrefix(s.environ[1], "KAFKA_BROKERS=")}}
	config, err := c.kafkaConfig()
	if err != nil {
		t.Fatal(err)
	}
	producer, err := kafka.NewProducer(&config)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	done := make(chan kafka.Event, 1)
	if err := producer.Produce(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Key: []byte(key), Value: []byte(value)}, done); err != nil {
		t.Fatal(err)
	}
	if m := (<-done).(*kafka.Message); m.TopicPartition.Error != nil {
		t.Fatal(m.TopicPartition.Error)
	}
}

func TestAWatchLooksAgainUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	s := newShell(t, testdb.New(t))
	ctx, interrupt := context.WithCancel(t.Context())
	out := &screens{after: 3, then: interrupt}
	if code := run(ctx, []string{"status", "--watch", "--interval", "100ms"}, s.environ[:1], nil, out, out); code != 0 || out.count < 3 {
		t.Errorf("exit code %d after %d looks", code, out.count)
	}
}

// screens counts what is written, and does something after a few.
type screens struct {
	count, after int
	then         func()
}

func (s *screens) Write(text []byte) (int, error) {
	if s.count++; s.count == s.after {
		s.then()
	}
	return len(text), nil
}

func TestTheConsoleCallsLateWhatStatusCallsLate(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../api/console/src/health.ts")
	if err != nil {
		t.Fatal(err)
	}
	for name, limit := range map[string]time.Duration{"slow": slow, "inTransitLong": inTransitLong} {
		if line := fmt.Sprintf("const %s = %v;\n", name, limit.Seconds()); !strings.Contains(string(text), line) {
			t.Errorf("api/console/src/health.ts lacks %q", line)
		}
	}
}
