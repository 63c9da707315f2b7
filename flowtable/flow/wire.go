package flow

import "strconv"

// Wire is a field as actions and conditions of the form FIELD[START..END] see it: a number of Bits bits, which may be
// fewer than a condition on the whole field looks at (16 of in_port), or more than a key keeps (16 of arp_op).
type Wire struct {
	// OXM are the field's names in NXM and OXM (ovs-fields(7)), the first for printing. Without one it has no parts.
	OXM []string
	// Bits is how wide the field is and Low where its lowest bit lies in Field.Word; of 128 bits the first word has the
	// high half.
	Bits, Low uint8
	// ReadOnly: actions read it and do not change it.
	ReadOnly bool
}

// Wires is the table of fields as actions see them, by FieldID. Rows without OXM names are fields that exist for
// conditions alone.
var Wires = withRegisterWires([NumFields]Wire{
	FieldInPort:       {[]string{"NXM_OF_IN_PORT"}, 16, ShiftInPort, false},
	FieldInPortOXM:    {[]string{"OXM_OF_IN_PORT"}, 32, ShiftInPort, false},
	FieldEthSrc:       {[]string{"NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"}, 48, ShiftEth, false},
	FieldEthDst:       {[]string{"NXM_OF_ETH_DST", "OXM_OF_ETH_DST"}, 48, ShiftEth, false},
	FieldEthType:      {[]string{"NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"}, 16, ShiftEthType, true},
	FieldVLANTCI:      {[]string{"NXM_OF_VLAN_TCI"}, 16, 0, false},
	FieldVLANVID:      {[]string{"OXM_OF_VLAN_VID"}, 12, 0, false},
	FieldVLANPCP:      {[]string{"OXM_OF_VLAN_PCP"}, 3, VLANPCPLow, false},
	FieldIPSrc:        {[]string{"NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"}, 32, ShiftIPSrc, false},
	FieldIPDst:        {[]string{"NXM_OF_IP_DST", "OXM_OF_IPV4_DST"}, 32, 0, false},
	FieldIPv6Src:      {[]string{"NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"}, 128, 0, false},
	FieldIPv6Dst:      {[]string{"NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"}, 128, 0, false},
	FieldIPv6Label:    {[]string{"NXM_NX_IPV6_LABEL", "OXM_OF_IPV6_FLABEL"}, 20, 0, false},
	FieldIPProto:      {[]string{"NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"}, 8, ShiftProto, true},
	FieldTOS:          {[]string{"NXM_OF_IP_TOS"}, 8, ShiftTOS, false},
	FieldDSCP:         {[]string{"OXM_OF_IP_DSCP"}, 6, ShiftTOS + 2, false},
	FieldECN:          {[]string{"NXM_NX_IP_ECN", "OXM_OF_IP_ECN"}, 2, ShiftTOS, false},
	FieldTTL:          {[]string{"NXM_NX_IP_TTL"}, 8, ShiftTTL, false},
	FieldFrag:         {[]string{"NXM_NX_IP_FRAG"}, 2, ShiftFrag, true},
	FieldTPSrc:        {[]string{"NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"}, 16, ShiftTPSrc, false},
	FieldTPDst:        {[]string{"NXM_OF_TCP_DST", "OXM_OF_TCP_DST"}, 16, 0, false},
	FieldTCPSrc:       {[]string{"NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"}, 16, ShiftTPSrc, false},
	FieldTCPDst:       {[]string{"NXM_OF_TCP_DST", "OXM_OF_TCP_DST"}, 16, 0, false},
	FieldUDPSrc:       {[]string{"NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"}, 16, ShiftTPSrc, false},
	FieldUDPDst:       {[]string{"NXM_OF_UDP_DST", "OXM_OF_UDP_DST"}, 16, 0, false},
	FieldSCTPSrc:      {[]string{"OXM_OF_SCTP_SRC"}, 16, ShiftTPSrc, false},
	FieldSCTPDst:      {[]string{"OXM_OF_SCTP_DST"}, 16, 0, false},
	FieldTCPFlags:     {[]string{"NXM_NX_TCP_FLAGS", "OXM_OF_TCP_FLAGS"}, 12, 0, true},
	FieldICMPType:     {[]string{"NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"}, 8, ShiftTPSrc, false},
	FieldICMPCode:     {[]string{"NXM_OF_ICMP_CODE", "OXM_OF_ICMPV4_CODE"}, 8, 0, false},
	FieldICMP6Type:    {[]string{"NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"}, 8, ShiftTPSrc, false},
	FieldICMP6Code:    {[]string{"NXM_NX_ICMPV6_CODE", "OXM_OF_ICMPV6_CODE"}, 8, 0, false},
	FieldARPOp:        {[]string{"NXM_OF_ARP_OP", "OXM_OF_ARP_OP"}, 16, ShiftProto, false},
	FieldARPSPA:       {[]string{"NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"}, 32, ShiftIPSrc, false},
	FieldARPTPA:       {[]string{"NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"}, 32, 0, false},
	FieldARPSHA:       {[]string{"NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"}, 48, ShiftEth, false},
	FieldARPTHA:       {[]string{"NXM_NX_ARP_THA", "OXM_OF_ARP_THA"}, 48, ShiftEth, false},
	FieldNDTarget:     {[]string{"NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"}, 128, 0, false},
	FieldNDSLL:        {[]string{"NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"}, 48, ShiftEth, false},
	FieldNDTLL:        {[]string{"NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"}, 48, ShiftEth, false},
	FieldMPLSLabel:    {[]string{"OXM_OF_MPLS_LABEL"}, 20, ShiftLSE + 12, false},
	FieldMPLSTC:       {[]string{"OXM_OF_MPLS_TC"}, 3, ShiftLSE + 9, false},
	FieldMPLSBOS:      {[]string{"OXM_OF_MPLS_BOS"}, 1, ShiftLSE + 8, true},
	FieldMPLSTTL:      {[]string{"NXM_NX_MPLS_TTL"}, 8, ShiftLSE, false},
	FieldMetadata:     {[]string{"OXM_OF_METADATA"}, 64, 0, false},
	FieldTunID:        {[]string{"NXM_NX_TUN_ID", "OXM_OF_TUNNEL_ID"}, 64, 0, false},
	FieldPktMark:      {[]string{"NXM_NX_PKT_MARK"}, 32, ShiftMark, false},
	FieldActsetOutput: {[]string{"OXM_OF_ACTSET_OUTPUT"}, 32, 0, true},
})

// withRegisterWires fills in the rows of the registers.
func withRegisterWires(t [NumFields]Wire) [NumFields]Wire {
	for id := FieldReg0; id < NumFields; id++ {
		f, prefix, first := &Fields[id], "NXM_NX_REG", FieldReg0
		switch f.Width {
		case 64:
			prefix, first = "OXM_OF_PKT_REG", FieldXReg0
		case 128:
			prefix, first = "NXM_NX_XXREG", FieldXXReg0
		}
		t[id] = Wire{OXM: []string{prefix + strconv.Itoa(int(id-first))}, Bits: f.Width, Low: f.Shift}
	}
	return t
}
