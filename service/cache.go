package service

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// NewCache is the process' use of Redis. It reports in health whether the process works without Redis;
// errors counts failures.
func NewCache(client redis.UniversalClient, timeout time.Duration, errors prometheus.Counter, health *Health, registry prometheus.Registerer) *walletcache.Guard {
	walletcache.Silence()
	guard := walletcache.NewGuard(client, timeout,
		func(error) { errors.Inc() },
		func(err error) { health.Set(Redis, err) })
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wallet_cache_refused",
		Help: "1 while Redis answers and refuses what the cache needs: a replica, full memory, a right that is missing.",
	}, func() float64 { return number(guard.Refused()) }))
	return guard
}
