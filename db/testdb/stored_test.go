package testdb_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// BenchmarkStored shows what operations that are stored already cost the next ones: an accept flush and
// a worker's batch of 100 operations, on one wallet and on 100, while STORED (0) finished operations of
// 100,000 wallets are in the tables. It logs how large these are. 300 bytes a row of disk are needed.
//
//	for n in 0 1000000 10000000 50000000; do STORED=$n go test -run '^$' -bench Stored -benchtime 500x ./db/testdb; done
func BenchmarkStored(b *testing.B) {
	stored, _ := strconv.Atoi(os.Getenv("STORED"))
	database := testdb.New(b)
	conn := database.Conn(b)
	fill(b, conn, stored)
	rows, err := conn.Query(b.Context(), `SELECT format('%s %s MB', relname, pg_relation_size(oid) / 1000000) FROM pg_class
		WHERE relname ~ '^(operations|outcomes|wallets|wallet_sequences)' AND relkind IN ('r', 'i') ORDER BY relname`)
	if err != nil {
		b.Fatal(err)
	}
	sizes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	b.Log(sizes)
	steps := []struct {
		name    string
		service testdb.Service
		run     func(context.Context, *pgx.Conn, []uuid.UUID) error
		conn    *pgx.Conn
	}{{name: "accept", service: testdb.API, run: accept}, {name: "apply", service: testdb.Worker, run: apply}}
	for i, step := range steps {
		config, err := db.Config(database.As(step.service))
		if err != nil {
			b.Fatal(err)
		}
		if steps[i].conn, err = pgx.ConnectConfig(b.Context(), config.ConnConfig); err != nil {
			b.Fatal(err)
		}
		defer steps[i].conn.Close(context.Background())
	}
	written := func(b *testing.B) (bytes int64) {
		if err := conn.QueryRow(b.Context(), "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&bytes); err != nil {
			b.Fatal(err)
		}
		return bytes
	}
	for _, wallets := range []int{1, 100} {
		for _, measured := range steps {
			b.Run(fmt.Sprintf("%s/wallets=%d", measured.name, wallets), func(b *testing.B) {
				var wal int64
				for b.Loop() {
					b.StopTimer()
					ids := some(b, conn, wallets)
					for _, step := range steps {
						before := written(b)
						if step.name == measured.name {
							b.StartTimer()
						}
						if err := step.run(b.Context(), step.conn, ids); err != nil {
							b.Fatal(err)
						}
						b.StopTimer()
						if step.name == measured.name {
							wal += written(b) - before
						}
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/operation")
				b.ReportMetric(float64(wal)/float64(b.N*batch), "B-WAL/operation")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

const (
	batch         = 100 // operations
	storedWallets = 100_000
)

// fill makes the wallets, and as many finished operations as asked for, in the order in which they
// would have been accepted. Indexes are built afterwards.
func fill(b *testing.B, conn *pgx.Conn, stored int) {
	b.Helper()
	each := stored / storedWallets
	for _, sql := range []string{
		"SET maintenance_work_mem = '512MB'",
		fmt.Sprintf("INSERT INTO wallets (id, currency, balance, applied_seq) SELECT gen_random_uuid(), 'EUR', %d, %[1]d FROM generate_series(1, %d)", each, storedWallets),
		fmt.Sprintf("INSERT INTO wallet_sequences SELECT id, %d FROM wallets", each),
		"ALTER TABLE operations DROP CONSTRAINT operations_pkey, DROP CONSTRAINT operations_id",
		"ALTER TABLE outcomes DROP CONSTRAINT outcomes_pkey",
		fmt.Sprintf("INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT id, n, gen_random_uuid(), 'DEPOSIT', 1 FROM generate_series(1, %d) n CROSS JOIN wallets", each),
		fmt.Sprintf("INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT id, n, 'PROCESSED', n FROM generate_series(1, %d) n CROSS JOIN wallets", each),
		"ALTER TABLE operations ADD PRIMARY KEY (wallet_id, seq)",
		"ALTER TABLE operations ADD CONSTRAINT operations_id UNIQUE (id)",
		"ALTER TABLE outcomes ADD PRIMARY KEY (wallet_id, seq)",
		"VACUUM ANALYZE",
		"CHECKPOINT",
	} {
		if _, err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatalf("%s: %v", sql, err)
		}
	}
	b.Logf("%d operations are stored", each*storedWallets)
}

// some returns different wallets, each as likely as any other.
func some(b *testing.B, conn *pgx.Conn, wallets int) []uuid.UUID {
	b.Helper()
	var id uuid.UUID
	for seen := map[uuid.UUID]bool{}; ; seen[id] = true {
		if len(seen) == wallets {
			return slices.Collect(maps.Keys(seen))
		}
		from := uuid.UUID{byte(rand.IntN(255)), byte(rand.IntN(256)), byte(rand.IntN(256))}
		if err := conn.QueryRow(b.Context(), "SELECT id FROM wallets WHERE id > $1 ORDER BY id LIMIT 1", from).Scan(&id); err != nil {
			b.Fatal(err)
		}
	}
}

// accept is the api's flush of a batch on the wallets, without the lookup of known operations.
func accept(ctx context.Context, conn *pgx.Conn, wallets []uuid.UUID) error {
	last := map[uuid.UUID]int64{}
	err := db.Trip(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		locked, err := q.LockSequences(ctx, wallets)
		for _, row := range locked {
			last[row.WalletID] = row.LastSeq
		}
		return err
	})
	if err != nil {
		return err
	}
	operations, outbox := walletdb.InsertOperationsParams{}, walletdb.InsertOutboxParams{Topic: "wallet-operations", Headers: `{"version":"1"}`}
	for i := range batch {
		wallet, id := wallets[i%len(wallets)], uuid.New()
		last[wallet]++
		operations.WalletIds = append(operations.WalletIds, wallet)
		operations.Seqs = append(operations.Seqs, last[wallet])
		operations.Ids = append(operations.Ids, id)
		operations.Types = append(operations.Types, "DEPOSIT")
		operations.Amounts = append(operations.Amounts, 1)
		operations.Refs = append(operations.Refs, "")
		outbox.Keys = append(outbox.Keys, wallet.String())
		outbox.Payloads = append(outbox.Payloads, fmt.Appendf(nil, `{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":1,"acceptedAt":"2026-11-24T12:00:00.000000Z"}`, wallet, last[wallet], id))
	}
	advances := walletdb.AdvanceSequencesParams{}
	for wallet, seq := range last {
		advances.WalletIds, advances.LastSeqs = append(advances.WalletIds, wallet), append(advances.LastSeqs, seq)
	}
	return db.Trip(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOperations(ctx, operations); err != nil {
			return err
		}
		if err := q.InsertOutbox(ctx, outbox); err != nil {
			return err
		}
		if err := q.AdvanceSequences(ctx, advances); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}

// apply is the worker's transaction for everything that the wallets have pending.
func apply(ctx context.Context, conn *pgx.Conn, ids []uuid.UUID) error {
	upTo := make([]int64, len(ids))
	for i := range upTo {
		upTo[i] = 1 << 62
	}
	balances, pending := map[uuid.UUID]int64{}, []walletdb.PendingOperationsRow(nil)
	err := db.Trip(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		locked, err := q.LockWallets(ctx, ids)
		if err != nil {
			return err
		}
		for _, wallet := range locked {
			balances[wallet.ID] = wallet.Balance
		}
		pending, err = q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: ids, UpTo: upTo, MaxRows: 5_000})
		return err
	})
	if err != nil {
		return err
	}
	outcomes, applied := walletdb.InsertOutcomesParams{}, map[uuid.UUID]int64{}
	for _, operation := range pending {
		balances[operation.WalletID] += operation.Amount
		applied[operation.WalletID] = operation.Seq
		outcomes.WalletIds = append(outcomes.WalletIds, operation.WalletID)
		outcomes.Seqs = append(outcomes.Seqs, operation.Seq)
		outcomes.Statuses = append(outcomes.Statuses, "PROCESSED")
		outcomes.FailureReasons = append(outcomes.FailureReasons, "")
		outcomes.BalancesAfter = append(outcomes.BalancesAfter, balances[operation.WalletID])
	}
	advances := walletdb.AdvanceWalletsParams{}
	for id, seq := range applied {
		advances.Ids, advances.AppliedSeqs, advances.Balances = append(advances.Ids, id), append(advances.AppliedSeqs, seq), append(advances.Balances, balances[id])
	}
	return db.Trip(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOutcomes(ctx, outcomes); err != nil {
			return err
		}
		if _, err := q.AdvanceWallets(ctx, advances); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}
