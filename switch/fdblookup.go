package vswitch

import "math/bits"

// What PMD threads do with a MAC table.

// places are the two buckets that k may be in.
func (f *fdb) places(k fdbKey) (a, b *fdbBucket) {
	hi, lo := bits.Mul64(uint64(k)^f.seed[0], f.seed[1])
	h := hi ^ lo
	return &f.buckets[h&f.mask], &f.buckets[h>>32&f.mask]
}

// isExpired reports an address that was seen last an ageing time before now or longer ago. An epoch ahead of now is
// that of a thread that read the clock later than the caller.
func (f *fdb) isExpired(v fdbValue, now uint32) bool {
	age := now - v.epoch()
	return age >= f.ageing.Load() && age < 1<<31
}

// lookup finds the port that k was seen on last. now is the epoch.
func (f *fdb) lookup(k fdbKey, now uint32) (port uint32, found bool) {
	a, b := f.places(k)
	v, ok := a.find(k)
	if !ok {
		if v, ok = b.find(k); !ok {
			return 0, false
		}
	}
	return v.port(), !f.isExpired(v, now)
}

// find reads k's value from a bucket without locking it. A bucket that stays busy counts as one without k.
func (bk *fdbBucket) find(k fdbKey) (fdbValue, bool) {
	for range fdbReadTries {
		seq := bk.seq.Load()
		if seq&1 != 0 {
			continue
		}
		i := bk.index(k)
		if i < 0 {
			if bk.seq.Load() == seq {
				return 0, false
			}
			continue
		}
		v := fdbValue(bk.slots[i].value.Load())
		if bk.seq.Load() == seq {
			return v, true
		}
	}
	return 0, false
}

// index is k's slot in a bucket, or -1. Without the bucket's lock it may be stale when it returns.
func (bk *fdbBucket) index(k fdbKey) int {
	for i := range bk.slots {
		if bk.slots[i].key.Load() == uint64(k) {
			return i
		}
	}
	return -1
}

// tryLock enters a bucket as a writer, unless another is in it.
func (bk *fdbBucket) tryLock() (seq uint64, ok bool) {
	seq = bk.seq.Load()
	return seq, seq&1 == 0 && bk.seq.CompareAndSwap(seq, seq+1)
}

// learn notes that an address was seen on a port. For an address that is known on this port since this second, as
// almost all are, it only reads.
func (f *fdb) learn(k fdbKey, port, now uint32) {
	a, b := f.places(k)
	bk := a
	v, ok := a.find(k)
	if !ok {
		bk = b
		v, ok = b.find(k)
	}
	switch {
	case !ok:
		if f.mayBring(port, now) {
			f.insert(a, b, k, makeFDBValue(port, now))
		}
	case v.port() != port:
		if f.mayBring(port, now) {
			f.refresh(bk, k, makeFDBValue(port, now))
		}
	case v.epoch() != now:
		f.refresh(bk, k, makeFDBValue(port, now))
	}
}

// mayBring counts an address that is new to a port, and reports whether the port has not brought too many this second.
// A loop, or a sender that invents addresses, would otherwise keep the table and its cache lines busy.
func (f *fdb) mayBring(port, now uint32) bool {
	rate := f.rate.Load()
	if rate == 0 {
		return true
	}
	c := &f.arrivals[port]
	n := uint64(0)
	if v := c.Load(); uint32(v>>32) == now {
		n = v & (1<<32 - 1)
	}
	if n >= uint64(rate) {
		f.limited.Add(1)
		return false
	}
	c.Store(uint64(now)<<32 | (n + 1)) // two threads at once may count one: the limit need not be exact
	return true
}

// refresh gives a known address a new time or port.
func (f *fdb) refresh(bk *fdbBucket, k fdbKey, v fdbValue) {
	seq, ok := bk.tryLock()
	if !ok {
		return // the address's next packet will do
	}
	if i := bk.index(k); i >= 0 {
		old := fdbValue(bk.slots[i].value.Load())
		bk.slots[i].value.Store(uint64(v))
		if old.port() != v.port() {
			f.ports[old.port()].Add(-1)
			f.ports[v.port()].Add(1)
			f.moved.Add(1)
		}
	}
	bk.unlock(seq)
}

// insert adds an unknown address. Every insertion of k locks both its buckets, so that two threads cannot add it twice.
func (f *fdb) insert(a, b *fdbBucket, k fdbKey, v fdbValue) {
	seqA, ok := a.tryLock()
	if !ok {
		return
	}
	seqB := uint64(0)
	if b != a {
		if seqB, ok = b.tryLock(); !ok {
			a.unlock(seqA)
			return
		}
	}
	if a.index(k) < 0 && b.index(k) < 0 {
		f.place(a, b, k, v)
	}
	if b != a {
		b.unlock(seqB)
	}
	a.unlock(seqA)
}

// place puts k into the emptier one of its buckets, which are locked, making room when there is none.
func (f *fdb) place(a, b *fdbBucket, k fdbKey, v fdbValue) {
	slot := emptier(a, b)
	if slot == nil || !f.reserve() {
		if slot = f.displace(a, b, slot, v.port()); slot == nil {
			f.refused.Add(1)
			return
		}
		f.evicted.Add(1)
	}
	f.ports[v.port()].Add(1)
	slot.value.Store(uint64(v))
	slot.key.Store(uint64(k))
	f.learned.Add(1)
}

// reserve counts one more entry, if the limit allows one.
func (f *fdb) reserve() bool {
	if f.entries.Add(1) <= f.limit.Load() {
		return true
	}
	f.entries.Add(-1)
	return false
}

// emptier is an empty slot in the bucket that has more of them, nil when both are full.
func emptier(a, b *fdbBucket) *fdbSlot {
	best, most := (*fdbSlot)(nil), 0
	for _, bk := range [2]*fdbBucket{a, b} {
		empty, n := (*fdbSlot)(nil), 0
		for i := range bk.slots {
			if bk.slots[i].key.Load() == 0 {
				empty = &bk.slots[i]
				n++
			}
		}
		if n > most {
			best, most = empty, n
		}
	}
	return best
}

// fdbDisplaceBuckets bounds how far displace looks for an address that may go.
const fdbDisplaceBuckets = 64

// displace removes an address in favour of one on port, without changing the number of entries, and returns the slot to
// use, or nil when port has no claim to one. empty is a free slot in a or b, which are locked; nil when they are full.
func (f *fdb) displace(a, b *fdbBucket, empty *fdbSlot, port uint32) *fdbSlot {
	if victim := f.worst(b, f.worst(a, nil)); victim != nil && f.mayDisplace(victim, port) {
		f.clear(victim)
		return victim
	}
	if empty == nil {
		return nil
	}
	// The limit is reached and nothing here may go: look elsewhere, each time at another place.
	at := (f.refused.Load() + f.learned.Load()) * 0x9e3779b97f4a7c15 >> 32
	for i := range uint64(fdbDisplaceBuckets) {
		bk := &f.buckets[(at+i)&f.mask]
		if bk == a || bk == b {
			continue
		}
		seq, ok := bk.tryLock()
		if !ok {
			continue
		}
		victim := f.worst(bk, nil)
		ok = victim != nil && f.mayDisplace(victim, port)
		if ok {
			f.clear(victim)
		}
		bk.unlock(seq)
		if ok {
			return empty
		}
	}
	return nil
}

// worst is the slot of a locked bucket that is to be displaced first, or than, if that goes before all of them: one of
// the port with the most addresses, and of these the one seen longest ago.
func (f *fdb) worst(bk *fdbBucket, than *fdbSlot) *fdbSlot {
	for i := range bk.slots {
		s := &bk.slots[i]
		if s.key.Load() == 0 {
			continue
		}
		if than == nil {
			than = s
			continue
		}
		v, w := fdbValue(s.value.Load()), fdbValue(than.value.Load())
		n, m := f.ports[v.port()].Load(), f.ports[w.port()].Load()
		if n > m || n == m && int32(v.epoch()-w.epoch()) < 0 {
			than = s
		}
	}
	return than
}

// mayDisplace says whether an address on port may take s's place: when that port has no more addresses than the one
// that loses one.
func (f *fdb) mayDisplace(s *fdbSlot, port uint32) bool {
	owner := fdbValue(s.value.Load()).port()
	return owner == port || f.ports[port].Load() < f.ports[owner].Load()
}

// clear empties a slot of a locked bucket; the number of entries is the caller's to correct.
func (f *fdb) clear(s *fdbSlot) {
	s.key.Store(0)
	f.ports[fdbValue(s.value.Load()).port()].Add(-1)
}
