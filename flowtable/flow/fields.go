package flow

import "strconv"

// FieldID names a row of the table of fields.
type FieldID uint8

const (
	FieldInPort FieldID = iota
	FieldEthSrc
	FieldEthDst
	FieldEthType
	FieldVLANTCI
	FieldVLANID
	FieldVLANVID
	FieldVLANPCP
	FieldIPSrc
	FieldIPDst
	FieldIPv6Src
	FieldIPv6Dst
	FieldIPProto
	FieldTOS
	FieldDSCP
	FieldECN
	FieldTTL
	FieldFrag
	FieldTPSrc
	FieldTPDst
	FieldTCPSrc
	FieldTCPDst
	FieldUDPSrc
	FieldUDPDst
	FieldSCTPSrc
	FieldSCTPDst
	FieldTCPFlags
	FieldICMPType
	FieldICMPCode
	FieldICMP6Type
	FieldICMP6Code
	FieldARPOp
	FieldARPSPA
	FieldARPTPA
	FieldARPSHA
	FieldARPTHA
	FieldIPv6Label
	FieldNDTarget
	FieldNDSLL
	FieldNDTLL
	FieldMPLSLabel
	FieldMPLSTC
	FieldMPLSBOS
	FieldMPLSTTL
	FieldMetadata
	FieldTunID
	FieldPktMark
	FieldActsetOutput
	FieldInPortOXM
	FieldReg0
	FieldXReg0  = FieldReg0 + 16
	FieldXXReg0 = FieldXReg0 + 8
	NumFields   = FieldXXReg0 + 4
)

// syntax is how a field's value is written.
type syntax uint8

const (
	synDecimal syntax = iota
	SynHex
	SynPort
	SynMAC
	SynIPv4
	SynIPv6
	SynVLANID  // dl_vlan: 0 to 4095, or 0xffff for untagged
	SynVLANVID // vlan_vid: with the present bit
	SynVLANTCI
	SynVLANPCP
	SynFrag
	SynTOS // two low bits do not count
	SynDSCP
	SynTCPFlags
)

// combo is one way to fulfil a prerequisite: an EtherType, and a protocol unless that is anyProto.
type combo struct {
	ethType uint16
	proto   int16
	icmp    uint8 // ICMPv6 type, 0 = any
}

const AnyProto = -1

// ICMPv6 types of neighbour discovery (RFC 4861 §4.3, §4.4).
const (
	ndSolicit = 135
	ndAdvert  = 136
)

// prereq is what a rule must match before it may match a field, and what to tell somebody who forgot it.
type prereq struct {
	any  []combo // empty: nothing
	Hint string
}

// Field is one row of the table of fields: where the field lies in a key and how people write it.
type Field struct {
	Name    string // as printed
	Aliases []string
	Word    uint8
	Shift   uint8
	Width   uint8 // bits; 128 is two words, high first
	Max     uint64
	Mask    bool // a mask may be given
	Syntax  syntax
	Need    *prereq
}

var (
	needIP    = &prereq{[]combo{{EthIPv4, AnyProto, 0}, {EthIPv6, AnyProto, 0}}, "add ip or ipv6 to the match"}
	needIPv6  = &prereq{[]combo{{EthIPv6, AnyProto, 0}}, "add ipv6 to the match"}
	needProto = &prereq{
		[]combo{{EthIPv4, AnyProto, 0}, {EthIPv6, AnyProto, 0}, {EthARP, AnyProto, 0}, {EthRARP, AnyProto, 0}},
		"add ip, ipv6 or arp to the match",
	}
	needNet = &prereq{
		[]combo{{EthIPv4, AnyProto, 0}, {EthARP, AnyProto, 0}, {EthRARP, AnyProto, 0}},
		"add ip to the match (or arp; IPv6 addresses are ipv6_src and ipv6_dst)",
	}
	needARP = &prereq{[]combo{{EthARP, AnyProto, 0}, {EthRARP, AnyProto, 0}}, "add arp or rarp to the match"}
	needL4  = &prereq{
		[]combo{
			{EthIPv4, ProtoTCP, 0},
			{EthIPv6, ProtoTCP, 0},
			{EthIPv4, ProtoUDP, 0},
			{EthIPv6, ProtoUDP, 0},
			{EthIPv4, ProtoSCTP, 0},
			{EthIPv6, ProtoSCTP, 0},
			{EthIPv4, ProtoICMP, 0},
			{EthIPv6, ProtoICMP6, 0},
		},
		"add tcp, udp, sctp, tcp6, udp6 or sctp6 to the match",
	}
	needTCP   = &prereq{[]combo{{EthIPv4, ProtoTCP, 0}, {EthIPv6, ProtoTCP, 0}}, "add tcp or tcp6 to the match"}
	needUDP   = &prereq{[]combo{{EthIPv4, ProtoUDP, 0}, {EthIPv6, ProtoUDP, 0}}, "add udp or udp6 to the match"}
	needSCTP  = &prereq{[]combo{{EthIPv4, ProtoSCTP, 0}, {EthIPv6, ProtoSCTP, 0}}, "add sctp or sctp6 to the match"}
	needICMP  = &prereq{[]combo{{EthIPv4, ProtoICMP, 0}, {EthIPv6, ProtoICMP6, 0}}, "add icmp or icmp6 to the match"}
	needICMP6 = &prereq{[]combo{{EthIPv6, ProtoICMP6, 0}}, "add icmp6 to the match"}
	needMPLS  = &prereq{[]combo{{EthMPLS, AnyProto, 0}, {EthMPLSMC, AnyProto, 0}}, "add mpls or mplsm to the match"}
	needND    = &prereq{
		[]combo{{EthIPv6, ProtoICMP6, ndSolicit}, {EthIPv6, ProtoICMP6, ndAdvert}},
		"add icmp6,icmp_type=135 or icmp6,icmp_type=136 to the match",
	}
	needNS = &prereq{[]combo{{EthIPv6, ProtoICMP6, ndSolicit}}, "add icmp6,icmp_type=135 to the match"}
	needNA = &prereq{[]combo{{EthIPv6, ProtoICMP6, ndAdvert}}, "add icmp6,icmp_type=136 to the match"}
)

// Fields is the table. Names are ovs-ofctl's (ovs-fields(7)); the first is the one that is printed.
var Fields = withRegisters([NumFields]Field{
	FieldInPort:    {"in_port", nil, WordPort, ShiftInPort, 32, 0xffffffff, false, SynPort, nil},
	FieldEthSrc:    {"dl_src", []string{"eth_src"}, WordSrc, ShiftEth, 48, 0, true, SynMAC, nil},
	FieldEthDst:    {"dl_dst", []string{"eth_dst"}, WordDst, ShiftEth, 48, 0, true, SynMAC, nil},
	FieldEthType:   {"dl_type", []string{"eth_type"}, WordPort, ShiftEthType, 16, 0xffff, false, SynHex, nil},
	FieldVLANTCI:   {"vlan_tci", nil, WordPort, 0, 16, 0xffff, true, SynVLANTCI, nil},
	FieldVLANID:    {"dl_vlan", nil, WordPort, 0, 16, 0xffff, false, SynVLANID, nil},
	FieldVLANVID:   {"vlan_vid", nil, WordPort, 0, 16, 0x1fff, true, SynVLANVID, nil},
	FieldVLANPCP:   {"dl_vlan_pcp", []string{"vlan_pcp"}, WordPort, 0, 16, 7, false, SynVLANPCP, nil},
	FieldIPSrc:     {"nw_src", []string{"ip_src"}, WordIPv4, ShiftIPSrc, 32, 0, true, SynIPv4, needNet},
	FieldIPDst:     {"nw_dst", []string{"ip_dst"}, WordIPv4, 0, 32, 0, true, SynIPv4, needNet},
	FieldIPv6Src:   {"ipv6_src", nil, WordIPv6S, 0, 128, 0, true, SynIPv6, needIPv6},
	FieldIPv6Dst:   {"ipv6_dst", nil, WordIPv6D, 0, 128, 0, true, SynIPv6, needIPv6},
	FieldIPProto:   {"nw_proto", []string{"ip_proto"}, WordL4, ShiftProto, 8, 255, false, synDecimal, needProto},
	FieldTOS:       {"nw_tos", nil, WordL4, ShiftTOS, 8, 255, false, SynTOS, needIP},
	FieldDSCP:      {"ip_dscp", nil, WordL4, ShiftTOS, 8, 63, false, SynDSCP, needIP},
	FieldECN:       {"nw_ecn", []string{"ip_ecn"}, WordL4, ShiftTOS, 2, 3, false, synDecimal, needIP},
	FieldTTL:       {"nw_ttl", nil, WordL4, ShiftTTL, 8, 255, false, synDecimal, needIP},
	FieldFrag:      {"nw_frag", []string{"ip_frag"}, WordL4, ShiftFrag, 8, 0, false, SynFrag, needIP},
	FieldTPSrc:     {"tp_src", nil, WordL4, ShiftTPSrc, 16, 0xffff, true, synDecimal, needL4},
	FieldTPDst:     {"tp_dst", nil, WordL4, 0, 16, 0xffff, true, synDecimal, needL4},
	FieldTCPSrc:    {"tcp_src", nil, WordL4, ShiftTPSrc, 16, 0xffff, true, synDecimal, needTCP},
	FieldTCPDst:    {"tcp_dst", nil, WordL4, 0, 16, 0xffff, true, synDecimal, needTCP},
	FieldUDPSrc:    {"udp_src", nil, WordL4, ShiftTPSrc, 16, 0xffff, true, synDecimal, needUDP},
	FieldUDPDst:    {"udp_dst", nil, WordL4, 0, 16, 0xffff, true, synDecimal, needUDP},
	FieldSCTPSrc:   {"sctp_src", nil, WordL4, ShiftTPSrc, 16, 0xffff, true, synDecimal, needSCTP},
	FieldSCTPDst:   {"sctp_dst", nil, WordL4, 0, 16, 0xffff, true, synDecimal, needSCTP},
	FieldTCPFlags:  {"tcp_flags", nil, WordSrc, 0, 16, 0xfff, true, SynTCPFlags, needTCP},
	FieldICMPType:  {"icmp_type", nil, WordL4, ShiftTPSrc, 16, 255, false, synDecimal, needICMP},
	FieldICMPCode:  {"icmp_code", nil, WordL4, 0, 16, 255, false, synDecimal, needICMP},
	FieldICMP6Type: {"icmpv6_type", nil, WordL4, ShiftTPSrc, 16, 255, false, synDecimal, needICMP6},
	FieldICMP6Code: {"icmpv6_code", nil, WordL4, 0, 16, 255, false, synDecimal, needICMP6},
	FieldARPOp:     {"arp_op", nil, WordL4, ShiftProto, 8, 255, false, synDecimal, needARP},
	FieldARPSPA:    {"arp_spa", nil, WordIPv4, ShiftIPSrc, 32, 0, true, SynIPv4, needARP},
	FieldARPTPA:    {"arp_tpa", nil, WordIPv4, 0, 32, 0, true, SynIPv4, needARP},
	FieldARPSHA:    {"arp_sha", nil, WordSHA, ShiftEth, 48, 0, true, SynMAC, needARP},
	FieldARPTHA:    {"arp_tha", nil, WordTHA, ShiftEth, 48, 0, true, SynMAC, needARP},
	FieldIPv6Label: {"ipv6_label", nil, WordLabel, 0, 20, 0xfffff, true, SynHex, needIPv6},
	FieldNDTarget:  {"nd_target", nil, WordND, 0, 128, 0, true, SynIPv6, needND},
	FieldNDSLL:     {"nd_sll", nil, WordSHA, ShiftEth, 48, 0, true, SynMAC, needNS},
	FieldNDTLL:     {"nd_tll", nil, WordTHA, ShiftEth, 48, 0, true, SynMAC, needNA},
	FieldMPLSLabel: {"mpls_label", nil, WordMPLS, ShiftLSE + 12, 20, 0xfffff, false, synDecimal, needMPLS},
	FieldMPLSTC:    {"mpls_tc", nil, WordMPLS, ShiftLSE + 9, 3, 7, false, synDecimal, needMPLS},
	FieldMPLSBOS:   {"mpls_bos", nil, WordMPLS, ShiftLSE + 8, 1, 1, false, synDecimal, needMPLS},
	FieldMPLSTTL:   {"mpls_ttl", nil, WordMPLS, ShiftLSE, 8, 255, false, synDecimal, needMPLS},
	FieldMetadata:  {"metadata", nil, WordMetadata, 0, 64, ^uint64(0), true, SynHex, nil},
	FieldTunID:     {"tun_id", []string{"tunnel_id"}, WordTunnel, 0, 64, ^uint64(0), true, SynHex, nil},
	FieldPktMark:   {"pkt_mark", nil, WordMark, ShiftMark, 32, 0xffffffff, true, SynHex, nil},

	FieldInPortOXM:    {"in_port_oxm", nil, WordPort, ShiftInPort, 32, 0xffffffff, false, SynPort, nil},
	FieldActsetOutput: {"actset_output", nil, WordMark, 0, 32, 0xffffffff, false, SynPort, nil},
})

// withRegisters fills in the rows of the registers: 16 of 32 bits, which are also 8 of 64 bits and 4 of 128 bits.
func withRegisters(t [NumFields]Field) [NumFields]Field {
	for i := range 16 {
		t[int(FieldReg0)+i] = Field{
			Name: "reg" + strconv.Itoa(i), Word: uint8(WordReg + i/2), Shift: uint8(32 - i%2*32), Width: 32,
			Max: 0xffffffff, Mask: true, Syntax: SynHex,
		}
	}
	for i := range 8 {
		t[int(FieldXReg0)+i] = Field{
			Name: "xreg" + strconv.Itoa(i), Word: uint8(WordReg + i), Width: 64, Max: ^uint64(0), Mask: true, Syntax: SynHex,
		}
	}
	for i := range 4 {
		t[int(FieldXXReg0)+i] = Field{
			Name: "xxreg" + strconv.Itoa(i), Word: uint8(WordReg + 2*i), Width: 128, Mask: true, Syntax: SynHex,
		}
	}
	return t
}

// Shorthand is a word that stands for an EtherType and perhaps a protocol.
type Shorthand struct {
	Name    string
	EthType uint16
	Proto   int16
}

// shorthands, in the order in which printing tries them.
var Shorthands = []Shorthand{
	{"tcp", EthIPv4, ProtoTCP},
	{"udp", EthIPv4, ProtoUDP},
	{"icmp", EthIPv4, ProtoICMP},
	{"sctp", EthIPv4, ProtoSCTP},
	{"tcp6", EthIPv6, ProtoTCP},
	{"udp6", EthIPv6, ProtoUDP},
	{"icmp6", EthIPv6, ProtoICMP6},
	{"sctp6", EthIPv6, ProtoSCTP},
	{"ip", EthIPv4, AnyProto},
	{"ipv4", EthIPv4, AnyProto},
	{"ipv6", EthIPv6, AnyProto},
	{"ip6", EthIPv6, AnyProto},
	{"arp", EthARP, AnyProto},
	{"rarp", EthRARP, AnyProto},
	{"mpls", EthMPLS, AnyProto},
	{"mplsm", EthMPLSMC, AnyProto},
}

// Get returns a field's value from k; only of fields up to 64 bits.
func (f *Field) Get(k *Key) uint64 { return k[f.Word] >> f.Shift & (1<<f.Width - 1) }

// Fulfilled reports whether m looks at what p demands, exactly.
func (p *prereq) Fulfilled(m *Match) bool {
	const ethTypeMask = uint64(0xffff) << ShiftEthType
	const protoMask = uint64(0xff) << ShiftProto
	const icmpMask = uint64(0xffff) << ShiftTPSrc
	for _, c := range p.any {
		if m.Mask[WordPort]&ethTypeMask != ethTypeMask || uint16(m.Key[WordPort]>>ShiftEthType) != c.ethType {
			continue
		}
		if c.proto == AnyProto {
			return true
		}
		if m.Mask[WordL4]&protoMask != protoMask || m.Key[WordL4]>>ShiftProto != uint64(c.proto) {
			continue
		}
		if c.icmp == 0 || m.Mask[WordL4]&icmpMask == icmpMask && m.Key[WordL4]&icmpMask == uint64(c.icmp)<<ShiftTPSrc {
			return true
		}
	}
	return false
}

// FragNames are the values of nw_frag.
var FragNames = []struct {
	Name      string
	Val, Mask uint64
}{
	{"no", 0, fragMask},
	{"yes", fragAny, fragAny},
	{"first", fragAny, fragMask},
	{"later", fragMask, fragMask},
	{"not_later", 0, FragLater},
}
