package main

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// serve does what is asked for, in the order in which it was asked, until something takes time.
func (e *endpoint) serve(ctx context.Context, now time.Time) {
	for len(e.requests) > 0 && !e.busy && e.quiet == nil {
		r := e.requests[0]
		switch r.Kind {
		case hook.Enable:
			e.queue.enable()
			e.disabledAt = time.Time{}
		case hook.Disable:
			e.queue.disable(byRequest)
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
		e.whenQuiet(func() {
			e.queue.replay(offsets)
			if since.Before(e.filter.since) {
				e.filter.since = since
			}
			e.nextTerm = e.term + 1
			e.doneWith(request)
			e.logger.Info("an endpoint is replayed", "endpoint", e.id, "since", since)
		})
	})
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
