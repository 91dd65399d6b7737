package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// stalls lists when nothing was accepted, or nothing applied, for more than stallFrom. The lines
// about checkpoints in Postgres's log show whether those are to blame.
func (t *fixture) stalls(ctx context.Context) (report.Figures, error) {
	const stallFrom = 200 * time.Millisecond
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, 1)
	if err != nil {
		return nil, err
	}
	l := t.load(wallets)
	l.Duration = t.benchmark.stallsWatched + t.warmUp
	watch, err := load.WatchApplied(ctx, t.stack.Backing.DatabaseURL, wallets, load.WatchEvery, func(int64) {})
	if err != nil {
		return nil, err
	}
	f, history, err := t.measure(ctx, l)
	if stopErr := watch.Stop(); err != nil || stopErr != nil {
		return f, errors.Join(err, stopErr)
	}
	var accepted, applied []time.Time
	for _, op := range history {
		accepted = append(accepted, op.Answered)
	}
	for _, step := range watch.Steps[wallets[0]] {
		applied = append(applied, step.At)
	}
	for what, times := range map[string][]time.Time{"accepted": accepted, "applied": applied} {
		slices.SortFunc(times, time.Time.Compare)
		for i := 1; i < len(times); i++ {
			if pause := times[i].Sub(times[i-1]); pause > stallFrom {
				f[report.Stalls]++
				fmt.Fprintf(t.benchmark.out, "      %s UTC: nothing %s for %d ms\n", times[i-1].UTC().Format("15:04:05.000"), what, pause.Milliseconds())
			}
		}
	}
	f[report.Stalls] += 0
	logs, _ := filepath.Glob(filepath.Join(t.benchmark.state.Dir, "postgres", "embedded_postgres_log*"))
	for _, path := range logs {
		log, _ := os.ReadFile(path)
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "checkpoint") {
				fmt.Fprintf(t.benchmark.out, "      %s", line)
			}
		}
	}
	return f, t.checkAll(ctx, history)
}
