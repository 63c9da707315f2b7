package vhosttest

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of Config.
const (
	DefaultRingSize = 256
	DefaultMaxFrame = 1518
	DefaultTimeout  = 5 * time.Second

	defaultSlotSize = 2048
	slotGuard       = 64 // bytes before and after each buffer that no device may touch
	lowMemoryGPA    = 0
	highMemoryGPA   = 4 << 30 // where a PC's memory goes on after the hole below 4 GiB
)

// Config describes a guest. The zero value of each field is a sensible default.
type Config struct {
	// Path is the unix socket; Server means that the guest listens and the back end connects. Connect only.
	Path   string
	Server bool
	// Order is how the back end is brought up. Connect only.
	Order Order
	// NeedReply asks for an acknowledgement of every message, if the back end offers REPLY_ACK. Connect only.
	NeedReply bool
	// MTU asks for VIRTIO_NET_F_MTU and tells the back end this value; 0 does neither. MemSlots announces memory region
	// by region (CONFIGURE_MEM_SLOTS). NoProtocol negotiates no protocol features: rings are then enabled from the
	// start. Connect only.
	MTU        int
	MemSlots   bool
	NoProtocol bool
	// Timeout bounds the waiting for the back end, 5 s by default. Connect only.
	Timeout time.Duration

	// QueuePairs is the number of receive and transmit queue pairs, 1 by default. More need MQ.
	QueuePairs int
	// RingSize is the entries of each ring, 256 by default; a power of two unless Packed.
	RingSize int
	// Packed asks for VIRTIO_F_RING_PACKED, whose rings have another format (section 2.8). Not with Legacy.
	Packed bool
	// InOrder asks for VIRTIO_F_IN_ORDER: the device uses buffers in the order in which they were made available, and may
	// tell of a whole batch by its last buffer alone (sections 2.7.9 and 2.8.8). Those before it count as used completely.
	// The driver takes the descriptors of a split ring in ring order, from 0 on. Not with Legacy.
	InOrder bool
	// Mergeable asks for VIRTIO_NET_F_MRG_RXBUF, Indirect for VIRTIO_F_INDIRECT_DESC. Legacy does without
	// VIRTIO_F_VERSION_1: the header is then 10 bytes long, unless Mergeable makes it 12.
	Mergeable, Indirect, Legacy bool

	// MaxFrame is the longest frame expected, 1518 by default; SlotSize the bytes of one piece of buffer memory, 2048
	// by default; Slots how many of them each queue owns, by default enough for a full ring of the layout.
	MaxFrame, SlotSize, Slots int
	// RxBuffer is the length of one receive buffer, header included: by default SlotSize with Mergeable, otherwise a
	// header and MaxFrame.
	RxBuffer int
	// TxLayout and RxLayout spread buffers over descriptors.
	TxLayout, RxLayout Layout

	// Regions is the memory layout; by default half lies at guest address 0 and half at 4 GiB. Huge takes 2 MiB pages.
	Regions []RegionLayout
	Huge    bool
	// FirstIndex is where avail and used indices start, to see them wrap early. With Packed it counts descriptors from
	// the ring's beginning at wrap counters of 1: RingSize+3 is descriptor 3 with wrap counters of 0. OddAvail places the
	// avail ring at 2 modulo 4, and the event suppression structures at 4 modulo 8.
	FirstIndex uint16
	OddAvail   bool
	// Seed drives the random layouts and the order of descriptors, or of buffer ids.
	Seed uint64
	// Verify checks at each completion that the device left alone what is not its own: descriptors, frames being sent,
	// and the memory around buffers. In a packed ring with InOrder, the descriptors of a buffer are the device's
	// until it returns them, all but their addresses. It costs time.
	Verify bool
}

// withDefaults fills the zero fields.
func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.QueuePairs, 1)
	def(&c.RingSize, DefaultRingSize)
	def(&c.MaxFrame, DefaultMaxFrame)
	def(&c.SlotSize, defaultSlotSize)
	if c.Mergeable {
		def(&c.RxBuffer, c.SlotSize)
	}
	def(&c.RxBuffer, c.headerLen()+c.MaxFrame)
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return c
}

func (c *Config) check() error {
	switch {
	case c.QueuePairs < 1 || c.QueuePairs > 128:
		return fmt.Errorf("vhosttest: %d queue pairs: 1 to 128 can be had", c.QueuePairs)
	case c.Packed && c.Legacy:
		return errors.New("vhosttest: packed rings need VERSION_1: leave Legacy out")
	case c.InOrder && c.Legacy:
		return errors.New("vhosttest: use in order needs VERSION_1: leave Legacy out")
	case c.RingSize < 1 || c.RingSize > maxQueueSize:
		return fmt.Errorf("vhosttest: ring size %d is not from 1 to %d", c.RingSize, maxQueueSize)
	case c.SlotSize < 16:
		return fmt.Errorf("vhosttest: slots of %d bytes: 16 is the least", c.SlotSize)
	case c.RxBuffer < c.headerLen():
		return fmt.Errorf("vhosttest: receive buffers of %d bytes do not hold the header", c.RxBuffer)
	}
	return nil
}

// headerLen is the length of struct virtio_net_hdr (section 5.1.6): num_buffers is there with either feature
// (section 5.1.6.1 for the legacy interface).
func (c *Config) headerLen() int {
	if c.Legacy && !c.Mergeable {
		return netHeaderLegacy
	}
	return netHeader
}

// slotsPerBuffer is how many slots one buffer of n bytes after its header takes at most.
func (c *Config) slotsPerBuffer(l Layout, data int) int {
	return l.pieces() + (c.headerLen()+data)/c.SlotSize
}

// slotsOf is the number of slots of a transmit or receive queue.
func (c *Config) slotsOf(rx bool) int {
	if c.Slots > 0 {
		return c.Slots
	}
	l, data := c.TxLayout, c.MaxFrame
	if rx {
		l, data = c.RxLayout, c.RxBuffer-c.headerLen()
	}
	n := c.RingSize
	if l.Indirect {
		n *= c.slotsPerBuffer(l, data)
	}
	return max(n, c.slotsPerBuffer(l, data))
}

// regions is the memory layout, made to measure when none was given.
func (c *Config) regions() []RegionLayout {
	if len(c.Regions) > 0 {
		return c.Regions
	}
	var need uint64
	for _, rx := range []bool{true, false} {
		l := c.TxLayout
		if rx {
			l = c.RxLayout
		}
		need += uint64(c.slotsOf(rx)) * c.slotStride()
		need += uint64(c.RingSize) * (DescSize + availElem + usedElem)
		if l.Indirect {
			need += uint64(c.RingSize) * c.tableSize(rx)
		}
		need += 16 * pageSize
	}
	// The largest single object must fit a region whatever the others took: give each region all of it.
	half := (need*uint64(c.QueuePairs)*3/4 + hugeSize) &^ (hugeSize - 1)
	return []RegionLayout{{GPA: lowMemoryGPA, Size: half}, {GPA: highMemoryGPA, Size: half}}
}

func (c *Config) slotStride() uint64 { return (uint64(c.SlotSize)+63)&^63 + 2*slotGuard }

// tableSize is the bytes of one indirect table.
func (c *Config) tableSize(rx bool) uint64 {
	l, data := c.TxLayout, c.MaxFrame
	if rx {
		l, data = c.RxLayout, c.RxBuffer-c.headerLen()
	}
	return uint64(c.slotsPerBuffer(l, data)) * DescSize
}
