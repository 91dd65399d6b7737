package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// everything is a load of all that the api acknowledges: single operations and replays of them, batches, waits for outcomes, creations of wallets and replays of them.
// Clients send each again, with its key, until it is acknowledged.
type everything struct {
	loads     []*load
	histories chan []operation
	ended     atomic.Bool
	creators  sync.WaitGroup

	mu      sync.Mutex
	created map[uuid.UUID]string // the keys of acknowledged wallets
	read    map[uuid.UUID]bool   // operations that a statement has shown
	wrong   []string
}

const (
	creators = 4
	// creationPause keeps each of them to some twenty a second.
	creationPause = 50 * time.Millisecond
)

// sendEverything starts it, on wallets that exist.
func sendEverything(ctx context.Context, apis []string, apiKey string, wallets []uuid.UUID, perSecond int) *everything {
	e := &everything{histories: make(chan []operation), created: map[uuid.UUID]string{}, read: map[uuid.UUID]bool{}}
	of := func(connections, rate int) *load {
		return &load{
			apis: apis, apiKey: apiKey, wallets: wallets, connections: connections, ratePerSecond: rate, duration: time.Hour,
			resendPercent: 5, attempt: 12 * time.Second, patience: 10 * time.Minute,
		}
	}
	single, batches, waits := of(50, perSecond*70/100), of(10, perSecond*25/1000), of(20, perSecond*5/100)
	batches.batch, waits.prefer = 10, "wait=2"
	e.loads = []*load{single, batches, waits}
	for _, l := range e.loads {
		go func() { e.histories <- l.send(ctx) }()
	}
	run := uuid.NewString()[:8]
	for i := range creators {
		e.creators.Go(func() { e.create(ctx, apis, apiKey, fmt.Sprintf("%s-%d", run, i)) })
	}
	e.creators.Go(func() { e.readStatements(ctx, apis, apiKey, wallets) })
	return e
}

// readStatements notes what the newest pages of statements show.
func (e *everything) readStatements(ctx context.Context, apis []string, apiKey string, wallets []uuid.UUID) {
	c := client{apiKey: apiKey, timeout: 2 * time.Second}
	defer c.close()
	for n := 0; ctx.Err() == nil && !e.ended.Load(); n++ {
		c.addr = strings.TrimPrefix(apis[n%len(apis)], "http://")
		c.close()
		r, err := c.do(http.MethodGet, "/api/v1/wallets/"+wallets[n%len(wallets)].String()+"/operations?limit=100", "", nil)
		var page struct{ Items []acknowledgement }
		if err == nil && r.status == http.StatusOK && json.Unmarshal(r.body, &page) == nil {
			e.mu.Lock()
			for _, item := range page.Items {
				e.read[item.OperationID] = true
			}
			e.mu.Unlock()
		}
		proc.Pause(ctx, 20*time.Millisecond)
	}
}

// create opens wallets, every third of them twice.
func (e *everything) create(ctx context.Context, apis []string, apiKey, prefix string) {
	c := client{apiKey: apiKey, timeout: 12 * time.Second}
	defer c.close()
	for n := 0; ctx.Err() == nil && !e.ended.Load(); n++ {
		key := fmt.Sprintf("%s-%d", prefix, n)
		first := e.open(ctx, &c, apis, key)
		if n%3 == 0 && first != uuid.Nil {
			if again := e.open(ctx, &c, apis, key); again != first && again != uuid.Nil {
				e.mu.Lock()
				e.wrong = append(e.wrong, fmt.Sprintf("wallet %s, sent again, was answered as %s", first, again))
				e.mu.Unlock()
			}
		}
		proc.Pause(ctx, creationPause)
	}
}

// open sends one creation until it is acknowledged, or until the load has ended and it was tried once.
func (e *everything) open(ctx context.Context, c *client, apis []string, key string) uuid.UUID {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		c.addr = strings.TrimPrefix(apis[attempt%len(apis)], "http://")
		c.close()
		r, err := c.do(http.MethodPost, "/api/v1/wallets", key, []byte("{}"))
		if err == nil && (r.status == http.StatusCreated || r.status == http.StatusOK) {
			var wallet struct {
				WalletID uuid.UUID `json:"walletId"`
			}
			err := json.Unmarshal(r.body, &wallet)
			e.mu.Lock()
			defer e.mu.Unlock()
			if err != nil {
				e.wrong = append(e.wrong, fmt.Sprintf("an answer to a creation: %v", err))
			}
			e.created[wallet.WalletID] = key
			return wallet.WalletID
		}
		if e.ended.Load() {
			return uuid.Nil
		}
		proc.Pause(ctx, 20*time.Millisecond)
	}
	return uuid.Nil
}

// finish ends the load, waits for what is under way, and returns what its clients were told.
func (e *everything) finish() (history []operation) {
	e.ended.Store(true)
	for _, l := range e.loads {
		l.end()
	}
	for range e.loads {
		history = append(history, <-e.histories...)
	}
	e.creators.Wait()
	return history
}

// acknowledged is how many operations were acknowledged until now.
func (e *everything) acknowledged() (n int64) {
	for _, l := range e.loads {
		n += l.accepted.Load()
	}
	return n
}

// longestPause is the longest that nothing was acknowledged, until ctx ends.
func (e *everything) longestPause(ctx context.Context) (longest time.Duration) {
	for last, since := e.acknowledged(), time.Now(); ctx.Err() == nil; proc.Pause(ctx, 20*time.Millisecond) {
		longest = max(longest, time.Since(since))
		if now := e.acknowledged(); now != last {
			last, since = now, time.Now()
		}
	}
	return longest
}

// lost says what was acknowledged and is not stored: of a history, and of the wallets that were created.
// What was only read counts as told too, unless somebody has cut waits for a standby short.
func (e *everything) lost(ctx context.Context, conn walletdb.DBTX, history []operation, readsToo bool) (lost []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]uuid.UUID, 0, len(history))
	if readsToo {
		ids = slices.Collect(maps.Keys(e.read))
	}
	for _, op := range history {
		if !op.answered.IsZero() {
			ids = append(ids, op.id)
		}
	}
	missing := func(query string, ids []uuid.UUID) ([]uuid.UUID, error) {
		rows, err := conn.Query(ctx, query, ids)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	}
	operations, err := missing("SELECT id FROM unnest($1::uuid[]) AS t (id) WHERE NOT EXISTS (SELECT FROM operations o WHERE o.id = t.id)", ids)
	if err != nil {
		return nil, fmt.Errorf("look for acknowledged operations: %w", err)
	}
	wallets := make([]uuid.UUID, 0, len(e.created))
	for id := range e.created {
		wallets = append(wallets, id)
	}
	unknown, err := missing("SELECT id FROM unnest($1::uuid[]) AS t (id) WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.id = t.id)", wallets)
	if err != nil {
		return nil, fmt.Errorf("look for created wallets: %w", err)
	}
	for _, id := range operations {
		lost = append(lost, fmt.Sprintf("operation %s was acknowledged or read, and is lost", id))
	}
	for _, id := range unknown {
		lost = append(lost, fmt.Sprintf("wallet %s was acknowledged, and is lost", id))
	}
	return append(lost, e.wrong...), nil
}
