// Package cachetest has what tests of several modules need of the cache.
package cachetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// Keep makes what is cached in a Redis server readable for ten minutes, as if a process kept it so on a machine that
// does not stall.
func Keep(t testing.TB, client *redis.Client) {
	t.Helper()
	testkit.Until(t, "the generation is kept", func() error {
		settle(t, client)
		kept, err := client.PExpire(t.Context(), "wallet-generation", 10*time.Minute).Result()
		return errors.Join(err, testkit.Unless(kept, "it has ended"))
	})
}

// settle lets a process begin a generation, which is no sooner than a new server has settled, and end.
func settle(t testing.TB, client *redis.Client) {
	ctx, stop := context.WithCancel(t.Context())
	var process sync.WaitGroup
	defer process.Wait()
	defer stop()
	ignore := func(error) {}
	process.Go(func() { walletcache.NewGuard(client, 5*time.Second, ignore, ignore).Run(ctx) })
	testkit.Until(t, "the server has settled", func() error {
		_, ticket, _, err := walletcache.Read(ctx, client, uuid.New())
		return errors.Join(err, testkit.Unless(ticket != "", "it has not"))
	})
}
