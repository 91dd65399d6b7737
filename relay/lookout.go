package main

import (
	"context"
	"sync"
	"time"
)

// lookout lets the relay of the events sleep: that of the operations, which looks at the outbox all the time, wakes it.
// So two lanes look no more often than one. It is only a hint: a wake that is missing costs idlePoll.
type lookout struct {
	woken chan struct{}
	wait  func(ctx context.Context, d time.Duration) (woken bool) // before d is over

	mu     sync.Mutex
	looked time.Time // when the relay of the operations last did
}

func newLookout() *lookout {
	l := &lookout{woken: make(chan struct{}, 1)}
	l.wait = l.waitForRows
	return l
}

// saw notes that the relay of the operations has looked, and whether it saw rows of another lane.
func (l *lookout) saw(now time.Time, foreign bool) {
	l.mu.Lock()
	l.looked = now
	l.mu.Unlock()
	if foreign {
		select {
		case l.woken <- struct{}{}:
		default:
		}
	}
}

// sees reports whether the relay of the operations looks: rows that it did not see until now are none.
func (l *lookout) sees(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.looked) < 2*idlePoll
}

func (l *lookout) waitForRows(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-l.woken:
		return true
	case <-ctx.Done():
		return false
	}
}
