package flowtable

import "sync/atomic"

// counter is what one Lookup counted for one rule's slot.
//
// Concurrency: the Lookup's PMD thread is the only writer while the slot is in use; readers load atomically. The
// control side sets it to zero before the slot is used again, when no Lookup can know the slot any more.
type counter struct {
	packets, bytes uint64
	used           uint64 // Unix seconds of the last packet
	_              uint64 // so that none straddles two cache lines
}

type counterChunk [chunkSize]counter

// growCounters makes chunks for n record chunks. Control side, before a slot in them is published.
func (l *Lookup) growCounters(n int) {
	old := *l.counters.Load()
	if len(old) >= n {
		return
	}
	grown := make([]*counterChunk, n)
	copy(grown, old)
	for i := len(old); i < n; i++ {
		grown[i] = new(counterChunk)
	}
	l.counters.Store(&grown)
}

// counter returns slot's. Control side.
func (l *Lookup) counter(slot uint32) *counter {
	return &(*l.counters.Load())[slot>>chunkBits][slot&(chunkSize-1)]
}

func (l *Lookup) clearCounter(slot uint32) {
	c := l.counter(slot)
	atomic.StoreUint64(&c.packets, 0)
	atomic.StoreUint64(&c.bytes, 0)
	atomic.StoreUint64(&c.used, 0)
}

// fold adds what a Lookup that goes counted to the records. Control side, when its thread has stopped using it.
func (p *Pipeline) fold(l *Lookup) {
	for slot := uint32(1); slot < p.slab.next; slot++ {
		n := l.counter(slot)
		c := p.slab.chunks.at(slot)
		c.packets += atomic.LoadUint64(&n.packets)
		c.bytes += atomic.LoadUint64(&n.bytes)
		c.used = max(c.used, atomic.LoadUint64(&n.used))
	}
}

// CacheStats is what a Lookup's cache did and holds.
type CacheStats struct {
	Hits        uint64 // packets whose flow was cached
	Misses      uint64 // packets that were classified
	Revalidated uint64 // hits on flows cached before a rule change, found unaffected; part of Hits
	Evictions   uint64 // cached flows that made room for others
	Flushes     uint64 // times that all was forgotten: the programs' memory was full or keys got a new layout
	Entries     uint64 // cached flows now, stale ones included
	Capacity    uint64 // cached flows that fit now; depends on how much of the keys the rules look at
	Programs    uint64 // distinct programs now
}

// cacheCounters is the same, as the owner counts.
type cacheCounters struct {
	hits, misses, revalidated, evictions, flushes, entries, capacity, programs uint64
}

// CacheStats returns the statistics. Any goroutine may call it.
func (l *Lookup) CacheStats() CacheStats {
	c := &l.stats
	return CacheStats{
		Hits: atomic.LoadUint64(&c.hits), Misses: atomic.LoadUint64(&c.misses),
		Revalidated: atomic.LoadUint64(&c.revalidated), Evictions: atomic.LoadUint64(&c.evictions),
		Flushes: atomic.LoadUint64(&c.flushes), Entries: atomic.LoadUint64(&c.entries),
		Capacity: atomic.LoadUint64(&c.capacity), Programs: atomic.LoadUint64(&c.programs),
	}
}
