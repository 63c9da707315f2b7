package vswitch

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

// The MAC table (forwarding database, IEEE 802.1Q-2018 §8.8): which port a (VLAN, address) was seen on last.
//
//	hash(key) --> bucket A  [ seq | key value | key value | key value | - ]   64 bytes, one cache line
//	          \-> bucket B  [ seq | ...                                   ]
//
// An address lives in one of two buckets, so that at the highest load (a third of the slots) a bucket overflows about
// once in ten thousand learned addresses. The table holds no pointers, and nothing is allocated after it was made.
//
// What a hostile sender can do: the hash is seeded at random, so collisions cannot be prepared; when the table is full
// a new address displaces one of its own port, or of a port that has more addresses, so a port that invents addresses
// displaces its own.
//
// Concurrency: readers (PMD threads) and writers (PMD threads that learn, the control side that ages) meet in a
// bucket's sequence number, which is odd while a writer is in it. PMD threads never wait for it: a learner that finds a
// bucket busy lets the next packet of that address try again, and a reader gives up after fdbReadTries and floods.
const (
	fdbWays      = 3
	fdbReadTries = 64

	// fdbSweepBuckets bounds the buckets that one tick looks at for expired addresses: 4 MiB of memory.
	fdbSweepBuckets = 1 << 16
)

// fdbKey is an address and its VLAN: VLAN id in bits 59..48, address in bits 47..0, bit 63 set. Zero is an empty slot.
type fdbKey uint64

const fdbKeyValid = 1 << 63

func makeFDBKey(mac uint64, vid uint16) fdbKey {
	return fdbKey(fdbKeyValid | uint64(vid&0xfff)<<48 | mac)
}

func (k fdbKey) mac() uint64  { return uint64(k) & (1<<48 - 1) }
func (k fdbKey) vlan() uint16 { return uint16(k>>48) & 0xfff }

// fdbValue is what is known about an address: the epoch (seconds) of its last packet in the upper half, its port number
// in the lower.
type fdbValue uint64

func makeFDBValue(port, epoch uint32) fdbValue { return fdbValue(uint64(epoch)<<32 | uint64(port)) }

func (v fdbValue) port() uint32  { return uint32(v) }
func (v fdbValue) epoch() uint32 { return uint32(v >> 32) }

type fdbSlot struct{ key, value atomic.Uint64 }

// fdbBucket is one cache line.
type fdbBucket struct {
	seq   atomic.Uint64
	slots [fdbWays]fdbSlot
	_     uint64
}

// fdb is one bridge's MAC table.
type fdb struct {
	buckets []fdbBucket
	mask    uint64
	seed    [2]uint64

	// Written by the control side, read by PMD threads.
	limit  atomic.Int64
	ageing atomic.Uint32 // seconds
	epoch  atomic.Uint32 // seconds since the table was made
	rate   atomic.Uint32 // addresses that one port may bring in a second, 0 = any number

	// Written on learning, by anyone.
	entries                                            atomic.Int64
	learned, moved, evicted, refused, expired, flushed atomic.Uint64
	ports                                              [MaxPortNumber + 1]atomic.Int32 // entries by port number
	// arrivals counts by port number the addresses that were new to or moved to it: the epoch in the upper half, the
	// number in it in the lower.
	arrivals [MaxPortNumber + 1]atomic.Uint64
	limited  atomic.Uint64 // addresses not learned because of rate

	sweepAt int // the control side's: where the next sweep begins
}

// newFDB makes a table for limit addresses.
func newFDB(limit int, ageing time.Duration) *fdb {
	n := 1 << bits.Len(uint(limit-1)) // buckets: the slots are at most a third full
	f := &fdb{buckets: make([]fdbBucket, n), mask: uint64(n - 1), seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}}
	f.limit.Store(int64(limit))
	f.setAgeing(ageing)
	return f
}

// tick advances the clock by one second and removes what expired.
func (f *fdb) tick() {
	now := f.epoch.Add(1)
	n := min(len(f.buckets), fdbSweepBuckets)
	for range n {
		bk := &f.buckets[f.sweepAt]
		f.sweepAt = (f.sweepAt + 1) & int(f.mask)
		f.sweep(bk, now)
	}
}

// sweep removes a bucket's expired addresses.
func (f *fdb) sweep(bk *fdbBucket, now uint32) {
	for i := range bk.slots {
		if bk.slots[i].key.Load() == 0 || !f.isExpired(fdbValue(bk.slots[i].value.Load()), now) {
			continue
		}
		seq := bk.lock()
		// Look again: the address may have been seen meanwhile.
		if bk.slots[i].key.Load() != 0 && f.isExpired(fdbValue(bk.slots[i].value.Load()), now) {
			f.remove(&bk.slots[i])
			f.expired.Add(1)
		}
		bk.unlock(seq)
	}
}

// remove takes an entry out of a locked bucket.
func (f *fdb) remove(s *fdbSlot) {
	f.clear(s)
	f.entries.Add(-1)
}

// flush removes the addresses that match says and returns how many.
func (f *fdb) flush(match func(k fdbKey, port uint32) bool) int {
	n := 0
	for i := range f.buckets {
		bk := &f.buckets[i]
		for j := range bk.slots {
			s := &bk.slots[j]
			if k := s.key.Load(); k == 0 || !match(fdbKey(k), fdbValue(s.value.Load()).port()) {
				continue
			}
			seq := bk.lock()
			if k := s.key.Load(); k != 0 && match(fdbKey(k), fdbValue(s.value.Load()).port()) {
				f.remove(s)
				n++
			}
			bk.unlock(seq)
		}
	}
	f.flushed.Add(uint64(n))
	return n
}

// lock enters a bucket as a writer of the control side, which may wait.
func (bk *fdbBucket) lock() uint64 {
	for {
		if seq := bk.seq.Load(); seq&1 == 0 && bk.seq.CompareAndSwap(seq, seq+1) {
			return seq
		}
		runtime.Gosched()
	}
}

// unlock leaves a bucket that was entered at seq.
func (bk *fdbBucket) unlock(seq uint64) { bk.seq.Store(seq + 2) }

// fdbRecord is one address as each reports it.
type fdbRecord struct {
	key  fdbKey
	port uint32
	age  int32 // seconds
}

// each calls visit for every address that has not expired.
func (f *fdb) each(visit func(fdbRecord)) {
	now := f.epoch.Load()
	for i := range f.buckets {
		bk := &f.buckets[i]
		seq := bk.lock()
		var found [fdbWays]fdbRecord
		n := 0
		for j := range bk.slots {
			k, v := fdbKey(bk.slots[j].key.Load()), fdbValue(bk.slots[j].value.Load())
			if k != 0 && !f.isExpired(v, now) {
				found[n] = fdbRecord{k, v.port(), max(0, int32(now-v.epoch()))}
				n++
			}
		}
		bk.unlock(seq)
		for _, r := range found[:n] {
			visit(r)
		}
	}
}

// stats describes the table.
func (f *fdb) stats() FDBStats {
	return FDBStats{
		Entries: int(f.entries.Load()), Limit: int(f.limit.Load()), Ageing: float64(f.ageing.Load()),
		Learned: f.learned.Load(), Moved: f.moved.Load(), Evicted: f.evicted.Load(), Expired: f.expired.Load(),
		Refused: f.refused.Load(), Flushed: f.flushed.Load(), Limited: f.limited.Load(),
	}
}

// formatMAC writes an address in the usual form.
func formatMAC(mac uint64) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", byte(mac>>40), byte(mac>>32), byte(mac>>24), byte(mac>>16),
		byte(mac>>8), byte(mac))
}

// setAgeing changes after what time addresses are forgotten.
func (f *fdb) setAgeing(d time.Duration) { f.ageing.Store(uint32(d / time.Second)) }

// inherit takes over what another table knows, as far as it fits, and what it counted.
func (f *fdb) inherit(old *fdb) {
	f.epoch.Store(old.epoch.Load())
	old.each(func(r fdbRecord) {
		a, b := f.places(r.key)
		f.insert(a, b, r.key, makeFDBValue(r.port, f.epoch.Load()-uint32(r.age)))
	})
	f.learned.Store(old.learned.Load())
	f.moved.Store(old.moved.Load())
	f.expired.Store(old.expired.Load())
	f.flushed.Store(old.flushed.Load())
	f.evicted.Add(old.evicted.Load())
	f.refused.Add(old.refused.Load())
	f.limited.Store(old.limited.Load())
	f.rate.Store(old.rate.Load())
}
