package flowtable

import "unsafe"

// way returns the n-th entry to look at for hash.
func (c *cache) way(hash, n uint64) *entry {
	i := (hash&c.setMask)*ways + (hash>>61 ^ n)
	// SAFETY: resize keeps all entries of the setMask+1 sets inside words, n and hash>>61 are below ways, and behind
	// words there is memory for the whole of a view of the last entry. Memory for words is aligned to a line.
	return (*entry)(unsafe.Add(unsafe.Pointer(c.base), uintptr(i)*c.stride))
}
