package packet

import "sync/atomic"

// Counters are one queue's totals since it was made.
//
// Concurrency: the PMD thread that owns the queue for the moment is the only writer. It adds into plain local variables
// and calls Publish once a batch; readers call Snapshot at any time.
type Counters struct {
	packets, bytes, batches uint64
	drops                   [NumDropReasons]uint64
}

// CounterSnapshot is what Counters said at one moment.
type CounterSnapshot struct {
	Packets, Bytes uint64
	// Batches is how many non-empty bursts carried them.
	Batches uint64
	Drops   [NumDropReasons]uint64
}

// Publish adds one burst. Only the owner calls it.
func (c *Counters) Publish(packets, bytes uint64) {
	store(&c.packets, c.packets+packets)
	store(&c.bytes, c.bytes+bytes)
	store(&c.batches, c.batches+1)
}

// Drop adds n drops. Only the owner calls it, and only when there were any.
func (c *Counters) Drop(r DropReason, n uint64) { store(&c.drops[r], c.drops[r]+n) }

// Snapshot reads the totals.
func (c *Counters) Snapshot() CounterSnapshot {
	s := CounterSnapshot{
		Packets: atomic.LoadUint64(&c.packets),
		Bytes:   atomic.LoadUint64(&c.bytes),
		Batches: atomic.LoadUint64(&c.batches),
	}
	for i := range c.drops {
		s.Drops[i] = atomic.LoadUint64(&c.drops[i])
	}
	return s
}

// Add sums o into s.
func (s *CounterSnapshot) Add(o *CounterSnapshot) {
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.Batches += o.Batches
	for i := range s.Drops {
		s.Drops[i] += o.Drops[i]
	}
}

// Dropped is the sum over all reasons.
func (s *CounterSnapshot) Dropped() uint64 {
	var sum uint64
	for _, n := range s.Drops {
		sum += n
	}
	return sum
}
