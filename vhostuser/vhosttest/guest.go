package vhosttest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"weft/internal/sys"
)

// Guest is a virtual machine as a switch sees it: memory and virtio-net queues, and with Connect a vhost-user session.
type Guest struct {
	cfg   Config
	mem   *Memory
	fe    *FrontEnd // nil without a socket
	pairs []*Pair
	slots []slot
}

// NewGuest makes a guest without a socket. The device is given the rings by pointer:
//
//	g, err := vhosttest.NewGuest(vhosttest.Config{RingSize: 256})
//	desc, driver, device := g.Tx(0).Parts()
//
// together with Memory().Regions(), HeaderLen, the features of the configuration, and the queue's Base and CallFD.
// Receive rings are full already.
func NewGuest(cfg Config) (*Guest, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	mem, err := NewMemory(cfg.regions(), cfg.Huge)
	if err != nil {
		return nil, err
	}
	g := &Guest{cfg: cfg, mem: mem}
	if err := g.build(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Guest) build() error {
	for i := range g.cfg.QueuePairs {
		rx, err := g.newQueue(2*i, true)
		if err != nil {
			return err
		}
		tx, err := g.newQueue(2*i+1, false)
		if err != nil {
			return errors.Join(err, rx.close())
		}
		g.pairs = append(g.pairs, &Pair{rx, tx})
	}
	for _, p := range g.pairs {
		p.Rx.slots, p.Tx.slots = g.slots, g.slots
		// Forward moves slots between the queues of a pair: let either list hold all of them.
		p.Rx.freeSlots = grow(p.Rx.freeSlots, len(p.Tx.freeSlots))
		p.Tx.freeSlots = grow(p.Tx.freeSlots, len(p.Rx.freeSlots))
		if _, err := p.Rx.Refill(); err != nil {
			return err
		}
	}
	return nil
}

func grow(s []int32, by int) []int32 { return append(make([]int32, 0, len(s)+by), s...) }

func (g *Guest) newQueue(index int, rx bool) (*Queue, error) {
	c := &g.cfg
	q := &Queue{
		index: index, rx: rx, mem: g.mem, cfg: c, layout: c.TxLayout, hdr: c.headerLen(),
		rng:  rand.New(rand.NewPCG(c.Seed, uint64(index))),
		seed: maphash.MakeSeed(),
		free: newFIFO[uint16](c.RingSize), chains: make([]chain, c.RingSize),
		order: newFIFO[uint16](c.RingSize), seen: newFIFO[usedBuffer](c.RingSize),
		one:  [8]byte{1},
		cuts: make([]int, 0, 2*maxPieces),
	}
	if rx {
		q.layout, q.access = c.RxLayout, DescWrite
	}
	if err := g.addRing(q); err != nil {
		return nil, err
	}
	q.freeAll()
	q.format.restart(c.FirstIndex)
	q.base = q.format.base()
	if err := g.addBuffers(q); err != nil {
		return nil, err
	}
	var err error
	if q.kick, q.kickFD, err = sys.EventFile(); err == nil {
		if q.call, q.callFD, err = sys.EventFile(); err != nil {
			_ = q.kick.Close()
		}
	}
	return q, err
}

// addRing takes memory for q's ring, of either format.
func (g *Guest) addRing(q *Queue) (err error) {
	size := g.cfg.RingSize
	if !g.cfg.Packed {
		q.ring, err = newRing(g.mem, size, g.cfg.OddAvail)
		q.format = &split{q: q, ring: q.ring, links: make([]uint16, size)}
		return err
	}
	q.packed, err = newPackedRing(g.mem, size, g.cfg.OddAvail)
	f := &packed{q: q, ring: q.packed}
	if g.cfg.Verify {
		f.shadow = make([]PackedDesc, size)
	}
	q.format = f
	return err
}

// addBuffers takes memory for q's slots and indirect tables.
func (g *Guest) addBuffers(q *Queue) error {
	c := &g.cfg
	q.firstSlot, q.ownSlots = len(g.slots), c.slotsOf(q.rx)
	for range q.ownSlots {
		p, err := g.mem.Alloc(c.slotStride(), slotGuard)
		if err != nil {
			return fmt.Errorf("%w (buffers of virtqueue %d)", err, q.index)
		}
		if c.Verify {
			fill(p.Bytes)
		}
		q.freeSlots = append(q.freeSlots, int32(len(g.slots)))
		end := slotGuard + c.SlotSize
		g.slots = append(g.slots, slot{buf: p.Bytes[slotGuard:end:end], gpa: p.GPA + slotGuard, next: -1})
	}
	if !q.layout.Indirect {
		return nil
	}
	q.tableEntries = int(c.tableSize(q.rx) / DescSize)
	for range c.RingSize {
		p, err := g.mem.Alloc(c.tableSize(q.rx), DescSize)
		if err != nil {
			return fmt.Errorf("%w (indirect tables of virtqueue %d)", err, q.index)
		}
		q.tables = append(q.tables, p)
	}
	return nil
}

func (q *Queue) close() error { return errors.Join(q.kick.Close(), q.call.Close()) }

// Memory is the guest's memory.
func (g *Guest) Memory() *Memory { return g.mem }

// Pairs is the number of queue pairs.
func (g *Guest) Pairs() int { return len(g.pairs) }

// Pair returns queue pair i.
func (g *Guest) Pair(i int) *Pair { return g.pairs[i] }

// Rx returns the receive queue of pair i: what the device transmits into.
func (g *Guest) Rx(i int) *Queue { return g.pairs[i].Rx }

// Tx returns the transmit queue of pair i: what the device receives from.
func (g *Guest) Tx(i int) *Queue { return g.pairs[i].Tx }

// HeaderLen is the length of the virtio-net header: 12 bytes, or 10 for a legacy driver without mergeable buffers.
func (g *Guest) HeaderLen() int { return g.cfg.headerLen() }

// Send transmits a frame on pair i. It is ErrFull while the device holds all buffers.
func (g *Guest) Send(i int, frame []byte) error { return g.pairs[i].Tx.Send(frame) }

// Receive returns the next frame that arrives on pair i within timeout, or ErrEmpty. A timeout of 0 only looks. The
// frame is the caller's.
func (g *Guest) Receive(i int, timeout time.Duration) ([]byte, error) {
	q := g.pairs[i].Rx
	if q.received == nil {
		q.received = make([]byte, max(g.cfg.MaxFrame, 1<<16))
	}
	n, err := q.Receive(q.received)
	if errors.Is(err, ErrEmpty) && timeout > 0 {
		if err = q.Wait(timeout); err == nil {
			n, err = q.Receive(q.received)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := q.Refill(); err != nil {
		return nil, err
	}
	return append([]byte(nil), q.received[:n]...), nil
}

// Close frees everything. The device must have let go of the memory.
func (g *Guest) Close() error {
	var errs []error
	for _, p := range g.pairs {
		errs = append(errs, p.Rx.close(), p.Tx.close())
	}
	g.pairs = nil
	if g.fe != nil {
		errs = append(errs, g.fe.Close())
	}
	return errors.Join(append(errs, g.mem.Close())...)
}
