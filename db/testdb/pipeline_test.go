package testdb_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestAPipelineReadsItsAnswersInTheOrderOfItsQueries(t *testing.T) {
	t.Parallel()
	ctx, conn, id := t.Context(), testdb.New(t).Conn(t), uuid.New()
	var wallet walletdb.Wallet
	var locked []walletdb.WalletSequence
	err := db.Pipeline(ctx, conn, func(q *walletdb.Queries) (err error) {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if _, err := q.CreateWallet(ctx, walletdb.CreateWalletParams{ID: id, Currency: "EUR", Tenant: db.DefaultTenant}); err != nil {
			return err
		}
		if err := q.CreateSequence(ctx, walletdb.CreateSequenceParams{WalletID: id, Tenant: db.DefaultTenant}); err != nil {
			return err
		}
		if wallet, err = q.GetWallet(ctx, id); err != nil {
			return err
		}
		if locked, err = q.LockSequences(ctx, walletdb.LockSequencesParams{WalletIds: []uuid.UUID{id}, Tenants: []string{db.AllTenants}}); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if wallet.ID != id || wallet.Currency != "EUR" || len(locked) != 1 || locked[0].WalletID != id {
		t.Errorf("wallet %+v, locked %+v", wallet, locked)
	}
}

func TestAFailedPipelineCommitsNothing(t *testing.T) {
	t.Parallel()
	ctx, conn, id, refusedID := t.Context(), testdb.New(t).Conn(t), uuid.New(), uuid.New()
	err := db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if _, err := q.CreateWallet(ctx, walletdb.CreateWalletParams{ID: id, Currency: "EUR", Tenant: db.DefaultTenant}); err != nil {
			return err
		}
		if err := q.AdvanceSequences(ctx, walletdb.AdvanceSequencesParams{WalletIds: []uuid.UUID{id}, LastSeqs: []int64{-1}}); err != nil {
			return err
		}
		if _, err := q.CreateWallet(ctx, walletdb.CreateWalletParams{ID: refusedID, Currency: "euro", Tenant: db.DefaultTenant}); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "23514" {
		t.Fatalf("want a check violation, got %v", err)
	}
	if err := walletdb.New(conn).Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	var wallets int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM wallets").Scan(&wallets); err != nil || wallets != 0 {
		t.Errorf("%d wallets, %v", wallets, err)
	}
}

func TestAPipelineThatBranchesOnAResultPanics(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	for _, test := range []struct {
		name string
		fn   func(ctx context.Context, q *walletdb.Queries, again bool) error
	}{
		{"another query", func(ctx context.Context, q *walletdb.Queries, again bool) error {
			if again {
				return q.Rollback(ctx)
			}
			return q.Commit(ctx)
		}},
		{"one query more", func(ctx context.Context, q *walletdb.Queries, again bool) error {
			if again {
				return q.Commit(ctx)
			}
			return nil
		}},
		{"one query less", func(ctx context.Context, q *walletdb.Queries, again bool) error {
			if again {
				return nil
			}
			return q.Commit(ctx)
		}},
		{"another argument", func(ctx context.Context, q *walletdb.Queries, again bool) error {
			ids := []uuid.UUID{{1}}
			if again {
				ids[0] = uuid.UUID{2}
			}
			_, err := q.LockWallets(ctx, ids)
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := database.Conn(t)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			again := false
			err := db.Pipeline(t.Context(), conn, func(q *walletdb.Queries) error {
				err := q.Begin(t.Context())
				if err == nil {
					err = test.fn(t.Context(), q, again)
				}
				again = true
				return err
			})
			t.Errorf("it ended with %v", err)
		})
	}
}

// A stopped service must not hold its locks for ever, and a standby must never be read.
func TestConnectionsCarryTheirLimits(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	config, err := db.Config(database.As(testdb.API))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for name, want := range map[string]string{
		"synchronous_commit": "on", "statement_timeout": "10s", "lock_timeout": "3s", "jit": "off",
		"idle_in_transaction_session_timeout": "5s", "tcp_user_timeout": "10000", "tcp_keepalives_idle": "5",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, want %q (%v)", name, got, want, err)
		}
	}

	owner := database.Conn(t)
	if _, err := owner.Exec(t.Context(), "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$"); err != nil {
		t.Fatal(err)
	}
	pool.Reset()
	if err := pool.Ping(t.Context()); err == nil {
		t.Error("a read-only server was accepted")
	}
}
