package virtchnl

// Bits of the second version of VLAN offloads.
const (
	vlan8100     = 0x00000001
	vlanL2Tag1   = 0x00000100
	vlanToggle   = 0x80000000
	tpid8100     = 0x8100
	maxVLAN2     = 64 // filters of one VF
	vlanInnerAt  = 0  // of a filter: tci, mask, tpid
	vlanOuterAt  = 8
	innerSupport = vlan8100
)

// getVLANCaps is GET_OFFLOAD_VLAN_V2_CAPS: filtering, stripping and insertion of one tag, type 8100, which an i40e has in
// the first tag field of its descriptors. "Inner" is the outermost tag where nothing is said of an outer one.
func (r *Responder) getVLANCaps(*vf, []byte) (Status, []byte) {
	out := make([]byte, vlanCapsSize)
	le.PutUint32(out[4:], innerSupport)
	le.PutUint32(out[8:], vlan8100)
	le.PutUint16(out[12:], maxVLAN2)
	le.PutUint32(out[20:], vlanToggle|vlan8100|vlanL2Tag1) // stripping, inner
	le.PutUint32(out[28:], vlanToggle|vlan8100|vlanL2Tag1) // insertion, inner
	le.PutUint32(out[32:], vlan8100)
	return StatusOK, out
}

// vlan2List reads ADD_VLAN_V2 and DEL_VLAN_V2.
func (r *Responder) vlan2List(v *vf, msg []byte) ([]uint16, Status) {
	if len(msg) < vlans2Fixed {
		return nil, StatusMismatch
	}
	n := int(le.Uint16(msg[2:]))
	if n == 0 || len(msg) != vlans2Fixed+n*vlan2Size {
		return nil, StatusMismatch
	}
	if !r.checkVSI(v, le.Uint16(msg)) {
		return nil, StatusParam
	}
	var out []uint16
	for i := range n {
		e := msg[vlans2Fixed+i*vlan2Size:]
		tci, tpid := le.Uint16(e[vlanInnerAt:]), le.Uint16(e[vlanInnerAt+4:])
		if tpid != tpid8100 || tci > lastVLAN || le.Uint16(e[vlanOuterAt+4:]) != 0 {
			r.violation(v, "VLAN filter %d of type %#x, outer type %#x, where one tag of type 8100 was offered", tci, tpid,
				le.Uint16(e[vlanOuterAt+4:]))
			return nil, StatusParam
		}
		out = append(out, tci)
	}
	return out, StatusOK
}

// addVLANs2 is ADD_VLAN_V2.
func (r *Responder) addVLANs2(v *vf, msg []byte) (Status, []byte) {
	vlans, status := r.vlan2List(v, msg)
	if status != StatusOK {
		return status, nil
	}
	if len(v.vlans)+len(vlans) > maxVLAN2 {
		return r.refuse(v, "%d VLAN filters, at most %d", len(v.vlans)+len(vlans), maxVLAN2)
	}
	return r.joinVLANs(v, vlans)
}

// deleteVLANs2 is DEL_VLAN_V2.
func (r *Responder) deleteVLANs2(v *vf, msg []byte) (Status, []byte) {
	vlans, status := r.vlan2List(v, msg)
	if status != StatusOK {
		return status, nil
	}
	return r.leaveVLANs(v, vlans)
}

// setting checks ENABLE_ and DISABLE_VLAN_STRIPPING_V2 and _INSERTION_V2.
func (r *Responder) setting(v *vf, msg []byte) bool {
	outer, inner := le.Uint32(msg), le.Uint32(msg[4:])
	if !r.checkVSI(v, le.Uint16(msg[8:])) {
		return false
	}
	if outer != 0 || inner != vlan8100 {
		r.violation(v, "VLAN setting outer %#x, inner %#x, where inner 8100 was offered", outer, inner)
		return false
	}
	return true
}

// enableStrip2 is ENABLE_VLAN_STRIPPING_V2.
func (r *Responder) enableStrip2(v *vf, msg []byte) (Status, []byte) {
	if !r.setting(v, msg) {
		return StatusParam, nil
	}
	return r.setStrip(v, true), nil
}

// disableStrip2 is DISABLE_VLAN_STRIPPING_V2.
func (r *Responder) disableStrip2(v *vf, msg []byte) (Status, []byte) {
	if !r.setting(v, msg) {
		return StatusParam, nil
	}
	return r.setStrip(v, false), nil
}

// setInsert2 is ENABLE_ and DISABLE_VLAN_INSERTION_V2: descriptors say it frame by frame, nothing is to be set.
func (r *Responder) setInsert2(v *vf, msg []byte) (Status, []byte) {
	if !r.setting(v, msg) {
		return StatusParam, nil
	}
	return StatusOK, nil
}
