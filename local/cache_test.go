//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/servers/redisset"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

var (
	cacheRounds = flag.Int("cache.rounds", 0, "throw each fault of Redis so often in TestNoReaderSeesAWalletGoBackWhateverRedisDoes; 0: some of them, once")
	cacheHold   = flag.Duration("cache.hold", 1500*time.Millisecond, "how long each lasts")
	cacheOnly   = flag.String("cache.only", "", "throw only the faults whose names match this regexp")
	// With another version's programs the test shows what it is for.
	cacheBin = flag.String("cache.bin", "", "a folder with api, relay, worker and ctl to test instead of these")
)

const (
	// wellWithin is how long after a fault everything works again, and the programs say so.
	wellWithin = 30 * time.Second
	// toldWithin is how long a program may take to see that Redis is not as it was.
	toldWithin = 2 * time.Second
)

// redisFault is made, lasts, and is healed. Each step is done by an operator, by another way than the
// services'.
type redisFault struct {
	name string
	// before is done while all is well, some changes before make.
	before, make, heal func(ctx context.Context) error
	// told is what readiness and ctl status have to name while it lasts; empty: it does not last, or a
	// failover may have ended it before anybody asks.
	told string
	// always is thrown in a short test too.
	always bool
}

func TestNoReaderSeesAWalletGoBackWhateverRedisDoes(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (url string, faults []redisFault){
		"one server": startOneRedis, "sentinels": startSentinels, "a cluster": startCluster,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, faults := start(t)
			c := newCacheTrial(t, url)
			for _, f := range faults {
				if !regexp.MustCompile(*cacheOnly).MatchString(f.name) || *cacheRounds == 0 && !f.always {
					continue
				}
				rounds := max(1, *cacheRounds)
				var decreases, reads int64
				var slowest, sum, longest, cached time.Duration
				unwell := 0
				for range rounds {
					r := c.round(f)
					decreases, reads, sum, slowest = decreases+r.decreases, reads+r.reads, sum+r.well, max(slowest, r.well)
					unwell, longest, cached = unwell+r.unwell, max(longest, r.longest), max(cached, r.cached)
				}
				t.Logf("| %s | %s | %d rounds | %d reads | %d decreases | %d programs did not tell | all well after %.2f s, at most %.2f s | cached again after at most %.2f s | a read took %.2f s at most |",
					name, f.name, rounds, reads, decreases, unwell, (sum / time.Duration(rounds)).Seconds(), slowest.Seconds(), cached.Seconds(), longest.Seconds())
				if decreases > 0 {
					t.Errorf("%s: a version decreased %d times in %d reads", f.name, decreases, reads)
				}
			}
		})
	}
}

// cacheTrial is a system under readers that choose an api at random.
type cacheTrial struct {
	*system
	url     string
	random  *rand.Rand
	wallets []uuid.UUID
}

func newCacheTrial(t *testing.T, redisURL string) *cacheTrial {
	t.Helper()
	ownState, err := proc.TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ownState.Close)
	own := &servers.Backing{Kafka: "kfake", RedisURL: redisURL}
	if err := own.Start(t.Context(), ownState, io.Discard, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proc.StopAll(own.Processes) })
	s := newSystemOn(t, own, nil)
	if *cacheBin != "" {
		s.Bin = *cacheBin
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Prepare(stack.Config{APIs: 3, Relays: 1, Workers: 1})
	s.Begin()
	return &cacheTrial{system: s, url: redisURL, random: rand.New(rand.NewPCG(rand.Uint64(), 0)), wallets: s.OpenWallets(3)}
}

type cacheRound struct {
	reads, decreases int64
	unwell           int           // programs that did not tell in time
	well             time.Duration // until every program says so, and ctl status
	cached           time.Duration // until what is read is cached again
	longest          time.Duration // that a read took
}

// round throws a fault once, with two or three apis, with or without a worker, idle or under load.
func (c *cacheTrial) round(f redisFault) (r cacheRound) {
	c.T.Helper()
	apis, worker, loaded := 2+c.random.IntN(2), c.random.IntN(4) > 0, c.random.IntN(2) > 0
	what := fmt.Sprintf("%s, %d apis, worker %t, load %t", f.name, apis, worker, loaded)
	do := func(step string, action func(context.Context) error) {
		c.T.Helper()
		if action == nil {
			return
		}
		if err := action(c.T.Context()); err != nil {
			c.T.Fatalf("%s: %s: %v", what, step, err)
		}
	}
	watch := newVersionWatch()
	ctx, stop := context.WithCancel(c.T.Context())
	var readers sync.WaitGroup
	urls := c.APIURLs[:apis]
	reading := 8
	if !loaded {
		reading = 1
	}
	for range reading {
		readers.Go(func() { c.readAlong(ctx, urls, watch, loaded) })
	}
	if loaded {
		l := &load.Load{
			APIs: urls, APIKey: c.APIKey, Wallets: c.wallets, Connections: 20, RatePerSecond: 150, Duration: time.Hour,
			Attempt: 12 * time.Second, Patience: time.Minute,
		}
		done := make(chan struct{})
		go func() { defer close(done); l.Send(ctx) }()
		defer func() { l.End(); <-done }()
	} else {
		readers.Go(func() { c.depositAlong(ctx, urls, watch) })
	}
	end := sync.OnceFunc(func() { stop(); readers.Wait() })
	defer end()

	do("before", f.before)
	proc.Pause(ctx, 500*time.Millisecond) // some versions
	w := c.Process("worker")
	if !worker {
		w.Stop()
	}
	do("make", f.make)
	r.unwell = c.untold(ctx, f, what, worker)
	if f.heal != nil {
		proc.Pause(ctx, *cacheHold)
	}
	do("heal", f.heal)
	healed := time.Now()
	if !worker {
		proc.Pause(ctx, time.Duration(c.random.IntN(1000))*time.Millisecond)
		if err := w.Begin(); err != nil {
			c.T.Fatal(err)
		}
	}
	var complaint string
	if !proc.Await(ctx, wellWithin, func() bool { complaint = c.complaint(ctx); return complaint == "" }) {
		c.T.Errorf("%s: %s after %s: %s", what, f.name, wellWithin, complaint)
	}
	r.well = time.Since(healed)
	if !proc.Await(ctx, wellWithin, func() bool { complaint = c.uncached(ctx); return complaint == "" }) {
		c.T.Errorf("%s: %s after %s: %s", what, f.name, wellWithin, complaint)
	}
	r.cached = time.Since(healed)
	proc.Pause(ctx, 300*time.Millisecond)
	end()
	r.reads, r.decreases, r.longest = watch.reads.Load(), watch.decreases.Load(), time.Duration(watch.longest.Load())
	if r.decreases > 0 {
		c.T.Logf("%s: %d decreases, such as %s", what, r.decreases, watch.example.Load())
	}
	return r
}

// versionWatch knows the highest version of each wallet that anybody has been told.
type versionWatch struct {
	mu               sync.Mutex
	told             map[uuid.UUID]int64
	reads, decreases atomic.Int64
	longest          atomic.Int64 // nanoseconds of a read
	example          atomic.Value
}

func newVersionWatch() *versionWatch { return &versionWatch{told: map[uuid.UUID]int64{}} }

func (w *versionWatch) highest(id uuid.UUID) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told[id]
}

// tell compares an answer with what had been told before its request was sent.
func (w *versionWatch) tell(id uuid.UUID, before, version int64, api string) {
	w.reads.Add(1)
	if version < before {
		w.decreases.Add(1)
		w.example.Store(fmt.Sprintf("%d after %d by %s at %s", version, before, api, time.Now().Format("05.000")))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[id] = max(w.told[id], version)
}

func (w *versionWatch) took(d time.Duration) {
	for longest := w.longest.Load(); int64(d) > longest && !w.longest.CompareAndSwap(longest, int64(d)); longest = w.longest.Load() {
	}
}

// readAlong is a reader who chooses an api at random.
func (c *cacheTrial) readAlong(ctx context.Context, urls []string, watch *versionWatch, often bool) {
	clients := map[string]*load.Client{}
	for _, url := range urls {
		clients[url] = &load.Client{Addr: strings.TrimPrefix(url, "http://"), APIKey: c.APIKey, Timeout: 10 * time.Second}
		defer clients[url].Close()
	}
	for ctx.Err() == nil {
		url, wallet := urls[rand.IntN(len(urls))], c.wallets[rand.IntN(len(c.wallets))]
		before, began := watch.highest(wallet), time.Now()
		r, err := clients[url].Do(http.MethodGet, "/api/v1/wallets/"+wallet.String(), "", nil)
		var w struct{ Version int64 }
		if err == nil && r.Status == http.StatusOK && json.Unmarshal(r.Body, &w) == nil {
			watch.tell(wallet, before, w.Version, url)
			watch.took(time.Since(began))
		} else if ctx.Err() == nil {
			c.T.Errorf("a wallet cannot be read: %v %d %s", err, r.Status, r.Body)
			return
		}
		if often {
			proc.Pause(ctx, time.Millisecond)
		} else {
			proc.Pause(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
		}
	}
}

// depositAlong sends an operation now and then and waits for its outcome, which is a version too.
func (c *cacheTrial) depositAlong(ctx context.Context, urls []string, watch *versionWatch) {
	for ctx.Err() == nil {
		url, wallet := urls[rand.IntN(len(urls))], c.wallets[rand.IntN(len(c.wallets))]
		cl := load.Client{Addr: strings.TrimPrefix(url, "http://"), APIKey: c.APIKey, Timeout: 10 * time.Second, Prefer: "wait=2"}
		before := watch.highest(wallet)
		r, err := cl.Do(http.MethodPost, "/api/v1/wallet", "", []byte(deposit(wallet)))
		var o struct {
			Status   string
			Sequence int64
		}
		if err == nil && json.Unmarshal(r.Body, &o) == nil && o.Status == "PROCESSED" {
			watch.tell(wallet, min(before, o.Sequence), o.Sequence, url)
		}
		cl.Close()
		proc.Pause(ctx, time.Duration(50+rand.IntN(200))*time.Millisecond)
	}
}

// untold counts the programs that do not tell of a fault that lasts.
func (c *cacheTrial) untold(ctx context.Context, f redisFault, what string, worker bool) (untold int) {
	if f.told == "" {
		return 0
	}
	silent := map[string]string{}
	for _, p := range c.Services {
		if !strings.HasPrefix(p.Name, "relay") && (worker || !strings.HasPrefix(p.Name, "worker")) {
			silent[p.Name] = "nothing"
		}
	}
	stall, asked := testdb.WatchStalls(c.T, c.Backing.DatabaseURL), time.Now()
	proc.Await(ctx, wellWithin, func() bool {
		for _, p := range c.Services {
			r, err := stack.AskReady(ctx, p)
			if said := strings.Join(r.Degraded, "; "); err == nil && strings.Contains(said, f.told) {
				delete(silent, p.Name)
			}
		}
		return len(silent) == 0
	})
	if took, stalled := time.Since(asked), stall().Sum; len(silent) == 0 && took > toldWithin+stalled {
		silent["all"] = "told after " + took.String()
	}
	var report struct{ Problems []string }
	var out bytes.Buffer
	_ = c.Ctl(ctx, &out, "status", "--json") // exits 1 as long as something is wrong
	if json.Unmarshal(out.Bytes(), &report) != nil || !strings.Contains(strings.Join(report.Problems, "\n"), "redis") {
		silent["ctl status"] = out.String()
	}
	if len(silent) > 0 && *cacheBin == "" {
		c.T.Errorf("%s: not told of %q: %v", what, f.told, silent)
	}
	return len(silent)
}

// complaint says what is not as it should be once Redis is well.
func (c *cacheTrial) complaint(ctx context.Context) string {
	for _, p := range c.Services {
		r, err := stack.AskReady(ctx, p)
		if err != nil || !r.Ready || len(r.Degraded) > 0 {
			return fmt.Sprintf("%s says %+v, %v", p.Name, r, err)
		}
	}
	var out bytes.Buffer
	var report struct{ Cache string }
	_ = c.Ctl(ctx, &out, "status", "--json") // exits 1 as long as something else is wrong
	if json.Unmarshal(out.Bytes(), &report) != nil || report.Cache != "ok" {
		return "ctl status: " + out.String()
	}
	return ""
}

// uncached says what is read all along, and not cached.
func (c *cacheTrial) uncached(ctx context.Context) string {
	if *cacheBin != "" {
		return ""
	}
	cache, err := walletcache.Open(c.url)
	if err != nil {
		return err.Error()
	}
	defer cache.Close()
	for _, id := range c.wallets {
		if _, found, err := walletcache.Get(ctx, cache, id); err != nil || !found {
			return fmt.Sprintf("wallet %s: %v", id, err)
		}
	}
	return ""
}

// serversState is a folder for servers of a test's own.
func serversState(t *testing.T) *proc.State {
	t.Helper()
	state, err := proc.KeptState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(state.Close)
	return state
}

// startServers starts them, until the test ends.
func startServers(t *testing.T, processes ...*proc.Process) {
	t.Helper()
	t.Cleanup(func() { proc.StopAll(processes) })
	if err := proc.StartAll(t.Context(), processes); err != nil {
		t.Fatal(err)
	}
}

// startOneRedis has a user for the services, whose rights can be taken away.
func startOneRedis(t *testing.T) (string, []redisFault) {
	r, err := redisset.NewNode(serversState(t), "redis", "user wallet on >secret ~* &* +@all")
	if err != nil {
		t.Fatal(err)
	}
	startServers(t, r.Process)
	doing := func(command string) func(context.Context) error {
		return func(ctx context.Context) error { return r.Do(ctx, command) }
	}
	signalling := func(signal syscall.Signal) func(context.Context) error {
		return func(context.Context) error { r.Signal(signal); return nil }
	}
	restart := func(ctx context.Context) error {
		r.Kill()
		return r.Start(ctx)
	}
	return fmt.Sprintf("redis://wallet:secret@%s/0", r.Address()), []redisFault{
		{name: "REPLICAOF elsewhere and back", make: doing("REPLICAOF 127.0.0.1 1"), heal: doing("REPLICAOF NO ONE"), told: "redis", always: true},
		{name: "memory full, noeviction", make: doing("CONFIG SET maxmemory 1mb"), heal: doing("CONFIG SET maxmemory 0"), told: "redis", always: true},
		{name: "EVAL and SET taken by ACL", make: doing("ACL SETUSER wallet -eval -evalsha -set"), heal: doing("ACL SETUSER wallet +@all"), told: "redis"},
		{name: "every write taken by ACL", make: doing("ACL SETUSER wallet -@write"), heal: doing("ACL SETUSER wallet +@all"), told: "redis"},
		{name: "INFO taken by ACL", make: doing("ACL SETUSER wallet -info"), heal: doing("ACL SETUSER wallet +@all"), told: "redis"},
		{name: "restarted from an older dump", before: doing("SAVE"), make: restart, always: true},
		{name: "restarted from a dump of just now", make: func(ctx context.Context) error {
			if err := r.Do(ctx, "SAVE"); err != nil {
				return err
			}
			proc.Pause(ctx, 20*time.Millisecond)
			return restart(ctx)
		}},
		{name: "SIGSTOP", make: signalling(syscall.SIGSTOP), heal: signalling(syscall.SIGCONT), told: "redis"},
		{name: "SIGSTOP for less than the lease", make: func(ctx context.Context) error {
			r.Signal(syscall.SIGSTOP)
			proc.Pause(ctx, time.Duration(50+rand.IntN(900))*time.Millisecond)
			r.Signal(syscall.SIGCONT)
			return nil
		}},
		{name: "FLUSHALL", make: doing("FLUSHALL")},
		{name: "memory full for a moment", make: func(ctx context.Context) error {
			for range 5 {
				if err := r.Do(ctx, "CONFIG SET maxmemory 1mb"); err != nil {
					return err
				}
				proc.Pause(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
				if err := r.Do(ctx, "CONFIG SET maxmemory 0"); err != nil {
					return err
				}
				proc.Pause(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
			}
			return nil
		}},
	}
}

func startSentinels(t *testing.T) (string, []redisFault) {
	s, err := redisset.NewSentinels(serversState(t))
	if err != nil {
		t.Fatal(err)
	}
	startServers(t, s.Processes()...)
	var gone *redisset.Node
	return s.URL(), []redisFault{
		{name: "the master killed, the replica behind", always: true, make: func(ctx context.Context) (err error) {
			gone, err = s.KillMaster(ctx)
			return err
		}, heal: func(ctx context.Context) error { return s.BringBack(ctx, gone) }},
		{name: "a failover by the operator", make: s.Failover},
		{name: "the master stopped, and back after another was promoted", make: func(ctx context.Context) (err error) {
			gone, err = s.StopMaster(ctx)
			return err
		}, heal: func(ctx context.Context) error {
			err := s.AwaitPromotion(ctx, gone)
			gone.Signal(syscall.SIGCONT)
			return err
		}},
	}
}

func startCluster(t *testing.T) (string, []redisFault) {
	c, err := redisset.NewCluster(serversState(t))
	if err != nil {
		t.Fatal(err)
	}
	startServers(t, c.Processes()...)
	if err := c.Form(t.Context()); err != nil {
		t.Fatal(err)
	}
	var gone *redisset.Node
	return c.URL(), []redisFault{
		{name: "every group's slot moved", make: c.MoveGroups},
		{name: "a master killed", always: true, make: func(ctx context.Context) (err error) {
			gone, err = c.KillMaster(ctx)
			return err
		}, heal: func(ctx context.Context) error { return c.BringBack(ctx, gone) }},
	}
}
