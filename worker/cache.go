package main

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

const cacheTimeout = 500 * time.Millisecond

// newCache is where wallets are raised after they are committed: every wallet of a transaction, changed
// or not, for an earlier worker may have died between its commit and its write. It holds nothing up.
func newCache(client redis.UniversalClient, health *health, metrics *metrics) *walletcache.Guard {
	failed := func(err error) {
		metrics.cacheErrors.Inc()
		health.degrade("redis", err)
	}
	changed := func(err error) {
		if err == nil {
			health.ok("redis")
		}
	}
	guard := walletcache.NewGuard(client, cacheTimeout, failed, changed)
	metrics.gauge("wallet_cache_refused", "1 while Redis answers and refuses what the cache needs: a replica, full memory, a right that is missing.", nil,
		func() int { return number(guard.Refused()) })
	return guard
}
