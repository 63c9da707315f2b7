package main

import "math/bits"

const (
	subBits = 5 // of buckets for each power of two: 32, so that a value is known to 3 %
	subs    = 1 << subBits
)

// histogram counts values, here nanoseconds, in buckets whose width grows with the value.
type histogram struct {
	counts [(64 - subBits + 1) * subs]uint64
	n      uint64
}

func (h *histogram) add(v uint64) {
	at := v
	if v >= subs {
		shift := bits.Len64(v) - subBits - 1
		at = uint64(shift)*subs + v>>shift
	}
	h.counts[at]++
	h.n++
}

// quantile is a value that the part q of all does not exceed, 0 if there is none.
func (h *histogram) quantile(q float64) float64 {
	want, sum := uint64(q*float64(h.n)), uint64(0)
	for at, n := range h.counts {
		if sum += n; sum > want || sum == h.n && sum > 0 {
			if at < 2*subs {
				return float64(at)
			}
			shift := at/subs - 1
			return float64((uint64(at-shift*subs)+1)<<shift - 1) // the bucket's upper end
		}
	}
	return 0
}

// merge adds what another one counted.
func (h *histogram) merge(other *histogram) {
	for at, n := range other.counts {
		h.counts[at] += n
	}
	h.n += other.n
}
