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
	format format
	ring   *Ring       // nil with a packed one
	packed *PackedRing // nil with a split one
	mem    *Memory
	cfg    *Config
	layout Layout
	hdr    int
	access uint16 // the flag of descriptors that says what the device may do: DescWrite or 0
	rng    *rand.Rand

	free   fifo[uint16]     // ids that no chain has; of a split ring, these are the free descriptors
	room   int              // descriptors that are free
	chains []chain          // by id
	tables []Place          // by id; empty without indirect descriptors
	order  fifo[uint16]     // with Config.InOrder, the ids of the chains that are out
	seen   fifo[usedBuffer] // used and not yet taken; a split ring without Config.InOrder is read anew instead

	slots     []slot  // of all queues of the guest, by number
	freeSlots []int32 // those of this queue that are not with the device
	firstSlot int     // those of this queue at the start
	ownSlots  int

	out    uint32 // chains with the device
	hidden uint32 // those of them that it has not been shown
	known  uint16 // those of them that the driver knows to be used
	base   uint32 // where the back end is told to start

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
	seen     bool   // it was returned, and not yet taken
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

// Ring is the raw split ring, for those who want to break it; nil with Config.Packed.
func (q *Queue) Ring() *Ring { return q.ring }

// PackedRing is the raw packed ring, for those who want to break it; nil without Config.Packed.
func (q *Queue) PackedRing() *PackedRing { return q.packed }

// Size is the number of the ring's descriptors.
func (q *Queue) Size() uint32 { return uint32(q.cfg.RingSize) }

// Parts are the descriptor area, the driver area and the device area (section 2.6): of a split ring its descriptor
// table, avail ring and used ring, of a packed one its descriptor ring and the two event suppression structures.
func (q *Queue) Parts() (desc, driver, device Place) { return q.format.parts() }

// Base is where the device starts, as SET_VRING_BASE carries it: of a split ring the next avail index, of a packed one
// the next avail position in bits 0 to 14, its wrap counter in bit 15, and the same of the used ones above (vhost-user,
// "Vring descriptor indices for packed virtqueues").
func (q *Queue) Base() uint32 { return q.base }

// CallFD is the event descriptor that the device signals when it has used buffers. It stays the queue's.
func (q *Queue) CallFD() int { return q.callFD }

// KickFD is the event descriptor that the driver signals when it has made buffers available. It stays the queue's.
func (q *Queue) KickFD() int { return q.kickFD }

// AvailIndex is the index of the next buffer that will be made available; of a packed ring the position of its first
// descriptor, with the wrap counter in bit 15.
func (q *Queue) AvailIndex() uint16 {
	avail, _ := q.format.indices()
	return avail
}

// UsedIndex is the used index up to which the driver has reaped; of a packed ring a position as in AvailIndex.
func (q *Queue) UsedIndex() uint16 {
	_, used := q.format.indices()
	return used
}

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

// freeAll makes the ring one without chains. The ids are in no order that a device may rely on, except that a split ring's
// descriptors are taken in ring order from 0 on where buffers are used in order (section 2.7.5).
func (q *Queue) freeAll() {
	q.free.clear()
	q.order.clear()
	q.seen.clear()
	q.out, q.room = 0, q.cfg.RingSize
	for i, id := range q.rng.Perm(q.cfg.RingSize) {
		if q.cfg.InOrder && !q.cfg.Packed {
			id = i
		}
		q.free.push(uint16(id))
	}
}

// takeID takes a free id, or descriptor, of which there must be one. What comes back in order goes out again in the same
// order, so that chains in a split ring are neighbours; otherwise disorder grows by itself.
func (q *Queue) takeID() uint16 {
	if q.cfg.InOrder {
		return q.free.popOldest()
	}
	return q.free.popNewest()
}

// offer writes the descriptors of a chain of n slots, not yet visible to the device. It is nil when descriptors are
// lacking.
func (q *Queue) offer(first int32, n int, indirect bool) *chain {
	need := n
	if indirect {
		need = 1
	}
	if q.room < need {
		return nil
	}
	id := q.takeID()
	c := &q.chains[id]
	*c = chain{slot: first, descs: uint16(need), out: true, indirect: indirect, checked: q.cfg.Verify}
	if q.cfg.InOrder {
		q.order.push(id)
	}
	q.format.write(c, id, n)
	q.room -= need
	q.out++
	q.hidden++
	return c
}

// Publish shows the device all chains offered so far and kicks it if it wants that (section 2.7.13, steps 4 to 7;
// section 2.8.21).
func (q *Queue) Publish() error {
	if q.hidden == 0 {
		return nil
	}
	q.show()
	wanted, err := q.format.wantsKick()
	if err != nil {
		return err
	}
	if !wanted {
		q.stats.NoKicks++
		return nil
	}
	return q.Kick()
}

func (q *Queue) show() {
	q.format.show()
	q.hidden = 0
}

// Kick notifies the device unasked.
func (q *Queue) Kick() error {
	q.stats.Kicks++
	if _, err := q.kick.Write(q.one[:]); err != nil {
		return fmt.Errorf("vhosttest: virtqueue %d: kick: %w", q.index, err)
	}
	return nil
}

// SetInterrupts switches the device's interrupts on or off (sections 2.7.7 and 2.8.10). They are off at the start; Wait switches
// them on while it waits. Chains that were offered and not yet published become visible.
func (q *Queue) SetInterrupts(on bool) {
	q.intr = on
	q.show()
}

// ready returns how many used buffers wait, asking the ring when at least want are not known of.
func (q *Queue) ready(want uint16) (uint16, error) {
	if q.known >= want && q.known > 0 || q.err != nil {
		return q.known, q.err
	}
	n, err := q.format.poll(want)
	q.known = n
	return n, err
}

// peek reads the used buffer k places ahead; the caller knows that it is there.
func (q *Queue) peek(k uint16) (c *chain, id uint16, length uint32, err error) {
	if id, length, err = q.format.used(k); err != nil {
		return nil, 0, 0, err
	}
	if c = &q.chains[id]; !c.out {
		return nil, 0, 0, q.violation(q.format.rules().id, "returned descriptor %d, which it does not have", id)
	}
	return c, id, length, nil
}

// take removes the next used buffer, whose chain is c with this id. The slots are the caller's afterwards.
func (q *Queue) take(c *chain, id uint16) error {
	if q.cfg.Verify && c.checked {
		if err := q.verify(c, id); err != nil {
			return err
		}
	}
	q.known--
	q.stats.Reaped++
	c.out = false
	q.out--
	q.room += int(c.descs)
	if q.cfg.InOrder {
		q.order.popOldest()
	}
	q.format.retire(c, id)
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
		return q.violation(q.format.rules().interrupt, "used %d buffers and sent no interrupt, although they were on", n)
	}
	return nil
}
