package vhosttest

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// MutateWhat names what a Mutator spoils.
type MutateWhat uint8

// What a Mutator can spoil; combine them with |.
const (
	MutateDescs     MutateWhat = 1 << iota // the descriptor table
	MutateTables                           // the indirect tables
	MutateAvail                            // the entries of the avail ring
	MutateAvailHead                        // flags and idx of the avail ring
	MutateUsed                             // the used ring, which belongs to the device
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
	r, rng := m.q.ring, m.rng
	at := uint16(rng.UintN(uint(r.size)))
	switch m.what[rng.IntN(len(m.what))] {
	case MutateDescs:
		old := r.Desc(uint32(at))
		r.SetDesc(uint32(at), m.desc(old))
		if m.flip {
			r.SetDesc(uint32(at), old)
		}
	case MutateTables:
		table := m.q.tables[at]
		i := uint32(rng.IntN(m.q.tableEntries))
		old := getDesc(table.Ptr, i)
		putDesc(table.Ptr, i, m.desc(old))
		if m.flip {
			putDesc(table.Ptr, i, old)
		}
	case MutateAvail:
		old := r.Avail(at)
		r.SetAvail(at, uint16(rng.Uint32()))
		if m.flip {
			r.SetAvail(at, old)
		}
	case MutateAvailHead:
		flags, idx := r.AvailHead()
		r.SetAvailHead(flags, idx+uint16(rng.Uint32()))
		if m.flip {
			r.SetAvailHead(flags, idx)
		}
	case MutateUsed:
		r.SetUsed(at, UsedElem{rng.Uint32(), rng.Uint32()})
	case MutateBuffers:
		s := &m.q.slots[m.q.firstSlot+rng.IntN(m.q.ownSlots)]
		s.buf[rng.IntN(min(len(s.buf), 64))] ^= byte(1 << rng.IntN(8))
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
