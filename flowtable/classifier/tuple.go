package classifier

import (
	"sync/atomic"
)

// Tuple is all rules of one table that are looked up under one mask, which is theirs or has fewer bits: a hash table
// from masked keys to blocks. It can be changed while readers look rules up in it.
//
// It is an extendible hash table: a directory of segments, each a small open-addressed table of its own. Growing
// rebuilds or splits one segment of at most maxSegment places, whose places alone say where each goes, so adding one
// rule to a million costs microseconds.
type Tuple struct {
	shape shape
	// only is the segment of a directory that has one, so that lookups need not go through it.
	only atomic.Pointer[segment]
	dir  atomic.Pointer[directory]

	// Writer's side only.
	id         uint32
	rank       int // place in the plan, unplanned if it has none
	entries    int
	live       int
	priorities map[uint32]int // of live rules
	top        uint16         // the highest of them
	topless    bool           // the rules with the highest have gone: top is to be found anew
	leaving    bool           // its rules are moving to other tuples
	emptied    int            // segments from the start that are, when leaving
}

const unplanned = 1 << 30

// begin makes a tuple without entries, which may have had some, one of a table.
func (t *Tuple) begin(id uint32) {
	t.id, t.rank = id, unplanned
	t.top, t.topless, t.leaving, t.emptied = 0, false, false, 0
}

// directory maps the top bits of a hash to segments.
type directory struct {
	bits uint8
	segs []atomic.Pointer[segment]
}

// segment is an open-addressed table. A place is 0 when free, or the hash above the number of a block; grave marks one
// that was freed and that probing must pass.
//
// Readers probe from the place that their hash says to a free one, and an entry stays where it is. So they find it as long
// as no place on its way, from the one that its hash says to the one before its own, is free at any moment. Inserting
// takes the first place that is free or a grave, and frees none. Readers that had passed it already are of generations
// that do not see what is inserted, or find it where it moves from. Burying frees a grave when the place behind it is
// free: an entry whose way led over the grave would have the free place on its way, or in it. The same is then true of the
// grave before.
type segment struct {
	places []uint64
	bits   uint8 // how many top bits of the hash all entries share
	used   int   // places that are not free, writer's side only
	graves int   // of them graves, writer's side only
}

const (
	minSegment = 8
	maxSegment = 4096 // places; with maxDirBits that uses up the 32 bits of a hash
	maxDirBits = 20
	grave      = 0xffffffff
)

func newTuple(sh *shape) *Tuple {
	t := &Tuple{shape: *sh, priorities: make(map[uint32]int)}
	d := &directory{segs: make([]atomic.Pointer[segment], 1)}
	t.dir.Store(d)
	t.replace(d, 0, 0, &segment{places: make([]uint64, minSegment)})
	return t
}

// segment returns the one for hash.
func (t *Tuple) segment(hash uint32) *segment {
	if s := t.only.Load(); s != nil {
		return s
	}
	return t.dir.Load().segment(hash)
}

// replace publishes seg in d for all hashes that share the top bits of hash.
func (t *Tuple) replace(d *directory, bits uint8, hash uint32, seg *segment) {
	d.replace(bits, hash, seg)
	if bits > 0 {
		seg = nil
	}
	t.only.Store(seg)
}

// segment returns the one for hash.
func (d *directory) segment(hash uint32) *segment {
	return d.segs[uint64(hash)>>(32-d.bits)].Load()
}

// place returns the address of the place for keys with the hash that same recognizes, nil if there is none. Writer's
// side.
func (t *Tuple) place(hash uint32, same func(ref uint32) bool) *uint64 {
	seg := t.segment(hash)
	mask := uint32(len(seg.places) - 1)
	for i := hash & mask; seg.places[i] != 0; i = (i + 1) & mask {
		p := seg.places[i]
		if uint32(p>>32) == hash && uint32(p) != grave && same(uint32(p)) {
			return &seg.places[i]
		}
	}
	return nil
}

// insert makes a place for ref.
func (t *Tuple) insert(hash, ref uint32) {
	seg := t.segment(hash)
	if (seg.used+1)*4 > len(seg.places)*3 {
		seg = t.grow(seg, hash)
	}
	seg.insert(hash, ref)
}

// insert puts ref on the first place that is free or a grave.
func (s *segment) insert(hash, ref uint32) {
	mask := uint32(len(s.places) - 1)
	i := hash & mask
	for s.places[i] != 0 && uint32(s.places[i]) != grave {
		i = (i + 1) & mask
	}
	if s.places[i] == 0 {
		s.used++
	} else {
		s.graves--
	}
	atomic.StoreUint64(&s.places[i], uint64(hash)<<32|uint64(ref))
}

// bury frees a place in the segment of hash.
func (t *Tuple) bury(hash uint32, place *uint64) {
	seg := t.segment(hash)
	mask := uint32(len(seg.places) - 1)
	i := hash & mask
	for &seg.places[i] != place {
		i = (i + 1) & mask
	}
	seg.bury(i)
}

// bury makes place i a grave or, if a free place follows, free, with the graves right before it: so no grave ever has a
// free place behind it, and where no entry is left all places are free.
func (s *segment) bury(i uint32) {
	mask := uint32(len(s.places) - 1)
	atomic.StoreUint64(&s.places[i], grave)
	s.graves++
	if s.places[(i+1)&mask] != 0 {
		return
	}
	for uint32(s.places[i]) == grave {
		atomic.StoreUint64(&s.places[i], 0)
		s.used--
		s.graves--
		i = (i - 1) & mask
	}
}

// grow makes room in the segment of hash and returns the one that now covers hash.
func (t *Tuple) grow(seg *segment, hash uint32) *segment {
	live := seg.used - seg.graves
	d := t.dir.Load()
	if live*2 < len(seg.places) || len(seg.places) < maxSegment || seg.bits == maxDirBits {
		size := len(seg.places)
		if live*2 >= size {
			size *= 2
		}
		fresh := &segment{places: make([]uint64, size), bits: seg.bits}
		seg.each(fresh.insert)
		t.replace(d, seg.bits, hash, fresh)
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
	bit := uint32(1) << (31 - seg.bits)
	seg.each(func(h, ref uint32) {
		if h&bit == 0 {
			half[0].insert(h, ref)
		} else {
			half[1].insert(h, ref)
		}
	})
	t.replace(d, seg.bits+1, hash&^bit, half[0])
	t.replace(d, seg.bits+1, hash|bit, half[1])
	if hash&bit == 0 {
		return half[0]
	}
	return half[1]
}

// each calls f with every block that has a place, and its hash.
func (s *segment) each(f func(hash, ref uint32)) {
	for _, p := range s.places {
		if p != 0 && uint32(p) != grave {
			f(uint32(p>>32), uint32(p))
		}
	}
}

// replace publishes seg for all hashes that share the top bits of hash.
func (d *directory) replace(bits uint8, hash uint32, seg *segment) {
	first := uint64(hash) >> (32 - bits) << (d.bits - bits)
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

// blocks calls f with the first block of every chain from the given segment on, until f returns false, and returns the
// segment that it got to, 0 if that was the end. Writer's side only; f must not change t.
func (t *Tuple) blocks(from int, f func(ref uint32) bool) (segment int) {
	d := t.dir.Load()
	for i := from; i < len(d.segs); i++ {
		seg := d.segs[i].Load()
		if i > from && seg == d.segs[i-1].Load() {
			continue
		}
		for _, p := range seg.places {
			if p != 0 && uint32(p) != grave && !f(uint32(p)) {
				return i
			}
		}
	}
	return 0
}

// highest is the highest priority of the live rules, of which there are some.
func (t *Tuple) highest() uint16 {
	if t.topless {
		t.top, t.topless = 0, false
		for p := range t.priorities {
			t.top = max(t.top, uint16(p))
		}
	}
	return t.top
}

// count takes a live rule in (1) or out (-1). It reports whether views must change for that.
func (t *Tuple) count(priority uint16, d int) bool {
	t.live += d
	n := t.priorities[uint32(priority)] + d
	if n == 0 {
		delete(t.priorities, uint32(priority))
		t.topless = t.topless || priority == t.top
		return t.live == 0 || priority == t.top
	}
	t.priorities[uint32(priority)] = n
	if d < 0 || t.live > 1 && priority <= t.top {
		return false
	}
	t.top, t.topless = priority, false
	return true
}

// bytes is the memory that its places take.
func (t *Tuple) bytes() uint64 {
	d := t.dir.Load()
	n := uint64(len(d.segs)) * 8
	var last *segment
	for i := range d.segs {
		if seg := d.segs[i].Load(); seg != last {
			last = seg
			n += uint64(len(seg.places)) * 8
		}
	}
	return n
}
