//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
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
	if took, stalled := time.Since(asked), stall(); len(silent) == 0 && took > toldWithin+stalled {
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

// realRedis is a server that can be killed, stopped and started again on its files.
type realRedis struct {
	t    *testing.T
	dir  string
	port int
	argv []string

	mu  sync.Mutex
	cmd *exec.Cmd
}

func newRealRedis(t *testing.T, binary string, arguments ...string) *realRedis {
	t.Helper()
	path, err := exec.LookPath(binary)
	if err != nil {
		t.Fatalf("%v (Debian: apt-get install redis-server redis-sentinel)", err)
	}
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	r := &realRedis{t: t, dir: t.TempDir(), port: port}
	r.argv = append([]string{path}, arguments...)
	t.Cleanup(func() { r.signal(syscall.SIGCONT); _ = r.kill(context.Background()) })
	return r
}

// serve starts a server that writes no file by itself.
func (r *realRedis) serve(more ...string) *realRedis {
	r.t.Helper()
	r.argv = append(append(r.argv, "--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "no"), more...)
	if err := r.start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *realRedis) start(ctx context.Context) error {
	r.mu.Lock()
	r.cmd = exec.Command(r.argv[0], r.argv[1:]...)
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		r.cmd.Stdout, r.cmd.Stderr = log, log
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err = proc.StartChild(r.cmd)
		_ = log.Close()
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if !proc.Await(ctx, 10*time.Second, func() bool {
		answer := redis.Error(nil)
		err = r.do(ctx, "PING")
		return err == nil || errors.As(err, &answer)
	}) {
		return fmt.Errorf("redis on port %d: %w\n%s", r.port, err, proc.LastLines(filepath.Join(r.dir, "log"), 5))
	}
	return nil
}

func (r *realRedis) signal(signal syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil && r.cmd.Process != nil {
		_ = r.cmd.Process.Signal(signal)
	}
}

func (r *realRedis) kill(context.Context) error {
	r.signal(syscall.SIGKILL)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		_ = r.cmd.Wait()
		r.cmd = nil
	}
	return nil
}

// do runs a command as an operator does, whose rights nobody takes.
func (r *realRedis) do(ctx context.Context, command string) error {
	_, err := r.ask(ctx, command)
	return err
}

func (r *realRedis) ask(ctx context.Context, command string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: proc.Address(r.port), MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	defer client.Close()
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	answer, err := client.Do(ctx, words...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return answer, nil
}

func (r *realRedis) doing(command string) func(context.Context) error {
	return func(ctx context.Context) error { return r.do(ctx, command) }
}

func (r *realRedis) signalling(signal syscall.Signal) func(context.Context) error {
	return func(context.Context) error { r.signal(signal); return nil }
}

// startOneRedis has a user for the services, whose rights can be taken away.
func startOneRedis(t *testing.T) (string, []redisFault) {
	r := newRealRedis(t, "redis-server").serve("--user", "wallet", "on", ">secret", "~*", "&*", "+@all")
	restart := func(ctx context.Context) error {
		_ = r.kill(ctx)
		return r.start(ctx)
	}
	return fmt.Sprintf("redis://wallet:secret@%s/0", proc.Address(r.port)), []redisFault{
		{name: "REPLICAOF elsewhere and back", make: r.doing("REPLICAOF 127.0.0.1 1"), heal: r.doing("REPLICAOF NO ONE"), told: "redis", always: true},
		{name: "memory full, noeviction", make: r.doing("CONFIG SET maxmemory 1mb"), heal: r.doing("CONFIG SET maxmemory 0"), told: "redis", always: true},
		{name: "EVAL and SET taken by ACL", make: r.doing("ACL SETUSER wallet -eval -evalsha -set"), heal: r.doing("ACL SETUSER wallet +@all"), told: "redis"},
		{name: "every write taken by ACL", make: r.doing("ACL SETUSER wallet -@write"), heal: r.doing("ACL SETUSER wallet +@all"), told: "redis"},
		{name: "INFO taken by ACL", make: r.doing("ACL SETUSER wallet -info"), heal: r.doing("ACL SETUSER wallet +@all"), told: "redis"},
		{name: "restarted from an older dump", before: r.doing("SAVE"), make: restart, always: true},
		{name: "restarted from a dump of just now", make: func(ctx context.Context) error {
			if err := r.do(ctx, "SAVE"); err != nil {
				return err
			}
			proc.Pause(ctx, 20*time.Millisecond)
			return restart(ctx)
		}},
		{name: "SIGSTOP", make: r.signalling(syscall.SIGSTOP), heal: r.signalling(syscall.SIGCONT), told: "redis"},
		{name: "SIGSTOP for less than the lease", make: func(ctx context.Context) error {
			r.signal(syscall.SIGSTOP)
			proc.Pause(ctx, time.Duration(50+rand.IntN(900))*time.Millisecond)
			r.signal(syscall.SIGCONT)
			return nil
		}},
		{name: "FLUSHALL", make: r.doing("FLUSHALL")},
		{name: "memory full for a moment", make: func(ctx context.Context) error {
			for range 5 {
				if err := r.do(ctx, "CONFIG SET maxmemory 1mb"); err != nil {
					return err
				}
				proc.Pause(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
				if err := r.do(ctx, "CONFIG SET maxmemory 0"); err != nil {
					return err
				}
				proc.Pause(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
			}
			return nil
		}},
	}
}

// startSentinels runs two servers that replicate, and three Sentinels.
func startSentinels(t *testing.T) (string, []redisFault) {
	servers := []*realRedis{newRealRedis(t, "redis-server"), newRealRedis(t, "redis-server")}
	servers[0].serve()
	servers[1].serve("--replicaof", "127.0.0.1", fmt.Sprint(servers[0].port))
	var sentinels []*realRedis
	for range 3 {
		s := newRealRedis(t, "redis-sentinel")
		file := filepath.Join(s.dir, "sentinel.conf")
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor wallet 127.0.0.1 %d 2\nsentinel down-after-milliseconds wallet 1000\nsentinel failover-timeout wallet 2000\n",
			s.port, s.dir, servers[0].port)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.argv = append(s.argv, file)
		if err := s.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sentinels = append(sentinels, s)
	}
	master := func(ctx context.Context) (now, other *realRedis, err error) {
		answer, err := sentinels[0].ask(ctx, "SENTINEL GET-MASTER-ADDR-BY-NAME wallet")
		if err != nil {
			return nil, nil, err
		}
		if fmt.Sprint(answer.([]any)[1]) == fmt.Sprint(servers[0].port) {
			return servers[0], servers[1], nil
		}
		return servers[1], servers[0], nil
	}
	// settled waits until the other server replicates, and can be promoted.
	settled := func(ctx context.Context) (err error) {
		if !proc.Await(ctx, 40*time.Second, func() bool {
			var now, other *realRedis
			if now, other, err = master(ctx); err != nil {
				return false
			}
			var info, nowInfo any
			if info, err = other.ask(ctx, "INFO replication"); err != nil {
				return false
			}
			if nowInfo, err = now.ask(ctx, "INFO replication"); err != nil {
				return false
			}
			known, askErr := sentinels[0].ask(ctx, "SENTINEL MASTER wallet")
			state := fmt.Sprint(known)
			if !strings.Contains(fmt.Sprint(nowInfo), "role:master") || !strings.Contains(fmt.Sprint(info), "master_link_status:up") ||
				askErr != nil || !strings.Contains(state, "num-slaves:1") && !strings.Contains(state, "num-slaves 1") {
				err = fmt.Errorf("the servers are not ready for a failover: %v, %v", info, state)
				return false
			}
			return true
		}) {
			return err
		}
		return nil
	}
	promoted := func(ctx context.Context, before *realRedis) error {
		if !proc.Await(ctx, 90*time.Second, func() bool { // a Sentinel that stalled for 2 s does nothing for 30 s
			now, _, err := master(ctx)
			return err == nil && now != before
		}) {
			return errors.New("no other master within 90 s")
		}
		return nil
	}
	var addresses []string
	for _, s := range sentinels {
		addresses = append(addresses, "addr="+proc.Address(s.port))
	}
	var dead *realRedis
	url := fmt.Sprintf("redis://%s/0?master_name=wallet&%s", proc.Address(sentinels[0].port), strings.Join(addresses[1:], "&"))
	return url, []redisFault{
		{name: "the master killed, the replica behind", before: settled, always: true, make: func(ctx context.Context) error {
			now, other, err := master(ctx)
			if err != nil {
				return err
			}
			other.signal(syscall.SIGSTOP) // it misses what is written meanwhile
			proc.Pause(ctx, 300*time.Millisecond)
			dead = now
			_ = now.kill(ctx)
			other.signal(syscall.SIGCONT)
			return nil
		}, heal: func(ctx context.Context) error {
			if err := promoted(ctx, dead); err != nil {
				return err
			}
			return dead.start(ctx)
		}},
		{name: "a failover by the operator", before: settled, make: func(ctx context.Context) error {
			before, _, err := master(ctx)
			if err != nil {
				return err
			}
			if !proc.Await(ctx, 10*time.Second, func() bool { err = sentinels[0].do(ctx, "SENTINEL FAILOVER wallet"); return err == nil }) {
				return err
			}
			return promoted(ctx, before)
		}},
		{name: "the master stopped, and back after another was promoted", before: settled, make: func(ctx context.Context) error {
			now, _, err := master(ctx)
			dead = now
			if err == nil {
				now.signal(syscall.SIGSTOP)
			}
			return err
		}, heal: func(ctx context.Context) error {
			err := promoted(ctx, dead)
			dead.signal(syscall.SIGCONT)
			return err
		}},
	}
}

// startCluster runs three masters with a replica each.
func startCluster(t *testing.T) (string, []redisFault) {
	var servers []*realRedis
	create := []string{"--cluster", "create"}
	for range 6 {
		r := newRealRedis(t, "redis-server")
		bus, err := freeport.Find()
		if err != nil {
			t.Fatal(err)
		}
		r.serve("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", fmt.Sprint(bus), "--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
		servers = append(servers, r)
		create = append(create, proc.Address(r.port))
	}
	output, err := exec.Command("redis-cli", append(create, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	ok := func(ctx context.Context) (err error) {
		if !proc.Await(ctx, 40*time.Second, func() bool {
			for _, r := range servers {
				var info, replication any
				if info, err = r.ask(ctx, "CLUSTER INFO"); err == nil && !strings.Contains(fmt.Sprint(info), "cluster_state:ok") {
					err = errors.New("cluster_state")
				}
				if err == nil {
					replication, err = r.ask(ctx, "INFO replication")
				}
				if text := fmt.Sprint(replication); err == nil && strings.Contains(text, "role:slave") && !strings.Contains(text, "master_link_status:up") {
					err = errors.New("a replica is behind")
				}
				if err != nil {
					return false
				}
			}
			// Each master can lose itself.
			nodes, askErr := servers[0].ask(ctx, "CLUSTER NODES")
			masters := 0
			for line := range strings.Lines(fmt.Sprint(nodes)) {
				if strings.Contains(line, "master") && strings.Contains(strings.TrimSpace(line), "connected ") && !strings.Contains(line, "fail") {
					masters++
				}
			}
			if err = askErr; err == nil && masters < 3 {
				err = fmt.Errorf("%d masters:\n%v", masters, nodes)
			}
			return err == nil
		}) {
			return fmt.Errorf("the cluster is not well: %w", err)
		}
		return nil
	}
	if err := ok(t.Context()); err != nil {
		t.Fatal(err)
	}
	// owner finds who has a slot, by node id and as a server.
	owner := func(ctx context.Context, slot int) (string, *realRedis, []string, error) {
		client := redis.NewClient(&redis.Options{Addr: proc.Address(servers[0].port)})
		defer client.Close()
		shards, err := client.ClusterShards(ctx).Result()
		if err != nil {
			return "", nil, nil, err
		}
		var id string
		var at *realRedis
		others := map[string]bool{}
		for _, s := range shards {
			i := slices.IndexFunc(s.Nodes, func(n redis.Node) bool { return n.Role == "master" && n.Health == "online" })
			if i < 0 {
				continue
			}
			master := s.Nodes[i]
			if slices.ContainsFunc(s.Slots, func(r redis.SlotRange) bool { return int(r.Start) <= slot && slot <= int(r.End) }) {
				id = master.ID
				at = servers[slices.IndexFunc(servers, func(r *realRedis) bool { return int64(r.port) == master.Port })]
			} else if len(s.Slots) > 0 {
				others[master.ID+" "+proc.Address(int(master.Port))] = true
			}
		}
		return id, at, slices.Collect(maps.Keys(others)), nil
	}
	slotOf := func(ctx context.Context, group int) (int, error) {
		answer, err := servers[0].ask(ctx, fmt.Sprintf("CLUSTER KEYSLOT wallet:{%d}:", group))
		slot, _ := answer.(int64)
		return int(slot), err
	}
	move := func(ctx context.Context, group int) error {
		slot, err := slotOf(ctx, group)
		if err != nil {
			return err
		}
		id, from, others, err := owner(ctx, slot)
		if err != nil || from == nil || len(others) == 0 {
			return fmt.Errorf("slot %d has no owner, or nobody else: %w", slot, err)
		}
		otherID, otherAddr, _ := strings.Cut(others[rand.IntN(len(others))], " ")
		to := servers[slices.IndexFunc(servers, func(r *realRedis) bool { return proc.Address(r.port) == otherAddr })]
		if err := errors.Join(to.do(ctx, fmt.Sprintf("CLUSTER SETSLOT %d IMPORTING %s", slot, id)), from.do(ctx, fmt.Sprintf("CLUSTER SETSLOT %d MIGRATING %s", slot, otherID))); err != nil {
			return err
		}
		for {
			answer, err := from.ask(ctx, fmt.Sprintf("CLUSTER GETKEYSINSLOT %d 1", slot))
			if err != nil {
				return err
			}
			keys, _ := answer.([]any)
			if len(keys) == 0 {
				break
			}
			if err := from.do(ctx, fmt.Sprintf("MIGRATE 127.0.0.1 %d %v 0 1000 REPLACE", to.port, keys[0])); err != nil {
				return err
			}
			proc.Pause(ctx, 5*time.Millisecond)
		}
		return errors.Join(to.do(ctx, fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, otherID)), from.do(ctx, fmt.Sprintf("CLUSTER SETSLOT %d NODE %s", slot, otherID)))
	}
	var dead *realRedis
	const groups = 16
	url := fmt.Sprintf("redis://%s?addr=%s&addr=%s", proc.Address(servers[0].port), proc.Address(servers[1].port), proc.Address(servers[2].port))
	return url, []redisFault{
		{name: "every group's slot moved", before: ok, make: func(ctx context.Context) error {
			for group := range groups {
				if err := move(ctx, group); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "a master killed", before: ok, always: true, make: func(ctx context.Context) error {
			slot, err := slotOf(ctx, rand.IntN(groups))
			if err != nil {
				return err
			}
			if !proc.Await(ctx, 40*time.Second, func() bool { _, dead, _, err = owner(ctx, slot); return err == nil && dead != nil }) {
				return fmt.Errorf("nobody has slot %d: %w", slot, err)
			}
			_ = dead.kill(ctx)
			return nil
		}, heal: func(ctx context.Context) error {
			// Its replica has taken over when the cluster is whole again.
			for _, r := range servers {
				if r == dead {
					continue
				}
				if !proc.Await(ctx, 20*time.Second, func() bool {
					info, err := r.ask(ctx, "CLUSTER INFO")
					return err == nil && strings.Contains(fmt.Sprint(info), "cluster_slots_ok:16384")
				}) {
					return errors.New("no replica took over")
				}
			}
			return dead.start(ctx)
		}},
	}
}
