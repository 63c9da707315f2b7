package main

import (
	"errors"
	"fmt"

	"weft/pmd/memport"
	vswitch "weft/switch"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

const (
	ringSize = 256
	// frameRoom is what a frame may grow to on the way.
	frameRoom = 64
)

// newEnd makes a port and its other end.
func newEnd(s *scenario) (end, error) {
	if s.wiring == inMemory {
		p, err := memport.New(memport.Config{Queues: s.pairs, RingSize: ringSize})
		if err != nil {
			return nil, err
		}
		return &memory{p, make([]byte, memport.DefaultFrameSize)}, nil
	}
	return newGuest(s)
}

// guest is a virtual machine, whose rings the switch uses without a vhost-user session.
type guest struct {
	*vhosttest.Guest
	rx []vswitch.RxQueue
	tx []vswitch.TxQueue
}

func newGuest(s *scenario) (*guest, error) {
	cfg := vhosttest.Config{
		InOrder:    true, // as DPDK's driver does
		QueuePairs: s.pairs, RingSize: ringSize, Packed: s.wiring == packed, Mergeable: s.wiring != unmerged,
		MaxFrame: s.size + frameRoom, SlotSize: 2048, RxBuffer: 2048,
	}
	v, err := vhosttest.NewGuest(cfg)
	if err != nil {
		return nil, err
	}
	g := &guest{Guest: v}
	if err := g.attach(&cfg); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return g, nil
}

// attach gives the switch's queues the guest's rings.
func (g *guest) attach(cfg *vhosttest.Config) error {
	var regions []virtq.Region
	for _, r := range g.Memory().Regions() {
		regions = append(regions, virtq.Region(r))
	}
	mem, err := virtq.NewMemory(regions)
	if err != nil {
		return err
	}
	ring := func(q *vhosttest.Queue) (*virtq.Ring, error) {
		desc, driver, device := q.Parts()
		return virtq.NewRing(virtq.RingConfig{
			Packed: cfg.Packed, Size: q.Size(), Base: q.Base() & 0xffff,
			Desc: desc.Ptr, Driver: driver.Ptr, Device: device.Ptr, Memory: mem,
			HeaderLen: g.HeaderLen(), Mergeable: cfg.Mergeable, Batches: cfg.InOrder && q.Index()%2 == 1,
		})
	}
	broken := func() { panic("a guest broke its ring") }
	for i := range g.Pairs() {
		fromGuest, err := ring(g.Tx(i))
		if err != nil {
			return err
		}
		toGuest, err := ring(g.Rx(i))
		if err != nil {
			return err
		}
		rx, tx := virtq.NewRxQueue(broken, nil), virtq.NewTxQueue(broken)
		rx.Attach(fromGuest)
		tx.Attach(toGuest)
		g.rx, g.tx = append(g.rx, rx), append(g.tx, tx)
	}
	return nil
}

func (g *guest) queues() ([]vswitch.RxQueue, []vswitch.TxQueue) { return g.rx, g.tx }
func (g *guest) close() error                                   { return g.Close() }

func (g *guest) take() (n int, err error) {
	for i := range g.Pairs() {
		some, _, err := g.Rx(i).Drain(ringSize)
		if n += some; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (g *guest) send(pair int, frames [][]byte) error {
	n, err := g.Tx(pair).SendBurst(frames)
	if err == nil && n < len(frames) {
		err = fmt.Errorf("%d of %d frames sent: %w", n, len(frames), vhosttest.ErrFull)
	}
	return err
}

// memory is a port in memory.
type memory struct {
	*memport.Port
	buf []byte
}

func (m *memory) close() error { return nil }

func (m *memory) queues() (rx []vswitch.RxQueue, tx []vswitch.TxQueue) {
	for i := range m.Queues() {
		rx, tx = append(rx, m.Rx(i)), append(tx, m.Tx(i))
	}
	return rx, tx
}

func (m *memory) take() (n int, _ error) {
	for i := range m.Queues() {
		for _, ok := m.Collect(i, m.buf); ok; _, ok = m.Collect(i, m.buf) {
			n++
		}
	}
	return n, nil
}

func (m *memory) send(queue int, frames [][]byte) error {
	for i, f := range frames {
		if !m.Inject(queue, f) {
			return fmt.Errorf("%d of %d frames sent: the ring is full", i, len(frames))
		}
	}
	return nil
}
