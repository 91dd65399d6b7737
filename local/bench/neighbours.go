package bench

import (
	"context"
	"maps"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// neighbours measures 1,000 wallets of one operation a second each, alone and beside one that is
// flooded.
func (t *fixture) neighbours(ctx context.Context) (report.Figures, error) {
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, t.sc.wallets+1)
	if err != nil {
		return nil, err
	}
	quiet, flooded := wallets[1:], wallets[:1]
	inTurn := func() *load.Load { l := t.load(quiet); l.InTurn = true; return l }
	alone, history, err := t.measure(ctx, inTurn())
	if err != nil {
		return alone, err
	}
	flood := t.load(flooded)
	flood.RatePerSecond, flood.Connections, flood.Duration = t.sc.flood, 1000, time.Hour
	flooding := make(chan []load.Operation, 1)
	go func() { flooding <- flood.Send(ctx) }()
	f, beside, err := t.besideFlood(ctx, inTurn(), flood)
	history = append(append(history, beside...), <-flooding...)
	if err != nil {
		return f, err
	}
	besideOf(f, alone, "neighbours")
	return f, t.checkAll(ctx, history)
}

// besideOf turns the latencies of some requests beside something else into figures of their own, next to those
// of the same requests alone. What is left is of both together.
func besideOf(f, alone report.Figures, who string) {
	maps.DeleteFunc(f, func(figure report.Figure, _ float64) bool {
		return figure.IsCost() || figure == report.Applied
	})
	for _, until := range []string{"accept", "applied"} {
		p99 := report.Latency(until, "p99")
		f[p99.Of(who)], f[p99.Of(who+" alone")] = f[p99], alone[p99]
		f[report.OfAlone(until, "p99")] = f[p99] / alone[p99]
	}
}

// besideFlood ends the flood with the load: what waits to be applied is applied then.
func (t *fixture) besideFlood(ctx context.Context, l, flood *load.Load) (report.Figures, []load.Operation, error) {
	ends := time.AfterFunc(l.Duration, flood.End)
	defer func() { ends.Stop(); flood.End() }()
	return t.measure(ctx, l)
}
