package sys

// Cycles reads the time stamp counter (RDTSC): cheap, monotonic on one CPU, at a constant rate on every CPU that has
// constant_tsc, not serialising.
//
//go:noescape
func Cycles() uint64

// Pause tells the CPU that this is a spin loop (PAUSE).
//
//go:noescape
func Pause()
