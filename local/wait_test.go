//go:build e2e

package main

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

const (
	mostCPUOfAWait = 60 * time.Microsecond // of all processes but the clients, for each request that waits
	longestWait    = 20 * time.Millisecond // from the commit to the answer, of 99 in 100
)

// Requests that wait for their outcome have it soon after its commit, and cost little more than others.
//
//	bin/local parts -- go test ./local -run TestAWait -wait 10s -v
//
// measures it at 1,000 operations/s on one wallet. Without -wait there is a little load, and what is
// measured is only shown: other tests run meanwhile.
func TestAWaitEndsWithTheCommitAndCostsLittle(t *testing.T) {
	rate, during, prefer := 100, 2*time.Second, "wait=30"
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	if *stacktest.WaitTime > 0 {
		rate, during, prefer = 1000, *stacktest.WaitTime, "wait=5"
	}
	wallets := s.OpenWallets(1)
	send := func(prefer string) (history []load.Operation, cpu time.Duration) {
		l := &load.Load{
			APIs: s.APIURLs, APIKey: s.APIKey, Wallets: wallets, Connections: 500, RatePerSecond: rate, Duration: during,
			Prefer: prefer, Attempt: 40 * time.Second,
		}
		before := s.cpu()
		history = l.Send(t.Context())
		return history, s.cpu() - before
	}
	send(prefer) // everything is warm
	var waiting, others time.Duration
	for range 2 { // by turns, so that what else changes with time counts for both
		_, cpu := send("")
		others += cpu
		_, cpu = send(prefer)
		waiting += cpu
	}
	requests := 2 * float64(rate) * during.Seconds()
	each := time.Duration(float64(waiting-others) / requests)

	watch := s.watchCommits(wallets[0])
	history, _ := send(prefer)
	commits := watch()
	var late []time.Duration
	for _, op := range history {
		if op.Answered.IsZero() {
			t.Fatalf("an operation was not acknowledged: %+v", op)
		}
		i := slices.IndexFunc(commits, func(c seenCommit) bool { return c.seq >= op.Sequence })
		if i < 0 {
			t.Fatalf("sequence %d was answered before it was applied", op.Sequence)
		}
		late = append(late, op.Answered.Sub(commits[i].after))
	}
	slices.Sort(late)
	p50, p99 := late[len(late)/2], late[len(late)*99/100]
	t.Logf("%d/s: a wait costs %v of CPU (%v a request that waits, %v one that does not); it ends p50 %v, p99 %v after the commit",
		rate, each, time.Duration(float64(waiting)/requests), time.Duration(float64(others)/requests), p50, p99)
	if *stacktest.WaitTime == 0 {
		return
	}
	if each > mostCPUOfAWait {
		t.Errorf("a wait costs %v of CPU", each)
	}
	if p99 > longestWait {
		t.Errorf("99 in 100 waits end within %v of the commit", p99)
	}
}

// cpu is what the services, Postgres for them, and Redis have used so far.
func (s *system) cpu() (total time.Duration) {
	s.T.Helper()
	rows, _ := s.Conn.Query(s.T.Context(), "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		s.T.Fatal(err)
	}
	for _, service := range s.Services {
		pids = append(pids, service.CurrentPID())
	}
	options, err := redis.ParseURL(s.Backing.RedisURL)
	if err != nil {
		s.T.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.InfoMap(s.T.Context(), "server").Result()
	if err != nil {
		s.T.Fatal(err)
	}
	if pid, err := strconv.Atoi(info["Server"]["process_id"]); err == nil {
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		total += machine.ProcessUsage(pid).CPU
	}
	return total
}

// seenCommit says up to which sequence a wallet was applied, and a time after which that was committed.
type seenCommit struct {
	after time.Time
	seq   int64
}

// watchCommits looks at a wallet every millisecond until the function that it returns is called.
func (s *system) watchCommits(wallet uuid.UUID) (stop func() []seenCommit) {
	s.T.Helper()
	conn, err := pgx.Connect(s.T.Context(), s.Backing.DatabaseURL)
	if err != nil {
		s.T.Fatal(err)
	}
	end, seen := make(chan struct{}), make(chan []seenCommit)
	go func() {
		defer conn.Close(context.Background())
		var commits []seenCommit
		last := time.Now() // when it was not yet
		for over := false; ; {
			select {
			case <-end:
				over = true // and one more look, for what was answered until now
			case <-time.After(time.Millisecond):
			}
			now := time.Now()
			rows, err := walletdb.New(conn).AppliedSequences(context.Background(), []uuid.UUID{wallet})
			if err == nil && len(rows) == 1 && (len(commits) == 0 || rows[0].AppliedSeq > commits[len(commits)-1].seq) {
				commits = append(commits, seenCommit{last, rows[0].AppliedSeq})
			}
			last = now
			if over {
				seen <- commits
				return
			}
		}
	}()
	return func() []seenCommit { close(end); return <-seen }
}
