package classifier

import (
	"sync/atomic"

	"weft/flowtable/flow"
)

// A block holds the rules that one key finds in one tuple, in falling order of priority:
//
//	word 0   next block 32 | highest priority 16 | entries 5 | common words 5 | columns 5 | own 1
//	own: every rule in it has the tuple's mask and thus the same match
//	         the key's words under it
//	else
//	         which words of keys the common words and the columns are, a byte each
//	         mask and value of the common words: bits that all rules in it want, and want to be the same (all such bits, but
//	         for those that became common when a rule left, see resettle)
//	         for each rule and column, its mask and value
//	for each rule
//	         slot 32 | priority 16    mask 32 | data 32    added    removed
//
// so that one comparison tells most keys that none of the rules is theirs, and a rule that is alone in its tuple's mask
// with three words of key is one cache line. Blocks do not change when readers can reach them, but for next, added and
// removed.
const (
	entryHead  = 4
	maxEntries = 24 // more are linked

	entryMeta    = 0
	entryMask    = 1
	entryAdded   = 2
	entryRemoved = 3
)

// form is what word 0 says of a block.
type form struct {
	n, common, columns int
	own                bool
}

func formOf(h uint64) form {
	return form{int(h >> 11 & 31), int(h >> 6 & 31), int(h >> 1 & 31), h&1 != 0}
}

func (f form) header(next uint32, top uint16) uint64 {
	h := uint64(next)<<32 | uint64(top)<<16 | uint64(f.n)<<11 | uint64(f.common)<<6 | uint64(f.columns)<<1
	if f.own {
		h |= 1
	}
	return h
}

func nextOf(h uint64) uint32 { return uint32(h >> 32) }
func topOf(h uint64) int     { return int(h >> 16 & 0xffff) }
func countOf(h uint64) int   { return int(h >> 11 & 31) }

// Where the parts of a block begin.
func (f form) pairs() int { return 1 + (f.common+f.columns+7)/8 }
func (f form) cells() int { return f.pairs() + 2*f.common }

func (f form) heads() int {
	if f.own {
		return 1 + f.common
	}
	return f.cells() + 2*f.columns*f.n
}

func (f form) words() int { return f.heads() + entryHead*f.n }

// id is which word of keys the i-th common word or column is.
func id(words []uint64, i int) uint8 { return uint8(words[1+i/8] >> (i % 8 * 8)) }

// entry is the writer's copy of one rule's head, followed by the words of its key under its mask.
type entry []uint64

func (e entry) slot() uint32     { return uint32(e[entryMeta] >> 32) }
func (e entry) priority() uint16 { return uint16(e[entryMeta] >> 16) }
func (e entry) mask() uint32     { return uint32(e[entryMask] >> 32) }
func (e entry) live() bool       { return e[entryRemoved] == forever }

// block is the writer's view of one.
type block struct {
	s     *Store
	words []uint64
	head  uint64
	form
}

func (s *Store) block(ref uint32) block {
	w := at(s.arena.chunks, ref)
	return block{s, w, w[0], formOf(w[0])}
}

// headOf is the part of the i-th entry that all forms have.
func (b *block) headOf(i int) entry {
	return entry(b.words[b.heads()+entryHead*i:][:entryHead:entryHead])
}

// entry appends the i-th entry to buf and returns it.
func (b *block) entry(buf []uint64, i int) entry {
	e := append(buf, b.headOf(i)...)
	sh := b.s.shapes[e[len(buf)+entryMask]>>32]
	if b.own {
		return entry(append(e, b.words[1:1+b.common]...))[len(buf):]
	}
	var key flow.Key
	for c := range b.common {
		key[id(b.words, c)] = b.words[b.pairs()+2*c+1]
	}
	for c := range b.columns {
		key[id(b.words, b.common+c)] = b.words[b.cells()+2*(i*b.columns+c)+1]
	}
	for w := range int(sh.n) {
		e = append(e, key[sh.word[w]])
	}
	return entry(e[len(buf):])
}

// shares reports whether the block is of keys that are like key under sh, the mask of its tuple: what entries have in common
// is that at least.
func (b *block) shares(sh *shape, key *flow.Key) bool {
	if b.own {
		return sh.matches(key, b.words[1:])
	}
	c, pairs := 0, b.words[b.pairs():]
	for i := range int(sh.n) {
		w := sh.word[i]
		for id(b.words, c) != w {
			c++
		}
		if (pairs[2*c+1]^key[w])&sh.mask[i] != 0 {
			return false
		}
	}
	return true
}

// hasKey reports whether key, which has no bits outside the i-th entry's mask, is the entry's.
func (b *block) hasKey(i int, key *flow.Key) bool {
	if b.own {
		return true // what shares the chain has the same words
	}
	var differ uint64
	cells := b.words[b.cells()+2*i*b.columns:]
	for c := range b.columns {
		differ |= key[id(b.words, b.common+c)] ^ cells[2*c+1]
	}
	for c := range b.common {
		pair := b.words[b.pairs()+2*c:]
		differ |= key[id(b.words, c)]&pair[0] ^ pair[1]
	}
	return differ == 0
}

// find returns the index of slot's entry, -1 if it is not here.
func (b *block) find(slot uint32) int {
	heads := b.words[b.heads():b.form.words()]
	for i := range b.n {
		if entry(heads[entryHead*i:]).slot() == slot {
			return i
		}
	}
	return -1
}

// list is entries that are on their way from block to block.
type list struct {
	mem [(maxEntries + 1) * (entryHead + flow.KeyWords)]uint64
	all [maxEntries + 1]entry
	n   int
}

// take appends the entries of b from index from to before to.
func (l *list) take(b *block, from, to int) {
	used := 0
	for _, e := range l.all[:l.n] {
		used += len(e)
	}
	for i := from; i < to; i++ {
		l.all[l.n] = b.entry(l.mem[used:used], i)
		used += len(l.all[l.n])
		l.n++
	}
}

// put appends e.
func (l *list) put(e entry) {
	used := 0
	for _, o := range l.all[:l.n] {
		used += len(o)
	}
	l.all[l.n] = append(l.mem[used:used], e...)
	l.n++
}

// common is the bits that all of entries want and want to be the same, and the words in which they want more.
func (s *Store) common(entries []entry) (mask, value, more flow.Key) {
	var all, union flow.Key
	for n, e := range entries {
		sh := s.shapes[e.mask()]
		var m flow.Key
		for i := range int(sh.n) {
			w, v := sh.word[i], e[entryHead+i]
			m[w] = sh.mask[i]
			union[w] |= sh.mask[i]
			if n == 0 {
				value[w] = v
			}
			more[w] |= v ^ value[w]
		}
		for w := range all {
			if n == 0 {
				all[w] = m[w]
			} else {
				all[w] &= m[w]
			}
		}
	}
	for w := range all {
		mask[w] = all[w] &^ more[w]
		value[w] &= mask[w]
		more[w] = union[w] &^ mask[w]
	}
	return mask, value, more
}

// write makes a block of entries, linked to next, and notes that they are there now, see settle.
func (s *Store) write(t *Tuple, entries []entry, next, from uint32) uint32 {
	f := form{n: len(entries), own: true}
	for _, e := range entries {
		f.own = f.own && *s.shapes[e.mask()] == t.shape
	}
	var mask, value, more flow.Key
	if f.own {
		f.common = int(t.shape.n)
	} else {
		mask, value, more = s.common(entries)
		for w := range mask {
			if mask[w] != 0 {
				f.common++
			}
			if more[w] != 0 {
				f.columns++
			}
		}
	}
	ref := s.arena.alloc(classOf(f.words()))
	words := at(s.arena.chunks, ref)[:f.words()]
	clear(words)
	if f.own {
		copy(words[1:], entries[0][entryHead:])
	} else {
		s.fill(f, words, entries, &mask, &value, &more)
	}
	heads := words[f.heads():]
	for i, e := range entries {
		copy(heads[entryHead*i:], e[:entryHead])
	}
	s.settle(t, heads, ref, from)
	words[0] = f.header(next, entries[0].priority())
	return ref
}

// fill writes the common words and the columns.
func (s *Store) fill(f form, words []uint64, entries []entry, mask, value, more *flow.Key) {
	n := 0
	name := func(w int) {
		words[1+n/8] |= uint64(w) << (n % 8 * 8)
		n++
	}
	pair := words[f.pairs():]
	for w := range mask {
		if mask[w] != 0 {
			name(w)
			pair[0], pair[1] = mask[w], value[w]
			pair = pair[2:]
		}
	}
	for w := range more {
		if more[w] == 0 {
			continue
		}
		cell := words[f.cells()+2*(n-f.common):]
		name(w)
		for i, e := range entries {
			sh := s.shapes[e.mask()]
			for j := range int(sh.n) {
				if int(sh.word[j]) == w {
					cell[2*i*f.columns], cell[2*i*f.columns+1] = sh.mask[j], e[entryHead+j]
				}
			}
		}
	}
}

// add returns the first block of a chain that begins at first and now has e too.
func (s *Store) add(t *Tuple, first uint32, e entry) uint32 {
	if first == 0 {
		return s.write(t, []entry{e}, 0, 0)
	}
	var before uint32
	ref := first
	b := s.block(ref)
	for b.headOf(b.n-1).priority() > e.priority() && nextOf(b.head) != 0 {
		before, ref = ref, nextOf(b.head)
		b = s.block(ref)
	}
	i := 0
	for i < b.n && b.headOf(i).priority() > e.priority() {
		i++
	}
	if b.n < maxEntries && b.takes(t, e) {
		return s.swap(first, before, ref, s.splice(t, &b, ref, i, 0, e))
	}
	l := &s.scratch
	l.n = 0
	l.take(&b, 0, i)
	l.put(e)
	l.take(&b, i, b.n)
	next := nextOf(b.head)
	fresh := l.all[:l.n]
	if l.n > maxEntries {
		next = s.write(t, fresh[maxEntries/2:], next, ref)
		fresh = fresh[:maxEntries/2]
	}
	return s.swap(first, before, ref, s.write(t, fresh, next, ref))
}

// swap puts fresh in the place of ref, which follows before, in the chain that begins at first, and returns where that
// begins now.
func (s *Store) swap(first, before, ref, fresh uint32) uint32 {
	b := s.block(ref)
	s.arena.retire(ref, classOf(b.form.words()))
	if before == 0 {
		return fresh
	}
	b = s.block(before)
	atomic.StoreUint64(&b.words[0], b.head&(1<<32-1)|uint64(fresh)<<32)
	return first
}

// drop returns the first block of the chain without slot's entry, 0 if nothing is left.
func (s *Store) drop(t *Tuple, first, slot uint32) uint32 {
	var before uint32
	ref := first
	b := s.block(ref)
	i := b.find(slot)
	for i < 0 {
		before, ref = ref, nextOf(b.head)
		b = s.block(ref)
		i = b.find(slot)
	}
	fresh := nextOf(b.head)
	switch {
	case b.n > 1 && (b.own || (b.n-1)%resettle != 0):
		fresh = s.splice(t, &b, ref, i, 1, nil)
	case b.n > 1:
		l := &s.scratch
		l.n = 0
		l.take(&b, 0, i)
		l.take(&b, i+1, b.n)
		fresh = s.write(t, l.all[:l.n], fresh, ref)
	}
	return s.swap(first, before, ref, fresh)
}

// resettle is at which numbers of entries left a block is written anew with all that they have in common now. In between
// it stays with what those had in common who have gone.
const resettle = 4

// takes reports whether e can join without a change to what the entries have in common and to the columns.
func (b *block) takes(t *Tuple, e entry) bool {
	sh := b.s.shapes[e.mask()]
	if b.own {
		return *sh == t.shape
	}
	var rest flow.Key // what e wants beyond what is common
	for i := range int(sh.n) {
		rest[sh.word[i]] = sh.mask[i]
	}
	key := keyOf(sh, e)
	for c := range b.common {
		w, pair := id(b.words, c), b.words[b.pairs()+2*c:]
		if rest[w]&pair[0] != pair[0] || key[w]&pair[0] != pair[1] {
			return false
		}
		rest[w] &^= pair[0]
	}
	for c := range b.columns {
		rest[id(b.words, b.common+c)] = 0
	}
	return rest == flow.Key{}
}

// splice writes a block like b, which is from, without cut entries from index i on and, unless it is nil, with e there.
func (s *Store) splice(t *Tuple, b *block, from uint32, i, cut int, e entry) uint32 {
	f, put := b.form, 0
	if e != nil {
		put = 1
	}
	f.n += put - cut
	ref := s.arena.alloc(classOf(f.words()))
	words := at(s.arena.chunks, ref)[:f.words()]
	if f.own {
		copy(words[1:], b.words[1:f.heads()])
	} else {
		copy(words[1:], b.words[1:f.cells()])
		width := 2 * f.columns
		old, cells := b.words[b.cells():b.heads()], words[f.cells():]
		copy(cells, old[:i*width])
		copy(cells[(i+put)*width:], old[(i+cut)*width:])
		if e != nil {
			s.row(f, words, cells[i*width:][:width], e)
		}
	}
	old, heads := b.words[b.heads():b.form.words()], words[f.heads():]
	copy(heads, old[:i*entryHead])
	copy(heads[(i+put)*entryHead:], old[(i+cut)*entryHead:])
	if e != nil {
		copy(heads[i*entryHead:], e[:entryHead])
	}
	s.settle(t, heads, ref, from)
	words[0] = f.header(nextOf(b.head), entry(heads).priority())
	return ref
}

// row writes the cells of e.
func (s *Store) row(f form, words, cells []uint64, e entry) {
	sh := s.shapes[e.mask()]
	for c := range f.columns {
		cells[2*c], cells[2*c+1] = 0, 0
		for j := range int(sh.n) {
			if sh.word[j] == id(words, f.common+c) {
				cells[2*c], cells[2*c+1] = sh.mask[j], e[entryHead+j]
			}
		}
	}
}

// settle notes that the entries with these heads are in block ref of t. from is the block that some of them are copied
// from: only what is known to be in it moves, not the old place of a rule that is on its way elsewhere.
func (s *Store) settle(t *Tuple, heads []uint64, ref, from uint32) {
	for ; len(heads) > 0; heads = heads[entryHead:] {
		if l := s.locs.at(entry(heads).slot()); l.block == from || l.block == 0 {
			*l = location{ref, t.id}
		}
	}
}

// lengthOf is how many entries the chain has, counted up to limit.
func (s *Store) lengthOf(ref uint32, limit int) int {
	n := 0
	for ref != 0 && n < limit {
		h := at(s.arena.chunks, ref)[0]
		n += countOf(h)
		ref = nextOf(h)
	}
	return n
}

// entryBuffer has room for any entry.
type entryBuffer [entryHead + flow.KeyWords]uint64

// each calls f with every entry of the chain, valid until f returns.
func (s *Store) each(ref uint32, f func(ref uint32, e entry)) {
	if ref == 0 {
		return
	}
	buf, _ := s.buffers.Get().(*entryBuffer)
	if buf == nil {
		buf = new(entryBuffer)
	}
	defer s.buffers.Put(buf)
	for ref != 0 {
		b := s.block(ref)
		for i := range b.n {
			f(ref, b.entry(buf[:0], i))
		}
		ref = nextOf(b.head)
	}
}

// keyOf puts an entry's words back in their places.
func keyOf(sh *shape, e entry) (k flow.Key) {
	for i := range int(sh.n) {
		k[sh.word[i]] = e[entryHead+i]
	}
	return k
}
