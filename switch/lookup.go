package vswitch

import (
	"weft/flowtable"
	"weft/numa"
)

// lookupHandle is a flowtable.Lookup and the memory of its cache.
type lookupHandle struct {
	lookup *flowtable.Lookup
	arena  *numa.Arena
}

// newLookup makes a worker's lookup in a bridge's rules, with a cache in hugepages of the worker's node where there are
// some.
func (rs *ruleSet) newLookup(s *Switch, w *worker) *lookupHandle {
	h := new(lookupHandle)
	h.lookup = rs.pipeline.NewLookup(flowtable.LookupConfig{
		CacheEntries: s.pmdCfg.CacheEntries,
		Memory: func(size int) []byte {
			return h.memory(s, w, size)
		},
	})
	return h
}

// memory gets the cache's memory; nil leaves it to Go's heap.
func (h *lookupHandle) memory(s *Switch, w *worker, size int) []byte {
	a, err := numa.NewArena(numa.ArenaConfig{Node: w.node, Size: size, Small: size < 1<<21, Lazy: true})
	if err != nil {
		s.log.Warn("a flow cache lies in ordinary memory", "cpu", w.cpu, "error", err)
		return nil
	}
	h.arena = a
	b, err := a.Alloc(size, 64)
	if err != nil {
		return nil // as if there were no arena; close frees it
	}
	return b
}

// close frees the lookup, which its worker does not use any more.
func (h *lookupHandle) close(br *bridge) {
	st := h.stats()
	st.Entries, st.Size, st.Programs = 0, 0, 0 // these go with it; the rest is what has happened
	br.rules.goneCache.add(st)
	br.rules.pipeline.CloseLookup(h.lookup)
	if h.arena != nil {
		_ = h.arena.Close() // what fails here is munmap of our own mapping: nothing to be done
	}
}

// stats describes the cache.
func (h *lookupHandle) stats() CacheStats {
	st := h.lookup.CacheStats()
	return CacheStats{
		Hits: st.Hits, Misses: st.Misses, Revalidated: st.Revalidated, Evictions: st.Evictions, Flushes: st.Flushes,
		Entries: st.Entries, Size: st.Capacity, Programs: st.Programs,
	}
}
