package main

import (
	"context"
	"errors"
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

// openOutbox connects as the relay does.
func openOutbox(t testing.TB, database testdb.Database) outbox {
	t.Helper()
	config, err := db.Config(database.As(testdb.Relay))
	if err != nil {
		t.Fatal(err)
	}
	outbox, err := openPostgres(t.Context(), config.ConnConfig, "wallet-relay")
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
	rows, cur1, err := outbox.window(ctx, all.prev, 100)
	expect("while a runs", rows, err, "b")
	if rows, _, err := outbox.window(ctx, cur1, 100); err != nil || len(rows) != 0 {
		t.Errorf("after b: %v, %v", rows, err)
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
	rows, cur2, err := outbox.window(ctx, cur1, 100)
	expect("after a, c, d and e", rows, err, "a1 c a2 e")

	// The same windows in pages.
	f := begin()
	insert(f, "f")
	end(f.Commit(ctx))
	first, last, err := outbox.extent(ctx, cur1, cur2)
	if err != nil || first != 1 || last != 7 {
		t.Errorf("extent %d to %d, %v", first, last, err)
	}
	rows, err = outbox.page(ctx, position{cur1, window{cur: cur2, last: 7}}, 7)
	expect("page of the second window", rows, err, "a1 c a2 e")
	rows, err = outbox.page(ctx, position{cur1, window{cur2, 1, 7}}, 4)
	expect("page from 2 to 4", rows, err, "c a2")
	rows, err = outbox.page(ctx, position{all.prev, window{cur: cur1, last: 8}}, 8)
	expect("page of the first window", rows, err, "b")
	rows, _, err = outbox.window(ctx, cur2, 100)
	expect("after f", rows, err, "f")

	// More than the limit is told of by one more.
	rows, _, err = outbox.window(ctx, all.prev, 3)
	if err != nil || len(rows) != 4 {
		t.Errorf("limit 3: %d rows, %v", len(rows), err)
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
		if _, _, err := p.window(t.Context(), "1:1:", 1); err != nil {
			t.Errorf("the connection after a wait: %v", err)
		}
		return took
	}
	const long = time.Minute
	if took := waits(t.Context(), 50*time.Millisecond); took < 50*time.Millisecond {
		t.Errorf("nobody woke it, and it waited %v", took)
	}
	time.AfterFunc(50*time.Millisecond, wake)
	if took := waits(t.Context(), long); took < 50*time.Millisecond || took > long/2 {
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
