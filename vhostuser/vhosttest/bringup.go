package vhosttest

import (
	"errors"
	"fmt"
)

// Order is the order in which a front end sends its messages.
type Order uint8

const (
	// QemuOrder negotiates once for each queue pair, enables rings before it starts them, and passes a call descriptor
	// that nobody reads before the real one.
	QemuOrder Order = iota
	// VirtioUserOrder is that of DPDK's virtio-user: owner first, one negotiation, call descriptors before features,
	// rings enabled at the end. Guest-physical addresses are the front end's own.
	VirtioUserOrder
)

// Connect makes a guest and brings a back end up for it. With Server it listens on Path and waits for the back end.
func Connect(cfg Config) (*Guest, error) {
	cfg = cfg.withDefaults()
	if cfg.Order == VirtioUserOrder && len(cfg.Regions) == 0 {
		var size uint64
		for _, l := range cfg.regions() {
			size += l.Size
		}
		cfg.Regions = []RegionLayout{{Identity: true, Size: size}}
	}
	g, err := NewGuest(cfg)
	if err != nil {
		return nil, err
	}
	if g.fe, err = openFrontEnd(&cfg); err == nil {
		err = g.bringUp()
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func openFrontEnd(cfg *Config) (*FrontEnd, error) {
	open := Dial
	if cfg.Server {
		open = Listen
	}
	f, err := open(cfg.Path, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	f.NeedReply = cfg.NeedReply
	if cfg.Server {
		if err := f.Redial(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// FrontEnd is the guest's end of the socket, nil without one.
func (g *Guest) FrontEnd() *FrontEnd { return g.fe }

// bringUp negotiates and starts everything.
func (g *Guest) bringUp() error {
	if err := g.negotiate(); err != nil {
		return err
	}
	return g.Start()
}

// steps runs functions until one fails.
func steps(all ...func() error) error {
	for _, f := range all {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guest) negotiate() error {
	f := g.fe
	setOwner := func() error { return f.Send(SetOwner, nil) }
	if g.cfg.Order == VirtioUserOrder {
		return steps(setOwner, g.askFeatures, g.negotiateProtocol, g.checkPairs)
	}
	if err := steps(g.askFeatures, g.negotiateProtocol, g.checkPairs, g.askSlots, setOwner, g.askFeatures); err != nil {
		return err
	}
	for i := range g.pairs {
		if i > 0 {
			if err := steps(g.askFeatures, g.negotiateProtocol, g.askFeatures); err != nil {
				return err
			}
		}
		for _, q := range []*Queue{g.pairs[i].Rx, g.pairs[i].Tx} {
			if err := f.Send(SetVringCall, VringFD(uint32(q.index), true), f.maskedFD); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Guest) askFeatures() (err error) {
	g.fe.offered, err = g.fe.AskU64(GetFeatures)
	return err
}

// wanted are the features that the configuration needs.
func (c *Config) wanted() uint64 {
	var f uint64
	for bit, on := range map[uint64]bool{
		FeatureVersion1: !c.Legacy, FeatureMrgRxBuf: c.Mergeable, FeatureIndirect: c.Indirect,
		FeaturePacked: c.Packed, FeatureInOrder: c.InOrder,
		FeatureMQ: c.QueuePairs > 1, FeatureMTU: c.MTU > 0, FeatureProtocol: !c.NoProtocol,
	} {
		if on {
			f |= bit
		}
	}
	return f
}

func (g *Guest) negotiateProtocol() error {
	f := g.fe
	if g.cfg.NoProtocol || f.offered&FeatureProtocol == 0 {
		return nil
	}
	offered, err := f.AskU64(GetProtocolFeatures)
	if err != nil {
		return err
	}
	want := uint64(ProtocolMQ | ProtocolReplyAck | ProtocolResetDevice | ProtocolStatus)
	if g.cfg.MTU > 0 {
		want |= ProtocolMTU
	}
	if g.cfg.MemSlots {
		want |= ProtocolMemSlots
	}
	// The answer to SET_PROTOCOL_FEATURES itself depends on what was negotiated before.
	if err := f.Send(SetProtocolFeatures, U64(want&offered)); err != nil {
		return err
	}
	f.protocol = want & offered
	if missing := want &^ offered & (ProtocolMTU | ProtocolMemSlots); missing != 0 {
		return fmt.Errorf("vhosttest: the back end does not offer protocol features %#x", missing)
	}
	return nil
}

func (g *Guest) checkPairs() error {
	if g.fe.protocol&ProtocolMQ == 0 {
		return nil
	}
	n, err := g.fe.AskU64(GetQueueNum)
	if err != nil {
		return err
	}
	if g.fe.pairs = n; n < uint64(len(g.pairs)) {
		return fmt.Errorf("vhosttest: the back end has %d queue pairs, %d are wanted", n, len(g.pairs))
	}
	return nil
}

func (g *Guest) askSlots() error {
	if g.fe.protocol&ProtocolMemSlots == 0 {
		return nil
	}
	n, err := g.fe.AskU64(GetMaxMemSlots)
	if err == nil && n < uint64(len(g.mem.regions)) {
		err = fmt.Errorf("vhosttest: the back end has %d memory slots, %d are wanted", n, len(g.mem.regions))
	}
	return err
}

// MissingFeaturesError says that the back end does not offer what the configuration needs.
type MissingFeaturesError struct{ Features uint64 }

// Error names the features by their bits.
func (e *MissingFeaturesError) Error() string {
	return fmt.Sprintf("vhosttest: the back end does not offer features %#x", e.Features)
}

// Start starts all rings, at the index where each was stopped. Connect has done it; call it after Stop.
func (g *Guest) Start() error {
	if missing := g.cfg.wanted() &^ g.fe.offered; missing != 0 {
		return &MissingFeaturesError{missing}
	}
	if g.cfg.Order == VirtioUserOrder {
		return g.startVirtioUser()
	}
	return g.startQemu()
}

func (g *Guest) startQemu() error {
	if g.cfg.MTU > 0 && g.fe.protocol&ProtocolMTU != 0 {
		if err := g.fe.Send(NetSetMTU, U64(uint64(g.cfg.MTU))); err != nil {
			return err
		}
	}
	for i, p := range g.pairs {
		if err := steps(func() error { return g.Enable(i, true) }, g.sendFeatures); err != nil {
			return err
		}
		if i == 0 {
			if err := g.AnnounceMemory(); err != nil {
				return err
			}
		}
		for _, q := range []*Queue{p.Rx, p.Tx} {
			if err := g.startRing(q); err != nil {
				return err
			}
		}
		for _, q := range []*Queue{p.Rx, p.Tx} {
			if err := g.sendCall(q); err != nil {
				return err
			}
		}
	}
	if err := g.sendStatus(statusAcknowledge | statusDriver | statusFeaturesOK | statusDriverOK); err != nil {
		return err
	}
	return g.fe.Sync()
}

func (g *Guest) startVirtioUser() error {
	if err := g.sendStatus(statusAcknowledge | statusDriver); err != nil {
		return err
	}
	for _, q := range g.queues() {
		if err := g.sendCall(q); err != nil {
			return err
		}
	}
	if err := steps(g.sendFeatures, g.AnnounceMemory); err != nil {
		return err
	}
	for _, q := range g.queues() {
		if err := g.startRing(q); err != nil {
			return err
		}
	}
	for i := range g.pairs {
		if err := g.Enable(i, true); err != nil {
			return err
		}
	}
	if err := g.sendStatus(statusAcknowledge | statusDriver | statusFeaturesOK | statusDriverOK); err != nil {
		return err
	}
	return g.fe.Sync()
}

func (g *Guest) queues() []*Queue {
	var all []*Queue
	for _, p := range g.pairs {
		all = append(all, p.Rx, p.Tx)
	}
	return all
}

func (g *Guest) sendFeatures() error {
	if err := g.fe.Send(SetFeatures, U64(g.cfg.wanted())); err != nil {
		return err
	}
	g.fe.features = g.cfg.wanted()
	return nil
}

func (g *Guest) sendStatus(status uint64) error {
	if g.fe.protocol&ProtocolStatus == 0 {
		return nil
	}
	if err := g.fe.Send(SetStatus, U64(status)); err != nil {
		return err
	}
	got, err := g.fe.AskU64(GetStatus)
	if err == nil && got != status {
		err = fmt.Errorf("vhosttest: device status %#x was set and reads as %#x", status, got)
	}
	return err
}

func (g *Guest) sendCall(q *Queue) error {
	return g.fe.Send(SetVringCall, VringFD(uint32(q.index), true), q.callFD)
}

// startRing sets one ring up and starts it.
func (g *Guest) startRing(q *Queue) error {
	i := uint32(q.index)
	desc, driver, device := q.Parts()
	return steps(
		func() error { return g.fe.Send(SetVringNum, VringState(i, q.Size())) },
		func() error { return g.fe.Send(SetVringBase, VringState(i, q.base)) },
		func() error {
			return g.fe.Send(SetVringAddr, VringAddr(i, 0, desc.User, device.User, driver.User, 0))
		},
		func() error { return g.fe.Send(SetVringKick, VringFD(i, true), q.kickFD) },
	)
}

// Enable switches both rings of pair i on or off with SET_VRING_ENABLE. They stay started. Without protocol features
// there is no such message, and nothing happens.
func (g *Guest) Enable(i int, on bool) error {
	if g.cfg.NoProtocol {
		return nil
	}
	num := map[bool]uint32{true: 1}[on]
	for _, q := range []*Queue{g.pairs[i].Rx, g.pairs[i].Tx} {
		if err := g.fe.Send(SetVringEnable, VringState(uint32(q.index), num)); err != nil {
			return err
		}
	}
	return nil
}

// AnnounceMemory sends the memory table as it is now: with SET_MEM_TABLE, or region by region what is new with
// ADD_MEM_REG.
func (g *Guest) AnnounceMemory() error {
	var fds []int
	var table []MemRegion
	for _, r := range g.mem.regions {
		m := MemRegion{GPA: r.GPA, Size: r.Size, User: r.User, Offset: r.offset}
		if g.fe.protocol&ProtocolMemSlots == 0 {
			fds, table = append(fds, r.fd), append(table, m)
			continue
		}
		if r.announced {
			continue
		}
		if err := g.fe.Send(AddMemReg, OneRegion(m), r.fd); err != nil {
			return err
		}
		r.announced = true
	}
	if table == nil {
		return nil
	}
	return g.fe.Send(SetMemTable, MemTable(table...), fds...)
}
