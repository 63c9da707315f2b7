package flowtable

import "weft/flowtable/flow"

// Records are what the control side knows of rules: fixed-size, pointer-free, in chunks that never move, so that a
// million of them cost Go's collector nothing. A rule's slot is its place among them, among each Lookup's counters, and
// its name in the classifier.

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits

	noSlot = 0 // slot 0 is never used
)

// record is one version of one rule, all that lookups do not need: those look at the classifier alone.
//
// Concurrency: belongs to the control side.
type record struct {
	added             uint64 // the generation that showed it first
	cookie            uint64
	created, modified int64  // Unix time, nanoseconds
	packets, bytes    uint64 // counted by earlier versions and by Lookups that are gone
	used              uint64 // last use that those saw, Unix seconds
	serial            uint64 // order of arrival
	actions           uint32
	pred, succ        uint32 // the version that this one replaced, while its counts may still move; its successor
	idle, hard        uint16
	importance        uint16
	priority          uint16
	table             uint8
	flags             flow.Flags
	live              bool // part of the newest state, published or about to be
}

type recordChunk [chunkSize]record

// records are the chunks.
type records []*recordChunk

func (r records) at(slot uint32) *record { return &r[slot>>chunkBits][slot&(chunkSize-1)] }

// slab hands out records. Control side only.
type slab struct {
	chunks records
	free   []uint32
	next   uint32
}

// alloc returns an unused slot. grew: there is one more chunk.
func (s *slab) alloc() (slot uint32, grew bool) {
	if n := len(s.free); n > 0 {
		slot = s.free[n-1]
		s.free = s.free[:n-1]
		return slot, false
	}
	if s.next == 0 {
		s.next = 1
	}
	slot = s.next
	s.next++
	if int(slot>>chunkBits) == len(s.chunks) {
		s.chunks = append(s.chunks, new(recordChunk))
		grew = true
	}
	return slot, grew
}

// release makes slot free. Nobody may reach it any more.
func (s *slab) release(slot uint32) { s.free = append(s.free, slot) }
