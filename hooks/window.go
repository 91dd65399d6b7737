package main

import (
	"time"

	"github.com/google/uuid"
)

// window is a partition's cursor and what is loaded behind it.
type window struct {
	cursor
	read    int64      // the next offset to load
	begun   bool       // a message was not early: no later one is, whatever the clock does
	loaded  []*message // taken by the filter and not all finished, in order
	bytes   int        // of those that are not finished
	waiting time.Time  // of the first unfinished one, if it has been read; zero: none has
}

// begin places a partition's cursor.
func (q *queue) begin(partition int32, c cursor) {
	q.windows[partition] = &window{cursor: c, read: c.next}
}

// room reports whether more of a partition may be loaded.
func (q *queue) room(w *window) bool {
	return w.within(w.read) && w.bytes < max(leastLoaded, loadedSize/max(1, len(q.windows)))
}

// load takes messages of a partition, in the order of the log; those that no filter takes are finished. It stops
// where there is no room, and reports where to go on.
func (q *queue) load(w *window, messages []*message) {
	defer w.tidy()
	for _, m := range messages {
		if m.offset < w.read {
			continue
		}
		if m.offset > w.read {
			w.pass(w.read, m.offset)
			if w.read = min(m.offset, w.next+windowSize); w.read < m.offset {
				return // the rest once what is before it is finished
			}
		}
		if !q.room(w) {
			return
		}
		w.read++
		w.begun = w.begun || !q.filter.early(m)
		if !w.finished(m.offset) && m.walletID != uuid.Nil && w.begun && q.filter.takes(m) {
			q.enqueue(w, m)
			continue
		}
		w.finish(m.offset)
		delete(q.set, place{m.partition, m.offset})
	}
}

func (q *queue) enqueue(w *window, m *message) {
	w.loaded = append(w.loaded, m)
	w.bytes += len(m.value)
	of := q.wallets[m.walletID]
	if of == nil {
		of = &wallet{id: m.walletID}
		q.wallets[m.walletID] = of
	}
	of.runs = append(of.runs, m)
	if len(of.runs) == 1 {
		q.recall(of)
		q.list(of)
	}
}

// tidy forgets what is finished at the beginning.
func (w *window) tidy() {
	for len(w.loaded) > 0 && w.finished(w.loaded[0].offset) {
		w.loaded[0] = nil
		w.loaded = w.loaded[1:]
	}
	w.waiting = time.Time{}
	if len(w.loaded) > 0 {
		w.waiting = w.loaded[0].at
	}
}

// pass moves on to where the log goes on: what is between is not there, and finished. It may stop at the end of
// the window, to be called again.
func (q *queue) pass(partition int32, to int64) {
	w := q.windows[partition]
	w.pass(w.read, to)
	w.read = max(w.read, min(to, w.next+windowSize))
	for at := range q.set {
		if at.partition == partition && at.offset < w.read && w.finished(at.offset) {
			delete(q.set, at)
		}
	}
	w.tidy()
}

// unload forgets the runs in memory, but not what their attempts have shown: they are read again. It may only be
// called while nothing is flying.
func (q *queue) unload() {
	for _, of := range q.wallets {
		if s, failed := of.setback(q.waiting[of]); failed {
			q.set[place{s.Partition, s.Offsets[0]}] = s
		}
	}
	clear(q.wallets)
	clear(q.waiting)
	q.ready = nil
	for _, w := range q.windows {
		waiting := w.waiting
		*w = window{cursor: w.cursor, read: w.next, waiting: waiting}
	}
}

// replay moves the cursors back to where a replay begins; none moves on. It may only be called while nothing is
// flying.
func (q *queue) replay(to map[int32]int64) {
	q.unload()
	clear(q.set)
	for partition, offset := range to {
		switch w := q.windows[partition]; {
		case w == nil:
		case offset < w.next:
			q.begin(partition, cursor{next: offset})
		default: // a run before it stalls
			w.reopen(offset)
		}
	}
}

// lag is how many messages are not finished, given where the partitions end, and since when the oldest of
// those that have been read waits.
func (q *queue) lag(ends map[int32]int64) (messages int64, since time.Time) {
	for partition, w := range q.windows {
		messages += max(0, ends[partition]-w.next-int64(w.ahead()))
		if !w.waiting.IsZero() && (since.IsZero() || w.waiting.Before(since)) {
			since = w.waiting
		}
	}
	return messages, since
}
