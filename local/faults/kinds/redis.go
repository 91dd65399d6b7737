package kinds

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// redisFaults are those of a Redis that answers, and refuses writes or has lost some. miniredis does
// neither.
func redisFaults(f *system.System) []system.Fault {
	notPossible := ""
	if _, err := exec.LookPath("redis-server"); err != nil {
		notPossible = "needs redis-server on PATH"
	}
	const holds = 5 * time.Second
	told := func(name, service string, throw, heal []any) system.Fault {
		do := func(command []any) func(context.Context) error {
			return func(ctx context.Context) error { return f.Cache.Do(ctx, command...).Err() }
		}
		k := system.Fault{Name: name, Holds: holds, Within: system.OfService, Throw: do(throw), Heal: do(heal), NotPossible: notPossible}
		return k.Reporting(service, "redis")
	}
	return []system.Fault{
		told("redis read-only for 5 s", "api", []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}),
		told("redis' memory full for 5 s", "worker", []any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}),
		told("EVAL and SET taken from redis' user for 5 s", "api",
			[]any{"ACL", "SETUSER", "default", "-eval", "-evalsha", "-set"}, []any{"ACL", "SETUSER", "default", "+eval", "+evalsha", "+set"}),
		{Name: "redis restarted from a dump of a second ago", Within: system.OfService, Throw: func(ctx context.Context) error { return restartRedisFromDump(ctx, f) }, NotPossible: notPossible},
	}
}

// restartRedisFromDump loses what was written for a second, and was confirmed.
func restartRedisFromDump(ctx context.Context, f *system.System) error {
	if err := f.Cache.Save(ctx).Err(); err != nil {
		return err
	}
	// Later starts are from nothing again.
	defer os.Remove(filepath.Join(f.Stack.State.Dir, "dump.rdb"))
	proc.Pause(ctx, time.Second)
	return f.Stack.Process("redis").Restart(ctx, syscall.SIGKILL)
}
