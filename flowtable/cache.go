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
// Nothing is ever wrongly hit: keys are compared in full, and when the layout of keys or the numbering of paths
// changes, memory that has something old in it is not looked at before it was cleared. That happens piecemeal, one
// piece for each batch, while the cache is smaller than it could be.
type cache struct {
	base    *uint64 // words
	setMask uint64
	stride  uintptr // bytes from entry to entry
	keys    int     // words of key

	words   []uint64
	cleared int  // words, from the start, that hold nothing old
	filled  bool // since configure
	random  uint64
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

	clearFirst = 8192 // words cleared at once when everything is forgotten
	clearPiece = 4096 // words cleared for each batch after that
)

// maxEntries is the most entries that a cache for entries flows can have.
func maxEntries(entries int) int { return entries * wordsPerEntry / minStride }

// cacheWords is how many words a cache for entries flows takes: behind the last entry there is room for a view of it.
func cacheWords(entries int) int { return entries*wordsPerEntry + len(entry{}) }

func newCache(c *carver, entries int, seed uint64) cache {
	words := carve[uint64](c, cacheWords(entries))
	base := &words[0]
	words = words[:entries*wordsPerEntry]
	return cache{base: base, words: words, cleared: len(words), random: seed | 1}
}

// configure forgets everything and lays entries out anew.
func (c *cache) configure(l *layout) {
	c.stride, c.keys = uintptr(l.stride)*wordSize, l.shape.N
	if c.filled {
		c.cleared = min(len(c.words), clearFirst)
		clear(c.words[:c.cleared])
		c.filled = false
	}
	c.resize()
}

// resize uses as many sets as are clear: a power of two.
func (c *cache) resize() {
	set := ways * int(c.stride) / wordSize
	sets := len(c.words) / set
	for sets*set > c.cleared {
		sets /= 2
	}
	c.setMask = uint64(sets - 1)
}

// clearMore clears the next piece, if anything is left to clear.
func (c *cache) clearMore() {
	if c.cleared == len(c.words) {
		return
	}
	end := min(len(c.words), c.cleared+clearPiece)
	clear(c.words[c.cleared:end])
	c.cleared = end
	c.resize()
}

// capacity is the number of entries in use or free.
func (c *cache) capacity() uint64 { return (c.setMask + 1) * ways }

// find returns the entry for key, nil if there is none.
func (c *cache) find(hash uint64, key *flow.PacketKey) *entry {
	for n := range uint64(ways) {
		if e := c.way(hash, n); e[0] != 0 && key.SameWords((*flow.PacketKey)(e[1:]), c.keys) {
			return e
		}
	}
	return nil
}

// room returns a free entry for hash or, if there is none, one at random.
func (c *cache) room(hash uint64) *entry {
	for n := range uint64(ways) {
		if e := c.way(hash, n); e[0] == 0 {
			return e
		}
	}
	// xorshift64 (Marsaglia, "Xorshift RNGs", 2003)
	c.random ^= c.random << 13
	c.random ^= c.random >> 7
	c.random ^= c.random << 17
	return c.way(hash, c.random>>32%ways)
}

// set fills e.
func (c *cache) set(e *entry, word uint64, key *flow.PacketKey) {
	e[0] = word
	copy(e[1:], key[:c.keys])
	c.filled = true
}
