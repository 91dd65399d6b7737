package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// operationBytes is about what a waiting operation takes besides its reference and metadata: its request
// and channel, and later its row and its message.
const operationBytes = 1024

// request is one operation that waits to be accepted.
type request struct {
	tenant    tenant // of the key
	walletID  uuid.UUID
	id        uuid.UUID
	kind      walletdb.OperationType
	amount    int64  // 0: all that is left at its turn, or none
	reference string // empty: none
	metadata  []byte // JSON; nil: none

	subjectID *uuid.UUID // the hold, or the operation to reverse; nil: none
	targetID  *uuid.UUID // the wallet that gets the money; nil: none
	expiresAt *time.Time // of a hold; nil: never
	final     *bool      // of a capture, which always says it

	ctx      context.Context // ends when the client has left
	deadline time.Time       // the client does not wait longer; a context with it would cost more
	done     chan *answer    // with room for one answer, so that sending it never blocks
	span     trace.Span      // nil: it is not traced

	stage stage // guarded by the queue's lock
	sent  bool  // an insert of it may have been committed; belongs to whom the stage says
}

// stage says who decides what becomes of a request, and may read and write whether it was sent.
type stage uint8

const (
	queued   stage = iota // nobody: a flush may take it, or its client drop it
	flushing              // the flusher: it answers the request or puts it back
	dropped               // the client's goroutine: no flush takes it any more
)

func (r *request) wallet() walletRef { return walletRef{r.tenant, r.walletID} }

func (r *request) bytes() int { return operationBytes + len(r.reference) + len(r.metadata) }

// abandoned is the error of a request whose client does not wait any longer.
func (r *request) abandoned() error {
	if r.sent {
		return unknownOperation(r.id)
	}
	return errOverloaded
}

// answer is what became of a request.
type answer struct {
	operation walletdb.OperationState
	replayed  bool // an earlier request had made the operation
	err       error
}

// found reports whether the answer says that something exists.
func (a answer) found() bool { return a.err == nil || errors.Is(a.err, errKeyReused) }

// limits bound what a queue contains. One wallet may have half of the operations, so that a wallet
// which cannot be locked leaves capacity for the others.
type limits struct {
	operations int
	bytes      int
	flush      int // operations of one flush
}

// queue contains the requests that are not answered: those that wait for a flush, in order of arrival,
// and those of the flush under way. It does no I/O.
type queue struct {
	limits limits
	some   chan struct{} // signals that requests wait

	mu         sync.Mutex
	waiting    []*request // with dropped ones, until the next take removes them
	operations int
	bytes      int
	wallets    map[walletRef]int // operations of each wallet that has any
	crowded    bool              // a request came while another one was not answered

	wanted int           // how many requests await waits for
	enough chan struct{} // is closed when they are there; nil: it is, or was never made
}

func newQueue(limits limits) *queue {
	return &queue{limits: limits, some: make(chan struct{}, 1), wallets: map[walletRef]int{}}
}

// push appends the requests. Without capacity for all of them it takes none and reports false.
func (q *queue) push(requests ...*request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	crowded := q.crowded || q.operations > 0
	for i, r := range requests {
		q.count(r, 1)
		if q.operations > q.limits.operations || q.bytes > q.limits.bytes || q.wallets[r.wallet()] > (q.limits.operations+1)/2 {
			for _, r := range requests[:i+1] {
				q.count(r, -1)
			}
			return false
		}
	}
	q.crowded = crowded
	for _, r := range requests {
		r.stage = queued
	}
	q.waiting = append(q.waiting, requests...)
	if q.enough != nil && len(q.waiting) >= q.wanted {
		close(q.enough)
		q.enough = nil
	}
	q.signal()
	return true
}

// pause is how long the next flush waits in any case, and how much longer while few requests wait. Under concurrency
// flushes start an interval apart, small ones two, so that each gathers more: starting at once costs half as much again
// at 1,000 operations a second, and one interval a third. A client that is alone is never delayed.
func (q *queue) pause(sinceLast, interval time.Duration, lastSize int) (least, more time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	alone := lastSize <= 1 && !q.crowded
	if alone || len(q.waiting) >= q.limits.flush {
		return 0, 0
	}
	least = max(0, interval-sinceLast)
	return least, max(0, 2*interval-sinceLast-least)
}

// await returns after d, or as soon as so many requests wait.
func (q *queue) await(requests int, d time.Duration) {
	q.mu.Lock()
	if len(q.waiting) >= requests {
		q.mu.Unlock()
		return
	}
	enough := make(chan struct{})
	q.wanted, q.enough = requests, enough
	q.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-enough:
	case <-timer.C:
	}
}

// take returns the requests of the next flush. Requests of wallets that another transaction has locked
// fill at most half of it, so that the others go on; take removes wallets without requests from locked.
// While more requests wait than one flush can take, one wallet gets a quarter of it at most, so that a
// flood on one wallet does not delay the others.
func (q *queue) take(locked map[walletRef]bool) (requests []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for wallet := range locked {
		if q.wallets[wallet] == 0 {
			delete(locked, wallet)
		}
	}
	lockedLeft := (q.limits.flush + 1) / 2
	ofAWallet, taken := q.limits.flush, map[walletRef]int(nil)
	if len(q.waiting) > q.limits.flush && len(q.wallets) > 1 {
		ofAWallet, taken = (q.limits.flush+3)/4, map[walletRef]int{}
	}
	rest := q.waiting[:0]
	for _, r := range q.waiting {
		isLocked := locked[r.wallet()]
		switch {
		case r.stage == dropped:
		case len(requests) == q.limits.flush || isLocked && lockedLeft == 0 || taken[r.wallet()] == ofAWallet:
			rest = append(rest, r)
		default:
			if taken != nil {
				taken[r.wallet()]++
			}
			if isLocked {
				lockedLeft--
			}
			r.stage = flushing
			requests = append(requests, r)
		}
	}
	clear(q.waiting[len(rest):])
	q.waiting = rest
	q.crowded = len(rest) > 0
	q.signal()
	return requests
}

// putBack puts requests of the flush under way at the front again, in their order. It removes those whose
// client does not wait any longer, and returns them.
func (q *queue) putBack(requests []*request) (late []*request) {
	if len(requests) == 0 {
		return nil
	}
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	front := make([]*request, 0, len(requests)+len(q.waiting))
	for _, r := range requests {
		if r.ctx.Err() == nil && now.Before(r.deadline) {
			r.stage = queued
			front = append(front, r)
		} else {
			q.count(r, -1)
			late = append(late, r)
		}
	}
	q.waiting = append(front, q.waiting...)
	q.crowded = true
	q.signal()
	return late
}

// drop removes a request whose client does not wait any longer. It reports false if the flush under way
// has the request: then the flush decides.
func (q *queue) drop(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.stage != queued {
		return false
	}
	r.stage = dropped
	q.count(r, -1)
	return true
}

// finish releases the capacity taken by answered requests.
func (q *queue) finish(requests []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range requests {
		q.count(r, -1)
	}
}

// depth is how many operations are not answered.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.operations
}

func (q *queue) count(r *request, n int) {
	q.operations += n
	q.bytes += n * r.bytes()
	if operations := q.wallets[r.wallet()] + n; operations == 0 {
		delete(q.wallets, r.wallet())
	} else {
		q.wallets[r.wallet()] = operations
	}
}

func (q *queue) signal() {
	if len(q.waiting) > 0 {
		select {
		case q.some <- struct{}{}:
		default:
		}
	}
}
