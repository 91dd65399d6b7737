package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// sent is one server-sent event, as a client reads it.
type sent struct {
	name string
	id   int64
	data string
	body map[string]any // of data
}

// listener reads a stream.
type listener struct {
	response *http.Response
	lines    *bufio.Reader
	comments int
	retry    int
	cancel   context.CancelFunc
}

// listen opens a stream; headers are "Name: value".
func (a *api) listen(t *testing.T, walletID uuid.UUID, query string, headers ...string) *listener {
	t.Helper()
	if a.key != "" {
		headers = append(headers, "Authorization: Bearer "+a.key)
	}
	l, err := listenTo(t.Context(), a.url+walletPath(walletID)+"/events"+query, headers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	if l.response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(l.response.Body)
		t.Fatalf("%d %s", l.response.StatusCode, text)
	}
	return l
}

// withoutLimit has no time-out: a stream does not end.
var withoutLimit = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

func listenTo(ctx context.Context, url string, headers ...string) (*listener, error) {
	ctx, cancel := context.WithCancel(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Add(name, value)
	}
	response, err := withoutLimit.Do(request)
	if err != nil {
		cancel()
		return nil, err
	}
	return &listener{response: response, lines: bufio.NewReader(response.Body), cancel: cancel}, nil
}

func (l *listener) close() {
	l.cancel()
	_ = l.response.Body.Close()
}

// read returns the next event, as WHATWG HTML says how a stream is read.
func (l *listener) read() (e sent, err error) {
	for {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case line == "\n" && e.data != "":
			return e, json.Unmarshal([]byte(e.data), &e.body)
		case strings.HasPrefix(line, ":"):
			l.comments++
		case name == "event":
			e.name = value
		case name == "id":
			if e.id, err = strconv.ParseInt(value, 10, 64); err != nil {
				return e, err
			}
		case name == "data":
			e.data += value
		case name == "retry":
			if l.retry, err = strconv.Atoi(value); err != nil {
				return e, err
			}
		case line != "\n":
			return e, fmt.Errorf("a line %q", line)
		}
	}
}

// next returns the next event, which has to be the one that is wanted.
func (l *listener) next(t *testing.T, name string, id int64) sent {
	t.Helper()
	type result struct {
		e   sent
		err error
	}
	got := make(chan result, 1)
	go func() { e, err := l.read(); got <- result{e, err} }()
	select {
	case r := <-got:
		if r.err != nil || r.e.name != name || r.e.id != id {
			t.Fatalf("got %s %d %s %v, want %s %d", r.e.name, r.e.id, r.e.data, r.err, name, id)
		}
		return r.e
	case <-time.After(20 * time.Second):
		t.Fatalf("no event within 20 s, want %s %d", name, id)
	}
	return sent{}
}

// ends waits until there are no more events, and returns how the stream ends.
func (l *listener) ends(t *testing.T) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := l.read(); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the stream has not ended within 30 s")
		return nil
	}
}

func TestAStreamTellsEveryOperationOnceAndInOrder(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	walletID := a.newWallet(t)
	deposit := func(n int) {
		t.Helper()
		for range n {
			if r := a.deposit(walletID, 1); r.status != http.StatusAccepted {
				t.Fatal(r.text)
			}
		}
		worker.apply(t, walletID, true)
	}
	deposit(3)
	for _, test := range []struct {
		name    string
		query   string
		headers []string
		first   int64 // operation; what is before is a balance
		balance bool
	}{
		{name: "from the beginning", query: "?after=0", first: 1},
		{name: "after an operation", query: "?after=2", first: 3},
		{name: "resumed", headers: []string{"Last-Event-ID: 1"}, first: 2},
		{name: "resumed, by the address of the first time", query: "?after=0", headers: []string{"Last-Event-ID: 2"}, first: 3},
		{name: "from now on", first: 4, balance: true},
		{name: "from the last one on", query: "?after=3", first: 4},
		{name: "from one on that is still to come", query: "?after=4", first: 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := a.listen(t, walletID, test.query, test.headers...)
			if test.balance {
				e := l.next(t, "balance", 3)
				if e.data != fmt.Sprintf(`{"walletId":%q,"tenant":"default","currency":"USD","version":3,"balance":3,"held":0,"available":3,"state":"ACTIVE"}`, walletID) {
					t.Errorf("the balance is %s", e.data)
				}
			}
			for seq := test.first; seq <= 3; seq++ {
				l.next(t, "operation", seq)
			}
			if (test.balance || test.first <= 3) && (l.retry < 1000 || l.retry > 2000) {
				t.Errorf("retry: %d", l.retry)
			}
			for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "private, no-cache", "X-Accel-Buffering": "no"} {
				if got := l.response.Header.Get(name); got != want {
					t.Errorf("%s: %s", name, got)
				}
			}
		})
	}
	streams := map[int64]*listener{1: a.listen(t, walletID, "?after=0"), 4: a.listen(t, walletID, "?after=3"), 5: a.listen(t, walletID, "?after=4")}
	for range 5 {
		deposit(2)
	}
	for first, l := range streams {
		for seq := first; seq <= 13; seq++ {
			e := l.next(t, "operation", seq)
			operations, _ := e.body["operations"].([]any)
			if len(operations) != 1 || fmt.Sprint(e.body["fromSequence"], e.body["version"], e.body["balance"], e.body["available"]) != fmt.Sprint(seq, seq, seq, seq) {
				t.Errorf("operation %d is told as %s", seq, e.data)
			}
		}
	}
	testkit.Until(t, "the streams are counted", a.admin.Counts(`wallet_api_streams{of="operations"}`, "3"))
}

// What a stream tells of an operation is what the API answers, but for the settlement.
func TestAStreamTellsOperationsAsTheAPIAnswersThem(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	walletID, otherID := a.newWallet(t), a.newWallet(t)
	wallet := walletPath(walletID)
	sent := []reply{
		a.send("POST", wallet+"/operations", `{"operationType":"DEPOSIT","amount":100,"reference":"<a href=\"x\">&é\\","metadata":{"<&>":"\"\\","b":"é"}}`),
		a.send("POST", wallet+"/holds", `{"amount":10,"expiresAt":"2027-01-01T00:00:00Z"}`),
		a.send("POST", wallet+"/transfers", `{"toWalletId":"`+otherID.String()+`","amount":3}`),
	}
	hold := fmt.Sprint(sent[1].body["operationId"])
	sent = append(sent, a.send("POST", wallet+"/holds/"+hold+"/capture", `{"final":false,"amount":1}`), a.send("PUT", wallet+"/state", `{"state":"FROZEN","reason":"r"}`))
	for i, r := range sent {
		if r.status != http.StatusAccepted || r.number(t, "sequence") != int64(i+1) {
			t.Fatalf("%d %s", r.status, r.text)
		}
	}
	worker.apply(t, walletID, true)
	l := a.listen(t, walletID, "?after=0")
	for i, r := range sent {
		e := l.next(t, "operation", int64(i+1))
		answer := a.send("GET", r.header.Get("Location"), "")
		var want, got map[string]any
		if err := json.Unmarshal([]byte(answer.text), &want); err != nil {
			t.Fatal(err)
		}
		delete(want, "settlement")
		got, _ = e.body["operations"].([]any)[0].(map[string]any)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("operation %d (-API +stream):\n%s", i+1, diff)
		}
	}
}

func TestAStreamOfBalancesHasTheLatestAtMostFourTimesASecond(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	walletID := a.newWallet(t)
	l := a.listen(t, walletID, "?balances=true")
	resumed := a.listen(t, walletID, "?balances=true", "Last-Event-ID: 0") // it has this balance, and is told nothing
	l.next(t, "balance", 0)
	const operations = 40
	began, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		for range operations {
			a.deposit(walletID, 1)
			worker.apply(t, walletID, true)
		}
	}()
	var times []time.Time
	for version := int64(0); version < operations; {
		e, err := l.read()
		if err != nil || e.name != "balance" || e.id <= version || fmt.Sprint(e.body["balance"], e.body["version"]) != fmt.Sprint(e.id, e.id) || e.body["operations"] != nil {
			t.Fatalf("after %d: %s %d %s %v", version, e.name, e.id, e.data, err)
		}
		version = e.id
		times = append(times, time.Now())
	}
	<-done
	for i, at := range times {
		if took := at.Sub(began); took < time.Duration(i)*balancePause {
			t.Errorf("%d balances within %v", i+1, took)
		}
	}
	if e, err := resumed.read(); err != nil || e.name != "balance" || e.id == 0 {
		t.Errorf("the stream that knew the balance got %v %v", e, err)
	}
}

// Operations and balances of one wallet share a feed.
// Many streams of a wallet get its balance one after the other, few at once.
func TestBalancesAreSpread(t *testing.T) {
	t.Parallel()
	s := newStreams(nil, nil, streamLimits{}, nil, prometheus.NewRegistry())
	wallet := uuid.New()
	for _, test := range []struct {
		balances, full int
		want           time.Duration
	}{{1, 0, 0}, {1, 50, 0}, {2, 0, balanceShare}, {501, 50, 100 * time.Millisecond}, {1251, 0, balancePause}, {2000, 0, balancePause}} {
		f := &feed{followers: map[*stream]struct{}{}, full: test.full}
		for range test.balances + test.full {
			f.followers[&stream{}] = struct{}{}
		}
		s.feeds[wallet] = f
		if got := s.spread(wallet); got != test.want {
			t.Errorf("%d streams of balances and %d of operations: %v, want %v", test.balances, test.full, got, test.want)
		}
	}
}

func TestStreamsOfBothKindsShareAWallet(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	walletID := a.newWallet(t)
	balances := a.listen(t, walletID, "?balances=true&after=0")
	for seq := int64(1); seq <= 3; seq++ {
		a.deposit(walletID, 1)
		worker.apply(t, walletID, true)
		if e, err := balances.read(); err != nil || e.id != seq {
			t.Errorf("a balance: %v %v", e, err)
		}
		operations := a.listen(t, walletID, "?after=0") // each time another one, alone
		for told := int64(1); told <= seq; told++ {
			operations.next(t, "operation", told)
		}
		operations.close()
		testkit.Until(t, "it has left", a.admin.Counts(`wallet_api_streams{of="operations"}`, "0"))
	}
}

// Announcements are lost with Redis: the poll finds what they would have said.
func TestAStreamGoesOnWithoutRedis(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := miniredis.RunT(t)
	a := startAPI(t, database.As(testdb.API), "REDIS_URL=redis://"+cache.Addr())
	worker := newApplier(t, database, "redis://"+cache.Addr())
	walletID := a.newWallet(t)
	operations, balances := a.listen(t, walletID, ""), a.listen(t, walletID, "?balances=true")
	operations.next(t, "balance", 0)
	balances.next(t, "balance", 0)
	cache.Close()
	for seq := int64(1); seq <= 2; seq++ {
		a.deposit(walletID, 1)
		worker.apply(t, walletID, false)
		operations.next(t, "operation", seq)
		balances.next(t, "balance", seq)
	}
}

// Postgres is lost and comes back: the streams last, and miss nothing.
func TestAStreamOutlivesPostgres(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	proxy := newProxy(t, database.As(testdb.API))
	cache := newCached(t)
	a := startAPI(t, proxy.URL, cache.setting())
	worker := newApplier(t, database, "redis://"+cache.Addr())
	walletID := a.newWallet(t)
	for range 3 {
		a.deposit(walletID, 1)
	}
	live := a.listen(t, walletID, "?after=0")
	var late *listener
	testkit.Until(t, "the cache says that there is such a wallet", func() error {
		cache.hold(t, a, walletID)
		proxy.Cut()
		l, err := listenTo(t.Context(), a.url+walletPath(walletID)+"/events?after=1")
		if err != nil || l.response.StatusCode != http.StatusOK { // the cache was slow, on a busy machine
			if err == nil {
				l.close()
			}
			proxy.Open(t)
			return errors.Join(err, errors.New("the stream does not begin"))
		}
		late = l
		return nil
	})
	t.Cleanup(late.close)
	worker.apply(t, walletID, true)
	testkit.Until(t, "postgres is named as lost", a.isDegraded("postgres"))
	proxy.Open(t)
	for seq := int64(1); seq <= 3; seq++ {
		live.next(t, "operation", seq)
		if seq > 1 {
			late.next(t, "operation", seq)
		}
	}
}

// The worker writes the cache after its commit, and may be late, or die: whoever has been told of a version
// by a stream does not read an older one.
func TestAStreamRaisesTheCacheBeforeItTells(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	for query, name := range map[string]string{"?after=0": "operation", "?balances=true&after=0": "balance"} {
		walletID := a.newWallet(t)
		l := a.listen(t, walletID, query)
		for seq := int64(1); seq <= 3; seq++ {
			testkit.Until(t, "the wallet is cached", func() error {
				a.send("GET", walletPath(walletID), "")
				w, found, err := walletcache.Get(t.Context(), worker.redis, walletID)
				return errors.Join(err, testkit.Unless(found && w.AppliedSeq == seq-1, "%v", w))
			})
			a.deposit(walletID, 1)
			worker.apply(t, walletID, false)
			l.next(t, name, seq)
			if r := a.send("GET", walletPath(walletID), ""); r.number(t, "version") != seq {
				t.Fatalf("%s %d was told, and then is read: %s", name, seq, r.text)
			}
		}
	}
}

func TestThereAreNotMoreStreamsThanMayBe(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "AUTH=on", "STREAMS_MAX=3", "STREAMS_PER_KEY=2")
	a.key = newKey(t, database, "first", apikey.Scopes...)
	other := "Authorization: Bearer " + newKey(t, database, "second", apikey.Scopes...)
	walletID := a.newWallet(t)
	path := walletPath(walletID) + "/events"
	refused := func(status int, code string, headers ...string) {
		t.Helper()
		r := a.send("GET", path, "", headers...)
		if r.status != status || r.body["code"] != code || r.header.Get("Retry-After") != "5" {
			t.Fatalf("one more: %d %s %v", r.status, r.text, r.header)
		}
	}
	first := a.listen(t, walletID, "")
	a.listen(t, walletID, "?balances=true")
	refused(http.StatusTooManyRequests, "rate-limited")
	if r := a.send("HEAD", path, "", other); r.status != http.StatusOK || r.header.Get("Content-Type") != "text/event-stream" || r.text != "" {
		t.Errorf("HEAD: %d %v %s", r.status, r.header, r.text)
	}
	third, err := listenTo(t.Context(), a.url+path, other)
	if err != nil || third.response.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", third, err)
	}
	t.Cleanup(third.close)
	refused(http.StatusServiceUnavailable, "overloaded", other)
	for _, setting := range []string{"STREAMS_MAX", "STREAMS_PER_KEY"} {
		if err := a.admin.Counts(`wallet_api_streams_refused_total{setting="`+setting+`"}`, "1")(); err != nil {
			t.Error(err)
		}
	}
	first.close()
	testkit.Until(t, "one has left", a.admin.Counts(`wallet_api_stream_ends_total{reason="client"}`, "1"))
	a.listen(t, walletID, "").next(t, "balance", 0)
}

func TestStreamsEndWithTheProcess(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	walletID := a.newWallet(t)
	streams := []*listener{a.listen(t, walletID, ""), a.listen(t, walletID, "?balances=true")}
	for _, l := range streams {
		l.next(t, "balance", 0)
	}
	stall, began := testdb.WatchStalls(t, database.URL), time.Now()
	a.signal(t, syscall.SIGTERM)
	for _, l := range streams {
		if err := l.ends(t); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ends with %v", err)
		}
	}
	code := a.exitCode(t, 10*time.Second) // who waits for streams to end takes drainTime
	if took := time.Since(began); code != 0 || took > drainTime-time.Second+stall().Sum {
		t.Errorf("exit code %d after %v", code, took)
	}
}

func TestPagesOfOtherOriginsMayFollowAWallet(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API), "CORS_ORIGINS=https://shop.example")
	walletID := a.newWallet(t)
	l := a.listen(t, walletID, "", "Origin: https://shop.example")
	if got := l.response.Header; got.Get("Access-Control-Allow-Origin") != "https://shop.example" || !strings.Contains(got.Get("Access-Control-Expose-Headers"), "X-Request-Id") {
		t.Errorf("%v", got)
	}
	r := a.send("OPTIONS", walletPath(walletID)+"/events", "", "Origin: https://shop.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization,last-event-id")
	if r.status != http.StatusNoContent || r.header.Get("Access-Control-Allow-Headers") != "authorization,last-event-id" {
		t.Errorf("preflight: %d %v", r.status, r.header)
	}
}

// inProcess is an api in this process, with other times than usual.
type inProcess struct {
	api
	database testdb.Database
	conn     *pgx.Conn
	redis    redis.UniversalClient
	streams  *streams
	keys     *keys
	server   *httptest.Server
}

func newInProcess(t *testing.T, change func(*inProcess)) *inProcess {
	t.Helper()
	p := &inProcess{database: testdb.New(t)}
	p.conn, p.redis = p.database.Conn(t), newApplier(t, p.database, os.Getenv("TEST_REDIS_URL")).redis
	config, err := db.Config(p.database.As(testdb.API))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	ctx, cancel := context.WithCancel(context.Background())
	registry, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	entries := newCache(p.redis, service.NewHealth(log, registry), registry)
	p.streams = newStreams(pool, entries, streamLimits{all: 1000, perKey: 1000}, ctx.Done(), registry)
	ws := newWaits(pool, entries, p.streams, ctx.Done())
	p.keys = &keys{db: pool, lifetime: 0, known: map[[32]byte]*key{}}
	q := newQueue(limits{flush: 1})
	m := newMetrics(registry, q, ws.waiters)
	p.key = newKey(t, p.database, "client", apikey.Scopes...)
	handler, err := newHandler(&wallets{pool: pool, cache: entries, queue: q, waits: ws, streams: p.streams, keys: p.keys, metrics: m, timeout: 5 * time.Second}, p.keys, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.server = httptest.NewUnstartedServer(handler)
	p.server.Config = newHTTPServer(handler, time.Second)
	if change != nil {
		change(p)
	}
	p.server.Start()
	p.url = p.server.URL
	var background sync.WaitGroup
	background.Go(func() { entries.guard.Run(ctx) })
	background.Go(func() { ws.run(ctx, p.redis) })
	t.Cleanup(func() { cancel(); p.server.Close(); background.Wait() })
	return p
}

// operate accepts operations, without a queue, and applies them.
func (p *inProcess) operate(t *testing.T, walletID uuid.UUID, n int, announced bool) {
	t.Helper()
	operations := make([]testdb.Operation, n)
	for i := range operations {
		operations[i] = testdb.Operation{ID: uuid.New(), WalletID: walletID, Amount: 1}
	}
	_, err := testdb.Accept(t.Context(), p.conn, "wallet-operations", operations...)
	if err = errors.Join(err, testdb.Apply(t.Context(), p.conn, walletID)); err != nil {
		t.Fatal(err)
	}
	if !announced {
		return
	}
	wallet, err := walletdb.New(p.conn).GetWallet(t.Context(), walletID)
	if err = errors.Join(err, walletcache.Set(t.Context(), p.redis, []walletdb.Wallet{wallet})); err != nil {
		t.Fatal(err)
	}
}

// A request may take a few seconds here, a stream takes as long as it takes.
func TestAStreamOutlivesTheServersTimeouts(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, func(p *inProcess) {
		p.server.Config.WriteTimeout, p.server.Config.ReadTimeout = 300*time.Millisecond, 300*time.Millisecond
		p.streams.heartbeat = 200 * time.Millisecond
	})
	walletID := insertWallet(t, p.database)
	l := p.listen(t, walletID, "?after=0")
	seq := int64(0)
	for began := time.Now(); time.Since(began) < 1500*time.Millisecond || l.comments < 4 && time.Since(began) < 5*time.Second; {
		p.operate(t, walletID, 1, true)
		seq++
		l.next(t, "operation", seq)
	}
	if l.comments < 4 {
		t.Errorf("%d heartbeats", l.comments)
	}
}

func TestAStreamEndsWithItsTime(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, func(p *inProcess) { p.streams.lifetime = 500 * time.Millisecond })
	for _, query := range []string{"", "?balances=true"} {
		if err := p.listen(t, insertWallet(t, p.database), query).ends(t); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ends with %v", err)
		}
	}
}

func TestAStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	if keyLifetime+heartbeat > time.Minute {
		t.Errorf("a revoked key follows a wallet for %v", keyLifetime+heartbeat)
	}
	for name, end := range map[string]string{
		"revoked":            "UPDATE api_keys SET revoked_at = now()",
		"without its scope":  "UPDATE api_keys SET scopes = '{operations:write}'",
		"its tenant is gone": "UPDATE tenants SET disabled_at = now() WHERE name = 'acme'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newInProcess(t, func(p *inProcess) { p.streams.heartbeat = 100 * time.Millisecond })
			p.key = newTenantKey(t, p.database, "acme", "client")
			walletID := insertWallet(t, p.database)
			if _, err := p.conn.Exec(t.Context(), "UPDATE wallets SET tenant = 'acme'"); err != nil {
				t.Fatal(err)
			}
			l := p.listen(t, walletID, "")
			l.next(t, "balance", 0)
			if _, err := p.conn.Exec(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			if err := l.ends(t); !errors.Is(err, io.EOF) {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}

// A client that reads nothing costs a connection for a while, and others nothing.
func TestAStreamWhoseClientDoesNotReadEnds(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, func(p *inProcess) {
		p.streams.write = time.Second
		p.server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			_ = conn.(*net.TCPConn).SetWriteBuffer(4096)
			return ctx
		}
	})
	walletID := insertWallet(t, p.database)
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", p.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s/events?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", walletPath(walletID), p.key)
	reader := p.listen(t, walletID, "?after=0")
	for i := range 20 {
		p.operate(t, walletID, 100, true)
		for seq := range int64(100) {
			reader.next(t, "operation", int64(i)*100+seq+1)
		}
	}
	testkit.Until(t, "only the other is left", func() error {
		p.streams.mu.Lock()
		defer p.streams.mu.Unlock()
		return testkit.Unless(p.streams.counts[false] == 1, "there are %d", p.streams.counts[false])
	})
	p.operate(t, walletID, 1, true)
	reader.next(t, "operation", 2001)
}

// What a client says it has may not exist: after a restore, or by mistake. It waits for what follows that, and
// those who follow the same wallet are told of everything meanwhile.
func TestAStreamBeyondTheEndSilencesNoOther(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, nil)
	walletID := insertWallet(t, p.database)
	p.operate(t, walletID, 2, true)
	ahead := p.listen(t, walletID, "", "Last-Event-ID: 5")
	p.listen(t, walletID, "", fmt.Sprintf("Last-Event-ID: %d", int64(1)<<53-1))
	testkit.Until(t, "both follow", func() error {
		p.streams.mu.Lock()
		defer p.streams.mu.Unlock()
		f := p.streams.feeds[walletID]
		return testkit.Unless(f != nil && f.full == 2, "they do not")
	})
	operations, balances := p.listen(t, walletID, "?after=2"), p.listen(t, walletID, "?balances=true")
	balances.next(t, "balance", 2)
	for seq := int64(3); seq <= 7; seq++ {
		p.operate(t, walletID, 1, true)
		operations.next(t, "operation", seq)
		balances.next(t, "balance", seq)
	}
	ahead.next(t, "operation", 6)
	ahead.next(t, "operation", 7)
}

// A stream of operations that has caught up by itself leaves its feed nothing to read. One of balances that has read the
// wallet before the last of them is told of it all the same, and polls find nothing new.
func TestAFeedWithNothingToTellKnowsTheBalance(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, nil)
	walletID := insertWallet(t, p.database)
	p.operate(t, walletID, 2, true)
	p.listen(t, walletID, "?after=0").next(t, "operation", 1)
	late := &stream{streams: p.streams, wallet: event.Wallet{ID: walletID}, balances: true, sent: 1, wake: make(chan struct{}, 1)}
	testkit.Until(t, "the operations are followed", func() error {
		p.streams.mu.Lock()
		defer p.streams.mu.Unlock()
		f := p.streams.feeds[walletID]
		return testkit.Unless(f != nil && f.full == 1, "they are not")
	})
	p.streams.join(late)
	defer p.streams.leave(late)
	testkit.Until(t, "the balance is known", func() error {
		version := p.streams.latest(walletID).version
		return testkit.Unless(version == 2, "the latest is that of %d", version)
	})
}

// Clients come, leave, read slowly and come back while a wallet is applied, with and without
// announcements, and queues are full again and again: each is told every sequence once, and in order.
func TestStreamsMissNothingAndTellNothingTwice(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, func(p *inProcess) { p.streams.mostQueued = 20_000 }) // some 40 operations
	walletID := insertWallet(t, p.database)
	sizes, total := make([]int, 120), int64(0)
	for i := range sizes {
		sizes[i] = 1 + rand.IntN(60)
		total += int64(sizes[i])
	}
	var following sync.WaitGroup
	for i := range 12 {
		following.Go(func() {
			headers := []string{"Authorization: Bearer " + p.key}
			for known := int64(0); known < total; {
				l, err := listenTo(t.Context(), p.url+walletPath(walletID)+"/events?after=0", append(headers, fmt.Sprintf("Last-Event-ID: %d", known))...)
				if err != nil {
					t.Error(err)
					return
				}
				for n := rand.IntN(500); n >= 0 && known < total; n-- {
					e, err := l.read()
					if err != nil || e.name != "operation" || e.id != known+1 {
						t.Errorf("client %d after %d: %s %d %v", i, known, e.name, e.id, err)
						l.close()
						return
					}
					known = e.id
					if rand.IntN(100) == 0 {
						time.Sleep(rand.N(100 * time.Millisecond)) // it reads slowly
					}
				}
				l.close()
			}
		})
	}
	for _, size := range sizes {
		p.operate(t, walletID, size, rand.IntN(3) > 0)
		time.Sleep(rand.N(15 * time.Millisecond)) // operations come now and then
	}
	following.Wait()
}

// What is applied between a stream's last look at Postgres and its joining the others was given to them already.
func TestAStreamReadsWhatOthersWereGivenBeforeItJoined(t *testing.T) {
	t.Parallel()
	p := newInProcess(t, nil)
	walletID := insertWallet(t, p.database)
	p.operate(t, walletID, 3, true)
	of := func(w http.ResponseWriter, r *http.Request, sent int64) *stream {
		return &stream{
			streams: p.streams, ctx: r.Context(), answer: w, control: http.NewResponseController(w), wake: make(chan struct{}, 1),
			wallet: event.Wallet{ID: walletID}, sent: sent, reached: sent,
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush() // the client waits for the headers
		other := of(w, r, 3)
		p.streams.join(other)
		defer p.streams.leave(other)
		_ = of(w, r, 1).follow()
	}))
	defer server.Close()
	l, err := listenTo(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.next(t, "operation", 2)
	l.next(t, "operation", 3)
}

func TestAChunkBeginsWhereAStreamIs(t *testing.T) {
	t.Parallel()
	c := &chunk{first: 5, ends: []int{2, 4, 6}, text: []byte("aabbcc")}
	for _, test := range []struct {
		after      int64
		text       string
		operations int
	}{{4, "aabbcc", 3}, {5, "bbcc", 2}, {6, "cc", 1}, {7, "", 0}, {9, "", 0}, {0, "aabbcc", 3}} {
		if text, n := c.after(test.after); string(text) != test.text || n != test.operations {
			t.Errorf("after %d: %q, %d", test.after, text, n)
		}
	}
	if c.last() != 7 {
		t.Errorf("the last one is %d", c.last())
	}
}

// written counts the parts that are written, and does something after each.
type written struct {
	http.ResponseWriter
	parts int
	after func()
}

func (w *written) Write(part []byte) (int, error) {
	w.parts++
	w.after()
	return len(part), nil
}

func (w *written) SetWriteDeadline(time.Time) error { return nil }
func (w *written) Flush()                           {}

// A client that reads slowly keeps no stream from its end.
func TestAStreamEndsInTheMidstOfAnEvent(t *testing.T) {
	t.Parallel()
	for want, revoked := range map[error]bool{errKeyEnded: true, errDrains: false} {
		beat, draining := make(chan time.Time, 3), make(chan struct{})
		var keyError error
		answer := &written{}
		answer.after = func() {
			if revoked {
				keyError = problem{code: unauthorized}
				beat <- time.Now()
			} else if answer.parts == 1 {
				close(draining)
			}
		}
		s := &stream{
			streams: &streams{draining: draining, write: time.Second}, ctx: t.Context(), answer: answer, control: http.NewResponseController(answer),
			allowed: func() error { return keyError }, beat: beat,
		}
		if err := s.write(make([]byte, 3*writeSize)); !errors.Is(err, want) || answer.parts != 1 {
			t.Errorf("%v after %d parts, want %v after one", err, answer.parts, want)
		}
	}
}
