package flowtable

import "weft/flowtable/flow"

// cache is an exact-match cache from compacted keys to paths: sets of ways entries, in pointer-free memory. An entry is
//
//	word 0: generation << pathBits | path      0 = free
//	word 1...: the masked, compacted key
//
// so three words of key (in_port, IPv4 addresses, protocol and ports) make 32 bytes. The set comes from the hash's low
// bits, the way to look at first from its high bits, so that a lightly loaded cache is hit at the first look; a full
// set loses a random entry. There is no chain and no tombstone.
//
// The cache begins with a few sets and grows with the flows that there are, by linear hashing (Litwin, VLDB 1980): when
// entries were lost for want of room, the next sets in turn are each split into two. So memory is first touched when it
// is needed, a few flows lie close together, and nothing is ever copied at once. When the layout of keys or the
// numbering of paths changes, it begins again; a set is cleared when it comes into use.
type cache struct {
	base   *uint64 // words
	mask   uint64  // a power of two less one: at least sets-1, less than twice that
	sets   uint64  // in use
	stride uintptr // bytes from entry to entry

	keys   int // words of key
	most   uint64
	want   int // sets to split
	seed   uint64
	words  []uint64
	random uint64
}

// entry is a view of one: its word, then its key. Only as much of it as the layout's stride is its own.
type entry [1 + flow.PacketWords]uint64

const (
	ways     = 8
	pathBits = 25
	pathMask = 1<<pathBits - 1
	lineSize = 64
	wordSize = 8

	// wordsPerEntry of CacheEntries: two entries of three words of key, or one of seven.
	wordsPerEntry = 2 * minStride

	firstSets   = minCacheEntries * wordsPerEntry / (ways * maxStride) // in the beginning: as many as there always can be
	splitsEach  = 4                                                    // sets split for each entry that was lost
	splitsBatch = 32                                                   // sets split at most before each batch
)

// maxEntries is the most entries that a cache for entries flows can have.
func maxEntries(entries int) int { return entries * wordsPerEntry / minStride }

// cacheWords is how many words a cache for entries flows takes: behind the last entry there is room for a view of it.
func cacheWords(entries int) int { return entries*wordsPerEntry + len(entry{}) }

func newCache(c *carver, entries int, seed uint64) cache {
	words := carve[uint64](c, cacheWords(entries))
	return cache{base: &words[0], words: words[:entries*wordsPerEntry], seed: seed, random: seed | 1}
}

// configure forgets everything and lays entries out anew.
func (c *cache) configure(l *layout) {
	c.stride, c.keys = uintptr(l.stride)*wordSize, l.shape.N
	c.most = uint64(len(c.words) / (ways * int(l.stride)))
	c.sets, c.mask, c.want = firstSets, firstSets-1, 0
	clear(c.words[:firstSets*ways*l.stride])
}

// lost notes that an entry had to go for want of room.
func (c *cache) lost() { c.want = min(c.want+splitsEach, splitsBatch) }

// grow splits sets, as many as entries were lost.
func (c *cache) grow() {
	for ; c.want > 0 && c.sets < c.most; c.want-- {
		c.split()
	}
	c.want = 0
}

// split divides the next set in turn: entries whose hash has one bit more go to a new one.
func (c *cache) split() {
	if c.sets > c.mask {
		c.mask = c.mask*2 + 1
	}
	to := c.sets
	from := to & (c.mask >> 1)
	words := uint64(c.stride) / wordSize
	clear(c.words[to*ways*words:][:ways*words])
	c.sets++
	for n := range uint64(ways) {
		e := c.at(from, n)
		if e[0] == 0 {
			continue
		}
		hash := flow.HashPacket((*flow.PacketKey)(e[1:]), c.keys, c.seed)
		if hash&c.mask != to {
			continue
		}
		f := c.room(hash) // there is some: the set had no more entries than this one can have
		copy(f[:1+c.keys], e[:1+c.keys])
		e[0] = 0
	}
}

// setOf is the set of a hash: its low bits, one less for sets that were not split yet.
func (c *cache) setOf(hash uint64) uint64 {
	i := hash & c.mask
	if i >= c.sets {
		i = hash & (c.mask >> 1)
	}
	return i
}

// capacity is the number of entries that there may be.
func (c *cache) capacity() uint64 { return c.most * ways }

// find returns the entry for key, nil if there is none.
func (c *cache) find(hash uint64, key *flow.PacketKey) *entry {
	set := c.setOf(hash)
	for n := range uint64(ways) {
		if e := c.at(set, hash>>61^n); e[0] != 0 && key.SameWords((*flow.PacketKey)(e[1:]), c.keys) {
			return e
		}
	}
	return nil
}

// room returns a free entry for hash or, if there is none, one at random.
func (c *cache) room(hash uint64) *entry {
	set := c.setOf(hash)
	for n := range uint64(ways) {
		if e := c.at(set, hash>>61^n); e[0] == 0 {
			return e
		}
	}
	// xorshift64 (Marsaglia, "Xorshift RNGs", 2003)
	c.random ^= c.random << 13
	c.random ^= c.random >> 7
	c.random ^= c.random << 17
	return c.at(set, c.random>>32%ways)
}

// set fills e.
func (c *cache) set(e *entry, word uint64, key *flow.PacketKey) {
	e[0] = word
	copy(e[1:], key[:c.keys])
}
