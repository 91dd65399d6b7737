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

// operationBytes is about what a waiting operation takes besides its reference: its request and
// channel, and later its row and its message.
const operationBytes = 1024

// request is one operation that waits to be accepted.
type request struct {
	walletID  uuid.UUID
	id        uuid.UUID
	kind      walletdb.OperationType
	amount    int64
	reference string // empty: none

	ctx      context.Context // ends when the client has left
	deadline time.Time       // the client does not wait longer; a context with it would cost more
	done     chan *answer    // holds one answer, so that giving it never blocks
	span     trace.Span      // nil: it is not traced

	waiting bool // in the queue and not dropped; guarded by the queue
	sent    bool // an insert of it may have been committed; this and held change in a flush only
	held    bool // another transaction kept its wallet locked
}

func (r *request) bytes() int { return operationBytes + len(r.reference) }

// givenUp is the answer to a request whose client does not wait any longer.
func (r *request) givenUp() error {
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

// limits bound what a queue holds. One wallet may have half of the operations, so that a wallet
// which cannot be locked leaves room for the others.
type limits struct {
	operations int
	bytes      int
	flush      int // operations of one flush
}

// queue holds the requests that are not answered: those that wait for a flush, in order of arrival,
// and those of the flush under way. It does no I/O.
type queue struct {
	limits limits
	some   chan struct{} // signals that requests wait

	mu         sync.Mutex
	waiting    []*request // with those that were dropped, until the next flush comes by
	operations int
	bytes      int
	wallets    map[uuid.UUID]share
	crowded    bool // a request came while another one was not answered
}

// share is one wallet's part of a queue.
type share struct {
	operations int
	held       bool // as its requests were, when they came back from a flush
}

func newQueue(limits limits) *queue {
	return &queue{limits: limits, some: make(chan struct{}, 1), wallets: map[uuid.UUID]share{}}
}

// push appends the requests. If there is no room for all of them it takes none and reports false.
func (q *queue) push(requests ...*request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	crowded := q.crowded || q.operations > 0
	for i, r := range requests {
		q.count(r, 1)
		if q.operations > q.limits.operations || q.bytes > q.limits.bytes || q.wallets[r.walletID].operations > (q.limits.operations+1)/2 {
			for _, r := range requests[:i+1] {
				q.count(r, -1)
			}
			return false
		}
	}
	q.crowded = crowded
	for _, r := range requests {
		r.waiting = true
	}
	q.waiting = append(q.waiting, requests...)
	q.signal()
	return true
}

// pause is how long the next flush is to wait. Under concurrency flushes start an interval apart, so
// that each gathers more: starting at once costs half as much again at 1,000 operations a second.
// A client that is alone is never delayed.
func (q *queue) pause(sinceLast, interval time.Duration, lastSize int) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	alone := lastSize <= 1 && !q.crowded
	if alone || len(q.waiting) >= q.limits.flush {
		return 0
	}
	return max(0, interval-sinceLast)
}

// take returns the requests of the next flush, and whether a wallet among them is held. Requests of
// held wallets fill at most half of it, so that the others go on. While more wait than it can take, one
// wallet gets a quarter of it at most, so that a flood on one passes the others by.
func (q *queue) take() (requests []*request, held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	heldLeft := (q.limits.flush + 1) / 2
	ofAWallet, taken := q.limits.flush, map[uuid.UUID]int(nil)
	if len(q.waiting) > q.limits.flush && len(q.wallets) > 1 {
		ofAWallet, taken = (q.limits.flush+3)/4, map[uuid.UUID]int{}
	}
	rest := q.waiting[:0]
	for _, r := range q.waiting {
		isHeld := q.wallets[r.walletID].held
		switch {
		case !r.waiting: // dropped
		case len(requests) == q.limits.flush || isHeld && heldLeft == 0 || taken[r.walletID] == ofAWallet:
			rest = append(rest, r)
		default:
			if taken != nil {
				taken[r.walletID]++
			}
			if isHeld {
				heldLeft--
				held = true
			}
			r.waiting = false
			requests = append(requests, r)
		}
	}
	clear(q.waiting[len(rest):])
	q.waiting = rest
	q.crowded = len(rest) > 0
	q.signal()
	return requests, held
}

// putBack returns requests of the flush under way to the front, in their order. Those whose client
// does not wait any longer leave the queue and are returned.
func (q *queue) putBack(requests []*request) (late []*request) {
	if len(requests) == 0 {
		return nil
	}
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	front := make([]*request, 0, len(requests)+len(q.waiting))
	for _, r := range requests {
		q.wallets[r.walletID] = share{q.wallets[r.walletID].operations, r.held}
		if r.waiting = r.ctx.Err() == nil && now.Before(r.deadline); r.waiting {
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

// drop takes a request out whose client does not wait any longer. It reports false if the request is
// part of the flush under way: the end of that decides.
func (q *queue) drop(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !r.waiting {
		return false
	}
	r.waiting = false
	q.count(r, -1)
	return true
}

// finish makes the room of answered requests free. Their wallets are not held.
func (q *queue) finish(requests []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range requests {
		q.wallets[r.walletID] = share{q.wallets[r.walletID].operations, false}
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
	s := q.wallets[r.walletID]
	if s.operations += n; s.operations == 0 {
		delete(q.wallets, r.walletID)
	} else {
		q.wallets[r.walletID] = s
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
