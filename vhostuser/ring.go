package vhostuser

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"runtime/debug"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/vhostuser/virtq"
)

// ring is one virtqueue as a session knows it. Index 2n is the guest's receiveq of pair n, which we fill; 2n+1 its
// transmitq, which we poll (virtio 1.3 §5.1.2).
type ring struct {
	index int
	queue queue
	bell  *sys.Bell // rings when the guest kicks; nil: nobody waits for that

	// As the front end set it up.
	size    uint32
	addr    vringAddr
	hasAddr bool
	base    uint32 // where it goes on, as virtq.Ring.Base: as set, or as the ring had it when it was last stopped
	hasBase bool
	told    uint32 // where a ring of this session stopped last, as the front end may have heard
	hasTold bool
	enabled bool
	kick    int // descriptors, owned; -1: none
	call    int
	errFD   int

	callEvent *sys.Event // of call, nil: none

	kicked bool // SET_VRING_KICK came, GET_VRING_BASE did not yet

	// What became of it.
	vr       *virtq.Ring // nil while stopped or broken, or when something is missing
	attached bool
	broken   bool   // the guest violated the virtqueue's rules
	fault    error  // why it is broken, or cannot be built
	missing  string // what a kicked ring still lacks
}

// queue is the part of virtq.RxQueue and TxQueue that a session needs.
type queue interface {
	Attach(*virtq.Ring)
	Detach() *virtq.Ring
}

// absentReasoner is a queue that counts what it drops while no ring is attached.
type absentReasoner interface{ SetAbsentReason(packet.DropReason) }

func newRing(index int, q queue, bell *sys.Bell) *ring {
	return &ring{index: index, queue: q, bell: bell, kick: -1, call: -1, errFD: -1}
}

// setKick replaces the descriptor that the guest kicks, -1 for none. One that cannot be waited for is as good as none.
func (r *ring) setKick(fd int) {
	if r.bell != nil && r.kick >= 0 {
		_ = r.bell.Forget(r.kick) // it is closed next, which forgets it as well unless others hold it
	}
	setFD(&r.kick, fd)
	if r.bell != nil && fd >= 0 {
		_ = r.bell.Watch(fd)
	}
}

// name is what operators call the ring: from the switch's point of view, with the pair's number.
func (r *ring) name() string {
	if r.index%2 == 1 {
		return fmt.Sprintf("rx%d", r.index/2)
	}
	return fmt.Sprintf("tx%d", r.index/2)
}

// state is where the ring is in the table of states.
func (r *ring) state() ringState {
	switch {
	case r.broken:
		return ringBroken
	case r.vr != nil:
		return ringStarted
	}
	return ringStopped
}

// setFD replaces one of the ring's descriptors and closes the old one.
func setFD(slot *int, fd int) {
	old := *slot
	*slot = fd
	if old >= 0 {
		sys.CloseFDs([]int{old})
	}
}

// clearFault forgets that the guest broke the ring, because it sets it up anew.
func (r *ring) clearFault() {
	if r.broken {
		r.broken, r.fault, r.kicked = false, nil, false
		r.forgetBase()
	}
}

// setSize checks and stores what SET_VRING_NUM says.
func (r *ring) setSize(n uint32, packed bool) error {
	if n == 0 || n > virtq.MaxSize || !packed && bits.OnesCount32(n) != 1 {
		return fmt.Errorf("ring %d: size %d is not %s", r.index, n, virtq.SizeRule(packed))
	}
	r.size = n
	return nil
}

// detach takes the ring off its queue; PMD threads may use it until they have been synchronized with. It reports
// whether it was attached.
func (r *ring) detach() bool {
	was := r.attached
	r.queue.Detach()
	r.attached = false
	return was
}

// settle tells the queue why it has no ring.
func (r *ring) settle() {
	q, ok := r.queue.(absentReasoner)
	if !ok {
		return
	}
	why := packet.DropQueueDisabled
	if r.broken {
		why = packet.DropBadDescriptor
	}
	q.SetAbsentReason(why)
}

// halt is the end of a ring by the front end's wish. It must be detached, and PMD threads synchronized with.
func (r *ring) halt() {
	r.retire()
	r.kicked, r.broken, r.fault, r.missing = false, false, nil, ""
	r.setKick(-1)
	r.settle()
}

// lacks is what a kicked ring still needs before it can be built, "" when it has all.
func (r *ring) lacks(mem *guestMemory) string {
	switch {
	case mem == nil:
		return SetMemTable.String()
	case r.size == 0:
		return SetVringNum.String()
	case !r.hasAddr:
		return SetVringAddr.String()
	}
	return ""
}

// retire remembers where the ring stopped. It must be detached, and PMD threads synchronized with.
func (r *ring) retire() {
	if r.vr != nil {
		r.base, r.hasBase = r.vr.Base(), true
		r.told, r.hasTold = r.base, true
		r.vr = nil
	}
}

// packedBase is where a packed ring begins: position 0, wrap counter 1 (virtio 1.3 §2.8.1), of what is available and what
// is used.
const packedBase = 0x8000_8000

// where is the base that counts: that of a ring's first start if there is none.
func (r *ring) where(packed bool) uint32 {
	if packed && !r.hasBase {
		return packedBase
	}
	return r.base
}

// believed reports that the base is where a ring of this session stopped, and nothing else need be asked.
func (r *ring) believed() bool { return r.hasTold && uint16(r.base) == uint16(r.told) }

// build makes the virtq.Ring of a started ring out of what the front end said. A split ring goes on where the guest's used
// index is, whatever the base: a front end whose last back end died may hand over another. A packed ring goes on at the base
// if it was told to the front end in this session.
func (r *ring) build(mem *guestMemory, features uint64, mtu int) error {
	packed := features&featPacked != 0
	driverBytes, deviceBytes := virtq.AvailBytes(r.size), virtq.UsedBytes(r.size)
	if packed {
		driverBytes, deviceBytes = virtq.EventBytes, virtq.EventBytes
	}
	desc, err := mem.translate(r.addr.desc, virtq.DescBytes(r.size))
	if err != nil {
		return fmt.Errorf("descriptors: %w", err)
	}
	driver, err := mem.translate(r.addr.avail, driverBytes)
	if err != nil {
		return fmt.Errorf("available ring, or driver's event area: %w", err)
	}
	device, err := mem.translate(r.addr.used, deviceBytes)
	if err != nil {
		return fmt.Errorf("used ring, or device's event area: %w", err)
	}
	cfg := virtq.RingConfig{
		Packed: packed, Size: r.size, Base: r.where(packed) & 0xffff, OldBase: !r.believed(),
		Desc: desc, Driver: driver, Device: device,
		Memory: mem.space, HeaderLen: virtq.HeaderLegacy,
		Mergeable: features&featMergeable != 0, Indirect: features&featIndirect != 0,
		InOrder: features&featInOrder != 0,
		Batches: features&featInOrder != 0 && r.index%2 == 1,
		MTU:     mtu, Call: r.callEvent,
	}
	if features&(featVersion1|featMergeable) != 0 {
		cfg.HeaderLen = virtq.HeaderMergeable
	}
	return touchGuest(func() error {
		var err error
		r.vr, err = virtq.NewRing(cfg)
		return err
	})
}

// node is the NUMA node of the ring, asking of.
func (r *ring) node(mem *guestMemory, of NodeFunc) (int, error) {
	p, err := mem.translate(r.addr.desc, virtq.DescBytes(r.size))
	if err != nil {
		return -1, err
	}
	return of(p)
}

// attach gives the ring to its queue and interrupts the guest once: buffers that became available, or were used, while
// nobody served the ring would else wait for the next packet.
func (r *ring) attach() {
	r.queue.Attach(r.vr)
	r.attached = true
	if r.callEvent != nil {
		r.callEvent.Signal()
	}
}

// reset brings the ring back to where it began, except for call and err descriptors, which front ends set once. It
// must be detached, and PMD threads synchronized with.
func (r *ring) reset() {
	r.enabled = false
	r.halt()
	r.size, r.addr, r.hasAddr = 0, vringAddr{}, false
	r.forgetBase()
}

// forgetBase makes the ring begin at its beginning, unless a base is set: that it was told counts after a reset, too, as qemu
// resets a machine's devices that it stops to continue later.
func (r *ring) forgetBase() { r.base, r.hasBase = 0, false }

// changeLayout forgets where rings of the other layout stopped, of which the base says nothing.
func (r *ring) changeLayout() {
	if r.believed() {
		r.forgetBase()
	}
	r.hasTold = false
}

// setBase is what the front end says of where the ring goes on. Of a packed ring's base the latter half, where the next used
// descriptor stands, is not looked at: it is the same here, and some front ends leave it away.
func (r *ring) setBase(base uint32) {
	r.base, r.hasBase = base, true
}

// close closes the ring's descriptors. It must be detached, and PMD threads synchronized with.
func (r *ring) close() {
	r.vr, r.callEvent = nil, nil
	r.setKick(-1)
	setFD(&r.call, -1)
	setFD(&r.errFD, -1)
}

// touchGuest runs f, which reads or writes guest memory. A front end that has truncated its memory file gets an error,
// and not this process a fatal signal.
func touchGuest(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			err = errors.New("guest memory is not there: the front end truncated its memory file")
		default:
			panic(r)
		}
	}()
	return f()
}
