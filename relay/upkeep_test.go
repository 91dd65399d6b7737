package main

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestRowsAreDeletedOnlyWhenOldAndPublishedByAll(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	owner := database.Conn(t)
	relay, err := pgx.Connect(ctx, database.As(testdb.Relay))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close(ctx)
	exec := func(sql string) {
		t.Helper()
		if _, err := owner.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	low := int64(0)
	expect := func(what string, wantDeleted, wantLeft int64) {
		t.Helper()
		var deleted, left int64
		var err error
		if low, deleted, err = deleteOld(ctx, relay, low, 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := owner.QueryRow(ctx, "SELECT count(*) FROM outbox").Scan(&left); err != nil {
			t.Fatal(err)
		}
		if deleted != wantDeleted || left != wantLeft {
			t.Errorf("%s: %d deleted, %d left; want %d and %d", what, deleted, left, wantDeleted, wantLeft)
		}
	}
	age := "UPDATE outbox SET created_at = now() - interval '25 hours'"

	expect("an empty outbox", 0, 0)
	put(t, owner, "t", "a", 1, 5000)
	exec(age)
	expect("no relay has a position", 0, 5000)
	exec("INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('one', pg_current_snapshot(), 1, 1), ('two', '1:1:', 1, 1)")
	expect("one relay has published nothing", 0, 5000)
	exec("UPDATE relay_positions SET cur = pg_current_snapshot(), after_id = 4000, last_id = 5000 WHERE relay = 'two'")
	expect("one relay is still publishing the window", 0, 5000)
	exec("UPDATE relay_positions SET prev = pg_current_snapshot(), cur = NULL")
	exec("UPDATE outbox SET created_at = now() WHERE id > 3000")
	expect("the last 2000 are young", 3000, 2000)
	expect("again", 0, 2000)
	put(t, owner, "t", "a", 5001, 10)
	exec(age)
	exec("UPDATE outbox SET xid = (SELECT pg_snapshot_xmax(prev) FROM relay_positions WHERE relay = 'one') WHERE id > 5000")
	expect("the last 10 are not published", 2000, 10)
	if low != 5000 {
		t.Errorf("the low mark is %d", low)
	}
}

// A transaction that stays open, and was open before the rows came, is in every snapshot: it keeps
// their remains in the table, and must not keep the rows.
func TestALongTransactionKeepsNoRowFromBeingDeleted(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	owner := database.Conn(t)
	long, err := database.Conn(t).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Rollback(ctx)
	if _, err := long.Exec(ctx, "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'a', '')"); err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := owner.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('one', '1:1:', 1, 1)")
	low := int64(0)
	for round := range 3 {
		put(t, owner, "t", "b", 1, 3000)
		exec("UPDATE outbox SET created_at = now() - interval '25 hours'")
		exec("UPDATE relay_positions SET prev = pg_current_snapshot()")
		var deleted int64
		if low, deleted, err = deleteOld(ctx, owner, low, 24*time.Hour); err != nil || deleted != 3000 {
			t.Errorf("round %d: %d rows deleted, want 3000 (%v)", round, deleted, err)
		}
	}
	// Its own row was visible to nobody: it is kept until a relay has published it.
	exec("UPDATE relay_positions SET prev = pg_current_snapshot()")
	if err := long.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	exec("UPDATE outbox SET created_at = now() - interval '25 hours'")
	if _, deleted, err := deleteOld(ctx, owner, 0, 24*time.Hour); err != nil || deleted != 0 {
		t.Errorf("%d rows deleted that nobody has published (%v)", deleted, err)
	}
}

// A relay that starts searches through the remains of all that was ever deleted and is not vacuumed.
func TestTheSearchForTheFirstRowMayTakeItsTime(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	owner := database.Conn(t)
	put(t, owner, "t", "a", 1, 10)
	relay, err := pgx.Connect(ctx, database.As(testdb.Relay))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close(ctx)
	if _, err := relay.Exec(ctx, "SET statement_timeout = '2s'"); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(ctx, "BEGIN; LOCK outbox"); err != nil {
		t.Fatal(err)
	}
	unlocked := make(chan error)
	time.AfterFunc(3*time.Second, func() {
		_, err := owner.Exec(ctx, "COMMIT")
		unlocked <- err
	})
	low, _, err := deleteOld(ctx, relay, unsearched, 24*time.Hour)
	if unlockErr := <-unlocked; err != nil || unlockErr != nil || low != 0 {
		t.Errorf("low mark %d, %v, %v", low, err, unlockErr)
	}
	var after string
	if err := relay.QueryRow(ctx, "SHOW statement_timeout").Scan(&after); err != nil || after != "2s" {
		t.Errorf("afterwards statement_timeout is %s (%v)", after, err)
	}
}

func TestBacklogIsMeasured(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	owner := database.Conn(t)
	createPositions(t, owner)
	put(t, owner, "t", "a", 1, 7)
	put(t, owner, "e", "a", 1, 2)
	exec := func(sql string) {
		t.Helper()
		if _, err := owner.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, rows map[string]int64, oldest map[string]float64) {
		t.Helper()
		backlogs, err := walletdb.New(owner).RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: "wallet-relay", Events: "wallet-relay/events", Topic: "t", MaxRows: maxCounted})
		if err != nil || len(backlogs) != 2 {
			t.Fatalf("%s: %+v, %v", what, backlogs, err)
		}
		for _, b := range backlogs {
			if b.WaitingRows != rows[b.Relay] || b.OldestSeconds < oldest[b.Relay] || b.OldestSeconds > oldest[b.Relay]+30 {
				t.Errorf("%s: %+v", what, b)
			}
		}
	}
	exec("UPDATE outbox SET created_at = now() - interval '1 minute' WHERE id = 3")
	exec("UPDATE outbox SET created_at = now() - interval '1 hour' WHERE id = 8")
	expect("nothing is published", map[string]int64{"wallet-relay": 7, "wallet-relay/events": 2}, map[string]float64{"wallet-relay": 60, "wallet-relay/events": 3600})
	exec("UPDATE relay_positions SET cur = pg_current_snapshot(), after_id = 5, last_id = 9 WHERE relay = 'wallet-relay'")
	expect("a part of a window is", map[string]int64{"wallet-relay": 2, "wallet-relay/events": 2}, map[string]float64{"wallet-relay/events": 3600})
	exec("UPDATE relay_positions SET prev = pg_current_snapshot(), cur = NULL")
	expect("all is", map[string]int64{}, map[string]float64{})
}
