package main

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// A flush's statements read no more than they return, with plans that were made while the tables were small.
func TestPlansOfAFlushOutliveSmallTables(t *testing.T) {
	t.Parallel()
	for _, wallets := range []int{0, 10, 200} {
		t.Run(fmt.Sprintf("%d wallets", wallets), func(t *testing.T) {
			t.Parallel()
			planAndGrow(t, wallets)
		})
	}
}

func planAndGrow(t *testing.T, small int) {
	ctx, database := t.Context(), testdb.New(t)
	conn := database.Conn(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{"wallets", "wallet_sequences", "operations", "outcomes"} {
		exec("ALTER TABLE " + table + " SET (autovacuum_enabled = off)")
	}
	// grow adds wallets with 20 operations each.
	grow := func(wallets int) {
		t.Helper()
		exec(`WITH w AS (INSERT INTO wallets (id, currency) SELECT gen_random_uuid(), 'EUR' FROM generate_series(1, $1) RETURNING id)
			INSERT INTO wallet_sequences (wallet_id, last_seq) SELECT id, 20 FROM w`, wallets)
		exec(`INSERT INTO operations (wallet_id, seq, id, type, amount)
			SELECT wallet_id, n, gen_random_uuid(), 'DEPOSIT', 1 FROM wallet_sequences, generate_series(1, 20) n ON CONFLICT DO NOTHING`)
		exec(`INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT wallet_id, seq, 'PROCESSED', seq FROM operations ON CONFLICT DO NOTHING`)
	}
	config, err := db.Config(database.As(testdb.API))
	if err != nil {
		t.Fatal(err)
	}
	flushing, err := db.Connect(ctx, flushConfig(config.ConnConfig))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flushing.Close(context.Background()) })
	e := testkit.Explain(flushing)
	// run runs each statement for 20 operations of a wallet each.
	run := func(check func(statement string)) {
		t.Helper()
		ids, wallets := []uuid.UUID{uuid.New()}, []uuid.UUID{uuid.New()} // as long as there are none
		err := conn.QueryRow(ctx, "SELECT coalesce(array_agg(id), $1), coalesce(array_agg(wallet_id), $2) FROM (SELECT id, wallet_id FROM operations WHERE seq = 7 LIMIT 20) o", ids, wallets).Scan(&ids, &wallets)
		if err != nil {
			t.Fatal(err)
		}
		for statement, run := range flushStatements(ctx, walletdb.New(e), ids, wallets) {
			if err := run(); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
			check(statement)
		}
	}
	grow(small)
	for range 10 { // by when a prepared statement has the plan that it keeps
		run(func(string) {})
	}
	grow(5000)
	run(func(statement string) {
		const most = 20 * 10 // a descent of three pages or four for a row and for its outcome
		if buffers := e.Last.Buffers(); buffers > most {
			t.Errorf("%s: reads %d buffers for 20 rows, want at most %d", statement, buffers, most)
		}
	})
}

func flushStatements(ctx context.Context, q *walletdb.Queries, ids, wallets []uuid.UUID) map[string]func() error {
	tenants := slices.Repeat([]string{"*"}, len(wallets))
	return map[string]func() error{
		"FindOperations": func() error { _, err := q.FindOperations(ctx, ids); return err },
		"FindSubjects":   func() error { _, err := q.FindSubjects(ctx, ids); return err },
		"FindWallets":    func() error { _, err := q.FindWallets(ctx, wallets); return err },
		"LockSequences": func() error {
			_, err := q.LockSequences(ctx, walletdb.LockSequencesParams{WalletIds: wallets, Tenants: tenants})
			return err
		},
		"LockFreeSequences": func() error {
			_, err := q.LockFreeSequences(ctx, walletdb.LockFreeSequencesParams{WalletIds: wallets, Tenants: tenants})
			return err
		},
		"ExistingWallets": func() error {
			_, err := q.ExistingWallets(ctx, walletdb.ExistingWalletsParams{WalletIds: wallets, Tenants: tenants})
			return err
		},
	}
}
