package flowtable

// fieldID names a row of the table of fields.
type fieldID uint8

const (
	fieldInPort fieldID = iota
	fieldEthSrc
	fieldEthDst
	fieldEthType
	fieldVLANTCI
	fieldVLANID
	fieldVLANVID
	fieldVLANPCP
	fieldIPSrc
	fieldIPDst
	fieldIPv6Src
	fieldIPv6Dst
	fieldIPProto
	fieldTOS
	fieldDSCP
	fieldECN
	fieldTTL
	fieldFrag
	fieldTPSrc
	fieldTPDst
	fieldTCPSrc
	fieldTCPDst
	fieldUDPSrc
	fieldUDPDst
	fieldSCTPSrc
	fieldSCTPDst
	fieldTCPFlags
	fieldICMPType
	fieldICMPCode
	fieldICMP6Type
	fieldICMP6Code
	fieldARPOp
	fieldARPSPA
	fieldARPTPA
	fieldARPSHA
	fieldARPTHA
	numFields
)

// syntax is how a field's value is written.
type syntax uint8

const (
	synDecimal syntax = iota
	synHex
	synPort
	synMAC
	synIPv4
	synIPv6
	synVLANID  // dl_vlan: 0 to 4095, or 0xffff for untagged
	synVLANVID // vlan_vid: with the present bit
	synVLANTCI
	synVLANPCP
	synFrag
	synTOS // two low bits do not count
	synDSCP
	synTCPFlags
)

// combo is one way to fulfil a prerequisite: an EtherType, and a protocol unless that is anyProto.
type combo struct {
	ethType uint16
	proto   int16
}

const anyProto = -1

// prereq is what a rule must match before it may match a field, and what to tell somebody who forgot it.
type prereq struct {
	any  []combo // empty: nothing
	hint string
}

// field is one row of the table of fields: where the field lies in a key and how people write it.
type field struct {
	name    string // as printed
	aliases []string
	word    uint8
	shift   uint8
	width   uint8 // bits; 128 is two words, high first
	max     uint64
	mask    bool // a mask may be given
	syntax  syntax
	need    *prereq
}

var (
	needIP    = &prereq{[]combo{{ethIPv4, anyProto}, {ethIPv6, anyProto}}, "add ip or ipv6 to the match"}
	needIPv6  = &prereq{[]combo{{ethIPv6, anyProto}}, "add ipv6 to the match"}
	needProto = &prereq{
		[]combo{{ethIPv4, anyProto}, {ethIPv6, anyProto}, {ethARP, anyProto}, {ethRARP, anyProto}},
		"add ip, ipv6 or arp to the match",
	}
	needNet = &prereq{
		[]combo{{ethIPv4, anyProto}, {ethARP, anyProto}, {ethRARP, anyProto}},
		"add ip to the match (or arp; IPv6 addresses are ipv6_src and ipv6_dst)",
	}
	needARP = &prereq{[]combo{{ethARP, anyProto}, {ethRARP, anyProto}}, "add arp or rarp to the match"}
	needL4  = &prereq{
		[]combo{
			{ethIPv4, protoTCP},
			{ethIPv6, protoTCP},
			{ethIPv4, protoUDP},
			{ethIPv6, protoUDP},
			{ethIPv4, protoSCTP},
			{ethIPv6, protoSCTP},
			{ethIPv4, protoICMP},
			{ethIPv6, protoICMP6},
		},
		"add tcp, udp, sctp, tcp6, udp6 or sctp6 to the match",
	}
	needTCP   = &prereq{[]combo{{ethIPv4, protoTCP}, {ethIPv6, protoTCP}}, "add tcp or tcp6 to the match"}
	needUDP   = &prereq{[]combo{{ethIPv4, protoUDP}, {ethIPv6, protoUDP}}, "add udp or udp6 to the match"}
	needSCTP  = &prereq{[]combo{{ethIPv4, protoSCTP}, {ethIPv6, protoSCTP}}, "add sctp or sctp6 to the match"}
	needICMP  = &prereq{[]combo{{ethIPv4, protoICMP}, {ethIPv6, protoICMP6}}, "add icmp or icmp6 to the match"}
	needICMP6 = &prereq{[]combo{{ethIPv6, protoICMP6}}, "add icmp6 to the match"}
)

// fields is the table. Names are ovs-ofctl's (ovs-fields(7)); the first is the one that is printed.
var fields = [numFields]field{
	fieldInPort:    {"in_port", nil, wordPort, shiftInPort, 32, 0xffffffff, false, synPort, nil},
	fieldEthSrc:    {"dl_src", []string{"eth_src"}, wordSrc, shiftEth, 48, 0, true, synMAC, nil},
	fieldEthDst:    {"dl_dst", []string{"eth_dst"}, wordDst, shiftEth, 48, 0, true, synMAC, nil},
	fieldEthType:   {"dl_type", []string{"eth_type"}, wordPort, shiftEthType, 16, 0xffff, false, synHex, nil},
	fieldVLANTCI:   {"vlan_tci", nil, wordPort, 0, 16, 0xffff, true, synVLANTCI, nil},
	fieldVLANID:    {"dl_vlan", nil, wordPort, 0, 16, 0xffff, false, synVLANID, nil},
	fieldVLANVID:   {"vlan_vid", nil, wordPort, 0, 16, 0x1fff, true, synVLANVID, nil},
	fieldVLANPCP:   {"dl_vlan_pcp", []string{"vlan_pcp"}, wordPort, 0, 16, 7, false, synVLANPCP, nil},
	fieldIPSrc:     {"nw_src", []string{"ip_src"}, wordIPv4, shiftIPSrc, 32, 0, true, synIPv4, needNet},
	fieldIPDst:     {"nw_dst", []string{"ip_dst"}, wordIPv4, 0, 32, 0, true, synIPv4, needNet},
	fieldIPv6Src:   {"ipv6_src", nil, wordIPv6S, 0, 128, 0, true, synIPv6, needIPv6},
	fieldIPv6Dst:   {"ipv6_dst", nil, wordIPv6D, 0, 128, 0, true, synIPv6, needIPv6},
	fieldIPProto:   {"nw_proto", []string{"ip_proto"}, wordL4, shiftProto, 8, 255, false, synDecimal, needProto},
	fieldTOS:       {"nw_tos", nil, wordL4, shiftTOS, 8, 255, false, synTOS, needIP},
	fieldDSCP:      {"ip_dscp", nil, wordL4, shiftTOS, 8, 63, false, synDSCP, needIP},
	fieldECN:       {"nw_ecn", []string{"ip_ecn"}, wordL4, shiftTOS, 2, 3, false, synDecimal, needIP},
	fieldTTL:       {"nw_ttl", nil, wordL4, shiftTTL, 8, 255, false, synDecimal, needIP},
	fieldFrag:      {"nw_frag", []string{"ip_frag"}, wordL4, shiftFrag, 8, 0, false, synFrag, needIP},
	fieldTPSrc:     {"tp_src", nil, wordL4, shiftTPSrc, 16, 0xffff, true, synDecimal, needL4},
	fieldTPDst:     {"tp_dst", nil, wordL4, 0, 16, 0xffff, true, synDecimal, needL4},
	fieldTCPSrc:    {"tcp_src", nil, wordL4, shiftTPSrc, 16, 0xffff, true, synDecimal, needTCP},
	fieldTCPDst:    {"tcp_dst", nil, wordL4, 0, 16, 0xffff, true, synDecimal, needTCP},
	fieldUDPSrc:    {"udp_src", nil, wordL4, shiftTPSrc, 16, 0xffff, true, synDecimal, needUDP},
	fieldUDPDst:    {"udp_dst", nil, wordL4, 0, 16, 0xffff, true, synDecimal, needUDP},
	fieldSCTPSrc:   {"sctp_src", nil, wordL4, shiftTPSrc, 16, 0xffff, true, synDecimal, needSCTP},
	fieldSCTPDst:   {"sctp_dst", nil, wordL4, 0, 16, 0xffff, true, synDecimal, needSCTP},
	fieldTCPFlags:  {"tcp_flags", nil, wordSrc, 0, 16, 0xfff, true, synTCPFlags, needTCP},
	fieldICMPType:  {"icmp_type", nil, wordL4, shiftTPSrc, 16, 255, false, synDecimal, needICMP},
	fieldICMPCode:  {"icmp_code", nil, wordL4, 0, 16, 255, false, synDecimal, needICMP},
	fieldICMP6Type: {"icmpv6_type", nil, wordL4, shiftTPSrc, 16, 255, false, synDecimal, needICMP6},
	fieldICMP6Code: {"icmpv6_code", nil, wordL4, 0, 16, 255, false, synDecimal, needICMP6},
	fieldARPOp:     {"arp_op", nil, wordL4, shiftProto, 8, 255, false, synDecimal, needARP},
	fieldARPSPA:    {"arp_spa", nil, wordIPv4, shiftIPSrc, 32, 0, true, synIPv4, needARP},
	fieldARPTPA:    {"arp_tpa", nil, wordIPv4, 0, 32, 0, true, synIPv4, needARP},
	fieldARPSHA:    {"arp_sha", nil, wordSHA, shiftEth, 48, 0, true, synMAC, needARP},
	fieldARPTHA:    {"arp_tha", nil, wordTHA, shiftEth, 48, 0, true, synMAC, needARP},
}

// shorthand is a word that stands for an EtherType and perhaps a protocol.
type shorthand struct {
	name    string
	ethType uint16
	proto   int16
}

// shorthands, in the order in which printing tries them.
var shorthands = []shorthand{
	{"tcp", ethIPv4, protoTCP},
	{"udp", ethIPv4, protoUDP},
	{"icmp", ethIPv4, protoICMP},
	{"sctp", ethIPv4, protoSCTP},
	{"tcp6", ethIPv6, protoTCP},
	{"udp6", ethIPv6, protoUDP},
	{"icmp6", ethIPv6, protoICMP6},
	{"sctp6", ethIPv6, protoSCTP},
	{"ip", ethIPv4, anyProto},
	{"ipv4", ethIPv4, anyProto},
	{"ipv6", ethIPv6, anyProto},
	{"ip6", ethIPv6, anyProto},
	{"arp", ethARP, anyProto},
	{"rarp", ethRARP, anyProto},
	{"mpls", ethMPLS, anyProto},
	{"mplsm", ethMPLSMC, anyProto},
}

// unsupportedFields are names that ovs-ofctl knows and this version does not, for a better error.
var unsupportedFields = []string{
	"ipv6_label", "nd_target", "nd_sll", "nd_tll", "nd_options_type", "nd_reserved", "mpls_label", "mpls_tc", "mpls_bos",
	"mpls_ttl", "metadata", "pkt_mark", "skb_priority", "tun_id", "tunnel_id", "tun_src", "tun_dst", "tun_flags",
	"in_phy_port", "conj_id", "ct_state", "ct_zone", "ct_mark", "ct_label", "recirc_id", "dp_hash", "packet_type",
	"actset_output", "nsh_flags", "eth_type_outer", "in_port_oxm",
}

func findField(name string) (fieldID, bool) {
	for i := range fields {
		if fields[i].name == name {
			return fieldID(i), true
		}
		for _, a := range fields[i].aliases {
			if a == name {
				return fieldID(i), true
			}
		}
	}
	return 0, false
}

// get returns a field's value from k; only of fields up to 64 bits.
func (f *field) get(k *Key) uint64 { return k[f.word] >> f.shift & (1<<f.width - 1) }

// fulfilled reports whether m looks at what p demands, exactly.
func (p *prereq) fulfilled(m *Match) bool {
	const ethTypeMask = uint64(0xffff) << shiftEthType
	const protoMask = uint64(0xff) << shiftProto
	for _, c := range p.any {
		if m.Mask[wordPort]&ethTypeMask != ethTypeMask || uint16(m.Key[wordPort]>>shiftEthType) != c.ethType {
			continue
		}
		if c.proto == anyProto ||
			m.Mask[wordL4]&protoMask == protoMask && m.Key[wordL4]>>shiftProto == uint64(c.proto) {
			return true
		}
	}
	return false
}
