package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

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
func (f *campaign) standbyFaults() []kind {
	const short, longerThanAnyTimeout = 8 * time.Second, 17 * time.Second
	kinds := []kind{
		f.missing("standby stopped for 20 s", 20*time.Second, nil),
		f.missing(fmt.Sprintf("standby stopped for %s", f.away), f.away, nil),
		f.missing("standby stopped, and the commits that wait cancelled", short, stack.CancelWaits),
		f.missing("standby stopped, and the backends that wait terminated", short, stack.TerminateWaits),
		f.missing("standby stopped, and the primary crashed while commits wait", short, stack.CrashPrimary),
		f.killedStandby(),
		f.promoted("standby killed, the primary destroyed, the standby promoted", longerThanAnyTimeout, nil, true),
		f.promoted("the same after the commits that wait were cancelled", short, stack.CancelWaits, false),
		f.promoted("the same after the backends that wait were terminated", short, stack.TerminateWaits, false),
		f.promoted("the same after the primary crashed while commits waited", short, stack.CrashPrimary, true),
		f.oneOfTwo(),
	}
	for i := range kinds {
		if f.standbys == 0 {
			kinds[i].notPossible = "there is no standby: STANDBYS=1 or 2"
		} else if f.standbys == 1 && kinds[i].name == f.oneOfTwo().name {
			kinds[i].notPossible = "there is one standby: STANDBYS=2"
		}
	}
	return kinds
}

// all is everything that is asked for during one fault. What it was told is part of the round's.
func (f *campaign) all(ctx context.Context) *load.Everything {
	return load.SendEverything(context.WithoutCancel(ctx), f.stack.APIURLs, f.stack.APIKey, f.wallets, everythingPerSecond)
}

// settle waits until something is acknowledged again, ends the load, and looks for what is lost.
func (f *campaign) settle(ctx context.Context, e *load.Everything, name string, within time.Duration, readsToo bool) error {
	began, before := time.Now(), e.Acknowledged()
	if !proc.Await(ctx, f.patience, func() bool { return e.Acknowledged() > before }) {
		f.watch.violate("%s: nothing was acknowledged any more", name)
	} else if took := time.Since(began); took > within && !f.unhurried {
		f.watch.violate("%s: something was acknowledged again after %.1f s, not within %s", name, took.Seconds(), within)
	}
	history := e.Finish()
	f.told = append(f.told, history...)
	lost, err := e.Lost(ctx, f.pool, history, readsToo)
	for _, text := range lost {
		f.watch.violate("%s: %s", name, text)
	}
	return err
}

// missing stops all standbys for a while, in which waits for them may be cut short. Clients are refused,
// every service says why, and their connections do not pile up.
func (f *campaign) missing(name string, holds time.Duration, cut func(context.Context, *stack.Stack) error) kind {
	var e *load.Everything
	var looks chan error
	var stop context.CancelFunc
	return kind{
		name: name, holds: holds, within: ofService,
		throw: func(ctx context.Context) error {
			e = f.all(ctx)
			for _, p := range f.stack.PostgresServers()[1:] {
				if err := p.SignalAll(syscall.SIGSTOP); err != nil {
					return err
				}
			}
			ctx, stop = context.WithCancel(ctx)
			looks = make(chan error, 1)
			go func() { looks <- f.whileMissing(ctx, holds, cut) }()
			return nil
		},
		heal: func(ctx context.Context) error {
			stop()
			err := <-looks
			for _, p := range f.stack.PostgresServers()[1:] {
				err = errors.Join(err, p.SignalAll(syscall.SIGCONT))
			}
			return errors.Join(err, f.settle(ctx, e, name, ofService, false))
		},
	}.telling("api", "synchronous_standby_names")
}

// whileMissing cuts waits short in the middle of a time and near its end, and counts connections.
func (f *campaign) whileMissing(ctx context.Context, holds time.Duration, cut func(context.Context, *stack.Stack) error) error {
	began, cuts, most := time.Now(), 0, 0
	for ; ctx.Err() == nil; proc.Pause(ctx, 250*time.Millisecond) {
		var now int
		if f.pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'local_api'").Scan(&now) == nil {
			most = max(most, now)
		}
		if cut != nil && time.Since(began) > holds/2*time.Duration(cuts+1)-time.Second {
			cuts++
			if err := cut(ctx, f.stack); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	if most >= mostAPIConnections {
		f.watch.violate("the apis had %d connections to Postgres while a standby was missing", most)
	}
	return nil
}

// killedStandby kills the standbys, which start again at once.
func (f *campaign) killedStandby() kind {
	const name = "standby killed"
	return kind{name: name, within: ofServer, throw: func(ctx context.Context) error {
		e := f.all(ctx)
		proc.Pause(ctx, time.Second)
		for _, p := range f.stack.PostgresServers()[1:] {
			if err := p.Kill(); err != nil {
				return err
			}
		}
		return f.settle(ctx, e, name, ofServer, true)
	}}
}

// oneOfTwo stops one of two standbys: the other one is enough.
func (f *campaign) oneOfTwo() kind {
	const name = "one of two standbys stopped for 10 s"
	var e *load.Everything
	var longest chan time.Duration
	var stop context.CancelFunc
	return kind{
		name: name, holds: 10 * time.Second, within: ofService,
		throw: func(ctx context.Context) error {
			e = f.all(ctx)
			proc.Pause(ctx, time.Second)
			ctx, stop = context.WithCancel(ctx)
			longest = make(chan time.Duration, 1)
			go func() { longest <- e.LongestPause(ctx) }()
			return f.stack.PostgresServers()[1].SignalAll(syscall.SIGSTOP)
		},
		heal: func(ctx context.Context) error {
			stop()
			if longest := <-longest; longest > noPause && !f.unhurried {
				f.watch.violate("with one of two standbys nothing was acknowledged for %.1f s", longest.Seconds())
			}
			return errors.Join(f.stack.PostgresServers()[1].SignalAll(syscall.SIGCONT), f.settle(ctx, e, name, ofService, true))
		},
	}
}

// promoted loses the standbys, and then the primary for good. The standby that has most is promoted, and
// not one acknowledged operation may be missing from it; nor one that was read, unless an operator has cut
// waits short. The others are made anew, as its standbys.
func (f *campaign) promoted(name string, away time.Duration, cut func(context.Context, *stack.Stack) error, readsToo bool) kind {
	return kind{name: name, within: ofServer, goesBack: cut != nil, throw: func(ctx context.Context) error {
		e := f.all(ctx)
		proc.Pause(ctx, 2*time.Second)
		servers := f.stack.PostgresServers()
		for _, p := range servers[1:] {
			if err := p.Halt(); err != nil {
				return err
			}
		}
		for range 2 {
			proc.Pause(ctx, away/2)
			if cut != nil {
				if err := cut(ctx, f.stack); err != nil {
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
		if err := f.stack.FailOver(ctx); err != nil {
			return err
		}
		if err := f.leadToPrimary(); err != nil {
			return err
		}
		if !readsToo { // the cache may have what was read
			if err := f.stack.Ctl(ctx, io.Discard, "cache", "renew", "--reason", "failover", "--yes"); err != nil {
				return err
			}
		}
		err := f.settle(ctx, e, name, ofServer, readsToo)
		return errors.Join(err, f.replaceStandbys(ctx))
	}}
}

// leadToPrimary leads the doors to the server that takes writes now.
func (f *campaign) leadToPrimary() error {
	for d, way := range f.doors {
		if d.server != "postgres" {
			continue
		}
		way.stop()
		for _, proxy := range way {
			proxy.Upstream = f.stack.PostgresServers()[0].Host()
		}
		if err := way.start(); err != nil {
			return err
		}
	}
	return nil
}

// replaceStandbys makes all servers but the primary its standbys.
func (f *campaign) replaceStandbys(ctx context.Context) error {
	servers := f.stack.PostgresServers()
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
