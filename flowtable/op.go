package flowtable

// OpKind says what an Op does.
type OpKind uint8

// The ops. Those that output do so with the packet as the ops before them made it.
const (
	OpOutput     OpKind = iota // to port A; the executor skips it when A is the batch's InPort (OpenFlow 1.3 §5.12)
	OpInPort                   // to the port of arrival
	OpFlood                    // to all ports but the port of arrival that are not excluded from flooding
	OpAll                      // to all ports but the port of arrival
	OpNormal                   // by MAC learning
	OpLocal                    // to the bridge's own port
	OpPushVLAN                 // push a tag with TPID A, VLAN id 0, priority 0
	OpPopVLAN                  // remove the outer tag; the packet has one
	OpSetVLANVID               // VLAN id of the outer tag := A; the packet has a tag
	OpSetVLANPCP               // priority of the outer tag := A; the packet has a tag
	OpSetEthSrc                // Ethernet source := the low 48 bits of B
	OpSetEthDst                // Ethernet destination := the low 48 bits of B
	OpDrop                     // A is the packet.DropReason; always alone
)

// Op is one step of a program: what to do with a packet. A program that forwards nothing is one OpDrop; no program ends
// with an edit that no output follows.
type Op struct {
	Kind OpKind
	A    uint32
	B    uint64
}

// output reports whether o sends the packet somewhere.
func (o *Op) output() bool { return o.Kind <= OpLocal }

// MAC is the Ethernet address of OpSetEthSrc and OpSetEthDst.
func (o *Op) MAC() [6]byte {
	return [6]byte{byte(o.B >> 40), byte(o.B >> 32), byte(o.B >> 24), byte(o.B >> 16), byte(o.B >> 8), byte(o.B)}
}
