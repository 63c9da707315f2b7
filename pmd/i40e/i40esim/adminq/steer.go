package adminq

// Header is what the switch looks at in a frame. The device fills in what it has parsed.
type Header struct {
	Dst, Src  MAC
	Tagged    bool   // there is a VLAN tag that the port takes as one
	TCI       uint16 // its priority and VLAN, if Tagged
	EtherType uint16 // after the tag
	Tunnel    *Tunnel
	L3        *L3
	Target    *Target // of a frame that a VSI sends: where its transmit context descriptor (field SWTCH) directs it
}

// VLAN is the VLAN that filters compare: 0 for an untagged frame.
func (h *Header) VLAN() uint16 {
	if !h.Tagged {
		return 0
	}
	return h.TCI & vlanMask
}

const vlanMask = 0xFFF

// Tunnel is the inside of an encapsulated frame, for cloud filters.
type Tunnel struct {
	Kind      TunnelKind
	ID        uint32 // VNI, TNI
	InnerDst  MAC
	InnerVLAN uint16
	Inner     *L3
}

// TunnelKind is a tunnel as cloud filters number them.
type TunnelKind uint8

// Tunnels (datasheet, "Add Cloud Filter").
const (
	TunnelVXLAN    TunnelKind = 0
	TunnelNVGRE    TunnelKind = 1
	TunnelGeneve   TunnelKind = 2
	TunnelIP       TunnelKind = 3
	TunnelVXLANGPE TunnelKind = 5
)

// L3 is what filters compare of IP and the layer above.
type L3 struct {
	IPv6             bool
	Dst              [16]byte // an IPv4 address in the last four bytes
	Protocol         uint8
	SrcPort, DstPort uint16
}

// Target is the destination that a driver names in a transmit context descriptor (field SWTCH): to the uplink alone, or
// to a VSI alone.
type Target struct {
	Uplink bool
	VSI    uint16
}

// Delivery is one VSI's copy of a frame.
type Delivery struct {
	VSI *VSI
	// Queue is the VSI's queue that a filter names, -1 when RSS and traffic class decide.
	Queue int
	// Why says which kind of filter accepted the frame.
	Why Match
	// Loopback says that the frame did not come from the wire (the LPBK bit of a receive descriptor).
	Loopback bool
}

// Match is a reason to give a frame to a VSI.
type Match uint8

// The reasons.
const (
	MatchMAC     Match = iota // MAC or MAC and VLAN, perfect
	MatchHash                 // the same by hash
	MatchPromisc              // promiscuous unicast, multicast or broadcast
	MatchDefault              // the default VSI takes what nobody else does
	MatchControl              // control packet filter
	MatchCloud                // cloud filter
	MatchMirror               // mirror rule
	MatchTarget               // named by the transmit descriptor
)

var matchNames = [...]string{"mac", "hash", "promiscuous", "default", "control", "cloud", "mirror", "target"}

func (m Match) String() string { return matchNames[m] }

// DropReason says why a frame goes nowhere, or not to the wire.
type DropReason uint8

// The reasons.
const (
	NotDropped    DropReason = iota
	DropNoFilter             // nobody wants it
	DropControl              // a control packet filter says so
	DropSpoofMAC             // the sender may not use this source address
	DropSpoofVLAN            // nor this VLAN
	DropTagMode              // the VSI's port VLAN mode refuses it tagged or untagged
	DropOverride             // the sender may not name a destination
	DropLLDP                 // taken by the firmware's LLDP agent
	DropNoVSI                // the sender does not exist
)

var dropNames = [...]string{
	"not dropped", "no filter accepts it", "control packet filter", "MAC anti-spoof", "VLAN anti-spoof",
	"tagging not allowed", "destination override not allowed", "taken by the LLDP agent", "no such VSI",
}

func (d DropReason) String() string { return dropNames[d] }

// Verdict is where a frame goes.
type Verdict struct {
	Wire bool // out of the port
	To   []Delivery
	Drop DropReason // set when neither
}
