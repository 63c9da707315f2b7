package flowtable

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
	words   []uint64
	stride  int
	keys    int // words of key
	setMask uint64
	cleared int // words, from the start, that hold nothing old
	random  uint64
}

const (
	ways     = 8
	pathBits = 24
	pathMask = 1<<pathBits - 1
	lineSize = 64

	// bytesPerEntry of CacheEntries: two entries of three words of key, or one of seven.
	bytesPerEntry = 64

	clearFirst = 8192 // words cleared at once when everything is forgotten
	clearPiece = 4096 // words cleared for each batch after that
)

func newCache(c *carver, entries int, seed uint64) cache {
	words := carve[uint64](c, entries*bytesPerEntry/8)
	return cache{words: words, cleared: len(words), random: seed | 1}
}

// configure forgets everything and lays entries out anew.
func (c *cache) configure(l *layout, fresh bool) {
	c.stride, c.keys = l.stride, l.shape.n
	if !fresh {
		c.cleared = min(len(c.words), clearFirst)
		clear(c.words[:c.cleared])
	}
	c.resize()
}

// resize uses as many sets as are clear: a power of two.
func (c *cache) resize() {
	sets := len(c.words) / (ways * c.stride)
	for sets*ways*c.stride > c.cleared {
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

// way returns the n-th entry to look at for hash.
func (c *cache) way(hash uint64, n uint64) []uint64 {
	i := ((hash&c.setMask)*ways + (hash>>61 ^ n)) * uint64(c.stride)
	return c.words[i : i+uint64(c.stride) : i+uint64(c.stride)]
}

// find returns the entry for key, nil if there is none.
func (c *cache) find(hash uint64, key *Key) []uint64 {
	for n := range uint64(ways) {
		e := c.way(hash, n)
		if e[0] == 0 {
			continue
		}
		same := true
		for i, w := range e[1 : c.keys+1] {
			if w != key[i] {
				same = false
				break
			}
		}
		if same {
			return e
		}
	}
	return nil
}

// insert puts a key that is not there on a free way, or on a random one. It reports whether that one was taken.
func (c *cache) insert(hash uint64, key *Key, word uint64) (evicted bool) {
	var e []uint64
	for n := range uint64(ways) {
		if e = c.way(hash, n); e[0] == 0 {
			break
		}
	}
	if e[0] != 0 {
		evicted = true
		// xorshift64 (Marsaglia, "Xorshift RNGs", 2003)
		c.random ^= c.random << 13
		c.random ^= c.random >> 7
		c.random ^= c.random << 17
		e = c.way(hash, c.random>>32%ways)
	}
	e[0] = word
	copy(e[1:], key[:c.keys])
	return evicted
}
