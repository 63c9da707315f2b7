//go:build race

package flowtable

import "sync/atomic"

// store is the same for the race detector, which wants to see the atomic operation.
func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
