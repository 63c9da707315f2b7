package flow

// Need is what a packet must be for it to have a field.
type Need uint8

// The prerequisites of fields as actions have them (ovs-fields(7), "Prerequisites").
const (
	NeedNothing Need = iota
	NeedTag
	NeedARP
	NeedIPv4
	NeedIPv6
	NeedIP
	NeedMPLS
	NeedTCP
	NeedUDP
	NeedSCTP
	NeedICMP
	NeedICMP6
	NeedND
	NeedNDSolicit
	NeedNDAdvert
	numNeeds
)

// needHints tell somebody what to match.
var needHints = [numNeeds]string{
	NeedTag:  "match dl_vlan, dl_vlan_pcp or vlan_tci=0x1000/0x1000, or put push_vlan before it",
	NeedARP:  "add arp or rarp to the match",
	NeedIPv4: "add ip to the match", NeedIPv6: "add ipv6 to the match", NeedIP: "add ip or ipv6 to the match",
	NeedMPLS: "add mpls or mplsm to the match, or put push_mpls before it",
	NeedTCP:  "add tcp or tcp6 to the match", NeedUDP: "add udp or udp6 to the match",
	NeedSCTP: "add sctp or sctp6 to the match", NeedICMP: "add icmp to the match", NeedICMP6: "add icmp6 to the match",
	NeedND:        "add icmp6,icmp_type=135,icmp_code=0 or icmp6,icmp_type=136,icmp_code=0 to the match",
	NeedNDSolicit: "add icmp6,icmp_type=135,icmp_code=0 to the match",
	NeedNDAdvert:  "add icmp6,icmp_type=136,icmp_code=0 to the match",
}

// Place is where a field lies in a key as actions see it: a number of Bits bits. That differs from what matches see for
// the parts of a tag and of the TOS byte, which matches compare in place.
type Place struct {
	Word, Shift uint8
	Bits        uint8 // 0: actions cannot name the field
	Writable    bool
	Maskable    bool // set_field takes a mask
	Need        Need
	Name        string // in set_field
	NXM         string // in load, move and output
}

// Places is the table of the fields that actions can name. Widths, names and prerequisites are Open vSwitch's
// (ovs-fields(7)). Where matches know two names for one field, actions know the first: tcp_src for tp_src.
var Places = placesWithRegisters([NumFields]Place{
	FieldInPort:    {WordPort, ShiftInPort, 16, true, false, NeedNothing, "in_port", "NXM_OF_IN_PORT"},
	FieldEthSrc:    {WordSrc, ShiftEth, 48, true, true, NeedNothing, "eth_src", "NXM_OF_ETH_SRC"},
	FieldEthDst:    {WordDst, ShiftEth, 48, true, true, NeedNothing, "eth_dst", "NXM_OF_ETH_DST"},
	FieldEthType:   {WordPort, ShiftEthType, 16, false, false, NeedNothing, "eth_type", "NXM_OF_ETH_TYPE"},
	FieldVLANTCI:   {WordPort, 0, 16, true, true, NeedNothing, "vlan_tci", "NXM_OF_VLAN_TCI"},
	FieldVLANVID:   {WordPort, 0, 12, true, true, NeedTag, "vlan_vid", "OXM_OF_VLAN_VID"},
	FieldVLANPCP:   {WordPort, VLANPCPLow, 3, true, false, NeedTag, "vlan_pcp", "OXM_OF_VLAN_PCP"},
	FieldIPSrc:     {WordIPv4, ShiftIPSrc, 32, true, true, NeedIPv4, "ip_src", "NXM_OF_IP_SRC"},
	FieldIPDst:     {WordIPv4, 0, 32, true, true, NeedIPv4, "ip_dst", "NXM_OF_IP_DST"},
	FieldIPv6Src:   {WordIPv6S, 0, 128, true, true, NeedIPv6, "ipv6_src", "NXM_NX_IPV6_SRC"},
	FieldIPv6Dst:   {WordIPv6D, 0, 128, true, true, NeedIPv6, "ipv6_dst", "NXM_NX_IPV6_DST"},
	FieldIPProto:   {WordL4, ShiftProto, 8, false, false, NeedIP, "nw_proto", "NXM_OF_IP_PROTO"},
	FieldTOS:       {WordL4, ShiftTOS, 8, true, false, NeedIP, "nw_tos", "NXM_OF_IP_TOS"},
	FieldDSCP:      {WordL4, ShiftTOS + 2, 6, true, false, NeedIP, "ip_dscp", "OXM_OF_IP_DSCP"},
	FieldECN:       {WordL4, ShiftTOS, 2, true, false, NeedIP, "nw_ecn", "NXM_NX_IP_ECN"},
	FieldTTL:       {WordL4, ShiftTTL, 8, true, false, NeedIP, "nw_ttl", "NXM_NX_IP_TTL"},
	FieldFrag:      {WordL4, ShiftFrag, 2, false, false, NeedIP, "ip_frag", "NXM_NX_IP_FRAG"},
	FieldTCPSrc:    {WordL4, ShiftTPSrc, 16, true, true, NeedTCP, "tcp_src", "NXM_OF_TCP_SRC"},
	FieldTCPDst:    {WordL4, 0, 16, true, true, NeedTCP, "tcp_dst", "NXM_OF_TCP_DST"},
	FieldUDPSrc:    {WordL4, ShiftTPSrc, 16, true, true, NeedUDP, "udp_src", "NXM_OF_UDP_SRC"},
	FieldUDPDst:    {WordL4, 0, 16, true, true, NeedUDP, "udp_dst", "NXM_OF_UDP_DST"},
	FieldSCTPSrc:   {WordL4, ShiftTPSrc, 16, true, true, NeedSCTP, "sctp_src", "OXM_OF_SCTP_SRC"},
	FieldSCTPDst:   {WordL4, 0, 16, true, true, NeedSCTP, "sctp_dst", "OXM_OF_SCTP_DST"},
	FieldTCPFlags:  {WordSrc, 0, 12, false, false, NeedTCP, "tcp_flags", "NXM_NX_TCP_FLAGS"},
	FieldICMPType:  {WordL4, ShiftTPSrc, 8, true, false, NeedICMP, "icmp_type", "NXM_OF_ICMP_TYPE"},
	FieldICMPCode:  {WordL4, 0, 8, true, false, NeedICMP, "icmp_code", "NXM_OF_ICMP_CODE"},
	FieldICMP6Type: {WordL4, ShiftTPSrc, 8, true, false, NeedICMP6, "icmpv6_type", "NXM_NX_ICMPV6_TYPE"},
	FieldICMP6Code: {WordL4, 0, 8, true, false, NeedICMP6, "icmpv6_code", "NXM_NX_ICMPV6_CODE"},
	FieldARPOp:     {WordL4, ShiftProto, 16, true, false, NeedARP, "arp_op", "NXM_OF_ARP_OP"},
	FieldARPSPA:    {WordIPv4, ShiftIPSrc, 32, true, true, NeedARP, "arp_spa", "NXM_OF_ARP_SPA"},
	FieldARPTPA:    {WordIPv4, 0, 32, true, true, NeedARP, "arp_tpa", "NXM_OF_ARP_TPA"},
	FieldARPSHA:    {WordSHA, ShiftEth, 48, true, true, NeedARP, "arp_sha", "NXM_NX_ARP_SHA"},
	FieldARPTHA:    {WordTHA, ShiftEth, 48, true, true, NeedARP, "arp_tha", "NXM_NX_ARP_THA"},
	FieldIPv6Label: {WordLabel, 0, 20, true, true, NeedIPv6, "ipv6_label", "NXM_NX_IPV6_LABEL"},
	FieldNDTarget:  {WordND, 0, 128, true, true, NeedND, "nd_target", "NXM_NX_ND_TARGET"},
	FieldNDSLL:     {WordSHA, ShiftEth, 48, true, true, NeedNDSolicit, "nd_sll", "NXM_NX_ND_SLL"},
	FieldNDTLL:     {WordTHA, ShiftEth, 48, true, true, NeedNDAdvert, "nd_tll", "NXM_NX_ND_TLL"},
	FieldMPLSLabel: {WordMPLS, ShiftLSE + 12, 20, true, false, NeedMPLS, "mpls_label", "OXM_OF_MPLS_LABEL"},
	FieldMPLSTC:    {WordMPLS, ShiftLSE + 9, 3, true, false, NeedMPLS, "mpls_tc", "OXM_OF_MPLS_TC"},
	FieldMPLSBOS:   {WordMPLS, ShiftLSE + 8, 1, false, false, NeedMPLS, "mpls_bos", "OXM_OF_MPLS_BOS"},
	FieldMPLSTTL:   {WordMPLS, ShiftLSE, 8, true, false, NeedMPLS, "mpls_ttl", "NXM_NX_MPLS_TTL"},
	FieldMetadata:  {WordMetadata, 0, 64, true, true, NeedNothing, "metadata", "OXM_OF_METADATA"},
	FieldTunID:     {WordTunnel, 0, 64, true, true, NeedNothing, "tun_id", "NXM_NX_TUN_ID"},
	FieldPktMark:   {WordMark, ShiftMark, 32, true, true, NeedNothing, "pkt_mark", "NXM_NX_PKT_MARK"},

	FieldInPortOXM:    {WordPort, ShiftInPort, 32, false, false, NeedNothing, "in_port_oxm", "OXM_OF_IN_PORT"},
	FieldActsetOutput: {WordMark, 0, 32, false, false, NeedNothing, "actset_output", "ONFOXM_ET_ACTSET_OUTPUT"},
})

func placesWithRegisters(t [NumFields]Place) [NumFields]Place {
	for id := FieldReg0; id < NumFields; id++ {
		f := &Fields[id]
		p := Place{Word: f.Word, Shift: f.Shift, Bits: f.Width, Writable: true, Maskable: true, Name: f.Name}
		switch {
		case id < FieldXReg0:
			p.NXM = "NXM_NX_REG" + f.Name[len("reg"):]
		case id < FieldXXReg0:
			p.NXM = "OXM_OF_PKT_REG" + f.Name[len("xreg"):]
		default:
			p.NXM = "NXM_NX_XXREG" + f.Name[len("xxreg"):]
		}
		t[id] = p
	}
	return t
}

// ActionField is the field that actions mean by id, since matches know general names that actions do not: 0 and false if
// actions cannot name it.
func ActionField(id FieldID) (FieldID, bool) {
	switch id {
	case FieldTPSrc:
		id = FieldTCPSrc
	case FieldTPDst:
		id = FieldTCPDst
	}
	return id, Places[id].Bits != 0
}

// Subfield is Bits bits of a field from bit Ofs on, counted from its lowest.
type Subfield struct {
	Field FieldID
	Ofs   uint8
	Bits  uint8
}

// Whole is all of a field.
func Whole(id FieldID) Subfield { return Subfield{Field: id, Bits: Places[id].Bits} }

// IsWhole reports whether s is all of its field.
func (s Subfield) IsWhole() bool { return s.Ofs == 0 && s.Bits == Places[s.Field].Bits }

// valid reports whether s lies in a field that actions can name.
func (s Subfield) valid() bool {
	return s.Field < NumFields && s.Bits > 0 && int(s.Ofs)+int(s.Bits) <= int(Places[s.Field].Bits)
}

// keyBits is how many bits of a field a key holds: of arp_op only the low eight, as in Open vSwitch.
func (p *Place) keyBits() int {
	if p.Word == WordL4 && p.Shift == ShiftProto {
		return 8
	}
	return int(p.Bits)
}

// Get reads the field from k.
func (p *Place) Get(k *Key) Value {
	if p.Bits == 128 {
		return Value{k[p.Word], k[p.Word+1]}
	}
	return Value{0, k[p.Word] >> p.Shift}.And(Ones(p.keyBits()))
}

// Spread places value or mask v, which is of the whole field, on the two words of a key from Word on. Only fields of 128
// bits have something in the second.
func (p *Place) Spread(v Value) (first, second uint64) {
	if p.Bits == 128 {
		return v.Hi, v.Lo
	}
	return v.And(Ones(p.keyBits())).Lo << p.Shift, 0
}

// Put writes the bits of mask from value into the field of k.
func (p *Place) Put(k *Key, value, mask Value) {
	m0, m1 := p.Spread(mask)
	v0, v1 := p.Spread(value)
	k[p.Word] = k[p.Word]&^m0 | v0&m0
	if p.Bits == 128 {
		k[p.Word+1] = k[p.Word+1]&^m1 | v1&m1
	}
}

// AddMask adds the bits of s to k.
func (s Subfield) AddMask(k *Key) {
	p := &Places[s.Field]
	m0, m1 := p.Spread(Ones(int(s.Bits)).Shl(int(s.Ofs)))
	k[p.Word] |= m0
	if p.Bits == 128 {
		k[p.Word+1] |= m1
	}
}

// Get reads the subfield from k.
func (s Subfield) Get(k *Key) Value {
	return Places[s.Field].Get(k).Shr(int(s.Ofs)).And(Ones(int(s.Bits)))
}
