package vhosttest

import "math/rand/v2"

// maxPieces bounds the descriptors of one chain that a Layout makes.
const maxPieces = 64

// Layout says how a buffer (virtio-net header, then frame) is spread over descriptors. The zero value is one descriptor
// for both, as VERSION_1 permits (section 2.7.4: message framing is the driver's choice).
type Layout struct {
	// HeaderPieces is how many descriptors hold the header alone; 0 puts it in the same descriptor as the frame's
	// start.
	HeaderPieces int
	// DataPieces is how many descriptors hold the frame, in equal parts; 0 counts as 1.
	DataPieces int
	// Random cuts header and frame at random places instead, into at most HeaderPieces+DataPieces parts.
	Random bool
	// Indirect puts the chain into an indirect table (section 2.7.5.3).
	Indirect bool
}

func (l Layout) pieces() int { return min(l.HeaderPieces+max(l.DataPieces, 1), maxPieces) }

// appendCuts appends the lengths of the parts of a buffer of hdr+data bytes. No part is longer than limit or empty.
func (l Layout) appendCuts(cuts []int, hdr, data, limit int, rng *rand.Rand) []int {
	if l.Random {
		total := hdr + data
		n := 1 + rng.IntN(l.pieces())
		for ; n > 1 && total > 1; n-- {
			// Small first parts, so that the header itself is cut often.
			c := 1 + rng.IntN(min(total-1, 1+total/n))
			cuts = appendPart(cuts, c, limit)
			total -= c
		}
		return appendPart(cuts, total, limit)
	}
	if l.HeaderPieces > 0 {
		cuts = appendEqual(cuts, hdr, l.HeaderPieces, limit)
		hdr = 0
	}
	return appendEqual(cuts, hdr+data, l.DataPieces, limit)
}

func appendEqual(cuts []int, total, parts, limit int) []int {
	for n := max(parts, 1); n > 0 && total > 0; n-- {
		c := (total + n - 1) / n
		cuts = appendPart(cuts, c, limit)
		total -= c
	}
	return cuts
}

func appendPart(cuts []int, n, limit int) []int {
	for ; n > limit; n -= limit {
		cuts = append(cuts, limit)
	}
	if n > 0 {
		cuts = append(cuts, n)
	}
	return cuts
}
