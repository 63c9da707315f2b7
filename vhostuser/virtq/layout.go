package virtq

// Descriptor flags (virtio 1.3 §2.7.5).
const (
	descNext     = 1 << 0 // the chain goes on at next
	descWrite    = 1 << 1 // the device writes, else it reads
	descIndirect = 1 << 2 // the buffer is a table of descriptors
)

// What driver and device say of interrupts and kicks: 1 is that none are wanted, in a split ring in the first bit of the
// flags (virtio 1.3 §2.7.7 and §2.7.10), in a packed ring as a number of two bits (§2.8.14).
const (
	quiet            = 1
	availNoInterrupt = 1 << 0
	eventFlagsMask   = 3
)

// Sizes of the ring's parts in bytes (virtio 1.3 §2.7).
const (
	descSize     = 16
	ringHeader   = 4 // flags and idx, in front of both rings
	availElem    = 2
	usedElemSize = 8

	// MaxSize is the largest ring, split (virtio 1.3 §2.7) or packed (§2.8).
	MaxSize = 32768

	// EventBytes is the size of a packed ring's driver area and of its device area (virtio 1.3 §2.8.10.1).
	EventBytes = 4
)

// Lengths of struct virtio_net_hdr in front of each frame (virtio 1.3 §5.1.6): without and with num_buffers.
const (
	HeaderLegacy    = 10
	HeaderMergeable = 12
)

// SizeRule says what sizes a ring can have.
func SizeRule(packed bool) string {
	if packed {
		return "from 1 to 32768"
	}
	return "a power of two from 1 to 32768"
}

// DescBytes is the size of a descriptor table, or of a packed ring's descriptors.
func DescBytes(size uint32) uint64 { return descSize * uint64(size) }

// AvailBytes is the size of an available ring, without the event index that follows it with EVENT_IDX (virtio 1.3 §2.7).
func AvailBytes(size uint32) uint64 { return ringHeader + availElem*uint64(size) }

// UsedBytes is the size of a used ring, without the event index that follows it with EVENT_IDX.
func UsedBytes(size uint32) uint64 { return ringHeader + usedElemSize*uint64(size) }
