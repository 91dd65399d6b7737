package main

import "testing"

// The vectors of UtilsTest.testMurmur2 in Kafka.
func TestMurmur2IsKafkas(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionsAreInRange(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "21", "foobar", "abc", "a-little-bit-long-string"} {
		for n := int32(1); n < 20; n++ {
			if p := partition(key, n); p < 0 || p >= n {
				t.Errorf("partition(%q, %d) = %d", key, n, p)
			}
		}
	}
}
