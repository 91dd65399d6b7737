package main

import (
	"cmp"
	"context"
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// tell writes an event of each run of a wallet's operations, as the worker does.
func tell(t *testing.T, conn *pgx.Conn, id uuid.UUID, runs ...[2]int64) {
	t.Helper()
	for _, run := range runs {
		stored, err := walletdb.New(conn).AuditRuns(t.Context(), walletdb.AuditRunsParams{
			Runs: []int64{0}, WalletIds: []uuid.UUID{id}, FromSeqs: []int64{run[0]}, Versions: []int64{run[1]},
		})
		if err != nil {
			t.Fatal(err)
		}
		rows := event.NewRows("test", len(stored))
		rows.Begin(event.Wallet{ID: id, Tenant: stored[0].Tenant, Currency: stored[0].Currency})
		for _, s := range stored {
			operation := event.FinishedOf(s.OperationState)
			rows.Add(&operation)
		}
		rows.End()
		for i := range rows.Keys {
			if _, err := conn.Exec(t.Context(), "INSERT INTO outbox (topic, key, payload, headers) VALUES ('wallet-events', $1, $2, $3)", rows.Keys[i], rows.Payload(i), rows.Headers[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// change changes what an event of the first wallet says: the one that ends with a sequence.
func change(version int, from, to string) string {
	return fmt.Sprintf(`UPDATE outbox SET payload = convert_to(replace(convert_from(payload, 'UTF8'), '%s', '%s'), 'UTF8') WHERE %s`, from, to, ending(version))
}

func ending(version int) string {
	return fmt.Sprintf(`topic = 'wallet-events' AND headers::json ->> 'ce_id' = w(1) || ':%d'`, version)
}

func TestVerifyAuditsEvents(t *testing.T) {
	t.Parallel()
	const (
		copies  = `INSERT INTO outbox (topic, key, payload, headers) SELECT topic, key, payload, headers FROM outbox WHERE topic = 'wallet-events' ORDER BY id; `
		anHour  = `UPDATE outcomes SET applied_at = applied_at - interval '1 hour'; UPDATE operations SET created_at = created_at - interval '1 hour' WHERE wallet_id = w(1); `
		deleted = `DELETE FROM outbox WHERE topic = 'wallet-events' AND id < (SELECT max(id) FROM outbox WHERE `
	)
	for _, test := range []struct {
		name, before string // before the events are written
		tamper       string
		then         [][2]int64 // further events
		finding      string
		ofWallet     string // the finding of an audit of the wallet alone, if it is another
		everyPage    bool
	}{
		{name: "nothing", everyPage: true},
		{name: "an amount", tamper: change(10, `"amount":5`, `"amount":6`), finding: "event-wrong"},
		{name: "an amount that is gone", tamper: change(10, `"amount":5,`, ``), finding: "event-wrong"},
		{name: "a status", tamper: change(10, `PROCESSED`, `FAILED`), finding: "event-wrong"},
		{name: "the balance of the wallet", tamper: change(10, `"balance":25`, `"balance":26`), finding: "event-wrong"},
		{name: "the state of the wallet", tamper: change(10, `ACTIVE`, `FROZEN`), finding: "event-wrong"},
		{name: "the currency", tamper: change(10, `EUR`, `USD`), finding: "event-wrong"},
		{name: "a time", tamper: `UPDATE outcomes SET applied_at = applied_at + interval '1 us' WHERE wallet_id = w(1) AND seq >= 7`, finding: "event-wrong"},
		{name: "metadata", tamper: `UPDATE operations SET metadata = '{"order": "816"}' WHERE wallet_id = w(1) AND seq = 8`, finding: "event-wrong"},
		{name: "a reference", tamper: `UPDATE operations SET reference = 'x' WHERE wallet_id = w(1) AND seq = 8`, finding: "event-wrong"},
		{name: "a field of a later release", tamper: change(10, `"state":`, `"more":[1],"state":`)},
		{name: "metadata that is too large to be told", before: `UPDATE operations SET metadata = jsonb_build_object('a', repeat('x', 9000)) WHERE wallet_id = w(1) AND seq = 5`},
		{name: "an operation that is pending", tamper: `DELETE FROM outcomes WHERE wallet_id = w(1) AND seq = 30; UPDATE wallets SET applied_seq = 29 WHERE id = w(1)`, finding: "event-wrong"},
		{name: "no operation", tamper: `UPDATE outbox SET payload = '{}' WHERE ` + ending(10), finding: "event-unreadable"},
		{name: "no JSON", tamper: `UPDATE outbox SET payload = 'x' WHERE ` + ending(10), finding: "event-unreadable"},
		{name: "a sequence", tamper: change(10, `"sequence":8`, `"sequence":9`), finding: "event-unreadable"},
		{name: "the version", tamper: change(10, `"version":10`, `"version":11`), finding: "event-unreadable"},
		{name: "the key", tamper: `UPDATE outbox SET key = w(2)::text WHERE ` + ending(10), finding: "event-unreadable", ofWallet: "event-missing"},
		{name: "the id", tamper: `UPDATE outbox SET headers = replace(headers, ':10"', ':11"') WHERE ` + ending(10), finding: "event-unreadable"},
		{name: "the type", tamper: `UPDATE outbox SET headers = replace(headers, '.v1', '.v2') WHERE ` + ending(10), finding: "event-unreadable"},
		{name: "a row that is gone", tamper: `DELETE FROM outbox WHERE ` + ending(10), finding: "event-missing", everyPage: true},
		{name: "an operation that is told twice", tamper: `DELETE FROM outbox WHERE ` + ending(30), then: [][2]int64{{28, 30}}, finding: "event-doubled"},
		{name: "the first rows are deleted, as old ones are", tamper: deleted + ending(20) + ")"},
		{name: "replayed", tamper: copies},
		{name: "replayed, and the originals deleted", before: anHour, tamper: copies + deleted + ending(20) + ")"},
		{name: "replayed, the originals deleted, and new ones among the copies", before: anHour, tamper: `DELETE FROM outbox WHERE ` + ending(30) + `; ` + copies + deleted + ending(6) + ")", then: [][2]int64{{29, 30}}},
		{
			name: "replayed, the originals deleted, and a new one missing", before: anHour,
			tamper: `DELETE FROM outbox WHERE ` + ending(30) + `; ` + copies + deleted + ending(6) + `); UPDATE outcomes SET applied_at = now() + interval '1 minute' WHERE wallet_id = w(1) AND seq = 29`,
			then:   [][2]int64{{30, 30}}, finding: "event-missing",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			conn := database.Conn(t)
			execute(t, conn, history+test.before)
			id := wallet(t, conn, 1)
			tell(t, conn, id, [2]int64{1, 3}, [2]int64{4, 6}, [2]int64{7, 10}, [2]int64{11, 20}, [2]int64{21, 28}, [2]int64{29, 30})
			execute(t, conn, test.tamper)
			tell(t, conn, id, test.then...)
			environ := []string{"DATABASE_URL=" + database.URL}
			expectFinding(t, test.finding, environ)
			expectFinding(t, cmp.Or(test.ofWallet, test.finding), environ, "--wallet", id.String())
			if test.finding == "event-missing" {
				expectFinding(t, "", environ, "--event-gaps")
			}
			if test.everyPage {
				expectSameInAllPages(t, conn, "SELECT w(n) FROM generate_series(1, 3) n", pages{2, 50, 20}, pages{2, 100, 1_000})
			}
		})
	}
}

// The events of a system that has another topic for them, or none, are not audited, and no reason to say that nothing was.
func TestVerifyKnowsTheTopicOfEvents(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	tell(t, conn, wallet(t, conn, 1), [2]int64{1, 5}, [2]int64{7, 30})
	s.expect("verify", "", 1, "31 outbox rows, 3 events")
	s.expect("verify", "", 1, "event-missing")
	s.expect("verify --events-topic another", "", 0, "31 outbox rows, 0 events")
	none := shell{t, append(s.environ, "EVENTS_TOPIC=")}
	none.expect("verify", "", 0, "31 outbox rows, 0 events")
	s.expect("verify --event-gaps", "", 0, "31 outbox rows, 3 events")
	execute(t, conn, "DELETE FROM outbox WHERE topic = 'wallet-operations'")
	s.expect("verify --event-gaps", "", 0, "0 outbox rows, 3 events")
}

// A row whose transaction ended after its page was read is not missing.
func TestVerifyLooksAgainForRowsThatCameLate(t *testing.T) {
	t.Parallel()
	_, conn := withHistory(t)
	id := wallet(t, conn, 1)
	tell(t, conn, id, [2]int64{1, 3}, [2]int64{4, 6}, [2]int64{7, 9})
	rows, err := walletdb.New(conn).AuditEvents(t.Context(), walletdb.AuditEventsParams{UpTo: 1_000, Topic: "wallet-events"})
	if err != nil {
		t.Fatal(err)
	}
	v := &verifier{conn: conn, eventsTopic: "wallet-events", total: &summary{}}
	var found []string
	v.report = func(f finding) { found = append(found, f.Problem) }
	first, third := rows[0], rows[2]
	run, err := readRun(third)
	if err != nil {
		t.Fatal(err)
	}
	follow := func() {
		if _, err := v.follow(context.WithoutCancel(t.Context()), walletdb.New(conn), lastTold{3, first.ID, false}, lastTold{9, third.ID, false}, run); err != nil {
			t.Fatal(err)
		}
	}
	follow()
	if len(found) > 0 {
		t.Errorf("the row is there, and yet %q", found)
	}
	execute(t, conn, "DELETE FROM outbox WHERE "+ending(6))
	follow()
	if diff := gocmp.Diff([]string{"event-missing"}, found); diff != "" {
		t.Error(diff)
	}
}

// A page of runs is not compared with every operation of its wallets.
func TestRunsAreLookedUp(t *testing.T) {
	t.Parallel()
	for _, wallets := range []int{1, 100} {
		t.Run(fmt.Sprintf("of %d wallets", wallets), func(t *testing.T) {
			t.Parallel()
			conn, operations := testdb.New(t).Conn(t), 50_000/wallets
			execute(t, conn, fmt.Sprintf(`
				INSERT INTO wallets (id, currency, balance, applied_seq) SELECT gen_random_uuid(), 'EUR', %[2]d, %[2]d FROM generate_series(1, %[1]d);
				INSERT INTO wallet_sequences (wallet_id, last_seq) SELECT id, applied_seq FROM wallets;
				INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT w.id, n, gen_random_uuid(), 'DEPOSIT', 1 FROM generate_series(1, %[2]d) n, wallets w;
				INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT wallet_id, seq, 'PROCESSED', seq FROM operations;
				ANALYZE`, wallets, operations))
			rows, _ := conn.Query(t.Context(), "SELECT id FROM wallets")
			ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
			if err != nil {
				t.Fatal(err)
			}
			var runs walletdb.AuditRunsParams
			for i := range 1000 {
				from := int64(10*(i/wallets) + 1)
				runs.Runs, runs.WalletIds = append(runs.Runs, int64(i)), append(runs.WalletIds, ids[i%wallets])
				runs.FromSeqs, runs.Versions = append(runs.FromSeqs, from), append(runs.Versions, from+9)
			}
			read := func() (rows int64) { // of tables and of indexes
				t.Helper()
				execute(t, conn, "SELECT pg_stat_force_next_flush()")
				if err := conn.QueryRow(t.Context(), "SELECT sum(pg_stat_get_tuples_returned(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace").Scan(&rows); err != nil {
					t.Fatal(err)
				}
				return rows
			}
			for page := range 7 { // from the sixth on by a plan that does not know how many runs there are
				before := read()
				stored, err := storedRuns(t.Context(), conn, runs)
				if err != nil || len(stored) != 10_000 {
					t.Fatalf("%d operations, %v", len(stored), err)
				}
				if rows := read() - before; rows < 10_000 || rows > 40_000 {
					t.Errorf("page %d: %d rows were read for 10,000 operations", page, rows)
				}
			}
		})
	}
}
