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

// normal forwards the packet at hand as a bridge does that learns addresses (OFPP_NORMAL), by its present header. Its
// VLAN is the outer tag's, 0 for an untagged frame; every port carries every VLAN.
func (x *run) normal() {
	p := x.b.Packet(x.cur)
	h := p.Header()
	dst := uint64(binary.BigEndian.Uint32(h[0:4]))<<16 | uint64(binary.BigEndian.Uint16(h[4:6]))
	src := uint64(binary.BigEndian.Uint16(h[6:8]))<<32 | uint64(binary.BigEndian.Uint32(h[8:12]))
	if dst&macReservedMask == macReserved {
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
