package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func newTestCache(t testing.TB, addr string) *cache {
	c := newCache(&redis.Options{Addr: addr}, newHealth(discard), newMetrics().cacheErrors)
	t.Cleanup(func() { _ = c.client.Close() })
	return c
}

func walletAt(id uuid.UUID, version int64) []walletdb.Wallet {
	return []walletdb.Wallet{{ID: id, Currency: "EUR", Balance: 10 * version, AppliedSeq: version}}
}

// cachedVersion returns 0 if the cache has no answer.
func cachedVersion(t testing.TB, c *cache, id uuid.UUID) int64 {
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
	c := newTestCache(t, server.Addr())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go c.watch(ctx)
	missed, other := uuid.New(), uuid.New()
	c.write(t.Context(), walletAt(missed, 1))
	if got := cachedVersion(t, c, missed); got != 1 {
		t.Fatalf("version %d, want 1", got)
	}
	server.Close()
	c.write(t.Context(), walletAt(missed, 2))
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, func() string {
		if got := cachedVersion(t, c, missed); got != 0 {
			return fmt.Sprintf("version %d can still be read", got)
		}
		return ""
	})
	eventually(t, time.Second, func() string {
		c.write(t.Context(), walletAt(other, 5))
		if got := cachedVersion(t, c, other); got != 5 {
			return fmt.Sprintf("version %d, want 5: the cache does not work again", got)
		}
		return ""
	})
}

// A reader fills the cache after it was invalidated, and before a write that is still left out: the
// cache must be invalidated once more.
func TestAWriteLeftOutDuringInvalidationCounts(t *testing.T) {
	t.Parallel()
	c := newTestCache(t, miniredis.RunT(t).Addr())
	id := uuid.New()
	c.missed.Store(1)
	c.client.AddHook(afterSet(func() {
		if err := walletcache.Fill(context.Background(), c.client, walletAt(id, 1)[0]); err != nil {
			t.Error(err)
		}
		c.write(context.Background(), walletAt(id, 2))
	}))
	c.look(t.Context(), "")
	c.look(t.Context(), "")
	if got := cachedVersion(t, c, id); got == 1 {
		t.Error("version 1 can be read although 2 is committed")
	}
}

// afterSet runs once after the first SET.
func afterSet(f func()) redis.Hook { return &setHook{f: f} }

type setHook struct{ f func() }

func (*setHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (*setHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *setHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if f := h.f; f != nil && cmd.Name() == "set" {
			h.f = nil
			f()
		}
		return err
	}
}
