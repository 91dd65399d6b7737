package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// fill stores operations in SQL, as the services would have: dense in each wallet, each with its
// outbox row, deposits of 1 so that a balance is its sequence. With applied they are history: applied,
// published, and the relay is past them. No service that uses these rows may run meanwhile.
func fill(ctx context.Context, conn *pgx.Conn, topic string, wallets []uuid.UUID, rows int, applied bool) error {
	const perTransaction = 100_000
	perWallet := max(1, rows/len(wallets))
	rounds := max(1, perTransaction/len(wallets)) // sequences that a transaction adds to each wallet
	for from := 0; from < perWallet; from += rounds {
		to := min(perWallet, from+rounds)
		if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `CREATE TEMP TABLE filled ON COMMIT DROP AS
				SELECT w.id AS wallet_id, n::bigint AS seq, gen_random_uuid() AS id FROM generate_series($2::int, $3::int) n, unnest($1::uuid[]) w (id)`, wallets, from+1, to)
			if err != nil {
				return err
			}
			sql := `INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT wallet_id, seq, id, 'DEPOSIT', 1 FROM filled ORDER BY seq;
				INSERT INTO outbox (topic, headers, key, payload) SELECT '` + topic + `', '{"version":"1"}', wallet_id, convert_to(format(
					'{"walletId":"%s","sequence":%s,"operationId":"%s","type":"DEPOSIT","amount":1,"acceptedAt":"%s"}',
					wallet_id, seq, id, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), 'UTF8') FROM filled ORDER BY seq;
				UPDATE wallet_sequences s SET last_seq = f.seq FROM (SELECT wallet_id, max(seq) AS seq FROM filled GROUP BY 1) f WHERE s.wallet_id = f.wallet_id;`
			if applied {
				sql += `INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT wallet_id, seq, 'PROCESSED', seq FROM filled ORDER BY seq;
				UPDATE wallets w SET balance = f.seq, applied_seq = f.seq FROM (SELECT wallet_id, max(seq) AS seq FROM filled GROUP BY 1) f WHERE w.id = f.wallet_id;`
			}
			_, err = tx.Exec(ctx, sql)
			return err
		}); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	if applied {
		if _, err := conn.Exec(ctx, "UPDATE relay_positions SET prev = pg_current_snapshot(), cur = NULL, after_id = 0, last_id = 0"); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "VACUUM ANALYZE") // as autovacuum would have by now
	return err
}

// store fills what the scenario begins with into wallets of its own, while the relay and the worker
// stand still.
func (t *bed) store(ctx context.Context) (err error) {
	if t.sc.stored == 0 {
		return nil
	}
	const wallets = 1000
	if t.ballast, err = openWallets(t.apiURLs[0], t.apiKey, wallets); err != nil {
		return err
	}
	for _, name := range []string{"relay", "worker"} {
		t.process(name).stop()
	}
	if err := fill(ctx, t.conn, t.topic, t.ballast, t.sc.stored, true); err != nil {
		return err
	}
	for _, name := range []string{"relay", "worker"} {
		if err := t.process(name).start(ctx); err != nil {
			return err
		}
	}
	return nil
}
