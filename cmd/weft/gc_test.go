package main

import "testing"

func TestALargeHeapHasLittleGarbage(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 2400}, {1 << 20, 2400}, {6 << 20, 1600}, {24 << 20, 400}, {48 << 20, 200}, {96 << 20, 100}, {384 << 20, 25}, {4 << 30, 20},
	} {
		if got := gcPercentFor(c.live); got != c.want {
			t.Errorf("%d live bytes: %d %%, want %d", c.live, got, c.want)
		}
	}
}
