package classifier

import "sync/atomic"

// The arena hands out blocks: runs of 64-byte units in chunks that never move. A block is named by the number of its
// first unit; 0 is none.

const (
	unitWords  = 8 // 64 bytes, one cache line
	chunkBits  = 11
	chunkUnits = 1 << chunkBits
)

type chunk [chunkUnits * unitWords]uint64

// classes are the sizes of blocks in units. The largest holds maxEntries entries of all words of a key.
var classes = [...]uint8{1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192}

// classOf is the smallest class with room for words.
func classOf(words int) uint8 {
	for c, units := range classes {
		if int(units)*unitWords >= words {
			return uint8(c)
		}
	}
	panic("classifier: block of more than the largest class")
}

// arena is the writer's side; readers follow newest.
type arena struct {
	chunks []*chunk
	newest atomic.Pointer[[]*chunk]
	free   [len(classes)][]uint32
	next   uint32 // first unit never used

	retired []retired
	label   uint64 // the epoch at which what is retired now is nobody's
}

// retired is a block that is reachable only for readers of epochs before epoch.
type retired struct {
	epoch uint64
	ref   uint32
	class uint8
}

func (a *arena) alloc(class uint8) uint32 {
	if n := len(a.free[class]); n > 0 {
		ref := a.free[class][n-1]
		a.free[class] = a.free[class][:n-1]
		return ref
	}
	units := uint32(classes[class])
	if a.next == 0 {
		a.grow()
		a.next = 1
	}
	left := chunkUnits - a.next&(chunkUnits-1)
	if a.next&(chunkUnits-1) == 0 {
		left = 0
	}
	if left < units {
		for ; left > 0; left-- {
			a.free[0] = append(a.free[0], a.next)
			a.next++
		}
		a.grow()
	}
	ref := a.next
	a.next += units
	return ref
}

// grow appends a chunk. Readers may go on with the list that they have: what is in it stays in place.
func (a *arena) grow() {
	a.chunks = append(a.chunks, new(chunk))
	list := a.chunks
	a.newest.Store(&list) // before a block in it can be linked
}

func (a *arena) retire(ref uint32, class uint8) {
	a.retired = append(a.retired, retired{a.label, ref, class})
}

// reclaim frees what was retired, when the oldest reader is at epoch oldest.
func (a *arena) reclaim(oldest uint64) {
	n := 0
	for ; n < len(a.retired) && a.retired[n].epoch <= oldest; n++ {
		r := a.retired[n]
		a.free[r.class] = append(a.free[r.class], r.ref)
	}
	a.retired = a.retired[:copy(a.retired, a.retired[n:])]
}

// at returns the words from block ref to the end of its chunk.
func at(chunks []*chunk, ref uint32) []uint64 {
	return chunks[ref>>chunkBits][ref&(chunkUnits-1)*unitWords:]
}
