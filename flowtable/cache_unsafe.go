package flowtable

import "unsafe"

// at returns entry n of a set.
func (c *cache) at(set, n uint64) *entry {
	i := set*ways + n
	// SAFETY: set is below sets, which are all inside words, n is below ways, and behind words there is memory for the
	// whole of a view of the last entry. Memory for words is aligned to a line.
	return (*entry)(unsafe.Add(unsafe.Pointer(c.base), uintptr(i)*c.stride))
}
