package flowtable

import (
	"sync/atomic"

	"weft/flowtable/flow"
)

// tuple is all rules of one table with one mask: a hash table from masked keys to rules. It can be changed while PMD
// threads look rules up in it.
//
// It is an extendible hash table: a directory of segments, each a small open-addressed table of its own. Growing
// rebuilds or splits one segment of at most maxSegment places, so adding one rule to a million costs microseconds.
//
// Concurrency: one writer (the pipeline's mutex), any readers. Readers follow atomic pointers; a segment or directory
// that was replaced stays as it was for those who still read it. Rules with one masked key hang on one place, by
// falling priority, linked by record.next.
type tuple struct {
	id    uint32
	table uint8
	mask  flow.Key
	shape flow.Shape
	seed  uint64
	// newest is the pipeline's newest view of records: places may hold slots that a reader's own view does not reach.
	newest *atomic.Pointer[records]
	dir    atomic.Pointer[directory]

	// Control side only.
	count      int // live rules
	places     int // records linked, live or not
	priorities map[uint16]int
	top        uint16 // as the newest list of tuples has it
}

// directory maps the top bits of a hash to segments.
type directory struct {
	bits uint8
	segs []atomic.Pointer[segment]
}

// segment is an open-addressed table. A place is 0 when free, or 32 bits of the hash above a slot; grave marks one that
// was freed and that probing must pass.
type segment struct {
	places []uint64
	bits   uint8 // how many top bits of the hash all entries share
	used   int   // places that are not free, control side only
	graves int   // of them graves, control side only
}

const (
	minSegment = 8
	maxSegment = 4096
	grave      = 0xffffffff
	maxDirBits = 24
)

func newTuple(id uint32, table uint8, mask *flow.Key, seed uint64, newest *atomic.Pointer[records]) *tuple {
	t := &tuple{
		id: id, table: table, mask: *mask, shape: flow.ShapeOf(mask), seed: seed, newest: newest,
		priorities: make(map[uint16]int),
	}
	d := &directory{segs: make([]atomic.Pointer[segment], 1)}
	d.segs[0].Store(&segment{places: make([]uint64, minSegment)})
	t.dir.Store(d)
	return t
}

// segment returns the one for hash.
func (d *directory) segment(hash uint64) *segment {
	return d.segs[hash>>32>>(32-d.bits)].Load()
}

func placeTag(hash uint64) uint64 { return hash << 16 &^ (1<<32 - 1) }

// find returns the slot of the best rule that key fulfils among those of generation gen with a priority above floor.
func (t *tuple) find(recs records, gen uint64, key *flow.Key, floor int) (slot uint32, priority int) {
	var picked flow.Key
	hash := t.shape.Pick(key, &picked, t.seed)
	slot = t.head(recs, hash, &picked)
	for slot != noSlot {
		recs = recs.reach(slot, t.newest)
		r := recs.at(slot)
		if int(r.priority) <= floor {
			return noSlot, floor
		}
		if r.visible(gen) {
			return slot, int(r.priority)
		}
		slot = atomic.LoadUint32(&r.next)
	}
	return noSlot, floor
}

// head returns the first record with the given masked key.
func (t *tuple) head(recs records, hash uint64, picked *flow.Key) uint32 {
	seg := t.dir.Load().segment(hash)
	tag := placeTag(hash)
	mask := uint64(len(seg.places) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		p := atomic.LoadUint64(&seg.places[i])
		if p == 0 {
			return noSlot
		}
		if p&^(1<<32-1) != tag || uint32(p) == grave {
			continue
		}
		recs = recs.reach(uint32(p), t.newest)
		if t.same(recs.at(uint32(p)), picked) {
			return uint32(p)
		}
	}
}

// same compares the masked words.
func (t *tuple) same(r *record, picked *flow.Key) bool {
	return r.key.SameWords(picked, t.shape.N)
}

// place returns the address of the place that holds slot's key, nil if none.
func (t *tuple) place(recs records, hash uint64, key *flow.Key) *uint64 {
	seg := t.dir.Load().segment(hash)
	tag := placeTag(hash)
	mask := uint64(len(seg.places) - 1)
	for i := hash & mask; seg.places[i] != 0; i = (i + 1) & mask {
		p := seg.places[i]
		if p&^(1<<32-1) == tag && uint32(p) != grave && t.same(recs.at(uint32(p)), key) {
			return &seg.places[i]
		}
	}
	return nil
}

// link adds slot, whose record has its key, hash and priority, for readers of the generation in its record.
func (t *tuple) link(recs records, slot uint32) {
	r := recs.at(slot)
	t.places++
	if p := t.place(recs, r.hash, &r.key); p != nil {
		first := uint32(*p)
		if recs.at(first).priority <= r.priority {
			atomic.StoreUint32(&r.next, first)
			atomic.StoreUint64(p, placeTag(r.hash)|uint64(slot))
			return
		}
		before := recs.at(first)
		for before.next != noSlot && recs.at(before.next).priority > r.priority {
			before = recs.at(before.next)
		}
		atomic.StoreUint32(&r.next, before.next)
		atomic.StoreUint32(&before.next, slot)
		return
	}
	atomic.StoreUint32(&r.next, noSlot)
	seg := t.dir.Load().segment(r.hash)
	if (seg.used+1)*4 > len(seg.places)*3 {
		seg = t.grow(recs, seg, r.hash)
	}
	seg.insert(r.hash, slot)
}

// insert puts slot on the first free place.
func (s *segment) insert(hash uint64, slot uint32) {
	mask := uint64(len(s.places) - 1)
	i := hash & mask
	for s.places[i] != 0 {
		i = (i + 1) & mask
	}
	atomic.StoreUint64(&s.places[i], placeTag(hash)|uint64(slot))
	s.used++
}

// unlink removes slot. Readers that are on their way through it still find what follows.
func (t *tuple) unlink(recs records, slot uint32) {
	r := recs.at(slot)
	t.places--
	p := t.place(recs, r.hash, &r.key)
	if uint32(*p) != slot {
		before := recs.at(uint32(*p))
		for before.next != slot {
			before = recs.at(before.next)
		}
		atomic.StoreUint32(&before.next, r.next)
		return
	}
	if r.next != noSlot {
		atomic.StoreUint64(p, placeTag(r.hash)|uint64(r.next))
		return
	}
	atomic.StoreUint64(p, grave)
	t.dir.Load().segment(r.hash).graves++
}

// grow makes room in the segment of hash and returns the one that now covers hash.
func (t *tuple) grow(recs records, seg *segment, hash uint64) *segment {
	live := seg.used - seg.graves
	d := t.dir.Load()
	if live*2 < len(seg.places) || len(seg.places) < maxSegment || seg.bits == maxDirBits {
		size := len(seg.places)
		if live*2 >= size {
			size *= 2
		}
		fresh := &segment{places: make([]uint64, size), bits: seg.bits}
		seg.each(func(slot uint32) { fresh.insert(recs.at(slot).hash, slot) })
		d.replace(seg.bits, hash, fresh)
		return fresh
	}
	if seg.bits == d.bits {
		d = d.double()
		t.dir.Store(d)
	}
	half := [2]*segment{}
	for i := range half {
		half[i] = &segment{places: make([]uint64, maxSegment), bits: seg.bits + 1}
	}
	side := func(h uint64) uint64 { return h >> (63 - seg.bits) & 1 }
	seg.each(func(slot uint32) {
		h := recs.at(slot).hash
		half[side(h)].insert(h, slot)
	})
	bit := uint64(1) << (63 - seg.bits)
	d.replace(seg.bits+1, hash&^bit, half[0])
	d.replace(seg.bits+1, hash|bit, half[1])
	return half[side(hash)]
}

// each calls f with every slot that has a place.
func (s *segment) each(f func(slot uint32)) {
	for _, p := range s.places {
		if p != 0 && uint32(p) != grave {
			f(uint32(p))
		}
	}
}

// replace publishes seg for all hashes that share the top bits of hash.
func (d *directory) replace(bits uint8, hash uint64, seg *segment) {
	first := hash >> 32 >> (32 - bits) << (d.bits - bits)
	for i := range uint64(1) << (d.bits - bits) {
		d.segs[first+i].Store(seg)
	}
}

// double is a directory of twice the size with the same segments.
func (d *directory) double() *directory {
	n := &directory{bits: d.bits + 1, segs: make([]atomic.Pointer[segment], 2*len(d.segs))}
	for i := range n.segs {
		n.segs[i].Store(d.segs[i/2].Load())
	}
	return n
}

// each calls f with every linked slot, live or not, until it returns false. Control side only.
func (t *tuple) each(recs records, f func(slot uint32)) {
	var last *segment
	d := t.dir.Load()
	for i := range d.segs {
		seg := d.segs[i].Load()
		if seg == last {
			continue
		}
		last = seg
		seg.each(func(slot uint32) {
			for slot != noSlot {
				next := recs.at(slot).next
				f(slot)
				slot = next
			}
		})
	}
}

// highest is the highest priority of the live rules.
func (t *tuple) highest() uint16 {
	var top uint16
	for p := range t.priorities {
		top = max(top, p)
	}
	return top
}
