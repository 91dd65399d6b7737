package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// BenchmarkVerify audits OPERATIONS (100,000) operations, 100 for each wallet, with their messages:
// OPERATIONS=1000000 go test -run '^$' -bench Verify -benchtime 1x ./ctl
func BenchmarkVerify(b *testing.B) {
	operations := 100_000
	if given, err := strconv.Atoi(os.Getenv("OPERATIONS")); err == nil {
		operations = given
	}
	database := testdb.New(b)
	for _, sql := range []string{
		"INSERT INTO wallets (id, currency, balance, applied_seq) SELECT gen_random_uuid(), 'EUR', 100, 100 FROM generate_series(1, $1::int / 100)",
		"INSERT INTO wallet_sequences SELECT id, applied_seq FROM wallets WHERE $1::int > 0",
		"INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT id, n, gen_random_uuid(), 'DEPOSIT', 1 FROM generate_series(1, 100) n, wallets WHERE $1::int > 0",
		"INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT wallet_id, seq, 'PROCESSED', seq FROM operations WHERE $1::int > 0",
		`INSERT INTO outbox (topic, key, payload) SELECT 'wallet-operations', wallet_id::text, convert_to(json_build_object('walletId', wallet_id,
			'sequence', seq, 'operationId', id, 'type', type, 'amount', amount, 'acceptedAt', created_at)::text, 'UTF8') FROM operations WHERE $1::int > 0`,
	} {
		if _, err := database.Conn(b).Exec(b.Context(), sql, operations); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		var stdout, stderr bytes.Buffer
		if code := run(b.Context(), []string{"verify"}, []string{"DATABASE_URL=" + database.URL}, nil, &stdout, &stderr); code != 0 {
			b.Fatalf("exit code %d: %s%s", code, &stdout, &stderr)
		}
		b.Log(stdout.String())
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(operations)*float64(b.N)/b.Elapsed().Seconds(), "operations/s")
	b.ReportMetric(float64(usage.Maxrss)/1024, "MiB-RSS")
}
