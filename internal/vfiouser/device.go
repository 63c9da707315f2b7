package vfiouser

import "os"

// Indexes of a PCI device's regions (linux/vfio.h, VFIO_PCI_*_REGION_INDEX).
const (
	RegionBAR0   = 0
	RegionBAR1   = 1
	RegionBAR2   = 2
	RegionBAR3   = 3
	RegionBAR4   = 4
	RegionBAR5   = 5
	RegionROM    = 6
	RegionConfig = 7
	RegionVGA    = 8

	pciRegions = 9 // how many a PCI device has at least, absent ones counted
)

// Indexes of a PCI device's kinds of interrupt (linux/vfio.h, VFIO_PCI_*_IRQ_INDEX).
const (
	IRQINTx    = 0
	IRQMSI     = 1
	IRQMSIX    = 2
	IRQError   = 3 // an uncorrectable error (AER)
	IRQRequest = 4 // the device asks to be given back

	pciIRQs = 5
)

// RegionFlags say what a client may do with a region (struct vfio_region_info). Mapping is not among them: it follows
// from File.
type RegionFlags uint32

// What a client may do with a region.
const (
	RegionRead  RegionFlags = 1 << 0
	RegionWrite RegionFlags = 1 << 1
)

// IRQFlags are attributes of a kind of interrupt (struct vfio_irq_info).
type IRQFlags uint32

// Attributes of a kind of interrupt.
const (
	IRQEventFD    IRQFlags = 1 << 0 // signalled by an event descriptor
	IRQMaskable   IRQFlags = 1 << 1 // takes the actions mask and unmask
	IRQAutoMasked IRQFlags = 1 << 2 // masks itself when it is triggered
	IRQNoResize   IRQFlags = 1 << 3 // vectors cannot be added without disabling all first
)

// DeviceInfo describes a device. It stays the same as long as the device is served.
type DeviceInfo struct {
	// Regions in any order, absent ones left out. An index beyond RegionVGA is a device-specific region.
	Regions []RegionInfo
	// IRQs in any order, absent kinds left out.
	IRQs []IRQInfo
	// Reset says that the device can be reset (VFIO_DEVICE_FLAGS_RESET).
	Reset bool
}

// RegionInfo describes one region of a device.
type RegionInfo struct {
	Index int
	Size  uint64 // bytes
	Flags RegionFlags
	// File is shared memory that a client may map instead of sending reads and writes; nil without. The server only
	// passes it on; it stays the device's to close. What Client.RegionInfo returns is the caller's to close.
	File *os.File
	// FileOffset is the place of the region's first byte in File.
	FileOffset uint64
	// Mmap are the parts of the region that may be mapped, by whole pages; all of it when empty and File is set.
	Mmap []SparseArea
	// IOFDs are descriptors that stand for accesses to parts of the region.
	IOFDs []IOFD
}

// SparseArea is a part of a region that may be mapped: bytes Offset to Offset+Size.
type SparseArea struct{ Offset, Size uint64 }

// Kinds of IOFD.
const (
	IOEventFD  = 0 // KVM_IOEVENTFD: signalled on a write
	IORegionFD = 1 // ioregionfd: accesses come as messages
)

// IOFD stands for the accesses to bytes Offset to Offset+Size of a region: a client's hypervisor can be told to use it
// instead of sending messages (VFIO_USER_DEVICE_GET_REGION_IO_FDS).
type IOFD struct {
	Offset, Size uint64
	Kind         uint32 // IOEventFD or IORegionFD
	Flags        uint32 // those of KVM for the kind
	Data         uint64 // datamatch of an IOEventFD, user data of an IORegionFD
	File         *os.File
}

// IRQInfo describes one kind of interrupt.
type IRQInfo struct {
	Index int
	Count int // vectors
	Flags IRQFlags
}

// Device is what a server serves.
//
// Concurrency: a server calls one method at a time, from one goroutine, without a lock of its own held, so that a
// device may call its Session from any goroutine with the device's lock held.
//
// An error that is or wraps a syscall.Errno is sent to the client as that; any other as EIO.
type Device interface {
	// Info describes the device. It is asked once for each client.
	Info() DeviceInfo

	// Attach says that a client has connected, after Reset. The session is good until Detach has returned.
	Attach(s *Session)
	// Detach says that the client is gone. All its mappings are still there, and gone once it returns.
	Detach()

	// ReadRegion fills p from a region's offset. Both lie inside the region, which is readable. Length and alignment
	// are the client's choice: a 64-bit access comes as 8 bytes. p may be empty.
	ReadRegion(index int, offset uint64, p []byte) error
	// WriteRegion writes p to a region's offset. It borrows p.
	WriteRegion(index int, offset uint64, p []byte) error

	// SetIRQs says what the client has done to interrupt vectors. The session has already done it.
	SetIRQs(set IRQSet)

	// Mapped says that the client has made memory available, Unmapped that it is about to go: accesses still work,
	// and none is running or succeeds any more once the client has its answer.
	Mapped(m Mapping)
	Unmapped(m Mapping)

	// Reset brings the device into the state of power-on. It comes before each client's Attach too, when Info says
	// that the device can be reset. Vectors and mappings stay.
	Reset() error
}

// IRQAction is what a client does to interrupt vectors.
type IRQAction uint8

// What a client does to interrupt vectors.
const (
	IRQAssign   IRQAction = iota // gives descriptors to be signalled when the vectors are triggered
	IRQDeassign                  // takes them away
	IRQTrigger                   // triggers the vectors itself
	IRQMask
	IRQUnmask
)

// String names the action.
func (a IRQAction) String() string {
	return [...]string{"assign", "de-assign", "trigger", "mask", "unmask"}[a]
}

// IRQSet is what a client did to the vectors Start to Start+Count of the kind Index.
type IRQSet struct {
	Action IRQAction
	Index  int
	Start  int
	Count  int
	// Chosen says of each vector whether it is meant; nil means all.
	Chosen []bool
}

// Mapping is a range of a client's memory that the device may access.
type Mapping struct {
	IOVA, Size          uint64
	Readable, Writeable bool
	// Shared is false for memory that came without a descriptor: each access is a message to the client.
	Shared bool
}
