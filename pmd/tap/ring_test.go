package tap

import (
	"encoding/binary"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/internal/packet"
)

func mustRing(t *testing.T, size, slot int) *ring {
	t.Helper()
	r, err := newRing(size, slot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// batchOf makes a batch of n frames of the given length that lie wholly in their windows, or spread over segments when
// they are longer. Byte 20 and on of frame i hold seq+i.
func batchOf(n, length int, seq uint32) (*packet.Batch, []uint8) {
	b := packet.NewBatch(nil)
	fillBatch(b, n, length, seq)
	idx := make([]uint8, n)
	for i := range idx {
		idx[i] = uint8(i)
	}
	return b, idx
}

func fillBatch(b *packet.Batch, n, length int, seq uint32) {
	b.Reset()
	for i := range n {
		head := min(length, packet.WindowSize)
		p := b.Add(head)
		clear(p.Header())
		binary.BigEndian.PutUint16(p.Header()[12:], 0x88b5) // IEEE 802 local experimental
		binary.BigEndian.PutUint32(p.Header()[20:], seq+uint32(i))
		if length > head {
			rest := make([]byte, length-head)
			for j := range rest {
				rest[j] = byte(j)
			}
			b.AddSegment(p, packet.SegmentOf(rest))
		}
	}
}

func txQueue(t *testing.T, size, slot, mtu int) *TxQueue {
	q := &TxQueue{ring: mustRing(t, size, slot), mtu: mtu}
	q.open.Store(true)
	return q
}

func TestTransmitCountsWhyItDropped(t *testing.T) {
	const slot = 2048
	tests := []struct {
		name   string
		mtu    int
		length int
		tags   int
		closed bool
		want   packet.DropReason
		passes bool
	}{
		{name: "a short frame passes", length: 60, passes: true},
		{name: "a frame of exactly the MTU passes", mtu: 1500, length: 1514, passes: true},
		{name: "one byte more does not", mtu: 1500, length: 1515, want: packet.DropOverMTU},
		{name: "one tag is not counted", mtu: 1500, length: 1518, tags: 1, passes: true},
		{name: "two tags are not counted", mtu: 1500, length: 1522, tags: 2, passes: true},
		{name: "three tags are", mtu: 1500, length: 1526, tags: 3, want: packet.DropOverMTU},
		{name: "a frame that fills a buffer passes", length: slot - vnetHeaderLen, passes: true},
		{name: "one byte more is too long", length: slot - vnetHeaderLen + 1, want: packet.DropFrameTooLong},
		{name: "no interface", length: 60, closed: true, want: packet.DropPortDown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := txQueue(t, 64, slot, tt.mtu)
			q.open.Store(!tt.closed)
			b, idx := batchOf(1, tt.length, 0)
			for i := range tt.tags {
				binary.BigEndian.PutUint16(b.Packet(0).Header()[12+4*i:], packet.TPID8021Q)
				binary.BigEndian.PutUint16(b.Packet(0).Header()[16+4*i:], 0x0800)
			}
			q.Transmit(b, idx)
			if got := q.ring.tail.Load() == 1; got != tt.passes {
				t.Errorf("passed: %v, want %v", got, tt.passes)
			}
			var want [packet.NumDropReasons]uint64
			if !tt.passes {
				want[tt.want] = 1
			}
			if got := q.Counters().Drops; got != want {
				t.Errorf("drops %v, want %v", got, want)
			}
		})
	}
}

func TestTransmitDropsWhatExceedsTheRing(t *testing.T) {
	q := txQueue(t, 64, 2048, 0)
	b, idx := batchOf(30, 60, 0)
	for range 3 {
		q.Transmit(b, idx)
	}
	if got := q.ring.tail.Load(); got != 64 {
		t.Errorf("ring holds %d frames, want 64", got)
	}
	if got := q.Counters().Drops[packet.DropNoDescriptor]; got != 26 {
		t.Errorf("dropped %d frames, want 26", got)
	}
	q.discard()
	if got := q.Counters().Drops[packet.DropPortDown]; got != 64 {
		t.Errorf("discard counted %d frames, want 64", got)
	}
	if q.ring.head.Load() != q.ring.tail.Load() {
		t.Error("the ring is not empty after discard")
	}
}

func TestRefuseJudgesWhatTheKernelGave(t *testing.T) {
	tests := []struct {
		name   string
		header [4]byte
		n      int
		want   packet.DropReason
		bad    bool
	}{
		{name: "an Ethernet header alone is a frame", n: 26},
		{name: "less is a runt", n: 25, want: packet.DropRunt, bad: true},
		{name: "nothing is a runt", n: 0, want: packet.DropRunt, bad: true},
		{name: "a full buffer was cut off", n: 100, want: packet.DropFrameTooLong, bad: true},
		{name: "a missing checksum", header: [4]byte{1}, n: 60, want: packet.DropBadDescriptor, bad: true},
		{name: "a verified checksum is fine", header: [4]byte{2}, n: 60},
		{name: "a segment to be split", header: [4]byte{0, 1}, n: 60, want: packet.DropBadDescriptor, bad: true},
		{name: "a header length to be split by", header: [4]byte{0, 0, 54}, n: 60, want: packet.DropBadDescriptor, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			buf := make([]byte, 100)
			copy(buf, tt.header[:])
			if got, bad := refuse(buf, tt.n); got != tt.want || bad != tt.bad {
				t.Errorf("refuse = %v, %v; want %v, %v", got, bad, tt.want, tt.bad)
			}
		})
	}
}

// TestRingsLoseNothingAndKeepOrder runs both rings with real goroutines over a socket pair in the interface's place.
func TestRingsLoseNothingAndKeepOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	const frames = 20000
	tx := txQueue(t, 128, 2048, 0)
	rx := &RxQueue{ring: mustRing(t, 128, 2048+packet.Headroom)}
	a, b := socketPair(t)
	s := &session{files: []*os.File{a}, over: make(chan struct{})}
	r := &session{files: []*os.File{b}, over: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() { tx.write(s, a) })
	wg.Go(func() { rx.read(r, b) })

	out := packet.NewBatch(nil)
	in := packet.NewBatch(nil)
	idx := make([]uint8, packet.BatchSize)
	for i := range idx {
		idx[i] = uint8(i)
	}
	var sent, got uint32
	for deadline := time.Now().Add(30 * time.Second); got < frames; {
		if free := tx.ring.size() - (tx.ring.tail.Load() - tx.ring.head.Load()); sent < frames && free > 0 {
			n := min(free, packet.BatchSize, frames-sent)
			fillBatch(out, int(n), 60+int(sent%1000), sent)
			tx.Transmit(out, idx[:n])
			sent += n
		}
		if rx.Receive(in) > 0 {
			for i := range in.Len() {
				if seq := binary.BigEndian.Uint32(in.Packet(i).Header()[20:]); seq != got {
					t.Fatalf("frame %d came in place of %d", seq, got)
				}
				got++
			}
			rx.Release(in)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d frames sent, %d received after 30 s", sent, got)
		}
	}
	for _, x := range []*session{s, r} {
		x.lose(os.ErrClosed)
		x.closeFiles()
	}
	tx.ring.wake.Wake()
	rx.ring.wake.Wake()
	wg.Wait()
	if c := rx.Counters(); c.Packets != frames || c.Dropped() != 0 {
		t.Errorf("received %d packets with %d drops, want %d and 0", c.Packets, c.Dropped(), frames)
	}
	if c := tx.Counters(); c.Packets != frames || c.Dropped() != 0 {
		t.Errorf("transmitted %d packets with %d drops, want %d and 0", c.Packets, c.Dropped(), frames)
	}
}

// TestReaderWaitsForSpace fills the rx ring: nothing may be overwritten, and reading goes on after Release.
func TestReaderWaitsForSpace(t *testing.T) {
	rx := &RxQueue{ring: mustRing(t, 64, 2048+packet.Headroom)}
	a, b := socketPair(t)
	s := &session{files: []*os.File{b}, over: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		rx.read(s, b)
	}()
	frame := make([]byte, vnetHeaderLen+60)
	for i := range uint32(100) {
		binary.BigEndian.PutUint32(frame[vnetHeaderLen+20:], i)
		if _, err := a.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "a full ring and a sleeping reader", func() bool {
		return rx.ring.tail.Load() == 64 && rx.ring.asleep.Load()
	})
	batch := packet.NewBatch(nil)
	var got uint32
	waitFor(t, "all frames", func() bool {
		for range rx.Receive(batch) {
			if seq := binary.BigEndian.Uint32(batch.Packet(int(got) % packet.BatchSize).Header()[20:]); seq != got {
				t.Fatalf("frame %d came in place of %d", seq, got)
			}
			got++
		}
		if batch.Len() > 0 {
			rx.Release(batch)
		}
		return got == 100
	})
	s.lose(os.ErrClosed)
	s.closeFiles()
	<-done
}

func TestQueuesAllocateNothing(t *testing.T) {
	tx := txQueue(t, 64, 2048, 1500)
	rx := &RxQueue{ring: mustRing(t, 64, 2048)}
	out, idx := batchOf(packet.BatchSize, 200, 0)
	in := packet.NewBatch(nil)
	allocs := testing.AllocsPerRun(200, func() {
		tx.Transmit(out, idx)
		tx.ring.head.Store(tx.ring.tail.Load())
		for range packet.BatchSize {
			rx.ring.lens[rx.ring.tail.Load()&rx.ring.mask] = 60
			rx.ring.tail.Add(1)
		}
		if rx.Receive(in) != packet.BatchSize {
			t.Fatal("the ring did not give a whole batch")
		}
		rx.Release(in)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a batch, want 0", allocs)
	}
}

func TestPositionsWrap(t *testing.T) {
	tx := txQueue(t, 64, 2048, 0)
	start := ^uint32(0) - 20
	tx.ring.head.Store(start)
	tx.ring.tail.Store(start)
	b, idx := batchOf(32, 60, 7)
	tx.Transmit(b, idx)
	tx.Transmit(b, idx)
	tx.Transmit(b, idx)
	if n := tx.ring.tail.Load() - start; n != 64 {
		t.Errorf("%d frames in the ring, want 64", n)
	}
	if n := tx.Counters().Drops[packet.DropNoDescriptor]; n != 32 {
		t.Errorf("%d drops, want 32", n)
	}
}
