package flow

// The parts of a key that prerequisites are about.
const (
	maskEthType = uint64(0xffff) << ShiftEthType
	maskProto   = uint64(0xff) << ShiftProto
	maskLater   = uint64(FragLater) << ShiftFrag
	maskTPSrc   = uint64(0xffff) << ShiftTPSrc
	maskTPDst   = uint64(0xffff)
)

// EthType is the EtherType behind the tags.
func (k *Key) EthType() uint16 { return uint16(k[WordPort] >> ShiftEthType) }

// SetEthType changes it.
func (k *Key) SetEthType(t uint16) {
	k[WordPort] = k[WordPort]&^maskEthType | uint64(t)<<ShiftEthType
}

// Proto is the IP protocol, or the ARP operation; 0 as well when the header was cut short.
func (k *Key) Proto() uint8 { return uint8(k[WordL4] >> ShiftProto) }

// IsIP reports whether the EtherType is IPv4 or IPv6.
func (k *Key) IsIP() bool { t := k.EthType(); return t == EthIPv4 || t == EthIPv6 }

// IsMPLS reports whether the EtherType is one of MPLS.
func (k *Key) IsMPLS() bool { return IsMPLS(k.EthType()) }

// IsMPLS reports whether t is an EtherType of MPLS (RFC 3032, RFC 5332).
func IsMPLS(t uint16) bool { return t == EthMPLS || t == EthMPLSMC }

// isTransport reports whether k is of a packet with the header of an IP protocol: not of a later fragment.
func (k *Key) isTransport(proto uint8) bool {
	return k.IsIP() && k.Proto() == proto && k[WordL4]&maskLater == 0
}

// isND reports whether k is neighbour discovery: a solicitation or an advertisement (RFC 4861 §4.3, §4.4).
func (k *Key) isND(kind uint64) bool {
	l4 := k[WordL4]
	return k.EthType() == EthIPv6 && k.isTransport(ProtoICMP6) && l4&maskTPDst == 0 && l4&maskTPSrc>>ShiftTPSrc == kind
}

// Met reports whether a packet with key k is what n demands.
func (n Need) Met(k *Key) bool {
	switch n {
	case NeedTag:
		return k.OuterTag()&VLANPresent != 0
	case NeedARP:
		t := k.EthType()
		return t == EthARP || t == EthRARP
	case NeedIPv4:
		return k.EthType() == EthIPv4
	case NeedIPv6:
		return k.EthType() == EthIPv6
	case NeedIP:
		return k.IsIP()
	case NeedMPLS:
		return k.IsMPLS()
	case NeedTCP:
		return k.isTransport(ProtoTCP)
	case NeedUDP:
		return k.isTransport(ProtoUDP)
	case NeedSCTP:
		return k.isTransport(ProtoSCTP)
	case NeedICMP:
		return k.EthType() == EthIPv4 && k.isTransport(ProtoICMP)
	case NeedICMP6:
		return k.EthType() == EthIPv6 && k.isTransport(ProtoICMP6)
	case NeedND:
		return k.isND(ndSolicit) || k.isND(ndAdvert)
	case NeedNDSolicit:
		return k.isND(ndSolicit)
	case NeedNDAdvert:
		return k.isND(ndAdvert)
	}
	return true
}

// AddMask adds to k what Met looks at.
func (n Need) AddMask(k *Key) {
	switch n {
	case NeedNothing:
	case NeedTag:
		k[WordPort] |= VLANPresent
	case NeedARP, NeedIPv4, NeedIPv6, NeedIP, NeedMPLS:
		k[WordPort] |= maskEthType
	case NeedND, NeedNDSolicit, NeedNDAdvert:
		k[WordPort] |= maskEthType
		k[WordL4] |= maskProto | maskLater | maskTPSrc | maskTPDst
	default:
		k[WordPort] |= maskEthType
		k[WordL4] |= maskProto | maskLater
	}
}
