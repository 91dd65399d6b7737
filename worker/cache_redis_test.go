//go:build e2e

package main

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// A Redis that is stopped takes connections and never answers.
func TestASilentRedisHoldsNothingUp(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	c := newTestCache(t, r.addr).watched(t)
	id := uuid.New()
	c.fill(t, id, 1)
	_ = r.Process.Signal(syscall.SIGSTOP)
	begin := time.Now()
	for range 1000 {
		c.Set(walletAt(id, 2))
	}
	if took := time.Since(begin); took > 4*cacheTimeout {
		t.Errorf("1000 writes took %v", took)
	}
	_ = r.Process.Signal(syscall.SIGCONT)
	eventually(t, 5*time.Second, func() string {
		if err := c.Err(); err != nil {
			return err.Error()
		}
		return ""
	})
	if got := c.cachedVersion(t, id); got == 1 {
		t.Error("version 1 can be read although 2 is committed")
	}
}

// Which writes Redis refuses, and why, is in /readyz without a single operation.
func TestARefusalIsToldWithoutAnyWrite(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	c := newTestCache(t, r.addr).watched(t)
	degraded := func(part string) func() string {
		return func() string {
			if got := c.health.State().Degraded; !strings.Contains(strings.Join(got, "; "), part) || part == "" && len(got) > 0 {
				return fmt.Sprintf("degraded: %q", got)
			}
			return ""
		}
	}
	for _, fault := range []struct{ make, heal, told string }{
		{"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "redis: READONLY"},
		{"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "redis: OOM"},
		{"ACL SETUSER default -evalsha", "ACL SETUSER default +evalsha", "redis: NOPERM"},
		{"ACL SETUSER default -hset", "ACL SETUSER default +hset", "redis: "},
	} {
		operator := redis.NewClient(&redis.Options{Addr: r.addr})
		defer operator.Close()
		do := func(command string) {
			if err := operator.Do(t.Context(), words(command)...).Err(); err != nil {
				t.Fatal(command, err)
			}
		}
		do(fault.make)
		eventually(t, 5*time.Second, degraded(fault.told))
		if !c.Refused() {
			t.Errorf("%s: it is not said that Redis answers", fault.make)
		}
		do(fault.heal)
		eventually(t, 5*time.Second, degraded(""))
	}
}

func words(command string) (words []any) {
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	return words
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
