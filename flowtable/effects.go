package flowtable

import "weft/flowtable/flow"

// effects is what a list of actions does to keys: what composing it looks at, what it changes for the tables behind it.
type effects struct {
	reads, writes flow.Key
	chained       bool // it looks packets up again
	tags          bool // it moves tags
	labels        bool // it moves label stack entries
}

// Parts of keys.
const (
	maskInPort  = uint64(0xffffffff) << flow.ShiftInPort
	maskEthType = uint64(0xffff) << flow.ShiftEthType
	maskProto   = uint64(0xff) << flow.ShiftProto
	maskTTL     = uint64(0xff) << flow.ShiftTTL
	maskDSCP    = uint64(0xfc) << flow.ShiftTOS
	maskFrag    = uint64(0xff) << flow.ShiftFrag
	maskPorts   = uint64(0xffffffff)
	maskTop     = uint64(0xffffffff) << flow.ShiftLSE

	// The bottom-of-stack bit of a label stack entry (RFC 3032 §2.1).
	lseBottom = 1 << 8
	lseTTL    = 0xff
)

// effectsOf sums up what actions do.
func effectsOf(actions []flow.Action) effects {
	var e effects
	for i := range actions {
		e.add(&actions[i])
	}
	return e
}

func (e *effects) add(a *flow.Action) {
	if a.InSet && a.Output() || a.Kind == flow.ActionClearActions {
		flow.Whole(flow.FieldActsetOutput).AddMask(&e.writes)
	}
	switch a.Kind {
	case flow.ActionOutputReg:
		e.read(a.Src)
	case flow.ActionResubmit:
		e.chained = true
		if a.Port != flow.SamePort {
			e.writes[flow.WordPort] |= maskInPort
		}
	case flow.ActionGotoTable:
		e.chained = true
	case flow.ActionPushVLAN, flow.ActionPopVLAN:
		e.shiftTags()
	case flow.ActionPushMPLS:
		// The new entry is like the one below it, or made of the IP header's fields.
		e.shiftLabels()
		e.reads[flow.WordL4] |= maskDSCP | maskTTL
	case flow.ActionPopMPLS:
		e.shiftLabels()
	case flow.ActionDecTTL:
		flow.NeedIP.AddMask(&e.reads)
		e.reads[flow.WordL4] |= maskTTL | maskProto
		e.writes[flow.WordL4] |= maskTTL
	case flow.ActionDecMPLSTTL:
		flow.NeedMPLS.AddMask(&e.reads)
		e.reads[flow.WordMPLS] |= lseTTL << flow.ShiftLSE
		e.writes[flow.WordMPLS] |= lseTTL << flow.ShiftLSE
	case flow.ActionMove:
		e.read(a.Src)
		e.write(a.Dst, flow.Ones(int(a.Dst.Bits)).Shl(int(a.Dst.Ofs)))
	case flow.ActionSetField:
		e.write(a.Dst, a.Mask)
	case flow.ActionModTPSrc, flow.ActionModTPDst:
		e.reads[flow.WordPort] |= maskEthType
		e.reads[flow.WordL4] |= maskProto | maskFrag
		e.writes[flow.WordL4] |= maskPorts
	case flow.ActionModVLANVID, flow.ActionModVLANPCP:
		e.shiftTags()
	default:
		if dst, _, ok := a.Setting(); ok {
			e.write(dst, flow.Ones(int(dst.Bits)).Shl(int(dst.Ofs)))
		}
	}
}

// deep reports whether e changes addresses, ports or what neighbour discovery says: all that the checksum of a transport
// header covers.
func (e *effects) deep() bool {
	return e.writes[flow.WordIPv4]|e.writes[flow.WordL4]&maskPorts|e.writes[flow.WordND]|e.writes[flow.WordND+1] != 0 ||
		e.writes[flow.WordIPv6S]|e.writes[flow.WordIPv6S+1]|e.writes[flow.WordIPv6D]|e.writes[flow.WordIPv6D+1] != 0 ||
		e.writes[flow.WordSHA]|e.writes[flow.WordTHA] != 0
}

func (e *effects) read(s flow.Subfield) {
	flow.Places[s.Field].Need.AddMask(&e.reads)
	s.AddMask(&e.reads)
}

// write notes that the bits of mask of a field are set.
func (e *effects) write(s flow.Subfield, mask flow.Value) {
	p := &flow.Places[s.Field]
	p.Need.AddMask(&e.reads)
	m0, m1 := p.Spread(mask)
	e.writes[p.Word] |= m0
	if p.Bits == 128 {
		e.writes[p.Word+1] |= m1
	}
	switch {
	case p.Word == flow.WordPort && p.Shift < flow.ShiftEthType:
		// Ops set all of a VLAN id or a priority.
		e.shiftTags()
		if m0&flow.VLANVID != 0 {
			e.reads[flow.WordPort] |= flow.VLANVID &^ m0
		}
		if m0&flow.VLANPCP != 0 {
			e.reads[flow.WordPort] |= flow.VLANPCP &^ m0
		}
	case s.Field == flow.FieldInPort:
		// From here on, outputs depend on which port that is.
		e.reads[flow.WordPort] |= maskInPort
		e.writes[flow.WordPort] |= maskInPort
	case needsProto(p.Need):
		e.reads[flow.WordL4] |= maskProto
	}
}

// needsProto reports whether fields with the prerequisite n are there only when the network header was whole, which the
// protocol tells.
func needsProto(n flow.Need) bool {
	return n == flow.NeedARP || n == flow.NeedIPv4 || n == flow.NeedIPv6 || n == flow.NeedIP
}

func (e *effects) shiftTags() {
	e.tags = true
	e.reads[flow.WordPort] |= flow.VLANPresent
	e.writes[flow.WordPort] |= flow.MaskTag
	e.writes[flow.WordDst] |= flow.MaskTag
}

func (e *effects) shiftLabels() {
	e.labels = true
	e.reads[flow.WordPort] |= maskEthType
	e.reads[flow.WordMPLS] |= maskTop // entries are counted by whether they are zero
	e.writes[flow.WordPort] |= maskEthType
	e.writes[flow.WordMPLS] |= maskTop | maskTop>>flow.ShiftLSE
	e.writes[flow.WordLabel] |= maskTop
}

// addChoice notes what selectHash looks at.
func (e *effects) addChoice() {
	e.reads[flow.WordPort] |= maskEthType
	e.reads[flow.WordL4] |= maskProto | maskFrag | maskPorts
	e.reads[flow.WordIPv4] = ^uint64(0)
	for w := flow.WordIPv6S; w < flow.WordIPv6D+2; w++ {
		e.reads[w] = ^uint64(0)
	}
}
