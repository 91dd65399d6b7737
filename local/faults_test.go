package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// quietRound is a round after which a wallet holds 7: 10 in, 50 not out, 3 out.
func quietRound(t *testing.T) *campaign {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testdb.New(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	options, err := redis.ParseURL(required(t, "TEST_REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	cache := redis.NewClient(options)
	t.Cleanup(func() { _ = cache.Close() })
	wallet := uuid.New()
	f := &campaign{stack: &stack{}, pool: pool, cache: cache, hot: wallet, wallets: []uuid.UUID{wallet}}
	f.change(t, `INSERT INTO wallets (id, currency, balance, applied_seq) VALUES ($1, 'USD', 7, 3)`)
	f.change(t, `INSERT INTO wallet_sequences (wallet_id, last_seq) VALUES ($1, 3)`)
	f.change(t, `INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES
		($1, 1, gen_random_uuid(), 'DEPOSIT', 10), ($1, 2, gen_random_uuid(), 'WITHDRAW', 50), ($1, 3, gen_random_uuid(), 'WITHDRAW', 3)`)
	f.change(t, `INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after) VALUES
		($1, 1, 'PROCESSED', NULL, 10), ($1, 2, 'FAILED', 'INSUFFICIENT_FUNDS', 10), ($1, 3, 'PROCESSED', NULL, 7)`)
	return f
}

func (f *campaign) change(t *testing.T, statement string) {
	t.Helper()
	if _, err := f.pool.Exec(t.Context(), statement, f.hot); err != nil {
		t.Fatal(err)
	}
}

// complaints are those about the tables alone.
func (f *campaign) complaints(ctx context.Context, t *testing.T) int {
	t.Helper()
	totals, err := f.totals(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chains, err := f.brokenChains(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return len(checkTotals(totals).broken) + len(chains)
}

func TestARoundsAuditSeesEachTampering(t *testing.T) {
	t.Parallel()
	if n := quietRound(t).complaints(t.Context(), t); n != 0 {
		t.Fatalf("%d complaints about what is right", n)
	}
	for name, statement := range map[string]string{
		"an amount changed":         "UPDATE operations SET amount = 11 WHERE wallet_id = $1 AND seq = 1",
		"a balance changed":         "UPDATE wallets SET balance = 8 WHERE id = $1",
		"a balance after changed":   "UPDATE outcomes SET balance_after = 60 WHERE wallet_id = $1 AND seq = 2",
		"a failure made a success":  "UPDATE outcomes SET status = 'PROCESSED', failure_reason = NULL WHERE wallet_id = $1 AND seq = 2",
		"an outcome lost":           "DELETE FROM outcomes WHERE wallet_id = $1 AND seq = 2",
		"an operation lost":         "DELETE FROM operations WHERE wallet_id = $1 AND seq = 3",
		"a sequence too far":        "UPDATE wallet_sequences SET last_seq = 4 WHERE wallet_id = $1",
		"a wallet that is not done": "UPDATE wallets SET applied_seq = 2 WHERE id = $1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := quietRound(t)
			f.change(t, statement)
			if f.complaints(t.Context(), t) == 0 {
				t.Error("nobody complained")
			}
		})
	}
}

func TestARoundsAuditSeesAStaleCacheEntry(t *testing.T) {
	t.Parallel()
	f := quietRound(t)
	if broken := f.wrongEntries(t.Context()); len(broken) != 0 {
		t.Fatalf("no entry is fine, not %v", broken)
	}
	wallet := walletdb.Wallet{ID: f.hot, Currency: "USD", Balance: 7, AppliedSeq: 3}
	store := func() {
		if err := walletcache.Set(t.Context(), f.cache, []walletdb.Wallet{wallet}); err != nil {
			t.Fatal(err)
		}
	}
	store()
	if broken := f.wrongEntries(t.Context()); len(broken) != 0 {
		t.Fatalf("the same as Postgres is fine, not %v", broken)
	}
	f.change(t, "UPDATE wallets SET balance = 6, applied_seq = 4 WHERE id = $1")
	if broken := f.wrongEntries(t.Context()); len(broken) == 0 {
		t.Error("nobody complained")
	}
}

// The faults of the shared Postgres, Redis and Kafka are left to `make faults`.
func TestAShortCampaignBreaksNoPromise(t *testing.T) {
	const seed = 1
	s := newSystem(t, config{apis: 2, relays: 2, workers: 2})
	f := &campaign{stack: s.stack, random: rand.New(rand.NewPCG(seed, 0))}
	if err := f.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.disconnect)
	var kinds []kind
	for _, k := range f.kinds() {
		if slices.Contains([]string{"kill -9 of an api", "kill -9 of the leading relay", "kill -9 of a worker", "kill -9 at relay-mid-wave"}, k.name) {
			kinds = append(kinds, k)
		}
	}
	var report strings.Builder
	if err := f.run(t.Context(), kinds, 15*time.Second, &report); err != nil {
		t.Errorf("%v\n%s", err, report.String())
	}
	t.Log(report.String())
}
