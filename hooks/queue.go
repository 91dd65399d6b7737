package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	// maxFlying is how many deliveries of an endpoint are under way at once, each of another wallet.
	maxFlying = 32
	// mergedSize is how large a delivery of several runs may be.
	mergedSize = 256 << 10
	// loadedSize bounds what an endpoint has in memory, all partitions together; each may have leastLoaded.
	loadedSize  = 4 << 20
	leastLoaded = 256 << 10
	// refusalsInARow is how many refusals without a success between them make an endpoint one that fails as a
	// whole: then it is probed by one delivery at a time, not by 32.
	refusalsInARow = 32
	// keptTogether is how many attempts a delivery of several runs stays as it is if the receiver reports a
	// failure of its own. After that its runs are sent alone, so that the one that is refused is known.
	keptTogether = 3
)

// queue is what one endpoint has to be sent, and in which order. It does no I/O and knows no clock.
//
// The runs of a wallet are sent one after the other, each until it is taken: nothing overtakes a run that fails.
// Wallets take turns. An attempt that says nothing of what was sent (no answer, 503) makes the endpoint as a whole
// wait, and then one delivery probes it; the wallet that it is of changes, so that no single one can keep the
// others from being tried. A refusal makes only its wallet wait, until the window of its partition is full.
//
// If the process dies, what is not in a saved cursor is sent again: at least once.
type queue struct {
	retries *retries
	filter  *filter
	windows map[int32]*window
	wallets map[uuid.UUID]*wallet // that have runs loaded
	ready   []*wallet             // whose turn it is, in this order
	waiting map[*wallet]bool      // that wait by themselves
	flying  int

	// set is what failed deliveries leave behind when their runs are no longer in memory, or another process had them: by
	// the first message.
	set map[place]setback

	failures    int       // in a row, of the endpoint as a whole; above 0 it is down
	refusals    int       // in a row, of any wallets
	since       time.Time // the first failure after the last success
	next        time.Time // when it is probed
	lastFailure time.Time // when the endpoint's last failure ended
	lastSuccess time.Time
	lastError   string
	disabled    string // why; empty: it is not
}

// wallet is a wallet with runs to be sent.
type wallet struct {
	id      uuid.UUID
	runs    []*message
	flying  bool
	listed  bool      // in ready
	attempt int       // that the first runs have had
	repeat  int       // how many runs the next attempt has at most, as the last one had; 0: as many as fit
	alone   int       // so many runs are sent alone
	refused bool      // the receiver refuses the first run, and not all that it gets
	since   time.Time // the first of the attempts that failed
	next    time.Time // of a wallet that waits by itself
	err     string
}

// delivery is one attempt.
type delivery struct {
	wallet   *wallet
	messages []*message
	number   int // of the attempt
	started  time.Time
}

func (d *delivery) id() string { return d.messages[len(d.messages)-1].id() }

func newQueue(r *retries, f *filter) *queue {
	return &queue{retries: r, filter: f, windows: map[int32]*window{}, wallets: map[uuid.UUID]*wallet{}, waiting: map[*wallet]bool{}, set: map[place]setback{}}
}

// list lets a wallet have its turn, unless it has it or waits by itself.
func (q *queue) list(of *wallet) {
	if !of.listed && !of.flying && !q.waiting[of] && len(of.runs) > 0 {
		of.listed = true
		q.ready = append(q.ready, of)
	}
}

// take returns what is to be sent now; nil if nothing is.
func (q *queue) take(now time.Time) *delivery {
	if q.disabled != "" || q.flying >= maxFlying || q.down() && (q.flying > 0 || now.Before(q.next)) {
		return nil
	}
	q.resume(now)
	if len(q.ready) == 0 {
		return nil
	}
	of := q.ready[0]
	q.ready = q.ready[1:]
	of.listed, of.flying = false, true
	of.attempt++
	q.flying++
	return &delivery{wallet: of, messages: of.together(), number: of.attempt, started: now}
}

// together returns the runs that go out as one delivery.
func (of *wallet) together() []*message {
	n, size, most := 1, len(of.runs[0].value), len(of.runs)
	switch {
	case of.repeat > 0:
		most = min(of.repeat, most)
	case of.alone > 0:
		most = 1
	}
	for n < most && of.runs[n].from == of.runs[n-1].version+1 && size+len(of.runs[n].value) <= mergedSize {
		size += len(of.runs[n].value)
		n++
	}
	return slices.Clone(of.runs[:n])
}

func (q *queue) down() bool { return q.failures > 0 }

// resume lists the wallets whose time has come.
func (q *queue) resume(now time.Time) {
	var due []*wallet
	for of := range q.waiting {
		if !now.Before(of.next) {
			due = append(due, of)
			delete(q.waiting, of)
		}
	}
	slices.SortFunc(due, func(a, b *wallet) int { return a.next.Compare(b.next) })
	for _, of := range due {
		q.list(of)
	}
}

// wait returns when take may have something, if nothing else happens before; zero: never.
func (q *queue) wait(now time.Time) (at time.Time) {
	if q.disabled != "" {
		return at
	}
	if q.down() && now.Before(q.next) {
		return q.next
	}
	for of := range q.waiting {
		if now.Before(of.next) && (at.IsZero() || of.next.Before(at)) {
			at = of.next
		}
	}
	return at
}

// done takes in what came of an attempt.
func (q *queue) done(d *delivery, r result, now time.Time) {
	of := d.wallet
	of.flying = false
	q.flying--
	switch {
	case r.verdict == delivered:
		q.succeeded(now)
		q.finish(of, len(d.messages))
		return
	case r.verdict == unready:
		of.attempt--
		q.next, q.failures, q.lastError = now.Add(q.retries.after(1, 0)), max(1, q.failures), r.err
		q.list(of)
		return
	case r.verdict == gone:
		of.repeat = len(d.messages)
		q.disable("the receiver answered 410 Gone")
	case r.verdict == unreachable && !q.lastSuccess.After(d.started):
		of.repeat = len(d.messages)
		q.fail(d, r, now)
	default:
		q.refuse(of, d, r, now)
	}
	q.lastError, of.err = r.err, r.err
	if of.since.IsZero() {
		of.since = now
	}
	if q.since.IsZero() {
		q.since = now
	}
	switch {
	case q.disabled != "":
	case now.Sub(q.since) >= q.retries.giveUp:
		q.disable(fmt.Sprintf("no delivery has succeeded for %v: %s", now.Sub(q.since).Round(time.Minute), r.err))
	case now.Sub(of.since) >= q.retries.giveUp:
		q.disable(fmt.Sprintf("run %s has been refused for %v: %s", d.id(), now.Sub(of.since).Round(time.Minute), r.err))
	}
	q.list(of)
}

// succeeded notes that the receiver takes deliveries.
func (q *queue) succeeded(now time.Time) {
	q.failures, q.refusals, q.since, q.next, q.lastSuccess = 0, 0, time.Time{}, time.Time{}, now
}

// fail makes the endpoint wait. Deliveries that were under way together fail together: they count once.
func (q *queue) fail(d *delivery, r result, now time.Time) {
	if q.down() && d.started.Before(q.lastFailure) {
		return
	}
	q.failures++
	q.lastFailure = now
	q.next = now.Add(q.retries.after(q.failures, r.retryAfter))
}

// refuse makes a wallet wait, and the endpoint too if it has taken nothing for a while.
func (q *queue) refuse(of *wallet, d *delivery, r result, now time.Time) {
	of.repeat = len(d.messages)
	if len(d.messages) > 1 && (r.client || d.number >= keptTogether) {
		of.repeat, of.alone, of.attempt = 0, len(d.messages), 0
	}
	of.refused, of.next = true, now.Add(q.retries.after(d.number, r.retryAfter))
	q.waiting[of] = true
	q.refusals++
	if q.refusals >= refusalsInARow {
		q.fail(d, r, now)
	}
}

// finish marks the first n runs of a wallet as finished.
func (q *queue) finish(of *wallet, n int) {
	for _, m := range of.runs[:n] {
		w := q.windows[m.partition]
		w.finish(m.offset)
		w.bytes -= len(m.value)
		w.tidy()
	}
	of.runs = slices.Delete(of.runs, 0, n)
	of.alone = max(0, of.alone-n)
	of.attempt, of.repeat, of.refused, of.since, of.next, of.err = 0, 0, false, time.Time{}, time.Time{}, ""
	delete(q.waiting, of)
	if len(of.runs) == 0 {
		delete(q.wallets, of.id)
		if of.listed { // it was skipped
			q.ready = slices.DeleteFunc(q.ready, func(other *wallet) bool { return other == of })
		}
		return
	}
	q.recall(of)
	q.list(of)
}

// byRequest is the reason of an endpoint that somebody has disabled.
const byRequest = "it was disabled by request"

func (q *queue) disable(reason string) {
	q.disabled = cmp.Or(reason, byRequest)
}

// enable begins anew with an endpoint that was disabled, or that failed.
func (q *queue) enable() {
	q.disabled = ""
	q.forgive()
}

// forgive ends all waiting: the receiver is said to be well again, or is another one.
func (q *queue) forgive() {
	q.failures, q.refusals, q.since, q.next, q.lastError = 0, 0, time.Time{}, time.Time{}, ""
	for at, s := range q.set {
		s.NextAttempt, s.Since = nil, time.Time{}
		q.set[at] = s
	}
	clear(q.waiting)
	for _, of := range q.wallets {
		of.since = time.Time{}
		q.list(of)
	}
}
