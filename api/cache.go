package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// cacheTimeout is how long a request waits for Redis before it goes on without.
	cacheTimeout = 50 * time.Millisecond

	// cacheRetry is the pause between attempts to have a broken cache back.
	cacheRetry = 250 * time.Millisecond
)

// cache is Redis while it answers. After any error it is broken: nothing is read from it or written
// to it, until watch has made all entries unreadable. So an entry that misses a write which a reader
// has seen is never read, and a Redis that hangs costs one timeout, not one for every request.
//
// If the process ends while the cache is broken, older entries may be read until they expire.
type cache struct {
	client redis.UniversalClient
	broken atomic.Bool
	errors prometheus.Counter
}

func newCache(client redis.UniversalClient) *cache {
	return &cache{client: client, errors: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "wallet_api_cache_errors_total", Help: "Reads, writes and repairs that Redis did not answer. While it is lost, only repairs are tried.",
	})}
}

// get reports false if Postgres is to be asked.
func (c *cache) get(ctx context.Context, id uuid.UUID) (wallet walletdb.Wallet, found bool) {
	c.use(ctx, func(ctx context.Context) (err error) {
		wallet, found, err = walletcache.Get(ctx, c.client, id)
		return err
	})
	return wallet, found
}

// fill puts in what was read from Postgres, before a client sees it.
func (c *cache) fill(ctx context.Context, wallets ...walletdb.Wallet) {
	if len(wallets) == 0 {
		return
	}
	c.use(ctx, func(ctx context.Context) error { return walletcache.Fill(ctx, c.client, wallets...) })
}

// raise puts in the wallets' states after finished operations, before a client sees them: the next
// balance that is read is not older. A pending operation says nothing about a balance, and of each
// wallet only the newest counts: hundreds that waited for one wallet cost one write.
func (c *cache) raise(ctx context.Context, operations ...walletdb.OperationState) {
	newest := map[uuid.UUID]walletdb.Wallet{}
	for _, o := range operations {
		if o.BalanceAfter != nil && o.Seq > newest[o.WalletID].AppliedSeq {
			newest[o.WalletID] = walletdb.Wallet{ID: o.WalletID, AppliedSeq: o.Seq, Balance: *o.BalanceAfter}
		}
	}
	if len(newest) > 0 {
		states := slices.Collect(maps.Values(newest))
		c.use(ctx, func(ctx context.Context) error { return walletcache.Raise(ctx, c.client, states...) })
	}
}

func (c *cache) use(ctx context.Context, fn func(ctx context.Context) error) {
	if c.broken.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cacheTimeout)
	defer cancel()
	err := fn(ctx)
	if err == nil {
		return
	}
	c.errors.Inc()
	if c.broken.CompareAndSwap(false, true) {
		slog.Warn("redis is lost, balances are read from postgres", "error", err)
	}
}

// watch repairs a broken cache.
func (c *cache) watch(ctx context.Context) {
	ticker := time.NewTicker(cacheRetry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if c.broken.Load() && c.invalidate(ctx) == nil {
			c.broken.Store(false)
			slog.Info("redis is back")
		}
	}
}

func (c *cache) invalidate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	err := walletcache.Invalidate(ctx, c.client)
	if err != nil {
		c.errors.Inc()
	}
	return err
}
