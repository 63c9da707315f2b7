package vfiouser

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// command is a message's kind (specification, "Commands").
type command uint16

const (
	cmdVersion         command = 1
	cmdDMAMap          command = 2
	cmdDMAUnmap        command = 3
	cmdGetInfo         command = 4
	cmdGetRegionInfo   command = 5
	cmdGetRegionIOFDs  command = 6
	cmdGetIRQInfo      command = 7
	cmdSetIRQs         command = 8
	cmdRegionRead      command = 9
	cmdRegionWrite     command = 10
	cmdDMARead         command = 11
	cmdDMAWrite        command = 12
	cmdReset           command = 13
	cmdRegionWriteMany command = 15
	cmdFeature         command = 16
	cmdMigrationRead   command = 17
	cmdMigrationWrite  command = 18
)

var commandNames = map[command]string{
	cmdVersion: "VERSION", cmdDMAMap: "DMA_MAP", cmdDMAUnmap: "DMA_UNMAP", cmdGetInfo: "DEVICE_GET_INFO",
	cmdGetRegionInfo: "DEVICE_GET_REGION_INFO", cmdGetRegionIOFDs: "DEVICE_GET_REGION_IO_FDS",
	cmdGetIRQInfo: "DEVICE_GET_IRQ_INFO", cmdSetIRQs: "DEVICE_SET_IRQS", cmdRegionRead: "REGION_READ",
	cmdRegionWrite: "REGION_WRITE", cmdDMARead: "DMA_READ", cmdDMAWrite: "DMA_WRITE", cmdReset: "DEVICE_RESET",
	cmdRegionWriteMany: "REGION_WRITE_MULTI", cmdFeature: "DEVICE_FEATURE", cmdMigrationRead: "MIG_DATA_READ",
	cmdMigrationWrite: "MIG_DATA_WRITE",
}

func (c command) String() string {
	if name, known := commandNames[c]; known {
		return name
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// Sizes in bytes of the fixed parts of messages (specification, "Protocol Specification").
const (
	headerSize      = 16
	versionSize     = 4
	mapSize         = 32
	unmapSize       = 24
	deviceInfoSize  = 16
	regionInfoSize  = 32
	capHeaderSize   = 8
	sparseSize      = capHeaderSize + 8 // and sparseAreaSize for each area
	sparseAreaSize  = 16
	regionIOSize    = 16
	ioFDSize        = 40
	irqInfoSize     = 16
	irqSetSize      = 20
	accessSize      = 16 // REGION_READ, REGION_WRITE, DMA_READ and DMA_WRITE alike
	writeManySize   = 8
	writeSingleSize = 24
)

// Bits of a header's flags.
const (
	flagTypeMask  = 0xf
	flagReply     = 0x1
	flagNoReply   = 1 << 4
	flagError     = 1 << 5
	maxPlainBody  = 64 << 10 // what any message may have behind its header that carries no region's or memory's data
	maxRegions    = 1 << 10  // how many regions or kinds of interrupt a client believes in
	defaultXfer   = 1 << 20  // max_data_xfer_size when a side does not say
	maxXfer       = 16 << 20 // how much of the other side's offer is believed
	ourMaxFDs     = 16       // max_msg_fds; qemu (hw/vfio-user/proxy.c) calls more than 16 malformed
	ourPageSizes  = 4096     // pgsizes; qemu takes no other
	ourMaxDMAMaps = 32768    // max_dma_maps: half of what vm.max_map_count leaves by default
)

// header begins every message, little-endian as all hosts we build for are.
type header struct {
	id    uint16
	cmd   command
	size  uint32 // of the whole message
	flags uint32
	errno uint32
}

func (h header) reply() bool { return h.flags&flagTypeMask == flagReply }

func (h header) put(b []byte) {
	binary.LittleEndian.PutUint16(b[0:], h.id)
	binary.LittleEndian.PutUint16(b[2:], uint16(h.cmd))
	binary.LittleEndian.PutUint32(b[4:], h.size)
	binary.LittleEndian.PutUint32(b[8:], h.flags)
	binary.LittleEndian.PutUint32(b[12:], h.errno)
}

// parseHeader reads the first headerSize bytes of b. xfer is the most data that a message may carry.
func parseHeader(b []byte, xfer uint32) (header, error) {
	h := header{
		id: le16(b[0:]), cmd: command(le16(b[2:])), size: le32(b[4:]), flags: le32(b[8:]), errno: le32(b[12:]),
	}
	limit := uint32(headerSize + maxPlainBody)
	switch h.cmd {
	case cmdRegionRead, cmdRegionWrite, cmdDMARead, cmdDMAWrite:
		limit = max(limit, headerSize+accessSize+xfer)
	}
	switch {
	case h.size < headerSize:
		return h, protocolf("%s: a message of %d bytes is shorter than its header", h.cmd, h.size)
	case h.size > limit:
		return h, protocolf("%s: a message of %d bytes, at most %d are allowed", h.cmd, h.size, limit)
	case h.flags&flagTypeMask > flagReply:
		return h, protocolf("%s: message type %d", h.cmd, h.flags&flagTypeMask)
	}
	return h, nil
}

// message is one that came in. Descriptors that its handler took are no longer in fds; whoever finishes the message
// closes the rest.
type message struct {
	header
	body []byte
	fds  []int
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// words lays little-endian numbers of 32 and 64 bits one after the other.
func words(ns ...any) []byte {
	var b []byte
	for _, n := range ns {
		switch n := n.(type) {
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, n)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	return b
}

// need makes sure that a message has n bytes behind its header.
func need(m *message, n int) error {
	if len(m.body) < n {
		return refuse(unix.EINVAL, "%s: %d bytes behind the header, %d are needed", m.cmd, len(m.body), n)
	}
	return nil
}

// needArgs is need for commands that begin with argsz, which must cover those n bytes too.
func needArgs(m *message, n int) error {
	if err := need(m, n); err != nil {
		return err
	}
	if argsz := le32(m.body); argsz < uint32(n) {
		return refuse(unix.EINVAL, "%s: argsz is %d, %d are needed", m.cmd, argsz, n)
	}
	return nil
}

// access is the fixed part of REGION_READ and REGION_WRITE.
type access struct {
	offset uint64
	region uint32
	count  uint32
}

func parseAccess(b []byte) access { return access{le64(b), le32(b[8:]), le32(b[12:])} }

func (a access) bytes() []byte { return words(a.offset, a.region, a.count) }

// irqSet is the fixed part of DEVICE_SET_IRQS.
type irqSet struct {
	flags, index, start, count uint32
}

// Bits of irqSet.flags: of the first three one, of the others one.
const (
	irqDataNone      = 1 << 0
	irqDataBool      = 1 << 1
	irqDataEventFD   = 1 << 2
	irqActionMask    = 1 << 3
	irqActionUnmask  = 1 << 4
	irqActionTrigger = 1 << 5
	irqData          = irqDataNone | irqDataBool | irqDataEventFD
	irqAction        = irqActionMask | irqActionUnmask | irqActionTrigger
)

// unmapAll is VFIO_DMA_UNMAP_FLAG_ALL of linux/vfio.h, which qemu sends when a virtual IOMMU goes.
const unmapAll = 1 << 1

// Bits of a region's flags beside RegionRead and RegionWrite.
const (
	regionFlagMmap = 1 << 2
	regionFlagCaps = 1 << 3
	capSparseMmap  = 1 // VFIO_REGION_INFO_CAP_SPARSE_MMAP
	deviceReset    = 1 << 0
	devicePCI      = 1 << 1
	dmaReadable    = 1 << 0
	dmaWriteable   = 1 << 1
)
