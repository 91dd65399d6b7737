//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// slowerWithStreams is how much the p99 of accepting may grow by streams.
const slowerWithStreams = 1.5

// Clients that follow a busy wallet cost those that send operations little.
//
//	bin/local parts -- go test -tags e2e ./local -run TestStreams -wait 10s -v
//
// measures 1,000 streams of balances and 50 of operations at 1,000 operations/s on one wallet. Without
// -wait there are few, and what is measured is only shown.
func TestStreamsCostLittle(t *testing.T) {
	const ofAKey = 50 // STREAMS_PER_KEY
	rate, during, balances, full := 100, 2*time.Second, 60, 5
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	if *stacktest.WaitTime > 0 {
		rate, during, balances, full = 1000, *stacktest.WaitTime, 1000, 50
	}
	var keys []string
	for range (balances+full)/ofAKey + 1 {
		var key strings.Builder
		if err := s.Ctl(t.Context(), &key, "keys", "create", "follower", "--all-tenants", "--scopes", "wallets:read"); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, strings.TrimSpace(key.String()))
	}
	wallet := s.OpenWallets(1)[0]
	api := s.Process("api")
	send := func() (p50, p99 time.Duration, cpu float64) {
		l := &load.Load{APIs: s.APIURLs, APIKey: s.APIKey, Wallets: []uuid.UUID{wallet}, Connections: 200, RatePerSecond: rate, Duration: during, Attempt: 40 * time.Second}
		before := machine.ProcessUsage(api.CurrentPID())
		history := l.Send(t.Context())
		cpu = (machine.ProcessUsage(api.CurrentPID()).CPU - before.CPU).Seconds() / during.Seconds()
		var took []time.Duration
		for _, op := range history {
			if op.Answered.IsZero() {
				t.Fatalf("an operation was not acknowledged: %+v", op)
			}
			took = append(took, op.Answered.Sub(op.Due))
		}
		slices.Sort(took)
		return took[len(took)/2], took[len(took)*99/100], cpu
	}
	send() // everything is warm
	var without, with []time.Duration
	var last *followers
	for range 3 { // by turns, so that what else changes with time counts for both
		p50, p99, cpu := send()
		without = append(without, p99)
		rss := machine.ProcessUsage(api.CurrentPID()).RSSMiB
		t.Logf("no streams: accepted p50 %v, p99 %v; api %.2f cores, %.0f MiB at most so far", p50, p99, cpu, rss)

		last = follow(t, s.APIURLs[0], wallet, keys, balances, full)
		p50, p99, cpu = send()
		with = append(with, p99)
		applied, err := check.AwaitIdle(t.Context(), s.Conn, 20*time.Second) // the stream passes any earlier version
		if err != nil {
			t.Fatal(err)
		}
		s.Until("everything is told", time.Minute, func() bool { return last.first.Load() == applied.AppliedSeq })
		rss = machine.ProcessUsage(api.CurrentPID()).RSSMiB
		last.end()
		slices.Sort(last.late)
		t.Logf("%d streams of balances, %d of operations: accepted p50 %v, p99 %v; api %.2f cores, %.0f MiB at most so far; %.0f balances and %.0f operations/s; told p50 %v, p99 %v after appliedAt", balances, full,
			p50, p99, cpu, rss, float64(last.balances.Load())/during.Seconds(), float64(last.operations.Load())/during.Seconds(),
			last.late[len(last.late)/2], last.late[len(last.late)*99/100])
		if most := int64(float64(balances) * (during.Seconds() + 12) * 4); last.balances.Load() > most {
			t.Errorf("%d balances, want %d at most", last.balances.Load(), most)
		}
	}
	slices.Sort(without)
	slices.Sort(with)
	t.Logf("accepted p99, medians: %v without streams, %v with", without[1], with[1])
	if *stacktest.WaitTime > 0 && float64(with[1]) > slowerWithStreams*float64(without[1]) {
		t.Errorf("p99 %v with streams, %v without", with[1], without[1])
	}
}

// followers are many streams, of which the first of operations is looked at one by one.
type followers struct {
	operations, balances atomic.Int64 // events
	first                atomic.Int64 // sequence that it was told last
	late                 []time.Duration
	end                  func()
}

func follow(t *testing.T, api string, wallet uuid.UUID, keys []string, balances, full int) *followers {
	t.Helper()
	f := &followers{}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	f.end = func() { cancel(); following.Wait() }
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0}}
	for i := range balances + full {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/wallets/%s/events?balances=%t", api, wallet, i >= full), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+keys[i%len(keys)])
		response, err := client.Do(request)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %v %v", i, response, err)
		}
		following.Go(func() {
			defer response.Body.Close()
			switch {
			case i == 0:
				f.look(t, response.Body)
			case i < full:
				count(response.Body, &f.operations)
			default:
				count(response.Body, &f.balances)
			}
		})
	}
	return f
}

// count counts events: only they have empty lines behind them, but for comments and the first line.
func count(body io.Reader, events *atomic.Int64) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := body.Read(buffer)
		events.Add(int64(bytes.Count(buffer[:n], []byte("\nid: "))))
		if err != nil {
			return
		}
	}
}

// look fails the test unless the operations come in order.
func (f *followers) look(t *testing.T, body io.Reader) {
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		data, found := bytes.CutPrefix(line, []byte("data: "))
		if !found {
			continue
		}
		var run struct {
			Version    int64
			Operations []struct{ AppliedAt time.Time }
		}
		if err := json.Unmarshal(data, &run); err != nil {
			t.Errorf("%s: %v", data, err)
			return
		}
		if len(run.Operations) == 1 {
			f.operations.Add(1)
			f.late = append(f.late, time.Since(run.Operations[0].AppliedAt))
			if before := f.first.Load(); run.Version != before+1 {
				t.Errorf("%d was told after %d", run.Version, before)
				return
			}
		}
		f.first.Store(run.Version)
	}
}
