package sys

// PrefetchEach asks for the cache line at each of n addresses that start at p.
//
//go:noescape
func PrefetchEach(p *uintptr, n int)

// PrefetchWriteEach asks for the cache line at each of n addresses that start at p, with the intent to write.
//
//go:noescape
func PrefetchWriteEach(p *uintptr, n int)

// Cycles reads the time stamp counter (RDTSC): cheap, monotonic on one CPU, at a constant rate on every CPU that has
// constant_tsc, not serialising.
//
//go:noescape
func Cycles() uint64

// Pause tells the CPU that this is a spin loop (PAUSE).
//
//go:noescape
func Pause()
