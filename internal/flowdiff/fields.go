package flowdiff

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// need says what a packet must be for a field to mean anything: any one of the bits.
type need uint32

const (
	needsIPv4 need = 1 << iota
	needsIPv6
	needsARP
	needsTCP
	needsUDP
	needsSCTP
	needsICMP
	needsICMP6
	needsSolicitation
	needsAdvertisement
	needsMPLS
	needsTag

	needsIP   = needsIPv4 | needsIPv6
	needsPort = needsTCP | needsUDP | needsSCTP
	needsND   = needsSolicitation | needsAdvertisement
)

// kindRow is a kind of packet as a rule names it.
type kindRow struct {
	text   string
	weight int
	has    need
	shape  func(s *spec)
}

func l3(etherType uint64) func(*spec) { return func(s *spec) { s.ethType = etherType } }

func l4(etherType, proto uint64) func(*spec) {
	return func(s *spec) { s.ethType, s.proto = etherType, proto }
}

func neighbour(kind uint64) func(*spec) {
	return func(s *spec) {
		s.ethType, s.proto, s.icmpType, s.icmpCode, s.ttl, s.frag = etIPv6, protoICMP6, kind, 0, 255, fragNone
	}
}

// labelled puts some labels on top.
func labelled(etherType uint16) func(*spec) {
	return func(s *spec) {
		s.mplsType = etherType
		if len(s.mpls) == 0 {
			for i := range 1 + int(s.sport)%4 {
				s.mpls = append(s.mpls, uint32(s.label)<<12+uint32(i)<<12|uint32(i)<<9|uint32(s.ttl|1))
			}
		}
	}
}

// kinds is the table of kinds. The texts are ovs-ofctl's shorthands or what they stand for.
func kinds() []kindRow {
	return []kindRow{
		{"", 8, 0, func(*spec) {}},
		{"ip", 8, needsIPv4, l3(etIPv4)},
		{"tcp", 8, needsIPv4 | needsTCP, l4(etIPv4, protoTCP)},
		{"udp", 6, needsIPv4 | needsUDP, l4(etIPv4, protoUDP)},
		{"icmp", 4, needsIPv4 | needsICMP, l4(etIPv4, protoICMP)},
		{"sctp", 3, needsIPv4 | needsSCTP, l4(etIPv4, protoSCTP)},
		{"dl_type=0x0800,nw_proto=6", 1, needsIPv4 | needsTCP, l4(etIPv4, protoTCP)},
		{"ip,nw_proto=2", 1, needsIPv4, l4(etIPv4, protoIGMP)},
		{"ip,nw_proto=47", 1, needsIPv4, l4(etIPv4, protoGRE)},
		{"ipv6", 8, needsIPv6, l3(etIPv6)},
		{"tcp6", 6, needsIPv6 | needsTCP, l4(etIPv6, protoTCP)},
		{"udp6", 6, needsIPv6 | needsUDP, l4(etIPv6, protoUDP)},
		{"icmp6", 4, needsIPv6 | needsICMP6, l4(etIPv6, protoICMP6)},
		{"sctp6", 2, needsIPv6 | needsSCTP, l4(etIPv6, protoSCTP)},
		{"icmp6,icmp_type=135,icmp_code=0", 3, needsIPv6 | needsICMP6 | needsSolicitation, neighbour(ndSolicitation)},
		{"icmp6,icmp_type=136,icmp_code=0", 3, needsIPv6 | needsICMP6 | needsAdvertisement, neighbour(ndAdvertisement)},
		{"ipv6,nw_proto=0", 1, needsIPv6, l4(etIPv6, 0)},
		{"arp", 5, needsARP, l3(etARP)},
		{"rarp", 2, needsARP, l3(etRARP)},
		{"mpls", 5, needsMPLS, labelled(etMPLS)},
		{"mplsm", 1, needsMPLS, labelled(etMPLSM)},
		{"dl_type=0x88cc", 2, 0, l3(etLLDP)},
		{"dl_type=0x05ff", 1, 0, l3(etLLDP)},
	}
}

// fieldRow is a field: how a condition on it is drawn, and how a packet comes to fulfil it.
type fieldRow struct {
	name   string   // the usual one
	names  []string // others, of which one is drawn now and then
	weight int
	need   need
	// match draws a condition. A field of the pipeline's state changes no packet.
	match func(r *rand.Rand) condition
	// write draws a value for set_field; nil: the field cannot be set.
	write func(r *rand.Rand) string
}

// condition is a value as text, and what makes a packet have it.
type condition struct {
	text string
	set  func(*spec)
	has  need // what such packets have
}

// masked says whether rules may have a mask, and whether the field can be set.
const (
	exact     = 0
	maskable  = 1
	settable  = 2
	setMasked = 4
)

// as adds names to a row, others that ovs-ofctl has for the field. NXM's and OXM's are for load and move alone.
func (f fieldRow) as(names ...string) fieldRow {
	f.names = names
	return f
}

// drawName draws one of the names.
func (f *fieldRow) drawName(r *rand.Rand) string {
	if len(f.names) > 0 && r.IntN(3) == 0 {
		return pick(r, f.names)
	}
	return f.name
}

// number is the row of a field of up to 64 bits that lies at one place of a packet.
func number(name string, weight int, n need, bits uint, how int, text func(uint64) string, values []uint64,
	at func(*spec) *uint64,
) fieldRow {
	row := fieldRow{name: name, weight: weight, need: n}
	all := ^uint64(0) >> (64 - bits)
	draw := func(r *rand.Rand, masked bool) (string, uint64, uint64) {
		v, mask := pick(r, values)&all, all
		if masked {
			mask = randomMask(r, bits)
		}
		if mask == all {
			return text(v), v, mask
		}
		return text(v&mask) + "/" + maskText(text, mask, bits), v & mask, mask
	}
	row.match = func(r *rand.Rand) condition {
		t, v, mask := draw(r, how&maskable != 0)
		return condition{text: t, set: func(s *spec) {
			if p := at(s); p != nil {
				*p = *p&^mask | v
			}
		}}
	}
	if how&settable != 0 {
		row.write = func(r *rand.Rand) string {
			t, _, _ := draw(r, how&setMasked != 0 && r.IntN(3) == 0)
			return t
		}
	}
	return row
}

// maskText writes a mask: addresses as addresses, numbers in hexadecimal.
func maskText(text func(uint64) string, mask uint64, bits uint) string {
	if s := text(mask); bits >= 32 && strings.ContainsAny(s, ".:") {
		return s
	}
	return hexText(mask)
}

// address6 is the row of an IPv6 address.
func address6(name string, weight int, n need, writable bool, at func(*spec) *wide) fieldRow {
	row := fieldRow{name: name, weight: weight, need: n}
	row.match = func(r *rand.Rand) condition {
		v, mask := pick(r, someIP6s), wide{^uint64(0), ^uint64(0)}
		top := uint64(0) // mostly: masks that ovs-ofctl takes for the length of a prefix are not worth much
		if r.IntN(10) != 0 {
			top = 0xf000 << 48
		}
		t := ip6Text(v)
		switch r.IntN(4) {
		case 0:
			mask.lo = 0
			mask.hi <<= r.IntN(64)
			mask.hi |= top
			t = ip6Text(wide{v.hi & mask.hi, 0}) + "/" + ip6Text(mask)
		case 1:
			mask = wide{randomMask(r, 64) | top, randomMask(r, 64)}
			t = ip6Text(wide{v.hi & mask.hi, v.lo & mask.lo}) + "/" + ip6Text(mask)
		case 2:
			n := r.IntN(129)
			mask = wide{^uint64(0) << (64 - min(n, 64)), ^uint64(0) << (128 - max(n, 64))}
			t += fmt.Sprintf("/%d", n)
		}
		return condition{text: t, set: func(s *spec) {
			p := at(s)
			*p = wide{p.hi&^mask.hi | v.hi&mask.hi, p.lo&^mask.lo | v.lo&mask.lo}
		}}
	}
	if writable {
		row.write = func(r *rand.Rand) string { return ip6Text(pick(r, someIP6s)) }
	}
	return row
}

// custom is a row whose conditions are listed.
func custom(name string, weight int, n need, cases ...condition) fieldRow {
	return fieldRow{name: name, weight: weight, need: n, match: func(r *rand.Rand) condition { return pick(r, cases) }}
}

// bare is a condition that packets without a tag fulfil too.
func bare(text string, set func(*spec)) condition { return condition{text, set, 0} }

// tagged is a condition that only packets with a tag fulfil.
func tagged(text string, set func(*spec)) condition { return condition{text, set, needsTag} }

// tci sets bits of the outer tag.
func tci(mask, v uint16) func(*spec) {
	return func(s *spec) {
		t := s.under()
		t.tci = t.tci&^mask | v
	}
}

func untagged(s *spec) { s.tags = nil }

func fragment(kind int) func(*spec) { return func(s *spec) { s.frag = kind } }

// label is a bit range of the top label stack entry.
func label(shift, bits uint, v uint64) func(*spec) {
	return func(s *spec) {
		if len(s.mpls) > 0 {
			mask := uint32(1<<bits-1) << shift
			s.mpls[0] = s.mpls[0]&^mask | uint32(v)<<shift&mask
		}
	}
}

func labels(name string, weight int, shift, bits uint, values []uint64, writable bool) fieldRow {
	row := fieldRow{name: name, weight: weight, need: needsMPLS, match: func(r *rand.Rand) condition {
		v := pick(r, values)
		return condition{text: decimal(v), set: label(shift, bits, v)}
	}}
	if writable {
		row.write = func(r *rand.Rand) string { return decimal(pick(r, values)) }
	}
	return row
}

// nowhere is the place of a field of the pipeline's state.
func nowhere(*spec) *uint64 { return nil }

// state is the row of a field of the pipeline's state.
func state(name string, weight int, bits uint) fieldRow {
	return number(name, weight, 0, bits, maskable|settable|setMasked, hexText, someSmall, nowhere)
}
