package vswitch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"weft/internal/packet"
	"weft/numa"
)

// The VLAN modes of ports, as Open vSwitch has them (ovs-vswitchd.conf.db(5), Port table, "VLAN Configuration"). They
// are NORMAL's: rules that output to a port see and send packets as they are.
const (
	VLANTrunk          = "trunk"           // carries packets of its trunks with their tags
	VLANAccess         = "access"          // carries one VLAN, without tags
	VLANNativeTagged   = "native-tagged"   // a trunk; untagged packets that come in belong to the VLAN tag
	VLANNativeUntagged = "native-untagged" // the same, and that VLAN goes out without tag
	VLANTunnel         = "dot1q-tunnel"    // carries packets of any customer VLAN inside the service VLAN tag
)

// The ways to mark packets of VLAN 0 with a priority alone (IEEE 802.1Q-2018 §6.9): whether a port sends such tags.
const (
	PriorityTagsNever     = "never"      // only on packets that came with a priority on a trunk
	PriorityTagsIfNonzero = "if-nonzero" // on packets with a priority
	PriorityTagsAlways    = "always"     // on packets that came with a tag
)

// maxVLAN is the highest VLAN id; 4095 is reserved, and Open vSwitch lets it be used.
const maxVLAN = 4095

// VLANConfig says which VLANs a port carries, and with what tags. Its zero value is a trunk of all VLANs.
type VLANConfig struct {
	Mode         string `json:"mode,omitempty"` // "" is a trunk
	Tag          int    `json:"tag,omitempty"`  // the VLAN of the port; none for a trunk
	Trunks       []int  `json:"trunks,omitempty"`
	CVLANs       []int  `json:"cvlans,omitempty"`        // customer VLANs of a tunnel
	QinQ         string `json:"qinq_ethtype,omitempty"`  // EtherType of a tunnel's outer tag, "" is 802.1ad
	PriorityTags string `json:"priority_tags,omitempty"` // "" is never
}

// String describes c for people: "access, tag 10", "" for a trunk of all VLANs.
func (c VLANConfig) String() string {
	var parts []string
	if c.Mode != "" && c.Mode != VLANTrunk {
		parts = append(parts, c.Mode, fmt.Sprintf("tag %d", c.Tag))
	} else if len(c.Trunks) > 0 {
		parts = append(parts, VLANTrunk)
	}
	for _, list := range []struct {
		name string
		ids  []int
	}{{"trunks", c.Trunks}, {"cvlans", c.CVLANs}} {
		if len(list.ids) > 0 {
			parts = append(parts, list.name+" "+numa.FormatCPUs(list.ids))
		}
	}
	if c.QinQ != "" {
		parts = append(parts, "qinq_ethtype "+c.QinQ)
	}
	if c.PriorityTags != "" && c.PriorityTags != PriorityTagsNever {
		parts = append(parts, "priority_tags "+c.PriorityTags)
	}
	return strings.Join(parts, ", ")
}

// vlanMode is a VLAN mode as PMD threads know it.
type vlanMode uint8

const (
	modeTrunk vlanMode = iota
	modeAccess
	modeNativeTagged
	modeNativeUntagged
	modeTunnel
)

var vlanModes = map[string]vlanMode{
	"": modeTrunk, VLANTrunk: modeTrunk, VLANAccess: modeAccess, VLANNativeTagged: modeNativeTagged,
	VLANNativeUntagged: modeNativeUntagged, VLANTunnel: modeTunnel,
}

// priorityTags is when a port sends tags of VLAN 0.
type priorityTags uint8

const (
	priorityNever priorityTags = iota
	priorityIfNonzero
	priorityAlways
)

var priorityModes = map[string]priorityTags{
	"": priorityNever, PriorityTagsNever: priorityNever, PriorityTagsIfNonzero: priorityIfNonzero,
	PriorityTagsAlways: priorityAlways,
}

// vlanSet is a set of VLAN ids.
type vlanSet [(maxVLAN + 1) / 64]uint64

func (s *vlanSet) has(vid uint16) bool { return s == nil || s[vid>>6]>>(vid&63)&1 != 0 }

func (s *vlanSet) put(vid uint16, in bool) {
	s[vid>>6] &^= 1 << (vid & 63)
	if in {
		s[vid>>6] |= 1 << (vid & 63)
	}
}

// vlanPolicy is a port's VLAN configuration as PMD threads use it.
type vlanPolicy struct {
	mode     vlanMode
	priority priorityTags
	tag      uint16
	tpid     uint16   // of a tunnel's outer tag
	carried  *vlanSet // of a trunk: its VLANs; of a tunnel: the customers' VLANs; nil is all
}

// policy compiles c.
func (c *VLANConfig) policy() vlanPolicy {
	p := vlanPolicy{
		mode: vlanModes[c.Mode], priority: priorityModes[c.PriorityTags], tag: uint16(c.Tag), tpid: packet.TPID8021AD,
	}
	if c.QinQ == "802.1q" {
		p.tpid = packet.TPID8021Q
	}
	list := c.Trunks
	if p.mode == modeTunnel {
		list = c.CVLANs
	}
	if len(list) > 0 {
		p.carried = new(vlanSet)
		for _, vid := range list {
			p.carried.put(uint16(vid), true)
		}
	}
	if native := p.mode == modeNativeTagged || p.mode == modeNativeUntagged; native && p.tag != 0 {
		// A native VLAN is carried whatever the trunks say, and takes the place of VLAN 0.
		if p.carried == nil {
			p.carried = new(vlanSet)
			for i := range p.carried {
				p.carried[i] = ^uint64(0)
			}
		}
		p.carried.put(p.tag, true)
		p.carried.put(0, false)
	}
	return p
}

// plain reports a trunk of all VLANs.
func (p *vlanPolicy) plain() bool {
	return p.mode == modeTrunk && p.carried == nil && p.priority == priorityNever
}

// same reports equal policies.
func (c *VLANConfig) same(o *VLANConfig) bool {
	return c.Mode == o.Mode && c.Tag == o.Tag && c.QinQ == o.QinQ && c.PriorityTags == o.PriorityTags &&
		slices.Equal(c.Trunks, o.Trunks) && slices.Equal(c.CVLANs, o.CVLANs)
}

// vlanTag is a tag without its drop-eligible bit.
type vlanTag struct{ tpid, vid, pcp uint16 } // pcp in its place in the tag, the three top bits

// vlanTags are the two outermost tags of a packet, as they are, as NORMAL thinks of them or as they are to be. A zero
// TPID ends them.
type vlanTags [2]vlanTag

const (
	tagVID = 0x0fff
	tagPCP = 0xe000
	tagLen = 4
)

// readTags reads a frame's tags. It fails for a frame that ends within its first tag.
func readTags(h []byte) (t vlanTags, ok bool) {
	for i := range t {
		at := packet.MinFrame - 2 + tagLen*i
		if len(h) < at+2 {
			break
		}
		tpid := binary.BigEndian.Uint16(h[at:])
		if tpid != packet.TPID8021Q && tpid != packet.TPID8021AD {
			break
		}
		if len(h) < at+2+tagLen {
			return t, i > 0
		}
		tci := binary.BigEndian.Uint16(h[at+2:])
		t[i] = vlanTag{tpid, tci & tagVID, tci & tagPCP}
	}
	return t, true
}

// admits reports whether a packet with tags t may come in at a port with policy p.
func (p *vlanPolicy) admits(t *vlanTags) bool {
	vid := t[0].vid
	switch p.mode {
	case modeAccess:
		return vid == 0
	case modeNativeTagged, modeNativeUntagged:
		return vid == 0 || p.carried.has(vid)
	}
	return p.carried.has(vid)
}

// inward is what a packet with tags t that came in at the port belongs to.
func (p *vlanPolicy) inward(t vlanTags) vlanTags {
	tpid := t[0].tpid
	if tpid == 0 {
		tpid = packet.TPID8021Q
	}
	switch p.mode {
	case modeAccess:
		return vlanTags{{tpid, p.tag, t[0].pcp}}
	case modeNativeTagged, modeNativeUntagged:
		if t[0].vid == 0 {
			t[0].tpid, t[0].vid = tpid, p.tag
		}
	case modeTunnel:
		return vlanTags{{p.tpid, p.tag, 0}, t[0]}
	}
	return t
}

// includes reports whether the port carries packets that belong to t.
func (p *vlanPolicy) includes(t *vlanTags) bool {
	switch p.mode {
	case modeAccess:
		return t[0].vid == p.tag && t[1].vid == 0
	case modeTunnel:
		return t[0].vid == p.tag && p.carried.has(t[1].vid)
	}
	return p.carried.has(t[0].vid)
}

// outward is the tags that a packet which belongs to t leaves with. pcp is the priority of the outer tag that it has
// now.
func (p *vlanPolicy) outward(t vlanTags, pcp uint16) vlanTags {
	switch {
	case p.mode == modeAccess:
		t = vlanTags{}
	case p.mode == modeTunnel, p.mode == modeNativeUntagged && t[0].vid == p.tag:
		t = vlanTags{t[1]}
	}
	if p.priority != priorityNever {
		t[0].pcp = pcp
	}
	// A tag that says nothing goes, and what is inside it too: as the outer tag that would move packets of VLAN 0 into the
	// VLAN that a sender likes. Open vSwitch ends the tags there as well.
	for i := range t {
		switch {
		case t[i].vid|t[i].pcp == 0 && (p.priority != priorityAlways || t[i].tpid == 0):
			clear(t[i:])
			return t
		case t[i].tpid == 0:
			t[i].tpid = packet.TPID8021Q
		}
	}
	return t
}

// depth is the number of tags.
func (t *vlanTags) depth() int {
	n := 0
	for n < len(t) && t[n].tpid != 0 {
		n++
	}
	return n
}

// retag changes a packet's tags from those in from, as readTags read them, to those in to. It fails when there is no
// room.
func retag(p *packet.Packet, from, to *vlanTags) bool {
	i, j := from.depth(), to.depth()
	for i > 0 && j > 0 && from[i-1] == to[j-1] {
		i, j = i-1, j-1
	}
	for range i {
		p.PopVLAN()
	}
	for j > 0 {
		j--
		if !p.PushVLAN(to[j].tpid, to[j].vid|to[j].pcp) {
			return false
		}
	}
	return true
}
