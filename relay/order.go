package main

import (
	"fmt"

	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Four rules give every wallet's messages their order, without fencing one relay off from another.
// Any number of relays, forgotten ones included, can then only add duplicates:
//
//	R1  A window is what became visible between two snapshots, and is published in id order. Ids of a
//	    topic are taken under a lock of the wallet (of wallet_sequences for operations, of wallets for
//	    events), so a window holds no row of a wallet and topic without its earlier ones.
//	R2  One publish batch at a time. After any error the session ends with its producer, and the next
//	    one reads the rows again from the saved position: no row is skipped, and none is sent after one
//	    that was not acknowledged.
//	R3  A position is saved only after Kafka has acknowledged everything before it.
//	R4  A key's partition follows from the registered partition count, which never changes.
//
// Each lane keeps them for itself. Nothing orders the messages of two topics.

// A lane is the rows of some topics, with a position, a connection and a producer of its own, so that a row of another
// lane that Kafka does not take delays none of this one.
type lane struct {
	name     string // in metrics
	position string // its name in the database
	topic    string // the operations'
	others   bool   // the lane is of all topics but that
}

// lanes are the operations', and that of everything that only tells of them.
func lanes(relay, topic string) (operations, events lane) {
	return lane{name: "operations", position: relay, topic: topic},
		lane{name: "events", position: db.EventsPosition(relay), topic: topic, others: true}
}

// limits bound the memory of a publish batch, and what is sent twice after an error.
type limits struct {
	rows      int
	bytes     int
	pageWidth int64 // ids that one page of a large window covers
}

var batchLimits = limits{rows: 5000, bytes: 8 << 20, pageWidth: 2000}

// A position is how far a lane is published: all rows that are visible in the snapshot prev, and, while
// a window is published, the rows of that up to the window's after.
type position struct {
	prev   string
	window window // zero: none is being published
}

// A window is the rows that are visible in the snapshot cur and not in the position's prev. Those up to id
// after are published; last is the last id of all.
type window struct {
	cur         string
	after, last int64
}

// within reports whether the position is within a window. Its other rows are published next.
func (p position) within() bool { return p.window != window{} }

// found is what became visible since a snapshot, up to the snapshot cur.
type found struct {
	rows    []row // of the lane, in id order; none if they are too many for one page
	cur     string
	tooMany bool
	foreign bool // there are rows of another lane, or may be
}

// A page is the next rows to publish, in id order: all of the lane's in the window with ids in (after, upTo].
type page struct {
	rows []row
	at   position // within the window
	upTo int64
}

// pageOf returns the page that is a whole window.
func pageOf(rows []row, prev, cur string) page {
	if len(rows) == 0 {
		return page{at: position{prev, window{cur: cur}}}
	}
	last := rows[len(rows)-1].ID
	return page{rows, position{prev, window{cur, rows[0].ID - 1, last}}, last}
}

// lastRead returns up to which id rows are all that were asked for, up to upTo or maxBytes. Postgres counts as it does:
// both have UTF-8.
func lastRead(rows []row, upTo int64, maxBytes int) int64 {
	bytes := 0
	for _, r := range rows {
		bytes += size(r)
	}
	if bytes >= maxBytes {
		return rows[len(rows)-1].ID
	}
	return upTo
}

func size(r row) int { return len(r.Key) + len(r.Payload) + len(r.Headers) }

// past returns the position once the first taken rows of the page are published.
func (p page) past(taken int) position {
	next := p.at
	switch {
	case taken < len(p.rows):
		next.window.after = p.rows[taken-1].ID
	case p.upTo < p.at.window.last:
		next.window.after = p.upTo
	default:
		return position{prev: p.at.window.cur}
	}
	return next
}

type row = walletdb.RelayPageRow

// A message is a row with the partition that its key belongs to.
type message struct {
	row
	partition  int32
	partitions int32      // registered of its topic
	span       trace.Span // nil: it is not traced
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
