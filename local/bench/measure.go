package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// snapshot is the state of the system's counters at one moment.
type snapshot struct {
	at       time.Time
	used     map[string]machine.Usage
	applied  int64
	walBytes int64
	commits  int64
	polls    int64 // of them by who watches what is applied
	metrics  map[string]float64
}

// snapshot takes one.
func (t *fixture) snapshot(ctx context.Context) (snapshot, error) {
	shot := snapshot{at: time.Now(), used: t.usage(), metrics: map[string]float64{}}
	if t.conn == nil {
		return shot, ctx.Err()
	}
	for _, p := range t.stack.Services {
		if err := readMetrics(ctx, p.AdminURL+"/metrics", shot.metrics); err != nil && p.CurrentPID() != 0 {
			return shot, err
		}
	}
	err := t.conn.QueryRow(ctx, `SELECT (SELECT coalesce(sum(applied_seq), 0) FROM wallets)::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
		(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())`).Scan(&shot.applied, &shot.walBytes, &shot.commits)
	return shot, err
}

// usage is what all processes have used so far.
func (t *fixture) usage() map[string]machine.Usage {
	if t.stack == nil {
		return machine.MeasureUsage(map[string]int{t.idle.Name: t.idle.CurrentPID()}, proc.PostmasterOf(filepath.Join(t.benchmark.state.Dir, "postgres", "data")))
	}
	return machine.MeasureUsage(t.stack.PIDs(), t.stack.Postmaster())
}

// readMetrics adds a service's metrics without labels to those of the others.
func readMetrics(ctx context.Context, url string, into map[string]float64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, text, found := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); found && err == nil && strings.HasPrefix(name, "wallet_") {
			into[name] += value
		}
	}
	return lines.Err()
}

// measureLoad adds what a load came to between two snapshots.
func measureLoad(f report.Figures, begin, end snapshot, history []load.Operation, watch *load.AppliedWatch) {
	var due []load.Operation
	answered := 0
	for _, op := range history {
		if op.Due.After(begin.at) && op.Due.Before(end.at) && !op.Answered.IsZero() {
			due = append(due, op)
		}
		if op.Answered.After(begin.at) && op.Answered.Before(end.at) {
			answered++
		}
	}
	accept, applied := load.Latencies(due, watch)
	f.Quantiles("accept", accept)
	seconds := end.at.Sub(begin.at).Seconds()
	f[report.Accepted] = float64(answered) / seconds
	measureUse(f, begin, end, answered)
	if watch.Steps == nil {
		return
	}
	f.Quantiles("applied", applied)
	f[report.Applied] = float64(end.applied-begin.applied) / seconds
	grown := func(metric string) float64 { return end.metrics[metric] - begin.metrics[metric] }
	flushes, waves, batches := grown("wallet_api_flush_operations_count"), grown("wallet_relay_wave_rows_count"), grown("wallet_worker_batch_messages_count")
	f[report.OperationsPerFlush] = grown("wallet_api_flush_operations_sum") / max(1, flushes)
	f[report.RowsPerBatch] = grown("wallet_relay_wave_rows_sum") / max(1, waves)
	f[report.MessagesPerBatch] = grown("wallet_worker_batch_messages_sum") / max(1, batches)
	// A flush and a worker's batch take two round trips for their one transaction; everything else that
	// asks the database takes one.
	commits := max(0, float64(end.commits-begin.commits-(end.polls-begin.polls)))
	f[report.Transactions] = commits / float64(max(1, answered))
	f[report.RoundTrips] = (commits + flushes + batches) / float64(max(1, answered))
}

// measureUse adds what the processes consumed between two snapshots, for each of some operations.
func measureUse(f report.Figures, begin, end snapshot, operations int) {
	perOperation := 1 / float64(max(1, operations))
	f[report.WAL] = float64(end.walBytes-begin.walBytes) * perOperation
	f[report.CPU("system")] = 0
	for name, used := range end.used {
		cost := float64((used.CPU - begin.used[name].CPU).Microseconds()) * perOperation
		f[report.CPU(name)] = cost
		if name != "generator" {
			f[report.CPU("system")] += cost
		}
		if used.RSSMiB > 0 {
			f[report.RSS(name)] = used.RSSMiB
		}
	}
}

// deposits is the scenario that those of transfers and holds are compared with.
const deposits = "10000 wallets, c=256"

// compare adds the ratios to the baselines of the same run.
func compare(f report.Figures, sc scenario, run map[string]report.Figures) {
	ratio := func(name, figure report.Figure, baseline string, of report.Figure) {
		if base := run[baseline][of]; base > 0 && f[figure] > 0 {
			f[name] = f[figure] / base
		}
	}
	if !sc.baseline && sc.ratePerSecond == 0 && sc.batch == 0 {
		ratio(report.OfNothing, report.Accepted, fmt.Sprintf("nothing, c=%d", sc.connections), report.Accepted)
	}
	if sc.mix.Transfers+sc.mix.Holds > 0 {
		ratio(report.AcceptedOfDeposits, report.Accepted, deposits, report.Accepted)
		ratio(report.SettledOfDeposits, report.Settled, deposits, report.Applied)
	}
	ratio(report.RelayOfLibrdkafka, report.RelayRows, "librdkafka", report.Produced)
	ratio(report.WorkerOfLibrdkafka, report.WorkerOperations, "librdkafka", report.Consumed)
}
