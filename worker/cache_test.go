package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"syscall"
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

// A Redis that was restarted from an older copy has lost writes that it had confirmed.
func TestARestartedRedisIsNotTrusted(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	c := newTestCache(t, r.addr)
	id := uuid.New()
	c.write(t.Context(), walletAt(id, 1))
	if err := c.client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	c.write(t.Context(), walletAt(id, 2))
	server := c.look(t.Context(), "")
	r.kill()
	r.start()
	if got := cachedVersion(t, c, id); got != 1 {
		t.Fatalf("version %d after the restart, want the older copy's", got)
	}
	if again := c.look(t.Context(), server); again == server || again == "" {
		t.Errorf("server %q is the same as before", again)
	}
	if got := cachedVersion(t, c, id); got != 0 || c.missed.Load() != 0 {
		t.Errorf("version %d can be read, %d writes missed; want none", got, c.missed.Load())
	}
}

// A Redis that is stopped takes connections and never answers.
func TestASilentRedisHoldsNothingUp(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	c := newTestCache(t, r.addr)
	id := uuid.New()
	c.write(t.Context(), walletAt(id, 1))
	_ = r.Process.Signal(syscall.SIGSTOP)
	begin := time.Now()
	for range 1000 {
		c.write(t.Context(), walletAt(id, 2))
	}
	if took := time.Since(begin); took > 4*cacheTimeout {
		t.Errorf("1000 writes took %v", took)
	}
	_ = r.Process.Signal(syscall.SIGCONT)
	eventually(t, 5*time.Second, func() string {
		c.look(t.Context(), "")
		if n := c.missed.Load(); n > 0 {
			return fmt.Sprintf("%d writes missed", n)
		}
		return ""
	})
	if got := cachedVersion(t, c, id); got == 1 {
		t.Error("version 1 can be read although 2 is committed")
	}
}

// redisServer is a real Redis that can be killed and stopped.
type redisServer struct {
	*exec.Cmd
	t    testing.TB
	addr string
	dir  string
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	r := &redisServer{t: t, addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), dir: t.TempDir()}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	r.Cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--save", "")
	r.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.Cmd.Start(); err != nil {
		r.t.Fatalf("start redis-server (install the package redis-server): %v", err)
	}
	eventually(r.t, 10*time.Second, func() string {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			return err.Error()
		}
		_ = conn.Close()
		return ""
	})
}

func (r *redisServer) kill() {
	_ = r.Process.Kill()
	_ = r.Cmd.Wait()
}
