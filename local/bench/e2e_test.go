//go:build e2e

package bench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestBenchmarkMeasuresAndKeepsEveryPromise(t *testing.T) {
	b := &benchmark{
		config:   stack.Config{DatabaseURL: stacktest.Required(t, "TEST_DATABASE_URL"), RedisURL: stacktest.Required(t, "TEST_REDIS_URL"), KafkaBrokers: stacktest.Required(t, "TEST_KAFKA_BROKERS"), APIs: 1, Relays: 1, Workers: 1},
		bin:      stacktest.Binaries(t),
		warmUp:   200 * time.Millisecond,
		measured: 3 * time.Second, // beside other tests, answers take longer than one
		out:      t.Output(),
		programs: []string{""},
	}
	mixed := scenario{name: "mixed", wallets: 50, connections: 64, zipf: true, resendPercent: 10, readPercent: 20, withdrawUpTo: 4000, pipeline: true}
	transfers := load.Mix{Transfers: 100}
	chosen := []scenario{
		mixed, storedScenario(3000),
		{name: "transfers", wallets: 20, connections: 16, mix: transfers, funded: true},
		{name: "20 pay one", wallets: 20, connections: 16, mix: transfers, funded: true, hot: payee},
		{name: "one pays 20", wallets: 20, connections: 4, batch: 10, mix: transfers, funded: true, hot: payer},
		{name: "hold and capture", wallets: 20, connections: 16, mix: load.Mix{Holds: 100, Pairs: true}, funded: true},
		{name: "every type", wallets: 20, connections: 16, mix: load.EveryType},
	}
	for _, sc := range scenarios(4000, time.Second) {
		if slices.Contains([]string{"nothing, c=1", "batch of 10", "neighbours", "drain, one wallet"}, sc.name) {
			chosen = append(chosen, sc)
		}
	}
	measured, broken, err := b.runAll(t.Context(), chosen, 1)
	if err != nil || broken != nil {
		t.Fatal(err, broken)
	}
	for _, result := range measured[0] {
		if result.Figures[report.Accepted].Median == 0 && result.Figures[report.RelayRows].Median == 0 {
			t.Errorf("%s has no rate: %v", result.Scenario, result.Figures)
		}
		if pays := strings.Contains(result.Scenario, "transfers") || strings.Contains(result.Scenario, "pay"); pays && result.Figures[report.Settled].Median == 0 {
			t.Errorf("%s: nothing arrived: %v", result.Scenario, result.Figures)
		}
	}
	if len(measured[0]) != 11 {
		t.Errorf("%d of 11 scenarios ran", len(measured[0]))
	}
}
