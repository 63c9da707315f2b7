package vswitch

import (
	"encoding/binary"

	"weft/internal/packet"
)

const macMulticast = 1 << 40 // the group bit of an address (IEEE 802-2014 §8.2)

// macReserved are the 16 addresses that a bridge keeps to itself: spanning tree, pause, LACP, LLDP and the like (IEEE
// 802.1Q-2018 table 8-1).
const (
	macReserved     = 0x0180c2000000
	macReservedMask = 0xfffffffffff0
)

// isReserved reports an address that NORMAL does not forward to: those of the standard, and, as in Open vSwitch, those
// by which Extreme's and Cisco's switches talk to their neighbours.
func isReserved(mac uint64) bool {
	switch mac >> 24 {
	case macReserved >> 24:
		return mac&macReservedMask == macReserved
	case 0x00e02b:
		return mac == 0x00e02b000000 || mac == 0x00e02b000004 || mac == 0x00e02b000006 // EDP, EAPS
	case 0x01000c:
		switch mac & 0xffffff {
		case 0x000000, 0xcccccc, 0xcccccd, 0xcdcdcd: // ISL, CDP and others, PVST+, STP uplink fast
			return true
		}
		return mac&^7 == 0x01000cccccc0 // CFM
	}
	return false
}

// normalState remembers the last packet's look-ups: a batch mostly repeats them. It is valid within one batch.
type normalState struct {
	src, dst fdbKey
	dest     int // where dst is, -1: unknown
}

func (s *normalState) reset() { s.src, s.dst = 0, 0 }

// normalBatch forwards a batch whose packets all have the same untagged Ethernet header, as a burst of one conversation
// has, to the port that it belongs to. It does nothing and reports false for every other batch.
func (w *worker) normalBatch(br *bridgeView, b *packet.Batch) bool {
	p := b.Packet(0)
	h := p.Header()
	head, rest := binary.LittleEndian.Uint64(h[0:8]), binary.LittleEndian.Uint64(h[6:14]) // they share two bytes
	for i := 1; i < b.Len(); i++ {
		h := b.Packet(i).Header()
		if binary.LittleEndian.Uint64(h[0:8]) != head || binary.LittleEndian.Uint64(h[6:14]) != rest {
			return false
		}
	}
	dst, src := addresses(h)
	if (dst|src)&macMulticast != 0 || hasTag(h) || dst == src || isReserved(dst) {
		return false // the last but one: learning would change what is looked up
	}
	vid := uint16(0)
	if !br.plain {
		in := br.policy(b.InPort)
		if in == nil || in.mode != modeAccess {
			return false
		}
		vid = in.tag
	}
	now := br.fdb.epoch.Load()
	port, found := br.fdb.lookup(makeFDBKey(dst, vid), now)
	dest := -1
	if found && port != b.InPort {
		dest = br.outIndex(port)
	}
	if dest < 0 || !br.plain && (br.outs[dest].vlan.mode != modeAccess || br.outs[dest].vlan.priority != priorityNever) {
		return false
	}
	br.fdb.learn(makeFDBKey(src, vid), b.InPort, now)
	w.transmit(&br.outs[dest], b, everyPacket[:b.Len()])
	return true
}

// hasTag reports whether a tag, whole or not, follows the addresses.
func hasTag(h []byte) bool {
	t := binary.BigEndian.Uint16(h[packet.MinFrame-2:])
	return t == packet.TPID8021Q || t == packet.TPID8021AD
}

// addresses are the Ethernet addresses of a frame.
func addresses(h []byte) (dst, src uint64) {
	first, last := binary.BigEndian.Uint64(h[0:8]), binary.BigEndian.Uint32(h[8:12])
	return first >> 16, first<<32&0xffff00000000 | uint64(last)
}

// normal forwards the packet at hand as a bridge does that learns addresses (OFPP_NORMAL), by its present header and
// the VLAN modes of the ports.
func (x *run) normal() {
	p := x.b.Packet(x.cur)
	h := p.Header()
	dst, src := addresses(h)
	var n bridged
	if !x.admit(h, &n) {
		return
	}
	if isReserved(dst) && !x.br.forwardReserved {
		x.reason = packet.DropReservedMulticast
		return // dropped, unless something else outputs it
	}
	vid := n.belongs[0].vid
	s := &x.br.normal
	if k := makeFDBKey(src, vid); (k != s.src || x.inPort != x.b.InPort) && src&macMulticast == 0 {
		s.src = k
		if x.inPort != x.b.InPort {
			s.src = 0 // the next packet comes from elsewhere again
		}
		x.br.fdb.learn(k, x.inPort, x.now)
		if k == s.dst {
			s.dst = 0 // what was remembered about it may be old now
		}
	}
	if dst&macMulticast != 0 {
		x.floodVLAN(&n)
		return
	}
	if k := makeFDBKey(dst, vid); k != s.dst {
		s.dst, s.dest = k, -1
		if port, ok := x.br.fdb.lookup(k, x.now); ok {
			s.dest = x.br.outIndex(port)
		}
	}
	switch {
	case s.dest < 0:
		x.br.stats.flooded.Publish(1, uint64(p.Len()))
		x.floodVLAN(&n)
	case x.br.outs[s.dest].number == x.inPort:
		x.reason = packet.DropHairpin
	default:
		x.sendVLAN(s.dest, &n)
	}
}

// admit finds out which VLAN the packet at hand belongs to, and reports whether its port carries that.
func (x *run) admit(h []byte, n *bridged) bool {
	policy := x.br.policy(x.inPort)
	if policy == nil {
		x.reason = packet.DropNoSuchPort
		return false
	}
	if x.br.plain && !hasTag(h) {
		return true
	}
	var ok bool
	if n.has, ok = readTags(h); !ok {
		x.reason = packet.DropBadTag
		return false
	}
	if !policy.admits(&n.has) {
		x.reason = packet.DropVLAN
		return false
	}
	n.belongs, n.retags = policy.inward(n.has), true
	return true
}

// bridged is a packet that NORMAL forwards.
type bridged struct {
	has     vlanTags // on the packet at hand
	belongs vlanTags // what it belongs to: VLAN, and what is inside that
	retags  bool     // ports may want other tags on it

	// The last copy with other tags, which the next port may want too.
	tags  vlanTags
	index int // 0: none
}

// floodVLAN sends the packet at hand to every port that carries its VLAN, but the one it came from.
func (x *run) floodVLAN(n *bridged) {
	if !n.retags {
		x.flood()
		return
	}
	for dest := range x.br.outs {
		if o := &x.br.outs[dest]; o.number != x.inPort && o.vlan.includes(&n.belongs) {
			x.sendVLAN(dest, n)
		}
	}
}

// sendVLAN sends the packet at hand to a port with the tags that this port sends. The packet at hand stays as it is.
func (x *run) sendVLAN(dest int, n *bridged) {
	if !n.retags {
		x.send(dest)
		return
	}
	tags := x.br.outs[dest].vlan.outward(n.belongs, n.has[0].pcp)
	switch {
	case tags == n.has:
		x.send(dest)
		return
	case n.index != 0 && tags == n.tags && !x.exhausted:
		x.enqueue(dest, n.index)
		x.outputs++
		return
	}
	x.save()
	switch {
	case !x.own():
		x.lose(packet.DropNoClone)
	case !retag(x.b.Packet(x.cur), &n.has, &tags):
		x.lose(packet.DropHeadroom)
	default:
		n.tags, n.index = tags, x.cur
		x.send(dest)
	}
	x.restore()
}
