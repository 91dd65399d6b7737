package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/bench/pipeline"
	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// baselines are what the machine and the backing services can do without the system, measured in the same run.
func baselines() []scenario {
	all := []scenario{{name: "librdkafka", baseline: true, run: (*fixture).librdkafka, lasts: 20 * time.Second}}
	all = append(all, scenario{name: report.PeersNothing, baseline: true, run: (*fixture).nothingByNetHTTP, lasts: 3 * time.Second})
	for _, c := range []int{1, 64, 256, 1000} {
		all = append(all, scenario{name: fmt.Sprintf("nothing, c=%d", c), connections: c, baseline: true, run: (*fixture).nothing})
	}
	for _, p := range []struct{ wallets, batch int }{{1, 1}, {1, 20}, {1, 100}, {1, 500}, {10_000, 500}} {
		name := fmt.Sprintf("pipeline, one wallet, by %d", p.batch)
		if p.wallets > 1 {
			name = fmt.Sprintf("pipeline, %d wallets, by %d", p.wallets, p.batch)
		}
		all = append(all, scenario{name: name, baseline: true, lasts: pipeline.Lasts, run: func(t *fixture, ctx context.Context) (report.Figures, error) {
			alone, err := t.pipelineAlone(ctx, p.wallets, p.batch)
			return report.Figures{report.Accepted: alone.Accepted, report.Applied: alone.Applied}, err
		}})
	}
	return all
}

// nothing is the load against a server that does nothing.
func (t *fixture) nothing(ctx context.Context) (report.Figures, error) {
	if err := t.startNothing(ctx); err != nil {
		return nil, err
	}
	defer t.idle.Stop()
	l := t.load([]uuid.UUID{uuid.New()})
	f, _, err := t.measure(ctx, l)
	return f, err
}

// nothingByNetHTTP measures the do-nothing server with the standard library's client.
func (t *fixture) nothingByNetHTTP(ctx context.Context) (report.Figures, error) {
	if err := t.startNothing(ctx); err != nil {
		return nil, err
	}
	defer t.idle.Stop()
	h := load.NewHistogram()
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		sent := time.Now()
		response, err := http.Post(t.apis[0], "application/json", strings.NewReader(`{"walletId":"01a20d5d-ed73-7e8d-bc6e-41743501eb7e","operationType":"DEPOSIT","amount":1000}`))
		if err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		load.Observe(h, time.Since(sent))
	}
	f := report.Figures{report.Accepted: float64(h.TotalCount()) / 2}
	f.Quantiles("accept", h)
	return f, nil
}

// startNothing starts the baseline instead of the system.
func (t *fixture) startNothing(ctx context.Context) error {
	port, err := freeport.Find()
	if err != nil {
		return err
	}
	t.idle = &proc.Process{
		Name: "nothing", Argv: []string{proc.Self(), "nothing", proc.Address(port)}, Log: t.benchmark.state.Log("nothing"),
		Changed: func(string) {},
		Ready: func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", proc.Address(port))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
	t.apis = []string{"http://" + proc.Address(port)}
	return t.idle.Start(ctx)
}

// ServeNothing reads requests and answers them like an api that has nothing to do.
func ServeNothing(args []string) error {
	if len(args) != 1 {
		return errors.New("nothing: want an address")
	}
	var sequence atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"operationId":"0d9f8b0e-8a37-5d0c-9c8e-0f7c8e0b7f11","walletId":"01a20d5d-ed73-7e8d-bc6e-41743501eb7e","sequence":%d,"operationType":"DEPOSIT","amount":1000,"status":"PENDING","createdAt":"2026-01-01T00:00:00.000000Z"}`, sequence.Add(1))
	})
	err := (&http.Server{Addr: args[0], Handler: handler, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// librdkafka measures Kafka's client with the relay's settings for producing and the worker's for
// consuming, which only they know: their own benchmarks do it.
func (t *fixture) librdkafka(ctx context.Context) (report.Figures, error) {
	const messages = 500_000
	f := report.Figures{}
	for program, figure := range map[string]report.Figure{"relay": report.Produced, "worker": report.Consumed} {
		binary := filepath.Join(t.benchmark.bin, program+".test")
		if err := proc.Run(ctx, t.benchmark.root, "go", "test", "-c", "-o", binary, "./"+program); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^BenchmarkLibrdkafka$", "-test.benchtime", fmt.Sprintf("%dx", messages))
		cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+t.benchmark.servers.DatabaseURL, "TEST_KAFKA_BROKERS="+t.benchmark.servers.KafkaBrokers)
		text, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", binary, err, text)
		}
		// BenchmarkLibrdkafka 	  500000	  4123 ns/op	  3.1 cpu-µs/row	 242505 rows/s
		rate := regexp.MustCompile(`([0-9.e+]+) rows/s`).FindSubmatch(text)
		if rate == nil {
			return nil, fmt.Errorf("%s says no rate:\n%s", binary, text)
		}
		if f[figure], err = strconv.ParseFloat(string(rate[1]), 64); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// comparePipeline adds how the system compares to its database pipeline alone, with as many wallets and
// flushes as large.
func (t *fixture) comparePipeline(ctx context.Context, f report.Figures, wallets int) error {
	proc.StopAll(t.stack.Services)
	size := max(1, int(math.Round(f[report.OperationsPerFlush])))
	alone, err := t.pipelineAlone(ctx, wallets, size)
	if err != nil {
		return err
	}
	f[report.PipelineAccepted], f[report.PipelineApplied] = alone.Accepted, alone.Applied
	f[report.OfPipeline] = f[report.Applied] / alone.Applied
	return nil
}

// pipelineAlone measures the database pipeline on a database of its own.
func (t *fixture) pipelineAlone(ctx context.Context, wallets, batch int) (r pipeline.Rates, err error) {
	url, drop, err := t.benchmark.newDatabase(ctx, "pipeline_"+strings.ReplaceAll(uuid.NewString(), "-", ""))
	if err != nil {
		return r, err
	}
	defer drop()
	return pipeline.Measure(ctx, url, wallets, batch)
}

// commit is the version of the code that is measured.
func commit(root string) string {
	cmd := exec.Command("git", "describe", "--always", "--dirty")
	cmd.Dir = root
	text, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
