package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Four rules give every wallet's messages their order, without fencing one relay off from another.
// Any number of relays, forgotten ones included, can then only add duplicates:
//
//	R1  A window is what became visible between two snapshots, and is published in id order. Ids are
//	    taken under the wallet's lock, so a window holds no row of a wallet without its earlier ones.
//	R2  One wave at a time. After any error the producer is dropped, and the rows are read again from
//	    the saved position: nothing is skipped, nothing is sent on behind a gap.
//	R3  A position is saved only after Kafka has acknowledged everything before it.
//	R4  A key's partition follows from the registered partition count, which never changes.

// limits bound the memory of a wave, and what is sent twice after an error.
type limits struct {
	rows      int
	bytes     int   // of payloads
	pageWidth int64 // ids that one page of a large window covers
}

var waveLimits = limits{rows: 5000, bytes: 8 << 20, pageWidth: 2000}

const (
	saveInterval    = 100 * time.Millisecond
	controlInterval = time.Second
	minPause        = 2 * time.Millisecond
	// A relay that has found nothing for quiet polls every quietPoll, unless it is woken. An api wakes it
	// for the first operation in a while that is shorter: the rows of others follow soon enough to be found.
	quiet      = time.Second
	quietPoll  = 250 * time.Millisecond
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
	// drain is how long a wave under way may still take once the relay is told to end.
	drain = 2 * time.Second
)

// A position is how far the relay has published: everything visible in prev and, if cur is set, of
// the window between prev and cur the rows up to id after. last is the window's last id.
type position struct {
	prev, cur   string
	after, last int64
}

type row = walletdb.RelayPageRow

// A message is a row with the partition that its key belongs to.
type message struct {
	row
	partition  int32
	partitions int32      // registered of its topic
	span       trace.Span // nil: it is not traced
}

// outbox is what the relay needs of Postgres, on one connection. A connection that breaks ends the
// session: the next may reach a server that has forgotten the last transactions, and with them what
// a position in memory stands for.
type outbox interface {
	position(ctx context.Context) (position, error)
	save(ctx context.Context, p position) error
	topics(ctx context.Context) (map[string]int32, error)
	controls(ctx context.Context) (controls, error)
	// window returns the rows visible now and not in prev, in id order, with the present snapshot. More
	// than maxRows rows may not be all, nor the first ones.
	window(ctx context.Context, prev string, maxRows int) (rows []row, cur string, err error)
	// extent returns the first and last id between two snapshots.
	extent(ctx context.Context, prev, cur string) (first, last int64, err error)
	// page returns the rows of the window of p whose ids are in (p.after, upTo], in id order.
	page(ctx context.Context, p position, upTo int64) ([]row, error)
	// await returns after d, or as soon as an api announces rows that the last window may not have had.
	await(ctx context.Context, d time.Duration) error
	close()
}

// producer is what the relay needs of Kafka. After an error it is only closed.
type producer interface {
	// publish returns nil once every message is acknowledged.
	publish(ctx context.Context, messages []message) error
	close()
}

// controls are what operators told the relay.
type controls struct {
	paused bool
	parked map[int64]bool // rows to pass over
}

// rejectedError is Kafka's refusal of a message that will be the same on every try.
type rejectedError struct{ err error }

func (e *rejectedError) Error() string { return e.err.Error() }
func (e *rejectedError) Unwrap() error { return e.err }

// A stoppedError is one that only an operator can end. The relay keeps trying, so that it goes on by
// itself after that.
type stoppedError struct{ text string }

func (e *stoppedError) Error() string { return e.text }

func stoppedAt(id int64, reason string) error {
	return &stoppedError{fmt.Sprintf("publishing has stopped at outbox row %d: %s; or pass over this row: ctl relay park %d --reason ...", id, reason, id)}
}

// relay moves rows from the outbox to Kafka.
type relay struct {
	openOutbox   func(context.Context) (outbox, error)
	openProducer func() (producer, error)
	limits       limits
	interval     time.Duration // between the starts of two waves, unless rows are known to wait; an idle relay looks twice as often
	waveTimeout  time.Duration
	now          func() time.Time
	sleep        func(context.Context, time.Duration)
	status       *status
	tracer       *tracer

	limit    int // most rows of the next wave: fewer after an error
	failures int // since the last step that succeeded
}

// lead publishes until ctx ends. Every error has the same answer: a new session, which begins as the
// first one did.
func (r *relay) lead(ctx context.Context) {
	r.status.lead(true)
	defer r.status.lead(false)
	r.limit = r.limits.rows
	for ctx.Err() == nil {
		err := r.session(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		r.status.failed(err)
		backoff := min(minBackoff<<min(r.failures, 10), maxBackoff)
		r.failures++
		r.sleep(ctx, backoff)
	}
}

// A session is one connection to Postgres and one producer, used until the first error.
type session struct {
	*relay
	outbox   outbox
	producer producer
	at       position // everything before it is acknowledged
	saved    position
	savedAt  time.Time

	controls   controls
	controlsAt time.Time
	partitions map[string]int32
}

func (r *relay) session(ctx context.Context) error {
	work, cancel := linger(ctx, drain)
	defer cancel()
	outbox, err := r.openOutbox(work)
	if err != nil {
		return err
	}
	defer outbox.close()
	s := session{relay: r, outbox: outbox}
	if s.at, err = outbox.position(work); err != nil {
		return err
	}
	s.saved = s.at
	if s.partitions, err = outbox.topics(work); err != nil {
		return err
	}
	if s.producer, err = r.openProducer(); err != nil {
		return err
	}
	defer s.producer.close()
	err = s.loop(ctx, work)
	// What is acknowledged is saved whatever ended the session; if that fails, it is sent once more.
	return errors.Join(err, s.save(work))
}

// loop ends between two steps when ctx ends; work goes on a little longer.
func (s *session) loop(ctx, work context.Context) error {
	pause, busy := minPause, s.now()
	for ctx.Err() == nil {
		started := s.now()
		if err := s.readControls(work, started); err != nil {
			return err
		}
		if s.controls.paused {
			s.status.stepped(0, true)
			s.sleep(ctx, controlInterval)
			continue
		}
		published, more, err := s.step(work)
		if err != nil {
			return err
		}
		s.failures = 0
		s.status.stepped(published, false)
		if s.now().Sub(s.savedAt) >= saveInterval {
			if err := s.save(work); err != nil {
				return err
			}
		}
		switch {
		case more:
		case published > 0: // Waves are spaced out: each costs everyone down to the worker about the same.
			pause, busy = minPause, started
			s.sleep(ctx, s.interval-s.now().Sub(started))
		case started.Sub(busy) >= quiet:
			if err := s.outbox.await(ctx, quietPoll); err != nil && ctx.Err() == nil {
				return err
			}
		default:
			s.sleep(ctx, pause)
			pause = min(2*pause, s.interval/2)
		}
	}
	return nil
}

// step publishes the next wave and moves the position past it. It reports how many messages that
// were, and whether more rows are known to wait.
func (s *session) step(ctx context.Context) (published int, more bool, err error) {
	reading := s.now()
	rows, window, upTo, err := s.read(ctx)
	if err != nil || window.cur == "" {
		return 0, false, err
	}
	s.status.took("read", s.now().Sub(reading))
	failpoint.Reach("relay-after-read")
	messages, taken, err := s.wave(ctx, rows)
	if err != nil {
		return 0, false, err
	}
	if len(messages) > 0 {
		if err := s.publish(ctx, messages); err != nil {
			return 0, false, err
		}
	}
	failpoint.Reach("relay-after-acks")
	s.at = window.past(rows, taken, upTo)
	return len(messages), s.at.cur != "", nil
}

// read returns the next rows to publish, in id order; the window they belong to, if there is one;
// and the id up to which they are all of it.
func (s *session) read(ctx context.Context) (rows []row, window position, upTo int64, err error) {
	window = s.at
	if window.cur == "" {
		rows, cur, err := s.outbox.window(ctx, window.prev, s.limits.rows)
		if err != nil || len(rows) == 0 {
			return nil, window, 0, err
		}
		first, last := rows[0].ID, rows[len(rows)-1].ID
		if len(rows) <= s.limits.rows {
			return rows, position{window.prev, cur, first - 1, last}, last, nil
		}
		if first, last, err = s.outbox.extent(ctx, window.prev, cur); err != nil {
			return nil, window, 0, err
		}
		window = position{window.prev, cur, first - 1, last}
	}
	upTo = min(window.last, window.after+s.limits.pageWidth)
	rows, err = s.outbox.page(ctx, window, upTo)
	return rows, window, upTo, err
}

// past returns the position after the first taken of rows, which are all of the window p up to upTo.
func (p position) past(rows []row, taken int, upTo int64) position {
	switch {
	case taken < len(rows):
		p.after = rows[taken-1].ID
	case upTo < p.last:
		p.after = upTo
	default:
		return position{prev: p.cur}
	}
	return p
}

// wave makes messages of the first rows, as many as a wave may have, and returns how many rows that
// are. Parked ones are passed over. A row whose topic is not registered has no partition: it begins
// a wave of its own, which cannot be sent.
func (s *session) wave(ctx context.Context, rows []row) (messages []message, taken int, err error) {
	messages = make([]message, 0, min(len(rows), s.limit))
	bytes := 0
	for taken = range rows {
		r := rows[taken]
		if s.controls.parked[r.ID] {
			continue
		}
		bytes += len(r.Payload)
		partitions := s.partitions[r.Topic]
		if taken == 0 && partitions == 0 {
			if s.partitions, err = s.outbox.topics(ctx); err != nil {
				return nil, 0, err
			}
			if partitions = s.partitions[r.Topic]; partitions == 0 {
				return nil, 0, stoppedAt(r.ID, fmt.Sprintf("topic %q is not registered: ctl topic create %s --partitions N", r.Topic, r.Topic))
			}
		}
		if partitions == 0 || taken == s.limit || taken > 0 && bytes > s.limits.bytes {
			return messages, taken, nil
		}
		messages = append(messages, message{row: r, partition: partition(r.Key, partitions), partitions: partitions})
	}
	return messages, len(rows), nil
}

// publish sends one wave. After an error the next wave has half the rows, after a success twice as
// many. So a row that Kafka rejects for good is alone in the end, and known; and a broker that is too
// slow for a wave is sent less.
func (s *session) publish(ctx context.Context, messages []message) error {
	ctx, cancel := context.WithTimeout(ctx, s.waveTimeout)
	defer cancel()
	span := s.tracer.wave(messages)
	err := s.producer.publish(ctx, messages)
	waveEnded(span, messages, err)
	if err != nil {
		s.status.unsent(err)
	}
	var rejected *rejectedError
	switch {
	case err == nil:
		s.limit = min(2*s.limit, s.limits.rows)
	case errors.As(err, &rejected) && len(messages) == 1:
		return stoppedAt(messages[0].ID, rejected.Error())
	default:
		s.limit = max(1, len(messages)/2)
	}
	return err
}

func (s *session) readControls(ctx context.Context, now time.Time) (err error) {
	if now.Sub(s.controlsAt) < controlInterval {
		return nil
	}
	s.controls, err = s.outbox.controls(ctx)
	s.controlsAt = now
	return err
}

// save writes the position down if it has moved.
func (s *session) save(ctx context.Context) error {
	if s.at == s.saved {
		return nil
	}
	started := s.now()
	if err := s.outbox.save(ctx, s.at); err != nil {
		return err
	}
	s.saved, s.savedAt = s.at, s.now()
	s.status.took("save", s.savedAt.Sub(started))
	return nil
}

// linger returns a context that ends d after ctx does.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	lingering, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return lingering, func() { stop(); cancel() }
}
