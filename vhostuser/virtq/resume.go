package virtq

import "fmt"

// resume finds where a packed ring goes on whose last device left no word, as when the switch was restarted: a front end
// then repeats the base at which it started the ring once, as qemu does.
//
// The device alone changes a descriptor's used bit when every chain has one descriptor: the driver sets it to the inverse of
// its wrap counter, which is what the device left there a lap ago. So the bits of a lap end where the device is.
//
// They mislead where chains have several descriptors, as the device writes to the first of each alone. Such chains show by
// their next flags, which stay where the device does not write. Then the base is believed unless the descriptors contradict
// it. Two things cannot be told from the ring: one that never held more than one chain of two has no next flag any more, and
// the rest of a chain over the ring's end looks like a chain that begins there.
func (r *Ring) resume(base uint16) (uint16, error) {
	if r.batches {
		return r.behindLastBatch(base)
	}
	// First the one, then the other: a chain that a driver wrote meanwhile is seen at least by the second.
	if at, ok := r.turn(); ok && !r.chained() {
		return at, nil
	}
	if r.contradicts(base) {
		return 0, fmt.Errorf("virtq: base %#x contradicts the descriptors of a packed ring, and chains of several descriptors "+
			"hide where the last device stopped: reset the guest's network device", base)
	}
	return base, nil
}

// turn is where the used bits of a lap end, if they change at one place at most. No change means the beginning of a lap.
func (r *Ring) turn() (at uint16, ok bool) {
	first := r.flagsAt(0) & descUsed // the same bit as a position's wrap counter
	at, used, changes := first^wrapBit, first, 0
	for pos := uint16(1); pos < r.size; pos++ {
		if is := r.flagsAt(pos) & descUsed; is != used {
			used, at = is, pos|first
			changes++
		}
	}
	return at, changes < 2
}

// chained reports that there are chains of several descriptors, which a device has not overwritten.
func (r *Ring) chained() bool {
	for pos := range r.size {
		if r.flagsAt(pos)&descNext != 0 {
			return true
		}
	}
	return false
}

// contradicts reports that the device cannot be at base. From there on come what is available, and then what the device saw
// when it was there last, a lap ago: used descriptors, each with the rest of its chain, as the driver wrote it.
//
// It looks from the end to the base, as a driver that runs meanwhile works the other way: what is found available has
// nothing but available ones before it, and at most one that is not, the first of the chain that is being written.
func (r *Ring) contradicts(base uint16) bool {
	restBehind, usedBehind := false, false // what the next descriptor is
	chains, gap := 0, false                // available chains behind, and whether the first of one was not
	available := false
	for i := r.size; i > 0; i-- {
		at := r.after(base, i-1)
		flags := r.flagsAt(at)
		goesOn := flags&descNext != 0
		switch flags & (descAvail | descUsed) {
		case wanted(at):
			available, restBehind, usedBehind = true, false, false
			if !goesOn {
				chains++
			}
			continue
		case wanted(at ^ wrapBit): // the rest of a chain
			if goesOn && (usedBehind || i == r.size) || !goesOn && restBehind {
				return true
			}
			restBehind, usedBehind = true, false
		default: // used
			if flags&descUsed == at&wrapBit {
				return true
			}
			restBehind, usedBehind = false, true
		}
		if available && (gap || chains > 1) {
			return true
		}
		gap = available
	}
	return false
}
