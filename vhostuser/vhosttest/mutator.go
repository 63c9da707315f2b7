package vhosttest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// MutateWhat names what a Mutator spoils.
type MutateWhat uint8

// What a Mutator can spoil; combine them with |. Behind the semicolon is what takes the place in a packed ring.
const (
	MutateDescs     MutateWhat = 1 << iota // the descriptor table; the descriptor ring
	MutateTables                           // the indirect tables
	MutateAvail                            // the entries of the avail ring; a descriptor's id, AVAIL and USED
	MutateAvailHead                        // flags and idx of the avail ring; the driver event suppression structure
	MutateUsed                             // what belongs to the device: the used ring; its event suppression structure
	MutateBuffers                          // the contents of buffers: headers and frames
	// MutateFlip also puts each value back at once: what a device reads twice differs, and the ring stays mostly whole.
	MutateFlip
)

// Mutator is a guest's second CPU that rewrites its rings and buffers while the device works on them, to provoke double
// fetches and decisions on unchecked values. The queue's own driver must expect to fail.
type Mutator struct {
	q      *Queue
	what   []MutateWhat
	flip   bool
	rng    *rand.Rand
	stop   atomic.Bool
	done   sync.WaitGroup
	rounds atomic.Uint64
}

// Mutate starts a mutator of q on a goroutine of its own. Stop ends it.
func Mutate(q *Queue, what MutateWhat, seed uint64) *Mutator {
	m := &Mutator{q: q, flip: what&MutateFlip != 0, rng: rand.New(rand.NewPCG(seed, 0x6d757461746f72))}
	for bit := MutateDescs; bit < MutateFlip; bit <<= 1 {
		if what&bit != 0 && (bit != MutateTables || len(q.tables) > 0) {
			m.what = append(m.what, bit)
		}
	}
	m.done.Add(1)
	go m.run()
	return m
}

// Stop ends the mutator and returns how many values it wrote.
func (m *Mutator) Stop() uint64 {
	m.stop.Store(true)
	m.done.Wait()
	return m.rounds.Load()
}

func (m *Mutator) run() {
	defer m.done.Done()
	for !m.stop.Load() && len(m.what) > 0 {
		m.Once()
	}
}

// Once spoils one value. It must not be called while the mutator's own goroutine runs.
func (m *Mutator) Once() {
	m.rounds.Add(1)
	what := m.what[m.rng.IntN(len(m.what))]
	switch {
	case what == MutateBuffers:
		s := &m.q.slots[m.q.firstSlot+m.rng.IntN(m.q.ownSlots)]
		s.buf[m.rng.IntN(min(len(s.buf), 64))] ^= byte(1 << m.rng.IntN(8))
	case m.q.packed != nil:
		m.oncePacked(m.q.packed, what)
	default:
		m.onceSplit(m.q.ring, what)
	}
}

func (m *Mutator) onceSplit(r *Ring, what MutateWhat) {
	at := uint16(m.rng.UintN(uint(r.size)))
	switch what {
	case MutateDescs:
		old := r.Desc(uint32(at))
		r.SetDesc(uint32(at), m.desc(old))
		if m.flip {
			r.SetDesc(uint32(at), old)
		}
	case MutateTables:
		table := m.q.tables[at]
		i := uint32(m.rng.IntN(m.q.tableEntries))
		old := getDesc(table.Ptr, i)
		putDesc(table.Ptr, i, m.desc(old))
		if m.flip {
			putDesc(table.Ptr, i, old)
		}
	case MutateAvail:
		old := r.Avail(at)
		r.SetAvail(at, uint16(m.rng.Uint32()))
		if m.flip {
			r.SetAvail(at, old)
		}
	case MutateAvailHead:
		flags, idx := r.AvailHead()
		r.SetAvailHead(flags, idx+uint16(m.rng.Uint32()))
		if m.flip {
			r.SetAvailHead(flags, idx)
		}
	case MutateUsed:
		r.SetUsed(at, UsedElem{m.rng.Uint32(), m.rng.Uint32()})
	}
}

func (m *Mutator) oncePacked(r *PackedRing, what MutateWhat) {
	at := uint32(m.rng.UintN(uint(r.size)))
	switch what {
	case MutateDescs:
		old := r.Desc(at)
		r.SetDesc(at, m.packedDesc(old))
		if m.flip {
			r.SetDesc(at, old)
		}
	case MutateTables:
		table := m.q.tables[at]
		i := uint32(m.rng.IntN(m.q.tableEntries))
		old := getPackedDesc(table.Ptr, i)
		putPackedDesc(table.Ptr, i, m.packedDesc(old))
		if m.flip {
			putPackedDesc(table.Ptr, i, old)
		}
	case MutateAvail:
		id, flags := r.State(at)
		if m.rng.IntN(2) == 0 {
			r.SetState(at, uint16(m.rng.Uint32()), flags)
		} else {
			r.SetState(at, id, flags^[]uint16{DescAvail, DescUsed, DescAvail | DescUsed}[m.rng.IntN(3)])
		}
		if m.flip {
			r.SetState(at, id, flags)
		}
	case MutateAvailHead:
		offWrap, flags := r.DriverEvent()
		r.SetDriverEvent(uint16(m.rng.Uint32()), uint16(m.rng.Uint32()))
		if m.flip {
			r.SetDriverEvent(offWrap, flags)
		}
	case MutateUsed:
		r.SetDeviceEvent(uint16(m.rng.Uint32()), uint16(m.rng.Uint32()))
	}
}

// desc is a variation of d.
func (m *Mutator) desc(d Desc) Desc {
	switch m.rng.IntN(6) {
	case 0:
		d.Addr = m.rng.Uint64()
	case 1:
		d.Addr += uint64(m.rng.IntN(1 << 24))
	case 2:
		d.Len = m.rng.Uint32() >> m.rng.UintN(32)
	case 3:
		d.Flags ^= 1 << m.rng.UintN(3)
	case 4:
		d.Next = uint16(m.rng.Uint32())
	case 5:
		return Desc{m.rng.Uint64(), m.rng.Uint32(), uint16(m.rng.Uint32()), uint16(m.rng.Uint32())}
	}
	return d
}

// packedDesc is a variation of d, whose id stands where the link to the next one stands in a split ring.
func (m *Mutator) packedDesc(d PackedDesc) PackedDesc {
	v := m.desc(Desc{Addr: d.Addr, Len: d.Len, Flags: d.Flags, Next: d.ID})
	return PackedDesc{Addr: v.Addr, Len: v.Len, ID: v.Next, Flags: v.Flags}
}
