//go:build e2e

package main

import (
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

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
	r.SysProcAttr = endsWithTest
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
