package virtchnl

import (
	"maps"

	"weft/pmd/i40e/i40esim/adminq"
)

// filter is a MAC/VLAN filter of the switch.
type filter struct {
	mac     adminq.MAC
	vlan    uint16
	anyVLAN bool
}

const (
	lastVLAN      = 4095
	macElement    = 16
	filtersAtOnce = adminq.LargeBuffer / macElement

	macPerfect     = 0x01
	addIgnoreVLAN  = 0x04
	delIgnoreVLAN  = 0x08
	seidValid      = 0x8000
	promiscUnicast = 0x0001
	promiscMulti   = 0x0002
	promiscBroad   = 0x0004
	connRegular    = 1
	queueScattered = 1
	portVLANAll    = 0x03
	tagKeep        = 0x18
	vebDefaultPort = 0x02
)

// command executes an admin queue command as a PF driver would send it.
func (r *Responder) command(op adminq.Opcode, params [16]byte, buf []byte) (adminq.Descriptor, adminq.Code) {
	d := adminq.Descriptor{Opcode: op, Flags: adminq.FlagSI, Params: params}
	if buf != nil {
		d.Flags |= adminq.FlagBUF | adminq.FlagRD
	}
	if len(buf) > adminq.LargeBuffer {
		d.Flags |= adminq.FlagLB
	}
	code := r.fw.Execute(&d, buf)
	return d, code
}

func words(values ...uint16) (params [16]byte) {
	for i, v := range values {
		le.PutUint16(params[2*i:], v)
	}
	return params
}

// ensure gives the VF a VSI below a VEB, as a PF driver does when VFs are enabled: queues, broadcasts, its address.
func (r *Responder) ensure(v *vf) adminq.Code {
	sw := r.fw.Switch()
	if sw.VSIOfVF(v.index) != nil {
		return adminq.CodeOK
	}
	veb := sw.VEBOf(sw.Main())
	if veb == nil {
		params := words(sw.Main().Uplink, sw.Main().SEID, vebDefaultPort)
		params[6] = 1
		if _, code := r.command(adminq.OpAddVEB, params, nil); code != adminq.CodeOK {
			return code
		}
		veb = sw.VEBOf(sw.Main())
	}
	base := r.fw.Config().Queues - (v.index+1)*MaxQueuePairs
	if base < 0 {
		return adminq.CodeNoSpc
	}
	props := r.properties(v, base)
	params := words(veb.SEID, connRegular, uint16(r.fw.Config().FirstVF+v.index))
	d, code := r.command(adminq.OpAddVSI, params, props[:])
	if code != adminq.CodeOK {
		return code
	}
	seid := le.Uint16(d.Params[:])
	if _, code := r.command(adminq.OpSetPromiscuous, words(promiscBroad, promiscBroad, seid), nil); code != adminq.CodeOK {
		return code
	}
	v.filters = make(map[filter]bool)
	return r.sync(v)
}

// properties are those of a new VSI of the VF.
func (r *Responder) properties(v *vf, base int) (p [adminq.VSIPropertiesSize]byte) {
	le.PutUint16(p[0:], adminq.SectionSwitch|adminq.SectionVLAN|adminq.SectionQueueMap|adminq.SectionSched)
	le.PutUint16(p[2:], adminq.SwitchNotSTag|adminq.SwitchAllowLB)
	p[12] = portVLANAll | tagKeep
	le.PutUint16(p[28:], queueScattered)
	for i := range v.pairs {
		le.PutUint16(p[30+2*i:], uint16(base+i))
	}
	log := uint16(0)
	for 1<<log < v.pairs {
		log++
	}
	le.PutUint16(p[62:], log<<9)
	p[82] = 1
	return p
}

// release takes the VF's VSI out of the switch.
func (r *Responder) release(v *vf) {
	if vsi := r.fw.Switch().VSIOfVF(v.index); vsi != nil {
		r.command(adminq.OpDeleteElement, words(vsi.SEID), nil)
	}
}

// sync makes the switch's filters those that the VF's addresses and VLANs stand for: each address on any VLAN as long as
// the VF has none, then untagged and on each.
func (r *Responder) sync(v *vf) adminq.Code {
	want := make(map[filter]bool)
	for mac := range v.macs {
		if len(v.vlans) == 0 {
			want[filter{mac: mac, anyVLAN: true}] = true
			continue
		}
		want[filter{mac: mac}] = true
		for vlan := range v.vlans {
			want[filter{mac: mac, vlan: vlan}] = true
		}
	}
	var add, remove []filter
	for f := range want {
		if !v.filters[f] {
			add = append(add, f)
		}
	}
	for f := range v.filters {
		if !want[f] {
			remove = append(remove, f)
		}
	}
	if code := r.change(v, adminq.OpRemoveMACVLAN, remove); code != adminq.CodeOK {
		return code
	}
	return r.change(v, adminq.OpAddMACVLAN, add)
}

// change sends filters to the firmware, as many in one command as a small buffer holds.
func (r *Responder) change(v *vf, op adminq.Opcode, list []filter) adminq.Code {
	seid := r.fw.Switch().VSIOfVF(v.index).SEID
	result := adminq.CodeOK
	for len(list) > 0 {
		n := min(len(list), filtersAtOnce)
		buf := make([]byte, n*macElement)
		for i, f := range list[:n] {
			f.encode(buf[i*macElement:], op == adminq.OpAddMACVLAN)
		}
		_, code := r.command(op, words(uint16(n), seid|seidValid), buf)
		if code != adminq.CodeOK {
			result = code
		}
		for i, f := range list[:n] {
			// The result is 1 for an added filter, 0 for a removed one.
			switch done := buf[i*macElement+12]; {
			case op == adminq.OpAddMACVLAN && done == macPerfect:
				v.filters[f] = true
			case op == adminq.OpRemoveMACVLAN:
				delete(v.filters, f)
			}
		}
		list = list[n:]
	}
	return result
}

func (f *filter) encode(e []byte, add bool) {
	copy(e, f.mac[:])
	le.PutUint16(e[6:], f.vlan)
	e[8] = macPerfect
	switch {
	case f.anyVLAN && add:
		e[8] |= addIgnoreVLAN
	case f.anyVLAN:
		e[8] |= delIgnoreVLAN
	}
}

// addressList reads ADD_ETH_ADDR and DEL_ETH_ADDR.
func (r *Responder) addressList(v *vf, msg []byte) ([]adminq.MAC, Status) {
	if len(msg) < addressesFixed {
		return nil, StatusMismatch
	}
	n := int(le.Uint16(msg[2:]))
	if !list(msg, addressesFixed, addressSize, n) {
		return nil, StatusMismatch
	}
	if !r.checkVSI(v, le.Uint16(msg)) {
		return nil, StatusParam
	}
	var out []adminq.MAC
	for i := range n {
		mac := adminq.MAC(msg[addressesFixed+i*addressSize:][:6])
		if mac == (adminq.MAC{}) || mac == (adminq.MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}) {
			r.violation(v, "address %s", mac)
			return nil, StatusParam
		}
		out = append(out, mac)
	}
	return out, StatusOK
}

// addAddresses is ADD_ETH_ADDR.
func (r *Responder) addAddresses(v *vf, msg []byte) (Status, []byte) {
	macs, status := r.addressList(v, msg)
	if status != StatusOK {
		return status, nil
	}
	before := maps.Clone(v.macs)
	for _, mac := range macs {
		if r.cfg.Fixed && mac[0]&1 == 0 && mac != v.mac {
			v.macs = before
			return StatusParam, nil
		}
		v.macs[mac] = true
	}
	return r.commit(v, func() { v.macs = before })
}

// deleteAddresses is DEL_ETH_ADDR. Deleting what is not there is no error.
func (r *Responder) deleteAddresses(v *vf, msg []byte) (Status, []byte) {
	macs, status := r.addressList(v, msg)
	if status != StatusOK {
		return status, nil
	}
	before := maps.Clone(v.macs)
	for _, mac := range macs {
		delete(v.macs, mac)
	}
	return r.commit(v, func() { v.macs = before })
}

// commit brings the switch up to date; what it has no room for is undone.
func (r *Responder) commit(v *vf, undo func()) (Status, []byte) {
	if code := r.sync(v); code != adminq.CodeOK {
		undo()
		if again := r.sync(v); again != adminq.CodeOK {
			r.violation(v, "filters are lost: %s", again)
		}
		return StatusAdminQueue, nil
	}
	return StatusOK, nil
}

// vlanList reads ADD_VLAN and DEL_VLAN.
func (r *Responder) vlanList(v *vf, msg []byte) ([]uint16, Status) {
	if len(msg) < vlansFixed {
		return nil, StatusMismatch
	}
	n := int(le.Uint16(msg[2:]))
	if !list(msg, vlansFixed, vlanSize, n) {
		return nil, StatusMismatch
	}
	if !r.checkVSI(v, le.Uint16(msg)) {
		return nil, StatusParam
	}
	var out []uint16
	for i := range n {
		vlan := le.Uint16(msg[vlansFixed+i*vlanSize:])
		if vlan > lastVLAN {
			r.violation(v, "VLAN %d", vlan)
			return nil, StatusParam
		}
		out = append(out, vlan)
	}
	return out, StatusOK
}

// addVLANs is ADD_VLAN. VLAN 0 is what every VF has. Linux's i40e strips tags from the first VLAN on.
func (r *Responder) addVLANs(v *vf, msg []byte) (Status, []byte) {
	vlans, status := r.vlanList(v, msg)
	if status != StatusOK {
		return status, nil
	}
	if status := r.setStrip(v, true); status != StatusOK {
		return status, nil
	}
	return r.joinVLANs(v, vlans)
}

func (r *Responder) joinVLANs(v *vf, vlans []uint16) (Status, []byte) {
	before := maps.Clone(v.vlans)
	for _, vlan := range vlans {
		if vlan != 0 {
			v.vlans[vlan] = true
		}
	}
	return r.commit(v, func() { v.vlans = before })
}

// deleteVLANs is DEL_VLAN.
func (r *Responder) deleteVLANs(v *vf, msg []byte) (Status, []byte) {
	vlans, status := r.vlanList(v, msg)
	if status != StatusOK {
		return status, nil
	}
	return r.leaveVLANs(v, vlans)
}

func (r *Responder) leaveVLANs(v *vf, vlans []uint16) (Status, []byte) {
	before := maps.Clone(v.vlans)
	for _, vlan := range vlans {
		delete(v.vlans, vlan)
	}
	return r.commit(v, func() { v.vlans = before })
}

// promiscuous is CONFIG_PROMISCUOUS_MODE.
func (r *Responder) promiscuous(v *vf, msg []byte) (Status, []byte) {
	const known = promiscUnicast | promiscMulti // the flags have the values of the command's
	flags := le.Uint16(msg[2:])
	if !r.checkVSI(v, le.Uint16(msg)) {
		return StatusParam, nil
	}
	if flags&^known != 0 {
		return r.refuse(v, "promiscuous flags %#x", flags)
	}
	if r.cfg.Fixed && flags&promiscUnicast != 0 {
		return StatusOK, nil // a VF that is not trusted is told that all is well (i40e_vc_config_promiscuous_mode_msg)
	}
	seid := r.fw.Switch().VSIOfVF(v.index).SEID
	if _, code := r.command(adminq.OpSetPromiscuous, words(flags, known, seid), nil); code != adminq.CodeOK {
		return StatusAdminQueue, nil
	}
	return StatusOK, nil
}

// setStrip turns the stripping of VLAN tags on or off.
func (r *Responder) setStrip(v *vf, on bool) Status {
	vsi := r.fw.Switch().VSIOfVF(v.index)
	p := vsi.Properties()
	le.PutUint16(p[0:], adminq.SectionVLAN)
	p[12] = p[12]&portVLANAll | tagKeep
	if on {
		p[12] &^= tagKeep // 0: strip, and report VLAN and priority
	}
	if _, code := r.command(adminq.OpUpdateVSI, words(vsi.SEID), p[:]); code != adminq.CodeOK {
		return StatusAdminQueue
	}
	return StatusOK
}

// enableStrip is ENABLE_VLAN_STRIPPING.
func (r *Responder) enableStrip(v *vf, _ []byte) (Status, []byte) { return r.setStrip(v, true), nil }

// disableStrip is DISABLE_VLAN_STRIPPING.
func (r *Responder) disableStrip(v *vf, _ []byte) (Status, []byte) { return r.setStrip(v, false), nil }
