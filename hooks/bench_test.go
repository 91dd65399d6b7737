//go:build linux

package main

import (
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// paced produces as many operations a second, in runs of so many, until all are there.
func (b *bed) paced(perSecond, run, total int, wallet func(i int) int) {
	b.Helper()
	started := time.Now()
	const every = 100 * time.Millisecond
	for sent := 0; sent < total; {
		due := min(total, int(time.Since(started)/every+1)*perSecond/10)
		var wallets []int
		for ; sent < due; sent += run {
			wallets = append(wallets, wallet(sent))
		}
		if wallets != nil {
			b.produce(run, wallets...)
		}
		time.Sleep(time.Until(started.Add(time.Since(started).Truncate(every) + every)))
	}
}

// BenchmarkHooks measures what the issue asks for; each case takes ten seconds of traffic. Run it with -benchtime=1x.
// Receivers keep the longest time from applied to received.
func BenchmarkHooks(b *testing.B) {
	if os.Getenv("BENCH_HOOKS") == "" {
		b.Skip("BENCH_HOOKS is not set")
	}
	const seconds = 10
	for _, test := range []struct {
		name      string
		receivers int
		wallets   int
		perSecond int
		run       int // operations of a message
		slow      time.Duration
	}{
		{"one wallet, 1000 a second, one receiver", 1, 1, 1_000, 20, 0},
		{"one wallet, 1000 a second, one receiver 50 ms away", 1, 1, 1_000, 20, 50 * time.Millisecond},
		{"one wallet, 10000 a second, one receiver 50 ms away", 1, 1, 10_000, 20, 50 * time.Millisecond},
		{"10000 wallets, 1000 a second, three receivers", 3, 10_000, 1_000, 1, 0},
		{"10000 wallets, 1000 a second, three receivers 50 ms away", 3, 10_000, 1_000, 1, 50 * time.Millisecond},
		{"one wallet, 1000 a second, 100 endpoints", 100, 1, 1_000, 20, 0},
		{"no traffic, 100 endpoints", 100, 1, 0, 1, 0},
	} {
		b.Run(test.name, func(b *testing.B) {
			bed := newBed(b, 8)
			var receivers []*receiver
			var ids []uuid.UUID
			for range test.receivers {
				r := newReceiver(b)
				if test.slow > 0 {
					r.answers(func(http.ResponseWriter, *http.Request, received) int { time.Sleep(test.slow); return 200 })
				}
				receivers, ids = append(receivers, r), append(ids, bed.endpoint(r))
			}
			p := bed.startProcess()
			p.admin.UntilWell(b)
			bed.awaitBegun(ids...)
			before := processCPU(b, p.Process.Pid)
			started := time.Now()
			if test.perSecond > 0 {
				bed.paced(test.perSecond, test.run, test.perSecond*seconds, func(i int) int { return i / test.run % test.wallets })
			} else {
				time.Sleep(seconds * time.Second)
			}
			var wait sync.WaitGroup
			for _, r := range receivers {
				wait.Go(func() { testkit.Within(b, 2*time.Minute, "all has arrived", r.has(bed)) })
			}
			wait.Wait()
			took := time.Since(started)
			used := processCPU(b, p.Process.Pid) - before
			var latest []time.Duration
			attempts := 0
			for _, r := range receivers {
				latest = append(latest, r.latest)
				attempts += len(r.seen())
			}
			b.ReportMetric(used.Seconds()/took.Seconds()*100, "%cpu")
			b.ReportMetric(float64(slices.Max(latest).Milliseconds()), "ms-latest")
			b.ReportMetric(took.Seconds(), "s")
			b.ReportMetric(float64(attempts), "attempts")
			b.ReportMetric(float64(processMemory(b, p.Process.Pid))/1e6, "MB")
		})
	}
}

// BenchmarkDown measures what endpoints cost whose receivers are down: 5 of them, while many times as much is written as
// the rings hold. One comes back in the end.
func BenchmarkDown(b *testing.B) {
	if os.Getenv("BENCH_HOOKS") == "" {
		b.Skip("BENCH_HOOKS is not set")
	}
	bed := newBed(b, 2)
	var ids []uuid.UUID
	var receivers []*receiver
	for range 5 {
		r := newReceiver(b)
		r.status(http.StatusServiceUnavailable)
		receivers, ids = append(receivers, r), append(ids, bed.endpoint(r))
	}
	p := bed.startProcess("HOOKS_RETRIES=1s,20s")
	p.admin.UntilWell(b)
	bed.awaitBegun(ids...)
	wallets := make([]int, 1000)
	for i := range wallets {
		wallets[i] = i
	}
	rows := func() (n int) {
		bed.scan(&n, "SELECT (SELECT count(*) FROM hook_states) + (SELECT count(*) FROM hook_cursors) + (SELECT count(*) FROM hook_requests)")
		return n
	}
	for i := range 120 {
		bed.produce(5, wallets...)
		if i == 9 || i == 39 || i == 119 {
			time.Sleep(15 * time.Second)
			b.Logf("after %d messages: %d MB, %d rows", (i+1)*1000, processMemory(b, p.Process.Pid)/1_000_000, rows())
		}
	}
	started := time.Now()
	back := receivers[0]
	back.answers(nil)
	testkit.Within(b, 5*time.Minute, "all has arrived", back.has(bed))
	if back.doubled > 0 {
		b.Errorf("%d came twice", back.doubled)
	}
	b.Logf("back after %v, %d MB", time.Since(started), processMemory(b, p.Process.Pid)/1_000_000)
}
