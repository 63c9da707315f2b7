package flowtable

import "weft/internal/packet"

// programs holds what cached flows resolved to, each thing once: programs (what to do with a packet) and paths (a
// program and the rules to credit). A flow names its path, so that a million flows of a few rules share a few paths.
// All memory is there from the start and pointer-free; when it is used up, everything is forgotten, with the cache, and
// begins anew.
type programs struct {
	list    []program
	ops     []Op
	paths   []pathHeader
	credits []credit

	nlist, nops, npaths, ncredits int

	// Hash indexes over list and paths. An entry is an epoch above an id; another epoch's entry is a free place.
	listIndex, pathIndex []uint64
	epoch                uint64 // 1 and up
	base                 uint32 // Ref of list[0]: grows with every flush, so that a ref is not used for two programs
}

// program is a range of ops.
type program struct {
	off, n uint32
	hash   uint64
}

// pathHeader is a program and whom to credit: the first rule here, more in credits.
type pathHeader struct {
	program     uint32
	more, nmore uint32 // range of credits
	first       credit // slot noSlot: no rule matched
	_           uint32
	hash        uint64
}

// room of one batch: what BatchSize misses can take at most.
const (
	roomIDs     = packet.BatchSize
	roomOps     = packet.BatchSize * maxOps
	roomCredits = packet.BatchSize * (maxResubmits + 1)
)

// Small caches get room for long programs and many tables in every path; in large ones most paths are short.
const (
	extraOps     = 1 << 16
	extraCredits = 1 << 17
)

// programSizes are the array lengths for a cache of entries flows.
func programSizes(entries int) (ids, ops, credits, index int) {
	return entries + roomIDs,
		2*entries + min(2*entries, extraOps) + roomOps,
		2*entries + min(8*entries, extraCredits) + roomCredits,
		2 * entries
}

func programMemory(entries int) int {
	ids, ops, credits, index := programSizes(entries)
	return carvedSize[program](ids) + carvedSize[Op](ops) + carvedSize[pathHeader](ids) + carvedSize[credit](credits) +
		2*carvedSize[uint64](index)
}

func newPrograms(c *carver, entries int) programs {
	ids, ops, credits, index := programSizes(entries)
	return programs{
		list: carve[program](c, ids), ops: carve[Op](c, ops), paths: carve[pathHeader](c, ids),
		credits: carve[credit](c, credits), listIndex: carve[uint64](c, index), pathIndex: carve[uint64](c, index),
		epoch: 1,
	}
}

// full reports whether the misses of one more batch might not fit.
func (p *programs) full() bool {
	return p.npaths+roomIDs > len(p.paths) || p.nlist+roomIDs > len(p.list) || p.nops+roomOps > len(p.ops) ||
		p.ncredits+roomCredits > len(p.credits)
}

// flush forgets everything.
func (p *programs) flush() {
	p.base += uint32(p.nlist)
	p.nlist, p.nops, p.npaths, p.ncredits = 0, 0, 0, 0
	p.epoch++
}

// Entries of the indexes.
const (
	indexIDBits = 26
	indexIDMask = 1<<indexIDBits - 1
)

// intern returns the path for what c composed.
func (p *programs) intern(c *composer) uint32 {
	prog := p.internProgram(c.ops)
	hash := mix(hashMul, uint64(prog))
	for _, cr := range c.credits {
		hash = mix(hash, uint64(cr.slot)<<32|uint64(cr.times))
	}
	hash = finish(hash)
	mask := uint64(len(p.pathIndex) - 1)
	i := hash & mask
	for ; p.pathIndex[i]>>indexIDBits == p.epoch; i = (i + 1) & mask {
		id := uint32(p.pathIndex[i] & indexIDMask)
		if p.paths[id].hash == hash && p.samePath(&p.paths[id], prog, c.credits) {
			return id
		}
	}
	id := uint32(p.npaths)
	p.npaths++
	p.pathIndex[i] = p.epoch<<indexIDBits | uint64(id)
	h := &p.paths[id]
	*h = pathHeader{program: prog, hash: hash}
	if len(c.credits) > 0 {
		h.first = c.credits[0]
		h.more, h.nmore = uint32(p.ncredits), uint32(len(c.credits)-1)
		p.ncredits += copy(p.credits[p.ncredits:], c.credits[1:])
	}
	return id
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
	for i, cr := range p.credits[h.more : h.more+h.nmore] {
		if cr != credits[i+1] {
			return false
		}
	}
	return true
}

func (p *programs) internProgram(ops []Op) uint32 {
	hash := uint64(hashMul2)
	for i := range ops {
		hash = mix(mix(hash, uint64(ops[i].Kind)<<32|uint64(ops[i].A)), ops[i].B)
	}
	hash = finish(hash)
	mask := uint64(len(p.listIndex) - 1)
	i := hash & mask
	for ; p.listIndex[i]>>indexIDBits == p.epoch; i = (i + 1) & mask {
		id := uint32(p.listIndex[i] & indexIDMask)
		if p.list[id].hash == hash && sameOps(p.opsOf(id), ops) {
			return id
		}
	}
	id := uint32(p.nlist)
	p.nlist++
	p.listIndex[i] = p.epoch<<indexIDBits | uint64(id)
	p.list[id] = program{off: uint32(p.nops), n: uint32(len(ops)), hash: hash}
	p.nops += copy(p.ops[p.nops:], ops)
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

func (p *programs) opsOf(id uint32) []Op {
	g := &p.list[id]
	return p.ops[g.off : g.off+g.n : g.off+g.n]
}
