//go:build e2e

package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// wholeCells are two cells with servers of their own.
func wholeCells(t *testing.T) *stack.Cells {
	t.Helper()
	state, err := proc.TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(state.Close)
	c := stack.Config{Cells: 2, APIs: 1, Relays: 1, Workers: 1, Kafka: cmp.Or(os.Getenv("KAFKA"), "kfake"), Topic: "wallet-operations"}
	cells, err := stack.NewCells(state, c, stacktest.Binaries(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := cells.Start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cells.Stop)
	return cells
}

// cellLoad sends operations to ten wallets of a cell through the proxy.
func cellLoad(t *testing.T, cells *stack.Cells, cell, perSecond int, address string, patience time.Duration) *load.Load {
	t.Helper()
	wallets, err := load.OpenWalletsIn(fmt.Sprint(cell), cells.Proxy.URL, cells.APIKey, 10)
	if err != nil {
		t.Fatal(err)
	}
	return &load.Load{APIs: []string{address}, APIKey: cells.APIKey, Wallets: wallets, Connections: 50, RatePerSecond: perSecond, Duration: time.Hour, Attempt: 12 * time.Second, Patience: patience}
}

// mustKeepPromises checks a cell on its own.
func mustKeepPromises(t *testing.T, s *stack.Stack, history []load.Operation) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.Backing.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	subject := check.Subject{Log: check.TopicLog{Options: s.KafkaOptions(), Topic: s.Topic, Partitions: stack.TopicPartitions}, Audit: s.Verify}
	promises, err := subject.Check(t.Context(), conn, history)
	if err != nil {
		t.Fatal(err)
	}
	var report strings.Builder
	if err := check.Print(&report, promises); err != nil {
		t.Errorf("\n%s", report.String())
	}
}

// accepted says how long it took until operations that were due in a time were accepted.
func accepted(history []load.Operation, from, to time.Time) (p50, p99 time.Duration, count int) {
	var all []time.Duration
	for _, op := range history {
		if op.Due.After(from) && op.Due.Before(to) && !op.Answered.IsZero() {
			all = append(all, op.Answered.Sub(op.Due))
		}
	}
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], len(all)
}

// A server of cell 0 is unreachable for a while, which -wait says; cell 1 is not to notice.
func TestAFaultOfOneCellIsNotFeltInTheOther(t *testing.T) {
	away := max(10*time.Second, *stacktest.WaitTime)
	const before = 8 * time.Second
	perSecond := 200
	if *stacktest.WaitTime == 0 {
		perSecond = 50 // with other tests beside, a slow machine carries less
	}
	cells := wholeCells(t)
	victim := cells.Stacks[0]
	quiet := newQuietStream(t, cells)
	sent := make([][]load.Operation, 2) // to each cell, until now
	for _, fault := range []struct {
		name        string
		unreachable bool
		begin       func() error
		end         func() error
	}{
		{
			"api", true,
			func() error { victim.Process("api").Stop(); return nil },
			func() error { return victim.Process("api").Start(t.Context()) },
		},
		{
			"Kafka", false,
			func() error { victim.Process("kafka").Stop(); return nil },
			func() error { return victim.Process("kafka").Start(t.Context()) },
		},
		{
			"Postgres", true,
			func() error { return servers.Server{Process: victim.Process("postgres")}.Halt() },
			func() error { return victim.Process("postgres").Start(t.Context()) },
		},
	} {
		t.Run(fault.name, func(t *testing.T) {
			loads := []*load.Load{cellLoad(t, cells, 0, perSecond, cells.Proxy.URL, 3*time.Minute), cellLoad(t, cells, 1, perSecond, cells.Proxy.URL, time.Minute)}
			histories := make([][]load.Operation, 2)
			done := make(chan int)
			followed := loads[1].Wallets[0]
			stream := follow(t, cells.Proxy.URL, followed, []string{cells.APIKey}, 0, 1)
			defer stream.end()
			for cell, l := range loads {
				go func() { histories[cell] = l.Send(t.Context()); done <- cell }()
			}
			began := time.Now()
			time.Sleep(before)
			stall, fell := testdb.WatchStalls(t, cells.Stacks[1].Backing.DatabaseURL), time.Now()
			if err := fault.begin(); err != nil {
				t.Fatal(err)
			}
			var unavailable atomic.Int64
			for time.Since(fell) < away {
				askDead(t, cells, loads[0].Wallets[0].String(), fault.unreachable && time.Since(fell) > 4*time.Second, &unavailable)
				time.Sleep(200 * time.Millisecond)
			}
			refusedBefore := loads[1].Refused.Load()
			rose, stalled := time.Now(), stall().Longest
			if err := fault.end(); err != nil {
				t.Fatal(err)
			}
			stacktest.Until(t, "cell 0 accepts again", time.Minute, func() bool {
				accepted := loads[0].Accepted.Load()
				time.Sleep(500 * time.Millisecond)
				return loads[0].Accepted.Load() > accepted
			})
			for _, l := range loads {
				l.End()
			}
			<-done
			<-done
			quiet50, quiet, _ := accepted(histories[1], began.Add(2*time.Second), fell)
			during50, during, count := accepted(histories[1], fell, rose)
			t.Logf("cell 0 without %s for %.0f s: cell 1 accepted within %s before and %s during it (p99, %d operations), %d errors, %d answers 503; cell 0 answered 503 %d times",
				fault.name, away.Seconds(), quiet.Round(time.Millisecond/10), during.Round(time.Millisecond/10), count, loads[1].Failures.Load(), refusedBefore, unavailable.Load())
			if loads[1].Failures.Load()+refusedBefore > 0 {
				t.Errorf("cell 1 had %d errors and %d answers 503", loads[1].Failures.Load(), refusedBefore)
			}
			// A stalled machine delays some operations, what the fault does to cell 1 delays most.
			if during > 3*quiet+100*time.Millisecond+stalled || during50 > 3*quiet50+100*time.Millisecond {
				t.Errorf("cell 1 accepts within %s (p99), %s (p50), and %s, %s before", during, during50, quiet, quiet50)
			}
			if fault.unreachable && unavailable.Load() == 0 {
				t.Error("cell 0 was never away")
			}
			for cell, s := range cells.Stacks {
				sent[cell] = append(sent[cell], histories[cell]...)
				mustKeepPromises(t, s, sent[cell])
			}
			_, version := stacktest.Balance(t, cells.Proxy.URL, cells.APIKey, followed)
			stacktest.Until(t, "the stream through the proxy has told every operation", 10*time.Second, func() bool { return stream.first.Load() >= version })
			t.Logf("a stream of cell 1 told %d operations, each once and in order", version)
		})
	}
	quiet.mustGoOn(t)
}

// quietStream is a stream, through the proxy, of a wallet in which nothing happens.
type quietStream struct {
	load  *load.Load
	since time.Time
	*followers
}

func newQuietStream(t *testing.T, cells *stack.Cells) quietStream {
	t.Helper()
	l := cellLoad(t, cells, 1, 10, cells.Proxy.URL, time.Minute)
	l.Wallets, l.Deposits, l.Duration = l.Wallets[:1], true, time.Second
	return quietStream{l, time.Now(), follow(t, cells.Proxy.URL, l.Wallets[0], []string{cells.APIKey}, 0, 1)}
}

// mustGoOn fails the test unless the stream still tells what happens, after longer than the proxy bears silence.
func (q quietStream) mustGoOn(t *testing.T) {
	t.Helper()
	defer q.end()
	const longest = 75 * time.Second // of deploy/cells/haproxy.cfg
	time.Sleep(time.Until(q.since.Add(longest + 5*time.Second)))
	silent := time.Since(q.since)
	sent := int64(len(q.load.Send(t.Context())))
	stacktest.Until(t, "a quiet stream through the proxy tells again", 10*time.Second, func() bool { return sent > 0 && q.first.Load() == sent })
	t.Logf("a stream of cell 1 that was quiet for %.0f s told %d operations", silent.Seconds(), sent)
}

// askDead reads a statement of a cell that is unreachable, which no cache has. Any error has to be 503 with Retry-After.
func askDead(t *testing.T, cells *stack.Cells, wallet string, gone bool, unavailable *atomic.Int64) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, cells.Proxy.URL+"/api/v1/wallets/"+wallet+"/operations?limit=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+cells.APIKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Errorf("the proxy: %v", err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		unavailable.Add(1)
		if response.Header.Get("Retry-After") == "" || response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v %s", response.Header, body)
		}
	case response.StatusCode != http.StatusOK || gone:
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

// What is measured is CPU, which others on the machine change little: rates are theirs too.
func TestTwoCellsUseWhatOneUses(t *testing.T) {
	const perSecond = 500
	duration := max(10*time.Second, *stacktest.WaitTime)
	cells := wholeCells(t)
	measure := func(name string, through bool, of ...int) (system, proxy float64) {
		var loads []*load.Load
		for _, cell := range of {
			address := cells.Stacks[cell].APIURLs[0]
			if through {
				address = cells.Proxy.URL
			}
			loads = append(loads, cellLoad(t, cells, cell, perSecond, address, time.Minute))
		}
		histories := make([][]load.Operation, len(loads))
		done := make(chan bool)
		for i, l := range loads {
			go func() { histories[i] = l.Send(t.Context()); done <- true }()
		}
		time.Sleep(5 * time.Second)
		used := func() (system, proxy time.Duration, accepted int64) {
			for i, cell := range of {
				s := cells.Stacks[cell]
				for part, usage := range machine.MeasureUsage(s.PIDs(), s.Postmaster()) {
					if !strings.HasPrefix(part, "generator") {
						system += usage.CPU
					}
				}
				accepted += loads[i].Accepted.Load()
			}
			return system, machine.ProcessUsage(cells.Proxy.CurrentPID()).CPU, accepted
		}
		systemBefore, proxyBefore, acceptedBefore := used()
		time.Sleep(duration)
		systemAfter, proxyAfter, acceptedAfter := used()
		for _, l := range loads {
			l.End()
			<-done
		}
		operations := float64(acceptedAfter - acceptedBefore)
		system = float64((systemAfter - systemBefore).Microseconds()) / operations
		proxy = float64((proxyAfter - proxyBefore).Microseconds()) / operations
		t.Logf("%s: %.0f operations/s, %.0f µs of CPU an operation, and %.1f in the proxy", name, operations/duration.Seconds(), system, proxy)
		for _, l := range loads {
			if l.Failures.Load() > 0 {
				t.Errorf("%s: %d operations were not accepted", name, l.Failures.Load())
			}
		}
		return system, proxy
	}
	direct, _ := measure("one cell", false, 0)
	one, _ := measure("one cell through the proxy", true, 0)
	two, proxy := measure("two cells through the proxy", true, 0, 1)
	if two > 1.25*max(direct, one) { // the machine may have become slower
		one, _ = measure("one cell through the proxy, again", true, 0)
	}
	if two > 1.25*max(direct, one) {
		t.Errorf("an operation costs %.0f µs in two cells, and %.0f in one", two, max(direct, one))
	}
	if proxy > 200 {
		t.Errorf("the proxy costs %.0f µs an operation", proxy)
	}
}
