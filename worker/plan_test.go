package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	e := &explainer{conn: conn, buffers: map[string]int{}}
	q := walletdb.New(e)
	ctx := t.Context()
	sequences := repeat(2, len(ids))
	for _, err := range []error{
		second(q.LockWallets(ctx, ids)),
		second(q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: ids, UpTo: sequences, MaxRows: maxOperations})),
		second(q.LastSequences(ctx, ids)),
		second(q.WalletsBehind(ctx, walletdb.WalletsBehindParams{Ids: ids, Seqs: sequences})),
		second(q.WalletsAfter(ctx, walletdb.WalletsAfterParams{After: ids[0], MaxRows: 100})),
		second(q.OutboxAfter(ctx, walletdb.OutboxAfterParams{After: 50_000, UpTo: 1 << 40, AgeMs: 0, MaxRows: 100})),
		second(q.OutboxHorizon(ctx)),
		second(q.LastOutboxID(ctx)),
		second(q.OutboxOlderThan(ctx, walletdb.OutboxOlderThanParams{ID: 50_000, AgeMs: 0})),
		second(q.AdvanceWallets(ctx, walletdb.AdvanceWalletsParams{Ids: ids, Balances: sequences, AppliedSeqs: sequences})),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for query, most := range map[string]int{
		"LockWallets": 450, "PendingOperations": 900, "LastSequences": 350, "WalletsBehind": 350, "WalletsAfter": 450,
		"OutboxAfter": 10, "OutboxHorizon": 4, "LastOutboxID": 4, "OutboxOlderThan": 5, "AdvanceWallets": 900,
	} {
		got, ok := e.buffers[query]
		if !ok || got > most {
			t.Errorf("%s reads %d buffers, want at most %d", query, got, most)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// explainer stands in for a connection: it explains running each query, and remembers how many
// buffers that read.
type explainer struct {
	walletdb.DBTX
	conn    *pgx.Conn
	buffers map[string]int
}

var queryName = regexp.MustCompile(`-- name: (\w+)`)

func (e *explainer) explain(ctx context.Context, sql string, args []any) error {
	name := queryName.FindStringSubmatch(sql)[1]
	if _, err := e.conn.Exec(ctx, fmt.Sprintf("PREPARE %q AS %s", name, sql)); err != nil {
		return err
	}
	explain := fmt.Sprintf("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE %q", name)
	if len(args) > 0 {
		literals := make([]string, len(args))
		for i, arg := range args {
			literals[i] = "'" + strings.NewReplacer("[", "{", "]", "}", " ", ",").Replace(fmt.Sprint(arg)) + "'"
		}
		explain += "(" + strings.Join(literals, ", ") + ")"
	}
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	var text []byte
	if err := e.conn.QueryRow(ctx, explain, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		return err
	}
	e.buffers[name] = plans[0].Plan.Hit + plans[0].Plan.Read
	return nil
}

func (e *explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := e.explain(ctx, sql, args); err != nil {
		return nil, err
	}
	return e.conn.Query(ctx, "SELECT WHERE false")
}

func (e *explainer) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, e.explain(ctx, sql, args)
}

func (e *explainer) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return explained{e.explain(ctx, sql, args)}
}

type explained struct{ err error }

func (e explained) Scan(...any) error { return e.err }
