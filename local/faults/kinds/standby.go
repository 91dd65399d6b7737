package kinds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

const (
	// everythingPerSecond is what all kinds of requests come to, beside the campaign's own load.
	everythingPerSecond = 300
	// mostAPIConnections is what two apis may have open, however long their commits wait.
	mostAPIConnections = 30
	// noPause is the longest that nothing is accepted while one of two standbys is left.
	noPause = 2 * time.Second
)

// standbyFaults need STANDBYS: a primary whose commits wait for standbys.
func standbyFaults(f *system.System) []system.Fault {
	const short, longerThanAnyTimeout = 8 * time.Second, 17 * time.Second
	kinds := []system.Fault{
		missing(f, "standby stopped for 20 s", 20*time.Second, nil),
		missing(f, fmt.Sprintf("standby stopped for %s", f.Away), f.Away, nil),
		missing(f, "standby stopped, and the commits that wait cancelled", short, stack.CancelWaits),
		missing(f, "standby stopped, and the backends that wait terminated", short, stack.TerminateWaits),
		missing(f, "standby stopped, and the primary crashed while commits wait", short, stack.CrashPrimary),
		killedStandby(f),
		promoted(f, "standby killed, the primary destroyed, the standby promoted", longerThanAnyTimeout, nil, true),
		promoted(f, "the same after the commits that wait were cancelled", short, stack.CancelWaits, false),
		promoted(f, "the same after the backends that wait were terminated", short, stack.TerminateWaits, false),
		promoted(f, "the same after the primary crashed while commits waited", short, stack.CrashPrimary, true),
		oneOfTwo(f),
	}
	for i := range kinds {
		if f.Standbys == 0 {
			kinds[i].NotPossible = "there is no standby: STANDBYS=1 or 2"
		} else if f.Standbys == 1 && kinds[i].Name == oneOfTwo(f).Name {
			kinds[i].NotPossible = "there is one standby: STANDBYS=2"
		}
	}
	return kinds
}

// all is everything that is asked for during one fault. What its clients were told is part of the round's.
func all(ctx context.Context, f *system.System) *load.Everything {
	return load.SendEverything(context.WithoutCancel(ctx), f.Stack.APIURLs, f.Stack.APIKey, f.Wallets, everythingPerSecond)
}

// settle waits until something is acknowledged again, ends the load, and looks for what is lost.
func settle(ctx context.Context, f *system.System, e *load.Everything, name string, within time.Duration, readsToo bool) error {
	began, before := time.Now(), e.Acknowledged()
	if !proc.Await(ctx, f.Patience, func() bool { return e.Acknowledged() > before }) {
		f.Watch.Violate("%s: nothing was acknowledged any more", name)
	} else if took := time.Since(began); took > within && !f.Unhurried {
		f.Watch.Violate("%s: something was acknowledged again after %.1f s, not within %s", name, took.Seconds(), within)
	}
	history := e.Finish()
	f.Told = append(f.Told, history...)
	lost, err := e.Lost(ctx, f.Pool, history, readsToo)
	for _, text := range lost {
		f.Watch.Violate("%s: %s", name, text)
	}
	return err
}

// missing stops all standbys for a while, in which waits for them may be cut short. Clients are refused,
// every service says why, and their connections do not pile up.
func missing(f *system.System, name string, holds time.Duration, cut func(context.Context, *stack.Stack) error) system.Fault {
	var e *load.Everything
	var looks chan error
	var stop context.CancelFunc
	return system.Fault{
		Name: name, Holds: holds, Within: system.OfService,
		Throw: func(ctx context.Context) error {
			e = all(ctx, f)
			for _, p := range f.Stack.PostgresServers()[1:] {
				if err := p.SignalAll(syscall.SIGSTOP); err != nil {
					return err
				}
			}
			ctx, stop = context.WithCancel(ctx)
			looks = make(chan error, 1)
			go func() { looks <- whileMissing(ctx, f, holds, cut) }()
			return nil
		},
		Heal: func(ctx context.Context) error {
			stop()
			err := <-looks
			for _, p := range f.Stack.PostgresServers()[1:] {
				err = errors.Join(err, p.SignalAll(syscall.SIGCONT))
			}
			return errors.Join(err, settle(ctx, f, e, name, system.OfService, false))
		},
	}.Reporting("api", "synchronous_standby_names")
}

// whileMissing cuts waits short in the middle of a time and near its end, and counts connections.
func whileMissing(ctx context.Context, f *system.System, holds time.Duration, cut func(context.Context, *stack.Stack) error) error {
	began, cuts, most := time.Now(), 0, 0
	for ; ctx.Err() == nil; proc.Pause(ctx, 250*time.Millisecond) {
		var now int
		if f.Pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'local_api'").Scan(&now) == nil {
			most = max(most, now)
		}
		if cut != nil && time.Since(began) > holds/2*time.Duration(cuts+1)-time.Second {
			cuts++
			if err := cut(ctx, f.Stack); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	if most >= mostAPIConnections {
		f.Watch.Violate("the apis had %d connections to Postgres while a standby was missing", most)
	}
	return nil
}

// killedStandby kills the standbys, which start again at once.
func killedStandby(f *system.System) system.Fault {
	const name = "standby killed"
	return system.Fault{Name: name, Within: system.OfServer, Throw: func(ctx context.Context) error {
		e := all(ctx, f)
		proc.Pause(ctx, time.Second)
		for _, p := range f.Stack.PostgresServers()[1:] {
			if err := p.Kill(); err != nil {
				return err
			}
		}
		return settle(ctx, f, e, name, system.OfServer, true)
	}}
}

// oneOfTwo stops one of two standbys: the other one is enough.
func oneOfTwo(f *system.System) system.Fault {
	const name = "one of two standbys stopped for 10 s"
	var e *load.Everything
	var longest chan time.Duration
	var stop context.CancelFunc
	return system.Fault{
		Name: name, Holds: 10 * time.Second, Within: system.OfService,
		Throw: func(ctx context.Context) error {
			e = all(ctx, f)
			proc.Pause(ctx, time.Second)
			ctx, stop = context.WithCancel(ctx)
			longest = make(chan time.Duration, 1)
			go func() { longest <- e.LongestPause(ctx) }()
			return f.Stack.PostgresServers()[1].SignalAll(syscall.SIGSTOP)
		},
		Heal: func(ctx context.Context) error {
			stop()
			if longest := <-longest; longest > noPause && !f.Unhurried {
				f.Watch.Violate("with one of two standbys nothing was acknowledged for %.1f s", longest.Seconds())
			}
			return errors.Join(f.Stack.PostgresServers()[1].SignalAll(syscall.SIGCONT), settle(ctx, f, e, name, system.OfService, true))
		},
	}
}

// promoted loses the standbys, and then the primary for good. The standby that has most is promoted, and
// not one acknowledged operation may be missing from it; nor one that was read, unless an operator has cut
// waits short. The others are made anew, as its standbys.
func promoted(f *system.System, name string, away time.Duration, cut func(context.Context, *stack.Stack) error, readsToo bool) system.Fault {
	return system.Fault{Name: name, Within: system.OfServer, GoesBack: cut != nil, Throw: func(ctx context.Context) error {
		e := all(ctx, f)
		proc.Pause(ctx, 2*time.Second)
		servers := f.Stack.PostgresServers()
		for _, p := range servers[1:] {
			if err := p.Halt(); err != nil {
				return err
			}
		}
		for range 2 {
			proc.Pause(ctx, away/2)
			if cut != nil {
				if err := cut(ctx, f.Stack); err != nil {
					return err
				}
			}
		}
		if err := servers[0].Halt(); err != nil {
			return err
		}
		for _, p := range servers[1:] {
			if err := p.Start(ctx); err != nil {
				return err
			}
		}
		if err := f.Stack.FailOver(ctx); err != nil {
			return err
		}
		if err := leadToPrimary(f); err != nil {
			return err
		}
		if !readsToo { // the cache may have what was read
			if err := f.Stack.Ctl(ctx, io.Discard, "cache", "renew", "--reason", "failover", "--yes"); err != nil {
				return err
			}
		}
		err := settle(ctx, f, e, name, system.OfServer, readsToo)
		return errors.Join(err, replaceStandbys(ctx, f))
	}}
}

// leadToPrimary leads the doors to the server that takes writes now.
func leadToPrimary(f *system.System) error {
	for d, way := range f.Doors {
		if d.Server != "postgres" {
			continue
		}
		way.Stop()
		for _, proxy := range way {
			proxy.Upstream = f.Stack.PostgresServers()[0].Host()
		}
		if err := way.Start(); err != nil {
			return err
		}
	}
	return nil
}

// replaceStandbys makes all servers but the primary its standbys.
func replaceStandbys(ctx context.Context, f *system.System) error {
	servers := f.Stack.PostgresServers()
	for _, p := range servers[1:] {
		if p.CurrentPID() != 0 {
			if err := p.Halt(); err != nil {
				return err
			}
		}
		if err := p.Follow(ctx, servers[0]); err != nil {
			return fmt.Errorf("%s as a standby: %w", p.Name, err)
		}
	}
	return servers[0].WaitFor(ctx, slices.Clone(servers[1:]))
}
