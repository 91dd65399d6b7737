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
	"github.com/legendary-wallet/legendary-wallet/local/servers/redisset"
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
		return ofOneRedis(f, k.Reporting(service, "redis"))
	}
	return []system.Fault{
		told("redis read-only for 5 s", "api", []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}),
		told("redis' memory full for 5 s", "worker", []any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}),
		told("EVAL and SET taken from redis' user for 5 s", "api",
			[]any{"ACL", "SETUSER", "default", "-eval", "-evalsha", "-set"}, []any{"ACL", "SETUSER", "default", "+eval", "+evalsha", "+set"}),
		ofOneRedis(f, system.Fault{
			Name: "redis restarted from a dump of a second ago", Within: system.OfService, Throw: func(ctx context.Context) error { return restartRedisFromDump(ctx, f) }, NotPossible: notPossible,
		}),
	}
}

// ofOneRedis is a fault that several servers do not have, or get over by themselves.
func ofOneRedis(f *system.System, k system.Fault) system.Fault {
	if f.Stack.Backing.Redis != "" {
		k.NotPossible = "there are several servers: REDIS is set"
	}
	return k
}

// sentinelFaults let another server be promoted.
func sentinelFaults(f *system.System) []system.Fault {
	s := f.Stack.Backing.Sentinels
	var gone *redisset.Node
	return only(s != nil, "there are no Sentinels: REDIS=sentinel", []system.Fault{
		{Name: "redis' master killed, its replica behind", Within: system.OfService, Throw: func(ctx context.Context) (err error) {
			gone, err = s.KillMaster(ctx)
			return err
		}, Heal: func(ctx context.Context) error { return s.BringBack(ctx, gone) }},
		{Name: "a failover of redis by the operator", Within: system.OfService, Throw: s.Failover},
		{Name: "SIGSTOP of redis' master, until another is promoted", Within: system.OfService, Throw: func(ctx context.Context) (err error) {
			gone, err = s.StopMaster(ctx)
			return err
		}, Heal: func(ctx context.Context) error {
			err := s.AwaitPromotion(ctx, gone)
			gone.Signal(syscall.SIGCONT)
			return err
		}},
	})
}

// redisClusterFaults move what the cache is in, and take a master away.
func redisClusterFaults(f *system.System) []system.Fault {
	c := f.Stack.Backing.RedisCluster
	var gone *redisset.Node
	return only(c != nil, "there is no cluster: REDIS=cluster", []system.Fault{
		{Name: "the slots of the cache moved", Within: system.OfService, Throw: c.MoveGroups},
		{Name: "a master of redis' cluster killed, until its replica leads", Within: system.OfService, Throw: func(ctx context.Context) (err error) {
			gone, err = c.KillMaster(ctx)
			return err
		}, Heal: func(ctx context.Context) error { return c.BringBack(ctx, gone) }},
	})
}

// only is kinds that are not possible, unless they are.
func only(possible bool, otherwise string, kinds []system.Fault) []system.Fault {
	for i := range kinds {
		if !possible {
			kinds[i].NotPossible = otherwise
		}
	}
	return kinds
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
