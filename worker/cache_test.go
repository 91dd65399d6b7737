package main

import (
	"context"
	"errors"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// testCache is a worker's way to Redis, and a reader's.
type testCache struct {
	*walletcache.Guard
	client redis.UniversalClient
	health *service.Health
}

func newTestCache(t testing.TB, addr string) testCache {
	t.Helper()
	client, err := walletcache.Open("redis://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	health := testHealth()
	return testCache{newCache(client, health, newMetrics()), client, health}
}

// watched is looked after until the test ends.
func (c testCache) watched(t testing.TB) testCache {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go c.Run(ctx)
	return c
}

func walletAt(id uuid.UUID, version int64) []walletdb.Wallet {
	return []walletdb.Wallet{{ID: id, Currency: "EUR", Balance: 10 * version, AppliedSeq: version}}
}

// fill is what a reader does who finds that version in Postgres, as soon as a new server has settled.
func (c testCache) fill(t testing.TB, id uuid.UUID, stored int64) {
	t.Helper()
	testkit.Until(t, "an entry is made", func() error {
		_, ticket, _, err := walletcache.Read(t.Context(), c.client, id)
		if err != nil || ticket == "" {
			return errors.Join(err, errors.New("nothing may be cached"))
		}
		return walletcache.Fill(t.Context(), c.client, ticket, walletcache.Entry{Wallet: walletAt(id, stored)[0]})
	})
}

// cachedVersion returns 0 if the cache has no answer.
func (c testCache) cachedVersion(t testing.TB, id uuid.UUID) int64 {
	t.Helper()
	w, _, err := walletcache.Get(context.Background(), c.client, id)
	if err != nil {
		t.Fatal(err)
	}
	return w.AppliedSeq
}

// Redis goes away and comes back with what it had: no reader may see that.
func TestWhatRedisMissedIsNotReadLater(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	c := newTestCache(t, server.Addr()).watched(t)
	missed := uuid.New()
	c.fill(t, missed, 1)
	c.Set(walletAt(missed, 2))
	if got := c.cachedVersion(t, missed); got != 2 {
		t.Fatalf("version %d, want 2", got)
	}
	server.Close()
	c.Set(walletAt(missed, 3))
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "the cache is used again", c.Err)
	if got := c.cachedVersion(t, missed); got != 0 {
		t.Errorf("version %d can still be read", got)
	}
	c.fill(t, missed, 3)
	c.Set(walletAt(missed, 4))
	if got := c.cachedVersion(t, missed); got != 4 {
		t.Errorf("version %d, want 4: the cache does not work again", got)
	}
}
