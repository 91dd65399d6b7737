package load

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
)

// Everything is a load of all that the api acknowledges: single operations and replays of them, batches, waits for outcomes, creations of wallets and replays of them.
// Clients send each again, with its key, until it is acknowledged.
type Everything struct {
	loads     []*Load
	histories chan []Operation
	ended     atomic.Bool
	creators  sync.WaitGroup

	mu      sync.Mutex
	Created map[uuid.UUID]string // the keys of acknowledged wallets
	read    map[uuid.UUID]bool   // operations that a statement has shown
	wrong   []string
}

const (
	creators = 4
	// creationPause keeps each of them to some twenty a second.
	creationPause = 50 * time.Millisecond
)

// SendEverything starts it, on wallets that exist.
func SendEverything(ctx context.Context, apis []string, apiKey string, wallets []uuid.UUID, perSecond int) *Everything {
	e := &Everything{histories: make(chan []Operation), Created: map[uuid.UUID]string{}, read: map[uuid.UUID]bool{}}
	of := func(connections, rate int) *Load {
		return &Load{
			APIs: apis, APIKey: apiKey, Wallets: wallets, Connections: connections, RatePerSecond: rate, Duration: time.Hour,
			ResendPercent: 5, Attempt: 12 * time.Second, Patience: 10 * time.Minute,
		}
	}
	single, batches, waits := of(50, perSecond*70/100), of(10, perSecond*25/1000), of(20, perSecond*5/100)
	batches.Batch, waits.Prefer = 10, "wait=2"
	e.loads = []*Load{single, batches, waits}
	for _, l := range e.loads {
		go func() { e.histories <- l.Send(ctx) }()
	}
	run := uuid.NewString()[:8]
	for i := range creators {
		e.creators.Go(func() { e.create(ctx, apis, apiKey, fmt.Sprintf("%s-%d", run, i)) })
	}
	e.creators.Go(func() { e.readStatements(ctx, apis, apiKey, wallets) })
	return e
}

// readStatements notes what the newest pages of statements show.
func (e *Everything) readStatements(ctx context.Context, apis []string, apiKey string, wallets []uuid.UUID) {
	c := Client{APIKey: apiKey, Timeout: 2 * time.Second}
	defer c.Close()
	for n := 0; ctx.Err() == nil && !e.ended.Load(); n++ {
		c.Addr = strings.TrimPrefix(apis[n%len(apis)], "http://")
		c.Close()
		r, err := c.Do(http.MethodGet, "/api/v1/wallets/"+wallets[n%len(wallets)].String()+"/operations?limit=100", "", nil)
		var page struct{ Items []acknowledgement }
		if err == nil && r.Status == http.StatusOK && json.Unmarshal(r.Body, &page) == nil {
			e.mu.Lock()
			for _, item := range page.Items {
				e.read[item.OperationID] = true
			}
			e.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// create opens wallets, every third of them twice.
func (e *Everything) create(ctx context.Context, apis []string, apiKey, prefix string) {
	c := Client{APIKey: apiKey, Timeout: 12 * time.Second}
	defer c.Close()
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
		time.Sleep(creationPause)
	}
}

// open sends one creation until it is acknowledged, or until the load has ended and it was tried once.
func (e *Everything) open(ctx context.Context, c *Client, apis []string, key string) uuid.UUID {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		c.Addr = strings.TrimPrefix(apis[attempt%len(apis)], "http://")
		c.Close()
		r, err := c.Do(http.MethodPost, "/api/v1/wallets", key, []byte("{}"))
		if err == nil && (r.Status == http.StatusCreated || r.Status == http.StatusOK) {
			var wallet struct {
				WalletID uuid.UUID `json:"walletId"`
			}
			err := json.Unmarshal(r.Body, &wallet)
			e.mu.Lock()
			defer e.mu.Unlock()
			if err != nil {
				e.wrong = append(e.wrong, fmt.Sprintf("an answer to a creation: %v", err))
			}
			e.Created[wallet.WalletID] = key
			return wallet.WalletID
		}
		if e.ended.Load() {
			return uuid.Nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return uuid.Nil
}

// Finish ends the load, waits for what is under way, and returns what its clients were told.
func (e *Everything) Finish() (history []Operation) {
	e.ended.Store(true)
	for _, l := range e.loads {
		l.End()
	}
	for range e.loads {
		history = append(history, <-e.histories...)
	}
	e.creators.Wait()
	return history
}

// Acknowledged is how many operations were acknowledged until now.
func (e *Everything) Acknowledged() (n int64) {
	for _, l := range e.loads {
		n += l.Accepted.Load()
	}
	return n
}

// LongestPause is the longest that nothing was acknowledged, until ctx ends.
func (e *Everything) LongestPause(ctx context.Context) (longest time.Duration) {
	for last, since := e.Acknowledged(), time.Now(); ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		longest = max(longest, time.Since(since))
		if now := e.Acknowledged(); now != last {
			last, since = now, time.Now()
		}
	}
	return longest
}

// Lost says what was acknowledged and is not stored: of a history, and of the wallets that were created.
// What was only read counts as told too, unless somebody has cut waits for a standby short.
func (e *Everything) Lost(ctx context.Context, conn walletdb.DBTX, history []Operation, readsToo bool) (lost []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]uuid.UUID, 0, len(history))
	if readsToo {
		ids = slices.Collect(maps.Keys(e.read))
	}
	for _, op := range history {
		if !op.Answered.IsZero() {
			ids = append(ids, op.ID)
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
	wallets := make([]uuid.UUID, 0, len(e.Created))
	for id := range e.Created {
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
