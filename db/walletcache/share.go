package walletcache

import (
	"sync"

	"github.com/google/uuid"
)

// readings are those of a process that are under way. Callers that come while a wallet is being read share its next
// reading, which begins after they came: each gets a state of after its call, and a wallet that thousands read costs
// one reading at a time.
type readings struct {
	mu sync.Mutex
	of map[uuid.UUID]*reading
}

type reading struct {
	next *reading // has not begun; nil: nobody waits for it
	done chan struct{}

	wallet Entry
	ticket Ticket
	found  bool
}

// join returns the reading that a caller gets, and whether the caller has to read.
func (rs *readings) join(id uuid.UUID) (r *reading, first bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	now := rs.of[id]
	if now == nil {
		if rs.of == nil {
			rs.of = map[uuid.UUID]*reading{}
		}
		r = &reading{done: make(chan struct{})}
		rs.of[id] = r
		return r, true
	}
	if now.next == nil {
		now.next = &reading{done: make(chan struct{})}
	}
	return now.next, false
}

// end lets go whoever waits for a reading, and returns the next one, if somebody waits for that.
func (rs *readings) end(id uuid.UUID, r *reading) (next *reading) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r.next == nil {
		delete(rs.of, id)
	} else {
		rs.of[id] = r.next
	}
	close(r.done)
	return r.next
}
