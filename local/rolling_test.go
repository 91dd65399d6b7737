package main

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

const (
	// longestLag is the most that an operation may wait to be applied while services are restarted, on
	// a machine that runs other tests beside.
	longestLag = 10 * time.Second
	// drainDelay is longer than the balancer takes to notice, even if the machine stalls.
	drainDelay = "6s"
)

// Every service is restarted, one process after the other, under a load whose clients
// retry nothing.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	t.Setenv("DRAIN_DELAY", drainDelay)
	s := newSystem(t, stack.Config{APIs: 2, Relays: 2, Workers: 3})
	l := s.balancedLoad(s.OpenWallets(20))
	lag := s.watchLag()
	s.UntilApplied(time.Minute)
	for _, p := range s.Services {
		s.roll(p, lag)
	}
	s.keepWithoutRetries(l)
	t.Logf("%d operations accepted", l.Accepted.Load())
}

// balancedLoad is a load whose clients send each operation once, to an api that is ready: they do as a
// load balancer does that asks /readyz.
func (s *system) balancedLoad(wallets []uuid.UUID) *stacktest.RunningLoad {
	s.T.Helper()
	b := &balancer{system: s, ready: make([]atomic.Bool, len(s.APIURLs))}
	b.ask(s.T.Context())
	go func() {
		for s.T.Context().Err() == nil {
			b.ask(s.T.Context())
			time.Sleep(50 * time.Millisecond)
		}
	}()
	l := &stacktest.RunningLoad{
		Load: &load.Load{
			APIs: s.APIURLs, APIKey: s.APIKey, Wallets: wallets, Connections: 200, RatePerSecond: stacktest.LoadPerSecond(), Duration: time.Hour,
			Attempt: 12 * time.Second, Route: b.route,
		},
		History: make(chan []load.Operation, 1),
	}
	go func() { l.History <- l.Send(s.T.Context()) }()
	return l
}

type balancer struct {
	*system
	ready []atomic.Bool
	next  atomic.Int64
}

func (b *balancer) ask(ctx context.Context) {
	apis := 0
	for _, p := range b.Services {
		if strings.HasPrefix(p.Name, "api") {
			b.ready[apis].Store(stack.Ping(ctx, p.AdminURL+"/readyz") == nil)
			apis++
		}
	}
}

// route leaves a connection where it is, as long as that api is ready.
func (b *balancer) route(api int) int {
	for range b.ready {
		if b.ready[api].Load() {
			return api
		}
		api = int(b.next.Add(1)) % len(b.ready)
	}
	return api
}

// roll restarts one process as a deployment does, and waits until it works. It fails the test if an
// operation waited too long meanwhile.
func (s *system) roll(p *proc.Process, lag func() time.Duration) {
	s.T.Helper()
	stall, began := testdb.WatchStalls(s.T, s.Backing.DatabaseURL), time.Now()
	s.Kill(p, syscall.SIGTERM)
	if err := p.AwaitReady(s.T.Context(), false); err != nil {
		s.T.Fatal(err)
	}
	s.UntilApplied(time.Minute)
	longest := lag()
	s.T.Logf("%-9s restarted in %4.1f s, the longest lag meanwhile %4.1f s", p.Name, time.Since(began).Seconds(), longest.Seconds())
	if longest > longestLag+stall().Sum {
		s.T.Errorf("an operation waited for %s", longest)
	}
}

// watchLag measures how long the operation that waits longest to be applied has waited. The function
// that it returns tells the most since it was last called.
func (s *system) watchLag() func() time.Duration {
	s.T.Helper()
	conn, err := pgx.Connect(s.T.Context(), s.Backing.DatabaseURL)
	if err != nil {
		s.T.Fatal(err)
	}
	var longest atomic.Int64
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			var seconds float64
			err := conn.QueryRow(s.T.Context(), `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - o.created_at)), 0)::float8
				FROM wallets w JOIN operations o ON o.wallet_id = w.id AND o.seq = w.applied_seq + 1`).Scan(&seconds)
			if s.T.Context().Err() != nil {
				return
			}
			if err != nil {
				s.T.Errorf("watch the lag: %v", err)
				return
			}
			if lag := int64(seconds * float64(time.Second)); lag > longest.Load() {
				longest.Store(lag)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	s.T.Cleanup(func() {
		<-watched
		_ = conn.Close(context.Background())
	})
	return func() time.Duration { return time.Duration(longest.Swap(0)) }
}

// keepWithoutRetries is keep for a load whose clients retry nothing: no request has failed.
func (s *system) keepWithoutRetries(l *stacktest.RunningLoad) {
	s.T.Helper()
	s.Keep(l)
	if n := l.Refused.Load(); n > 0 {
		s.T.Errorf("%d requests were refused", n)
	}
}
