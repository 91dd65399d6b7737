package main

import (
	"math/rand/v2"
	"testing"
)

// A cursor is a set of finished offsets, and stays the same through being stored.
// It only computes, and so runs before those that run at once: they would get no turn beside it.
func TestACursorIsASetOfFinishedOffsets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		begin := random.Int64N(1 << 40)
		c, want, first := cursor{next: begin}, map[int64]bool{}, begin
		for range 3_000 {
			offset := first + random.Int64N(windowSize+10)
			if random.IntN(3) > 0 {
				offset = first + random.Int64N(4)
			}
			if c.within(offset) != (offset < first+windowSize) {
				t.Fatalf("offset %d is within a window from %d: %v", offset, first, c.within(offset))
			}
			switch to := first + random.Int64N(4); {
			case random.IntN(20) > 0:
				c.finish(offset)
				if offset < first+windowSize {
					want[offset] = true
				}
			default: // the log has lost its beginning
				if random.IntN(20) == 0 {
					to = first + windowSize - 10 + random.Int64N(20)
				}
				c.pass(first, to)
				for o := first; o < to; o++ {
					want[o] = true
				}
			}
			for want[first] {
				first++
			}
			c = decodeCursor(c.next, c.encode())
			if c.next != first {
				t.Fatalf("the first unfinished is %d, want %d", c.next, first)
			}
			if random.IntN(20) > 0 {
				continue // all of a window is looked at once in a while, for it takes long
			}
			ahead := 0
			for o := first; o < first+windowSize+10; o++ {
				if c.finished(o) != want[o] {
					t.Fatalf("with %d as the first: finished(%d) is %v", first, o, c.finished(o))
				}
				if want[o] {
					ahead++
				}
			}
			if c.ahead() != ahead {
				t.Fatalf("%d are ahead, want %d", c.ahead(), ahead)
			}
		}
		if first < begin+1_000 {
			t.Fatalf("the cursor moved from %d to %d only", begin, first)
		}
	}
}

func TestACursorPassesWhatTheLogDoesNotHave(t *testing.T) {
	t.Parallel()
	c := cursor{next: 10}
	c.pass(10, 10_000)
	if c.next != 10_000 {
		t.Errorf("next is %d", c.next)
	}
	c.pass(10_002, 10_005) // 10,000 and 10,001 are being delivered
	if c.next != 10_000 || c.finished(10_001) || !c.finished(10_002) || !c.finished(10_004) || c.finished(10_005) {
		t.Errorf("%+v", c)
	}
	c.finish(10_001)
	c.finish(10_000)
	if c.next != 10_005 || c.ahead() != 0 {
		t.Errorf("%+v", c)
	}
	for to, first := range map[int64]int64{12: 13, 14: 14, 10 + windowSize: 10 + windowSize, 10_000: 10_000} {
		c := cursor{next: 10}
		c.finish(12) // and has been read again since: what is passed begins with the first
		c.pass(10, to)
		if c.next != first || c.ahead() != 0 {
			t.Errorf("passing on to %d: %+v", to, c)
		}
	}
	full := cursor{next: 0}
	for offset := int64(windowSize - 1); offset >= 0; offset-- {
		full.finish(offset)
	}
	if full.next != windowSize || full.ahead() != 0 {
		t.Errorf("a whole window is finished: %+v", full)
	}
}
