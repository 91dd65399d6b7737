// Package fill stores operations in SQL, as the services would have.
package fill

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// outboxKept is how many rows an outbox keeps at most: those of older operations are deleted by now.
const outboxKept = 10_000_000

// Wallets stores operations of some wallets: dense in each wallet, each with its
// outbox row, deposits of 1 so that a balance is its sequence. With applied they are history: applied,
// published, and the relay is past them; its indexes are built at the end. No service that uses these rows
// may run meanwhile.
func Wallets(ctx context.Context, conn *pgx.Conn, topic string, wallets []uuid.UUID, rows int, applied bool) error {
	const atOnce = 100_000
	perWallet := max(1, rows/len(wallets))
	rounds := max(1, atOnce/len(wallets)) // sequences that each wallet gets at once
	before := []string{"SET synchronous_commit = off"}
	after := []string{"VACUUM ANALYZE", "RESET synchronous_commit"} // autovacuum would have come by
	if applied {
		before = append(before,
			"ALTER TABLE operations DROP CONSTRAINT operations_pkey, DROP CONSTRAINT operations_id",
			"ALTER TABLE outcomes DROP CONSTRAINT outcomes_pkey")
		after = append([]string{
			"SET maintenance_work_mem = '1GB'",
			"ALTER TABLE operations ADD PRIMARY KEY (wallet_id, seq), ADD CONSTRAINT operations_id UNIQUE (id)",
			"ALTER TABLE outcomes ADD PRIMARY KEY (wallet_id, seq)",
			"UPDATE relay_positions SET prev = pg_current_snapshot(), cur = NULL, after_id = 0, last_id = 0",
		}, after...)
	}
	if err := execAll(ctx, conn, before); err != nil {
		return err
	}
	for from := 0; from < perWallet; from += rounds {
		kept := (perWallet-from)*len(wallets) <= outboxKept
		if err := fillSome(ctx, conn, topic, wallets, from+1, min(perWallet, from+rounds), applied, kept); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return execAll(ctx, conn, after)
}

func execAll(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// fillSome adds the sequences from … to. The outbox gets its rows in transactions as large as flushes:
// the plans of the relay's queries depend on how many rows an xid has.
func fillSome(ctx context.Context, conn *pgx.Conn, topic string, wallets []uuid.UUID, from, to int, applied, outbox bool) error {
	_, err := conn.Exec(ctx, `CREATE TEMP TABLE filled AS
		SELECT w.id AS wallet_id, n::bigint AS seq, gen_random_uuid() AS id, row_number() OVER (ORDER BY n) / 250 AS flush, now() AS created_at
		FROM generate_series($2::int, $3::int) n, unnest($1::uuid[]) w (id)`, wallets, from, to)
	if err != nil {
		return err
	}
	steps := []string{
		`INSERT INTO operations (wallet_id, seq, id, type, amount, created_at) SELECT wallet_id, seq, id, 'DEPOSIT', 1, created_at FROM filled ORDER BY seq`,
		`UPDATE wallet_sequences s SET last_seq = f.seq, last_at = f.at FROM (SELECT wallet_id, max(seq) AS seq, max(created_at) AS at FROM filled GROUP BY 1) f WHERE s.wallet_id = f.wallet_id`,
	}
	if outbox {
		steps = append(steps, `CREATE INDEX ON filled (flush)`,
			`DO $$ BEGIN
			FOR n IN 0 .. (SELECT max(flush) FROM filled) LOOP
				INSERT INTO outbox (topic, headers, key, payload) SELECT '`+topic+`', '{"version":"1"}', wallet_id, convert_to(format(
					'{"walletId":"%s","sequence":%s,"operationId":"%s","type":"DEPOSIT","amount":1,"acceptedAt":"%s"}',
					wallet_id, seq, id, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), 'UTF8') FROM filled WHERE flush = n ORDER BY seq;
				COMMIT;
			END LOOP;
		END $$`)
	}
	if applied {
		steps = append(steps,
			`INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT wallet_id, seq, 'PROCESSED', seq FROM filled ORDER BY seq`,
			`UPDATE wallets w SET balance = f.seq, applied_seq = f.seq FROM (SELECT wallet_id, max(seq) AS seq FROM filled GROUP BY 1) f WHERE w.id = f.wallet_id`)
	}
	return execAll(ctx, conn, append(steps, `DROP TABLE filled`))
}
