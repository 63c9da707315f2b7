package vhostuser

import (
	"fmt"

	"weft/internal/sys"
)

// minMTU is the smallest MTU that IPv4 allows (virtio 1.3 §5.1.4.1).
const minMTU = 68

// handlers does what each supported request says, after its row of the table was obeyed. A handler returns the
// answer's payload for requests that have one.
var handlers = [numRequests]func(*session, *message) ([]byte, error){
	GetFeatures: func(s *session, _ *message) ([]byte, error) {
		return encodeU64(offeredFeatures(s.port.cfg.QueuePairs, s.port.cfg.MTU)), nil
	},
	GetProtocolFeatures: func(s *session, _ *message) ([]byte, error) {
		return encodeU64(offeredProtocol(s.port.cfg.MTU)), nil
	},
	GetQueueNum: func(s *session, _ *message) ([]byte, error) {
		return encodeU64(uint64(s.port.cfg.QueuePairs)), nil
	},
	GetMaxMemSlots: func(*session, *message) ([]byte, error) { return encodeU64(maxSlots), nil },
	GetStatus:      func(s *session, _ *message) ([]byte, error) { return encodeU64(uint64(s.status)), nil },
	SetOwner:       func(*session, *message) ([]byte, error) { return nil, nil },

	SetFeatures:         (*session).setFeatures,
	SetProtocolFeatures: (*session).setProtocolFeatures,
	ResetOwner:          (*session).resetOwner,
	ResetDevice:         (*session).resetDevice,
	SetStatus:           (*session).setStatus,
	NetSetMTU:           (*session).netSetMTU,
	SetMemTable:         (*session).setMemTable,
	AddMemReg:           (*session).addMemReg,
	RemMemReg:           (*session).remMemReg,
	SetVringNum:         (*session).setVringNum,
	SetVringAddr:        (*session).setVringAddr,
	SetVringBase:        (*session).setVringBase,
	GetVringBase:        (*session).getVringBase,
	SetVringKick:        (*session).setVringKick,
	SetVringCall:        (*session).setVringCall,
	SetVringErr:         (*session).setVringErr,
	SetVringEnable:      (*session).setVringEnable,
}

func (s *session) setFeatures(m *message) ([]byte, error) {
	want := m.u64()
	if extra := want &^ offeredFeatures(s.port.cfg.QueuePairs, s.port.cfg.MTU); extra != 0 {
		return nil, fmt.Errorf("features %v were not offered (a guest that was started with more queue pairs or an "+
			"MTU keeps asking for them: give the port what it had, or restart the guest)", featureNames.list(extra))
	}
	if s.hasFeats && want != s.features && s.state() == stateRunning {
		return nil, violationf("%v: features %#x changed to %#x while rings are started", m.req, s.features, want)
	}
	if (want^s.features)&featPacked != 0 {
		for _, r := range s.rings {
			r.changeLayout()
		}
	}
	s.features, s.hasFeats = want, true
	return nil, nil
}

// packed reports that rings have the packed layout.
func (s *session) packed() bool { return s.features&featPacked != 0 }

func (s *session) setProtocolFeatures(m *message) ([]byte, error) {
	want := m.u64()
	if extra := want &^ offeredProtocol(s.port.cfg.MTU); extra != 0 {
		return nil, fmt.Errorf("protocol features %v were not offered", protocolNames.list(extra))
	}
	s.protocol = want
	return nil, nil
}

// resetOwner disables all rings, one of the two readings of this deprecated message that the specification recommends.
func (s *session) resetOwner(*message) ([]byte, error) {
	s.disable(s.rings...)
	return nil, nil
}

// disable takes rings off their queues without stopping them.
func (s *session) disable(rings ...*ring) {
	waiting := false
	for _, r := range rings {
		r.enabled = false
		if r.detach() {
			waiting = true
		}
		r.settle()
	}
	if waiting {
		s.port.host.Synchronize()
	}
}

// resetDevice is a virtio reset with vhost-user's own state: rings are stopped, disabled and forgotten. Negotiated
// features, memory, and the descriptors for call and error stay, as qemu sends those once per connection.
func (s *session) resetDevice(*message) ([]byte, error) {
	s.stop(s.rings...)
	for _, r := range s.rings {
		r.reset()
	}
	s.status = 0
	return nil, nil
}

// setStatus keeps the virtio device status (virtio 1.3 §2.1). Zero is a reset: rings stop. They stay enabled, which is
// the front end's business and not the guest's.
func (s *session) setStatus(m *message) ([]byte, error) {
	v := m.u64()
	if v > 0xff {
		return nil, violationf("%v: device status %#x does not fit 8 bits", m.req, v)
	}
	s.status = uint8(v)
	if v == 0 {
		s.stop(s.rings...)
		for _, r := range s.rings {
			r.halt()
			r.forgetBase()
		}
	}
	return nil, nil
}

// netSetMTU learns the MTU that the guest was told. It holds from the next start of a ring.
func (s *session) netSetMTU(m *message) ([]byte, error) {
	mtu := m.u64()
	if mtu < minMTU || mtu > uint64(s.port.cfg.MTU) {
		return nil, fmt.Errorf("MTU %d is not in %d to %d, the port's MTU: set the front end's (qemu: host_mtu) to that",
			mtu, minMTU, s.port.cfg.MTU)
	}
	s.mtu = int(mtu)
	return nil, nil
}

func (s *session) setMemTable(m *message) ([]byte, error) {
	specs, err := m.memTable()
	if err != nil {
		return nil, err
	}
	next, err := s.mem.table(specs, m.fds)
	if err != nil {
		return nil, err
	}
	s.setMemory(next)
	return nil, nil
}

func (s *session) addMemReg(m *message) ([]byte, error) {
	if len(m.fds) != 1 {
		return nil, violationf("%v: %d file descriptors, want 1", m.req, len(m.fds))
	}
	next, err := s.mem.add(m.oneRegion(), m.fds[0])
	if err != nil {
		return nil, err
	}
	s.setMemory(next)
	return nil, nil
}

// remMemReg removes a region. A descriptor that old front ends send along is closed with the message.
func (s *session) remMemReg(m *message) ([]byte, error) {
	next, err := s.mem.remove(m.oneRegion())
	if err != nil {
		return nil, err
	}
	s.setMemory(next)
	return nil, nil
}

func (s *session) setVringNum(m *message) ([]byte, error) {
	v := m.vringState()
	r, err := s.ring(m, v.index)
	if err != nil {
		return nil, err
	}
	r.clearFault()
	if err := r.setSize(v.num, s.packed()); err != nil {
		return nil, err
	}
	s.start()
	return nil, nil
}

// setVringAddr stores addresses; they are looked at when the ring starts. Those of a started ring take effect at once.
func (s *session) setVringAddr(m *message) ([]byte, error) {
	a := m.vringAddr()
	r, err := s.ring(m, a.index)
	if err != nil {
		return nil, err
	}
	if a.flags != 0 {
		return nil, fmt.Errorf("ring %d: flags %#x: logging for live migration was not offered", r.index, a.flags)
	}
	r.clearFault()
	if r.hasAddr && a == r.addr {
		return nil, nil
	}
	s.stop(r)
	r.addr, r.hasAddr = a, true
	s.start()
	return nil, nil
}

func (s *session) setVringBase(m *message) ([]byte, error) {
	v := m.vringState()
	r, err := s.ring(m, v.index)
	if err != nil {
		return nil, err
	}
	if v.num > 0xffff && !s.packed() {
		return nil, violationf("%v: ring %d: index %#x does not fit 16 bits", m.req, r.index, v.num)
	}
	r.clearFault()
	r.setBase(v.num)
	s.start()
	return nil, nil
}

// getVringBase stops a ring and tells where: all that was available before is used, or untouched.
func (s *session) getVringBase(m *message) ([]byte, error) {
	r, err := s.ring(m, m.vringState().index)
	if err != nil {
		return nil, err
	}
	s.stop(r)
	r.halt()
	return vringState{uint32(r.index), r.where(s.packed())}.encode(), nil
}

// setVringKick starts a ring. The specification waits for the first kick; as rings are polled, the descriptor is never read,
// and waited for only by a thread that sleeps.
func (s *session) setVringKick(m *message) ([]byte, error) {
	r, _, err := s.vringFD(m)
	if err != nil {
		return nil, err
	}
	r.clearFault()
	fd := -1
	if len(m.fds) > 0 {
		fd = m.take(0)
	}
	r.setKick(fd)
	if !r.kicked {
		r.kicked = true
		if s.features&featProtocol == 0 {
			r.enabled = true // vhost-user, "Ring states"
		}
	}
	s.start()
	return nil, nil
}

func (s *session) setVringCall(m *message) ([]byte, error) {
	r, fd, err := s.eventFD(m)
	if err != nil {
		return nil, err
	}
	s.setCall(r, fd)
	return nil, nil
}

func (s *session) setVringErr(m *message) ([]byte, error) {
	r, fd, err := s.eventFD(m)
	if err != nil {
		return nil, err
	}
	setFD(&r.errFD, fd)
	return nil, nil
}

// vringFD is the ring that a KICK, CALL or ERR message addresses, and whether it brings a descriptor.
func (s *session) vringFD(m *message) (r *ring, present bool, err error) {
	index, present, err := m.vringFD()
	if err != nil {
		return nil, false, err
	}
	r, err = s.ring(m, index)
	return r, present, err
}

// eventFD is the same for descriptors that we write to: they must be fit for that. The caller owns fd, -1 for none.
func (s *session) eventFD(m *message) (r *ring, fd int, err error) {
	r, present, err := s.vringFD(m)
	if err != nil || !present {
		return r, -1, err
	}
	if err := sys.CheckEvent(m.fds[0]); err != nil {
		return nil, -1, fmt.Errorf("ring %d: %w", r.index, err)
	}
	return r, m.take(0), nil
}

// setVringEnable is only meant for front ends that negotiated PROTOCOL_FEATURES, but virtio-user sends it before.
func (s *session) setVringEnable(m *message) ([]byte, error) {
	v := m.vringState()
	r, err := s.ring(m, v.index)
	if err != nil {
		return nil, err
	}
	switch v.num {
	case 0:
		s.disable(r)
	case 1:
		r.enabled = true
		s.start()
	default:
		return nil, violationf("%v: ring %d: %d is neither 0 nor 1", m.req, r.index, v.num)
	}
	return nil, nil
}
