//go:build !race

package pmd

// store publishes v to readers that load atomically. The writer is alone, and a plain store of an aligned word is all
// that the hardware needs; sync/atomic's is a locked exchange.
func store(p *uint64, v uint64) { *p = v }
