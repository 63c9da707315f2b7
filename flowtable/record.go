package flowtable

import (
	"math"
	"sync/atomic"

	"weft/flowtable/flow"
)

// Records are what the classifier knows of rules: fixed-size, pointer-free, in chunks that never move, so that a
// million of them cost Go's collector nothing. A rule's slot is its place among them, and also among each Lookup's
// counters.

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits

	noSlot  = 0 // slot 0 is never used
	forever = math.MaxUint64
)

// record is one version of one rule. It is visible to readers of the generations from added until before removed.
//
// Concurrency: everything is written before the record is published and not changed until no reader can reach it, but
// for added, removed and next, which are atomic where readers look.
type record struct {
	// What a lookup touches.
	added, removed uint64
	next           uint32 // the next version or lower priority with the same match, noSlot at the end
	actions        uint32
	priority       uint16
	table          uint8
	flags          flow.Flags
	hash           uint64
	key            flow.Key // compacted as the tuple's mask is

	// What only the control side touches.
	cookie            uint64
	created, modified int64  // Unix time, nanoseconds
	packets, bytes    uint64 // counted by earlier versions and by Lookups that are gone
	used              uint64 // last use that those saw, Unix seconds
	tuple             uint32 // by id
	pred, succ        uint32 // the version that this one replaced, while its counts may still move; its successor
	idle, hard        uint16
	importance        uint16
	serial            uint64 // order of arrival
}

type recordChunk [chunkSize]record

// records is a reader's view: a slice that is replaced, never changed, when it grows.
type records []*recordChunk

func (r records) at(slot uint32) *record { return &r[slot>>chunkBits][slot&(chunkSize-1)] }

// reach is r, or the newest view when slot was linked after r was published. A rule that is being added is linked before
// the state that shows it is published, so readers of earlier states meet it and must look at it to see that it is not
// for them.
func (r records) reach(slot uint32, newest *atomic.Pointer[records]) records {
	if int(slot>>chunkBits) < len(r) {
		return r
	}
	return *newest.Load()
}

// visible reports whether a reader of generation gen sees c.
func (c *record) visible(gen uint64) bool {
	return atomic.LoadUint64(&c.added) <= gen && atomic.LoadUint64(&c.removed) > gen
}

// live reports whether c is part of the newest state, published or about to be. Control side only.
func (c *record) live() bool { return atomic.LoadUint64(&c.removed) == forever }

// slab hands out records. Control side only.
type slab struct {
	chunks records
	newest atomic.Pointer[records] // the same, for readers
	free   []uint32
	next   uint32
}

// alloc returns an unused slot. grew: the chunks have a new slice.
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
		grown := make(records, len(s.chunks)+1)
		copy(grown, s.chunks)
		grown[len(s.chunks)] = new(recordChunk)
		s.chunks = grown
		s.newest.Store(&grown) // before a slot in it can be linked
		grew = true
	}
	return slot, grew
}

// release makes slot free. Nobody may reach it any more.
func (s *slab) release(slot uint32) { s.free = append(s.free, slot) }
