package flowtable

import (
	"sync/atomic"

	"weft/internal/packet"
)

// Lookup resolves batches of packets: one for each PMD thread and pipeline.
//
// Concurrency: Batch, Ref and Ops belong to one PMD thread. CacheStats may be called by anyone.
type Lookup struct {
	p *Pipeline

	// active is the generation that the running Batch began at, 0 between batches. Written by the owner, read by the
	// control side, which reuses nothing that a reader of that generation might look at.
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

	hashes    [packet.BatchSize]uint64
	keys      [packet.BatchSize]Key // compacted
	path      [packet.BatchSize]uint32
	addresses [packet.BatchSize]uintptr
}

// LookupConfig is what a Lookup needs.
type LookupConfig struct {
	// CacheEntries is about how many flows the cache is to hold: rounded up to a power of two, at least 1024, at most
	// MaxCacheEntries; 0 means DefaultCacheEntries, and less than 0 no cache, so that every packet is classified. It holds
	// twice as many when rules look at up to three words of the key (as those on ports, IPv4 addresses and transport
	// ports do), half as many with IPv6 addresses and much else.
	CacheEntries int
	// Memory returns size bytes of zeroed memory that stays as long as the Lookup, for instance from hugepages of the
	// thread's NUMA node. Nil means Go's heap. It is called once, with about 200 bytes for each entry and 4 MiB.
	Memory func(size int) []byte
}

// Sizes of caches.
const (
	DefaultCacheEntries = 8192
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
	need := size*bytesPerEntry + programMemory(size) + lineSize
	var mem []byte
	if cfg.Memory != nil {
		mem = cfg.Memory(need)
	}
	if len(mem) < need {
		mem = make([]byte, need)
	}
	carver := &carver{mem: aligned(mem)}
	l.seed = mix(p.seed, hashMul)
	l.cache = newCache(carver, size, l.seed)
	l.programs = newPrograms(carver, size)

	p.mu.Lock()
	defer p.mu.Unlock()
	l.counters.Store(new([]*counterChunk))
	l.growCounters(len(p.slab.chunks))
	l.layout = p.state.Load().layout
	l.cache.configure(l.layout, true)
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

// Ref names the program of packet i of the last batch: packets with equal refs have equal ops. A ref is not given to
// another program later.
func (l *Lookup) Ref(i int) uint32 { return l.programs.base + l.programs.paths[l.path[i]].program }

// Ops is what to do with packet i of the last batch, never empty. It is valid until the next Batch and not to be
// changed.
func (l *Lookup) Ops(i int) []Op { return l.programs.opsOf(l.programs.paths[l.path[i]].program) }

// Batch resolves every packet of b, as it is now, and credits the rules that each meets. b.InPort is the OpenFlow
// number of the port of arrival in this bridge. All packets of a batch see the same rules.
//
// A cached flow costs its extraction, one probe and its counters. A flow that was cached before the last rule changes
// costs a comparison with what changed, and is classified again only if that touches it. A flow that is not cached is
// classified here and now.
func (l *Lookup) Batch(b *packet.Batch) {
	n := b.Len()
	if n == 0 {
		return
	}
	// Announce, then read again: what is read second cannot be older than what the control side was told.
	atomic.StoreUint64(&l.active, l.p.state.Load().gen)
	st := l.p.state.Load()

	if st.layout != l.layout || l.programs.full() {
		l.forget(st.layout)
	}
	l.cache.clearMore()
	if l.layout.portOnly {
		l.onePort(st, b, n)
	} else {
		l.each(st, b, n)
	}
	l.credit(b, n)

	store(&l.active, 0)
}

// forget empties the cache and adopts a layout.
func (l *Lookup) forget(layout *layout) {
	if l.programs.full() {
		l.programs.flush()
	}
	l.layout = layout
	l.cache.configure(layout, false)
	s := &l.stats
	store(&s.flushes, s.flushes+1)
	store(&s.entries, 0)
}

// onePort resolves a batch whose packets all have the same key, because no rule looks into packets.
func (l *Lookup) onePort(st *state, b *packet.Batch, n int) {
	var key Key
	extract(nil, 0, b.InPort, depthPort, &key)
	l.hashes[0] = l.layout.shape.pick(&key, &l.keys[0], l.seed)
	var t tally
	path := l.resolve(st, 0, &t)
	for i := range n {
		l.path[i] = path
	}
	if t.misses == 0 {
		t.hits = uint64(n)
	} else {
		t.hits = uint64(n - 1)
	}
	l.publish(&t)
}

// each resolves packet by packet, in stages, so that the memory of each stage is on its way while the one before works.
func (l *Lookup) each(st *state, b *packet.Batch, n int) {
	shape, d := &l.layout.shape, l.layout.depth
	for i := range n {
		var key Key
		p := b.Packet(i)
		extract(p.Header(), p.Len(), b.InPort, d, &key)
		l.hashes[i] = shape.pick(&key, &l.keys[i], l.seed)
		l.addresses[i] = addressOf(&l.cache.way(l.hashes[i], 0)[0])
	}
	prefetch(&l.addresses[0], n)
	var t tally
	for i := range n {
		l.path[i] = l.resolve(st, i, &t)
	}
	l.publish(&t)
	if l.programs.npaths > prefetchPaths {
		l.prefetchCounters(n)
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
	hits, misses, revalidated, evicted, inserted uint64
}

// resolve returns the path of packet i.
func (l *Lookup) resolve(st *state, i int, t *tally) uint32 {
	key, hash := &l.keys[i], l.hashes[i]
	if !l.cached {
		t.misses++
		return l.compose(st, key)
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
	t.misses++
	path := l.compose(st, key)
	word := st.gen<<pathBits | uint64(path)
	switch {
	case e != nil:
		e[0] = word
	case l.cache.insert(hash, key, word):
		t.evicted++
	default:
		t.inserted++
	}
	return path
}

// expand puts a compacted key's words back in their places.
func (l *Lookup) expand(key *Key) Key {
	var full Key
	shape := &l.layout.shape
	for i := range shape.n {
		full[shape.word[i]] = key[i]
	}
	return full
}

// compose classifies a compacted key through all tables.
func (l *Lookup) compose(st *state, key *Key) uint32 {
	full := l.expand(key)
	l.composer.compose(st, &full)
	return l.programs.intern(&l.composer)
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
	store(&s.entries, s.entries+t.inserted)
	store(&s.capacity, l.cache.capacity())
	store(&s.programs, uint64(l.programs.nlist))
}

// credit counts the packets for their rules, those that follow each other on one path together.
func (l *Lookup) credit(b *packet.Batch, n int) {
	counters := *l.counters.Load()
	now := l.p.clock.Load()
	for i := 0; i < n; {
		path := l.path[i]
		first := i
		bytes := uint64(b.Packet(i).Len())
		for i++; i < n && l.path[i] == path; i++ {
			bytes += uint64(b.Packet(i).Len())
		}
		h := &l.programs.paths[path]
		if h.first.slot == noSlot {
			continue
		}
		packets := uint64(i - first)
		count(counters, h.first, packets, bytes, now)
		for _, cr := range l.programs.credits[h.more : h.more+h.nmore] {
			count(counters, cr, packets, bytes, now)
		}
	}
}

func count(counters []*counterChunk, cr credit, packets, bytes, now uint64) {
	c := &counters[cr.slot>>chunkBits][cr.slot&(chunkSize-1)]
	store(&c.packets, c.packets+packets*uint64(cr.times))
	store(&c.bytes, c.bytes+bytes*uint64(cr.times))
	store(&c.used, now)
}
