package lan

import "fmt"

// DMA is host memory as the device reaches it: by bus address, through whatever the host mapped. Both methods move
// all of p or fail.
type DMA interface {
	Read(addr uint64, p []byte) error
	Write(addr uint64, p []byte) error
}

// Reporter hears what a driver did wrong.
type Reporter interface {
	// Violation is a breach of the datasheet that the silicon would let pass or answer with garbage.
	Violation(format string, args ...any)
	// Malicious is a breach for which the silicon stops the queue and raises a malicious-driver event. The queue
	// processes nothing afterwards; the owner publishes the event (GL_MDET_TX, GL_MDET_RX).
	Malicious(queue int, tx bool, event Event)
}

// Event is a malicious-driver event. The numbers go into the EVENT field of GL_MDET_TX and GL_MDET_RX; no public driver
// interprets them, so that the order here is the model's own.
type Event uint8

const (
	EventNone Event = iota
	// EventDescriptorType: a descriptor type that does not exist or does not belong where it stands.
	EventDescriptorType
	// EventTail: the tail was set past the end of the ring.
	EventTail
	// EventDescriptorFetch: the ring, or a part of it, is not mapped for the device.
	EventDescriptorFetch
	// EventZeroLength: a data descriptor without data.
	EventZeroLength
	// EventShortPacket: a packet below 17 bytes.
	EventShortPacket
	// EventLongPacket: a packet above 9728 bytes, or a segment above it after segmentation.
	EventLongPacket
	// EventBuffers: more than 8 buffers for one packet on the wire.
	EventBuffers
	// EventHeaderLength: header lengths that do not fit the packet or each other.
	EventHeaderLength
	// EventMSS: segmentation with an MSS outside its range.
	EventMSS
	// EventTSOLength: a TSO length that is zero or differs from the payload given.
	EventTSOLength
	// EventOffload: a combination of offloads that does not exist.
	EventOffload
	// EventContext: more context descriptors than a packet may have, or one in the middle of a packet.
	EventContext
	// EventBuffer: a data buffer that is not mapped for the device.
	EventBuffer
	// EventVLAN: the switch's VSI rules forbid what the descriptor asks of the packet's tags.
	EventVLAN
	// EventSource: the packet's source address is not one that the VSI may send from.
	EventSource
)

// eventNames are in the order of the constants.
var eventNames = [...]string{
	EventNone:            "no event",
	EventDescriptorType:  "wrong descriptor type",
	EventTail:            "tail outside the ring",
	EventDescriptorFetch: "descriptor cannot be read",
	EventZeroLength:      "zero-length buffer",
	EventShortPacket:     "packet too short",
	EventLongPacket:      "packet too long",
	EventBuffers:         "too many buffers for one packet",
	EventHeaderLength:    "header lengths do not fit the packet",
	EventMSS:             "MSS out of range",
	EventTSOLength:       "TSO length differs from the payload",
	EventOffload:         "impossible combination of offloads",
	EventContext:         "misplaced context descriptor",
	EventBuffer:          "buffer cannot be reached",
	EventVLAN:            "VLAN tag not allowed for the VSI",
	EventSource:          "source address not allowed for the VSI",
}

// String says the event in words.
func (e Event) String() string {
	if int(e) < len(eventNames) {
		return eventNames[e]
	}
	return fmt.Sprintf("event %d", uint8(e))
}

// Limits of the LAN engine.
const (
	// MaxFrame is the longest frame in bytes, CRC included (XL710 datasheet, "Jumbo frames").
	MaxFrame = 9728
	// MinPacket is the shortest packet in bytes that a transmit queue takes; the MAC pads it to 60.
	MinPacket = 17
	// MaxBuffers is how many data descriptors one packet on the wire may be gathered from.
	MaxBuffers = 8
	// MaxChain is how many receive buffers one frame may fill.
	MaxChain = 5
	// MaxMSS is the largest MSS in bytes that segmentation takes.
	MaxMSS = 9674
	// DefaultMinMSS is the smallest MSS at reset (REG_MSS); Linux lowers it to 64.
	DefaultMinMSS = 256
	// LeastMSS is what REG_MSS cannot go below. Model: what Linux asks for is the least that is known to work, and with
	// none a packet of 256 KB would become as many frames, or, of no bytes each, frames without end.
	LeastMSS = 64
	// CRCLen is the Ethernet frame check sequence in bytes. Frames in this package do not carry it.
	CRCLen = 4
)

// Unit of descriptor write-back in bytes.
const lineLen = 128
