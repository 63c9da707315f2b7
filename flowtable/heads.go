package flowtable

// heads is a hash table of chains: where each begins. The number of chains is a power of two. It is emptied at once,
// whatever its size: a line of heads that is of an older generation is cleared when it is next looked at.
type heads struct {
	first []uint32 // ids; noID ends a chain
	gens  []uint32 // of each line of first
	gen   uint32
}

// headsLine is how many heads a cache line has.
const headsLine = lineSize / 4

func headsSize(n int) int { return carvedSize[uint32](n) + carvedSize[uint32](n/headsLine) }

func newHeads(c *carver, n int) heads {
	return heads{first: carve[uint32](c, n), gens: carve[uint32](c, n/headsLine)}
}

// of returns where the chain of a hash begins.
func (h *heads) of(hash uint32) *uint32 {
	i := hash & uint32(len(h.first)-1)
	line := i / headsLine
	if h.gens[line] != h.gen {
		clear(h.first[line*headsLine:][:headsLine])
		h.gens[line] = h.gen
	}
	return &h.first[i]
}

// forget empties all chains.
func (h *heads) forget() {
	if h.gen++; h.gen == 0 {
		clear(h.gens)
		clear(h.first)
	}
}
