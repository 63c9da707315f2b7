package memport

import (
	"sync/atomic"

	"weft/internal/packet"
)

// ring is a single-producer, single-consumer ring of frames in one preallocated block. The indices run freely and are
// taken modulo the size; head - tail is the number of frames inside.
type ring struct {
	mem    []byte // slots of stride bytes: headroom, then the frame
	length []int  // of the frame in each slot
	mask   uint64
	stride int

	_    [64]byte
	head atomic.Uint64 // the producer's
	_    [56]byte
	tail atomic.Uint64 // the consumer's
	_    [56]byte
}

func newRing(size, frameSize int) *ring {
	stride := packet.Headroom + frameSize
	return &ring{
		mem: make([]byte, size*stride), length: make([]int, size),
		mask: uint64(size - 1), stride: stride,
	}
}

// size is how many frames fit.
func (r *ring) size() uint64 { return r.mask + 1 }

// slot is the memory at index i: headroom and frame space.
func (r *ring) slot(i uint64) []byte {
	at := int(i&r.mask) * r.stride
	return r.mem[at : at+r.stride : at+r.stride]
}

// frame is the frame at index i.
func (r *ring) frame(i uint64) []byte {
	return r.slot(i)[packet.Headroom:][:r.length[i&r.mask]]
}
