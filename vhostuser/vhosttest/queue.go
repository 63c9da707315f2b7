package vhosttest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"time"
)

var (
	// ErrFull says that no descriptor or no buffer memory is free: reap, or wait for the device.
	ErrFull = errors.New("vhosttest: the ring is full")
	// ErrEmpty says that the device has returned nothing new.
	ErrEmpty = errors.New("vhosttest: nothing received")
)

// ViolationError says what a device did that the specification forbids. The queue is unusable afterwards.
type ViolationError struct {
	Queue   int    // virtqueue index
	Section string // of the specification
	Text    string
}

// Error names the queue, the offence and the rule.
func (e *ViolationError) Error() string {
	return fmt.Sprintf("vhosttest: virtqueue %d: the device %s (virtio 1.3 section %s)", e.Queue, e.Text, e.Section)
}

// QueueStats counts what a queue did.
type QueueStats struct {
	Packets, Bytes  uint64 // frames sent and reaped, or received, with their lengths without header
	Kicks, NoKicks  uint64 // notifications sent, and those that the device had suppressed
	Calls           uint64 // waits that an interrupt ended
	Dropped         uint64 // frames that Forward could not pass on
	MultiBuffer     uint64 // frames received in several buffers
	Reaped, Refills uint64 // chains taken back from the device, and chains given to it for receiving
}

// Queue is the driver's side of one virtqueue.
type Queue struct {
	index  int
	rx     bool
	ring   *Ring
	mem    *Memory
	cfg    *Config
	layout Layout
	hdr    int
	rng    *rand.Rand

	// Descriptors: a stack of free ones, and the driver's own copy of the links, which no device can spoil.
	free  []uint16
	links []uint16

	chains []chain // by head
	tables []Place // by head; empty without indirect descriptors

	slots     []slot  // of all queues of the guest, by number
	freeSlots []int32 // those of this queue that are not with the device
	firstSlot int     // those of this queue at the start
	ownSlots  int

	avail    uint16 // next avail index; written to the ring by publish
	shown    uint16 // what the device has been shown
	used     uint16 // next used index to read
	usedSeen uint16 // the device's used index as last read
	out      uint32 // chains with the device
	base     uint16 // where the back end is told to start

	intr   bool // interrupts are wanted
	kick   *os.File
	call   *os.File
	kickFD int
	callFD int
	one    [8]byte // what a kick writes: never escapes anew
	count  [8]byte

	cuts         []int
	hdrBuf       [netHeader]byte
	received     []byte // of Guest.Receive
	seed         maphash.Seed
	tableEntries int
	err          error
	stats        QueueStats
}

// chain is a buffer that is with the device: its slots, in order.
type chain struct {
	slot     int32 // first
	descs    uint16
	out      bool
	indirect bool
	checked  bool   // the slots are guarded, see Config.Verify
	bytes    uint32 // of all slots
	sum      uint64 // of a frame being sent
}

// slot is one piece of buffer memory.
type slot struct {
	buf  []byte // its whole capacity
	gpa  uint64
	len  uint32 // in use
	next int32  // the chain's next slot, -1 at the end
}

// Index is the virtqueue's number: 2n receives, 2n+1 transmits (section 5.1.2).
func (q *Queue) Index() int { return q.index }

// Ring is the raw ring, for those who want to break it.
func (q *Queue) Ring() *Ring { return q.ring }

// CallFD is the event descriptor that the device signals when it has used buffers. It stays the queue's.
func (q *Queue) CallFD() int { return q.callFD }

// KickFD is the event descriptor that the driver signals when it has made buffers available. It stays the queue's.
func (q *Queue) KickFD() int { return q.kickFD }

// AvailIndex is the index of the next buffer that will be made available.
func (q *Queue) AvailIndex() uint16 { return q.avail }

// UsedIndex is the used index up to which the driver has reaped.
func (q *Queue) UsedIndex() uint16 { return q.used }

// Outstanding is how many chains are with the device.
func (q *Queue) Outstanding() int { return int(q.out) }

// Err is what the device did wrong, or nil.
func (q *Queue) Err() error { return q.err }

// Stats returns the counters. Call it on the goroutine that owns the queue.
func (q *Queue) Stats() QueueStats { return q.stats }

func (q *Queue) violation(section, format string, args ...any) error {
	if q.err == nil {
		q.err = &ViolationError{Queue: q.index, Section: section, Text: fmt.Sprintf(format, args...)}
	}
	return q.err
}

// takeSlots links n free slots of the lengths cuts into a list, or returns -1.
func (q *Queue) takeSlots(cuts []int) int32 {
	if len(q.freeSlots) < len(cuts) {
		return -1
	}
	next := int32(-1)
	for i := len(cuts) - 1; i >= 0; i-- {
		id := q.freeSlots[len(q.freeSlots)-1]
		q.freeSlots = q.freeSlots[:len(q.freeSlots)-1]
		s := &q.slots[id]
		s.len, s.next = uint32(cuts[i]), next
		next = id
	}
	return next
}

func (q *Queue) giveSlots(first int32) {
	for id := first; id >= 0; id = q.slots[id].next {
		q.freeSlots = append(q.freeSlots, id)
	}
}

// offer writes the descriptors of a chain of n slots and puts it into the avail ring, not yet visible to the device
// (section 2.7.13, steps 1 to 3). It fails when descriptors are lacking.
func (q *Queue) offer(first int32, n int, indirect bool) bool {
	need := n
	if indirect {
		need = 1
	}
	if len(q.free) < need {
		return false
	}
	flags := uint16(0)
	if q.rx {
		flags = DescWrite
	}
	head := q.free[len(q.free)-1]
	c := &q.chains[head]
	*c = chain{slot: first, descs: uint16(need), out: true, indirect: indirect, checked: q.cfg.Verify}
	if indirect {
		q.free = q.free[:len(q.free)-1]
		c.bytes = q.writeTable(q.tables[head], first, flags)
		q.ring.SetDesc(uint32(head), Desc{q.tables[head].GPA, uint32(n) * DescSize, DescIndirect, 0})
	} else {
		id := head
		for s := first; s >= 0; s = q.slots[s].next {
			q.free = q.free[:len(q.free)-1]
			d := Desc{q.slots[s].gpa, q.slots[s].len, flags, 0}
			if q.slots[s].next >= 0 {
				d.Flags |= DescNext
				d.Next = q.free[len(q.free)-1]
			}
			q.ring.SetDesc(uint32(id), d)
			q.links[id] = d.Next
			c.bytes += d.Len
			id = d.Next
		}
	}
	q.ring.SetAvail(q.avail, head)
	q.avail++
	q.out++
	return true
}

func (q *Queue) writeTable(table Place, first int32, flags uint16) (bytes uint32) {
	i := uint32(0)
	for s := first; s >= 0; s = q.slots[s].next {
		d := Desc{q.slots[s].gpa, q.slots[s].len, flags, 0}
		if q.slots[s].next >= 0 {
			d.Flags |= DescNext
			d.Next = uint16(i + 1)
		}
		putDesc(table.Ptr, i, d)
		bytes += d.Len
		i++
	}
	return bytes
}

// Publish shows the device all chains offered so far and kicks it if it wants that (section 2.7.13, steps 4 to 7).
func (q *Queue) Publish() error {
	if q.avail == q.shown {
		return nil
	}
	q.showHead()
	q.shown = q.avail
	if flags, _ := q.ring.UsedHead(); flags&usedNoNotify != 0 {
		q.stats.NoKicks++
		return nil
	}
	return q.Kick()
}

// Kick notifies the device unasked.
func (q *Queue) Kick() error {
	q.stats.Kicks++
	if _, err := q.kick.Write(q.one[:]); err != nil {
		return fmt.Errorf("vhosttest: virtqueue %d: kick: %w", q.index, err)
	}
	return nil
}

func (q *Queue) showHead() {
	flags := uint16(availNoInterrupt)
	if q.intr {
		flags = 0
	}
	q.ring.SetAvailHead(flags, q.avail)
}

// SetInterrupts switches the device's interrupts on or off (section 2.7.7). They are off at the start; Wait switches
// them on while it waits. Chains that were offered and not yet published become visible.
func (q *Queue) SetInterrupts(on bool) {
	q.intr = on
	q.shown = q.avail
	q.showHead()
}

// ready returns how many used elements wait, reading the device's index when at least want are not known of.
func (q *Queue) ready(want uint16) (uint16, error) {
	if n := q.usedSeen - q.used; n >= want && n > 0 {
		return n, q.err
	}
	if q.err != nil {
		return 0, q.err
	}
	_, q.usedSeen = q.ring.UsedHead()
	n := q.usedSeen - q.used
	if uint32(n) > q.out {
		return 0, q.violation("2.7.8.2", "moved the used index from %d to %d while it had %d buffers",
			q.used, q.usedSeen, q.out)
	}
	return n, nil
}

// peek reads the used element k places ahead; the caller knows that it is there.
func (q *Queue) peek(k uint16) (*chain, uint16, uint32, error) {
	e := q.ring.Used(q.used + k)
	if e.ID >= q.ring.size {
		return nil, 0, 0, q.violation("2.7.8", "returned descriptor %d of a ring of %d", e.ID, q.ring.size)
	}
	c := &q.chains[e.ID]
	if !c.out {
		return nil, 0, 0, q.violation("2.7.8", "returned descriptor %d, which it does not have", e.ID)
	}
	return c, uint16(e.ID), e.Len, nil
}

// take removes the next used element, whose chain is c with head. The slots are the caller's afterwards.
func (q *Queue) take(c *chain, head uint16) error {
	if q.cfg.Verify && c.checked {
		if err := q.verify(c, head); err != nil {
			return err
		}
	}
	c.out = false
	q.used++
	q.out--
	q.stats.Reaped++
	id := head
	for n := c.descs; n > 0; n-- {
		next := q.links[id]
		q.free = append(q.free, id)
		id = next
	}
	return nil
}

// Wait blocks until the device has used a buffer, with interrupts on. It is an error when buffers were used and no
// interrupt came. A zero timeout only looks.
func (q *Queue) Wait(timeout time.Duration) error {
	was := q.intr
	q.SetInterrupts(true)
	defer q.SetInterrupts(was)
	deadline := time.Now().Add(timeout)
	for {
		// The store of the flag is a full barrier, so either the index read here is new or an interrupt comes.
		if n, err := q.ready(1); err != nil || n > 0 {
			return err
		}
		if err := q.call.SetReadDeadline(deadline); err != nil {
			return fmt.Errorf("vhosttest: virtqueue %d: wait: %w", q.index, err)
		}
		_, err := q.call.Read(q.count[:])
		switch {
		case err == nil:
			q.stats.Calls++
		case errors.Is(err, os.ErrDeadlineExceeded):
			return q.late()
		default:
			return fmt.Errorf("vhosttest: virtqueue %d: wait: %w", q.index, err)
		}
	}
}

// late tells a device that did nothing from one that forgot the interrupt.
func (q *Queue) late() error {
	n, err := q.ready(1)
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrEmpty
	}
	const grace = 200 * time.Millisecond // between the used index and the write to the event descriptor
	_ = q.call.SetReadDeadline(time.Now().Add(grace))
	if _, err := q.call.Read(q.count[:]); err != nil {
		return q.violation("2.7.7.2", "used %d buffers and sent no interrupt, although they were on", n)
	}
	return nil
}
