package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"

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
	// held reports whether this process is sure to have the endpoint still: if not, it begins no attempt.
	held func() bool

	woken   chan struct{}
	sending sync.WaitGroup

	mu         sync.Mutex
	revision   time.Time // of the settings
	target     target
	previous   string // the secret before; it signs too until previousUntil
	previousTo time.Time
	created    time.Time
	suspended  bool // its tenant is disabled
	releasing  bool // it begins nothing any more
	queue      *queue
	filter     *filter

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

// savedCursor is a cursor as Postgres has it.
type savedCursor struct {
	cursor
	at time.Time
}

// newEndpoint takes over an endpoint where its last owner left it.
func (o *owner) newEndpoint(row walletdb.HookEndpoint, state walletdb.HookState, cursors []walletdb.HookCursorsRow) *endpoint {
	e := &endpoint{
		id: row.ID, log: o.log, catchUp: o.catchUp, sender: o.sender, tracer: o.tracer, metrics: o.metrics, logger: o.logger, held: o.held,
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
	e.filter.tenant, e.filter.wallets, e.filter.types = row.Tenant, nil, row.Types
	if row.Wallets != nil {
		e.filter.wallets = map[uuid.UUID]bool{}
		for _, id := range row.Wallets {
			e.filter.wallets[id] = true
		}
	}
	e.target = target{url: row.Url}
	secret, err := o.keys.Open(row.ID, row.Secret)
	e.target.secrets, e.target.err = []string{secret}, err
	e.previous, e.previousTo = "", timeOf(row.PreviousUntil)
	if row.PreviousSecret != nil && time.Now().Before(e.previousTo) {
		if e.previous, err = o.keys.Open(row.ID, *row.PreviousSecret); err != nil {
			e.logger.Warn("an endpoint's secret before the present one cannot be used", "endpoint", e.id, "error", err)
		}
	}
	e.changed()
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
	if !e.held() {
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
	if e.previous != "" && now.Before(e.previousTo) {
		to.secrets = append(slices.Clone(to.secrets), e.previous)
	}
	return to
}

// begun reports whether each partition has a cursor. An endpoint begins with what was finished at its
// creation.
func (e *endpoint) begun(now time.Time) bool {
	var without []int32
	for partition := range e.log.partitions() {
		if e.queue.windows[int32(partition)] == nil {
			without = append(without, int32(partition))
		}
	}
	if len(without) == 0 {
		return len(e.queue.windows) > 0
	}
	e.look(now, without, e.created.Add(-lookBack), func(offsets map[int32]int64) {
		for partition, offset := range offsets {
			e.queue.begin(partition, cursor{next: offset})
		}
	})
	return false
}

// look finds out where the log was at a time, unless that is being done, and then does what it is for.
func (e *endpoint) look(now time.Time, partitions []int32, at time.Time, then func(map[int32]int64)) {
	if e.busy || now.Before(e.again) {
		return
	}
	e.busy = true
	e.catchUp.submit(func(client *kafka.Consumer, err error) {
		var offsets map[int32]int64
		if err == nil {
			offsets, err = e.catchUp.offsetsAt(client, partitions, at)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.busy = false
		if err != nil {
			e.again = time.Now().Add(readAgain)
			e.logger.Debug("the log cannot be asked for the offsets of a time", "endpoint", e.id, "error", err)
		} else {
			then(offsets)
		}
		e.changed()
	})
}

// fill loads what there is room for: from the rings, or if it is behind them, by its turns to read the log.
func (e *endpoint) fill(now time.Time) {
	for i, r := range e.log.partitions() {
		partition := int32(i)
		w := e.queue.windows[partition]
		if w == nil || e.catching[partition] {
			continue
		}
		for e.queue.room(w) {
			messages, where := r.read(w.read, 100)
			before := w.read
			if where == inRing {
				e.queue.load(w, messages)
			}
			if w.read == before {
				e.read(partition, w.read, where, now)
				break
			}
			e.changes++
		}
	}
}

// read asks for a turn to read a partition if the ring does not have what comes next.
func (e *endpoint) read(partition int32, from int64, where ringPlace, now time.Time) {
	if where == inRing || where == atEnd {
		delete(e.notYet, partition)
		return
	}
	at, waits := e.notYet[partition]
	if where == afterEnd && !waits { // the ring may only be late
		e.notYet[partition] = now.Add(2 * readAgain)
		return
	}
	if waits && now.Before(at) {
		return
	}
	delete(e.notYet, partition)
	e.catching[partition] = true
	e.catchUp.submit(func(client *kafka.Consumer, err error) {
		var found chunk
		if err == nil {
			found, err = e.catchUp.readFrom(client, partition, from)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.catching, partition)
		e.caught(partition, from, found, err)
		e.changed()
	})
}

// caught takes in what a turn has brought.
func (e *endpoint) caught(partition int32, from int64, found chunk, err error) {
	w, now := e.queue.windows[partition], time.Now()
	switch {
	case err != nil:
		e.notYet[partition] = now.Add(readAgain)
		e.logger.Debug("the log cannot be read for an endpoint", "endpoint", e.id, "partition", partition, "error", err)
	case w == nil || w.read != from || e.queue.disabled != "": // replayed, or unloaded
	case from < found.low:
		e.queue.pass(partition, found.low)
		e.miss(partition, from, w.read)
	case from > found.high:
		e.notYet[partition] = now.Add(readAgain)
		e.turnBack(partition, found.high)
	default:
		e.queue.load(w, found.messages)
	}
}

// turnBack places a cursor that is beyond the end of its partition: the log has lost its end, or the topic was made
// anew. It goes to what was written since the cursor last moved, so that nothing new is passed over.
func (e *endpoint) turnBack(partition int32, high int64) {
	at := e.created
	if saved, found := e.savedCursors[partition]; found {
		at = saved.at
	}
	e.look(time.Now(), []int32{partition}, at.Add(-lookBack), func(offsets map[int32]int64) {
		e.quiet = func() {
			before := e.queue.windows[partition].next
			to := offsets[partition]
			if to >= before {
				return
			}
			e.queue.unload()
			e.queue.begin(partition, cursor{next: to})
			e.miss(partition, min(high, before), before)
		}
	})
}

func (e *endpoint) miss(partition int32, from, to int64) {
	if from >= to {
		return
	}
	e.missed = last(append(e.missed, hook.Missed{Partition: partition, From: from, To: to, At: time.Now().UTC()}))
	e.metrics.missed.Inc()
	e.logger.Warn("messages are not in the log any more", "endpoint", e.id, "partition", partition, "from", from, "to", to)
}

// last keeps the last entries of a list.
func last[T any](list []T) []T {
	return slices.Clone(list[max(0, len(list)-hook.MaxListed):])
}

// deliver makes one attempt. If ctx ends meanwhile, the endpoint is not this process's any more, and nothing comes
// of it.
func (e *endpoint) deliver(ctx context.Context, d *delivery, to target) {
	sent := e.tracer.start(d)
	r := e.sender.send(ctx, to, d.id(), body(d.messages))
	sent(r)
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
		At: d.started.UTC(), WebhookID: d.id(), Type: hook.TypeRun, WalletID: &first.walletID, FromSequence: first.from, Version: last.version, Number: d.number,
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

// serve does what is asked for, in the order in which it was asked, until something takes time.
func (e *endpoint) serve(ctx context.Context, now time.Time) {
	for len(e.requests) > 0 && !e.busy && e.quiet == nil {
		r := e.requests[0]
		switch r.Kind {
		case hook.Enable:
			e.queue.enable()
			e.disabledAt = time.Time{}
		case hook.Disable:
			e.queue.disable("it was disabled by request")
			if e.disabledAt.IsZero() {
				e.disabledAt = now
			}
		case hook.Skip:
			runs, later := e.queue.skip(textOf(r.Run))
			if later {
				return // until its attempt has ended
			}
			for _, run := range runs {
				e.skipped = last(append(e.skipped, hook.Skipped{Run: run, At: now.UTC()}))
			}
		case hook.Test:
			e.test(ctx, r.ID, now)
			return
		case hook.Replay:
			e.replay(timeOf(r.Since), r.ID, now)
			return
		}
		e.doneWith(r.ID)
	}
}

func (e *endpoint) doneWith(request int64) {
	e.lastRequest = request
	if len(e.requests) > 0 && e.requests[0].ID == request {
		e.requests = e.requests[1:]
	}
	e.changed()
}

// test sends a webhook that is about nothing. If it arrives, the receiver is well again.
func (e *endpoint) test(ctx context.Context, request int64, now time.Time) {
	e.busy, e.testing = true, true
	to, id := e.targetNow(now), hook.TestID(e.id, request)
	e.sending.Go(func() {
		r := e.sender.send(ctx, to, id, envelope(hook.TypeTest, now, fmt.Appendf(nil, `{"webhookId":"%s"}`, e.id)))
		e.mu.Lock()
		defer e.mu.Unlock()
		e.busy, e.testing = false, false
		if ctx.Err() != nil && r.verdict != delivered {
			return
		}
		if r.verdict == delivered && e.queue.disabled == "" {
			e.queue.succeeded(time.Now())
		}
		e.note(hook.Attempt{At: now.UTC(), WebhookID: id, Type: hook.TypeTest, Number: 1}, r)
		e.doneWith(request)
	})
}

// replay moves the cursors back, and raises the term: what an owner of before has still to write is refused.
func (e *endpoint) replay(since time.Time, request int64, now time.Time) {
	partitions := make([]int32, len(e.log.partitions()))
	for i := range partitions {
		partitions[i] = int32(i)
	}
	if len(partitions) == 0 || len(e.queue.windows) < len(partitions) {
		return // until the endpoint has begun
	}
	e.look(now, partitions, since.Add(-lookBack), func(offsets map[int32]int64) {
		e.quiet = func() {
			e.queue.replay(offsets)
			if since.Before(e.filter.since) {
				e.filter.since = since
			}
			e.nextTerm = e.term + 1
			e.doneWith(request)
			e.logger.Info("an endpoint is replayed", "endpoint", e.id, "since", since)
		}
	})
}

// release lets the endpoint begin nothing any more.
func (e *endpoint) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.releasing = true
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

// ask adds requests.
func (e *endpoint) ask(requests []walletdb.HookRequestsRow) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range requests {
		if r.ID > e.lastRequest && (len(e.requests) == 0 || r.ID > e.requests[len(e.requests)-1].ID) {
			e.requests = append(e.requests, r)
		}
	}
	e.wake()
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

// standing is what one look shows of an endpoint, for the metrics.
type standing struct {
	state       string
	lagMessages int64
	lagSeconds  float64
	keyless     error
}

func (e *endpoint) standing(now time.Time) standing {
	s := standing{state: stateDelivering, keyless: e.target.err}
	messages, since := e.queue.lag(e.ends())
	s.lagMessages = messages
	if messages > 0 && !since.IsZero() {
		s.lagSeconds = max(0, now.Sub(since).Seconds())
	}
	switch {
	case e.queue.disabled != "":
		s.state = stateDisabled
	case e.queue.down():
		s.state = stateFailing
	case slices.ContainsFunc(e.queue.setbacks(), func(b setback) bool { return b.Refused }):
		s.state = stateStalled
	}
	return s
}

func (e *endpoint) ends() map[int32]int64 {
	ends := map[int32]int64{}
	for partition, r := range e.log.partitions() {
		_, ends[int32(partition)] = r.ends()
	}
	return ends
}

// snapshot is what has to be saved.
type snapshot struct {
	e              *endpoint
	changes        int
	term, nextTerm int64
	lastRequest    int64
	since          time.Time
	failures       int
	disabledAt     time.Time
	reason         string
	failingSince   time.Time
	nextAttempt    time.Time
	lastError      string
	lagMessages    int64
	lagSeconds     float64
	attempts       string // "": as they are
	newAttempts    int
	stalled        string
	skipped        string
	missed         string
	begun          map[int32]cursor
	moved          map[int32]cursor
}

const (
	// attemptsEvery is how often attempts are saved if there are many and all succeed; lagEvery, the lag if nothing
	// else has changed.
	attemptsEvery = 5 * time.Second
	lagEvery      = 10 * time.Second
	fewAttempts   = 3
)

// snapshot returns what has changed since it was saved, if anything has.
func (e *endpoint) snapshot(now time.Time) (snapshot, standing, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stands := e.standing(now)
	lagging := stands.lagMessages > 0 && now.Sub(e.lagAt) >= lagEvery
	if e.changes == e.savedChanges && !lagging {
		return snapshot{}, stands, false
	}
	e.lagAt = now
	q := e.queue
	s := snapshot{
		e: e, changes: e.changes, term: e.term, nextTerm: e.nextTerm, lastRequest: e.lastRequest, since: e.filter.since,
		failures: q.failures, disabledAt: e.disabledAt, reason: printable(q.disabled), failingSince: q.since, nextAttempt: q.next, lastError: q.lastError,
		lagMessages: stands.lagMessages, lagSeconds: stands.lagSeconds,
		skipped: asJSON(e.skipped), missed: asJSON(e.missed), begun: map[int32]cursor{}, moved: map[int32]cursor{},
	}
	stalled := []setback{}
	for _, b := range q.setbacks() {
		if b.Refused && len(stalled) < hook.MaxListed {
			b.Since = b.Since.UTC()
			stalled = append(stalled, b)
		}
	}
	s.stalled = asJSON(stalled)
	if e.newAttempts > 0 && (e.urgent || e.newAttempts <= fewAttempts || now.Sub(e.attemptsAt) >= attemptsEvery) {
		s.attempts, s.newAttempts = asJSON(last(e.attempts)), e.newAttempts
		e.attemptsAt = now
	}
	for partition, w := range q.windows {
		saved, found := e.savedCursors[partition]
		if !found {
			s.begun[partition] = w.cursor
		}
		if !found || saved.cursor != w.cursor || e.term != e.nextTerm {
			s.moved[partition] = w.cursor
		}
	}
	return s, stands, true
}

// saved notes that a snapshot is in Postgres.
func (s *snapshot) saved(now time.Time) {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.savedChanges, e.term = s.changes, s.nextTerm
	e.nextTerm = max(e.nextTerm, e.term)
	if s.newAttempts > 0 {
		e.newAttempts -= s.newAttempts
		e.urgent = e.urgent && e.newAttempts > 0
	}
	if e.newAttempts > 0 {
		e.savedChanges-- // they are saved later
	}
	for partition, c := range s.moved {
		e.savedCursors[partition] = savedCursor{c, now}
	}
}

// asJSON writes a list, also an empty one.
func asJSON[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(list)
	return cmp.Or(string(text), "[]")
}
