package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// maxWaiters is how many requests may wait for an outcome; further ones are answered at once.
	maxWaiters = 5000

	// pollInterval is how long an outcome that Redis does not announce stays unnoticed.
	pollInterval = 500 * time.Millisecond

	// pollTimeout bounds one look at Postgres.
	pollTimeout = 2 * time.Second

	// maxHeard is of how many wallets the last announcement is remembered.
	maxHeard = 10_000
)

// waits lets requests wait until a wallet has been applied up to a sequence. The worker announces
// each wallet in Redis after its commit. All waiting requests share one subscription, and one query
// reads all outcomes that were announced. Announcements may be lost, so one query for all requests also
// polls Postgres. Streams hear the same.
//
// Without Redis requests wait a little longer, without Postgres until their time is over.
type waits struct {
	db       walletdb.DBTX
	cache    *cache
	streams  *streams
	draining <-chan struct{} // closed: all waits end

	mu      sync.Mutex
	count   int
	waiting map[uuid.UUID][]*waiter // by wallet
	heard   map[uuid.UUID]int64     // versions that were announced, also before a request waited for them
}

// waiter is one waiting request.
type waiter struct {
	walletID  uuid.UUID
	seq       int64
	operation uuid.UUID // whose outcome it wants; Nil: it wants to know that the wallet is that far

	done chan *walletdb.OperationState // gets one answer: the outcome, or nil if none was wanted
	left bool                          // its request reads done no longer
}

func newWaits(db walletdb.DBTX, cache *cache, streams *streams, draining <-chan struct{}) *waits {
	return &waits{
		db: db, cache: cache, streams: streams, draining: draining,
		waiting: map[uuid.UUID][]*waiter{}, heard: map[uuid.UUID]int64{},
	}
}

// waitEnd is why a request does not wait, or not any longer.
type waitEnd int

const (
	stillWaits  waitEnd = iota // it waits
	tooManyWait                // maxWaiters others do
	timeOver                   // or the client has left, or the process drains
	applied                    // the wallet is applied up to the waiter's sequence
)

// wait returns when the wallet has been applied up to the waiter's sequence, with the outcome unless
// that is still to be read, or when the time is over, or at once if too many wait already.
func (ws *waits) wait(ctx context.Context, limit time.Duration, w *waiter) (end waitEnd, outcome *walletdb.OperationState) {
	w.done = make(chan *walletdb.OperationState, 1)
	if end := ws.join(w); end != stillWaits {
		return end, nil
	}
	defer ws.leave(w)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case outcome = <-w.done:
		return applied, outcome
	case <-timer.C:
	case <-ctx.Done():
	case <-ws.draining:
	}
	return timeOver, nil
}

// run delivers outcomes until the context ends.
func (ws *waits) run(ctx context.Context, client redis.UniversalClient) {
	subscription := client.Subscribe(ctx, walletcache.Channel)
	defer subscription.Close()
	events := subscription.ChannelWithSubscriptions(redis.WithChannelSize(maxHeard))
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ws.poll(ctx)
		case event := <-events:
			var reached []*waiter
			for more := true; more; { // all that came meanwhile, so that one query is enough
				switch event := event.(type) {
				case *redis.Subscription: // announcements before it were missed
					ws.poll(ctx)
				case *redis.Message:
					reached = append(reached, ws.announced(event.Payload)...)
				}
				select {
				case event = <-events:
				default:
					more = false
				}
			}
			ws.deliver(ctx, reached)
		}
	}
}

// announced returns the waiters for whom a message "walletId:version" is enough.
func (ws *waits) announced(message string) []*waiter {
	id, version, _ := strings.Cut(message, ":")
	walletID, idErr := uuid.Parse(id)
	seq, seqErr := strconv.ParseInt(version, 10, 64)
	if idErr != nil || seqErr != nil {
		return nil
	}
	return ws.applied(walletID, seq)
}

// poll asks Postgres how far the wallets are that requests wait for or streams follow. Postgres may be newer than the
// cache.
func (ws *waits) poll(ctx context.Context) {
	ws.mu.Lock()
	walletIDs := slices.Collect(maps.Keys(ws.waiting))
	ws.mu.Unlock()
	walletIDs = append(walletIDs, ws.streams.wallets()...)
	if len(walletIDs) == 0 {
		return
	}
	pollCtx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	versions, err := walletdb.New(ws.db).WalletVersions(pollCtx, walletIDs)
	if err != nil {
		slog.Debug("poll versions", "error", err) // watch reports that Postgres is lost
	}
	var reached []*waiter
	for _, v := range versions {
		reached = append(reached, ws.applied(v.ID, v.AppliedSeq)...)
	}
	ws.deliver(ctx, reached)
}

// applied removes the waiters of a wallet for whom a version is enough, and returns them.
func (ws *waits) applied(walletID uuid.UUID, version int64) (reached []*waiter) {
	ws.streams.applied(walletID, version)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.heard) >= maxHeard {
		clear(ws.heard) // the next poll resolves waiters of forgotten wallets
	}
	ws.heard[walletID] = max(version, ws.heard[walletID])
	var rest []*waiter
	for _, w := range ws.waiting[walletID] {
		if w.seq <= version {
			reached = append(reached, w)
		} else {
			rest = append(rest, w)
		}
	}
	ws.put(walletID, rest)
	return reached
}

// deliver reads the outcomes that waiters were waiting for. Waiters without one wait on.
func (ws *waits) deliver(ctx context.Context, reached []*waiter) {
	var ids []uuid.UUID
	for _, w := range reached {
		if w.operation != uuid.Nil {
			ids = append(ids, w.operation)
		}
	}
	outcomes := map[uuid.UUID]*walletdb.OperationState{}
	if len(ids) > 0 {
		ctx, cancel := context.WithTimeout(ctx, pollTimeout)
		defer cancel()
		found, err := walletdb.New(ws.db).FindOperations(ctx, ids)
		if err != nil {
			slog.Debug("read outcomes", "error", err)
		}
		ws.cache.raise(ctx, found...)
		for i := range found {
			if found[i].Status != statusPending {
				outcomes[found[i].ID] = &found[i]
			}
		}
	}
	for _, w := range reached {
		if outcome := outcomes[w.operation]; outcome != nil || w.operation == uuid.Nil {
			w.done <- outcome
			continue
		}
		ws.mu.Lock()
		if !w.left {
			ws.put(w.walletID, append(ws.waiting[w.walletID], w))
		}
		ws.mu.Unlock()
	}
}

// join adds a waiter, unless an announcement that was heard before is enough or too many wait.
func (ws *waits) join(w *waiter) waitEnd {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.heard[w.walletID] >= w.seq {
		return applied
	}
	if ws.count >= maxWaiters {
		return tooManyWait
	}
	ws.count++
	ws.put(w.walletID, append(ws.waiting[w.walletID], w))
	return stillWaits
}

// waiters is how many requests wait.
func (ws *waits) waiters() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.count
}

func (ws *waits) leave(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.count--
	w.left = true
	ws.put(w.walletID, slices.DeleteFunc(ws.waiting[w.walletID], func(other *waiter) bool { return other == w }))
}

func (ws *waits) put(walletID uuid.UUID, waiters []*waiter) {
	if len(waiters) == 0 {
		delete(ws.waiting, walletID)
		return
	}
	ws.waiting[walletID] = waiters
}
