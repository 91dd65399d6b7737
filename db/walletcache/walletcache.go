// Package walletcache keeps wallets in Redis by version, so that a reader never sees a wallet go
// back. The worker writes every wallet it applies to, the api what it reads from Postgres.
//
// Redis may vanish or lose writes at any time: Postgres stays the truth, entries expire, and a
// writer that missed a write calls Invalidate as soon as Redis answers again, which makes every
// entry of before unreadable.
package walletcache

import (
	"context"
	_ "embed"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// Channel is where Set announces each wallet as "walletId:version".
	Channel = "wallet-applied"

	generationKey = "wallet-generation"
	ttl           = 5 * time.Minute
)

//go:embed set.lua
var setSource string

var setScript = redis.NewScript(setSource)

// Set writes wallets in one round trip, each unless the cache holds a newer version of it, and
// announces them on Channel. A caller that gets an error must see to it that Invalidate is called.
func Set(ctx context.Context, client redis.UniversalClient, wallets []walletdb.Wallet) error {
	return run(ctx, client, wallets, Channel)
}

// Fill is Set for a reader: it announces nothing.
func Fill(ctx context.Context, client redis.UniversalClient, wallets ...walletdb.Wallet) error {
	return run(ctx, client, wallets, "")
}

// Raise tells the cache newer states of wallets of which only id, version and balance are known, so
// that no older ones are read from it.
func Raise(ctx context.Context, client redis.UniversalClient, states ...walletdb.Wallet) error {
	return run(ctx, client, states, "")
}

// Get reports false if the cache cannot tell.
func Get(ctx context.Context, client redis.UniversalClient, id uuid.UUID) (walletdb.Wallet, bool, error) {
	pipe := client.Pipeline()
	generation := pipe.Get(ctx, generationKey)
	fields := pipe.HMGet(ctx, key(id), "generation", "version", "balance", "currency", "created_at", "reference")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return walletdb.Wallet{}, false, err
	}
	var got [6]string
	for i, value := range fields.Val() {
		got[i], _ = value.(string)
	}
	if got[0] != generation.Val() || got[3] == "" {
		return walletdb.Wallet{}, false, nil
	}
	version, versionErr := strconv.ParseInt(got[1], 10, 64)
	balance, balanceErr := strconv.ParseInt(got[2], 10, 64)
	createdAt, createdErr := time.Parse(time.RFC3339Nano, got[4])
	if err := errors.Join(versionErr, balanceErr, createdErr); err != nil {
		return walletdb.Wallet{}, false, err
	}
	wallet := walletdb.Wallet{ID: id, Currency: got[3], Balance: balance, AppliedSeq: version, CreatedAt: createdAt}
	if got[5] != "" {
		wallet.Reference = &got[5]
	}
	return wallet, true, nil
}

// Invalidate makes every present entry unreadable, in one write.
func Invalidate(ctx context.Context, client redis.UniversalClient) error {
	return client.Set(ctx, generationKey, uuid.NewString(), 0).Err()
}

func run(ctx context.Context, client redis.UniversalClient, wallets []walletdb.Wallet, channel string) error {
	send := func() error {
		pipe := client.Pipeline()
		for _, w := range wallets {
			setScript.EvalSha(ctx, pipe, []string{generationKey, key(w.ID)}, arguments(w, channel)...)
		}
		_, err := pipe.Exec(ctx)
		return err
	}
	err := send()
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		if err := setScript.Load(ctx, client).Err(); err != nil {
			return err
		}
		err = send()
	}
	return err
}

// arguments are set.lua's. The time to live varies by a fifth, so that entries written together do
// not expire together.
func arguments(w walletdb.Wallet, channel string) []any {
	expiry := ttl - rand.N(ttl/5)
	createdAt, reference := "", ""
	if w.Currency != "" {
		createdAt = w.CreatedAt.UTC().Format(time.RFC3339Nano)
	}
	if w.Reference != nil {
		reference = *w.Reference
	}
	return []any{w.AppliedSeq, w.Balance, w.Currency, createdAt, reference, expiry.Milliseconds(), channel, w.ID.String()}
}

func key(id uuid.UUID) string { return "wallet:" + id.String() }
