package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// savedCursor is a cursor as Postgres has it.
type savedCursor struct {
	cursor
	at time.Time
}

// standing is what one look shows of an endpoint, for the metrics.
type standing struct {
	state       string
	lagMessages int64
	lagSeconds  float64
	keyless     error
}

func (e *endpoint) standing(now time.Time) standing {
	s := standing{state: stateDelivering, keyless: e.target.err}
	messages, since := e.queue.lag(e.ends())
	s.lagMessages = messages
	if messages > 0 && !since.IsZero() {
		s.lagSeconds = max(0, now.Sub(since).Seconds())
	}
	switch {
	case e.queue.disabled != "", e.suspended:
		s.state = stateDisabled
	case e.queue.down():
		s.state = stateFailing
	case slices.ContainsFunc(e.queue.setbacks(), func(b setback) bool { return b.Refused }):
		s.state = stateStalled
	}
	return s
}

func (e *endpoint) ends() map[int32]int64 {
	ends := map[int32]int64{}
	for partition, r := range e.log.partitions() {
		if r != nil {
			_, ends[int32(partition)] = r.ends()
		}
	}
	return ends
}

// snapshot is what has to be saved.
type snapshot struct {
	e              *endpoint
	changes        int
	term, nextTerm int64
	lastRequest    int64
	since          time.Time
	failures       int
	disabledAt     time.Time
	reason         string
	failingSince   time.Time
	nextAttempt    time.Time
	lastError      string
	lagMessages    int64
	lagSeconds     float64
	attempts       string // "": as they are
	newAttempts    int
	stalled        string
	skipped        string
	missed         string
	begun          map[int32]cursor
	moved          map[int32]cursor
}

const (
	// attemptsEvery is how often attempts are saved if there are many, all succeed and the endpoint stays here;
	// lagEvery, the lag if nothing else has changed.
	attemptsEvery = 5 * time.Second
	lagEvery      = 10 * time.Second
	fewAttempts   = 3
)

// snapshot returns what has changed since it was saved, if anything has.
func (e *endpoint) snapshot(now time.Time) (snapshot, standing, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stands := e.standing(now)
	lagging := stands.lagMessages > 0 && now.Sub(e.lagAt) >= lagEvery
	if e.changes == e.savedChanges && !lagging {
		return snapshot{}, stands, false
	}
	e.lagAt = now
	q := e.queue
	s := snapshot{
		e: e, changes: e.changes, term: e.term, nextTerm: e.nextTerm, lastRequest: e.lastRequest, since: e.filter.since,
		failures: q.failures, disabledAt: e.disabledAt, reason: printable(q.disabled), failingSince: q.since, nextAttempt: q.next, lastError: q.lastError,
		lagMessages: stands.lagMessages, lagSeconds: stands.lagSeconds,
		skipped: asJSON(e.skipped), missed: asJSON(e.missed), begun: map[int32]cursor{}, moved: map[int32]cursor{},
	}
	stalled := []setback{}
	for _, b := range q.setbacks() {
		if b.Refused && len(stalled) < hook.MaxListed {
			b.Since = b.Since.UTC()
			stalled = append(stalled, b)
		}
	}
	s.stalled = asJSON(stalled)
	if e.newAttempts > 0 && (e.urgent || e.releasing || e.newAttempts <= fewAttempts || now.Sub(e.attemptsAt) >= attemptsEvery) {
		s.attempts, s.newAttempts = asJSON(last(e.attempts)), e.newAttempts
		e.attemptsAt = now
	}
	for partition, w := range q.windows {
		saved, found := e.savedCursors[partition]
		if !found {
			s.begun[partition] = w.cursor
		}
		if !found || saved.cursor != w.cursor || e.term != e.nextTerm {
			s.moved[partition] = w.cursor
		}
	}
	return s, stands, true
}

// saved notes that a snapshot is in Postgres.
func (s *snapshot) saved(now time.Time) {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.savedChanges, e.term = s.changes, s.nextTerm
	e.nextTerm = max(e.nextTerm, e.term)
	if s.newAttempts > 0 {
		e.newAttempts -= s.newAttempts
		e.urgent = e.urgent && e.newAttempts > 0
	}
	if e.newAttempts > 0 {
		e.savedChanges-- // they are saved later
	}
	for partition, c := range s.moved {
		e.savedCursors[partition] = savedCursor{c, now}
	}
}

// asJSON writes a list, also an empty one.
func asJSON[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(list)
	return cmp.Or(string(text), "[]")
}

// saveSnapshots returns the endpoints whose term was still the writer's.
func saveSnapshots(ctx context.Context, conn *pgx.Conn, snapshots []snapshot, beginning time.Time) (saved []uuid.UUID, err error) {
	var begun walletdb.BeginHookCursorsParams
	var states walletdb.SaveHookStatesParams
	var moved walletdb.SaveHookCursorsParams
	for _, s := range snapshots {
		states.EndpointIds = append(states.EndpointIds, s.e.id)
		states.Terms = append(states.Terms, s.term)
		states.NextTerms = append(states.NextTerms, s.nextTerm)
		states.LastRequests = append(states.LastRequests, s.lastRequest)
		states.Sinces = append(states.Sinces, s.since)
		states.Failures = append(states.Failures, int32(s.failures))
		states.DisabledAts = append(states.DisabledAts, s.disabledAt)
		states.Reasons = append(states.Reasons, s.reason)
		states.FailingSinces = append(states.FailingSinces, s.failingSince)
		states.NextAttempts = append(states.NextAttempts, s.nextAttempt)
		states.LastErrors = append(states.LastErrors, s.lastError)
		states.LagMessages = append(states.LagMessages, s.lagMessages)
		states.LagSeconds = append(states.LagSeconds, s.lagSeconds)
		states.Attempts = append(states.Attempts, s.attempts)
		states.Stalled = append(states.Stalled, s.stalled)
		states.Skipped = append(states.Skipped, s.skipped)
		states.Missed = append(states.Missed, s.missed)
		states.LogsBegin = append(states.LogsBegin, beginning)
		for partition, c := range s.begun {
			begun.EndpointIds, begun.Partitions = append(begun.EndpointIds, s.e.id), append(begun.Partitions, partition)
			begun.Terms, begun.NextOffsets = append(begun.Terms, s.term), append(begun.NextOffsets, c.next)
		}
		for partition, c := range s.moved {
			moved.EndpointIds, moved.Partitions = append(moved.EndpointIds, s.e.id), append(moved.Partitions, partition)
			moved.Terms, moved.NextOffsets = append(moved.Terms, s.nextTerm), append(moved.NextOffsets, c.next)
			moved.Finished = append(moved.Finished, c.encode())
		}
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		q := walletdb.New(tx)
		if len(begun.EndpointIds) > 0 {
			if err := q.BeginHookCursors(ctx, begun); err != nil {
				return err
			}
		}
		if saved, err = q.SaveHookStates(ctx, states); err != nil || len(moved.EndpointIds) == 0 {
			return err
		}
		failpoint.Reach("hooks-between-states-and-cursors")
		return q.SaveHookCursors(ctx, moved)
	})
	failpoint.ReachIf(err == nil && len(moved.EndpointIds) > 0, "hooks-after-save")
	return saved, err
}
