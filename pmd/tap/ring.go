package tap

import (
	"sync/atomic"

	"weft/internal/sys"
)

const cacheLine = 64

// ring is a queue of frame buffers between one producer and one consumer. One of the two is a PMD thread, which never
// waits; the other is a goroutine, which sleeps on wake while it has nothing to do.
//
// Positions count frames since the beginning and wrap at 2^32; a position's buffer is its low bits.
type ring struct {
	// Constant.
	mask uint32
	slot int      // bytes of a buffer
	mem  []byte   // size buffers
	lens []uint32 // length of the frame in each buffer
	wake *sys.Wakeup
	_    [cacheLine]byte

	// Written by the consumer.
	head atomic.Uint32 // frames taken
	_    [cacheLine - 4]byte

	// Written by the producer.
	tail atomic.Uint32 // frames put in
	_    [cacheLine - 4]byte

	// Set by the goroutine before it sleeps, cleared by whoever wakes it.
	asleep atomic.Bool
	_      [cacheLine - 4]byte
}

// newRing makes a ring of size buffers, a power of two, of slot bytes each.
func newRing(size, slot int) (*ring, error) {
	wake, err := sys.NewWakeup()
	if err != nil {
		return nil, err
	}
	return &ring{
		mask: uint32(size - 1),
		slot: slot,
		mem:  make([]byte, size*slot),
		lens: make([]uint32, size),
		wake: wake,
	}, nil
}

func (r *ring) size() uint32 { return r.mask + 1 }

// buffer is the memory at a position.
func (r *ring) buffer(pos uint32) []byte {
	i := int(pos&r.mask) * r.slot
	return r.mem[i : i+r.slot : i+r.slot]
}

// wakeSleeper wakes the goroutine if it sleeps. The PMD thread calls it after it stored its position: either it sees
// the goroutine's asleep flag here, or the goroutine, which looks at the positions again after setting the flag, sees
// the new position (both are sequentially consistent).
func (r *ring) wakeSleeper() {
	if r.asleep.Load() && r.asleep.CompareAndSwap(true, false) {
		r.wake.Wake()
	}
}

// sleepUnless lets the goroutine sleep until it is woken, unless ready says that there is work already. It returns
// os.ErrClosed when the ring was closed.
func (r *ring) sleepUnless(ready func() bool) error {
	r.asleep.Store(true)
	if ready() {
		r.asleep.Store(false)
		return nil
	}
	err := r.wake.Wait(0)
	r.asleep.Store(false)
	return err
}

// close ends a sleep for good. The PMD thread must have let go of the ring.
func (r *ring) close() { _ = r.wake.Close() }
