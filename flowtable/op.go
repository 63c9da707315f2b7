package flowtable

// OpKind says what an Op does.
type OpKind uint8

// The ops. Those that output do so with the packet as the ops before them made it. Those that set a field change the
// bits of Mask to those of B, which lie where they do in the field's own value, and B has no others; the packet is of the
// kind that has the field, as far as its header window tells, and checksums that cover the field are brought up to date.
const (
	OpOutput OpKind = iota // to port A; the executor skips it when A is the batch's InPort (OpenFlow 1.3 §5.12)
	OpInPort               // to the port of arrival
	OpFlood                // to all ports but the port of arrival that are not excluded from flooding
	OpAll                  // to all ports but the port of arrival
	OpNormal               // by MAC learning
	OpLocal                // to the bridge's own port

	OpPushVLAN   // push a tag with TPID A, VLAN id 0, priority 0
	OpPopVLAN    // remove the outer tag; the packet has one
	OpSetVLANVID // VLAN id of the outer tag := A; the packet has a tag
	OpSetVLANPCP // priority of the outer tag := A; the packet has a tag
	OpPushMPLS   // push the label stack entry B behind the tags; the EtherType becomes A
	OpPopMPLS    // remove the top label stack entry; the EtherType becomes A

	OpSetEthSrc    // 48 bits
	OpSetEthDst    // 48 bits
	OpSetIPv4Src   // 32 bits
	OpSetIPv4Dst   // 32 bits
	OpSetIPv6SrcHi // the first 64 bits of the address
	OpSetIPv6SrcLo // the last 64 bits
	OpSetIPv6DstHi
	OpSetIPv6DstLo
	OpSetIPv6Label // 20 bits
	OpSetTOS       // the whole byte, DSCP and ECN, of IPv4 and IPv6
	OpSetTTL       // TTL or hop limit
	OpSetTPSrc     // port of TCP, UDP or SCTP; ICMP type (8 bits)
	OpSetTPDst     // port of TCP, UDP or SCTP; ICMP code (8 bits)
	OpSetARPOp     // 16 bits
	OpSetARPSPA    // 32 bits
	OpSetARPTPA    // 32 bits
	OpSetARPSHA    // 48 bits
	OpSetARPTHA    // 48 bits
	OpSetNDTargetHi
	OpSetNDTargetLo
	OpSetNDSLL // the source link-layer address option, if the packet has one
	OpSetNDTLL // the target link-layer address option, if the packet has one
	OpSetMPLS  // the top label stack entry, 32 bits: label 20, traffic class 3, bottom of stack 1, TTL 8

	OpSave    // remember the packet as it is: the ops up to the matching OpRestore work on a copy
	OpRestore // go on with the packet as it was at the matching OpSave
	OpMeter   // pass Lookup.Meter(A), or end here with packet.DropMeter
	OpDrop    // A is the packet.DropReason; always alone

	// OpSetInPort: to the ops from here on, port A is the port of arrival, for OpInPort as well, even if there is no such
	// port. OpRestore takes this back as well.
	OpSetInPort
)

// MaxSaves is how many packets a program remembers at once.
const MaxSaves = 64

// Op is one step of a program: what to do with a packet. A program that forwards nothing is one OpDrop; no program ends
// with an edit that no output follows.
type Op struct {
	Kind OpKind
	A    uint32
	B    uint64
	Mask uint64 // of ops that set a field: which bits of B count
}

// output reports whether o sends the packet somewhere.
func (o *Op) output() bool { return o.Kind <= OpLocal }

// edits reports whether o changes what the ops behind it do.
func (o *Op) edits() bool { return o.Kind > OpLocal && o.Kind < OpSave || o.Kind == OpSetInPort }
