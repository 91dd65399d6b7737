package main

import (
	"slices"
	"sort"
	"sync"
)

const (
	// ringMessages and ringBytes bound what is kept of a partition for the endpoints that keep up; ringsBytes, of all
	// partitions together.
	ringMessages = 4096
	ringBytes    = 16 << 20
	ringsBytes   = 128 << 20
)

// ring is the end of a partition: what was written last, for all endpoints that keep up.
type ring struct {
	mu       sync.Mutex
	messages []*message // in the order of offsets
	start    int64      // from here on it has all
	end      int64      // the next offset
	high     int64      // where the partition ends, as Kafka says
	bytes    int
	most     int // bytes
}

func newRing(start int64, partitions int) *ring {
	return &ring{start: start, end: start, high: start, most: min(ringBytes, ringsBytes/max(1, partitions))}
}

// restart empties the ring: it goes on at another offset.
func (r *ring) restart(start int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages, r.bytes, r.start, r.end, r.high = nil, 0, start, start, start
}

// add takes the next message. One that it has already is left out.
func (r *ring) add(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.offset < r.end {
		return
	}
	r.messages = append(r.messages, m)
	r.bytes += len(m.value)
	r.end = m.offset + 1
	r.high = max(r.high, r.end)
	for len(r.messages) > ringMessages || r.bytes > r.most && len(r.messages) > 1 {
		oldest := r.messages[0]
		r.messages[0] = nil
		r.messages = r.messages[1:]
		r.bytes -= len(oldest.value)
		r.start = oldest.offset + 1
	}
}

// ringPlace is where an offset is, seen from a ring.
type ringPlace int

const (
	inRing     ringPlace = iota
	atEnd                // nothing is there yet
	beforeRing           // it has to be read from the log
	afterEnd             // Kafka has not said yet that the partition is so long
)

// read returns at most n messages from an offset on.
func (r *ring) read(from int64, n int) ([]*message, ringPlace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case from < r.start:
		return nil, beforeRing
	case from == r.end:
		return nil, atEnd
	case from > r.end:
		return nil, afterEnd
	}
	i := sort.Search(len(r.messages), func(i int) bool { return r.messages[i].offset >= from })
	return slices.Clone(r.messages[i:min(i+n, len(r.messages))]), inRing
}

func (r *ring) ends() (end, high int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end, r.high
}

// sawEnd notes where the partition ends.
func (r *ring) sawEnd(high int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.high = max(r.end, high)
}
