package virtq

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"weft/internal/packet"
)

// TestOrdinaryChainsAreWalkedAlike compares both walks of split rings over random tables: what walkOrdinary accepts, walkSplit
// does, with the same pieces; what it does not accept leaves no trace.
func TestOrdinaryChainsAreWalkedAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	const pageBytes = 4096
	regions := make([]Region, 3)
	for i, gpa := range []uint64{0, 1 << 32, 1<<64 - pageBytes} {
		// SAFETY: nothing reads or writes there.
		regions[i] = Region{gpa, pageBytes, unsafe.Pointer(unsafe.SliceData(make([]byte, pageBytes)))}
	}
	memory, err := NewMemory(regions)
	if err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	for round := range 100_000 {
		size := 1 << rng.IntN(9)
		table := make([]byte, size*descSize)
		rare := rng.IntN(4) == 0 // what breaks rules
		for d := range slices.Chunk(table, descSize) {
			n, flags, next := 1+rng.IntN(600), uint16(descNext), rng.IntN(size)
			if rng.IntN(4) == 0 {
				flags = 0
			}
			if rare && rng.IntN(4) == 0 {
				n, flags, next = rng.IntN(2*pageBytes), uint16(rng.IntN(8)), rng.IntN(2*size)
			}
			binary.LittleEndian.PutUint64(d, regions[rng.IntN(len(regions))].GPA+uint64(rng.IntN(pageBytes-512)))
			binary.LittleEndian.PutUint64(d[8:], uint64(n)|uint64(flags)<<32|uint64(next)<<48)
		}
		// SAFETY: table has size descriptors, and lives as long as the ring.
		r := &Ring{size: uint16(size), mask: uint16(size - 1), memory: memory, desc: unsafe.Pointer(unsafe.SliceData(table))}
		var first buffer
		first.load(r.desc)
		first.at = uintptr(memory.translate(first.addr, first.len))
		had := rng.IntN(3)
		room := make([]packet.Segment, had, had+1+rng.IntN(maxChain))
		ordinary, other := chain{pieces: room, fits: true}, chain{pieces: slices.Grow(slices.Clone(room), cap(room)), fits: true}
		other.pieces = other.pieces[:had:cap(room)]
		if !r.walkOrdinary(&ordinary, &first, 0) {
			refused++
			if len(ordinary.pieces) != had || ordinary.total != 0 || !ordinary.fits || r.broken {
				t.Fatalf("round %d: a chain that was refused left %+v", round, ordinary)
			}
			continue
		}
		accepted++
		same := r.walkSplit(&other, &first, 0) && slices.Equal(ordinary.pieces, other.pieces)
		if !same || ordinary.total != other.total || !other.fits {
			t.Fatalf("round %d: %d pieces with %d bytes, and by the other walk %d with %d (%v)", round, len(ordinary.pieces),
				ordinary.total, len(other.pieces), other.total, r.Err())
		}
	}
	if min(accepted, refused) < 10_000 {
		t.Errorf("%d chains were accepted and %d refused: too few to tell", accepted, refused)
	}
}
