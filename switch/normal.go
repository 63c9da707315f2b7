package vswitch

import (
	"encoding/binary"

	"weft/internal/packet"
)

const (
	macMulticast = 1 << 40 // the group bit of an address (IEEE 802-2014 §8.2)

	// macReserved are the 16 addresses that a bridge keeps to itself: spanning tree, pause, LACP, LLDP and the like
	// (IEEE 802.1Q-2018 table 8-1).
	macReserved     = 0x0180c2000000
	macReservedMask = 0xfffffffffff0
)

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
	if (dst|src)&macMulticast != 0 || p.Tagged() || dst == src {
		return false // the last: learning would change what is looked up
	}
	now := br.fdb.epoch.Load()
	port, found := br.fdb.lookup(makeFDBKey(dst, 0), now)
	dest := -1
	if found && port != b.InPort {
		dest = br.outIndex(port)
	}
	if dest < 0 {
		return false
	}
	br.fdb.learn(makeFDBKey(src, 0), b.InPort, now)
	w.transmit(&br.outs[dest], b, everyPacket[:b.Len()])
	return true
}

// addresses are the Ethernet addresses of a frame.
func addresses(h []byte) (dst, src uint64) {
	first, last := binary.BigEndian.Uint64(h[0:8]), binary.BigEndian.Uint32(h[8:12])
	return first >> 16, first<<32&0xffff00000000 | uint64(last)
}

// normal forwards the packet at hand as a bridge does that learns addresses (OFPP_NORMAL), by its present header. Its
// VLAN is the outer tag's, 0 for an untagged frame; every port carries every VLAN.
func (x *run) normal() {
	p := x.b.Packet(x.cur)
	h := p.Header()
	dst, src := addresses(h)
	if dst&macReservedMask == macReserved {
		x.reason = packet.DropReservedMulticast
		return // dropped, unless something else outputs it
	}
	tci, _ := p.VLAN()
	s := &x.br.normal
	if k := makeFDBKey(src, tci); k != s.src && src&macMulticast == 0 {
		s.src = k
		x.br.fdb.learn(k, x.b.InPort, x.now)
		if k == s.dst {
			s.dst = 0 // what was remembered about it may be old now
		}
	}
	if dst&macMulticast != 0 {
		x.flood()
		return
	}
	if k := makeFDBKey(dst, tci); k != s.dst {
		s.dst, s.dest = k, -1
		if port, ok := x.br.fdb.lookup(k, x.now); ok {
			s.dest = x.br.outIndex(port)
		}
	}
	switch {
	case s.dest < 0:
		x.br.stats.flooded.Publish(1, uint64(p.Len()))
		x.flood()
	case x.br.outs[s.dest].number == x.b.InPort:
		x.reason = packet.DropHairpin
	default:
		x.send(s.dest)
	}
}
