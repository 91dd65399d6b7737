package main

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const cacheTimeout = 500 * time.Millisecond

// newCache is where wallets are raised after they are committed: every wallet of a transaction, changed
// or not, for an earlier worker may have died between its commit and its write. It delays no transaction.
func newCache(client redis.UniversalClient, health *service.Health, metrics *metrics) *walletcache.Guard {
	return service.NewCache(client, cacheTimeout, metrics.cacheErrors, health, metrics.registry)
}
