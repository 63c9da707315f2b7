package ofctl

import "weft/flowtable/flow"

// shownFields are those that FormatKey prints, in their order, where the key has what they need.
var shownFields = []flow.FieldID{
	flow.FieldInPort, flow.FieldEthSrc, flow.FieldEthDst, flow.FieldARPSPA, flow.FieldARPTPA, flow.FieldARPOp,
	flow.FieldARPSHA, flow.FieldARPTHA, flow.FieldIPSrc, flow.FieldIPDst, flow.FieldIPv6Src, flow.FieldIPv6Dst,
	flow.FieldIPv6Label, flow.FieldTOS, flow.FieldECN, flow.FieldTTL, flow.FieldFrag, flow.FieldMPLSLabel, flow.FieldMPLSTC,
	flow.FieldMPLSTTL, flow.FieldMPLSBOS, flow.FieldTPSrc, flow.FieldTPDst, flow.FieldTCPFlags, flow.FieldNDTarget,
	flow.FieldNDSLL, flow.FieldNDTLL,
}

// FormatKey prints what a packet is, as a rule would say it that matches this packet alone: every field that its
// protocols have, and of registers, metadata, mark and tunnel those that are not zero.
func FormatKey(k *flow.Key, ports PortNames) string {
	m := flow.Match{}
	add := func(word int, bits uint64) {
		m.Mask[word] |= bits
		m.Key[word] = k[word] & m.Mask[word]
	}
	add(flow.WordPort, 0xffff<<flow.ShiftEthType)
	if tci := k.OuterTag(); tci != 0 {
		add(flow.WordPort, flow.MaskTag)
	}
	if proto := &flow.Fields[flow.FieldIPProto]; proto.Need.Fulfilled(&m) {
		add(flow.WordL4, 0xff<<flow.ShiftProto)
	}
	for range 2 { // what needs ICMP's type is found when that is there
		for _, id := range shownFields {
			f := &flow.Fields[id]
			if f.Need != nil && !f.Need.Fulfilled(&m) {
				continue
			}
			var bits flow.Key
			f.MaskBits(&bits)
			for w := range bits {
				if bits[w] != 0 {
					add(w, bits[w])
				}
			}
		}
	}
	for w := flow.PacketWords; w < flow.KeyWords; w++ {
		for _, half := range []uint64{0xffffffff << 32, 0xffffffff} {
			if k[w]&half == 0 {
				continue
			}
			if w == flow.WordMetadata || w == flow.WordTunnel {
				half = ^uint64(0)
			}
			add(w, half)
		}
	}
	w := ruleWriter{ports: ports}
	w.match(&m)
	if len(w.b) == 0 {
		return "any"
	}
	return string(w.b)
}

// FormatMatch prints a condition alone, "" for one that every packet fulfils.
func FormatMatch(m *flow.Match, ports PortNames) string {
	w := ruleWriter{ports: ports}
	w.match(m)
	return string(w.b)
}
