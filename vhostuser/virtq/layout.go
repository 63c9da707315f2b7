package virtq

// Descriptor flags (virtio 1.3 §2.7.5).
const (
	descNext     = 1 << 0 // the chain goes on at next
	descWrite    = 1 << 1 // the device writes, else it reads
	descIndirect = 1 << 2 // the buffer is a table of descriptors
)

// Ring flags.
const (
	availNoInterrupt = 1 << 0 // the driver polls (virtio 1.3 §2.7.7)
	usedNoNotify     = 1 << 0 // the device polls (virtio 1.3 §2.7.10)
)

// Sizes of the ring's parts in bytes (virtio 1.3 §2.7).
const (
	descSize     = 16
	ringHeader   = 4 // flags and idx, in front of both rings
	availElem    = 2
	usedElemSize = 8

	// MaxSize is the largest ring (virtio 1.3 §2.7: queue size is a power of two of at most 32768).
	MaxSize = 32768
)

// Lengths of struct virtio_net_hdr in front of each frame (virtio 1.3 §5.1.6): without and with num_buffers.
const (
	HeaderLegacy    = 10
	HeaderMergeable = 12
)

// DescBytes, AvailBytes and UsedBytes are the sizes in bytes of the areas of a ring of size descriptors, without the
// event index that follows the rings when EVENT_IDX is negotiated (virtio 1.3 §2.7).

// DescBytes is the size of a descriptor table.
func DescBytes(size uint32) uint64 { return descSize * uint64(size) }

// AvailBytes is the size of an available ring.
func AvailBytes(size uint32) uint64 { return ringHeader + availElem*uint64(size) }

// UsedBytes is the size of a used ring.
func UsedBytes(size uint32) uint64 { return ringHeader + usedElemSize*uint64(size) }
