package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
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
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// quietRound is a round after which a wallet holds 7: 10 in, 50 not out, 3 out.
func quietRound(t *testing.T) *campaign {
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
	cache := redis.NewClient(options)
	t.Cleanup(func() { _ = cache.Close() })
	// A running process keeps what is cached readable.
	ignore := func(error) {}
	go walletcache.NewGuard(cache, 5*time.Second, ignore, ignore).Run(t.Context())
	wallet := uuid.New()
	f := &campaign{stack: &stack.Stack{}, pool: pool, cache: cache, hot: wallet, wallets: []uuid.UUID{wallet}}
	f.change(t, `INSERT INTO wallets (id, currency, balance, applied_seq) VALUES ($1, 'USD', 7, 3)`)
	f.change(t, `INSERT INTO wallet_sequences (wallet_id, last_seq) VALUES ($1, 3)`)
	f.change(t, `INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES
		($1, 1, gen_random_uuid(), 'DEPOSIT', 10), ($1, 2, gen_random_uuid(), 'WITHDRAW', 50), ($1, 3, gen_random_uuid(), 'WITHDRAW', 3)`)
	f.change(t, `INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after) VALUES
		($1, 1, 'PROCESSED', NULL, 10), ($1, 2, 'FAILED', 'INSUFFICIENT_FUNDS', 10), ($1, 3, 'PROCESSED', NULL, 7)`)
	return f
}

// putInCache does what an api does that reads the wallet.
func putInCache(t *testing.T, cache redis.UniversalClient, w walletdb.Wallet) {
	t.Helper()
	for ticket := walletcache.Ticket(""); ticket == ""; time.Sleep(20 * time.Millisecond) { // a new server has to settle
		var err error
		if _, ticket, _, err = walletcache.Read(t.Context(), cache, w.ID); err == nil {
			err = walletcache.Fill(t.Context(), cache, ticket, w)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
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
	wallet := walletdb.Wallet{ID: f.hot, Currency: "USD", Balance: 7, AppliedSeq: 3}
	putInCache(t, f.cache, wallet)
	if broken := f.wrongEntries(t.Context()); len(broken) != 0 {
		t.Fatalf("the same as Postgres is fine, not %v", broken)
	}
	f.change(t, "UPDATE wallets SET balance = 6, applied_seq = 4 WHERE id = $1")
	if broken := f.wrongEntries(t.Context()); len(broken) == 0 {
		t.Error("nobody complained")
	}
}

func TestARoundTakesOneSlowFaultOrSomeQuickOnes(t *testing.T) {
	quick, held, slow := kind{name: "quick", within: ofService}, kind{name: "held", within: ofService, holds: 5 * time.Second}, kind{name: "slow", within: ofServer}
	for name, c := range map[string]struct {
		deck []kind
		want int
	}{
		"quick":                     {[]kind{quick, quick, quick, quick, quick, quick, quick}, 6},
		"the end of the deck":       {[]kind{quick, quick}, 2},
		"held ones":                 {[]kind{held, held, held}, 2},
		"a held one, and quick":     {[]kind{held, quick, held, held}, 3},
		"slow":                      {[]kind{slow, quick}, 1},
		"slow after quick":          {[]kind{quick, quick, slow}, 2},
		"what loses the log, alone": {[]kind{quick, {within: ofService, losesLog: true}}, 1},
	} {
		if hand := deal(c.deck); len(hand) != c.want {
			t.Errorf("%s: %d faults", name, len(hand))
		}
	}
}

func TestTheWatchSeesACacheThatGoesBackOrAhead(t *testing.T) {
	t.Parallel()
	f := quietRound(t)
	f.wallets = append(f.wallets, uuid.New(), uuid.New())
	w := &watch{campaign: f, wallets: f.wallets}
	look := w.cacheWatcher()
	entry := func(version int64) {
		t.Helper()
		if err := f.cache.Del(t.Context(), "wallet:"+f.hot.String()).Err(); err != nil {
			t.Fatal(err)
		}
		putInCache(t, f.cache, walletdb.Wallet{ID: f.hot, Currency: "USD", AppliedSeq: version})
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
	r := &logReader{log: []check.Message{
		{WalletID: wallet, Sequence: 1, Partition: 0, Offset: 10},
		{WalletID: wallet, Sequence: 2, Partition: 0, Offset: 11},
		{WalletID: wallet, Sequence: 1, Partition: 0, Offset: 12},
		{WalletID: wallet, Sequence: 3, Partition: 0, Offset: 13},
		{WalletID: other, Sequence: 7, Partition: 1, Offset: 10},
	}}
	passed := r.passed(map[int32]int64{0: 13, 1: 10})
	if passed[wallet] != 2 || passed[other] != 0 {
		t.Errorf("%v", passed)
	}
}

func TestAReportIsForPeopleAndForPrograms(t *testing.T) {
	dir := t.TempDir()
	r := &faultsReport{
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seed: 7, Faults: 3, Kinds: []*record{
			{Name: "one", Thrown: 3, Recoveries: []float64{3, 1, 2}, WorstAccept: 4},
			{Name: "another", NotPossible: "no root"},
		},
	}
	if err := r.write(dir, "apache-10m"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "faults-2026-01-02-apache-10m.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-01-02 03:04", "seed 7", "| one | 3 | 2.0 | 3.0 | 0.0 | 4.0 |", "| another | not possible here: no root"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var read faultsReport
	if text, err = os.ReadFile(filepath.Join(dir, "faults-2026-01-02-apache-10m.json")); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil || read.Faults != 3 || len(read.Kinds) != 2 {
		t.Errorf("%v: %s", err, text)
	}
}

// A find that no longer matches would take nothing away.
func TestMutationsOfTheCampaignMatchTheCode(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Concat(faultMutations, standbyMutations) {
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(m.edits); i += 2 {
			if n := strings.Count(string(source), m.edits[i]); n != 1 {
				t.Errorf("%s: %s has %q %d times", m.rule, m.file, m.edits[i], n)
			}
		}
	}
}
