package flowtable

import (
	"math/bits"

	"weft/flowtable/classifier"
	"weft/flowtable/flow"
	"weft/internal/packet"
)

// state is what lookups see: one version of all tables. It is replaced, never changed.
type state struct {
	gen uint64 // which versions of rules are seen
	// epoch grows with every state, also when rules only went to other places. What a state has not got any more is
	// nobody's when no Lookup is at an epoch before.
	epoch   uint64
	layout  *layout
	actions actionLists
	tables  []classifier.View     // up to the last one that there is: most pipelines have few
	log     [logLength]*changeSet // what the last generations changed, by gen % logLength

	groups     groupTable
	fragments  flow.Fragments
	meters     []*Meter          // by the place that OpMeter names
	meterSlots map[uint32]uint32 // places by meter
}

// layout says which bits of keys matter to the loaded rules at all, and how the cache lays keys out.
type layout struct {
	union flow.Key
	deep  bool // actions change what the transport header's checksum covers, so that header must be in sight
	shape flow.Shape
	depth flow.Depth
	// portOnly: no rule looks at anything but in_port, so that a whole batch has one key.
	portOnly bool
	// chased: rules look at what may lie behind headers of any length, the protocol or its ports.
	chased bool
	// stride is the number of words of a cache entry: one of bookkeeping and the key, rounded up to a power of two.
	stride int
}

// Strides of few words of key, and of all.
const (
	minStride = 4
	maxStride = 16
)

func makeLayout(union *flow.Key, deep bool) *layout {
	l := &layout{union: *union, deep: deep, shape: flow.ShapeOf(union), depth: flow.DepthOf(union)}
	if deep {
		l.depth = max(l.depth, flow.DepthL4)
	}
	l.portOnly = l.depth == flow.DepthPort
	l.chased = union[flow.WordL4] != 0 || l.depth >= flow.DepthL4
	l.stride = max(minStride, 1<<bits.Len(uint(l.shape.N)))
	return l
}

// read extracts what rules with this layout look at from p, pulling more of the frame into its window if need be. It
// fails when a chain of headers goes on where the window cannot.
func (l *layout) read(b *packet.Batch, p *packet.Packet, k *flow.Key) bool {
	for !flow.Extract(flow.Visible(p), p.Len(), b.InPort, l.depth, k) && l.chased {
		if !b.Pull(p) {
			return false
		}
	}
	return true
}

// classify returns the slot and the actions of the best rule for key in table; the slot is noSlot if none matches.
func (st *state) classify(table uint8, key *flow.Key) (slot, actions uint32) {
	if int(table) >= len(st.tables) {
		return noSlot, 0
	}
	return st.tables[table].Lookup(st.gen, key)
}
