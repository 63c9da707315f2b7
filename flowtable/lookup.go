package flowtable

import (
	"sync/atomic"

	"weft/flowtable/flow"
	"weft/internal/packet"
)

// Lookup resolves batches of packets: one for each PMD thread and pipeline.
//
// Concurrency: Batch, Ref and Ops belong to one PMD thread. CacheStats may be called by anyone.
type Lookup struct {
	p *Pipeline

	// active is the epoch that the running Batch began at, 0 between batches. Written by the owner, read by the control
	// side, which reuses nothing that a reader of that epoch might look at.
	active uint64
	_      [lineSize - 16]byte

	// Written by the owner, read by anyone.
	stats cacheCounters

	// Replaced by the control side, read by the owner.
	counters atomic.Pointer[[]*counterChunk]

	// The owner's own.
	layout   *layout
	cache    cache
	cached   bool // there is a cache
	programs programs
	composer composer
	seed     uint64
	st       *state // of the last batch

	refs      [packet.BatchSize]uint32 // programs
	uniform   bool                     // all of them are the same
	path      [packet.BatchSize]uint32
	hashes    [packet.BatchSize]uint64
	keys      [packet.BatchSize]flow.PacketKey // compacted
	addresses [packet.BatchSize]uintptr
}

// LookupConfig is what a Lookup needs.
type LookupConfig struct {
	// CacheEntries is about how many flows the cache can grow to hold: rounded up to a power of two, at least 1024, at most
	// MaxCacheEntries; 0 means DefaultCacheEntries, and less than 0 no cache, so that every packet is classified. It holds
	// twice as many when rules look at up to three words of the key (as those on ports, IPv4 addresses and transport
	// ports do), half as many with IPv6 addresses and much else.
	CacheEntries int
	// Memory returns size bytes of zeroed memory that stays as long as the Lookup, for instance from hugepages of the
	// thread's NUMA node. Nil means Go's heap. It is called once, with about 240 bytes for each entry and 4 MiB more at
	// most: 65 MiB by default. Nothing of it is touched before it is used, and little while there are few flows.
	Memory func(size int) []byte
}

// Sizes of caches.
const (
	DefaultCacheEntries = 1 << 18
	MaxCacheEntries     = 1 << 23
	minCacheEntries     = 1024
)

// NewLookup returns a Lookup. It belongs to p until CloseLookup.
func (p *Pipeline) NewLookup(cfg LookupConfig) *Lookup {
	l := &Lookup{p: p, cached: cfg.CacheEntries >= 0, composer: newComposer()}
	entries := cfg.CacheEntries
	if entries == 0 {
		entries = DefaultCacheEntries
	}
	size := minCacheEntries
	for size < min(entries, MaxCacheEntries) {
		size *= 2
	}
	need := carvedSize[uint64](cacheWords(size)) + programMemory(size) + lineSize
	var mem []byte
	if cfg.Memory != nil {
		mem = cfg.Memory(need)
	}
	if len(mem) < need {
		mem = make([]byte, need)
	}
	carver := &carver{mem: aligned(mem)}
	l.seed = flow.Mix(p.seed, flow.HashMul)
	l.cache = newCache(carver, size, l.seed)
	l.programs = newPrograms(carver, size)

	p.mu.Lock()
	defer p.mu.Unlock()
	l.counters.Store(new([]*counterChunk))
	l.growCounters(len(p.slab.chunks))
	l.st = p.state.Load()
	l.layout = l.st.layout
	l.cache.configure(l.layout)
	l.stats.capacity = l.cache.capacity()
	p.lookups = append(p.lookups, l)
	return l
}

// CloseLookup ends l, whose thread does not use it any more. What it counted stays.
func (p *Pipeline) CloseLookup(l *Lookup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.lookups {
		if p.lookups[i] == l {
			p.lookups = append(p.lookups[:i:i], p.lookups[i+1:]...)
			p.fold(l)
			return
		}
	}
}

// Ref names the program of packet i of the last batch: packets of the batch with equal refs have equal ops.
func (l *Lookup) Ref(i int) uint32 { return l.refs[i] }

// Uniform reports whether all packets of the last batch have equal refs.
func (l *Lookup) Uniform() bool { return l.uniform }

// Ops is what to do with packet i of the last batch, never empty. It is valid until the next Batch and not to be
// changed.
func (l *Lookup) Ops(i int) []Op { return l.programs.opsOf(l.refs[i]) }

// Batch resolves every packet of b, as it is now, and credits the rules that each meets. b.InPort is the OpenFlow
// number of the port of arrival in this bridge. All packets of a batch see the same rules.
//
// A cached flow costs its extraction, one probe and its counters. A flow that was cached before the last rule changes
// costs a comparison with what changed, and is classified again only if that touches it. A flow that is not cached is
// classified here and now.
//
// Headers that reach out of a packet's window are pulled into it when rules look there (see [packet.Batch.Pull]). A
// packet whose headers are longer than that is dropped, since nobody can tell which rule is for it.
func (l *Lookup) Batch(b *packet.Batch) {
	n := b.Len()
	if n == 0 {
		return
	}
	l.start()
	layout := l.p.state.Load().layout
	for {
		if layout != l.layout {
			l.forget(layout)
		}
		// Reads guest memory, which may fault; so it comes before anything that must be taken back.
		cut := l.extract(b, n)

		// Announce, then read again: what is read second cannot be older than what the control side was told.
		atomic.StoreUint64(&l.active, l.p.state.Load().epoch)
		st := l.p.state.Load()
		if layout = st.layout; layout == l.layout {
			l.st = st
			l.resolveAll(st, n, cut)
			l.credit(b, n)
			store(&l.active, 0)
			return
		}
		store(&l.active, 0) // rules came in between that look at other fields
	}
}

// start frees what the last batch was using.
func (l *Lookup) start() {
	crumbled := l.programs.crumbled()
	l.programs.begin()
	if crumbled {
		l.forget(l.layout)
	}
	l.cache.grow()
}

// forget empties the cache and adopts a layout.
func (l *Lookup) forget(layout *layout) {
	l.programs.flush()
	l.layout = layout
	l.cache.configure(layout)
	s := &l.stats
	store(&s.flushes, s.flushes+1)
	store(&s.entries, 0)
}

// extract fills in keys and hashes, all before any is looked up, so that the cache's memory is on its way meanwhile. cut
// has the bits of the packets whose headers could not be read as far as rules look.
func (l *Lookup) extract(b *packet.Batch, n int) (cut uint32) {
	shape, d := &l.layout.shape, l.layout.depth
	if l.layout.portOnly {
		var key flow.Key
		flow.Extract(nil, 0, b.InPort, flow.DepthPort, &key)
		l.hashes[0] = shape.PickPacket(&key, &l.keys[0], l.seed)
		return 0
	}
	var key flow.Key // extract overwrites the packet's words, the others stay zero
	for i := range n {
		p := b.Packet(i)
		if !flow.Extract(flow.Visible(p), p.Len(), b.InPort, d, &key) && !l.layout.read(b, p, &key) {
			cut |= 1 << i
		}
		l.hashes[i] = shape.PickPacket(&key, &l.keys[i], l.seed)
		l.addresses[i] = addressOf(l.cache.at(l.cache.setOf(l.hashes[i]), l.hashes[i]>>61))
	}
	prefetch(&l.addresses[0], n)
	return cut
}

// resolveAll fills in paths.
func (l *Lookup) resolveAll(st *state, n int, cut uint32) {
	var t tally
	if l.layout.portOnly {
		// No rule looks into packets, so that all have the same key.
		path := l.resolve(st, 0, &t)
		for i := range l.path[:n] {
			l.path[i] = path
		}
		l.again(path, n-1, &t)
		l.publish(&t)
		return
	}
	last := -1
	for i := range n {
		switch {
		case cut>>i&1 != 0:
			l.path[i] = tooLongID
			t.misses++
		case last >= 0 && l.hashes[i] == l.hashes[last] && l.keys[i].SameWords(&l.keys[last], l.layout.shape.N):
			l.path[i] = l.path[last]
			l.again(l.path[i], 1, &t)
		default:
			l.path[i] = l.resolve(st, i, &t)
			last = i
		}
	}
	l.publish(&t)
	if l.programs.pathIDs.live > prefetchPaths {
		l.prefetchCounters(n)
	}
}

// again counts n packets that have the key of one before, whose path is given.
func (l *Lookup) again(path uint32, n int, t *tally) {
	if path < firstID {
		t.misses += uint64(n)
	} else {
		t.hits += uint64(n)
	}
}

// prefetchPaths is from how many paths on their headers and counters are worth prefetching: fewer stay in the L2 cache.
const prefetchPaths = 4096

func (l *Lookup) prefetchCounters(n int) {
	for i := range n {
		l.addresses[i] = addressOf(&l.programs.paths[l.path[i]])
	}
	prefetch(&l.addresses[0], n)
	counters := *l.counters.Load()
	for i := range n {
		slot := l.programs.paths[l.path[i]].first.slot
		l.addresses[i] = 0
		if slot != noSlot {
			l.addresses[i] = addressOf(&counters[slot>>chunkBits][slot&(chunkSize-1)])
		}
	}
	prefetch(&l.addresses[0], n)
}

// tally is what one batch adds to the statistics.
type tally struct {
	hits, misses, revalidated, evicted, inserted, removed uint64
}

// resolve returns the path of packet i.
func (l *Lookup) resolve(st *state, i int, t *tally) uint32 {
	key, hash := &l.keys[i], l.hashes[i]
	if !l.cached {
		t.misses++
		l.classify(st, key)
		return l.programs.temporary(&l.composer)
	}
	e := l.cache.find(hash, key)
	if e != nil {
		word := e[0]
		gen := word >> pathBits
		if gen == st.gen {
			t.hits++
			return uint32(word & pathMask)
		}
		full := l.expand(key)
		if st.unaffected(&full, gen) {
			t.hits++
			t.revalidated++
			e[0] = st.gen<<pathBits | word&pathMask
			return uint32(word & pathMask)
		}
	}
	return l.miss(st, i, e, t)
}

// miss classifies packet i and caches the result: in e, if that is not nil, or where there is room.
func (l *Lookup) miss(st *state, i int, e *entry, t *tally) uint32 {
	t.misses++
	l.classify(st, &l.keys[i])
	path, kept := l.programs.intern(&l.composer)
	if kept {
		l.programs.acquire(path)
	}
	stale := e != nil
	if !stale {
		e = l.cache.room(l.hashes[i])
	}
	if old := e[0]; old != 0 {
		l.programs.bury(uint32(old & pathMask))
		t.removed++
		if !stale {
			t.evicted++
			l.cache.lost()
		}
	}
	if !kept {
		// There was no room for its path. What was given up here makes some, for the next batch.
		e[0] = 0
		return path
	}
	t.inserted++
	l.cache.set(e, st.gen<<pathBits|uint64(path), &l.keys[i])
	return path
}

// expand puts a compacted key's words back in their places.
func (l *Lookup) expand(key *flow.PacketKey) flow.Key {
	var full flow.Key
	shape := &l.layout.shape
	for i := range shape.N {
		full[shape.Word[i]] = key[i]
	}
	return full
}

// classify takes a compacted key through all tables, which leaves the outcome in the composer.
func (l *Lookup) classify(st *state, key *flow.PacketKey) {
	full := l.expand(key)
	l.composer.compose(st, &full)
}

func (l *Lookup) publish(t *tally) {
	s := &l.stats
	store(&s.hits, s.hits+t.hits)
	if t.misses|t.revalidated == 0 {
		return
	}
	store(&s.misses, s.misses+t.misses)
	store(&s.revalidated, s.revalidated+t.revalidated)
	store(&s.evictions, s.evictions+t.evicted)
	store(&s.entries, s.entries+t.inserted-t.removed)
	store(&s.capacity, l.cache.capacity())
	store(&s.programs, uint64(l.programs.listIDs.live))
}

// credit counts the packets for their rules, those that follow each other on one path together, and fills in refs.
func (l *Lookup) credit(b *packet.Batch, n int) {
	counters := *l.counters.Load()
	now := l.p.clock.Load()
	l.uniform = true
	for i := 0; i < n; {
		path := l.path[i]
		h := &l.programs.paths[path]
		program, first := h.program, i
		for i < n && l.path[i] == path {
			l.refs[i] = program
			i++
		}
		l.uniform = l.uniform && program == l.refs[0]
		if h.first.slot == noSlot {
			continue
		}
		packets, bytes := uint64(i-first), bytesOf(b, first, i)
		count(counters, h.first, packets, bytes, now)
		for _, cr := range l.programs.credits.mem[h.more : h.more+h.nmore] {
			count(counters, cr, packets, bytes, now)
		}
	}
}

// bytesOf is the length of the frames from first to before end.
func bytesOf(b *packet.Batch, first, end int) uint64 {
	if end-first == b.Len() {
		return b.Bytes()
	}
	var sum uint64
	for i := first; i < end; i++ {
		sum += uint64(b.Packet(i).Len())
	}
	return sum
}

func count(counters []*counterChunk, cr credit, packets, bytes, now uint64) {
	c := &counters[cr.slot>>chunkBits][cr.slot&(chunkSize-1)]
	store(&c.packets, c.packets+packets*uint64(cr.times))
	store(&c.bytes, c.bytes+bytes*uint64(cr.times))
	store(&c.used, now)
}
