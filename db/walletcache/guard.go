package walletcache

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// touchInterval is how often a process renews the lease; after a failure, how often it tries to
	// use the cache again.
	touchInterval = 200 * time.Millisecond

	// resetTimeout bounds one attempt to use it again.
	resetTimeout = 100 * time.Millisecond

	// resetPause is between the attempts that a client waits for.
	resetPause = 25 * time.Millisecond

	// leaseOver is when no lease can run any longer that was renewed before a failure was seen.
	leaseOver = lease + 100*time.Millisecond
)

// Guard is a process's use of the cache, and keeps the package's rule. After any failure the process
// neither reads nor writes the cache, until it has made all entries unreadable: it missed a write, or
// others may have.
//
// If the process ends meanwhile, nothing remains to be done: clients got only what was safe by then.
type Guard struct {
	client  redis.UniversalClient
	timeout time.Duration // of one use
	// failed is called for each failure, changed when the cache is lost and, with nil, when it is back.
	failed, changed func(error)
	readings        readings

	mu    sync.Mutex
	err   error     // why the cache is not used; nil: it is
	since time.Time // when it was lost
	// missed counts the wallets' writes that were left out: an attempt that began before does not
	// make up for them, because a reader may have filled the cache since.
	missed int
	next   *attempt   // has not begun: a goroutine that asks for one now can wait for it
	turn   sync.Mutex // of the attempt under way
}

// attempt is one attempt to make all entries unreadable.
type attempt struct {
	done chan struct{}
	did  bool
}

// NewGuard does not connect yet.
func NewGuard(client redis.UniversalClient, timeout time.Duration, failed, changed func(error)) *Guard {
	return &Guard{client: client, timeout: timeout, failed: failed, changed: changed}
}

// Run renews the lease, and recovers a lost cache, until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	ticker := time.NewTicker(touchInterval)
	defer ticker.Stop()
	for {
		if g.Err() != nil {
			g.reset()
		} else {
			g.use(max(g.timeout, touchInterval), func(ctx context.Context) error { return Touch(ctx, g.client) })
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Err says why the cache is not used, or nil.
func (g *Guard) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Refused reports whether Redis answers and refuses what the cache needs.
func (g *Guard) Refused() bool { return refused(g.Err()) }

// Read reports false if Postgres is to be asked. Callers share what they get: they may not change it.
func (g *Guard) Read(id uuid.UUID) (w Entry, ticket Ticket, found bool) {
	r, first := g.readings.join(id)
	if first {
		g.read(id, r)
	}
	<-r.done
	return r.wallet, r.ticket, r.found
}

func (g *Guard) read(id uuid.UUID, r *reading) {
	// Deferred: a panic, which an HTTP server survives, would leave all who read the wallet waiting for ever.
	defer func() {
		if next := g.readings.end(id, r); next != nil {
			go g.read(id, next)
		}
	}()
	g.use(g.timeout, func(ctx context.Context) (err error) {
		r.wallet, r.ticket, r.found, err = Read(ctx, g.client, id)
		return err
	})
}

// Fill writes what was read from Postgres, before a client gets it. It returns when no reader can find an
// older version in the cache, or when ctx ends.
func (g *Guard) Fill(ctx context.Context, ticket Ticket, w Entry) {
	g.publish(ctx, func(ctx context.Context) error { return Fill(ctx, g.client, ticket, w) })
}

// Raise is Fill for callers that did not read the cache before, and for states of which only version,
// balance, held and state are known.
func (g *Guard) Raise(ctx context.Context, states ...walletdb.Wallet) {
	g.publish(ctx, func(ctx context.Context) error { return Raise(ctx, g.client, states...) })
}

// Set writes wallets that were changed. It does not wait for a lost cache: its caller answers no client.
func (g *Guard) Set(wallets []walletdb.Wallet) {
	g.mu.Lock()
	lost := g.err != nil
	if lost {
		g.missed++
	}
	g.mu.Unlock()
	if !lost {
		g.use(g.timeout, func(ctx context.Context) error { return Set(ctx, g.client, wallets) })
	}
}

// publish returns when write has succeeded; or when all entries have become unreadable; or when the leases
// from before the loss are over and Redis has refused once more since the caller read its version. Then no
// process can have read from Redis in between, nor find an older entry later.
func (g *Guard) publish(ctx context.Context, write func(context.Context) error) {
	for ctx.Err() == nil {
		if g.use(g.timeout, write) || g.reset() {
			return
		}
		g.mu.Lock()
		lost, since := g.err != nil, g.since
		g.mu.Unlock()
		if !lost {
			continue
		}
		if time.Since(since) > leaseOver {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(resetPause):
		}
	}
}

// use reports whether what succeeded. A client that leaves does not end it: the client's context is not used.
func (g *Guard) use(timeout time.Duration, what func(context.Context) error) bool {
	if g.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := what(ctx)
	if err != nil {
		g.lose(err)
	}
	return err == nil
}

func (g *Guard) lose(err error) {
	g.failed(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.since = time.Now()
		g.changed(err)
	}
	g.err = err
	g.missed++
}

// reset reports whether all entries became unreadable after it was called. If the cache is in use again
// it does nothing.
func (g *Guard) reset() bool {
	g.mu.Lock()
	a := g.next
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		g.next = a
		go g.try(a)
	}
	g.mu.Unlock()
	<-a.done
	return a.did
}

// try makes an attempt, one at a time. Where Redis takes no write but DEL, the entries are unreadable and
// the cache stays lost.
func (g *Guard) try(a *attempt) {
	defer close(a.done)
	g.turn.Lock()
	defer g.turn.Unlock()
	g.mu.Lock()
	g.next = nil
	lost, missed := g.err != nil, g.missed
	g.mu.Unlock()
	if !lost {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resetTimeout)
	defer cancel()
	err := Renew(ctx, g.client)
	if err != nil {
		a.did = refused(err) && forget(ctx, g.client) == nil
		g.failed(err)
	} else {
		a.did = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil:
		g.err = err
	case g.missed == missed:
		g.err = nil
		g.changed(nil)
	}
}
