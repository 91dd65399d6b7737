package main

import (
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/legendary-wallet/legendary-wallet/db/hook"
)

// begun reports whether each partition that can be read has a cursor. An endpoint begins with what was finished at its
// creation.
func (e *endpoint) begun(now time.Time) bool {
	var without []int32
	for partition, r := range e.log.partitions() {
		if r != nil && e.queue.windows[int32(partition)] == nil {
			without = append(without, int32(partition))
		}
	}
	if len(without) == 0 {
		return len(e.queue.windows) > 0
	}
	e.look(now, without, e.created.Add(-lookBack), func(offsets map[int32]int64) {
		for partition, offset := range offsets {
			e.queue.begin(partition, cursor{next: offset})
		}
	})
	return false
}

// look finds out where the log was at a time, unless that is being done, and then does what it is for.
func (e *endpoint) look(now time.Time, partitions []int32, at time.Time, then func(map[int32]int64)) {
	if e.busy || now.Before(e.again) {
		return
	}
	e.busy = true
	e.catchUp.submit(func(client *kafka.Consumer, err error) {
		var offsets map[int32]int64
		if err == nil {
			offsets, err = e.catchUp.offsetsAt(client, partitions, at)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.busy = false
		if err != nil {
			e.again = time.Now().Add(readAgain)
			e.logger.Debug("the log cannot be asked for the offsets of a time", "endpoint", e.id, "error", err)
		} else {
			then(offsets)
		}
		e.changed()
	})
}

// fill loads what there is room for: from the rings, or if it is behind them, by its turns to read the log.
func (e *endpoint) fill(now time.Time) {
	for i, r := range e.log.partitions() {
		partition := int32(i)
		w := e.queue.windows[partition]
		if w == nil || r == nil || e.catching[partition] {
			continue
		}
		for e.queue.room(w) {
			messages, where := r.read(w.read, 100)
			before := w.read
			if where == inRing {
				e.queue.load(w, messages)
			}
			if w.read == before {
				e.read(partition, w.read, where, now)
				break
			}
			e.changes++
		}
	}
}

// read asks for a turn to read a partition if the ring does not have what comes next.
func (e *endpoint) read(partition int32, from int64, where ringPlace, now time.Time) {
	if where == inRing || where == atEnd {
		delete(e.notYet, partition)
		return
	}
	at, waits := e.notYet[partition]
	if where == afterEnd && !waits { // the ring may only be late
		e.notYet[partition] = now.Add(2 * readAgain)
		return
	}
	if waits && now.Before(at) {
		return
	}
	delete(e.notYet, partition)
	e.catching[partition] = true
	e.catchUp.submit(func(client *kafka.Consumer, err error) {
		var found chunk
		if err == nil {
			found, err = e.catchUp.readFrom(client, partition, from)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.catching, partition)
		e.caught(partition, from, found, err)
		e.changed()
	})
}

// caught takes in what a turn has brought.
func (e *endpoint) caught(partition int32, from int64, found chunk, err error) {
	w, now := e.queue.windows[partition], time.Now()
	switch {
	case err != nil:
		e.notYet[partition] = now.Add(readAgain)
		e.logger.Debug("the log cannot be read for an endpoint", "endpoint", e.id, "partition", partition, "error", err)
	case w == nil || w.read != from || e.queue.disabled != "": // replayed, or unloaded
	case from < found.low:
		e.queue.pass(partition, found.low)
		e.miss(partition, from, w.read)
	case from > found.high:
		e.notYet[partition] = now.Add(readAgain)
		e.turnBack(partition, found.high)
	default:
		e.queue.load(w, found.messages)
	}
}

// turnBack places a cursor that is beyond the end of its partition: the log has lost its end, or the topic was made
// anew. It goes to what was written since the cursor last moved, so that nothing new is passed over.
func (e *endpoint) turnBack(partition int32, high int64) {
	at := e.created
	if saved, found := e.savedCursors[partition]; found {
		at = saved.at
	}
	e.look(time.Now(), []int32{partition}, at.Add(-lookBack), func(offsets map[int32]int64) {
		e.whenQuiet(func() {
			w, to := e.queue.windows[partition], offsets[partition]
			before, read := w.next, w.read
			e.queue.unload()
			if to >= before { // a run stalls before the end: other messages come where some beyond it were finished
				w.reopen(min(to, high))
				e.miss(partition, high, read)
				return
			}
			e.queue.begin(partition, cursor{next: to})
			e.miss(partition, min(high, before), before)
		})
	})
}

func (e *endpoint) miss(partition int32, from, to int64) {
	if from >= to {
		return
	}
	e.missed = last(append(e.missed, hook.Missed{Partition: partition, From: from, To: to, At: time.Now().UTC()}))
	e.metrics.missed.Inc()
	e.logger.Warn("messages are not in the log any more", "endpoint", e.id, "partition", partition, "from", from, "to", to)
}

// last keeps the last entries of a list.
func last[T any](list []T) []T {
	return slices.Clone(list[max(0, len(list)-hook.MaxListed):])
}
