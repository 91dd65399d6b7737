package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// lookBack is how far before a time the log is read for what was finished after it: messages are written
	// later than their operations are finished, by another clock.
	lookBack = time.Minute
	// readAgain is how long an endpoint waits before it asks the log again for what could not be read.
	readAgain = time.Second
	// unloadAfter is how long an endpoint has to wait for its receiver before its runs leave the memory.
	unloadAfter = 10 * time.Second
)

// endpoint delivers to one endpoint, in a goroutine of its own, while this process has it.
type endpoint struct {
	id      uuid.UUID
	log     *eventLog
	catchUp *catchUp
	sender  *sender
	tracer  *tracer
	metrics *metrics
	logger  *slog.Logger
	// leased reports whether this process is sure to have the endpoint still: if not, it begins no attempt.
	leased func() bool

	woken   chan struct{}
	sending sync.WaitGroup

	mu        sync.Mutex
	revision  time.Time // of the settings
	target    target
	earlier   []earlierSecret // that sign too
	created   time.Time
	suspended bool // its tenant is disabled
	releasing bool // it begins nothing
	queue     *queue
	filter    *filter

	requests []walletdb.HookRequestsRow // not done
	busy     bool                       // with a request, or a look at the log, that takes time
	testing  bool
	quiet    func()              // is done once nothing is under way; until then nothing begins
	catching map[int32]bool      // partitions whose turn is to come
	notYet   map[int32]time.Time // when the log may be asked again
	again    time.Time           // when a look at the log that failed is tried again

	term, nextTerm int64 // they differ between a replay and its save
	lastRequest    int64
	disabledAt     time.Time
	attempts       []hook.Attempt
	skipped        []hook.Skipped
	missed         []hook.Missed

	changes, savedChanges int
	savedCursors          map[int32]savedCursor
	newAttempts           int  // since the attempts were saved
	urgent                bool // one of these failed
	attemptsAt            time.Time
	lagAt                 time.Time
}

// newEndpoint takes over an endpoint where its last owner left it.
func (o *owner) newEndpoint(row walletdb.HookEndpoint, state walletdb.HookState, cursors []walletdb.HookCursorsRow) *endpoint {
	e := &endpoint{
		id: row.ID, log: o.log, catchUp: o.catchUp, sender: o.sender, tracer: o.tracer, metrics: o.metrics, logger: o.logger, leased: o.leased,
		woken: make(chan struct{}, 1), catching: map[int32]bool{}, notYet: map[int32]time.Time{},
		created: row.CreatedAt, term: state.Term, nextTerm: state.Term, lastRequest: state.LastRequest, savedCursors: map[int32]savedCursor{},
	}
	e.filter = &filter{since: state.Since}
	e.queue = newQueue(o.retries, e.filter)
	for _, c := range cursors {
		at := decodeCursor(c.NextOffset, c.Finished)
		e.queue.begin(c.Partition, at)
		e.savedCursors[c.Partition] = savedCursor{at, c.UpdatedAt}
	}
	_ = json.Unmarshal(state.Attempts, &e.attempts)
	_ = json.Unmarshal(state.Skipped, &e.skipped)
	_ = json.Unmarshal(state.Missed, &e.missed)
	var stalled []setback
	_ = json.Unmarshal(state.Stalled, &stalled)
	for _, s := range stalled {
		if len(s.Offsets) > 0 {
			e.queue.set[place{s.Partition, s.Offsets[0]}] = s
		}
	}
	q := e.queue
	q.failures, q.since, q.next, q.lastError = int(state.Failures), timeOf(state.FailingSince), timeOf(state.NextAttempt), textOf(state.LastError)
	if state.DisabledAt != nil {
		e.disabledAt = *state.DisabledAt
		q.disable(textOf(state.Reason))
	}
	e.configure(row, o)
	return e
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// configure takes over the settings of an endpoint, which its owner may have changed.
func (e *endpoint) configure(row walletdb.HookEndpoint, o *owner) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.target.url != "" && e.target.url != row.Url {
		e.queue.forgive() // another receiver
	}
	e.revision = row.UpdatedAt
	e.filter.tenant = row.Tenant
	var wallets map[uuid.UUID]bool
	if row.Wallets != nil {
		wallets = map[uuid.UUID]bool{}
		for _, id := range row.Wallets {
			wallets[id] = true
		}
	}
	if !maps.Equal(e.filter.wallets, wallets) || !slices.Equal(e.filter.types, row.Types) {
		e.filter.wallets, e.filter.types = wallets, row.Types
		// What is in memory is read again: a run that is not asked for any more must not hold up its partition.
		e.whenQuiet(e.queue.unload)
	}
	e.target = target{url: row.Url}
	secret, err := o.keys.Open(row.ID, row.Secret)
	e.target.secrets, e.target.err = []string{secret}, err
	e.earlier = e.openEarlier(row, o)
	e.changed()
}

// earlierSecret is one that was exchanged.
type earlierSecret struct {
	secret string
	until  time.Time
}

// openEarlier decrypts what was exchanged, the last one first. What cannot be decrypted does not sign.
func (e *endpoint) openEarlier(row walletdb.HookEndpoint, o *owner) (earlier []earlierSecret) {
	var sealed []hook.EarlierSecret
	if err := json.Unmarshal(row.OlderSecrets, &sealed); err != nil {
		e.logger.Warn("the earlier secrets of an endpoint cannot be read", "endpoint", e.id, "error", err)
	}
	if row.PreviousSecret != nil {
		sealed = append(sealed, hook.EarlierSecret{Secret: *row.PreviousSecret, Until: timeOf(row.PreviousUntil)})
	}
	for _, s := range slices.Backward(sealed) {
		if !time.Now().Before(s.Until) {
			continue
		}
		secret, err := o.keys.Open(row.ID, s.Secret)
		if err != nil {
			e.logger.Warn("an earlier secret of an endpoint cannot be used", "endpoint", e.id, "error", err)
			continue
		}
		earlier = append(earlier, earlierSecret{secret, s.Until})
	}
	return earlier
}

// whenQuiet has something done once nothing is under way, after what else waits for that. Until then nothing begins.
func (e *endpoint) whenQuiet(do func()) {
	if before := e.quiet; before != nil {
		e.quiet = func() { before(); do() }
		return
	}
	e.quiet = do
}

// changed has the endpoint's goroutine look again, and its state saved.
func (e *endpoint) changed() {
	e.changes++
	e.wake()
}

func (e *endpoint) wake() {
	select {
	case e.woken <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends, which also ends what is under way.
func (e *endpoint) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			e.sending.Wait()
			return
		case <-e.woken:
		case <-timer.C:
		}
		next := e.step(ctx, time.Now())
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(time.Millisecond, time.Until(next)))
		}
	}
}

// step does all that can be done now, and returns when to look again if nothing happens before.
func (e *endpoint) step(ctx context.Context, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	soon := now.Add(readAgain)
	if e.suspended || e.releasing {
		return time.Time{}
	}
	if !e.leased() {
		return soon
	}
	if e.queue.flying == 0 && e.quiet != nil {
		e.quiet()
		e.quiet = nil
		e.changes++
	}
	e.serve(ctx, now)
	if !e.begun(now) || e.quiet != nil {
		return soon
	}
	if e.queue.disabled != "" || e.queue.down() && now.Add(unloadAfter).Before(e.queue.next) {
		if e.queue.flying == 0 {
			e.queue.unload()
		}
	} else {
		e.fill(now)
	}
	for d := e.queue.take(now); d != nil; d = e.queue.take(now) {
		e.metrics.flying.Inc()
		to := e.targetNow(now)
		e.sending.Go(func() { e.deliver(ctx, d, to) })
	}
	next := e.queue.wait(now)
	for _, at := range e.notYet {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// targetNow is the target with all secrets that sign now.
func (e *endpoint) targetNow(now time.Time) target {
	to := e.target
	to.secrets = slices.Clone(to.secrets)
	for _, s := range e.earlier {
		if now.Before(s.until) {
			to.secrets = append(to.secrets, s.secret)
		}
	}
	return to
}

// deliver makes one attempt. If ctx ends meanwhile, the endpoint is not this process's any more, and nothing comes
// of it.
func (e *endpoint) deliver(ctx context.Context, d *delivery, to target) {
	failpoint.Reach("hooks-before-attempt")
	sent := e.tracer.start(d)
	r := e.sender.send(ctx, to, d.id(), body(d.messages))
	sent(r)
	failpoint.ReachIf(r.verdict == delivered, "hooks-after-delivery") // it is saved within a second, or comes again
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.metrics.flying.Dec()
	if ctx.Err() != nil && r.verdict != delivered {
		e.queue.flying--
		return
	}
	e.queue.done(d, r, now)
	first, last := d.messages[0], d.messages[len(d.messages)-1]
	e.note(hook.Attempt{
		At: d.started.UTC(), WebhookID: d.id(), Type: event.RunType, WalletID: &first.walletID, FromSequence: first.from, Version: last.version, Number: d.number,
	}, r)
	if r.verdict == delivered {
		e.metrics.runs.Observe(float64(len(d.messages)))
		e.metrics.operations.Add(float64(last.version - first.from + 1))
		if d.number == 1 {
			e.metrics.behind.Observe(now.Sub(first.at).Seconds())
		}
	}
	e.judgeDisabled(now)
}

// note keeps an attempt for the owner, and counts it.
func (e *endpoint) note(a hook.Attempt, r result) {
	a.Status, a.Milliseconds, a.Error = r.status, r.took.Milliseconds(), r.err
	e.attempts = append(e.attempts, a)
	if len(e.attempts) > 2*hook.MaxListed {
		e.attempts = last(e.attempts)
	}
	e.newAttempts++
	e.urgent = e.urgent || r.verdict != delivered || a.Type == hook.TypeTest
	e.metrics.attempts.WithLabelValues(verdicts[r.verdict]).Inc()
	e.metrics.seconds.Observe(r.took.Seconds())
	e.changed()
}

// judgeDisabled notes when the queue has disabled the endpoint.
func (e *endpoint) judgeDisabled(now time.Time) {
	if e.queue.disabled == "" || !e.disabledAt.IsZero() {
		return
	}
	e.disabledAt = now
	e.metrics.disabled.Inc()
	e.logger.Warn("an endpoint is disabled", "endpoint", e.id, "reason", e.queue.disabled)
}

// release lets the endpoint begin nothing, or go on, and reports whether that is new.
func (e *endpoint) release(releases bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.releasing == releases {
		return false
	}
	e.releasing = releases
	e.wake()
	return true
}

// settled reports whether nothing is under way, and all is saved.
func (e *endpoint) settled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue.flying == 0 && !e.testing && e.changes == e.savedChanges
}

// idle reports whether nothing is under way.
func (e *endpoint) idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue.flying == 0 && !e.testing
}

// suspend stops deliveries while the tenant is disabled.
func (e *endpoint) suspend(suspended bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.suspended != suspended {
		e.suspended = suspended
		e.wake()
	}
}

// known returns the last request that the endpoint has heard of, and the revision of its settings.
func (e *endpoint) known() (request int64, revision time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	request = e.lastRequest
	if n := len(e.requests); n > 0 {
		request = e.requests[n-1].ID
	}
	return request, e.revision
}
