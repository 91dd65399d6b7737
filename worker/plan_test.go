package main

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The statements stay cheap in tables of a size, with the plans that a prepared statement may get:
// with statistics and without, custom and generic.
func TestPlansReadNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	for _, analyzed := range []bool{true, false} {
		t.Run(fmt.Sprintf("analyzed %v", analyzed), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			for _, table := range []string{"wallets", "wallet_sequences", "operations", "outbox"} {
				s.exec("ALTER TABLE " + table + " SET (autovacuum_enabled = off)")
			}
			s.exec("INSERT INTO wallets (id, currency) SELECT gen_random_uuid(), 'EUR' FROM generate_series(1, 50000)")
			s.exec("INSERT INTO wallet_sequences (wallet_id, last_seq) SELECT id, 2 FROM wallets")
			s.exec("INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT id, n, gen_random_uuid(), 'DEPOSIT', 1 FROM wallets, generate_series(1, 2) n")
			s.exec("INSERT INTO outbox (topic, key, payload) SELECT 'wallet-operations', wallet_id::text, '' FROM operations")
			if analyzed {
				s.exec("ANALYZE")
			}
			var ids []uuid.UUID
			s.scan(&ids, "SELECT array_agg(id) FROM (SELECT id FROM wallets ORDER BY id LIMIT 100 OFFSET 5000) w")
			for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
				t.Run(mode, func(t *testing.T) {
					conn := s.Database.Conn(t)
					if _, err := conn.Exec(t.Context(), "SET jit = off; SET plan_cache_mode = "+mode); err != nil {
						t.Fatal(err)
					}
					checkPlans(t, conn, ids)
				})
			}
		})
	}
}

// checkPlans runs every query for 100 wallets or rows of tables whose scan takes 500 buffers and more.
func checkPlans(t *testing.T, conn *pgx.Conn, ids []uuid.UUID) {
	e := testkit.Explain(conn)
	q := walletdb.New(e)
	ctx := t.Context()
	sequences := repeat(2, len(ids))
	for _, query := range []struct {
		name string
		run  func() error
		most int // buffers
	}{
		{name: "LockWallets", run: func() error { return second(q.LockWallets(ctx, ids)) }, most: 450},
		{name: "PendingOperations", run: func() error {
			return second(q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: ids, UpTo: sequences, MaxRows: maxOperations}))
		}, most: 900},
		{name: "LastSequences", run: func() error { return second(q.LastSequences(ctx, ids)) }, most: 350},
		{name: "WalletsBehind", run: func() error {
			return second(q.WalletsBehind(ctx, walletdb.WalletsBehindParams{Ids: ids, Seqs: sequences}))
		}, most: 350},
		{name: "WalletsAfter", run: func() error {
			return second(q.WalletsAfter(ctx, walletdb.WalletsAfterParams{After: ids[0], MaxRows: 100}))
		}, most: 450},
		{name: "OutboxAfter", run: func() error {
			return second(q.OutboxAfter(ctx, walletdb.OutboxAfterParams{After: 50_000, UpTo: 1 << 40, AgeMs: 0, MaxRows: 100}))
		}, most: 10},
		{name: "OutboxHorizon", run: func() error { return second(q.OutboxHorizon(ctx)) }, most: 4},
		{name: "LastOutboxID", run: func() error { return second(q.LastOutboxID(ctx)) }, most: 4},
		{name: "OutboxOlderThan", run: func() error {
			return second(q.OutboxOlderThan(ctx, walletdb.OutboxOlderThanParams{ID: 50_000, AgeMs: 0}))
		}, most: 5},
		{name: "AdvanceWallets", run: func() error {
			return second(q.AdvanceWallets(ctx, walletdb.AdvanceWalletsParams{Ids: ids, Balances: sequences, AppliedSeqs: sequences}))
		}, most: 900},
	} {
		if err := query.run(); err != nil {
			t.Errorf("%s: %v", query.name, err)
		}
		if got := e.Last.Buffers(); got > query.most {
			t.Errorf("%s reads %d buffers, want at most %d", query.name, got, query.most)
		}
	}
}

func second[T any](_ T, err error) error { return err }
