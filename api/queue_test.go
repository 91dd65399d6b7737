package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/service"
)

func waitingRequest(ctx context.Context, walletID uuid.UUID) *request {
	return &request{tenant: allTenants, walletID: walletID, id: uuid.New(), kind: "DEPOSIT", amount: 1, ctx: ctx, deadline: time.Now().Add(time.Minute), done: make(chan *answer, 1)}
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
	requests := q.take(nil)
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
	taken := q.take(nil)
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
	taken := q.take(nil)
	gone, leave := context.WithCancel(t.Context())
	leave()
	taken[1].ctx = gone
	late := q.putBack(taken)
	if len(late) != 1 || late[0] != r[1] || q.depth() != 3 {
		t.Errorf("a request whose client had left is not returned: %v, depth %d", late, q.depth())
	}
	taken = q.take(nil)
	if len(taken) != 2 || taken[0] != r[0] || taken[1] != r[2] {
		t.Error("the order has changed")
	}
}

func TestLockedWalletsLeaveHalfOfAFlushToOthers(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 9})
	stuck := [][]*request{fill(t, q, uuid.New(), 3), fill(t, q, uuid.New(), 3), fill(t, q, uuid.New(), 3)}
	taken := q.take(nil)
	locked := map[walletRef]bool{{allTenants, uuid.New()}: true} // without requests any more
	for _, r := range taken {
		locked[r.wallet()] = true
	}
	fill(t, q, stuck[0][0].walletID, 3) // a new request of the wallet counts like the others
	q.putBack(taken)
	others := append(fill(t, q, uuid.New(), 3), fill(t, q, uuid.New(), 3)...)
	taken = q.take(locked)
	want := append(slices.Concat(stuck[0], stuck[1][:2]), others[:4]...)
	if !slices.Equal(taken, want) {
		t.Errorf("%d taken", len(taken))
	}
	if len(locked) != 3 {
		t.Errorf("%d wallets count as locked, want the 3 that have requests", len(locked))
	}
}

func TestAFlusherKnowsWhichWalletsAreLocked(t *testing.T) {
	t.Parallel()
	f := &flusher{
		queue: newQueue(limits{operations: 10, bytes: 1 << 20, flush: 10}), report: func(error) {},
		repeats: service.NewRepeats(slog.New(slog.DiscardHandler)),
	}
	one, two := uuid.New(), uuid.New()
	requests := append(fill(t, f.queue, one, 3), fill(t, f.queue, two, 2)...)
	if f.mode(requests).skipLocked {
		t.Error("locked wallets are skipped before one was seen")
	}
	f.queue.take(f.locked)
	locked, accepted := answer{err: errLocked}, answer{}
	back := f.deliver(requests, []answer{locked, accepted, locked, accepted, locked}) // some were accepted before
	if !slices.Equal(back, []*request{requests[0], requests[2], requests[4]}) {
		t.Errorf("%d requests came back", len(back))
	}
	if !f.mode(requests[:1]).skipLocked || !f.mode(requests[4:]).skipLocked {
		t.Error("a flush would wait again for a wallet that is locked")
	}
	f.deliver(requests[:1], []answer{accepted})
	f.failed(t.Context(), requests[4:], true, errors.New("no answer"))
	if f.mode(requests).skipLocked {
		t.Error("wallets are still skipped after one request of each went through or failed")
	}
}

func TestAFloodOnOneWalletPassesOthersBy(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 8})
	flood := fill(t, q, uuid.New(), 12)
	if taken := q.take(nil); !slices.Equal(taken, flood[:8]) {
		t.Errorf("%d of 12 requests taken although nobody else waits", len(taken))
	}
	flood = append(flood[8:], fill(t, q, flood[0].walletID, 8)...)
	others := append(fill(t, q, uuid.New(), 1), fill(t, q, uuid.New(), 3)...)
	if taken := q.take(nil); !slices.Equal(taken, append(slices.Clone(flood[:2]), others[:3]...)) {
		t.Errorf("%d taken", len(taken))
	}
	if taken := q.take(nil); !slices.Equal(taken, append(slices.Clone(flood[2:4]), others[3])) {
		t.Errorf("%d taken then", len(taken))
	}
}

func TestFlushesAreSpacedUnlessAClientIsAlone(t *testing.T) {
	t.Parallel()
	const interval = 5 * time.Millisecond
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 10})
	check := func(when string, sinceLast time.Duration, lastSize int, least, more time.Duration) {
		t.Helper()
		if gotLeast, gotMore := q.pause(sinceLast, interval, lastSize); gotLeast != least || gotMore != more {
			t.Errorf("%s: pause = %v and %v, want %v and %v", when, gotLeast, gotMore, least, more)
		}
	}
	one := fill(t, q, uuid.New(), 1)
	check("alone", time.Millisecond, 1, 0, 0)
	check("alone after a crowd", time.Millisecond, 2, 4*time.Millisecond, interval)
	check("later", 7*time.Millisecond, 2, 0, 3*time.Millisecond)
	check("long after a crowd", time.Second, 2, 0, 0)
	q.take(nil)
	q.finish(one)
	q.putBack(nil)
	one = fill(t, q, uuid.New(), 1)
	check("alone again", time.Millisecond, 1, 0, 0)
	q.take(nil)
	fill(t, q, uuid.New(), 1) // while the other is not answered
	check("two clients", time.Millisecond, 1, 4*time.Millisecond, interval)
	q.finish(one)
	fill(t, q, uuid.New(), 9)
	check("a whole flush waits", time.Millisecond, 5, 0, 0)
}

func TestAFlushWaitsUntilEnoughRequestsAreThere(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{operations: 100, bytes: 1 << 20, flush: 10})
	awaits := func(requests int, d time.Duration) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.await(requests, d)
		}()
		return done
	}
	<-awaits(3, time.Millisecond) // which is over
	fill(t, q, uuid.New(), 1)
	enough := awaits(3, time.Hour)
	time.Sleep(20 * time.Millisecond)
	fill(t, q, uuid.New(), 1)
	select {
	case <-enough:
		t.Fatal("2 requests are enough, want 3")
	case <-time.After(20 * time.Millisecond):
	}
	fill(t, q, uuid.New(), 2)
	<-enough
	<-awaits(3, time.Hour) // which are there
}
