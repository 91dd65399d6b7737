//go:build e2e

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// A Redis that is stopped takes connections and never answers.
func TestASilentRedisHoldsNothingUp(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t)
	c := newTestCache(t, r.Addr).watched(t)
	id := uuid.New()
	c.fill(t, id, 1)
	_ = r.Process.Signal(syscall.SIGSTOP)
	begin := time.Now()
	for range 1000 {
		c.Set(walletAt(id, 2))
	}
	if took := time.Since(begin); took > 20*cacheTimeout {
		t.Errorf("1000 writes took %v", took)
	}
	_ = r.Process.Signal(syscall.SIGCONT)
	testkit.Until(t, "the cache is used again", c.Err)
	if got := c.cachedVersion(t, id); got == 1 {
		t.Error("version 1 can be read although 2 is committed")
	}
}

// Which writes Redis refuses, and why, is in /readyz without a single operation.
func TestARefusalIsToldWithoutAnyWrite(t *testing.T) {
	t.Parallel()
	r := testkit.StartRedis(t)
	c := newTestCache(t, r.Addr).watched(t)
	degraded := func(part string) func() error {
		return func() error {
			got := c.health.State().Degraded
			return testkit.Unless(strings.Contains(strings.Join(got, "; "), part) && (part != "" || len(got) == 0), "degraded: %q", got)
		}
	}
	for _, fault := range []struct{ make, heal, told string }{
		{make: "REPLICAOF 127.0.0.1 1", heal: "REPLICAOF NO ONE", told: "redis: READONLY"},
		{make: "CONFIG SET maxmemory 1", heal: "CONFIG SET maxmemory 0", told: "redis: OOM"},
		{make: "ACL SETUSER default -evalsha", heal: "ACL SETUSER default +evalsha", told: "redis: NOPERM"},
		{make: "ACL SETUSER default -hset", heal: "ACL SETUSER default +hset", told: "redis: "},
	} {
		operator := redis.NewClient(&redis.Options{Addr: r.Addr})
		defer operator.Close()
		do := func(command string) {
			if err := operator.Do(t.Context(), words(command)...).Err(); err != nil {
				t.Fatal(command, err)
			}
		}
		do(fault.make)
		testkit.Until(t, "the refusal is told", degraded(fault.told))
		if !c.Refused() {
			t.Errorf("%s: it is not said that Redis answers", fault.make)
		}
		do(fault.heal)
		testkit.Until(t, "it is over", degraded(""))
	}
}

func words(command string) (words []any) {
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	return words
}
