package classifier

import (
	"fmt"
	"testing"

	"weft/flowtable/flow"
)

// BenchmarkChange is what the classifier takes for a rule to come and go, a thousand at a time: alone under its tuple's
// mask, and in a tuple of fewer bits, where up to maxEntries share a block.
func BenchmarkChange(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) { benchmarkChange(b, shared) })
	}
}

func benchmarkChange(b *testing.B, shared bool) {
	const rules, slots = 1000, 1 + 1000
	s := NewStore(1)
	s.Epoch(2)
	t := s.NewTable()
	match := func(i int) (m flow.Match) {
		m.Mask[flow.WordPort], m.Mask[flow.WordIPv4] = 0xffff<<flow.ShiftEthType, 0xffffffff
		m.Key[flow.WordPort], m.Key[flow.WordIPv4] = flow.EthIPv4<<flow.ShiftEthType, uint64(198<<24|18<<16|i)
		return m
	}
	if shared {
		first := match(0)
		coarse := first.Mask
		coarse[flow.WordIPv4] = 0xfffffff0 // sixteen addresses
		t.newTuple(coarse)
		t.plan.masks = []flow.Key{coarse}
	}
	matches := make([]flow.Match, rules)
	for i := range matches {
		matches[i] = match(i)
	}
	for round := uint64(0); b.Loop(); round++ {
		for i := range matches {
			t.Insert(uint32(1+i), &matches[i], 7, 0, 2+2*round)
		}
		t.View()
		for i := range matches {
			t.Remove(t.Exact(&matches[i], 7), 3+2*round)
		}
		t.View()
		for slot := range uint32(slots - 1) {
			t.Unlink(1 + slot)
		}
		if shared {
			t.newTuple(t.plan.masks[0]) // it went with its last rule
		}
		s.Epoch(3 + round)
		s.Reclaim(3 + round)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*rules), "ns/change")
}
