package vhosttest

import (
	"errors"
	"fmt"
)

// Stop stops all rings with GET_VRING_BASE and checks that each stopped exactly: the index at which the back end would
// go on is that of the buffers it has not used. The rings keep their content; Start goes on where they are.
func (g *Guest) Stop() error {
	for _, q := range g.queues() {
		if err := g.StopRing(q); err != nil {
			return err
		}
	}
	return nil
}

// StopRing stops one ring with GET_VRING_BASE. It belongs on the goroutine that has the queue.
func (g *Guest) StopRing(q *Queue) error {
	m, err := g.fe.Ask(GetVringBase, VringState(uint32(q.index), 0))
	if err != nil {
		return err
	}
	index, base, err := m.vring()
	if err != nil {
		return err
	}
	if index != uint32(q.index) {
		return fmt.Errorf("vhosttest: asked for the base of ring %d, got that of %d", q.index, index)
	}
	// The device uses buffers in order here, so what it took it also returned.
	if used := q.format.base(); base != used {
		return q.violation(q.format.rules().order, "stopped at base %#x, and the buffers that it used end at %#x", base, used)
	}
	q.base = base
	return nil
}

// Reconnect waits for a new connection after the back end was restarted, hanging up first where that is still to be
// done, and brings everything up again. Rings go on behind what is used in guest memory, as nobody could be asked for
// the base.
func (g *Guest) Reconnect() error {
	if err := g.fe.Redial(); err != nil {
		return err
	}
	for _, r := range g.mem.regions {
		r.announced = false
	}
	for _, q := range g.queues() {
		q.base = q.format.base()
	}
	if g.cfg.Order == VirtioUserOrder && g.cfg.Server {
		// virtio-user as a server stops its device before it greets the new back end.
		for i, p := range g.pairs {
			if err := g.Enable(i, false); err != nil {
				return err
			}
			for _, q := range []*Queue{p.Rx, p.Tx} {
				if _, err := g.fe.Ask(GetVringBase, VringState(uint32(q.index), 0)); err != nil {
					return err
				}
			}
		}
	}
	return g.bringUp()
}

// HangUp ends the connection without a word, as a front end that dies does.
func (g *Guest) HangUp() { g.fe.HangUp() }

// ResetDevice resets the back end with RESET_DEVICE and starts everything anew: the rings are emptied first.
func (g *Guest) ResetDevice() error {
	if g.fe.protocol&ProtocolResetDevice == 0 {
		return errors.New("vhosttest: the back end does not offer RESET_DEVICE")
	}
	if err := g.fe.Send(ResetDevice, nil); err != nil {
		return err
	}
	return g.restart()
}

// ResetOwner sends RESET_OWNER, which some back ends take as a reset and others as disabling all rings, then stops the
// rings and starts everything anew.
func (g *Guest) ResetOwner() error {
	if err := g.fe.Send(ResetOwner, nil); err != nil {
		return err
	}
	if err := g.Stop(); err != nil {
		return err
	}
	return g.restart()
}

func (g *Guest) restart() error {
	// The answer shows that nobody works on the rings any more.
	if err := g.fe.Sync(); err != nil {
		return err
	}
	if err := g.ResetRings(); err != nil {
		return err
	}
	return g.Start()
}

// ResetRings does what a driver does when its device was reset: it forgets everything that was outstanding and begins
// with empty rings. The device must have let go of them. Frames that were not yet sent or received are lost.
func (g *Guest) ResetRings() error {
	for _, q := range g.queues() {
		q.reset()
	}
	for _, p := range g.pairs {
		if _, err := p.Rx.Refill(); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) reset() {
	for id := range q.chains {
		if c := &q.chains[id]; c.out {
			q.giveSlots(c.slot)
			c.out = false
		}
	}
	q.freeAll()
	q.err, q.hidden, q.known = nil, 0, 0
	q.format.restart(0)
	q.base = q.format.base()
}

// AddMemory gives the guest a new region of memory while it runs, as memory hot-plug does, announces it, and moves all
// buffers that are free at the moment into it. The region must be large enough for them.
func (g *Guest) AddMemory(l RegionLayout) error {
	if err := g.mem.add([]RegionLayout{l}, false); err != nil {
		return err
	}
	if g.fe != nil {
		if err := g.AnnounceMemory(); err != nil {
			return err
		}
		if err := g.fe.Sync(); err != nil {
			return err
		}
	}
	fresh := g.mem.regions[len(g.mem.regions)-1]
	for _, q := range g.queues() {
		for _, id := range q.freeSlots {
			p, err := fresh.alloc(g.cfg.slotStride(), slotGuard)
			if err != nil {
				return err
			}
			if g.cfg.Verify {
				fill(p.Bytes)
			}
			end := slotGuard + g.cfg.SlotSize
			g.slots[id].buf, g.slots[id].gpa = p.Bytes[slotGuard:end:end], p.GPA+slotGuard
		}
	}
	return nil
}
