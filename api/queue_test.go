package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

func waitingRequest(ctx context.Context, walletID uuid.UUID) *request {
	return &request{walletID: walletID, id: uuid.New(), kind: "DEPOSIT", amount: 1, ctx: ctx, deadline: time.Now().Add(time.Minute), done: make(chan *answer, 1)}
}

func fill(t *testing.T, q *queue, walletID uuid.UUID, n int) []*request {
	t.Helper()
	var requests []*request
	for range n {
		r := waitingRequest(t.Context(), walletID)
		if !q.push(r) {
			t.Fatal("no room")
		}
		requests = append(requests, r)
	}
	return requests
}

func TestOneWalletHasHalfOfTheQueueAndOthersTheRest(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 10, bytes: 1 << 20, flush: 10})
	hot := uuid.New()
	fill(t, q, hot, 5)
	if q.push(waitingRequest(t.Context(), hot)) {
		t.Error("the wallet has more than half")
	}
	fill(t, q, uuid.New(), 5)
	if q.push(waitingRequest(t.Context(), uuid.New())) {
		t.Error("the queue has more than its limit")
	}
	if q.depth() != 10 {
		t.Errorf("depth = %d after refusals, want 10", q.depth())
	}
}

func TestBytesAreBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 10, bytes: 2*operationBytes + 1, flush: 10})
	fill(t, q, uuid.New(), 1)
	r := waitingRequest(t.Context(), uuid.New())
	r.reference = "xx"
	if q.push(r) {
		t.Error("two bytes fit where one was left")
	}
	r.reference = "x"
	if !q.push(r) {
		t.Error("one byte does not fit where one was left")
	}
}

func TestRequestsComeInTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 10, bytes: 1 << 20, flush: 10})
	var batch []*request
	for range 6 {
		batch = append(batch, waitingRequest(t.Context(), uuid.Nil))
	}
	if q.push(batch...) || q.depth() != 0 || len(q.wallets) != 0 {
		t.Errorf("a batch of which one does not fit left %d in the queue", q.depth())
	}
	if !q.push(batch[:5]...) {
		t.Error("no room after a batch was refused")
	}
}

func TestWhatIsUnderWayCountsUntilItIsAnswered(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 2, bytes: 1 << 20, flush: 10})
	fill(t, q, uuid.New(), 1)
	fill(t, q, uuid.New(), 1)
	requests, _ := q.take()
	if q.push(waitingRequest(t.Context(), uuid.New())) {
		t.Error("there was room while a flush was under way")
	}
	q.finish(requests)
	fill(t, q, uuid.New(), 1)
}

func TestARequestIsDroppedBeforeItsFlushAndNotAfter(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 10, bytes: 1 << 20, flush: 10})
	r := fill(t, q, uuid.New(), 2)
	if !q.drop(r[0]) || q.drop(r[0]) {
		t.Error("a waiting request can be dropped once")
	}
	taken, _ := q.take()
	if len(taken) != 1 || taken[0] != r[1] || q.drop(r[1]) {
		t.Errorf("took %d, and dropped what was taken", len(taken))
	}
	q.finish(taken)
	if q.depth() != 0 || len(q.wallets) != 0 || q.bytes != 0 {
		t.Errorf("left over: %d operations, %d wallets, %d bytes", q.depth(), len(q.wallets), q.bytes)
	}
}

func TestRequestsComeBackInFrontAndInOrder(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 10, bytes: 1 << 20, flush: 2})
	walletID := uuid.New()
	r := fill(t, q, walletID, 4)
	taken, _ := q.take()
	gone, leave := context.WithCancel(t.Context())
	leave()
	taken[1].ctx = gone
	late := q.putBack(taken)
	if len(late) != 1 || late[0] != r[1] || q.depth() != 3 {
		t.Errorf("a request whose client had left is not returned: %v, depth %d", late, q.depth())
	}
	taken, _ = q.take()
	if len(taken) != 2 || taken[0] != r[0] || taken[1] != r[2] {
		t.Error("the order has changed")
	}
}

func TestHeldWalletsLeaveHalfOfAFlushToOthers(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 9})
	stuck := [][]*request{fill(t, q, uuid.New(), 3), fill(t, q, uuid.New(), 3), fill(t, q, uuid.New(), 3)}
	taken, held := q.take()
	if held {
		t.Error("held before anything was seen")
	}
	for _, r := range taken {
		r.held = true
	}
	fill(t, q, stuck[0][0].walletID, 3) // a new request of the wallet is held like the others
	q.putBack(taken)
	others := append(fill(t, q, uuid.New(), 3), fill(t, q, uuid.New(), 3)...)
	taken, held = q.take()
	want := append(slices.Concat(stuck[0], stuck[1][:2]), others[:4]...)
	if !held || !slices.Equal(taken, want) {
		t.Errorf("held = %v, %d taken", held, len(taken))
	}
	q.finish(slices.Concat(stuck[0][:1], stuck[1][:1])) // their locks were free
	if _, held = q.take(); !held {
		t.Error("the third wallet is not held any more")
	}
	q.finish(stuck[2][:1])
	if _, held = q.take(); held {
		t.Error("held after one request of each wallet went through")
	}
}

func TestAFloodOnOneWalletPassesOthersBy(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 8})
	flood := fill(t, q, uuid.New(), 12)
	if taken, _ := q.take(); !slices.Equal(taken, flood[:8]) {
		t.Errorf("%d of 12 requests taken although nobody else waits", len(taken))
	}
	flood = append(flood[8:], fill(t, q, flood[0].walletID, 8)...)
	others := append(fill(t, q, uuid.New(), 1), fill(t, q, uuid.New(), 3)...)
	if taken, _ := q.take(); !slices.Equal(taken, append(slices.Clone(flood[:2]), others[:3]...)) {
		t.Errorf("%d taken", len(taken))
	}
	if taken, _ := q.take(); !slices.Equal(taken, append(slices.Clone(flood[2:4]), others[3])) {
		t.Errorf("%d taken then", len(taken))
	}
}

func TestFlushesAreSpacedUnlessAClientIsAlone(t *testing.T) {
	t.Parallel()
	const interval = 5 * time.Millisecond
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 10})
	check := func(when string, sinceLast time.Duration, lastSize int, want time.Duration) {
		t.Helper()
		if got := q.pause(sinceLast, interval, lastSize); got != want {
			t.Errorf("%s: pause = %v, want %v", when, got, want)
		}
	}
	one := fill(t, q, uuid.New(), 1)
	check("alone", time.Millisecond, 1, 0)
	check("alone after a crowd", time.Millisecond, 2, 4*time.Millisecond)
	check("long after a crowd", time.Second, 2, 0)
	q.take()
	q.finish(one)
	q.putBack(nil)
	one = fill(t, q, uuid.New(), 1)
	check("alone again", time.Millisecond, 1, 0)
	q.take()
	fill(t, q, uuid.New(), 1) // while the other is not answered
	check("two clients", time.Millisecond, 1, 4*time.Millisecond)
	q.finish(one)
	fill(t, q, uuid.New(), 9)
	check("a whole flush waits", time.Millisecond, 5, 0)
}
