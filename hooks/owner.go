package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	// saveInterval is how often cursors are saved: after a crash as much comes again.
	saveInterval = time.Second
	// After sessionTimeout without a query Postgres ends the session, and its locks with it; a process that has not
	// been heard of for lease begins no attempt.
	sessionTimeout = "5s"
	lease          = 4 * time.Second
	queryTimeout   = 3 * time.Second
	// takeAtOnce bounds the endpoints that are taken in one round, so that the session is not silent for long.
	takeAtOnce = 50
	// stopTimeout is how long attempts may take to end when the process has to.
	stopTimeout = 3 * time.Second
	// beginningInterval is how often the age of the log is looked at.
	beginningInterval = time.Minute
	// pruneInterval is how often requests that are done are deleted, up to pruneRows of them.
	pruneInterval = time.Minute
	pruneRows     = 1000
)

// owner has the endpoints that are this process's, by advisory locks of one session. All that it writes goes through
// that session, and names the term.
//
// If the session is lost, so are the endpoints: what is under way is cut off, and another process, or this one with a
// new session, begins where the cursors were saved. A process that is stopped and goes on later cannot write: its
// session is over, and its term too. It could send: before each attempt it looks whether Postgres has answered
// within lease.
type owner struct {
	database *pgx.ConnConfig
	keys     hook.Keys
	retries  *retries
	log      *eventLog
	catchUp  *catchUp
	sender   *sender
	tracer   *tracer
	health   *service.Health
	metrics  *metrics
	logger   *slog.Logger

	heard     atomic.Int64 // when Postgres was asked what it answered last, monotonic
	base      time.Time
	beginning atomic.Pointer[time.Time] // of the log
	lookedAt  time.Time
	prunedAt  time.Time

	mu    sync.Mutex
	owned map[uuid.UUID]*ownedEndpoint
}

type ownedEndpoint struct {
	*endpoint
	cancel   context.CancelFunc
	finished chan struct{}
}

// run has endpoints until ctx ends.
func (o *owner) run(ctx context.Context) {
	for ; ctx.Err() == nil; service.Sleep(ctx, saveInterval) {
		if err := o.session(ctx); ctx.Err() == nil {
			o.health.Set(service.Postgres, err)
		}
	}
}

func (o *owner) leased() bool {
	return time.Since(o.base)-time.Duration(o.heard.Load()) < lease
}

// hear notes that Postgres has answered what was asked then. When the answer was read says nothing: a process that
// was stopped meanwhile finds it ready, and its session over.
func (o *owner) hear(asked time.Time) { o.heard.Store(int64(asked.Sub(o.base))) }

// wake has all endpoints look for messages.
func (o *owner) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.owned {
		e.wake()
	}
}

// session has endpoints for as long as its connection lasts.
func (o *owner) session(ctx context.Context) error {
	config := o.database.Copy()
	config.RuntimeParams["idle_session_timeout"] = sessionTimeout
	config.RuntimeParams["synchronous_commit"] = "off" // what is lost is sent again
	conn, err := db.Connect(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to postgres: %w", err)
	}
	defer db.Disconnect(conn)
	defer o.dropAll()
	if err := o.join(ctx, conn); err != nil {
		return err
	}
	for ctx.Err() == nil {
		started := time.Now()
		// A query that is cancelled would end the session, and the locks with it, before what is under way has ended.
		if err := o.round(context.WithoutCancel(ctx), conn); err != nil {
			return err
		}
		o.health.Set(service.Postgres, nil)
		// Once Postgres has ended the session, another process may have the endpoints at once: a clock of Postgres that
		// jumps forward ends it before lease is over.
		if err := db.WaitOn(ctx, conn, saveInterval-time.Since(started)); err != nil {
			return fmt.Errorf("rest between two rounds: %w", err)
		}
	}
	o.end(conn)
	return nil
}

func (o *owner) join(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	asked := time.Now()
	if _, err := walletdb.New(conn).JoinHookProcesses(ctx, int32(db.HooksLock)); err != nil {
		return fmt.Errorf("join the processes that share the endpoints: %w", err)
	}
	o.hear(asked)
	return nil
}

// query asks Postgres within queryTimeout, and notes that it has answered.
type query func(what string, fn func(ctx context.Context) error) error

// round looks at everything once, and saves what has changed.
func (o *owner) round(ctx context.Context, conn *pgx.Conn) error {
	q := walletdb.New(conn)
	query := func(what string, fn func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		asked := time.Now()
		if err := fn(ctx); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		o.hear(asked)
		return nil
	}
	var all []walletdb.HookEndpointsRow
	var processes int64
	err := query("list endpoints", func(ctx context.Context) (err error) {
		if all, err = q.HookEndpoints(ctx); err == nil {
			processes, err = q.CountHookProcesses(ctx, int32(db.HooksLock))
		}
		return err
	})
	if err != nil {
		return err
	}
	there := make(map[uuid.UUID]walletdb.HookEndpointsRow, len(all))
	for _, row := range all {
		there[row.ID] = row
	}
	for id := range o.all() {
		if _, found := there[id]; !found {
			o.drop(id)
			if err := query("unlock an endpoint", func(ctx context.Context) error { return o.unlock(ctx, q, id) }); err != nil {
				return err
			}
		}
	}
	share := (len(all) + int(max(1, processes)) - 1) / int(max(1, processes))
	if err := o.take(query, q, all, there, share); err != nil {
		return err
	}
	for id, e := range o.all() {
		if err := query("look at an endpoint", func(ctx context.Context) error { return o.follow(ctx, q, e.endpoint, there[id]) }); err != nil {
			return err
		}
	}
	if err := query("save cursors", func(ctx context.Context) error { return o.save(ctx, conn) }); err != nil {
		return err
	}
	o.lookAtBeginning()
	if time.Since(o.prunedAt) >= pruneInterval {
		o.prunedAt = time.Now()
		err := query("delete requests that are done", func(ctx context.Context) error {
			_, err := q.PruneHookRequests(ctx, pruneRows)
			return err
		})
		if err != nil {
			return err
		}
	}
	return query("release endpoints", func(ctx context.Context) error { return o.release(ctx, q, share) })
}

// all is a copy of the owned endpoints.
func (o *owner) all() map[uuid.UUID]*ownedEndpoint {
	o.mu.Lock()
	defer o.mu.Unlock()
	owned := make(map[uuid.UUID]*ownedEndpoint, len(o.owned))
	for id, e := range o.owned {
		owned[id] = e
	}
	return owned
}

// take takes endpoints that nobody has, up to the process's share.
func (o *owner) take(query query, q *walletdb.Queries, all []walletdb.HookEndpointsRow, there map[uuid.UUID]walletdb.HookEndpointsRow, share int) error {
	owned := o.all()
	var wanted []uuid.UUID
	for _, row := range all {
		if owned[row.ID] == nil {
			wanted = append(wanted, row.ID)
		}
	}
	// Some are asked for at a time: more than the share would be locked, and given back.
	for taken := 0; len(wanted) > 0 && len(owned) < share && taken < takeAtOnce; {
		n := min(len(wanted), share-len(owned), takeAtOnce)
		var ids []uuid.UUID
		err := query("lock endpoints", func(ctx context.Context) (err error) {
			ids, err = q.TryHookLocks(ctx, walletdb.TryHookLocksParams{Ids: wanted[:n], Lock: int32(db.HookLock)})
			return err
		})
		if err != nil {
			return err
		}
		wanted = wanted[n:]
		for _, id := range ids {
			var e *ownedEndpoint
			err := query("take an endpoint", func(ctx context.Context) (err error) {
				e, err = o.takeOver(ctx, q, there[id])
				return err
			})
			if err != nil {
				return err
			}
			if e != nil {
				owned[id] = e
				taken++
			}
		}
	}
	return nil
}

// takeOver raises the term of an endpoint whose lock this process has, and begins to deliver, unless what is known of
// the endpoint by then forbids it.
func (o *owner) takeOver(ctx context.Context, q *walletdb.Queries, listed walletdb.HookEndpointsRow) (*ownedEndpoint, error) {
	id := listed.ID
	state, err := q.TakeHook(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) { // it was deleted
		return nil, o.unlock(ctx, q, id)
	}
	if err != nil {
		return nil, err
	}
	failpoint.Reach("hooks-after-take")
	row, err := q.HookEndpoint(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, o.unlock(ctx, q, id)
	}
	if err != nil {
		return nil, err
	}
	cursors, err := q.HookCursors(ctx, id)
	if err != nil {
		return nil, err
	}
	taken := o.newEndpoint(row, state, cursors)
	if err := o.follow(ctx, q, taken, listed); err != nil {
		return nil, err
	}
	delivering, cancel := context.WithCancel(context.Background())
	e := &ownedEndpoint{endpoint: taken, cancel: cancel, finished: make(chan struct{})}
	o.mu.Lock()
	o.owned[id] = e
	o.mu.Unlock()
	go func() {
		defer close(e.finished)
		e.run(delivering)
	}()
	return e, nil
}

// follow brings an endpoint what has changed about it.
func (o *owner) follow(ctx context.Context, q *walletdb.Queries, e *endpoint, row walletdb.HookEndpointsRow) error {
	request, revision := e.known()
	if !revision.Equal(row.UpdatedAt) {
		settings, err := q.HookEndpoint(ctx, e.id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // the next round finds that it was deleted
		}
		if err != nil {
			return err
		}
		e.configure(settings, o)
	}
	e.suspend(row.TenantDisabled)
	if row.LastRequest <= request {
		return nil
	}
	requests, err := q.HookRequests(ctx, walletdb.HookRequestsParams{EndpointID: e.id, After: request})
	if err != nil {
		return err
	}
	e.ask(requests)
	return nil
}

// save writes what has changed, in one transaction, and drops the endpoints whose term is another one's.
func (o *owner) save(ctx context.Context, conn *pgx.Conn) error {
	now := time.Now()
	var snapshots []snapshot
	var stands []standing
	for _, e := range o.all() {
		s, standing, changed := e.snapshot(now)
		stands = append(stands, standing)
		if changed {
			snapshots = append(snapshots, s)
		}
	}
	o.show(stands)
	if len(snapshots) == 0 {
		return nil
	}
	slices.SortFunc(snapshots, func(a, b snapshot) int { return slices.Compare(a.e.id[:], b.e.id[:]) })
	saved, err := saveSnapshots(ctx, conn, snapshots, timeOf(o.beginning.Load()))
	if err != nil {
		return err
	}
	for i := range snapshots {
		if s := &snapshots[i]; slices.Contains(saved, s.e.id) {
			s.saved(now)
		} else if o.drop(s.e.id) {
			o.metrics.lost.Inc()
			o.logger.Warn("an endpoint that this process had is another's, or was deleted and made anew", "endpoint", s.e.id)
			if err := o.unlock(ctx, walletdb.New(conn), s.e.id); err != nil {
				return err
			}
		}
	}
	return nil
}

// show sets the metrics of the endpoints.
func (o *owner) show(stands []standing) {
	states := map[string]int{stateDelivering: 0, stateFailing: 0, stateStalled: 0, stateDisabled: 0}
	var messages int64
	var seconds float64
	var keyless error
	for _, s := range stands {
		states[s.state]++
		if s.state == stateDelivering {
			messages, seconds = max(messages, s.lagMessages), max(seconds, s.lagSeconds)
		}
		if s.keyless != nil {
			keyless = s.keyless
		}
	}
	for state, n := range states {
		o.metrics.endpoints.WithLabelValues(state).Set(float64(n))
	}
	o.metrics.lagMessages.Set(float64(messages))
	o.metrics.lagSeconds.Set(seconds)
	o.health.Set(secrets, keyless)
}

// release lets go of what is above the share, the first by their ids, each once nothing of it is under way and all is
// saved. A release that is not needed any more is called off.
func (o *owner) release(ctx context.Context, q *walletdb.Queries, share int) error {
	owned := o.all()
	ids := slices.SortedFunc(maps.Keys(owned), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	for i, id := range ids {
		e, releases := owned[id], i < len(ids)-share
		if e.release(releases) {
			o.logger.Debug("an endpoint's release begins or is called off", "endpoint", id, "releases", releases)
			continue // saved in the next round
		}
		if !releases || !e.settled() {
			continue
		}
		o.drop(id)
		if err := o.unlock(ctx, q, id); err != nil {
			return err
		}
	}
	return nil
}

func (o *owner) unlock(ctx context.Context, q *walletdb.Queries, id uuid.UUID) error {
	_, err := q.Unlock(ctx, walletdb.UnlockParams{Lock: int32(db.HookLock), Name: id.String()})
	return err
}

// drop ends an endpoint here, at once.
func (o *owner) drop(id uuid.UUID) bool {
	o.mu.Lock()
	e := o.owned[id]
	delete(o.owned, id)
	o.mu.Unlock()
	if e == nil {
		return false
	}
	e.cancel()
	<-e.finished
	return true
}

// dropAll ends all endpoints here: they are not this process's any more.
func (o *owner) dropAll() {
	owned := o.all()
	for _, e := range owned {
		e.cancel()
	}
	for id := range owned {
		o.drop(id)
	}
}

// end lets what is under way come to its end, and saves that.
func (o *owner) end(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	owned := o.all()
	for _, e := range owned {
		e.release(true)
	}
	for _, e := range owned {
		for !e.idle() && service.Sleep(ctx, 10*time.Millisecond) {
		}
	}
	saving, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	if err := o.save(saving, conn); err != nil {
		o.logger.Warn("cursors are not saved: some deliveries come again", "error", err)
	}
}

// lookAtBeginning finds out from time to time how far back the log goes.
func (o *owner) lookAtBeginning() {
	partitions := len(o.log.partitions())
	if partitions == 0 || time.Since(o.lookedAt) < beginningInterval || len(o.all()) == 0 {
		return
	}
	o.lookedAt = time.Now()
	o.catchUp.submit(func(client *kafka.Consumer, err error) {
		if err != nil {
			return
		}
		if oldest, err := o.catchUp.beginning(client, partitions); err == nil && !oldest.IsZero() {
			o.beginning.Store(&oldest)
		}
	})
}
