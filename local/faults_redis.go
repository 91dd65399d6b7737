package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// redisFaults are those of a Redis that answers, and refuses writes or has lost some. miniredis does
// neither.
func (f *campaign) redisFaults() []kind {
	notPossible := ""
	if _, err := exec.LookPath("redis-server"); err != nil {
		notPossible = "needs redis-server on PATH"
	}
	const holds = 5 * time.Second
	told := func(name, service string, throw, heal []any) kind {
		do := func(command []any) func(context.Context) error {
			return func(ctx context.Context) error { return f.cache.Do(ctx, command...).Err() }
		}
		k := kind{name: name, holds: holds, within: ofService, throw: do(throw), heal: do(heal), notPossible: notPossible}
		return k.telling(service, "redis")
	}
	return []kind{
		told("redis read-only for 5 s", "api", []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}),
		told("redis' memory full for 5 s", "worker", []any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}),
		told("EVAL and SET taken from redis' user for 5 s", "api",
			[]any{"ACL", "SETUSER", "default", "-eval", "-evalsha", "-set"}, []any{"ACL", "SETUSER", "default", "+eval", "+evalsha", "+set"}),
		{name: "redis restarted from a dump of a second ago", within: ofService, throw: f.restartRedisFromDump, notPossible: notPossible},
	}
}

// restartRedisFromDump loses what was written for a second, and was confirmed.
func (f *campaign) restartRedisFromDump(ctx context.Context) error {
	if err := f.cache.Save(ctx).Err(); err != nil {
		return err
	}
	// Later starts are from nothing again.
	defer os.Remove(filepath.Join(f.stack.State.Dir, "dump.rdb"))
	proc.Pause(ctx, time.Second)
	return f.stack.Process("redis").Restart(ctx, syscall.SIGKILL)
}
