// Package kinds is the kinds of faults that a system can be asked for.
package kinds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// All are the kinds that a system can be asked for. Those that are not possible here say why.
func All(f *system.System) []system.Fault {
	if f.Kfake != nil {
		return slices.Concat(brokerFaults(f), hooksFaults(f))
	}
	return slices.Concat(
		processFaults(f), hooksFaults(f), dataFaults(f), redisFaults(f), sentinelFaults(f), redisClusterFaults(f), failpoints(f),
		networkFaults(f), kafkaFaults(f), clusterFaults(f), standbyFaults(f),
	)
}

// processFaults end, restart and stop processes.
func processFaults(f *system.System) []system.Fault {
	ofEverything := system.OfServer
	if f.Stack.Backing.Brokers == servers.ClusterBrokers || f.Stack.Backing.Redis != "" { // four processes more, or five
		ofEverything = system.OfCluster
	}
	return []system.Fault{
		signalled(f, "kill -9 of an api", syscall.SIGKILL, system.OfService, "api"),
		dethroned(f, signalled(f, "kill -9 of the leading relay", syscall.SIGKILL, system.OfService, "relay"), 2*time.Second),
		signalled(f, "kill -9 of a worker", syscall.SIGKILL, system.OfService, "worker"),
		signalled(f, "kill -9 of kafka", syscall.SIGKILL, system.OfServer, "kafka"),
		signalled(f, "kill -9 of redis", syscall.SIGKILL, system.OfService, "redis"),
		{Name: "kill -9 of postgres", Throw: func(ctx context.Context) error { return killPostgres(ctx, f) }, Within: system.OfServer},
		{Name: "kill -9 of all services", Within: system.OfSession, Throw: func(context.Context) error {
			for _, p := range f.Stack.Services {
				p.Signal(syscall.SIGKILL)
			}
			return nil
		}},
		{Name: "kill -9 of everything", Within: ofEverything, Throw: func(ctx context.Context) error {
			for _, p := range slices.Concat(f.Stack.Services, f.Stack.Backing.Processes) {
				if p != f.Stack.PostgresServers()[0].Process {
					p.Signal(syscall.SIGKILL)
				}
			}
			return killPostgres(ctx, f)
		}},
		signalled(f, "SIGTERM of an api", syscall.SIGTERM, system.OfService, "api"),
		signalled(f, "SIGTERM of the leading relay", syscall.SIGTERM, system.OfService, "relay"),
		signalled(f, "SIGTERM of a worker", syscall.SIGTERM, system.OfService, "worker"),
		signalled(f, "SIGTERM of kafka", syscall.SIGTERM, system.OfServer, "kafka"),
		signalled(f, "SIGTERM of redis", syscall.SIGTERM, system.OfService, "redis"),
		signalled(f, "SIGTERM of postgres", syscall.SIGTERM, system.OfServer, "postgres"),
		{Name: "rolling restart of all services", Throw: func(ctx context.Context) error { return rollingRestart(ctx, f) }, Within: system.OfService},
		stopped(f, "SIGSTOP of an api, until the others do its work", "api", 0, system.OfService),
		dethroned(f, stopped(f, "SIGSTOP of the leading relay, until another leads", "relay", 0, system.OfService), 6*time.Second),
		stopped(f, "SIGSTOP of a worker, past its session", "worker", 0, system.OfSession),
		stopped(f, "SIGSTOP of kafka for 5 s", "kafka", 5*time.Second, system.OfService),
		ofOneRedis(f, stopped(f, "SIGSTOP of redis for 5 s", "redis", 5*time.Second, system.OfService).Reporting("worker", "redis")),
		{
			Name: "SIGSTOP of the postmaster for 5 s", Holds: 5 * time.Second, Within: system.OfService,
			Throw: func(context.Context) error { return signalPostmaster(f, syscall.SIGSTOP) },
			Heal:  func(context.Context) error { return signalPostmaster(f, syscall.SIGCONT) },
		},
	}
}

// signalled sends a signal to a process; the supervision starts it again when it ends.
func signalled(f *system.System, name string, signal syscall.Signal, within time.Duration, which string) system.Fault {
	return system.Fault{Name: name, Within: within, Throw: func(context.Context) error {
		pick(f, which).Signal(signal)
		return nil
	}}
}

func stopped(f *system.System, name, which string, holds, within time.Duration) system.Fault {
	var p *proc.Process
	return system.Fault{
		Name: name, Holds: holds, Within: within,
		Throw: func(context.Context) error { p = pick(f, which); p.Signal(syscall.SIGSTOP); return nil },
		Heal:  func(context.Context) error { p.Signal(syscall.SIGCONT); return nil },
	}
}

// dethroned measures until another relay leads than the one that a fault takes away.
func dethroned(f *system.System, k system.Fault, within time.Duration) system.Fault {
	throw := k.Throw
	k.Throw = func(ctx context.Context) error {
		old := pick(f, "relay").CurrentPID()
		stalled := func() time.Duration { return 0 }
		if f.Stalls != nil {
			stalled = f.Stalls()
		}
		began := time.Now()
		if err := throw(ctx); err != nil {
			stalled()
			return err
		}
		watch := f.Watch
		watch.Done.Go(func() {
			led := func() bool {
				return slices.ContainsFunc(f.Stack.Replicas("relay"), func(p *proc.Process) bool {
					pid := p.CurrentPID()
					if pid == old {
						return false
					}
					r, err := stack.AskReady(ctx, p)
					return err == nil && r.Role == "leader"
				})
			}
			for !led() && ctx.Err() == nil && time.Since(began) < system.AbandonAfter {
				proc.Pause(ctx, 10*time.Millisecond)
			}
			took := time.Since(began)
			f.Takeover.Store(int64(took))
			if allowed := within + stalled(); took > allowed && !f.Unhurried {
				watch.Violate("another relay led after %.1f s, not within %s", took.Seconds(), allowed)
			}
		})
		return nil
	}
	return k
}

// pick chooses one of the replicas; of the relays, the one that leads.
func pick(f *system.System, name string) *proc.Process {
	replicas := f.Stack.Replicas(name)
	leads := func(p *proc.Process) bool { return stack.Role(p) == "leader" }
	if name == "relay" && proc.Await(context.Background(), 5*time.Second, func() bool { return slices.ContainsFunc(replicas, leads) }) {
		if i := slices.IndexFunc(replicas, leads); i >= 0 {
			return replicas[i]
		}
	}
	return replicas[f.Random.IntN(len(replicas))]
}

// signalPostmaster reaches the server itself: its process is only its launcher.
func signalPostmaster(f *system.System, signal syscall.Signal) error {
	pid, err := f.Stack.PostgresServers()[0].Postmaster()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// killPostgres ends the server and then its launcher, which does not notice; the supervision starts
// both on the same data.
func killPostgres(_ context.Context, f *system.System) error {
	return f.Stack.PostgresServers()[0].Kill()
}

func rollingRestart(ctx context.Context, f *system.System) error {
	for _, p := range f.Stack.Services {
		if err := p.Restart(ctx, syscall.SIGTERM); err != nil {
			return err
		}
	}
	return nil
}

// failpoints kill a service where it hurts most.
func failpoints(f *system.System) (kinds []system.Fault) {
	for _, point := range []string{
		"accept-before-commit", "accept-after-commit",
		"relay-after-read", "relay-mid-wave", "relay-after-acks",
		"worker-before-transaction", "worker-after-lock", "worker-after-updates", "worker-after-events",
		"worker-before-credit-commit", "worker-after-credit-commit", "worker-before-return-commit", "worker-after-return-commit", "worker-after-commit", "worker-after-redis",
	} {
		which, _, _ := strings.Cut(point, "-")
		which = strings.Replace(which, "accept", "api", 1)
		kinds = append(kinds, dying(f, which, point, system.OfSession))
	}
	return kinds
}

func dying(f *system.System, which, point string, within time.Duration) system.Fault {
	return system.Fault{Name: "kill -9 at " + point, Within: within, Throw: func(ctx context.Context) error { return dieAt(ctx, f, which, point) }}
}

// dieAt starts a replica again with an order to die at a point. If it does not come there, the others
// are killed until it does their work: only one relay leads. Kills at a fixed interval would keep pace with
// the standby, which looks for the lock every 250 ms, and could come just after it each time.
func dieAt(ctx context.Context, f *system.System, which, point string) error {
	p := pick(f, which)
	before := p.CurrentPID()
	times := 10
	switch {
	case strings.HasSuffix(point, "-return-commit"):
		times = 2 // of a thousand operations a second, one or two come back, to one worker or the other
	case point == "hooks-after-take":
		times = 1 // there is one endpoint
	}
	p.NextStartWith("FAILPOINT="+point, "FAILPOINT_AFTER="+strconv.Itoa(f.Random.IntN(times)))
	p.Signal(syscall.SIGKILL)
	if err := p.StartedSince(ctx, before); err != nil {
		return err
	}
	armed := p.CurrentPID()
	dead := func() bool { now := p.CurrentPID(); return now != 0 && now != armed }
	for range 30 {
		if proc.Await(ctx, time.Second+time.Duration(rand.IntN(250))*time.Millisecond, dead) {
			return nil
		}
		for _, other := range f.Stack.Replicas(which) {
			if other != p {
				other.Signal(syscall.SIGKILL)
			}
		}
	}
	return fmt.Errorf("%s did not come to %s", which, point)
}
