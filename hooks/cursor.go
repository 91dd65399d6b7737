package main

import (
	"encoding/binary"
	"math/bits"
)

// windowSize is how far behind the first unfinished message of a partition an endpoint may go on.
const windowSize = 1024

// cursor is how far an endpoint is in a partition: everything before next is finished, and of the windowSize
// messages from it on those whose bit is set. The bit of next itself never is.
type cursor struct {
	next int64
	bits [windowSize / 64]uint64
}

// within reports whether an offset is before the end of the window: what is beyond it is not begun.
func (c *cursor) within(offset int64) bool { return offset < c.next+windowSize }

func (c *cursor) finished(offset int64) bool {
	n := offset - c.next
	return n < 0 || n < windowSize && c.bits[n/64]&(1<<(n%64)) != 0
}

// finish sets the bit of an offset, and moves on over all that are set from the first on. An offset outside the
// window changes nothing.
func (c *cursor) finish(offset int64) {
	n := offset - c.next
	if n < 0 || n >= windowSize {
		return
	}
	c.bits[n/64] |= 1 << (n % 64)
	done := 0
	for _, word := range c.bits {
		ones := bits.TrailingZeros64(^word)
		done += ones
		if ones < 64 {
			break
		}
	}
	c.move(done)
}

// pass moves over offsets before to that the log does not have. All before from are finished or have their
// bit to come.
func (c *cursor) pass(from, to int64) {
	if c.next == from && to-from >= windowSize {
		*c = cursor{next: to}
		return
	}
	for offset := from; offset < to && c.within(offset); offset++ {
		c.finish(offset)
	}
}

// reopen takes back that messages from an offset on are finished; those before the first unfinished one stay so.
func (c *cursor) reopen(from int64) {
	for n := max(0, from-c.next); n < windowSize; n++ {
		c.bits[n/64] &^= 1 << (n % 64)
	}
}

// move goes on by n messages.
func (c *cursor) move(n int) {
	words, rest := n/64, n%64
	var moved [windowSize / 64]uint64
	for i := range moved {
		if i+words < len(c.bits) {
			moved[i] = c.bits[i+words] >> rest
		}
		if i+words+1 < len(c.bits) {
			moved[i] |= c.bits[i+words+1] << (64 - rest)
		}
	}
	c.next, c.bits = c.next+int64(n), moved
}

// ahead is how many messages after the first unfinished one are finished.
func (c *cursor) ahead() (n int) {
	for _, word := range c.bits {
		n += bits.OnesCount64(word)
	}
	return n
}

// encode writes the bitmap as it is stored: without the zeros at its end.
func (c *cursor) encode() []byte {
	text := make([]byte, 0, windowSize/8)
	for _, word := range c.bits {
		text = binary.LittleEndian.AppendUint64(text, word)
	}
	for len(text) > 0 && text[len(text)-1] == 0 {
		text = text[:len(text)-1]
	}
	return text
}

// decodeCursor reads what encode has written.
func decodeCursor(next int64, text []byte) cursor {
	c := cursor{next: next}
	for i, b := range text[:min(len(text), windowSize/8)] {
		c.bits[i/8] |= uint64(b) << (i % 8 * 8)
	}
	return c
}
