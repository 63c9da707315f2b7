//go:build race

package pmd

import "sync/atomic"

// store is the same in a form that the race detector understands.
func store(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
