package system

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache/cachetest"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// quietRound is a round after which a wallet holds 7: 10 in, 50 not out, 3 out.
func quietRound(t *testing.T) *System {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testdb.New(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	options, err := redis.ParseURL(stacktest.Required(t, "TEST_REDIS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	options.DB = 11 // others renew the generation of what they share, and so lose all that is cached there
	cache := redis.NewClient(options)
	t.Cleanup(func() { _ = cache.Close() })
	wallet := uuid.New()
	f := &System{Stack: &stack.Stack{}, Pool: pool, Cache: cache, Hot: wallet, Wallets: []uuid.UUID{wallet}}
	f.change(t, `INSERT INTO wallets (id, currency, balance, applied_seq) VALUES ($1, 'USD', 7, 3)`)
	f.change(t, `INSERT INTO wallet_sequences (wallet_id, last_seq) VALUES ($1, 3)`)
	f.change(t, `INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES
		($1, 1, gen_random_uuid(), 'DEPOSIT', 10), ($1, 2, gen_random_uuid(), 'WITHDRAW', 50), ($1, 3, gen_random_uuid(), 'WITHDRAW', 3)`)
	f.change(t, `INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after) VALUES
		($1, 1, 'PROCESSED', NULL, 10), ($1, 2, 'FAILED', 'INSUFFICIENT_FUNDS', 10), ($1, 3, 'PROCESSED', NULL, 7)`)
	return f
}

func (f *System) change(t *testing.T, statement string) {
	t.Helper()
	if _, err := f.Pool.Exec(t.Context(), statement, f.Hot); err != nil {
		t.Fatal(err)
	}
}

// complaints are those about the tables alone.
func (f *System) complaints(ctx context.Context, t *testing.T) int {
	t.Helper()
	totals, err := f.totals(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chains, err := f.BrokenChains(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return len(check.Totals(totals).Broken) + len(chains)
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
	wallet := walletdb.Wallet{ID: f.Hot, Currency: "USD", Balance: 7, AppliedSeq: 3, State: "ACTIVE"}
	cachetest.Put(t, f.Cache, wallet)
	if broken := f.wrongEntries(t.Context()); len(broken) != 0 {
		t.Fatalf("the same as Postgres is fine, not %v", broken)
	}
	f.change(t, "UPDATE wallets SET balance = 6, applied_seq = 4 WHERE id = $1")
	if broken := f.wrongEntries(t.Context()); len(broken) == 0 {
		t.Error("nobody complained")
	}
}

func TestTheWatchSeesACacheThatGoesBackOrAhead(t *testing.T) {
	t.Parallel()
	f := quietRound(t)
	f.Wallets = append(f.Wallets, uuid.New(), uuid.New())
	w := &Watch{campaign: f, wallets: f.Wallets}
	look := w.cacheWatcher()
	entry := func(version int64) {
		t.Helper()
		if err := f.Cache.Del(t.Context(), "wallet:"+f.Hot.String()).Err(); err != nil {
			t.Fatal(err)
		}
		cachetest.Put(t, f.Cache, walletdb.Wallet{ID: f.Hot, Currency: "USD", AppliedSeq: version})
		look(t.Context())
	}
	entry(2)
	entry(3)
	if len(w.broken) > 0 {
		t.Fatalf("it goes forward, and yet: %q", w.broken)
	}
	entry(2)
	if len(w.broken) != 1 {
		t.Errorf("it went back: %q", w.broken)
	}
	entry(4)
	if len(w.broken) != 2 {
		t.Errorf("it is ahead of Postgres: %q", w.broken)
	}
}

func TestWhatIsBelowTheOffsetsIsKnownByWallet(t *testing.T) {
	wallet, other := uuid.New(), uuid.New()
	r := &logReader[check.Message]{log: []check.Message{
		{Message: event.Message{WalletID: wallet, Sequence: 1}, Partition: 0, Offset: 10},
		{Message: event.Message{WalletID: wallet, Sequence: 2}, Partition: 0, Offset: 11},
		{Message: event.Message{WalletID: wallet, Sequence: 1}, Partition: 0, Offset: 12},
		{Message: event.Message{WalletID: wallet, Sequence: 3}, Partition: 0, Offset: 13},
		{Message: event.Message{WalletID: other, Sequence: 7}, Partition: 1, Offset: 10},
	}}
	passed := passed(r, map[int32]int64{0: 13, 1: 10})
	if passed[wallet] != 2 || passed[other] != 0 {
		t.Errorf("%v", passed)
	}
}
