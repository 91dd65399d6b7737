// Package status finds out from Postgres how the whole system is. ctl status judges what it finds, and the API's status
// shows it: both have the same numbers.
//
// It costs the same with any number of wallets, so that it knows some things only about: numbers of Counted and more are
// Postgres' estimates, and pending operations, money in transit and standing wallets are those of the wallets that Behind
// looks at. Each function is a section, which may fail alone: one table that is locked leaves the others to be seen.
package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// SectionTimeout is how long a section may take, and LockTimeout how long it may wait for a lock.
	SectionTimeout = 3 * time.Second
	LockTimeout    = 500 * time.Millisecond

	// Counted is up to how many rows are counted: of waiting outbox rows twice as many when some are older than the
	// position.
	Counted = 10_000
	// ShownWallets and ShownTenants are the most that are listed.
	ShownWallets = 10
	ShownTenants = 10

	// Standing is from when on a wallet with pending operations is stalled.
	Standing = 30 * time.Second
	// ExpiryLate is how long a hold may stay open after its time: it should take a second or two.
	ExpiryLate = 10 * time.Second

	// seenRows is how many of the newest outbox rows, and of those of each age of seenAges, tell which wallets to look
	// at, and pendingEach how many pending operations of each are looked at for money in transit.
	seenRows    = 1_000
	pendingEach = 100
	// appliedPages is where the outcomes of the last second are looked for, and acceptedRows among how many outbox rows
	// its operations are counted: room for some 20,000.
	appliedPages = 200
	acceptedRows = 100_000
)

// seenAges are those at which every operation should have been applied.
var seenAges = []time.Duration{Standing, 5 * time.Minute, time.Hour}

// Count is how many there are.
type Count struct {
	N         int64
	Estimated bool // by Postgres: from Counted on
}

// Wallets counts the wallets.
func Wallets(ctx context.Context, q *walletdb.Queries) (Count, error) {
	counted, err := q.CountWallets(ctx, Counted)
	if err != nil {
		return Count{}, err
	}
	return estimate(ctx, q, "wallets", counted)
}

// Operations counts what was ever accepted.
func Operations(ctx context.Context, q *walletdb.Queries) (Count, error) {
	counted, err := q.CountOperations(ctx, Counted)
	if err != nil {
		return Count{}, err
	}
	return estimate(ctx, q, "operations", counted)
}

// estimate returns about how many rows a table has, if they are too many to be counted.
func estimate(ctx context.Context, q *walletdb.Queries, table string, counted int64) (Count, error) {
	if counted < Counted {
		return Count{counted, false}, nil
	}
	about, err := q.EstimateRows(ctx, table)
	return Count{max(about, counted), true}, err
}

// Outbox is which rows the outbox has. Zeros: none.
type Outbox struct {
	FirstID, LastID int64
	FirstSeconds    float64 // how old the first row is
	LastSeconds     float64 // and the last; less than nothing: the clock was set back
	AcceptedLately  int64   // operations whose row was written in the last second
}

// ReadOutbox looks at the outbox, and at its rows of the operations' topic.
func ReadOutbox(ctx context.Context, q *walletdb.Queries, topic string) (Outbox, error) {
	edges, err := q.OutboxAge(ctx)
	if err != nil {
		return Outbox{}, err
	}
	o := Outbox{FirstID: edges.FirstID, LastID: edges.LastID, FirstSeconds: edges.FirstSeconds, LastSeconds: edges.LastSeconds}
	secondAgo, err := o.before(ctx, q, time.Second)
	if err != nil {
		return o, err
	}
	o.AcceptedLately, err = q.RowsBetween(ctx, walletdb.RowsBetweenParams{After: secondAgo, UpTo: min(o.LastID, secondAgo+acceptedRows), Topic: topic})
	return o, err
}

// before returns the id of the newest row that is older than an age, by binary search: nothing but id is indexed.
func (o Outbox) before(ctx context.Context, q *walletdb.Queries, age time.Duration) (int64, error) {
	if o.LastID == 0 {
		return 0, nil
	}
	var err error
	younger := sort.Search(int(o.LastID-o.FirstID)+1, func(n int) bool {
		older, queryErr := q.OutboxOlderThan(ctx, walletdb.OutboxOlderThanParams{ID: o.FirstID + int64(n), AgeMs: age.Milliseconds()})
		err = errors.Join(err, queryErr)
		return !older
	})
	if err != nil {
		return 0, fmt.Errorf("search the outbox: %w", err)
	}
	return o.FirstID + int64(younger) - 1, nil
}

// AppliedLately counts what was applied in the last second.
func AppliedLately(ctx context.Context, q *walletdb.Queries) (int64, error) {
	return q.AppliedLately(ctx, appliedPages)
}

// Pending is what is accepted and not applied yet.
type Pending struct {
	Operations    int64 // at least
	OldestSeconds float64
	Standing      []walletdb.BehindWalletsRow // wallets that are halted, or not applied for so long
	upTo          []int64                     // where the outbox rows end that say which wallets to look at
}

// Behind looks at the wallets that the newest outbox rows name, and at some of 30 s, 5 min and 1 h ago. A wallet that
// is stalled for an hour and gets no new operation is not among them.
func Behind(ctx context.Context, q *walletdb.Queries, o Outbox, topic string) (Pending, error) {
	p := Pending{upTo: []int64{o.LastID}}
	for _, age := range seenAges {
		id, err := o.before(ctx, q, age)
		if err != nil {
			return p, err
		}
		p.upTo = append(p.upTo, id)
	}
	behind, err := q.BehindWallets(ctx, walletdb.BehindWalletsParams{UpTo: p.upTo, Topic: topic, MaxRows: seenRows, MaxWallets: ShownWallets})
	for _, w := range behind {
		p.Operations, p.OldestSeconds = w.Pending, max(p.OldestSeconds, w.AgeSeconds)
		if w.Halted || w.AgeSeconds > Standing.Seconds() {
			p.Standing = append(p.Standing, w)
		}
	}
	return p, err
}

// InTransit finds money that has left a wallet and is in no other, by currency, in the wallets that Behind has looked at.
func InTransit(ctx context.Context, q *walletdb.Queries, p Pending, topic string) ([]walletdb.InTransitRow, error) {
	return q.InTransit(ctx, walletdb.InTransitParams{UpTo: p.upTo, Topic: topic, MaxRows: seenRows, MaxEach: pendingEach, MaxPending: Counted})
}

// LateHolds counts open holds that should have expired.
func LateHolds(ctx context.Context, q *walletdb.Queries) (walletdb.LateHoldsRow, error) {
	return q.LateHolds(ctx, walletdb.LateHoldsParams{LateMs: ExpiryLate.Milliseconds(), MaxRows: Counted})
}

// Relay is a position of a relay, and what waits beyond it.
type Relay struct {
	walletdb.RelayStatesRow
	WaitingRows   int64 // counted up to Counted
	OldestSeconds float64
}

// Position is the saved position in words.
func (r Relay) Position() string {
	if r.Cur == nil {
		return r.Prev
	}
	return fmt.Sprintf("%s → %s, row %d of %d", r.Prev, *r.Cur, r.AfterID, r.LastID)
}

// Relays returns the positions of all relays.
func Relays(ctx context.Context, q *walletdb.Queries, topic string) ([]Relay, error) {
	states, err := q.RelayStates(ctx, int32(db.RelayLock))
	if err != nil {
		return nil, err
	}
	relays := make([]Relay, len(states))
	for i, s := range states {
		relays[i].RelayStatesRow = s
	}
	for _, s := range states {
		if s.Events {
			continue // it comes with the relay's own
		}
		found, err := q.RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: s.Relay, Events: db.EventsPosition(s.Relay), Topic: topic, MaxRows: Counted})
		if err != nil {
			return nil, err
		}
		for _, backlog := range found {
			if i := slices.IndexFunc(relays, func(r Relay) bool { return r.Relay == backlog.Relay }); i >= 0 { // it may be new
				relays[i].WaitingRows, relays[i].OldestSeconds = backlog.WaitingRows, backlog.OldestSeconds
			}
		}
	}
	return relays, nil
}

// Partitions is how many a topic must have; 0: it is not registered.
func Partitions(ctx context.Context, q *walletdb.Queries, topic string) (int32, error) {
	partitions, err := q.TopicPartitions(ctx, topic)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return partitions, err
}

// Locked is why a section is not known while somebody has locked what it reads.
const Locked = "a table is locked"

// TooSlow is why one is not known that was cut off.
var TooSlow = fmt.Sprintf("it took longer than %s", SectionTimeout)

// Reason says in words why a section failed, or nothing if it is neither of these.
func Reason(err error) string {
	var refused *pgconn.PgError
	switch {
	case !errors.As(err, &refused):
	case refused.Code == "55P03":
		return Locked
	case refused.Code == "57014":
		return TooSlow
	}
	return ""
}
