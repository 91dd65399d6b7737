package main

import (
	"context"
	"crypto/sha256"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	// feedPause is the least time between two reads of a wallet whose operations are followed: what is
	// applied meanwhile goes out in one write to each stream.
	feedPause = 20 * time.Millisecond

	// streamPage is the most operations that one read returns.
	streamPage = 200

	// maxQueued is how many bytes a stream may be behind its feed. Then it reads Postgres by itself.
	maxQueued = 1 << 20

	// feedReads is how many feeds may read Postgres at once, and missedReads how many streams that have
	// missed something: the pool has other work.
	feedReads   = 2
	missedReads = 1

	// A stream that is refused is to come back after this time.
	refusedStream = 5 * time.Second

	endOfSequences = math.MaxInt64
)

// streams are the clients that follow wallets. Each wallet is read once for all its streams, by its feed.
// An announcement in Redis or the poll of waits wakes the feed, and what it reads is in Postgres: so what
// is told is true, whatever Redis says, and what was missed is read from there again. A stream knows
// up to which sequence its client has everything, and sends nothing but what follows that: none twice,
// none left out, wherever it comes from.
//
// A stream ends with the process. The client comes back, to this process or another, and says how far it is.
type streams struct {
	db       walletdb.DBTX
	cache    *cache
	limits   streamLimits
	metrics  *streamMetrics
	draining <-chan struct{} // closed: all streams end

	// These differ in tests only.
	lifetime, heartbeat, write time.Duration
	mostQueued                 int // bytes

	feedReads, missedReads chan struct{} // hold a token for each read under way

	mu     sync.Mutex
	counts map[bool]int // of all streams: of balances or not
	ofKey  map[[sha256.Size]byte]int
	feeds  map[uuid.UUID]*feed
}

type streamLimits struct{ all, perKey int }

// feed reads a wallet for its streams. Its fields are guarded by streams.mu.
type feed struct {
	wallet    event.Wallet
	wake      chan struct{} // holds one
	end       context.CancelFunc
	followers map[*stream]struct{}
	full      int     // of them follow operations
	seq       int64   // they were given everything up to here
	balance   balance // the latest that was read
}

func newStreams(db walletdb.DBTX, cache *cache, limits streamLimits, draining <-chan struct{}, registry prometheus.Registerer) *streams {
	s := &streams{
		db: db, cache: cache, limits: limits, draining: draining,
		lifetime: streamLifetime, heartbeat: heartbeat, write: streamWrite, mostQueued: maxQueued,
		feedReads: make(chan struct{}, feedReads), missedReads: make(chan struct{}, missedReads),
		counts: map[bool]int{}, ofKey: map[[sha256.Size]byte]int{}, feeds: map[uuid.UUID]*feed{},
	}
	s.metrics = newStreamMetrics(registry, s)
	return s
}

// reserve counts a stream until it is released, unless there are too many.
func (s *streams) reserve(ctx context.Context, balances bool) (release func(), err error) {
	c, withKey := ctx.Value(credentialsKey{}).(credentials)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[true]+s.counts[false] >= s.limits.all {
		s.metrics.refused.WithLabelValues("STREAMS_MAX").Inc()
		return nil, problem{code: overloaded, detail: "There are too many streams.", retryAfter: refusedStream}
	}
	if withKey && s.ofKey[c.hash] >= s.limits.perKey {
		s.metrics.refused.WithLabelValues("STREAMS_PER_KEY").Inc()
		return nil, problem{code: rateLimited, detail: "The API key has too many streams.", retryAfter: refusedStream}
	}
	s.counts[balances]++
	if withKey {
		s.ofKey[c.hash]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts[balances]--
		if withKey {
			if s.ofKey[c.hash]--; s.ofKey[c.hash] == 0 {
				delete(s.ofKey, c.hash)
			}
		}
	}, nil
}

// join lets a stream's wake and queue have what is read from now on. It returns up to where others were
// given everything, which is what the stream has to read by itself.
func (s *streams) join(st *stream) (upTo int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[st.wallet.ID]
	if f == nil {
		ctx, end := context.WithCancel(context.Background())
		f = &feed{wallet: st.wallet, wake: make(chan struct{}, 1), end: end, followers: map[*stream]struct{}{}}
		s.feeds[st.wallet.ID] = f
		go s.run(ctx, f)
	}
	if !st.balances {
		if f.full == 0 {
			f.seq = min(st.sent, st.reached) // else one client that is beyond the wallet's end would silence all others
		}
		f.full++
	}
	f.followers[st] = struct{}{}
	st.queue, st.queued, st.behind = nil, 0, false
	signal(f.wake) // of what was announced before there was a feed
	signal(st.wake)
	return f.seq
}

// leave ends the feed with its last stream.
func (s *streams) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[st.wallet.ID]
	delete(f.followers, st)
	if !st.balances {
		f.full--
	}
	if len(f.followers) == 0 {
		f.end()
		delete(s.feeds, st.wallet.ID)
	}
}

// signal never waits: a wake-up that is not taken yet is enough.
func signal(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// wallets are those that are followed.
func (s *streams) wallets() []uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.feeds))
}

// applied hears of a wallet's version.
func (s *streams) applied(walletID uuid.UUID, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.feeds[walletID]; f != nil && (f.full > 0 && version > f.seq || version > f.balance.version) {
		signal(f.wake)
	}
}

// run reads a wallet whenever it is woken, until ctx ends.
func (s *streams) run(ctx context.Context, f *feed) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		service.Sleep(ctx, s.read(ctx, f))
	}
}

// read gives a feed's streams what is new, and returns how long it is enough. What fails is tried again when
// the next poll finds that the wallet has a newer version.
func (s *streams) read(ctx context.Context, f *feed) (pause time.Duration) {
	s.mu.Lock()
	after, full, known := f.seq, f.full > 0, f.balance.version
	s.mu.Unlock()
	pause = balancePause
	if full {
		pause = feedPause
		states, err := s.readOperations(ctx, s.feedReads, f.wallet.ID, after)
		if err != nil {
			return pause
		}
		if len(states) > 0 {
			s.publish(f, newChunk(f.wallet, states), stateOfWallet(f.wallet, walletAfter(states[len(states)-1])))
			if len(states) == streamPage {
				signal(f.wake)
				return 0
			}
			return pause
		}
		if known >= after {
			return pause
		}
		// Streams have read the last operations by themselves, so that nobody knows the balance after them: streams of
		// balances would wait for the next operation, and each poll would find that there is something to read.
	}
	if wallet, err := s.readWallet(ctx, f.wallet.ID); err == nil {
		s.publish(f, nil, stateOfWallet(f.wallet, wallet))
	}
	return pause
}

// publish gives the streams of a feed what was read: perhaps operations, and the balance after them.
func (s *streams) publish(f *feed, c *chunk, latest balance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil && c.first != f.seq+1 { // all have left, and others have come, while it was read
		signal(f.wake)
		return
	}
	if c != nil {
		f.seq = c.last()
	}
	newer := latest.version > f.balance.version
	if newer {
		f.balance = latest
	}
	for st := range f.followers {
		switch {
		case !st.balances && c != nil:
			st.offer(c)
			signal(st.wake)
		case st.balances && newer:
			signal(st.wake)
		}
	}
}

// offer puts operations into the queue, or drops all that is there.
func (st *stream) offer(c *chunk) {
	if st.behind {
		return
	}
	if st.queued += len(c.text); st.queued > st.streams.mostQueued {
		st.queue, st.behind = nil, true
		return
	}
	st.queue = append(st.queue, c)
}

// take empties the queue, or reports that it was dropped.
func (s *streams) take(st *stream) (chunks []*chunk, behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chunks = st.queue
	st.queue, st.queued = nil, 0
	return chunks, st.behind
}

func (s *streams) latest(walletID uuid.UUID) balance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feeds[walletID].balance
}

// spread is within which time a wallet's streams send its balance. A few send it at once.
func (s *streams) spread(walletID uuid.UUID) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[walletID]
	return min(balancePause, time.Duration(len(f.followers)-f.full-1)*balanceShare)
}

// missed reads a page of the operations after a sequence that are applied, for one stream; nil if there are none.
func (s *streams) missed(ctx context.Context, wallet event.Wallet, after int64) (*chunk, error) {
	states, err := s.readOperations(ctx, s.missedReads, wallet.ID, after)
	if err != nil || len(states) == 0 {
		return nil, err
	}
	return newChunk(wallet, states), nil
}

// readOperations reads a page of operations that are applied, when it is its turn. When it returns them,
// nobody finds the wallet at an older version in the cache.
func (s *streams) readOperations(ctx context.Context, turn chan struct{}, walletID uuid.UUID, after int64) (states []walletdb.OperationState, err error) {
	err = inTurn(ctx, turn, func(ctx context.Context) error {
		q := walletdb.New(s.db)
		outcomes, err := q.OutcomesBetween(ctx, walletdb.OutcomesBetweenParams{WalletID: walletID, After: after, Before: after + streamPage + 1})
		if err != nil || len(outcomes) == 0 {
			return err
		}
		operations, err := q.OperationsBetween(ctx, walletdb.OperationsBetweenParams{WalletID: walletID, After: after, Before: after + int64(len(outcomes)) + 1})
		states = withOutcomes(operations, outcomes)
		return err
	})
	if err != nil || len(states) == 0 {
		return nil, err
	}
	s.cache.raise(ctx, states...)
	return states, ctx.Err()
}

// readWallet is readOperations for a balance.
func (s *streams) readWallet(ctx context.Context, id uuid.UUID) (wallet walletdb.Wallet, err error) {
	err = inTurn(ctx, s.feedReads, func(ctx context.Context) error {
		wallet, err = walletdb.New(s.db).GetWallet(ctx, id)
		return err
	})
	if err != nil {
		return wallet, err
	}
	s.cache.raiseWallets(ctx, wallet)
	return wallet, ctx.Err()
}

// inTurn reads Postgres as soon as others have read it. A stream that ends meanwhile does not interrupt the
// read, which would cost the connection. Redis is not waited for in turn: it may be lost, and then each
// wallet takes time.
func inTurn(ctx context.Context, turn chan struct{}, read func(context.Context) error) error {
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTimeout)
	defer cancel()
	return read(ctx)
}

// streamMetrics are the numbers of streams.
type streamMetrics struct {
	events  *prometheus.CounterVec
	ends    *prometheus.CounterVec
	refused *prometheus.CounterVec
}

func newStreamMetrics(registry prometheus.Registerer, s *streams) *streamMetrics {
	m := &streamMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wallet_api_stream_events_total", Help: "Events that were sent on streams.",
		}, []string{"event"}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wallet_api_stream_ends_total", Help: "Streams that ended, by the reason: the client left or was too slow, the hour was over, the key had ended, the process shut down.",
		}, []string{"reason"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wallet_api_streams_refused_total", Help: "Streams that were refused, by the setting whose number was reached.",
		}, []string{"setting"}),
	}
	for _, setting := range []string{"STREAMS_MAX", "STREAMS_PER_KEY"} {
		m.refused.WithLabelValues(setting)
	}
	for _, name := range []string{"operation", "balance"} {
		m.events.WithLabelValues(name)
	}
	for _, reason := range []error{errClientLeft, errTooSlow, errLifetimeOver, errKeyEnded, errDrains} {
		m.ends.WithLabelValues(reason.Error())
	}
	following := func(kind string, balances bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wallet_api_streams", Help: "Clients that follow a wallet: its operations, or only its balance.", ConstLabels: prometheus.Labels{"of": kind},
		}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(s.counts[balances])
		})
	}
	registry.MustRegister(m.events, m.ends, m.refused, following("operations", false), following("balances", true),
		gauge("wallet_api_streams_limit", "Clients that may follow a wallet, in this process.", func() int { return s.limits.all }))
	return m
}
