package flowtable

import (
	"weft/flowtable/flow"
	"weft/internal/packet"
)

// programs holds what cached flows resolved to, each thing once: programs (what to do with a packet) and paths (a
// program and the rules to credit). A flow names its path, so that a million flows of a few rules share a few paths.
//
// Cache entries count as users of their paths, and paths of their programs. What loses its last user is free after the
// batch, so memory never has to be searched or emptied to be used again, however many flows and rules come and go.
// There are as many ids as the cache can have entries. Only ops and credits can run out, when most programs are long; a
// packet whose program finds no room gets a path for the batch alone.
//
// All memory is there from the start, pointer-free, and touched when it is first used.
type programs struct {
	list    []program
	paths   []pathHeader
	ops     pool[Op]
	credits pool[credit]

	listIDs, pathIDs ids
	// Hash tables of chains over list and paths, linked by next.
	listHeads, pathHeads heads

	// Paths that lost a cache entry in this batch, each maybe its last.
	dead  [packet.BatchSize]uint32
	ndead int

	// What of this batch's own memory is in use: paths and their programs, ops, credits.
	ntemp, tempOps, tempCredits int
}

// program is a range of ops.
type program struct {
	off, n uint32
	users  uint32
	next   uint32 // in its chain, or among the free ones
	hash   uint32
}

// pathHeader is a program and whom to credit: the first rule here, more in credits.
type pathHeader struct {
	program     uint32
	more, nmore uint32 // range of credits
	first       credit // slot noSlot: no rule matched
	users       uint32
	next        uint32 // in its chain, or among the free ones
	hash        uint32
}

// The ids of paths and of programs: none, a few that are always there, those of the running batch, and all others.
const (
	noID      = 0
	tooLongID = 1 // drops for packet.DropHeaderTooLong
	firstTemp = 2
	firstID   = firstTemp + packet.BatchSize
)

// What one batch can take for itself at most.
const (
	roomOps     = packet.BatchSize * maxOps
	roomCredits = packet.BatchSize * (maxResubmits + 1)
)

// Small caches get room for long programs and many tables in every path; in large ones most paths are short.
const (
	extraOps     = 1 << 16
	extraCredits = 1 << 17
)

// programSizes are the array lengths for a cache of entries flows, which can have maxEntries. The ids in use are never
// more than that, the batch's own and those that the batch replaced.
func programSizes(entries int) (nids, heads, ops, credits int) {
	most := maxEntries(entries)
	return firstID + most + 2*packet.BatchSize, most,
		2*entries + min(2*entries, extraOps),
		entries + min(8*entries, extraCredits)
}

func programMemory(entries int) int {
	nids, heads, ops, credits := programSizes(entries)
	return carvedSize[program](nids) + carvedSize[pathHeader](nids) + 2*headsSize(heads) +
		carvedSize[Op](ops+roomOps) + carvedSize[credit](credits+roomCredits)
}

func newPrograms(c *carver, entries int) programs {
	nids, heads, ops, credits := programSizes(entries)
	p := programs{
		list: carve[program](c, nids), paths: carve[pathHeader](c, nids),
		listHeads: newHeads(c, heads), pathHeads: newHeads(c, heads),
		ops:     newPool(carve[Op](c, ops+roomOps), ops, func(o *Op) *uint32 { return &o.A }),
		credits: newPool(carve[credit](c, credits+roomCredits), credits, func(c *credit) *uint32 { return &c.slot }),
	}
	p.reset()
	return p
}

// reset empties p, whose hash tables are empty.
func (p *programs) reset() {
	p.listIDs, p.pathIDs = ids{top: firstID}, ids{top: firstID}
	p.ops.reset()
	p.credits.reset()
	p.ndead, p.ntemp, p.tempOps, p.tempCredits = 0, 0, 0, 0
	off := p.ops.alloc(1)
	p.ops.mem[off] = Op{Kind: OpDrop, A: uint32(packet.DropHeaderTooLong)}
	p.list[tooLongID] = program{off: off, n: 1}
	p.paths[tooLongID] = pathHeader{program: tooLongID}
}

// flush forgets everything.
func (p *programs) flush() {
	p.listHeads.forget()
	p.pathHeads.forget()
	p.reset()
}

// begin starts a batch: what the one before replaced or had for itself is free.
func (p *programs) begin() {
	p.ops.failed, p.credits.failed = false, false
	p.ntemp, p.tempOps, p.tempCredits = 0, 0, 0
	for _, id := range p.dead[:p.ndead] {
		p.release(id)
	}
	p.ndead = 0
}

// bury notes that a cache entry does not name path id any more. Packets of this batch may still.
func (p *programs) bury(id uint32) {
	p.dead[p.ndead] = id
	p.ndead++
}

// crumbled reports whether the last batch found no room among ops or credits that are mostly free, but in small pieces.
func (p *programs) crumbled() bool { return p.ops.crumbled() || p.credits.crumbled() }

// intern returns the path for what c composed. kept: it stays as long as it has users. Otherwise there was no room, and
// the path is this batch's.
func (p *programs) intern(c *composer) (id uint32, kept bool) {
	prog := p.internProgram(c.ops)
	if prog == noID {
		return p.temporary(c), false
	}
	h := flow.Mix(flow.HashMul, uint64(prog))
	for _, cr := range c.credits {
		h = flow.Mix(h, uint64(cr.slot)<<32|uint64(cr.times))
	}
	hash := uint32(flow.Finish(h))
	head := p.pathHeads.of(hash)
	for id = *head; id != noID; id = p.paths[id].next {
		if p.paths[id].hash == hash && p.samePath(&p.paths[id], prog, c.credits) {
			return id, true
		}
	}
	path := pathHeader{program: prog, hash: hash, next: *head}
	if n := len(c.credits); n > 0 {
		path.first, path.nmore = c.credits[0], uint32(n-1)
	}
	if path.nmore > 0 {
		if path.more = p.credits.alloc(int(path.nmore)); path.more == noRoom {
			p.releaseProgram(prog)
			return p.temporary(c), false
		}
		copy(p.credits.mem[path.more:], c.credits[1:])
	}
	id = p.pathIDs.take(func(id uint32) uint32 { return p.paths[id].next })
	p.paths[id] = path
	p.list[prog].users++
	*head = id
	return id, true
}

func (p *programs) samePath(h *pathHeader, prog uint32, credits []credit) bool {
	if h.program != prog {
		return false
	}
	if len(credits) == 0 {
		return h.first.slot == noSlot
	}
	if h.first != credits[0] || int(h.nmore) != len(credits)-1 {
		return false
	}
	for i, cr := range p.credits.mem[h.more : h.more+h.nmore] {
		if cr != credits[i+1] {
			return false
		}
	}
	return true
}

// internProgram returns the program of ops, noID if there is no room.
func (p *programs) internProgram(ops []Op) uint32 {
	h := uint64(flow.HashMul2)
	for i := range ops {
		h = flow.Mix(flow.Mix(h, uint64(ops[i].Kind)<<32|uint64(ops[i].A)), ops[i].B^ops[i].Mask<<7)
	}
	hash := uint32(flow.Finish(h))
	head := p.listHeads.of(hash)
	for id := *head; id != noID; id = p.list[id].next {
		if p.list[id].hash == hash && sameOps(p.opsOf(id), ops) {
			return id
		}
	}
	off := p.ops.alloc(len(ops))
	if off == noRoom {
		return noID
	}
	copy(p.ops.mem[off:], ops)
	id := p.listIDs.take(func(id uint32) uint32 { return p.list[id].next })
	p.list[id] = program{off: off, n: uint32(len(ops)), hash: hash, next: *head}
	*head = id
	return id
}

func sameOps(a, b []Op) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// temporary is a path of this batch for what c composed. There is one for each packet.
func (p *programs) temporary(c *composer) uint32 {
	id := uint32(firstTemp + p.ntemp)
	p.ntemp++
	off := p.ops.limit + p.tempOps
	p.tempOps += copy(p.ops.mem[off:], c.ops)
	p.list[id] = program{off: uint32(off), n: uint32(len(c.ops))}
	h := pathHeader{program: id}
	if len(c.credits) > 0 {
		more := p.credits.limit + p.tempCredits
		n := copy(p.credits.mem[more:], c.credits[1:])
		p.tempCredits += n
		h.first, h.more, h.nmore = c.credits[0], uint32(more), uint32(n)
	}
	p.paths[id] = h
	return id
}

// acquire makes a cache entry a user of path id.
func (p *programs) acquire(id uint32) { p.paths[id].users++ }

// release is the opposite. A path without users goes.
func (p *programs) release(id uint32) {
	h := &p.paths[id]
	if h.users--; h.users > 0 {
		return
	}
	link := p.pathHeads.of(h.hash)
	for *link != id {
		link = &p.paths[*link].next
	}
	*link = h.next
	if h.nmore > 0 {
		p.credits.release(h.more, int(h.nmore))
	}
	h.next = p.pathIDs.give(id)
	p.list[h.program].users--
	p.releaseProgram(h.program)
}

// releaseProgram frees program id if no path has it.
func (p *programs) releaseProgram(id uint32) {
	g := &p.list[id]
	if g.users > 0 {
		return
	}
	link := p.listHeads.of(g.hash)
	for *link != id {
		link = &p.list[*link].next
	}
	*link = g.next
	p.ops.release(g.off, int(g.n))
	g.next = p.listIDs.give(id)
}

func (p *programs) opsOf(id uint32) []Op {
	g := &p.list[id]
	return p.ops.mem[g.off : g.off+g.n : g.off+g.n]
}
