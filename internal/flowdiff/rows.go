package flowdiff

import (
	"math/rand/v2"
	"slices"
)

// fields is the table of fields, in the order of ovs-fields(7). A field that a side does not know is left out when a run
// begins, and the run says so.
func fields() []fieldRow {
	return slices.Concat(stateFields(), linkFields(), networkFields(), arpFields(), transportFields())
}

// stateFields are in_port and the pipeline's state.
func stateFields() []fieldRow {
	return []fieldRow{
		number("in_port", 20, 0, 32, exact, decimal, []uint64{1, 2, 3, 4},
			func(s *spec) *uint64 { return &s.inPort }),
		state("metadata", 3, 64),
		state("tun_id", 2, 64).as("tunnel_id"),
		state("pkt_mark", 2, 32),
		state("reg0", 3, 32),
		state("reg1", 3, 32),
		state("reg7", 1, 32),
		state("reg15", 1, 32),
		state("xreg0", 1, 64),
		state("xreg3", 1, 64),
	}
}

// linkFields are Ethernet's, the VLAN tag's and MPLS's.
func linkFields() []fieldRow {
	return []fieldRow{
		number("dl_src", 8, 0, 48, maskable, macText, someMACs, func(s *spec) *uint64 { return &s.ethSrc }),
		number("eth_src", 2, 0, 48, maskable|settable|setMasked, macText, someMACs,
			func(s *spec) *uint64 { return &s.ethSrc }).as("dl_src"),
		number("eth_dst", 2, 0, 48, maskable|settable|setMasked, macText, someMACs,
			func(s *spec) *uint64 { return &s.ethDst }).as("dl_dst"),
		number("dl_dst", 8, 0, 48, maskable, macText, someMACs, func(s *spec) *uint64 { return &s.ethDst }),
		custom("dl_vlan", 6, 0, tagged("5", tci(0xfff, 5)), tagged("7", tci(0xfff, 7)),
			tagged("0", tci(0xfff, 0)), bare("0xffff", untagged), tagged("4095", tci(0xfff, 0xfff))),
		custom("dl_vlan_pcp", 3, 0, tagged("3", tci(0xe000, 0x6000)), tagged("0", tci(0xe000, 0)),
			tagged("7", tci(0xe000, 0xe000))),
		custom("vlan_tci", 5, 0, tagged("0x1000/0x1000", tci(0, 0)), bare("0", untagged),
			tagged("0x1005/0x1fff", tci(0xfff, 5)), tagged("0x7005", tci(0xefff, 0x6005)),
			tagged("0x1001/0x1003", tci(3, 1)), bare("0/0x1000", untagged),
			bare("0xf000/0xe000", tci(0xe000, 0xe000)), bare("5/0xfff", tci(0xfff, 5))),
		custom("vlan_vid", 3, 0, tagged("0x1005/0x1fff", tci(0xfff, 5)), tagged("0x1000/0x1000", tci(0, 0)),
			bare("0/0x1000", untagged), tagged("0x1007", tci(0xfff, 7))),
		{name: "vlan_vid", need: needsTag, write: func(r *rand.Rand) string {
			return decimal(0x1000 | uint64(pick(r, someTCIs))&0xfff)
		}},
		{name: "vlan_pcp", need: needsTag, write: func(r *rand.Rand) string { return decimal(r.Uint64N(8)) }},
		{name: "vlan_tci", need: needsTag, write: func(r *rand.Rand) string {
			return hexText(uint64(pick(r, someTCIs)) | 0x1000)
		}},
		labels("mpls_label", 5, 12, 20, someLabels, true),
		labels("mpls_tc", 3, 9, 3, []uint64{0, 1, 7}, true),
		labels("mpls_bos", 3, 8, 1, []uint64{0, 1}, false),
		labels("mpls_ttl", 2, 0, 8, []uint64{0, 1, 64}, true),
	}
}

// networkFields are IPv4's and IPv6's.
func networkFields() []fieldRow {
	return []fieldRow{
		number("nw_src", 8, needsIPv4, 32, maskable|settable|setMasked, ip4Text, someIPs,
			func(s *spec) *uint64 { return &s.src }).as("ip_src"),
		number("nw_dst", 8, needsIPv4, 32, maskable|settable|setMasked, ip4Text, someIPs,
			func(s *spec) *uint64 { return &s.dst }),
		number("ip_dst", 1, needsIPv4, 32, maskable|settable, ip4Text, someIPs,
			func(s *spec) *uint64 { return &s.dst }),
		address6("ipv6_src", 5, needsIPv6, true,
			func(s *spec) *wide { return &s.src6 }),
		address6("ipv6_dst", 5, needsIPv6, true,
			func(s *spec) *wide { return &s.dst6 }),
		number("ipv6_label", 3, needsIPv6, 20, maskable|settable|setMasked, hexText, someLabels,
			func(s *spec) *uint64 { return &s.label }),
		number("nw_tos", 3, needsIP, 8, settable, decimal, []uint64{0, 0xb8, 0x40, 0xfc},
			func(s *spec) *uint64 { return &s.tos }),
		number("ip_dscp", 2, needsIP, 6, settable, decimal, []uint64{0, 0x2e, 0x10, 63}, nowhere),
		number("nw_ecn", 3, needsIP, 2, settable, decimal, []uint64{0, 1, 2, 3}, nowhere).as("ip_ecn"),
		number("nw_ttl", 3, needsIP, 8, settable, decimal, someTTLs,
			func(s *spec) *uint64 { return &s.ttl }),
		custom("nw_frag", 6, needsIP, bare("no", fragment(fragNone)), bare("first", fragment(fragFirst)),
			bare("later", fragment(fragLater)), bare("yes", fragment(fragFirst)),
			bare("not_later", fragment(fragFirst))),
	}
}

func arpFields() []fieldRow {
	return []fieldRow{
		number("arp_op", 4, needsARP, 8, settable, decimal, []uint64{1, 2, 3, 4, 0},
			func(s *spec) *uint64 { return &s.arpOp }),
		number("arp_spa", 4, needsARP, 32, maskable|settable|setMasked, ip4Text, someIPs,
			func(s *spec) *uint64 { return &s.src }),
		number("arp_tpa", 4, needsARP, 32, maskable|settable|setMasked, ip4Text, someIPs,
			func(s *spec) *uint64 { return &s.dst }),
		number("arp_sha", 3, needsARP, 48, maskable|settable|setMasked, macText, someMACs,
			func(s *spec) *uint64 { return &s.sha }),
		number("arp_tha", 3, needsARP, 48, maskable|settable|setMasked, macText, someMACs,
			func(s *spec) *uint64 { return &s.tha }),
	}
}

// transportFields are those of TCP, UDP, SCTP, ICMP and neighbour discovery.
func transportFields() []fieldRow {
	rows := []fieldRow{
		number("tp_src", 5, needsPort, 16, maskable, decimal, somePorts, func(s *spec) *uint64 { return &s.sport }),
		number("tp_dst", 5, needsPort, 16, maskable, decimal, somePorts, func(s *spec) *uint64 { return &s.dport }),
		number("icmp_type", 4, needsICMP, 8, exact, decimal, []uint64{0, 3, 8, 11},
			func(s *spec) *uint64 { return &s.icmpType }),
		number("icmp_code", 3, needsICMP, 8, exact, decimal, []uint64{0, 1, 2},
			func(s *spec) *uint64 { return &s.icmpCode }),
		number("icmpv6_type", 3, needsICMP6, 8, exact, decimal, []uint64{128, 129, 133, 135, 136, 8},
			func(s *spec) *uint64 { return &s.icmpType }),
		number("icmpv6_code", 2, needsICMP6, 8, exact, decimal, []uint64{0, 1},
			func(s *spec) *uint64 { return &s.icmpCode }),
		number("tcp_flags", 4, needsTCP, 12, maskable, hexText, someFlags,
			func(s *spec) *uint64 { return &s.flags }),
		address6("nd_target", 6, needsND, true,
			func(s *spec) *wide { return &s.target }),
		number("nd_sll", 6, needsSolicitation, 48, maskable|settable|setMasked, macText, someMACs,
			func(s *spec) *uint64 { return &s.linkLayer }),
		number("nd_tll", 6, needsAdvertisement, 48, maskable|settable|setMasked, macText, someMACs,
			func(s *spec) *uint64 { return &s.linkLayer }),
	}
	for _, l4 := range []struct {
		name string
		need need
	}{{"tcp", needsTCP}, {"udp", needsUDP}, {"sctp", needsSCTP}} {
		rows = append(rows,
			number(l4.name+"_src", 3, l4.need, 16, maskable|settable|setMasked, decimal, somePorts,
				func(s *spec) *uint64 { return &s.sport }),
			number(l4.name+"_dst", 3, l4.need, 16, maskable|settable|setMasked, decimal, somePorts,
				func(s *spec) *uint64 { return &s.dport }))
	}
	return rows
}
