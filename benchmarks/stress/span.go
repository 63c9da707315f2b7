package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// span is what the switch counted between two readings.
type span struct {
	busy, packets, batches, misses uint64
	hz                             float64
	drops                          map[string]uint64
	gaps                           []gapReading
	longest                        float64 // seconds; 0 when no gap was longer than all before
}

// between subtracts two readings.
func between(a, b *reading) span {
	s := span{
		busy: b.pmd.BusyCycles - a.pmd.BusyCycles, packets: b.pmd.Packets - a.pmd.Packets,
		batches: b.pmd.Batches - a.pmd.Batches, hz: float64(b.pmd.TSCHz), drops: make(map[string]uint64),
	}
	for i := range min(len(a.pmd.Bridges), len(b.pmd.Bridges)) {
		s.misses += b.pmd.Bridges[i].Cache.Misses - a.pmd.Bridges[i].Cache.Misses
	}
	for where, n := range b.drops {
		if d := n - a.drops[where]; d > 0 {
			s.drops[where] = d
		}
	}
	for i, g := range b.pmd.Gaps {
		if i < len(a.pmd.Gaps) {
			g.Count -= a.pmd.Gaps[i].Count
		}
		s.gaps = append(s.gaps, g)
	}
	if b.pmd.LongestGapCycles > a.pmd.LongestGapCycles {
		s.longest = float64(b.pmd.LongestGapCycles) / s.hz
	}
	return s
}

// perPacket is the busy cycles for each packet.
func (s *span) perPacket() float64 { return float64(s.busy) / float64(s.packets) }

// dropped is how many packets were counted as dropped.
func (s *span) dropped() (n uint64) {
	for _, d := range s.drops {
		n += d
	}
	return n
}

// droppedBy is how many were dropped where the name begins so.
func (s *span) droppedBy(where string) (n uint64) {
	for name, d := range s.drops {
		if strings.HasPrefix(name, where) {
			n += d
		}
	}
	return n
}

// dropText lists the drops by place and reason.
func (s *span) dropText() string {
	if len(s.drops) == 0 {
		return "no drops"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.drops)) {
		words = append(words, fmt.Sprintf("%s %d", name, s.drops[name]))
	}
	return "drops: " + strings.Join(words, ", ")
}

// gapsOver is how many gaps were longer than a threshold in microseconds.
func (s *span) gapsOver(us int64) uint64 {
	for _, g := range s.gaps {
		if g.Over == us {
			return g.Count
		}
	}
	return 0
}

// longestText says between which thresholds the longest gap was, or its length where that is known.
func (s *span) longestText() string {
	if s.longest > 0 {
		return fmt.Sprintf("%.3f ms", 1e3*s.longest)
	}
	text := "below 0.1 ms"
	for i, g := range s.gaps {
		if g.Count == 0 {
			continue
		}
		text = fmt.Sprintf("over %g ms", float64(g.Over)/1e3)
		if i+1 < len(s.gaps) {
			text = fmt.Sprintf("%g to %g ms", float64(g.Over)/1e3, float64(s.gaps[i+1].Over)/1e3)
		}
	}
	return text
}

// costOfNew is how many nanoseconds each of fresh new flows cost: the busy cycles of the span with them, less what its
// other packets take in a span without.
func costOfNew(without, with *span, fresh uint64) float64 {
	if fresh == 0 || with.packets < fresh {
		return math.NaN()
	}
	others := without.perPacket() * float64(with.packets-fresh)
	return (float64(with.busy) - others) / float64(fresh) / with.hz * 1e9
}

// beyondChance is how many more events there were than a count of without, in the same time, lets expect: three standard
// deviations of the difference of two Poisson counts are chance.
func beyondChance(with, without float64) float64 {
	return max(0, math.Ceil(with-without-3*math.Sqrt(with+without)))
}
