package virtq

import (
	"fmt"
	"sync/atomic"
)

// behindLastBatch finds where a packed ring goes on whose last device told of batches, as publishPackedBatch does: what was
// passed over looks available, but the last descriptor of each batch is used, and says so. Where it does not, as another
// switch had the ring, or nobody, the base is believed if everything between was made available.
//
// A device that vanished between the batch's last descriptor and its first one, which alone the driver looks at, had sent the
// frames: so the first one is written now. If the driver knew, it is not available any more, or only since.
func (r *Ring) behindLastBatch(base uint16) (uint16, error) {
	last, used, found := r.lastUsed()
	for tries := 0; ; tries++ { // a driver that runs may overwrite what was looked at
		again, u, f := r.lastUsed()
		if again == last && u == used && f == found {
			break
		}
		if tries == maxLooks {
			return 0, fmt.Errorf("virtq: the driver changes a packed ring of %d while no device serves it, again and again: "+
				"reset the guest's network device", r.size)
		}
		last, used, found = again, u, f
	}
	if !found {
		return r.oldest(), nil
	}
	at := r.after(last, 1)
	n := uint32(used)
	if n == 0 || n > uint32(r.size) {
		if !r.available(at, base) {
			return 0, fmt.Errorf("virtq: base %#x contradicts the descriptors of a packed ring, and descriptor %d, the last that was "+
				"used, does not say where the last device stopped: reset the guest's network device", base, last&^wrapBit)
		}
		return base, nil
	}
	if first := r.before(last, uint16(n-1)); r.flagsAt(first)&(descAvail|descUsed) == wanted(first) {
		atomic.StoreUint64(r.halfAt(first), used&^flagBits|lapFlags(first))
	}
	return at, nil
}

// available reports that all descriptors from a position to another, which is less than a lap behind it, look available.
func (r *Ring) available(at, end uint16) bool {
	for range r.size {
		if at == end {
			return true
		}
		if r.flagsAt(at)&(descAvail|descUsed) != wanted(at) {
			return false
		}
		at = r.after(at, 1)
	}
	return false
}

// maxLooks is how often a ring is looked at for two equal pictures. A driver without a device comes to an end when its ring is
// full, so more are needed only of one that spoils its own ring.
const maxLooks = 100

// flagBits are the flags in the latter half of a descriptor.
const flagBits = 0xffff << 48

// lastUsed is the position of the descriptor that was marked used last, and its latter half. Those of the lap that the device is
// in come first in the ring, then those of the lap before. None is found where all were made available since, in a ring that is
// full.
func (r *Ring) lastUsed() (at uint16, half uint64, found bool) {
	for pos := range r.size {
		h := atomic.LoadUint64(r.halfAt(pos))
		lap := uint16(0)
		switch h & lapFlags(wrapBit) {
		case 0:
		case lapFlags(wrapBit):
			lap = wrapBit
		default:
			continue
		}
		if found && lap != at&wrapBit {
			break
		}
		at, half, found = pos|lap, h, true
	}
	return at, half, found
}

// oldest is the position of the descriptor that was made available first, in a ring that is full.
func (r *Ring) oldest() uint16 {
	newest := r.flagsAt(0) & descAvail
	for pos := range r.size {
		if is := r.flagsAt(pos) & descAvail; is != newest {
			return pos | is<<8
		}
	}
	return newest << 8
}
