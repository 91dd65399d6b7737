package testdb_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// BenchmarkStored shows what operations that are stored already cost the next ones: an accept flush and
// a worker's batch of 100 operations, on one wallet and on 100, while STORED (0) finished operations of
// 100,000 wallets are in the tables. Their ids are random, as those of operations with an idempotency
// key; "no-key" has ids in order of time. It logs how large the tables are: 300 bytes of disk a stored
// operation are needed. KEEP=name keeps them, in a database of that name, for the next run.
//
// Times and CPU are those of the connection's backend; buffers are what it found in shared buffers
// and what it had to read. The server must be on this machine, on Linux.
//
//	for n in 0 1000000 10000000 50000000; do STORED=$n go test -run '^$' -bench Stored -benchtime 500x ./db/testdb; done
func BenchmarkStored(b *testing.B) {
	stored, _ := strconv.Atoi(os.Getenv("STORED"))
	var database testdb.Database
	empty := true
	if name := os.Getenv("KEEP"); name != "" {
		database, empty = testdb.Kept(b, name)
	} else {
		database = testdb.New(b)
	}
	conn := database.Conn(b)
	if empty {
		fill(b, conn, stored)
	}
	if _, err := conn.Exec(b.Context(), "CHECKPOINT"); err != nil {
		b.Fatal(err)
	}
	rows, err := conn.Query(b.Context(), `SELECT format('%s %s MB', relname, pg_relation_size(oid) / 1000000) FROM pg_class
		WHERE relname ~ '^(operations|outcomes|wallets|wallet_sequences|outbox)' AND relkind IN ('r', 'i') ORDER BY relname`)
	if err != nil {
		b.Fatal(err)
	}
	sizes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	b.Log(sizes)
	api, worker := connect(b, database, testdb.API), connect(b, database, testdb.Worker)
	for _, wallets := range []int{1, 100} {
		for _, measured := range []struct {
			name string
			id   func() (uuid.UUID, error)
			conn *pgx.Conn
		}{{"accept", uuid.NewRandom, api}, {"accept no-key", uuid.NewV7, api}, {"apply", uuid.NewRandom, worker}} {
			b.Run(fmt.Sprintf("%s/wallets=%d", measured.name, wallets), func(b *testing.B) {
				before := used(b, conn, measured.conn)
				for b.Loop() {
					b.StopTimer()
					ids := some(b, conn, wallets)
					step(b, measured.conn == api, func() error { return accept(b.Context(), api, ids, measured.id) })
					step(b, measured.conn == worker, func() error { return apply(b.Context(), worker, ids) })
					b.StartTimer()
				}
				b.StopTimer()
				after := used(b, conn, measured.conn)
				per := func(n int64) float64 { return float64(n) / float64(b.N*batch) }
				b.ReportMetric(per(b.Elapsed().Microseconds()), "µs/operation")
				b.ReportMetric(per(after.cpu-before.cpu)/1000, "cpu-µs/operation")
				b.ReportMetric(per(after.wal-before.wal), "B-WAL/operation")
				b.ReportMetric(per(after.pages-before.pages), "pages-in-WAL/operation")
				b.ReportMetric(per(after.hits-before.hits), "hits/operation")
				b.ReportMetric(per(after.reads-before.reads), "reads/operation")
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
// would have been accepted. They are frozen as they come, and indexes are built afterwards, so that
// everything is written once.
func fill(b *testing.B, conn *pgx.Conn, stored int) {
	b.Helper()
	uuid.EnableRandPool()
	each := stored / storedWallets
	exec := func(statements ...string) {
		b.Helper()
		for _, sql := range statements {
			if _, err := conn.Exec(b.Context(), sql); err != nil {
				b.Fatalf("%s: %v", sql, err)
			}
		}
	}
	// load copies rows of the columns in binary, of which row appends the fields.
	load := func(table string, columns uint16, row func(fields []byte, wallet uuid.UUID, seq uint64) []byte) {
		b.Helper()
		rows, err := conn.Query(b.Context(), "SELECT id FROM wallets")
		if err != nil {
			b.Fatal(err)
		}
		wallets, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if err != nil {
			b.Fatal(err)
		}
		from, to := io.Pipe()
		go func() {
			buffered := bufio.NewWriterSize(to, 1<<16)
			_, _ = buffered.WriteString("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
			var fields []byte
			for seq := range each {
				for _, wallet := range wallets {
					fields = row(binary.BigEndian.AppendUint16(fields[:0], columns), wallet, uint64(seq+1))
					_, _ = buffered.Write(fields)
				}
			}
			_, _ = buffered.WriteString("\xff\xff")
			_ = to.CloseWithError(buffered.Flush())
		}()
		if _, err := conn.PgConn().CopyFrom(b.Context(), from, "COPY "+table+" FROM STDIN (FORMAT binary, FREEZE)"); err != nil {
			b.Fatalf("%s: %v", table, err)
		}
	}
	exec("SET maintenance_work_mem = '4GB'",
		fmt.Sprintf("INSERT INTO wallets (id, currency, balance, applied_seq) SELECT gen_random_uuid(), 'EUR', %d, %[1]d FROM generate_series(1, %d)", each, storedWallets),
		fmt.Sprintf("INSERT INTO wallet_sequences SELECT id, %d FROM wallets", each),
		"BEGIN",
		"ALTER TABLE operations DROP CONSTRAINT operations_pkey, DROP CONSTRAINT operations_id",
		"ALTER TABLE outcomes DROP CONSTRAINT outcomes_pkey",
		"TRUNCATE operations, outcomes")
	load("operations (wallet_id, seq, id, type, amount)", 5, func(fields []byte, wallet uuid.UUID, seq uint64) []byte {
		id := uuid.New()
		fields = field(number(field(fields, wallet[:]), seq), id[:])
		return number(field(fields, []byte("DEPOSIT")), 1)
	})
	load("outcomes (wallet_id, seq, status, balance_after)", 4, func(fields []byte, wallet uuid.UUID, seq uint64) []byte {
		return number(field(number(field(fields, wallet[:]), seq), []byte("PROCESSED")), seq)
	})
	exec("ALTER TABLE operations ADD PRIMARY KEY (wallet_id, seq)",
		"ALTER TABLE operations ADD CONSTRAINT operations_id UNIQUE (id)",
		"ALTER TABLE outcomes ADD PRIMARY KEY (wallet_id, seq)",
		"COMMIT",
		"VACUUM ANALYZE")
	b.Logf("%d operations are stored", each*storedWallets)
}

// field appends a value in COPY's binary format.
func field(fields, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(fields, uint32(len(value))), value...)
}

func number(fields []byte, n uint64) []byte {
	return field(fields, binary.BigEndian.AppendUint64(nil, n))
}

func connect(b *testing.B, database testdb.Database, service testdb.Service) *pgx.Conn {
	b.Helper()
	config, err := db.Config(database.As(service))
	if err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(b.Context(), config.ConnConfig)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// step counts the time of run if it is to be measured.
func step(b *testing.B, measured bool, run func() error) {
	b.Helper()
	if measured {
		b.StartTimer()
		defer b.StopTimer()
	}
	if err := run(); err != nil {
		b.Fatal(err)
	}
}

// usage is what a backend used since it began: CPU in ns, bytes of WAL, whole pages in it, and buffers.
type usage struct{ cpu, wal, pages, hits, reads int64 }

// used returns the usage of the backend of a connection, seen from another one.
func used(b *testing.B, owner, conn *pgx.Conn) (u usage) {
	b.Helper()
	_, err := conn.Exec(b.Context(), "SELECT pg_stat_force_next_flush()")
	if err == nil {
		err = owner.QueryRow(b.Context(), `SELECT split_part(pg_read_file(format('/proc/%s/schedstat', pid)), ' ', 1)::bigint, wal.wal_bytes::bigint, wal.wal_fpi, io.hits, io.reads
			FROM (SELECT $1::int AS pid) p, pg_stat_get_backend_wal(pid) wal,
			LATERAL (SELECT sum(hits)::bigint AS hits, sum(reads)::bigint AS reads FROM pg_stat_get_backend_io(pid) WHERE object = 'relation') io`,
			conn.PgConn().PID()).Scan(&u.cpu, &u.wal, &u.pages, &u.hits, &u.reads)
	}
	if err != nil {
		b.Fatal(err)
	}
	return u
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
func accept(ctx context.Context, conn *pgx.Conn, wallets []uuid.UUID, newID func() (uuid.UUID, error)) error {
	var at time.Time
	last := map[uuid.UUID]int64{}
	err := db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		locked, err := q.LockSequences(ctx, wallets)
		for _, row := range locked {
			last[row.WalletID] = row.LastSeq
		}
		if err == nil {
			at, err = q.ReadClock(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	operations, outbox := walletdb.InsertOperationsParams{}, walletdb.InsertOutboxParams{Topic: "wallet-operations", Headers: `{"version":"1"}`}
	for i := range batch {
		wallet := wallets[i%len(wallets)]
		id, err := newID()
		if err != nil {
			return err
		}
		last[wallet]++
		operations.WalletIds = append(operations.WalletIds, wallet)
		operations.Seqs = append(operations.Seqs, last[wallet])
		operations.Ids = append(operations.Ids, id)
		operations.Types = append(operations.Types, "DEPOSIT")
		operations.Amounts = append(operations.Amounts, 1)
		operations.Refs = append(operations.Refs, "")
		operations.CreatedAts = append(operations.CreatedAts, at)
		outbox.Keys = append(outbox.Keys, wallet.String())
		outbox.Payloads = append(outbox.Payloads, fmt.Appendf(nil, `{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":1,"acceptedAt":"2026-11-24T12:00:00.000000Z"}`, wallet, last[wallet], id))
	}
	advances := walletdb.AdvanceSequencesParams{}
	for wallet, seq := range last {
		advances.WalletIds, advances.LastSeqs, advances.LastAts = append(advances.WalletIds, wallet), append(advances.LastSeqs, seq), append(advances.LastAts, at)
	}
	return db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
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
	err := db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
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
	return db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOutcomes(ctx, outcomes); err != nil {
			return err
		}
		if _, err := q.AdvanceWallets(ctx, advances); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}
