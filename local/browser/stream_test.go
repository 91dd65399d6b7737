//go:build e2e

package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m, proc.Roles{}) }

// page follows a wallet in the two ways that a browser has. fetched reads the answer of fetch, from another
// origin and with a key; sourced is an EventSource, behind a gateway that adds the key. Each keeps the ids of
// what it was told, and how often it connected.
const page = `<!doctype html><title>wallet</title><script>
const fetched = {ids: [], balances: [], connects: 0, failures: 0}, sourced = {ids: [], balances: [], connects: 0, failures: 0};
async function byFetch(url, key) {
	let last = "", retry = 1000;
	for (;;) {
		try {
			const headers = {Authorization: "Bearer " + key};
			if (last) headers["Last-Event-ID"] = last;
			const answer = await fetch(url, {headers});
			if (!answer.ok) throw new Error(answer.status);
			fetched.connects++;
			const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
			for (let rest = "";;) {
				const {value, done} = await reader.read();
				if (done) break;
				const events = (rest + value).split("\n\n");
				rest = events.pop();
				for (const text of events) {
					const event = {};
					for (const line of text.split("\n")) {
						const colon = line.indexOf(": ");
						if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
					}
					if (event.retry) retry = Number(event.retry);
					if (!event.data) continue;
					if (JSON.parse(event.data).version != event.id) throw new Error("version");
					(event.event == "operation" ? fetched.ids : fetched.balances).push(Number(event.id));
					last = event.id;
				}
			}
		} catch (e) { fetched.failures++ }
		await new Promise(resolve => setTimeout(resolve, retry));
	}
}
function bySource(url) {
	const source = new EventSource(url);
	source.onopen = () => sourced.connects++;
	source.onerror = () => {
		sourced.failures++;
		// At an answer that is no stream, as that of a gateway without its server, a browser gives up.
		if (source.readyState == EventSource.CLOSED) setTimeout(() => bySource(url.replace(/after=.*/, "after=" + (sourced.ids.at(-1) ?? 0))), 1000);
	};
	source.addEventListener("operation", e => sourced.ids.push(Number(e.lastEventId)));
	source.addEventListener("balance", e => sourced.balances.push(Number(e.lastEventId)));
}
</script>`

// follower is what the page knows.
type follower struct {
	IDs      []int64
	Balances []int64
	Connects int
	Failures int
}

// Every sequence once and in order, whatever is restarted.
func TestAPageFollowsAWalletThroughRestarts(t *testing.T) {
	t.Parallel()
	var gateway atomic.Pointer[httputil.ReverseProxy]
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			gateway.Load().ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(origin.Close)

	database, redis := testdb.New(t), testkit.StartRedis(t)
	s := stacktest.NewOn(t, &servers.Backing{
		DatabaseURL: database.URL, RedisURL: "redis://" + redis.Addr, KafkaBrokers: stacktest.Required(t, "TEST_KAFKA_BROKERS"),
	}, map[string]string{
		"api": database.As(testdb.API), "relay": database.As(testdb.Relay), "worker": database.As(testdb.Worker), "hooks": database.As(testdb.Hooks),
	})
	s.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1})
	api := s.Process("api")
	api.Env = append(api.Env, "CORS_ORIGINS="+origin.URL)
	s.Begin()
	address, err := url.Parse(s.APIURLs[0])
	if err != nil {
		t.Fatal(err)
	}
	gateway.Store(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(address)
		r.Out.Header.Set("Authorization", "Bearer "+s.APIKey)
	}})
	wallet := s.OpenWallets(1)[0]
	events := "/api/v1/wallets/" + wallet.String() + "/events?after=0"

	ctx := openBrowser(t)
	do(t, ctx, chromedp.Navigate(origin.URL))
	run(t, ctx, chromedp.Evaluate[bool](fmt.Sprintf(`byFetch(%q, %q), bySource(%q), true`, s.APIURLs[0]+events, s.APIKey, events)))
	history := make(chan []load.Operation, 1)
	l := &load.Load{
		APIs: s.APIURLs, APIKey: s.APIKey, Wallets: []uuid.UUID{wallet}, Connections: 50, RatePerSecond: 100, Duration: time.Hour,
		Attempt: 12 * time.Second, Patience: time.Minute,
	}
	go func() { history <- l.Send(t.Context()) }()

	told := func(ctx context.Context) (both [2]follower) {
		text := run(t, ctx, chromedp.Evaluate[string](`JSON.stringify([fetched, sourced])`))
		if err := json.Unmarshal([]byte(text), &both); err != nil {
			t.Fatal(err)
		}
		return both
	}
	goesOn := func(after string) {
		t.Helper()
		before := told(ctx)
		testkit.Within(t, time.Minute, "both go on after "+after, func() error {
			now := told(ctx)
			return testkit.Unless(len(now[0].IDs) > len(before[0].IDs)+50 && len(now[1].IDs) > len(before[1].IDs)+50,
				"%d and %d events, %d and %d before", len(now[0].IDs), len(now[1].IDs), len(before[0].IDs), len(before[1].IDs))
		})
	}
	goesOn("the start")
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		before := told(ctx)
		s.Kill(api, signal)
		testkit.Within(t, time.Minute, "both connect again", func() error {
			now := told(ctx)
			return testkit.Unless(now[0].Connects > before[0].Connects && now[1].Connects > before[1].Connects, "%d and %d connections", now[0].Connects, now[1].Connects)
		})
		goesOn("the api's end by " + signal.String())
	}
	redis.Kill()
	goesOn("the loss of Redis")
	redis.Start()
	goesOn("the return of Redis")
	s.Kill(s.Process("worker"), syscall.SIGKILL)
	goesOn("a crash of the worker")

	l.End()
	sent := int64(len(<-history))
	var last int64
	testkit.Within(t, time.Minute, "everything is told", func() error {
		_, version := s.Balance(wallet)
		last = version
		now := told(ctx)
		return testkit.Unless(version >= sent && int64(len(now[0].IDs)) >= version && int64(len(now[1].IDs)) >= version,
			"version %d, %d sent, %d and %d told", version, sent, len(now[0].IDs), len(now[1].IDs))
	})
	for i, f := range told(ctx) {
		if int64(len(f.IDs)) != last || len(f.Balances) > 0 || f.Connects < 3 {
			t.Errorf("%d events for %d operations, %d balances, %d connections", len(f.IDs), last, len(f.Balances), f.Connects)
		}
		for place, id := range f.IDs {
			if id != int64(place+1) {
				t.Fatalf("follower %d: event %d is of sequence %d", i, place+1, id)
			}
		}
		t.Logf("%d events in order, %d connections, %d failures", len(f.IDs), f.Connects, f.Failures)
	}
}
