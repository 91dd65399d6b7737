package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
)

const (
	saveInterval    = 100 * time.Millisecond
	controlInterval = time.Second
	minPause        = 2 * time.Millisecond
	// A relay that has found nothing for idleAfter polls every idlePoll, unless an api wakes it. An api does
	// so for the first operation in a while, which is shorter than idleAfter (relayRests in the api).
	idleAfter = time.Second
	idlePoll  = 250 * time.Millisecond
	// A publish batch costs about the same for few rows as for many, down to the worker. So those of more than largeBatch
	// are further apart, up to mostApart intervals; those of events, for which no money waits, are eventsApart.
	largeBatch  = 100
	mostApart   = 3
	eventsApart = 5
	// lookInterval is how often the relay of the events sees whether that of the operations still looks.
	lookInterval = time.Second
	minBackoff   = 50 * time.Millisecond
	maxBackoff   = time.Second
	// A producer costs as much as an idle relay, and a second one is not needed without events: that of the events is made
	// for the first one, and closed after so long without any.
	producerIdle = time.Minute
	// drain is how long a batch under way may still take once the relay has to end.
	drain = 2 * time.Second
)

// relay moves the rows of a lane from the outbox to Kafka.
type relay struct {
	lane           lane
	openOutbox     func(context.Context) (outbox, error)
	openProducer   func() (producer, error)
	limits         limits
	interval       time.Duration // between the starts of two small publish batches; an idle relay polls twice as often
	publishTimeout time.Duration
	now            func() time.Time
	sleep          func(context.Context, time.Duration)
	lookout        *lookout
	status         *progress
	tracer         *tracer

	limit    int // most rows of the next publish batch: fewer after an error
	failures int // since the last step that succeeded
}

// outbox is what the relay needs of Postgres, on one connection. A connection that breaks ends the
// session: the next may reach a server that has forgotten the last transactions, and with them what
// a position in memory stands for.
type outbox interface {
	position(ctx context.Context) (position, error)
	save(ctx context.Context, p position) error
	topics(ctx context.Context) (map[string]int32, error)
	controls(ctx context.Context) (controls, error)
	// window returns the rows visible now and not in prev, with the present snapshot, or none if there are more rows
	// of all lanes, or bytes of this one, than the limits say. A zero cur: there are none of any lane.
	window(ctx context.Context, prev string, limits limits) (found, error)
	// extent returns the first and last id of all lanes between two snapshots.
	extent(ctx context.Context, prev, cur string) (first, last int64, err error)
	// page returns the rows of the window of p whose ids are in (after, upTo], in id order, up to the one with which
	// they have maxBytes.
	page(ctx context.Context, p position, upTo int64, maxBytes int) ([]row, error)
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

// controls are what operators have ordered.
type controls struct {
	paused bool
	parked map[int64]bool // rows to skip
}

// lead publishes until ctx ends. Every error has the same answer: a new session, which begins as the
// first one did.
func (r *relay) lead(ctx context.Context) {
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
	producer producer // nil: the lane is that of the events, and has had none for a while
	used     time.Time
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
	defer s.closeProducer()
	if !r.lane.others {
		if s.producer, err = r.openProducer(); err != nil {
			return err
		}
	}
	err = s.loop(ctx, work)
	// What is acknowledged is saved whatever ended the session; if that fails, it is sent once more.
	return errors.Join(err, s.save(work))
}

// loop ends between two steps when ctx ends; the step under way has until work ends, a little later.
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
		case published > 0:
			pause, busy = minPause, started
			s.sleep(ctx, s.spacing(published)-s.now().Sub(started))
		case s.lane.others:
			s.follow(ctx)
		case started.Sub(busy) >= idleAfter:
			if err := s.outbox.await(ctx, idlePoll); err != nil && ctx.Err() == nil {
				return err
			}
		default:
			s.sleep(ctx, pause)
			pause = min(2*pause, s.interval/2)
		}
	}
	return nil
}

// spacing is the least time from the start of a publish batch of so many messages to that of the next, unless rows are
// known to wait.
func (r *relay) spacing(messages int) time.Duration {
	if r.lane.others {
		return eventsApart * r.interval
	}
	return r.interval * time.Duration(min(max(messages, largeBatch), mostApart*largeBatch)) / largeBatch
}

// step publishes the next batch and moves the position past it. It reports how many messages that
// were, and whether more rows are known to wait.
func (s *session) step(ctx context.Context) (published int, more bool, err error) {
	reading := s.now()
	page, err := s.read(ctx)
	if err != nil || !page.at.within() {
		return 0, false, err
	}
	s.status.took("read", s.now().Sub(reading))
	failpoint.Reach("relay-after-read")
	messages, taken, err := s.batch(ctx, page.rows)
	if err != nil {
		return 0, false, err
	}
	if len(messages) > 0 {
		if err := s.publish(ctx, messages); err != nil {
			return 0, false, err
		}
	}
	failpoint.Reach("relay-after-acks")
	s.at = page.past(taken)
	return len(messages), s.at.within(), nil
}

// read returns the next page: of the window that is being published, else of the next one. If no row has
// become visible, its position is not within a window.
func (s *session) read(ctx context.Context) (page, error) {
	if !s.at.within() {
		found, err := s.outbox.window(ctx, s.at.prev, s.limits)
		if err != nil {
			return page{at: s.at}, err
		}
		if !s.lane.others {
			s.lookout.saw(s.now(), found.foreign)
		}
		if found.cur == "" {
			return page{at: s.at}, nil
		}
		if !found.tooMany {
			return pageOf(found.rows, s.at.prev, found.cur), nil
		}
		first, last, err := s.outbox.extent(ctx, s.at.prev, found.cur)
		if err != nil {
			return page{}, err
		}
		// This is a position like any other, and saved as one: a lane that is stopped does not measure its window,
		// which other lanes fill, at each try.
		s.at.window = window{found.cur, first - 1, last}
	}
	at := s.at
	upTo := min(at.window.last, at.window.after+s.limits.pageWidth)
	rows, err := s.outbox.page(ctx, at, upTo, s.limits.bytes)
	return page{rows, at, lastRead(rows, upTo, s.limits.bytes)}, err
}

// follow waits until the relay of the operations has seen rows of another lane, or has not looked for a while: it has a
// backlog, or is stalled.
func (s *session) follow(ctx context.Context) {
	for d := idlePoll; !s.lookout.wait(ctx, d) && s.lookout.sees(s.now()) && ctx.Err() == nil; d = lookInterval {
		s.status.stepped(0, false)
		if s.now().Sub(s.used) > producerIdle {
			s.closeProducer()
		}
	}
}

func (s *session) closeProducer() {
	if s.producer != nil {
		s.producer.close()
		s.producer = nil
	}
}

// batch makes messages of the first rows, as many as a publish batch may have, and returns how many rows
// that are. It skips parked rows. A row whose topic is not registered has no partition: it begins a batch
// of its own, which cannot be sent.
func (s *session) batch(ctx context.Context, rows []row) (messages []message, taken int, err error) {
	messages = make([]message, 0, min(len(rows), s.limit))
	bytes := 0
	for taken = range rows {
		r := rows[taken]
		if s.controls.parked[r.ID] {
			continue
		}
		bytes += size(r)
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

// publish sends one batch. After an error the next batch has half the rows, after a success twice as
// many. So a row that Kafka rejects for good is alone in the end, and known; and a broker that is too
// slow for a batch is sent less.
func (s *session) publish(ctx context.Context, messages []message) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.publishTimeout)
	defer cancel()
	if s.producer == nil {
		if s.producer, err = s.openProducer(); err != nil {
			return err
		}
	}
	s.used = s.now()
	span := s.tracer.batch(messages)
	err = s.producer.publish(ctx, messages)
	batchEnded(span, messages, err)
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
