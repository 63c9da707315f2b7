package virtq

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// resume finds where a packed ring goes on whose last device left no word, as when the switch was restarted: a front end
// then repeats the base at which it started the ring once, as qemu does.
//
// The device alone changes a descriptor's used bit when every chain has one descriptor: the driver sets it to the inverse of
// its wrap counter, which is what the device left there a lap ago. So the bits of a lap end where the device is. They tell
// nothing where chains have several descriptors, as the device writes to the first of each alone; then the base is believed
// unless a used descriptor contradicts it.
func (r *Ring) resume(base uint16) (uint16, error) {
	first := r.flagsAt(0)&descUsed != 0
	bit, flip, flips := first, uint16(0), 0
	contradicted := false
	for pos := range r.size {
		flags := r.flagsAt(pos)
		if used := flags&descUsed != 0; used != bit {
			bit, flip, flips = used, pos, flips+1
		}
		if both := flags & (descAvail | descUsed); both == descAvail|descUsed || both == 0 {
			// A used descriptor has its lap's counter in both bits: one of this lap stands before the base, others behind.
			ofThisLap := (both != 0) == (base&wrapBit != 0)
			contradicted = contradicted || ofThisLap != (pos < base&^wrapBit)
		}
	}
	switch {
	case flips == 0 && first: // a lap of counter 1 is over
		return 0, nil
	case flips == 0:
		return wrapBit, nil
	case flips == 1 && first:
		return flip | wrapBit, nil
	case flips == 1:
		return flip, nil
	case contradicted:
		return 0, fmt.Errorf("virtq: base %#x contradicts the used descriptors of a packed ring, and chains of several descriptors "+
			"hide where the last device stopped: reset the guest's network device", base)
	}
	return base, nil
}

// flagsAt reads the flags of the descriptor at pos.
func (r *Ring) flagsAt(pos uint16) uint16 {
	// SAFETY: as in loadPacked.
	return uint16(atomic.LoadUint64((*uint64)(unsafe.Add(r.packedAt(pos), 8))) >> 48)
}
