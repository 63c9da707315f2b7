package virtq

import (
	"fmt"
	"sync/atomic"
	"time"
)

// The length in the used descriptor at a batch's end says that Weft wrote it, and of how many descriptors the batch is. Drivers
// ignore it, as nothing was written to the buffer (virtio 1.3 §2.8.4), and write none as large.
const (
	batchMark     = 0x5765 << 16
	batchMarkMask = 0xffff << 16
)

// halfID is the buffer id in a descriptor's latter half.
const halfID = 0xffff << 32

// How long to wait for a driver that is in the midst of making a chain available, which it is for longer only if its CPU was
// taken away.
const (
	midLooks = 10
	midPause = time.Millisecond
)

// othersBatch is how many descriptors a batch of another switch has at most, as far as is believed.
const othersBatch = 64

// behindLastBatch finds where a packed ring goes on whose last device told of batches, as publishPackedBatch does: what was
// passed over looks available, but the last descriptor of each batch is used, and has the mark. Where it has none, as another
// switch had the ring, or nobody, the base is believed if it is close behind, with nothing between that is not available.
func (r *Ring) behindLastBatch(base uint16) (uint16, error) {
	for range midLooks {
		last, used, found := r.lastUsed()
		switch {
		case found && used&batchMarkMask == batchMark:
			r.endBatch(last, used)
			return r.after(last, 1), nil
		case found && r.addrAt(last) == 0 && r.after(last, 1) == base:
			return base, nil // no driver has come as far yet
		case !found: // all are available: the oldest is where the driver's lap changes
			if at, ok := r.turn(); ok {
				return at, nil
			}
		}
		time.Sleep(midPause)
	}
	last, _, found := r.lastUsed()
	at := r.after(last, 1)
	// The base that is repeated most often is that of the first start.
	if found && (base == at || base != wrapBit && r.available(at, base)) {
		return base, nil
	}
	return 0, fmt.Errorf("virtq: base %#x contradicts the descriptors of a packed ring, and they do not say where the last device "+
		"stopped: reset the guest's network device", base)
}

// endBatch finishes what a device began that vanished between marking a batch's end and writing the batch's first descriptor,
// which alone the driver looks at: the frames were sent. If the driver has seen the latter, it is used, or available for the
// next lap.
func (r *Ring) endBatch(last uint16, used uint64) {
	n := uint16(used)
	if n == 0 || n > r.size {
		return
	}
	first := r.before(last, n-1)
	half := atomic.LoadUint64(r.halfAt(first))
	if uint16(half>>48)&(descAvail|descUsed) == wanted(first) {
		atomic.CompareAndSwapUint64(r.halfAt(first), half, used&halfID|lapFlags(first))
	}
}

// available reports that all descriptors from a position to another look available, and are no more than a batch has.
func (r *Ring) available(at, end uint16) bool {
	for range min(r.size, othersBatch) {
		if at == end {
			return true
		}
		if !r.looksAvailable(at) {
			return false
		}
		at = r.after(at, 1)
	}
	return at == end
}

// maxLooks is how often a ring is looked at for two equal pictures. A driver without a device comes to the end of its ring long
// before; one that goes on spoils its own.
const maxLooks = 100

// lastUsed is the position of the descriptor that was marked used last, and its latter half. Those of the lap that the device is
// in come first in the ring, then those of the lap before. None is found where all were made available since, in a ring that is
// full. A driver that runs may overwrite what was looked at, so it looks until it sees the same twice.
func (r *Ring) lastUsed() (at uint16, half uint64, found bool) {
	at, half, found = r.lookForUsed()
	for range maxLooks {
		a, h, f := r.lookForUsed()
		if a == at && h == half && f == found {
			break
		}
		at, half, found = a, h, f
	}
	return at, half, found
}

// lookForUsed is one look of lastUsed.
func (r *Ring) lookForUsed() (at uint16, half uint64, found bool) {
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
