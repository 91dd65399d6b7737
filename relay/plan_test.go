package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// planner explains queries on a connection such as the relay's. The plans stay as they were when the query
// came first.
type planner struct {
	*testkit.Explainer
	conn *pgx.Conn
}

func newPlanner(t testing.TB, database testdb.Database) *planner {
	t.Helper()
	config, err := configOf(environ(database, "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect(t.Context(), config.postgres.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &planner{testkit.Explain(conn), conn}
}

// check fails if the last query read the outbox in another way than by index, or too much of it.
func (p *planner) check(t testing.TB, name, index string, maxBuffers int) {
	t.Helper()
	var scans func(n testkit.Node) []string
	scans = func(n testkit.Node) (found []string) {
		if strings.HasSuffix(n.Type, "Scan") && (n.Relation == "outbox" || n.Index != "") && n.Index != "relay_positions_pkey" && n.Type != "Bitmap Heap Scan" {
			found = append(found, n.Index)
		}
		for _, child := range n.Plans {
			found = append(found, scans(child)...)
		}
		return found
	}
	found := scans(p.Last.Node)
	if len(found) == 0 || slices.ContainsFunc(found, func(i string) bool { return i != index }) {
		t.Errorf("%s: reads the outbox by %q, want only %s", name, found, index)
	}
	if buffers := p.Last.Buffers(); buffers > maxBuffers {
		t.Errorf("%s: reads %d buffers, want at most %d", name, buffers, maxBuffers)
	}
}

// Neither a plan made when the table was empty, nor one made without statistics, nor one made with
// them may read more of a big outbox than the rows asked for.
func TestPlansReadOnlyWhatTheyReturn(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	conn := database.Conn(t)
	insert := func(rows int) {
		t.Helper()
		_, err := conn.Exec(ctx, `INSERT INTO outbox (topic, key, payload)
			SELECT 't', gen_random_uuid(), convert_to(repeat('x', 150), 'UTF8') FROM generate_series(1, $1)`, rows)
		if err != nil {
			t.Fatal(err)
		}
	}
	snapshot := func() (s string) {
		t.Helper()
		if err := conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := conn.Exec(ctx, "ALTER TABLE outbox SET (autovacuum_enabled = false)"); err != nil {
		t.Fatal(err)
	}
	createPositions(t, conn)
	young := newPlanner(t, database)
	young.checkAll(t, "empty table", "1:1:", snapshot(), 1, 20)

	for range 50 {
		insert(10_000)
	}
	var late string
	if err := conn.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&late); err != nil {
		t.Fatal(err)
	}
	// A transaction that another one saw running, and that has 100 rows in the midst of the others.
	if _, err := conn.Exec(ctx, `UPDATE outbox SET xid = $1 WHERE id > 250000 AND id <= 250100`, late); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		insert(10_000)
	}
	backlog := snapshot()
	insert(100)
	small := snapshot()
	for _, name := range []string{"plans of the empty table", "no statistics", "statistics"} {
		p := young
		switch name {
		case "no statistics":
			p = newPlanner(t, database)
		case "statistics":
			if _, err := conn.Exec(ctx, "VACUUM ANALYZE outbox"); err != nil {
				t.Fatal(err)
			}
			p = newPlanner(t, database)
		}
		p.checkAll(t, name+", all is backlog", "1:1:", backlog, 400_000, 50_000)
		p.checkAll(t, name+", small window", backlog, small, 1_000_000, 100)
		xmax := strings.Split(small, ":")[1]
		p.checkAll(t, name+", window of a late transaction", late+":"+xmax+":"+late, small, 250_000, 100)
	}
}

// A bulk producer fills the outbox in few transactions. To the planner each xid then is a large part of
// it, and not worth an index.
func TestPlansHoldWhenTransactionsAreLarge(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	conn := database.Conn(t)
	createPositions(t, conn)
	for range 10 {
		if _, err := conn.Exec(ctx, `INSERT INTO outbox (topic, key, payload)
			SELECT 't', gen_random_uuid(), convert_to(repeat('x', 150), 'UTF8') FROM generate_series(1, 20000)`); err != nil {
			t.Fatal(err)
		}
	}
	var running, cur string
	if _, err := conn.Exec(ctx, "VACUUM ANALYZE outbox"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&running); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&cur); err != nil {
		t.Fatal(err)
	}
	xmax := strings.Split(cur, ":")[1]
	newPlanner(t, database).checkAll(t, "large transactions", running+":"+xmax+":"+running, cur, 200_000, 100)
}

func createPositions(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	q := walletdb.New(conn)
	if err := q.CreatePosition(t.Context(), "wallet-relay"); err != nil {
		t.Fatal(err)
	}
	if err := q.CreateEventsPosition(t.Context(), walletdb.CreateEventsPositionParams{Events: "wallet-relay/events", Relay: "wallet-relay"}); err != nil {
		t.Fatal(err)
	}
}

// checkAll explains every query that the relay runs again and again. extent is what measuring the
// window may read; the others read as little behind any backlog.
func (p *planner) checkAll(t testing.TB, name, prev, cur string, after int64, extent int) {
	t.Helper()
	ctx, q := t.Context(), walletdb.New(p)
	upTo := after + batchLimits.pageWidth
	for _, query := range []struct {
		name, index string
		buffers     int
		run         func() error
	}{
		{name: "window", index: "outbox_xid", buffers: min(extent, 500), run: func() error {
			_, err := q.RelayWindow(ctx, walletdb.RelayWindowParams{Prev: prev, MaxRows: int64(batchLimits.rows), MaxBytes: int64(batchLimits.bytes), Topic: "t"})
			return err
		}},
		{name: "window of another lane", index: "outbox_xid", buffers: min(extent, 500), run: func() error {
			_, err := q.RelayWindow(ctx, walletdb.RelayWindowParams{Prev: prev, MaxRows: int64(batchLimits.rows), MaxBytes: int64(batchLimits.bytes), Topic: "t", Others: true})
			return err
		}},
		{name: "extent", index: "outbox_xid", buffers: extent, run: func() error {
			_, err := q.RelayExtent(ctx, walletdb.RelayExtentParams{Prev: prev, Cur: cur})
			return err
		}},
		{name: "page", index: "outbox_pkey", buffers: 300, run: func() error {
			_, err := q.RelayPage(ctx, walletdb.RelayPageParams{After: after, UpTo: upTo, Prev: prev, Cur: cur, MaxBytes: int64(batchLimits.bytes), Topic: "t"})
			return err
		}},
		{name: "page of another lane", index: "outbox_pkey", buffers: 300, run: func() error {
			_, err := q.RelayPage(ctx, walletdb.RelayPageParams{After: after, UpTo: upTo, Prev: prev, Cur: cur, MaxBytes: int64(batchLimits.bytes), Topic: "t", Others: true})
			return err
		}},
		{name: "backlog", index: "outbox_xid", buffers: 2000, run: func() error {
			_, err := q.RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: "wallet-relay", Events: "wallet-relay/events", Topic: "t", MaxRows: maxCounted})
			return err
		}},
		{name: "first row", index: "outbox_pkey", buffers: 10, run: func() error {
			_, err := q.FirstRow(ctx, after)
			return err
		}},
		{name: "retention", index: "outbox_pkey", buffers: 300, run: func() error {
			_, err := q.DeletePublished(ctx, walletdb.DeletePublishedParams{After: after, UpTo: upTo})
			return err
		}},
	} {
		if err := query.run(); err != nil {
			t.Fatalf("%s: %s: %v", name, query.name, err)
		}
		p.check(t, name+": "+query.name, query.index, query.buffers)
	}
}
