package virtq_test

import (
	"testing"

	"weft/internal/packet"
	"weft/vhostuser/vhosttest"
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
