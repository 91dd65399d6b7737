package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/pipeline"
	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// A scenario is one load on services of its own, with a database of its own.
type scenario struct {
	name          string
	wallets       int // 0: one
	connections   int
	ratePerSecond int           // 0: closed loop
	warmUp        time.Duration // if longer than that of the others
	withoutKeys   bool
	withdrawUpTo  int64 // more than deposits bring: many fail
	zipf          bool  // some wallets are far busier than others
	flood         int   // operations a second to one more wallet; 0: closed loop
	batch         int   // operations of a request; 0: the call for a single one
	mix           load.Mix
	funded        bool // each wallet has more than the load takes out of it
	hot           hotWallet
	resendPercent int
	readPercent   int
	noEvents      bool     // the worker writes none
	env           []string // of the services
	stored        int      // operations of other wallets that are there before
	rows          int      // operations to drain
	watchEvery    time.Duration
	pipeline      bool // measure the database pipeline alone too, at the mean flush size
	baseline      bool // no services
	byName        bool // only when asked for
	// run measures it; nil is the load above.
	run func(*fixture, context.Context) (report.Figures, error)
	// lasts is about how long it takes, if that is not warm-up and measurement.
	lasts time.Duration
}

// hotWallet is what one more wallet is to the others.
type hotWallet int

const (
	noHotWallet hotWallet = iota
	payee                 // it receives all transfers
	payer                 // it makes all transfers
)

func scenarios(rows int, stallsWatched time.Duration) []scenario {
	// At 1,000 operations a second it takes longer until Kafka's code is compiled and caches are filled.
	const slow = 20 * time.Second
	all := baselines()
	for _, c := range []int{1, 64, 256, 1000, 2000} {
		all = append(all, scenario{name: fmt.Sprintf("one wallet, c=%d", c), connections: c, pipeline: c == 256})
	}
	return append(all,
		scenario{name: "one wallet, c=256, no keys", connections: 256, withoutKeys: true},
		scenario{name: "one wallet, c=1000, no keys", connections: 1000, withoutKeys: true},
		scenario{name: "one wallet, 1000/s", connections: 256, ratePerSecond: 1000, warmUp: slow},
		scenario{name: "one wallet, 5000/s", connections: 1000, ratePerSecond: 5000},
		scenario{name: "interval 0, 1000/s", connections: 256, ratePerSecond: 1000, warmUp: slow, env: []string{"BATCH_INTERVAL=0s"}},
		scenario{name: "interval 10 ms, 1000/s", connections: 256, ratePerSecond: 1000, warmUp: slow, env: []string{"BATCH_INTERVAL=10ms"}},
		scenario{name: "lone operations", connections: 4, ratePerSecond: 5, watchEvery: time.Millisecond},
		scenario{name: "many fail, c=256", connections: 256, withdrawUpTo: 4000},
		scenario{name: "replays, c=256", connections: 256, resendPercent: 11},
		scenario{name: "reads mixed in, c=256", connections: 256, readPercent: 50, warmUp: slow},
		scenario{name: "batch of 10", connections: 64, batch: 10},
		scenario{name: "batch of 100", connections: 16, batch: 100, pipeline: true},
		scenario{name: "batch of 1000", connections: 4, batch: 1000},
		scenario{name: "10000 wallets, c=256", wallets: 10_000, connections: 256, pipeline: true},
		scenario{name: "one wallet, c=256, no events", connections: 256, noEvents: true},
		scenario{name: "10000 wallets, c=256, no events", wallets: 10_000, connections: 256, noEvents: true},
		scenario{name: "10000 wallets, zipf, c=256", wallets: 10_000, connections: 256, zipf: true},
		scenario{name: "transfers, 10000 wallets, c=256", wallets: 10_000, connections: 256, mix: load.Mix{Transfers: 100}, funded: true},
		scenario{name: "256 wallets pay one, c=256", wallets: 256, connections: 256, mix: load.Mix{Transfers: 100}, funded: true, hot: payee},
		scenario{name: "one wallet pays 10000, by 100", wallets: 10_000, connections: 16, batch: 100, mix: load.Mix{Transfers: 100}, funded: true, hot: payer},
		scenario{name: "hold and capture, c=256", wallets: 10_000, connections: 256, mix: load.Mix{Holds: 100, Pairs: true}, funded: true},
		scenario{name: "neighbours", wallets: 1000, connections: 256, ratePerSecond: 1000, run: (*fixture).neighbours, lasts: 35 * time.Second},
		scenario{name: "neighbours of 5000/s", wallets: 1000, connections: 256, ratePerSecond: 1000, flood: 5000, run: (*fixture).neighbours, lasts: 35 * time.Second},
		scenario{name: "catch-up of 100000 transfers", wallets: 11_000, connections: 256, ratePerSecond: 1000, funded: true, rows: 100_000, run: (*fixture).catchUp, lasts: 65 * time.Second},
		scenario{name: "drain, one wallet", rows: rows, run: (*fixture).drain, lasts: 10*time.Second + time.Duration(rows)*80*time.Microsecond},
		scenario{name: "drain, 1000 wallets", wallets: 1000, rows: rows / 4, run: (*fixture).drain, lasts: 10*time.Second + time.Duration(rows/4)*140*time.Microsecond},
		scenario{name: "stalls, 1000/s", connections: 256, ratePerSecond: 1000, byName: true, run: (*fixture).stalls, lasts: stallsWatched + 30*time.Second},
	)
}

// storedScenario is the load of "one wallet, c=256" on tables that are not empty, with as many
// published rows behind the relay.
func storedScenario(stored int) scenario {
	return scenario{
		name: fmt.Sprintf("stored %d", stored), connections: 256, stored: stored, byName: true,
		lasts: 20*time.Second + time.Duration(stored)*60*time.Microsecond,
	}
}

// estimate is about how long a scenario takes, with starting, checking and stopping.
func (sc scenario) estimate(b *benchmark) time.Duration {
	if sc.lasts > 0 {
		return sc.lasts
	}
	total := max(b.warmUp, sc.warmUp) + b.measured
	if !sc.baseline {
		total += 7 * time.Second
	}
	if sc.pipeline {
		total += pipeline.Lasts
	}
	return total
}
