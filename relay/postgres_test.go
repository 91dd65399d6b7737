package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// openOutbox connects as the relay does, for the operations, whose topic is t.
func openOutbox(t testing.TB, database testdb.Database) outbox {
	t.Helper()
	operations, _ := lanes("wallet-relay", "t")
	return openLane(t, database, operations)
}

func openLane(t testing.TB, database testdb.Database, lane lane) outbox {
	t.Helper()
	config, err := db.Config(database.As(testdb.Relay))
	if err != nil {
		t.Fatal(err)
	}
	outbox, err := openPostgres(t.Context(), config.ConnConfig, "wallet-relay", lane)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(outbox.close)
	return outbox
}

func TestAPositionFromAnotherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	outbox, conn := openOutbox(t, database), database.Conn(t)
	for _, step := range []struct {
		sql   string
		stops bool
	}{
		{"INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')", false},
		{"UPDATE relay_positions SET prev = pg_current_snapshot()", false},
		{"UPDATE relay_positions SET cur = pg_current_snapshot()", false},
		{"UPDATE relay_positions SET system_identifier = system_identifier + 1", true},
		{"UPDATE relay_positions SET system_identifier = system_identifier - 1", false},
		{"UPDATE relay_positions SET database_oid = database_oid + 1", true},
		{"UPDATE relay_positions SET database_oid = database_oid - 1", false},
		{"UPDATE relay_positions SET cur = '99999999999:99999999999:'", true},
		{"UPDATE relay_positions SET cur = NULL", false},
		{"UPDATE relay_positions SET prev = '99999999999:99999999999:'", true},
		{"UPDATE relay_positions SET prev = '1:1:'", false},
		{"UPDATE outbox SET xid = '99999999999'", true},
		{"UPDATE outbox SET xid = pg_current_xact_id()", false},
	} {
		if _, err := conn.Exec(ctx, step.sql); err != nil {
			t.Fatal(err)
		}
		_, err := outbox.position(ctx)
		var stopped *stoppedError
		if errors.As(err, &stopped) != step.stops || err != nil && !step.stops {
			t.Errorf("after %s: %v", step.sql, err)
		}
	}
}

// The interleaving is scripted: what a statement sees depends on nothing else.
func TestWindowsHoldWhatBecameVisible(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	outbox := openOutbox(t, database)
	begin := func() pgx.Tx {
		t.Helper()
		tx, err := database.Conn(t).Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	insert := func(tx pgx.Tx, name string) {
		t.Helper()
		if _, err := tx.Exec(ctx, "INSERT INTO outbox (topic, key, payload) VALUES ('t', $1, '')", name); err != nil {
			t.Fatal(err)
		}
	}
	end := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, rows []row, err error, want string) {
		t.Helper()
		var names []string
		for _, r := range rows {
			names = append(names, r.Key)
		}
		if diff := cmp.Diff(want, strings.Join(names, " ")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	all := position{prev: "1:1:"}

	// a takes the first id and commits last.
	a, b := begin(), begin()
	insert(a, "a1")
	insert(b, "b")
	end(b.Commit(ctx))
	upTo := func(rows, bytes int) limits { return limits{rows: rows, bytes: bytes} }
	const plenty = 1 << 20
	seen, err := outbox.window(ctx, all.prev, upTo(100, plenty))
	expect("while a runs", seen.rows, err, "b")
	cur1 := seen.cur
	if seen, err := outbox.window(ctx, cur1, upTo(100, plenty)); err != nil || seen.cur != "" {
		t.Errorf("after b: %v, %v", seen, err)
	}

	// c's transaction is younger than a's, and its row lies between two of a's.
	c, d, e := begin(), begin(), begin()
	insert(c, "c")
	insert(a, "a2")
	insert(d, "d, rolled back")
	end(d.Rollback(ctx))
	savepoint, err := e.Begin(ctx)
	end(err)
	insert(savepoint, "e, rolled back to a savepoint")
	end(savepoint.Rollback(ctx))
	savepoint, err = e.Begin(ctx)
	end(err)
	insert(savepoint, "e")
	end(savepoint.Commit(ctx))
	end(e.Commit(ctx))
	end(a.Commit(ctx))
	end(c.Commit(ctx))
	seen, err = outbox.window(ctx, cur1, upTo(100, plenty))
	expect("after a, c, d and e", seen.rows, err, "a1 c a2 e")
	cur2 := seen.cur

	// The same windows in pages.
	f := begin()
	insert(f, "f")
	end(f.Commit(ctx))
	first, last, err := outbox.extent(ctx, cur1, cur2)
	if err != nil || first != 1 || last != 7 {
		t.Errorf("extent %d to %d, %v", first, last, err)
	}
	rows, err := outbox.page(ctx, position{cur1, window{cur: cur2, last: 7}}, 7, plenty)
	expect("page of the second window", rows, err, "a1 c a2 e")
	rows, err = outbox.page(ctx, position{cur1, window{cur2, 1, 7}}, 4, plenty)
	expect("page from 2 to 4", rows, err, "c a2")
	rows, err = outbox.page(ctx, position{all.prev, window{cur: cur1, last: 8}}, 8, plenty)
	expect("page of the first window", rows, err, "b")
	seen, err = outbox.window(ctx, cur2, upTo(100, plenty))
	expect("after f", seen.rows, err, "f")

	// Six rows, whose keys have 8 bytes, and whose headers have 2 each.
	for _, limits := range []limits{upTo(5, plenty), upTo(6, 19)} {
		if seen, err = outbox.window(ctx, all.prev, limits); err != nil || !seen.tooMany || len(seen.rows) != 0 || seen.cur == "" {
			t.Errorf("limits %+v: %+v, %v", limits, seen, err)
		}
	}
	if seen, err = outbox.window(ctx, all.prev, upTo(6, 20)); err != nil || seen.tooMany || len(seen.rows) != 6 {
		t.Errorf("limits of 6 rows and 20 bytes: %+v, %v", seen, err)
	}
	// A page ends with the row that reaches the limit.
	for maxBytes, want := range map[int]string{1: "a1", 4: "a1", 5: "a1 c", 7: "a1 c", 8: "a1 c a2"} {
		rows, err = outbox.page(ctx, position{cur1, window{cur: cur2, last: 7}}, 7, maxBytes)
		expect(fmt.Sprint("page of ", maxBytes, " bytes"), rows, err, want)
	}
}

// Each lane has its own rows, knows of the others', and may read as many as the limit whoever they are for.
func TestALaneHasItsOwnRows(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	conn := database.Conn(t)
	operations, events := lanes("wallet-relay", "t")
	put(t, conn, "t", "operation", 1, 3)
	put(t, conn, "e", "event", 1, 2)
	put(t, conn, "f", "event", 3, 1)
	for _, test := range []struct {
		lane         lane
		want, within string
	}{
		{operations, "operation 1 operation 2 operation 3 ", "operation 3 "},
		{events, "event 1 event 2 event 3 ", "event 1 event 2 "},
	} {
		outbox := openLane(t, database, test.lane)
		names := func(rows []row) (s string) {
			for _, r := range rows {
				s += r.Key + " " + string(r.Payload) + " "
			}
			return s
		}
		seen, err := outbox.window(ctx, "1:1:", limits{rows: 6, bytes: 1000})
		if got := names(seen.rows); err != nil || got != test.want || !seen.foreign || seen.tooMany {
			t.Errorf("%s: window %q, %+v, %v", test.lane.name, got, seen, err)
		}
		if seen, err := outbox.window(ctx, "1:1:", limits{rows: 5, bytes: 1000}); err != nil || !seen.tooMany || !seen.foreign {
			t.Errorf("%s: window of all lanes' rows: %+v, %v", test.lane.name, seen, err)
		}
		rows, err := outbox.page(ctx, position{"1:1:", window{seen.cur, 2, 6}}, 5, 1000)
		if got := names(rows); err != nil || got != test.within {
			t.Errorf("%s: page %q, %v", test.lane.name, got, err)
		}
		if first, last, err := outbox.extent(ctx, "1:1:", seen.cur); err != nil || first != 1 || last != 6 {
			t.Errorf("%s: extent %d to %d, %v", test.lane.name, first, last, err)
		}
	}
}

// An upgraded relay has published all topics up to its position, part of a window included: the events begin there,
// whichever lane looks first, and only once.
func TestTheEventsBeginWhereTheRelayIs(t *testing.T) {
	t.Parallel()
	operations, events := lanes("wallet-relay", "t")
	for _, first := range []lane{operations, events} {
		ctx, database := t.Context(), testdb.New(t)
		conn := database.Conn(t)
		put(t, conn, "t", "a", 1, 1)
		_, err := conn.Exec(ctx, `INSERT INTO relay_positions (relay, prev, cur, after_id, last_id, system_identifier, database_oid)
			SELECT 'wallet-relay', '5:5:', pg_current_snapshot(), 7, 9, c.system_identifier, d.oid::bigint
			FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()`)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(lane lane, prev string, after, last int64) {
			t.Helper()
			at, err := openLane(t, database, lane).position(ctx)
			if err != nil || at.prev != prev || at.window.after != after || at.window.last != last {
				t.Errorf("the %s are at %+v, %v", lane.name, at, err)
			}
		}
		move := func(lane lane, prev string) {
			t.Helper()
			if err := openLane(t, database, lane).save(ctx, position{prev: prev}); err != nil {
				t.Fatal(err)
			}
		}
		expect(first, "5:5:", 7, 9)
		move(operations, "6:6:")
		expect(events, "5:5:", 7, 9)
		move(events, "4:4:")
		expect(operations, "6:6:", 0, 0)
		expect(events, "4:4:", 0, 0)
	}
}

// A relay that waits for rows is woken by an api, also if it was about to wait; and whatever ends the wait, the
// connection can be used.
func TestARelayThatWaitsIsWoken(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	p, conn := openOutbox(t, database).(*postgres), database.Conn(t)
	var turn sync.Mutex
	wake := func() {
		turn.Lock()
		defer turn.Unlock()
		if err := walletdb.New(conn).WakeRelay(t.Context()); err != nil {
			t.Error(err)
		}
	}
	waits := func(ctx context.Context, d time.Duration) time.Duration {
		t.Helper()
		began := time.Now()
		if err := p.await(ctx, d); err != nil {
			t.Error(err)
		}
		took := time.Since(began)
		if _, err := p.window(t.Context(), "1:1:", batchLimits); err != nil {
			t.Errorf("the connection after a wait: %v", err)
		}
		return took
	}
	const long = time.Minute
	if took := waits(t.Context(), 50*time.Millisecond); took < 50*time.Millisecond {
		t.Errorf("nobody woke it, and it waited %v", took)
	}
	began := time.Now()
	time.AfterFunc(50*time.Millisecond, wake)
	waits(t.Context(), long)
	if took := time.Since(began); took < 50*time.Millisecond || took > long/2 {
		t.Errorf("woken after 50 ms, it waited %v", took)
	}
	wake()
	testkit.Until(t, "an answer brings the notification along", func() error {
		_, err := p.controls(t.Context())
		return errors.Join(err, testkit.Unless(p.woken.Load(), "it has not come"))
	})
	if took := waits(t.Context(), long); took > long/2 {
		t.Errorf("woken before, it waited %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if took := waits(ctx, long); took > long/2 {
		t.Errorf("told to end, it waited %v", took)
	}
}
