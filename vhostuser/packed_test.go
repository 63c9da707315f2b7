package vhostuser

import (
	"encoding/binary"
	"strings"
	"testing"

	"weft/vhostuser/virtq"
)

// Flags of packed descriptors, and a position's wrap counter.
const (
	descNext  = 1 << 0
	descAvail = 1 << 7
	descUsed  = 1 << 15
	wrap1     = 1 << 15
)

// packedRing is the driver's side of ring 1 of a guest, whose descriptor table is a packed ring and whose available and used
// ring are the event areas.
type packedRing struct {
	g  *guest
	at uint16 // where the next chain goes
}

// packedGuest is a guest that has set a packed ring 1 up, but not started it.
func packedGuest(t *testing.T, size uint32) (*bench, *front, *packedRing) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, size)
	f := dial(t, b.path)
	f.negotiateAllBut(0)
	g.setMemory(f)
	f.must(SetVringEnable, state(1, 1))
	return b, f, &packedRing{g, wrap1}
}

// set sets everything of ring 1 but its base, and starts it.
func (p *packedRing) set(f *front) {
	f.t.Helper()
	f.must(SetVringNum, state(1, p.g.rings[1].size))
	f.must(SetVringAddr, p.g.addr(1))
	f.must(SetVringKick, encodeU64(1), p.g.kickFD())
}

// start is set with a base.
func (p *packedRing) start(f *front, base uint32) {
	f.t.Helper()
	f.must(SetVringBase, state(1, base))
	p.set(f)
}

// stop returns the base at which the ring stopped.
func (p *packedRing) stop(f *front) uint32 {
	f.t.Helper()
	return order.Uint32(f.ask(GetVringBase, state(1, 0))[4:])
}

// clear empties the ring, as a driver does that begins anew.
func (p *packedRing) clear() {
	r := p.g.rings[1]
	clear(p.g.mem[r.desc : r.desc+virtq.DescBytes(r.size)])
	p.at = wrap1
}

func (p *packedRing) desc(at uint16) []byte { return p.g.mem[p.g.rings[1].desc+16*uint64(at&^wrap1):] }

// post makes frame available in one descriptor, or a chain of several, and returns its position.
func (p *packedRing) post(pieces int) (at uint16) {
	at = p.at
	const buf = guestSize / 2
	copy(p.g.mem[buf+12:], frame)
	for i := range pieces {
		d, n, flags := p.desc(p.at), uint32(12+len(frame)), uint16(descUsed)
		if p.at&wrap1 != 0 {
			flags = descAvail
		}
		if i < pieces-1 {
			n, flags = 0, flags|descNext
		}
		binary.LittleEndian.PutUint64(d, p.g.gpa+buf)
		binary.LittleEndian.PutUint32(d[8:], n)
		binary.LittleEndian.PutUint16(d[12:], 3)
		if i > 0 {
			binary.LittleEndian.PutUint16(d[14:], flags)
		} else {
			defer binary.LittleEndian.PutUint16(d[14:], flags)
		}
		if p.at++; uint32(p.at&^wrap1) == p.g.rings[1].size {
			p.at = p.at&wrap1 ^ wrap1
		}
	}
	return at
}

// used reports that the chain at a position was used.
func (p *packedRing) used(at uint16) bool {
	flags := binary.LittleEndian.Uint16(p.desc(at)[14:])
	return flags&(descAvail|descUsed) == map[bool]uint16{true: descAvail | descUsed}[at&wrap1 != 0]
}

// taken posts frames and waits until they are used.
func (p *packedRing) taken(n, pieces int) {
	p.g.t.Helper()
	for range n {
		at := p.post(pieces)
		until(p.g.t, "a frame is taken", func() bool { return p.used(at) })
	}
}

// both is a base whose halves are the position at.
func both(at uint16) uint32 { return uint32(at) | uint32(at)<<16 }

func TestSizesOfPackedRings(t *testing.T) {
	_, f, _ := packedGuest(t, 64)
	for _, n := range []uint32{1, 2, 3, 100, 32767, 32768} {
		f.must(SetVringNum, state(0, n))
	}
	for _, n := range []uint32{0, 32769, 65535, 65536, 1<<32 - 1} {
		if f.do(SetVringNum, state(0, n)) {
			t.Errorf("size %d was accepted", n)
		}
	}
}

func TestBasesOutsideAPackedRingAreAFaultOfTheRing(t *testing.T) {
	b, f, p := packedGuest(t, 50)
	for _, base := range []uint32{50, 0x8032, 0xffff, 0x7fff, 0x8032_8000} {
		p.start(f, base)
		st := b.Status()
		fault := st.State == StateError && strings.Contains(st.Error, "outside a packed ring of 50")
		if outside := base&0x7fff >= 50; outside != fault {
			t.Errorf("base %#x: state %s, %q", base, st.State, st.Error)
		}
		if p.stop(f) != base && base != 0x8032_8000 {
			t.Errorf("base %#x became another", base)
		}
	}
	p.start(f, 51)
	f.must(SetVringBase, state(1, both(wrap1))) // mends it without a new start
	p.taken(3, 1)
}

func TestAPackedRingWhoseBaseNobodySetBeginsAtItsBeginning(t *testing.T) {
	_, f, p := packedGuest(t, 5)
	if base := p.stop(f); base != both(wrap1) {
		t.Errorf("before any start the base is %#x, want %#x", base, both(wrap1))
	}
	p.set(f)
	p.taken(12, 1)
	for name, reset := range map[string]func(){
		"SET_STATUS 0": func() { f.must(SetStatus, encodeU64(0)) },
		"RESET_DEVICE": func() { f.must(ResetDevice, nil); f.must(SetVringEnable, state(1, 1)) },
	} {
		reset()
		if base := p.stop(f); base != both(wrap1) {
			t.Errorf("after %s the base is %#x, want %#x", name, base, both(wrap1))
		}
		p.clear()
		p.set(f)
		p.taken(7, 1)
	}
}

// TestAPackedRingGoesOnAtTheBaseThatWasTold: with or without the half that tells of used descriptors, when the base is not
// set again, and after a reset that the front end undoes, as qemu does when a machine is stopped and continued.
func TestAPackedRingGoesOnAtTheBaseThatWasTold(t *testing.T) {
	for _, pieces := range []int{1, 2, 3} {
		_, f, p := packedGuest(t, 7)
		p.start(f, both(wrap1))
		for range 5 {
			p.taken(1, pieces)
			base := p.stop(f)
			if base != both(p.at) {
				t.Fatalf("stopped at %#x, want %#x", base, both(p.at))
			}
			at := p.post(pieces)
			f.sync()
			if p.used(at) {
				t.Fatal("a stopped ring goes on")
			}
			p.start(f, base)
			until(t, "it goes on", func() bool { return p.used(at) })
			if base = p.stop(f); base != both(p.at) {
				t.Fatalf("stopped at %#x, want %#x", base, both(p.at))
			}
			p.start(f, base&0xffff)
			p.taken(1, pieces)
			p.stop(f)
			p.set(f)
			p.taken(1, pieces)
			base = p.stop(f)
			f.must(SetStatus, encodeU64(0))
			p.start(f, base)
			p.taken(1, pieces)
		}
	}
}

// TestATheFirstChainOfARingIsNotTakenTwice: what the ring shows after it would lead astray, and the front end knows better.
func TestTheFirstChainOfARingIsNotTakenTwice(t *testing.T) {
	b, f, p := packedGuest(t, 8)
	p.start(f, both(wrap1))
	p.taken(1, 2)
	base := p.stop(f)
	f.must(SetStatus, encodeU64(0))
	p.start(f, base)
	p.taken(1, 1)
	if n := b.RxQueues()[0].Counters().Packets; n != 2 {
		t.Errorf("%d frames were taken of 2", n)
	}
}

func TestALayoutThatChangesForgetsTheBase(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	for slot := range uint16(5) {
		g.post(1, slot, frame, false)
	}
	until(t, "5 frames taken", func() bool { return g.usedIdx(1) == 5 })
	f.ask(GetVringBase, state(0, 0))
	f.ask(GetVringBase, state(1, 0))
	f.must(SetFeatures, encodeU64(f.askU64(GetFeatures, nil)))
	p := &packedRing{g: g}
	p.clear()
	p.set(f)
	p.taken(100, 1)

	p.stop(f)
	f.must(SetFeatures, encodeU64(f.askU64(GetFeatures, nil)&^featPacked))
	for _, at := range []uint64{g.rings[1].avail, g.rings[1].used} {
		clear(g.mem[at : at+4])
	}
	if base := p.stop(f); base != 0 {
		t.Errorf("a split ring that never ran has base %#x", base)
	}
	g.startRing(f, 1, 0)
	g.post(1, 0, frame, false)
	until(t, "a frame taken off a split ring", func() bool { return g.usedIdx(1) == 1 })
}

// TestABrokenPackedRingGoesOnWhereItsDescriptorsSay: its guest resets it, and begins anew.
func TestABrokenPackedRingGoesOnWhereItsDescriptorsSay(t *testing.T) {
	b, f, p := packedGuest(t, 8)
	p.start(f, both(wrap1))
	p.taken(3, 1)
	binary.LittleEndian.PutUint64(p.desc(p.at), 1) // overwritten by post
	binary.LittleEndian.PutUint16(p.desc(p.at)[14:], descAvail|2)
	until(t, "the error", func() bool { return b.Status().State == StateError })
	if st := b.Status(); !strings.Contains(st.Error, virtq.WrongDirection.String()) {
		t.Errorf("status %q", st.Error)
	}
	p.clear()
	p.set(f)
	p.taken(9, 1)
}

// TestAPackedRingOutlivesPortAndSession: a front end repeats the base of the first start, whatever became of the back end.
func TestAPackedRingOutlivesPortAndSession(t *testing.T) {
	b, f, p := packedGuest(t, 9)
	p.start(f, both(wrap1))
	for round := range 5 {
		p.taken(4, 1)
		if round%2 == 0 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = newBench(t, Config{})
		} else {
			f.close()
			until(t, "the session ends", func() bool { return b.Status().State == StateListening })
		}
		at := p.post(1) // nobody is there
		f = dial(t, b.path)
		f.negotiateAllBut(0)
		p.g.setMemory(f)
		f.must(SetVringEnable, state(1, 1))
		p.start(f, both(wrap1))
		until(t, "the ring goes on", func() bool { return p.used(at) })
	}
	f.close()
	until(t, "the session ends", func() bool { return b.Status().State == StateListening })
	g := newGuest(t, 1, 64)
	g.start(dial(t, b.path)) // without the feature
	g.post(1, 0, frame, false)
	until(t, "a frame taken off a split ring", func() bool { return g.usedIdx(1) == 1 })
}

func TestMemoryIsReplacedUnderAPackedRing(t *testing.T) {
	b, f, p := packedGuest(t, 11)
	p.start(f, both(wrap1))
	for n := range uint64(10) {
		p.taken(3, 2)
		at := p.post(1)
		more := memoryFile(t, guestSize)
		f.must(SetMemTable, table(p.g.region(), regionSpec{guestGPA << 1, guestSize, guestUser << 1, 0}), p.g.fd(), int(more.Fd()))
		_ = more.Close()
		until(t, "the ring goes on", func() bool { return p.used(at) })
		if got := b.RxQueues()[0].Counters().Packets; got != 4*(n+1) {
			t.Fatalf("%d frames were taken, want %d", got, 4*(n+1))
		}
	}
}
