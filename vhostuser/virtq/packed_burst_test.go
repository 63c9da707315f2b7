package virtq_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/packet"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// burstRig is a guest with a packed receiveq of the given size, which has tiny buffers of 8 bytes in its first 256
// descriptors: two frames of tinyFrame bytes take 128 of them each, as many as one frame may.
func burstRig(t *testing.T, size int) (*rig, *vhosttest.PackedRing, vhosttest.Place) {
	t.Helper()
	r := newRig(t, vhosttest.Config{Packed: true, RingSize: size, Mergeable: true, Verify: true})
	buf, err := r.guest.Memory().Alloc(2048, 64)
	if err != nil {
		t.Fatal(err)
	}
	ring := r.guest.Rx(0).PackedRing()
	at := uint16(vhosttest.WrapBit)
	for i := range uint16(2 * packet.MaxSegments) {
		at = ring.Offer(at, vhosttest.PackedDesc{Addr: buf.GPA, Len: 8, ID: i, Flags: vhosttest.DescWrite})
	}
	return r, ring, buf
}

const tinyFrame = 8*packet.MaxSegments - 12

// burst transmits two frames of tinyFrame bytes, and a short one so often, at once.
func (r *rig) burst(short int) {
	b := r.batch
	b.Reset()
	for range 2 {
		p := b.Add(packet.WindowSize)
		b.AddSegment(p, packet.SegmentOf(make([]byte, tinyFrame-packet.WindowSize)))
	}
	b.Add(60)
	idx := []uint8{0, 1}
	for range short {
		idx = append(idx, 2)
	}
	r.tx.Transmit(b, idx)
}

// TestABurstOfClonesBehindFramesOverManyBuffers: a batch and all its clones go to one port, behind frames that take as many
// buffers as a frame may.
func TestABurstOfClonesBehindFramesOverManyBuffers(t *testing.T) {
	const tiny, short = 2 * packet.MaxSegments, packet.BatchSize + packet.MaxClones - 2
	r, ring, buf := burstRig(t, tiny+short)
	for at, i := uint16(tiny|vhosttest.WrapBit), uint16(0); i < short; i++ {
		at = ring.Offer(at, vhosttest.PackedDesc{Addr: buf.GPA, Len: 100, ID: tiny + i, Flags: vhosttest.DescWrite})
	}
	r.burst(short)
	r.healthy()
	if c := r.tx.Counters(); c.Packets != short+2 || c.Dropped() != 0 {
		t.Fatalf("counted %+v", c)
	}
	for i := range uint16(tiny + short) {
		want := vhosttest.PackedDesc{
			Addr: buf.GPA, Len: 8, ID: i, Flags: vhosttest.UsedFlags(vhosttest.WrapBit) | vhosttest.DescWrite,
		}
		if i >= tiny {
			want.Len = 12 + 60
		}
		if got := ring.Desc(uint32(i)); got != want {
			t.Fatalf("descriptor %d is %+v, want %+v", i, got, want)
		}
	}
}

// TestABurstOverMoreBuffersThanArePutAtATime: a batch of long frames and all their clones go to one port, and take several
// times the buffers that are put before they are published.
func TestABurstOverMoreBuffersThanArePutAtATime(t *testing.T) {
	const size, all = 2800, packet.BatchSize + packet.MaxClones
	for _, packed := range []bool{false, true} {
		r := newRig(t, vhosttest.Config{
			Packed: packed, RingSize: 1024, Mergeable: true, RxBuffer: 200, MaxFrame: size, Verify: true,
		})
		b, rng := r.batch, rand.New(rand.NewPCG(9, 10))
		var frames [][]byte
		var idx []uint8
		for i := range packet.BatchSize {
			f := randomFrame(rng, size, size)
			p := b.Add(packet.WindowSize)
			b.AddSegment(p, packet.SegmentOf(f[copy(p.Header(), f):]))
			frames, idx = append(frames, f), append(idx, uint8(i))
		}
		for i := range packet.MaxClones {
			j, ok := b.Clone(i)
			if !ok {
				t.Fatal("no room for a clone")
			}
			frames, idx = append(frames, frames[i]), append(idx, uint8(j))
		}
		r.tx.Transmit(b, idx)
		r.healthy()
		if c := r.tx.Counters(); c.Packets != all || c.Dropped() != 0 {
			t.Fatalf("packed %v: counted %+v", packed, c)
		}
		for i, f := range frames {
			if got, err := r.guest.Receive(0, 0); err != nil || !bytes.Equal(got, f) {
				t.Fatalf("packed %v: frame %d has %d bytes, %v", packed, i, len(got), err)
			}
		}
	}
}

// TestAChainOverDescriptorsThatTheBurstHasUsed: a burst that publishes on its way gives the guest descriptors back, which may
// make a chain out of them before the burst ends. Here it is the used descriptor itself that ends the chain.
func TestAChainOverDescriptorsThatTheBurstHasUsed(t *testing.T) {
	const tiny = 2 * packet.MaxSegments
	r, ring, buf := burstRig(t, tiny+2)
	d := vhosttest.PackedDesc{Addr: buf.GPA, Len: 50, ID: tiny, Flags: vhosttest.DescWrite | next}
	last := ring.Offer(tiny|vhosttest.WrapBit, d, d)
	r.burst(2)
	r.healthy()
	if c := r.tx.Counters(); c.Packets != 3 || c.Drops[packet.DropNoDescriptor] != 1 {
		t.Fatalf("counted %+v", c)
	}
	if at := ring.Advance(last, 1); r.txRing.Base()&0xffff != uint32(at) {
		t.Errorf("the ring goes on at %#x, want %#x", r.txRing.Base(), at)
	}
}

// TestTheLargestPackedRing: positions, sizes and counts of 2^15 stay apart from the wrap counter in the highest bit.
func TestTheLargestPackedRing(t *testing.T) {
	r := newRig(t, vhosttest.Config{Packed: true, RingSize: virtq.MaxSize, MaxFrame: 100, SlotSize: 128})
	ring := r.guest.Tx(0).PackedRing()
	buf, err := r.guest.Memory().Alloc(128, 64)
	if err != nil {
		t.Fatal(err)
	}
	chain := make([]vhosttest.PackedDesc, virtq.MaxSize)
	for i := range chain {
		chain[i] = vhosttest.PackedDesc{Addr: buf.GPA, ID: uint16(i), Flags: next}
	}
	chain[0].Len, chain[virtq.MaxSize-1].Flags = 72, 0
	at := uint16(vhosttest.WrapBit)
	for lap := range 3 {
		at = ring.Offer(at, vhosttest.PackedDesc{Addr: buf.GPA, Len: 72, ID: 0xffff})
		if r.poll(func([]byte) {}) != 1 {
			t.Fatalf("lap %d: no frame", lap)
		}
		first := at
		if at = ring.Offer(at, chain...); at != first^vhosttest.WrapBit {
			t.Fatalf("lap %d: a chain of a whole ring from %#x on ends at %#x", lap, first, at)
		}
		r.poll(func([]byte) {})
		d := ring.Desc(uint32(first &^ vhosttest.WrapBit))
		if d.ID != virtq.MaxSize-1 || d.Flags != vhosttest.UsedFlags(first) || r.rxRing.Base()&0xffff != uint32(at) {
			t.Fatalf("lap %d: a chain of a whole ring left %+v, and the ring at %#x: %v", lap, d, r.rxRing.Base(), r.rxRing.Err())
		}
	}
	chain[virtq.MaxSize-1].Flags = next
	ring.Offer(at, chain...)
	r.poll(func([]byte) {})
	var re *virtq.RingError
	if !errors.As(r.rxRing.Err(), &re) || re.Violation != virtq.ChainTooLong {
		t.Errorf("a chain that never ends: %v", r.rxRing.Err())
	}
}

// TestABurstThatAMemoryFaultCutsShortIsTakenAgain: the fault is in memory that a frame was to be read from. The guest sees
// nothing of the frames before it, and all of those that come next.
func TestABurstThatAMemoryFaultCutsShortIsTakenAgain(t *testing.T) {
	gone := goneMemory(t)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, packed := range []bool{false, true} {
		r := newRig(t, vhosttest.Config{Packed: packed, RingSize: 8, Verify: true, Mergeable: true, RxBuffer: 200})
		rng := rand.New(rand.NewPCG(6, 6))
		for round := range 10 {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no memory fault")
					}
				}()
				b := r.batch
				b.Reset()
				b.Add(60)
				b.AddSegment(b.Add(packet.WindowSize), packet.SegmentOf(make([]byte, 300)))
				b.AddSegment(b.Add(packet.WindowSize), packet.SegmentOf(gone))
				r.tx.Transmit(b, []uint8{0, 1, 2})
			}()
			if _, err := r.guest.Receive(0, 0); !errors.Is(err, vhosttest.ErrEmpty) {
				t.Fatalf("round %d: the guest received something of a burst that was cut short: %v", round, err)
			}
			frames := [][]byte{randomFrame(rng, 500, 700), randomFrame(rng, 60, 100)}
			r.transmit(frames, rng)
			for _, f := range frames {
				if got, err := r.guest.Receive(0, 0); err != nil || !bytes.Equal(got, f) {
					t.Fatalf("round %d: a frame of %d bytes arrived as %d: %v", round, len(f), len(got), err)
				}
			}
		}
		r.healthy()
	}
}

// goneMemory is a mapping whose file was truncated.
func goneMemory(t *testing.T) []byte {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "memory"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	if err := file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	return mem[:200]
}

// TestARingThatBrokeTakesNoMoreOfTheBurst: a frame that is written over the descriptors that broke the ring, where the guest
// had its buffer, mends nothing.
func TestARingThatBrokeTakesNoMoreOfTheBurst(t *testing.T) {
	v := newVictim(t, attack{}, true, true)
	ring := v.packed.DescPlace()
	v.chain(vhosttest.Desc{Addr: ring.GPA + vhosttest.DescSize - 12, Len: 12 + 60})
	v.packed.Offer(v.at, slices.Repeat([]vhosttest.PackedDesc{{Addr: v.buf.GPA, Flags: next | v.w}}, hostileRing-1)...)
	good := make([]byte, 60)
	binary.LittleEndian.PutUint64(good, v.buf.GPA)
	binary.LittleEndian.PutUint32(good[8:], 200)
	binary.LittleEndian.PutUint16(good[14:], vhosttest.AvailFlags(v.at)|v.w)
	v.r.transmit([][]byte{good, make([]byte, 60)}, nil)
	if c := v.r.tx.Counters(); c.Packets != 1 || c.Drops[packet.DropBadDescriptor] != 1 {
		t.Errorf("counted %+v", c)
	}
	var re *virtq.RingError
	if !errors.As(v.r.txRing.Err(), &re) || re.Violation != virtq.ChainTooLong {
		t.Errorf("the ring's error is %v", v.r.txRing.Err())
	}
}
