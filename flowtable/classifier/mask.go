package classifier

import (
	"math/bits"

	"weft/flowtable/flow"
)

// shape is a mask without its zero words, and how keys are hashed under it. Up to four words are one cache line.
type shape struct {
	n    uint8
	word [flow.KeyWords]uint8
	_    [5]uint8
	mask [flow.KeyWords]uint64
	_    [2]uint64
}

func newShape(mask *flow.Key) *shape {
	s := new(shape)
	for i, m := range mask {
		if m != 0 {
			s.word[s.n], s.mask[s.n] = uint8(i), m
			s.n++
		}
	}
	return s
}

// key is the mask itself.
func (s *shape) key() (k flow.Key) {
	for i := range int(s.n) {
		k[s.word[i]] = s.mask[i]
	}
	return k
}

// within reports whether every bit of s is one of o.
func (s *shape) within(o *flow.Key) bool {
	for i := range int(s.n) {
		if s.mask[i]&^o[s.word[i]] != 0 {
			return false
		}
	}
	return true
}

// hash is of the words of key under the mask: the sum of independent products, which a processor computes side by side,
// mixed once more. Seeded, so that nobody outside can aim at one place.
func (s *shape) hash(key *flow.Key, seed uint64) uint32 {
	h := seed
	for i := range int(s.n) {
		hi, lo := bits.Mul64(key[s.word[i]]&s.mask[i]^seed, flow.HashMul2+uint64(i)<<1)
		h += hi ^ lo
	}
	hi, lo := bits.Mul64(h, flow.HashMul)
	return uint32((hi ^ lo) >> 32)
}

// matches reports whether key has the entry's words under the mask.
func (s *shape) matches(key *flow.Key, words []uint64) bool {
	// Without a branch for each word: most entries that are compared do not match, and where they differ is anybody's guess.
	n := min(int(s.n), len(words), flow.KeyWords)
	var differ uint64
	for i, w := range words[:n] {
		differ |= key[s.word[i]]&s.mask[i] ^ w
	}
	return differ == 0
}

// maskInfo is a mask of rules in one table. Writer's side.
type maskInfo struct {
	id    uint32
	mask  flow.Key
	shape *shape
	rules int // entries of the mask, live or not
	live  int
	homes []home // the tuples that have them

	// Tuples that may take such rules, in the order in which they are asked, as of version.
	candidates []*Tuple
	own        *Tuple // the one of them with exactly this mask, if there is one
	version    uint64
}

// home counts the entries of one mask in one tuple.
type home struct {
	tuple *Tuple
	n     int
}

// settle counts n more entries in t.
func (m *maskInfo) settle(t *Tuple, n int) {
	for i := range m.homes {
		if h := &m.homes[i]; h.tuple == t {
			if h.n += n; h.n == 0 {
				last := len(m.homes) - 1
				m.homes[i] = m.homes[last]
				m.homes = m.homes[:last]
			}
			return
		}
	}
	m.homes = append(m.homes, home{t, n})
}

// bitCounts says for every bit of a key how many masks have it, so that the union of masks that come and go is known.
type bitCounts struct {
	n     [flow.KeyWords][64]uint32
	union flow.Key
}

func (c *bitCounts) add(mask *flow.Key) {
	for w, m := range mask {
		for m := m; m != 0; m &= m - 1 {
			b := bits.TrailingZeros64(m)
			c.n[w][b]++
		}
		c.union[w] |= m
	}
}

func (c *bitCounts) remove(mask *flow.Key) {
	for w, m := range mask {
		for ; m != 0; m &= m - 1 {
			b := bits.TrailingZeros64(m)
			if c.n[w][b]--; c.n[w][b] == 0 {
				c.union[w] &^= 1 << b
			}
		}
	}
}

// bits is how many bits the mask has.
func (s *shape) bits() int {
	n := 0
	for _, m := range s.mask[:s.n] {
		n += bits.OnesCount64(m)
	}
	return n
}
