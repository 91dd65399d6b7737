package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	// lockWait is how long a flush waits for a wallet that another transaction has locked, before it goes
	// on without that wallet.
	lockWait = 100 * time.Millisecond

	// flushTimeout bounds each round trip of a flush. After it the flusher abandons the connection, but
	// goes on waiting for a COMMIT that waits for a standby.
	flushTimeout = 5 * time.Second

	// flushGrace is how long a client waits beyond its time for a request that is part of a flush.
	flushGrace = time.Second

	// lookupPeriod is how long flushes look for known operations after a request came again.
	lookupPeriod = time.Second

	// retryPause is the pause after an error that no request has caused.
	retryPause = 100 * time.Millisecond

	// largeFlush is so many requests that more would hardly make them cheaper.
	largeFlush = 32

	// For longer than relayRests after it has published, the relay polls often: it soon finds what is accepted
	// within relayRests of an earlier flush. After a longer pause the flusher wakes the relay.
	relayRests = 500 * time.Millisecond
)

// errOverloaded means that nothing was accepted, and that the same request may be accepted later.
var errOverloaded = errors.New("not accepted in time")

// flusher accepts operations by group commit: one transaction, a flush, for all requests that came while
// the one before ran.
//
// There is one flush at a time, of two round trips. The first locks the wallets' rows of
// wallet_sequences, which are each wallet's queue among any number of api processes; the second inserts
// and commits. If the process dies before the commit, nothing was accepted and nobody was answered;
// after it, the operations are accepted, and clients who retry with their idempotency key find them.
type flusher struct {
	queue    *queue
	commits  *db.Commits
	config   *pgx.ConnConfig
	topic    string
	interval time.Duration
	observe  func(size int, took time.Duration)
	tracer   *tracer
	wake     func()           // lets the relay look at the outbox now
	report   func(error)      // sets why nothing can be accepted, or with nil that it can
	repeats  *service.Repeats // what may come with every operation

	conn        *pgx.Conn // nil: connect first
	lookupUntil time.Time
	locked      map[walletRef]bool // wallets with requests that another transaction had locked when last tried
	failing     bool               // report has the error
}

// run flushes until ctx ends. Waiting requests then end by their own contexts.
func (f *flusher) run(ctx context.Context) {
	defer f.disconnect()
	var started time.Time
	var size, lately int // requests of the last flush, and of the largest one of late
	for f.ready(ctx) {
		least, more := f.queue.pause(time.Since(started), f.interval, size)
		time.Sleep(least)
		f.queue.await(min(lately, largeFlush), more) // as many as came lately may be all that come
		requests := f.queue.take(f.locked)
		if len(requests) == 0 {
			continue
		}
		rested := time.Since(started) > relayRests
		started, size = time.Now(), len(requests)
		lately = max(size, lately*7/8)
		span := f.tracer.flush(requests)
		back := f.flush(ctx, requests)
		if rested {
			f.wake()
		}
		flushed(span)
		f.observe(size, time.Since(started))
		for _, r := range f.queue.putBack(back) {
			r.done <- &answer{err: r.abandoned()}
		}
	}
}

// ready returns true when requests wait and a flush for them may start, false when ctx ends. Until then
// the requests are in the queue, where each can end by its own time.
func (f *flusher) ready(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-f.queue.some:
	}
	for {
		if f.commits.Await(ctx) != nil {
			return false
		}
		err := f.connect(ctx)
		if err == nil {
			return true
		}
		f.failed(ctx, nil, false, err)
	}
}

// mode is how an attempt at a flush reads.
type mode struct {
	// lookup finds operations that were accepted before. Without it their insert fails. It costs
	// nearly a third of a flush, so it is left out until an insert has failed.
	lookup bool
	// skipLocked skips wallets that another transaction has locked, instead of waiting lockWait.
	skipLocked bool
}

// mode is how the first attempt at these requests reads.
func (f *flusher) mode(requests []*request) mode {
	return mode{
		lookup:     time.Now().Before(f.lookupUntil),
		skipLocked: slices.ContainsFunc(requests, func(r *request) bool { return f.locked[r.wallet()] }),
	}
}

// flush answers requests, and returns, in order, those that are to be tried again. It begins with one
// part, all requests, and bisects a part that the database refuses. A wallet's later request must not go
// first: so nothing is tried after a part that leaves requests behind.
func (f *flusher) flush(ctx context.Context, requests []*request) (back []*request) {
	m := f.mode(requests)
	for parts := [][]*request{requests}; len(parts) > 0; {
		part := parts[0]
		answers, sent, err := f.attempt(ctx, part, m)
		next := afterError(err, sent, m, len(part))
		switch next {
		case lookFirst:
			m.lookup = true
			continue
		case retryWithLookup:
			m.lookup = true
			f.lookupUntil = time.Now().Add(lookupPeriod)
			continue
		case retrySkipLocked:
			m.skipLocked = true
			continue
		case bisect:
			half := len(part) / 2
			parts = append([][]*request{part[:half], part[half:]}, parts[1:]...)
			continue
		case deliver:
			back = f.deliver(part, answers)
		case refuse:
			f.repeats.Log(slog.LevelError, "operation cannot be stored", "operation", part[0].id, "error", err)
			back = f.deliver(part, []answer{{err: err}})
		case retryLater, retryLaterUnknown:
			f.failed(ctx, part, next == retryLaterUnknown, err)
			back = part
		}
		if parts = parts[1:]; len(back) > 0 {
			return slices.Concat(append([][]*request{back}, parts...)...)
		}
	}
	return nil
}

// step is what a flush does after an attempt.
type step int

const (
	deliver           step = iota // it is committed: answer
	retryWithLookup               // look known operations up this time, and for a while
	lookFirst                     // look them up this time
	retrySkipLocked               // skip wallets that another transaction has locked
	bisect                        // try each half, to find the request that the database refuses
	refuse                        // this one request is it
	retryLater                    // nothing is committed, and no request is the cause
	retryLaterUnknown             // the same, but it may be committed
)

// afterError decides. An ERROR from Postgres proves that the transaction is aborted; after any other
// error a commit that was sent may have happened. Errors that come from what a request says, or from
// the pages that it touches, must not stop the others.
func afterError(err error, sent bool, m mode, size int) step {
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return deliver
	case errors.Is(err, errLookFirst):
		return lookFirst
	case !errors.As(err, &refused) || refused.SeverityUnlocalized != "ERROR":
		if sent {
			return retryLaterUnknown
		}
		return retryLater
	case refused.Code == "55P03" && !m.skipLocked:
		return retrySkipLocked
	case refused.Code == "23505" && refused.ConstraintName == "operations_id" && !m.lookup:
		return retryWithLookup
	}
	switch class := refused.Code[:min(2, len(refused.Code))]; {
	case slices.Contains([]string{"22", "23", "54", "XX"}, class), // data, constraint, program limit, damage
		refused.Code == "42501": // a policy
		if size > 1 {
			return bisect
		}
		return refuse
	}
	return retryLater
}

// deliver answers requests, and returns those whose wallets are locked, without an answer.
func (f *flusher) deliver(requests []*request, answers []answer) (locked []*request) {
	if f.failing {
		f.failing = false
		f.report(nil)
	}
	answered := make([]*request, 0, len(requests))
	for i, r := range requests {
		if errors.Is(answers[i].err, errLocked) {
			locked = append(locked, r)
		} else {
			answered = append(answered, r)
			delete(f.locked, r.wallet())
		}
	}
	f.noteLocked(locked)     // after the above: a known operation is answered although its wallet is locked
	f.queue.finish(answered) // before the answers: a client that is alone sends its next one at once
	for i, r := range requests {
		if !errors.Is(answers[i].err, errLocked) {
			r.done <- &answers[i]
		}
	}
	return locked
}

// noteLocked remembers and logs the wallets of requests that wait for another transaction to end.
func (f *flusher) noteLocked(requests []*request) {
	for _, r := range requests {
		if f.locked == nil {
			f.locked = map[walletRef]bool{}
		}
		f.locked[r.wallet()] = true
		f.repeats.Log(slog.LevelWarn, "wallet is locked by another transaction, its operations wait", "wallet", r.walletID)
	}
}

// failed reports an error that no request has caused.
func (f *flusher) failed(ctx context.Context, requests []*request, unknown bool, err error) {
	f.failing = true
	f.report(err)
	for _, r := range requests {
		delete(f.locked, r.wallet())
		r.sent = r.sent || unknown
	}
	if unknown {
		return // again at once: clients wait for what may be accepted already
	}
	service.Sleep(ctx, retryPause)
}

// connect makes sure that there is a connection.
func (f *flusher) connect(ctx context.Context) (err error) {
	if f.conn == nil {
		f.conn, err = db.Connect(ctx, f.config)
	}
	return err
}

// rollback ends a failed transaction, if need be with its connection.
func (f *flusher) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if f.conn != nil && (f.conn.IsClosed() || walletdb.New(f.conn).Rollback(ctx) != nil) {
		f.disconnect()
	}
}

func (f *flusher) disconnect() {
	if f.conn != nil {
		db.Disconnect(f.conn)
		f.conn = nil
	}
}
