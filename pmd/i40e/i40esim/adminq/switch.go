package adminq

import (
	"maps"
	"slices"
)

// SEIDs of fixed elements and where the firmware begins to give them out. Model: real firmware has other numbers; drivers
// take what they are told.
const (
	seidMAC  = 2  // uplink of the first VSI
	seidPF   = 16 // what the first VSI hangs below
	firstVEB = 288
	firstVSI = 512
	seidMask = 0x3FF
)

// Limits of the switch. Model: the datasheet's totals, undivided, as one PF uses the card.
const (
	maxVEBs        = 16
	maxMACFilters  = 1536
	maxHashFilters = 512
	maxVLANs       = 512
	maxMirrorRules = 64
	maxEtypes      = 64
	maxCloud       = 512
	maxQueueSets   = 1024
	maxUDPTunnels  = 16
)

// VEB is a virtual Ethernet bridge between the port and VSIs.
type VEB struct {
	SEID      uint16
	Uplink    uint16 // 0 when floating
	StatIndex uint16 // of its counters (GLSW_*)
	Floating  bool
	NoStats   bool
	Default   bool // its port to the uplink is the default one
	Classes   uint8
	index     int
	comp      component
}

// Switch is the embedded switch as one PF sees it.
type Switch struct {
	cfg   *Config
	vsis  map[uint16]*VSI // by SEID
	vebs  map[uint16]*VEB
	main  *VSI
	port  component // scheduling of the port
	sets  map[uint16]queueSet
	deflt uint16 // SEID of the default VSI, 0 for none

	control []controlFilter
	cloud   []*cloudFilter
	types   cloudTypes
	mirrors []*mirrorRule
	tunnels [maxUDPTunnels]*udpTunnel
	stats   map[statKey]uint16

	flags                          uint16 // Set Switch Configuration
	switchTag, firstTag, secondTag uint16
	mode                           uint8
	portFlags                      uint16 // Set Port Parameters
	lldp                           bool   // the firmware takes LLDP frames
}

// queueSet says whose a scheduler handle is.
type queueSet struct {
	vsi *VSI
	tc  int
}

// newSwitch is the switch after a reset: the PF's one VSI below the port, which gets untagged frames for its factory
// address (comment in DPDK's i40e_vsi_setup: firmware since NVM 4.2.2 loads such a filter).
func newSwitch(cfg *Config) *Switch {
	s := &Switch{
		cfg: cfg, vsis: make(map[uint16]*VSI), vebs: make(map[uint16]*VEB), sets: make(map[uint16]queueSet),
		stats: make(map[statKey]uint16), types: make(cloudTypes),
		switchTag: 0x88A8, firstTag: 0x8100, secondTag: 0x8100, portFlags: portPadShort,
	}
	s.port = newComponent()
	s.main = s.newVSI(seidMAC, VSITypePF, connRegular)
	p := s.main.props[:]
	le.PutUint16(p[30:], 0)
	le.PutUint16(p[0:], SectionVLAN|SectionQueueMap)
	s.setClasses(s.main, 1)
	s.main.macs[macKey{mac: cfg.MAC}] = macFilter{queue: -1}
	return s
}

// portCounters is how many sets of the VSIs' counters (GLV_*) belong to the ports: DPDK takes the set with the number of its
// port for traffic inside the card, and subtracts it from the port's.
const portCounters = 4

// newVSI makes a VSI with the properties that firmware gives to one about which nothing is said. It returns nil when the
// PF has no more.
func (s *Switch) newVSI(uplink uint16, kind VSIType, conn uint8) *VSI {
	if len(s.vsis) >= s.cfg.VSIs {
		return nil
	}
	n := 0
	for s.vsis[uint16(firstVSI+s.cfg.FirstVSI+n)] != nil {
		n++
	}
	v := &VSI{
		Number: uint16(s.cfg.FirstVSI + n), SEID: uint16(firstVSI + s.cfg.FirstVSI + n), Uplink: uplink, Type: kind,
		VF: -1, Conn: conn, base: s.cfg.FirstQueue,
		macs: make(map[macKey]macFilter), vlans: make(map[uint16]struct{}), onVLAN: make(map[uint16]uint16),
	}
	p := v.props[:]
	le.PutUint16(p[2:], SwitchNotSTag)
	p[12] = portVLANTagged | portVLANPlain | uint8(TagKeep)<<3
	identity := uint32(0)
	for up := range uint32(8) {
		identity |= up << (3 * up)
	}
	for _, at := range []int{16, 20, 84} {
		le.PutUint32(p[at:], identity)
	}
	for tc := range 8 {
		le.PutUint16(p[96+2*tc:], noQueueSet)
	}
	le.PutUint16(p[112:], v.Number+portCounters)
	le.PutUint16(p[114:], 1+v.Number)
	s.vsis[v.SEID] = v
	return v
}

// setClasses gives the VSI a queue set for each traffic class of the bitmap and takes away the others.
func (s *Switch) setClasses(v *VSI, classes uint8) bool {
	for tc := range 8 {
		handle, has := v.QueueSet(tc)
		want := classes>>tc&1 != 0
		switch {
		case has && !want:
			delete(s.sets, handle)
			v.put16(96+2*tc, noQueueSet)
		case want && !has:
			fresh, ok := s.freeSet()
			if !ok {
				return false
			}
			s.sets[fresh] = queueSet{v, tc}
			v.put16(96+2*tc, fresh)
		}
	}
	v.props[82] = classes
	return true
}

func (s *Switch) freeSet() (uint16, bool) {
	// Model: handle 0 is the port's own.
	for h := uint16(1); h < maxQueueSets; h++ {
		if _, used := s.sets[h]; !used {
			return h, true
		}
	}
	return 0, false
}

// QueueSet returns whose a queue set handle is. ok is false for one that no VSI has: a transmit context must not name it.
func (s *Switch) QueueSet(handle uint16) (v *VSI, tc int, ok bool) {
	set, ok := s.sets[handle]
	return set.vsi, set.tc, ok
}

// Main returns the PF's own VSI.
func (s *Switch) Main() *VSI { return s.main }

// VSI returns the VSI with an absolute number, or nil.
func (s *Switch) VSI(number uint16) *VSI { return s.vsis[firstVSI+number] }

// VSIOfVF returns the first VSI of a VF, or nil.
func (s *Switch) VSIOfVF(vf int) *VSI {
	for _, v := range s.VSIs() {
		if v.Type == VSITypeVF && v.VF == vf {
			return v
		}
	}
	return nil
}

// VSIs returns all VSIs in the order of their numbers.
func (s *Switch) VSIs() []*VSI {
	out := make([]*VSI, 0, len(s.vsis))
	for _, seid := range slices.Sorted(maps.Keys(s.vsis)) {
		out = append(out, s.vsis[seid])
	}
	return out
}

// VEBs returns all VEBs in the order of their SEIDs.
func (s *Switch) VEBs() []*VEB {
	out := make([]*VEB, 0, len(s.vebs))
	for _, seid := range slices.Sorted(maps.Keys(s.vebs)) {
		out = append(out, s.vebs[seid])
	}
	return out
}

// VEBOf returns the VEB that a VSI hangs below, or nil.
func (s *Switch) VEBOf(v *VSI) *VEB { return s.vebs[v.Uplink] }

// VLANTypes are the EtherTypes of the tags that the port takes as VLANs, outer first. The outer one counts only with double
// tagging (Set Port Parameters, Set Switch Configuration).
func (s *Switch) VLANTypes() (outer, inner uint16, double bool) {
	return s.firstTag, s.secondTag, s.portFlags&portDoubleVLAN != 0
}

func (s *Switch) vsiBySEID(seid uint16) *VSI { return s.vsis[seid&seidMask] }

func (s *Switch) isUplink(seid uint16) bool { return seid == seidMAC || s.vebs[seid&seidMask] != nil }

func (s *Switch) below(seid uint16) []*VSI {
	var out []*VSI
	for _, v := range s.VSIs() {
		if v.Uplink == seid {
			out = append(out, v)
		}
	}
	return out
}

// remove takes an element away, with all that points to it.
func (s *Switch) remove(seid uint16) {
	if v := s.vsis[seid]; v != nil {
		s.setClasses(v, 0)
		delete(s.vsis, seid)
		if s.deflt == seid {
			s.deflt = 0
		}
		s.control = slices.DeleteFunc(s.control, func(f controlFilter) bool { return f.seid == seid })
		s.cloud = slices.DeleteFunc(s.cloud, func(f *cloudFilter) bool { return f.seid == seid })
		s.mirrors = slices.DeleteFunc(s.mirrors, func(r *mirrorRule) bool { return r.to == seid })
		return
	}
	delete(s.vebs, seid)
	s.mirrors = slices.DeleteFunc(s.mirrors, func(r *mirrorRule) bool { return r.seid == seid })
}
