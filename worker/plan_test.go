package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The statements stay cheap in tables of a size, with the plans that a prepared statement may get: with statistics and
// without, custom and generic, and one that was made while there were few rows.
func TestPlansReadNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	for _, analyzed := range []bool{true, false} {
		t.Run(fmt.Sprintf("analyzed %v", analyzed), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			for _, table := range []string{"wallets", "wallet_sequences", "operations", "outcomes", "open_holds", "outbox"} {
				s.exec("ALTER TABLE " + table + " SET (autovacuum_enabled = off)")
			}
			grow := func(wallets int) {
				s.exec("INSERT INTO wallets (id, currency) SELECT gen_random_uuid(), 'EUR' FROM generate_series(1, $1::int)", wallets)
				s.exec("INSERT INTO wallet_sequences (wallet_id, last_seq) SELECT id, 2 FROM wallets ON CONFLICT DO NOTHING")
				s.exec("INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT id, n, gen_random_uuid(), 'DEPOSIT', 1 FROM wallets, generate_series(1, 2) n ON CONFLICT DO NOTHING")
				s.exec("INSERT INTO outbox (topic, key, payload) SELECT 'wallet-operations', wallet_id::text, '' FROM operations")
				s.exec("INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT wallet_id, seq, 'PROCESSED', seq FROM operations ON CONFLICT DO NOTHING")
				s.exec("UPDATE wallets SET applied_seq = 2, balance = 2 WHERE applied_seq = 0")
				s.exec("INSERT INTO open_holds (wallet_id, seq, hold_id, expires_at) SELECT wallet_id, seq, id, CASE WHEN seq = 2 THEN now() + interval '1 hour' END FROM operations ON CONFLICT DO NOTHING")
			}
			some := func() (ids []uuid.UUID) {
				s.scan(&ids, "SELECT array_agg(id) FROM (SELECT id FROM wallets ORDER BY id LIMIT 100 OFFSET 5) w")
				return ids
			}
			early := planned(t, s, "auto")
			e := testkit.Explain(early)
			grow(110)
			for range 10 { // by when a prepared statement has the plan that it keeps
				checkPlans(t, e, early, some(), false)
			}
			grow(50_000)
			if analyzed {
				s.exec("ANALYZE")
			}
			t.Run("planned early", func(t *testing.T) { checkPlans(t, e, early, some(), true) })
			for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
				t.Run(mode, func(t *testing.T) {
					conn := planned(t, s, mode)
					checkPlans(t, testkit.Explain(conn), conn, some(), true)
				})
			}
		})
	}
}

// planned is a connection such as the worker's, with a plan_cache_mode.
func planned(t *testing.T, s *store, mode string) *pgx.Conn {
	t.Helper()
	config, err := db.Config(s.Database.As(testdb.Worker))
	if err != nil {
		t.Fatal(err)
	}
	db.PlanByIndex(config.ConnConfig)
	config.ConnConfig.RuntimeParams["plan_cache_mode"] = mode
	conn, err := db.Connect(t.Context(), config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// checkPlans runs every query for 100 wallets or rows of tables whose scan takes 500 buffers and more.
func checkPlans(t *testing.T, e *testkit.Explainer, conn *pgx.Conn, ids []uuid.UUID, strict bool) {
	q := walletdb.New(e)
	ctx := t.Context()
	sequences := repeat(2, len(ids))
	subjects := walletdb.SubjectsParams{WalletIds: ids, MaxNamed: maxNamed}
	rows, err := conn.Query(ctx, "SELECT id FROM operations WHERE wallet_id = ANY ($1) AND seq = 1 ORDER BY wallet_id", ids)
	if err != nil {
		t.Fatal(err)
	}
	if subjects.Ids, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID]); err != nil {
		t.Fatal(err)
	}
	reference := "x"
	var all []following
	for i, id := range subjects.Ids {
		subjects.ExpireIds = append(subjects.ExpireIds, event.ExpireID(id))
		all = append(all, following{ids[i], uuid.New(), receive, 1, &reference, id, &ids[i]})
	}
	following := acceptance("wallet-operations", all)
	for _, query := range []struct {
		name string
		run  func() error
		most int // buffers
	}{
		{name: "LockWallets", run: func() error { return second(q.LockWallets(ctx, ids)) }, most: 450},
		{name: "PendingOperations", run: func() error {
			return second(q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: ids, UpTo: sequences, MaxRows: maxOperations, WithMetadata: true}))
		}, most: 900},
		{name: "Subjects", run: func() error {
			return asPlanned(ctx, conn, func() error { return second(q.Subjects(ctx, subjects)) })
		}, most: 2200},
		{name: "CountOpenHolds", run: func() error {
			return second(q.CountOpenHolds(ctx, walletdb.CountOpenHoldsParams{Ids: ids, MaxHolds: maxOpenHolds}))
		}, most: 520},
		{name: "LockFollowing", run: func() error { return second(q.LockFollowing(ctx, ids)) }, most: 500},
		{name: "AcceptedBefore", run: func() error { return second(q.AcceptedBefore(ctx, subjects.Ids)) }, most: 450},
		{name: "AcceptFollowing", run: func() error { return second(q.AcceptFollowing(ctx, following)) }, most: 3500},
		{name: "ExpiredHolds", run: func() error {
			return second(q.ExpiredHolds(ctx, walletdb.ExpiredHoldsParams{MaxRows: expirePage}))
		}, most: 10},
		{name: "DeleteOpenHolds", run: func() error {
			return q.DeleteOpenHolds(ctx, walletdb.DeleteOpenHoldsParams{WalletIds: ids, Seqs: sequences})
		}, most: 700},
		{name: "TopicIsRegistered", run: func() error { return second(q.TopicIsRegistered(ctx, "wallet-events")) }, most: 2},
		{name: "LastSequences", run: func() error { return second(q.LastSequences(ctx, ids)) }, most: 350},
		{name: "WalletsBehind", run: func() error {
			return second(q.WalletsBehind(ctx, walletdb.WalletsBehindParams{Ids: ids, Seqs: sequences}))
		}, most: 350},
		{name: "WalletsAfter", run: func() error {
			return second(q.WalletsAfter(ctx, walletdb.WalletsAfterParams{After: ids[0], MaxRows: 100}))
		}, most: 450},
		{name: "OutboxAfter", run: func() error {
			return second(q.OutboxAfter(ctx, walletdb.OutboxAfterParams{Topic: "wallet-operations", After: 50_000, UpTo: 1 << 40, AgeMs: 0, MaxRows: 100}))
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
		got := e.Last.Buffers()
		for _, part := range e.Last.Plans {
			if part.Type == "ModifyTable" { // of a WITH: the whole does not count it
				got += part.Buffers()
			}
		}
		if strict {
			t.Logf("%s reads %d buffers", query.name, got)
		}
		if strict && got > query.most {
			t.Errorf("%s reads %d buffers, want at most %d", query.name, got, query.most)
		}
	}
}

// asPlanned runs a query as lockAndRead does: the settings end with the transaction.
func asPlanned(ctx context.Context, conn *pgx.Conn, query func() error) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return errors.Join(walletdb.New(tx).PlanForSubjects(ctx), query(), walletdb.New(tx).PlanAsUsual(ctx))
	})
}

func second[T any](_ T, err error) error { return err }

// However often a client has tried, and goes on trying, to use a hold that is closed: it takes a few looks into the index to
// know what is left of it.
func TestTriesOfADeadHoldCostNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	h := s.ask(operation{WalletID: wallet, Type: hold, Amount: 1})
	s.exec("INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id) SELECT $1, n, gen_random_uuid(), 'CAPTURE', 1, $2 FROM generate_series(2, 40000) n", wallet, h.ID)
	s.exec("INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, subject_left) SELECT wallet_id, seq, 'FAILED', 'HOLD_CLOSED', 0, 0 FROM operations WHERE seq <= 20000")
	s.exec("UPDATE outcomes SET status = 'PROCESSED', failure_reason = NULL WHERE seq = 1") // or nobody asks what is left
	s.exec("UPDATE wallets SET applied_seq = 20000")
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		conn := planned(t, s, mode)
		e := testkit.Explain(conn)
		err := asPlanned(t.Context(), conn, func() error {
			return second(walletdb.New(e).Subjects(t.Context(), walletdb.SubjectsParams{
				WalletIds: []uuid.UUID{wallet}, Ids: []uuid.UUID{h.ID}, ExpireIds: []uuid.UUID{event.ExpireID(h.ID)}, MaxNamed: maxNamed,
			}))
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Last.Buffers(); got > 150 {
			t.Errorf("%s: Subjects reads %d buffers, want at most 150", mode, got)
		}
	}
}
