package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	cacheTimeout  = 500 * time.Millisecond
	cacheInterval = 250 * time.Millisecond // between two looks at Redis
)

var errRestarted = errors.New("restarted")

// cache writes wallets to Redis after they are committed. It holds nothing up: after a write that
// failed, the following ones are left out, and as soon as Redis answers again every entry is made
// unreadable in one write.
type cache struct {
	client   *redis.Client
	health   *health
	failures prometheus.Counter

	missed atomic.Int64 // writes that Redis did not get since all was well
}

func newCache(options *redis.Options, health *health, failures prometheus.Counter) *cache {
	options.ContextTimeoutEnabled = true // or a silent Redis would take its own, longer time
	options.MaxRetries, options.DialerRetries = -1, 1
	redis.SetLogger(quiet{}) // it would tell every failure, and health tells the first
	return &cache{client: redis.NewClient(options), health: health, failures: failures}
}

// write is for every wallet of a transaction, changed or not: an earlier worker may have died
// between its commit and its write.
func (c *cache) write(ctx context.Context, wallets []walletdb.Wallet) {
	if c.missed.Load() > 0 {
		c.missed.Add(1)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cacheTimeout)
	defer cancel()
	if err := walletcache.Set(ctx, c.client, wallets); err != nil {
		c.miss(err)
	}
}

func (c *cache) miss(err error) {
	c.missed.Add(1)
	c.failures.Inc()
	c.health.degrade("redis", err)
}

// watch looks after Redis until ctx ends.
func (c *cache) watch(ctx context.Context) {
	var server string
	for ctx.Err() == nil {
		server = c.look(ctx, server)
		sleep(ctx, cacheInterval)
	}
}

// look invalidates the cache if Redis missed a write, or is not the server it was: one that was
// restarted may have lost the last writes without a failure here. It returns which server it is.
func (c *cache) look(ctx context.Context, before string) (server string) {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	server = before
	info, err := c.client.Info(ctx).Result()
	if reply := redis.Error(nil); errors.As(err, &reply) {
		err = nil // it answers, and will not say
	} else if err == nil {
		server = runID(info)
	}
	if before != "" && server != before {
		err = errRestarted
	}
	if err != nil {
		c.miss(err)
	}
	missed := c.missed.Load()
	if missed == 0 {
		return server
	}
	if err := walletcache.Invalidate(ctx, c.client); err != nil {
		return before
	}
	// A write that is left out meanwhile keeps the flag up: a reader may have filled the cache
	// between the two.
	if c.missed.CompareAndSwap(missed, 0) {
		c.health.ok("redis")
	}
	return server
}

// runID finds the identity that a Redis server gives itself at its start. Not every server has one.
func runID(info string) string {
	_, rest, _ := strings.Cut(info, "run_id:")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
