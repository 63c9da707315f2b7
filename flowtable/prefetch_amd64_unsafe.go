package flowtable

// prefetch asks for the cache line at each of n addresses. Any value is allowed: a prefetch never faults.
//
//go:noescape
func prefetch(addresses *uintptr, n int)
