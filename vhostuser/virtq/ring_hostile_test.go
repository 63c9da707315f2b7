package virtq_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// The memory of a hostile guest: two regions and a small one between, which touch for the guest and lie apart in the
// file and here, and one that the device is not told of.
const (
	hostileRing  = 16
	regionSize   = 128 << 10
	lowGPA       = 0x100000
	midGPA       = lowGPA + regionSize
	midSize      = 4096
	highGPA      = midGPA + midSize
	endGPA       = highGPA + regionSize // the first address that is not mapped
	secretGPA    = 1 << 40
	secretSize   = 4096
	tableEntries = 1500
)

// attack is one thing that a guest does to a ring. Each is tried on the transmitq and on the receiveq.
type attack struct {
	name string
	// want is how the ring breaks; 0 when the guest harms nobody, and the ring goes on.
	want   virtq.Violation
	noInd  bool // INDIRECT_DESC is not negotiated
	do     func(v *victim)
	onlyRx bool // only on the guest's receiveq
	onlyTx bool
}

// victim is the ring under attack.
type victim struct {
	t    *testing.T
	r    *rig
	q    *vhosttest.Queue
	ring *vhosttest.Ring
	w    uint16 // the flag that makes a buffer's direction right
	buf  vhosttest.Place
	tab  vhosttest.Place
}

// desc writes descriptor i.
func (v *victim) desc(i uint32, addr uint64, n uint32, flags, next uint16) {
	v.ring.SetDesc(i, vhosttest.Desc{Addr: addr, Len: n, Flags: flags | v.w, Next: next})
}

// table writes an indirect table of entries, each made by f, and offers it as descriptor 0.
func (v *victim) table(n int, f func(i int) vhosttest.Desc) {
	descs := make([]vhosttest.Desc, n)
	for i := range descs {
		descs[i] = f(i)
		descs[i].Flags ^= v.w
	}
	if err := v.r.guest.Memory().WriteDescs(v.tab.GPA, descs...); err != nil {
		v.t.Fatal(err)
	}
	v.ring.SetDesc(0, vhosttest.Desc{Addr: v.tab.GPA, Len: uint32(n * vhosttest.DescSize), Flags: indirect})
	v.ring.Offer(0)
}

const (
	next     = vhosttest.DescNext
	indirect = vhosttest.DescIndirect
)

func hostileRig(t testing.TB, hasIndirect bool, more ...func(*vhosttest.Config)) *rig {
	cfg := vhosttest.Config{RingSize: hostileRing, SlotSize: 1600, Verify: true, Indirect: hasIndirect}
	if hasIndirect {
		cfg.TxLayout = vhosttest.Layout{DataPieces: 3, Indirect: true}
		cfg.RxLayout = cfg.TxLayout
		cfg.SlotSize = 600
	}
	cfg.Regions = []vhosttest.RegionLayout{
		{GPA: secretGPA, Size: secretSize, Reserved: true},
		{GPA: highGPA, Size: regionSize, Gap: 4096},
		{GPA: lowGPA, Size: regionSize, Gap: 8192},
		{GPA: midGPA, Size: midSize, Gap: 4096, Reserved: true},
	}
	for _, f := range more {
		f(&cfg)
	}
	return newRig(t, cfg)
}

// image is a copy of all guest memory, the secret region included.
func image(g *vhosttest.Guest) [][]byte {
	var all [][]byte
	for _, l := range g.Memory().Layout() {
		p, err := g.Memory().At(l.GPA, l.Size)
		if err != nil {
			panic(err)
		}
		all = append(all, bytes.Clone(p.Bytes))
	}
	return all
}

// unchanged fails when memory differs from before elsewhere than in the places allowed.
func unchanged(t *testing.T, g *vhosttest.Guest, before [][]byte, allowed ...vhosttest.Place) {
	t.Helper()
	for i, l := range g.Memory().Layout() {
		p, _ := g.Memory().At(l.GPA, l.Size)
		for _, a := range allowed {
			if a.GPA >= l.GPA && a.GPA-l.GPA < l.Size {
				off := a.GPA - l.GPA
				copy(before[i][off:off+uint64(len(a.Bytes))], p.Bytes[off:])
			}
		}
		if !bytes.Equal(p.Bytes, before[i]) {
			t.Errorf("the device changed memory of the region at %#x that is not its to change", l.GPA)
		}
	}
}

func TestAHostileGuestBreaksItsOwnRingOnly(t *testing.T) {
	for _, a := range attacks {
		for _, rx := range []bool{false, true} {
			name := a.name + " on the transmitq"
			if rx {
				name = a.name + " on the receiveq"
			}
			if rx && a.onlyTx || !rx && a.onlyRx {
				continue
			}
			t.Run(name, func(t *testing.T) { runAttack(t, a, rx) })
		}
	}
}

func newVictim(t *testing.T, a attack, rx bool) *victim {
	r := hostileRig(t, !a.noInd)
	v := &victim{t: t, r: r, q: r.guest.Tx(0)}
	if rx {
		v.q, v.w = r.guest.Rx(0), vhosttest.DescWrite
		r.guest.Rx(0).Ring().SetAvailHead(0, 0) // takes back what the driver had offered
	}
	v.ring = v.q.Ring()
	var err, err2 error
	v.buf, err = r.guest.Memory().Alloc(2048, 64)
	v.tab, err2 = r.guest.Memory().Alloc(tableEntries*vhosttest.DescSize, 16)
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return v
}

func runAttack(t *testing.T, a attack, rx bool) {
	v := newVictim(t, a, rx)
	r := v.r
	a.do(v)
	ring, other := r.rxRing, r.txRing
	before := image(r.guest)
	rng := rand.New(rand.NewPCG(1, 1))
	frames := [][]byte{randomFrame(rng, 52, 52), randomFrame(rng, 88, 88), randomFrame(rng, 20, 20)}
	for range 3 {
		if rx {
			ring, other = r.txRing, r.rxRing
			r.transmit(frames, rng)
		} else {
			r.poll(func([]byte) {})
		}
	}
	last, _ := r.guest.Memory().At(endGPA-64, 64)
	if !rx {
		last.Bytes = nil
		unchanged(t, r.guest, before, v.ring.UsedPlace())
	} else {
		unchanged(t, r.guest, before, v.ring.UsedPlace(), v.buf, last)
	}
	if err := other.Err(); err != nil {
		t.Errorf("the other ring broke too: %v", err)
	}
	if a.want == 0 {
		if err := ring.Err(); err != nil {
			t.Errorf("a harmless ring broke: %v", err)
		}
		if n := r.errors.Load(); n != 0 {
			t.Errorf("onError was called %d times", n)
		}
		return
	}
	var re *virtq.RingError
	if err := ring.Err(); !errors.As(err, &re) || re.Violation != a.want {
		t.Fatalf("the ring's error is %v, want: %v", ring.Err(), a.want)
	}
	if !strings.Contains(re.Error(), a.want.String()) || a.want.String() == "" {
		t.Errorf("the error does not say what was wrong: %q", re)
	}
	if n := r.errors.Load(); n != 1 {
		t.Errorf("onError was called %d times", n)
	}
	recovers(t, v, rx)
}

// recovers checks that a broken queue stays silent, and works again with the ring of a guest that has re-initialised.
func recovers(t *testing.T, v *victim, rx bool) {
	r := v.r
	fresh := hostileRig(t, true)
	rng := rand.New(rand.NewPCG(2, 2))
	f := randomFrame(rng, 100, 100)
	if rx {
		before := r.tx.Counters()
		r.transmit([][]byte{f}, rng)
		after := r.tx.Counters()
		if after.Packets != before.Packets || after.Dropped() != before.Dropped()+1 {
			t.Errorf("a broken receiveq counts %+v after %+v", after, before)
		}
		r.tx.Attach(fresh.txRing)
		r.transmit([][]byte{f}, rng)
		got, err := fresh.guest.Receive(0, 0)
		if err != nil || !bytes.Equal(got, f) {
			t.Errorf("after re-initialisation a frame of 100 bytes arrived as %d bytes: %v", len(got), err)
		}
		return
	}
	r.rx.Attach(fresh.rxRing)
	if err := fresh.guest.Send(0, f); err != nil {
		t.Fatal(err)
	}
	if n := r.poll(func(got []byte) {
		if !bytes.Equal(got, f) {
			t.Errorf("after re-initialisation a frame of 100 bytes arrived as %d bytes", len(got))
		}
	}); n != 1 {
		t.Errorf("after re-initialisation %d frames arrived", n)
	}
}

func TestHarmlessOddFramesAreCountedAndTheNextArrives(t *testing.T) {
	buf, good := make([]byte, 400), bytes.Repeat([]byte{0x42}, 60)
	header := make([]byte, 12)
	ones := bytes.Repeat([]byte{1}, 300)
	cuts := func(b []byte) (c []int) {
		for _, n := range b {
			c = append(c, int(n))
		}
		return c
	}
	for _, c := range []struct {
		name   string
		header []byte
		frame  []byte
		cuts   []int
		want   packet.DropReason // NumDropReasons: arrives
	}{
		{"nothing but half a header", header[:6], nil, []int{6}, packet.DropBadDescriptor},
		{"nothing but a header", header, nil, []int{12}, packet.DropBadDescriptor},
		{"nothing but a header in twelve parts", header, nil, cuts(ones[:12]), packet.DropBadDescriptor},
		{"a runt", header, buf[:13], []int{12, 13}, packet.DropRunt},
		{"the shortest frame, byte by byte", header, buf[:14], cuts(ones[:26]), packet.NumDropReasons},
		{"120 bytes, byte by byte", header, buf[:108], cuts(ones[:120]), packet.NumDropReasons},
		{"300 bytes, byte by byte", header, buf[:288], cuts(ones), packet.DropTooManySegments},
		{"a header that asks for offloads", bytes.Repeat([]byte{0xff}, 12), buf, []int{412}, packet.NumDropReasons},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, vhosttest.Config{RingSize: 512, Verify: true})
			err := r.guest.Tx(0).EnqueuePieces(c.header, c.frame, c.cuts, false)
			if err == nil {
				err = r.guest.Send(0, good)
			}
			if err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			for r.poll(func(f []byte) { got = append(got, bytes.Clone(f)) }) > 0 {
			}
			if _, err := r.guest.Tx(0).Reap(); err != nil || r.guest.Tx(0).Outstanding() != 0 {
				t.Errorf("%d buffers did not come back: %v", r.guest.Tx(0).Outstanding(), err)
			}
			r.healthy()
			want, drops := [][]byte{c.frame, good}, r.rx.Counters()
			if c.want < packet.NumDropReasons {
				want = want[1:]
				if drops.Drops[c.want] != 1 || drops.Dropped() != 1 {
					t.Errorf("drops: %v, want one of reason %v", drops.Drops, c.want)
				}
			}
			if len(got) != len(want) || !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
				t.Errorf("%d frames arrived, want %d", len(got), len(want))
			}
		})
	}
}

// TestABufferAcrossTwoRegions: guest-physical neighbours are one buffer, wherever the front end has mapped them (the
// class of CVE-2018-1059).
func TestABufferAcrossTwoRegions(t *testing.T) {
	r := hostileRig(t, true)
	rng := rand.New(rand.NewPCG(4, 4))
	f := randomFrame(rng, 1000, 1000)
	lo, _ := r.guest.Memory().At(midGPA-500, 500)
	hi, _ := r.guest.Memory().At(midGPA, 512)
	clear(lo.Bytes[:12])
	copy(hi.Bytes, f[copy(lo.Bytes[12:], f):])
	r.guest.Tx(0).Ring().SetDesc(0, vhosttest.Desc{Addr: midGPA - 500, Len: 1012})
	r.guest.Tx(0).Ring().Offer(0)
	if n := r.poll(func(got []byte) {
		if !bytes.Equal(got, f) {
			t.Error("the frame from across the border differs")
		}
	}); n != 1 {
		t.Fatalf("%d frames arrived: %v", n, r.rxRing.Err())
	}
	clear(lo.Bytes)
	clear(hi.Bytes)
	ring := r.guest.Rx(0).Ring()
	ring.SetDesc(0, vhosttest.Desc{Addr: midGPA - 500, Len: 1012, Flags: vhosttest.DescWrite})
	ring.SetAvailHead(0, 0)
	ring.Offer(0)
	r.transmit([][]byte{f}, rng)
	if got := append(bytes.Clone(lo.Bytes), hi.Bytes...); !bytes.Equal(got[12:], f) {
		t.Errorf("the frame across the border differs: %v", r.txRing.Err())
	}
	if _, used := ring.UsedHead(); used != 1 || ring.Used(0).Len != 1012 {
		t.Errorf("used index %d, length %d", used, ring.Used(0).Len)
	}
}

func TestAnIndirectTableMayEndAChain(t *testing.T) {
	r := hostileRig(t, true)
	f := randomFrame(rand.New(rand.NewPCG(4, 5)), 300, 300)
	buf, _ := r.guest.Memory().Alloc(512, 64)
	tab, _ := r.guest.Memory().Alloc(32, 16)
	copy(buf.Bytes[12:], f)
	ring := r.guest.Tx(0).Ring()
	ring.SetDesc(7, vhosttest.Desc{Addr: buf.GPA, Len: 100, Flags: next, Next: 2})
	ring.SetDesc(2, vhosttest.Desc{Addr: tab.GPA, Len: 32, Flags: indirect})
	err := r.guest.Memory().WriteDescs(tab.GPA, vhosttest.Desc{Addr: buf.GPA + 100, Len: 100, Flags: next, Next: 1},
		vhosttest.Desc{Addr: buf.GPA + 200, Len: 112})
	if err != nil {
		t.Fatal(err)
	}
	ring.Offer(7)
	if n := r.poll(func(got []byte) {
		if !bytes.Equal(got, f) {
			t.Errorf("a frame of 300 bytes arrived as %d bytes", len(got))
		}
	}); n != 1 {
		t.Errorf("%d frames arrived: %v", n, r.rxRing.Err())
	}
}

// TestRingsThatChangeWhileTheDeviceWorks has a second CPU of the guest rewrite descriptors, indices and buffers all the
// time (the class of CVE-2020-14375): the device may break the ring or forward rubbish, and does no other harm.
func TestRingsThatChangeWhileTheDeviceWorks(t *testing.T) {
	const all = vhosttest.MutateDescs | vhosttest.MutateTables | vhosttest.MutateAvail | vhosttest.MutateAvailHead |
		vhosttest.MutateUsed | vhosttest.MutateBuffers
	for name, what := range map[string]vhosttest.MutateWhat{
		"descriptors that change back": vhosttest.MutateDescs | vhosttest.MutateFlip,
		"tables that change back":      vhosttest.MutateTables | vhosttest.MutateFlip,
		"heads that change back":       vhosttest.MutateAvail | vhosttest.MutateFlip,
		"indices that change back":     vhosttest.MutateAvailHead | vhosttest.MutateFlip,
		"buffers and the used ring":    vhosttest.MutateBuffers | vhosttest.MutateUsed,
		"everything, changing back":    all | vhosttest.MutateFlip,
		"everything":                   all,
	} {
		t.Run(name, func(t *testing.T) {
			deadline := time.Now().Add(150 * time.Millisecond)
			broken, rounds := 0, 0
			for seed := uint64(1); time.Now().Before(deadline); seed++ {
				r := hostileRig(t, seed%2 == 0)
				before := image(r.guest)[0]
				rx := vhosttest.Mutate(r.guest.Rx(0), what, seed)
				tx := vhosttest.Mutate(r.guest.Tx(0), what, ^seed)
				rounds += churn(r, seed)
				rx.Stop()
				tx.Stop()
				if !bytes.Equal(image(r.guest)[0], before) {
					t.Fatal("the device wrote to memory that it was not told of")
				}
				for _, err := range []error{r.rxRing.Err(), r.txRing.Err()} {
					if err != nil {
						broken++
						if err.Error() == "" {
							t.Error("a ring broke without a reason")
						}
					}
				}
			}
			if rounds == 0 {
				t.Error("nothing was done")
			}
		})
	}
}

// churn drives both rings for up to 300 rounds, as a device does: what it received goes back to the guest.
func churn(r *rig, seed uint64) int {
	rng := rand.New(rand.NewPCG(seed, 3))
	buf := make([]byte, packet.MaxFrame)
	idx := make([]uint8, packet.BatchSize)
	for i := range idx {
		idx[i] = uint8(i)
	}
	txRing, rxRing := r.guest.Tx(0).Ring(), r.guest.Rx(0).Ring()
	for round := range 300 {
		for range rng.IntN(8) {
			txRing.Offer(uint16(rng.UintN(hostileRing)))
			rxRing.Offer(uint16(rng.UintN(hostileRing)))
		}
		n := r.rx.Receive(r.batch)
		for i := range n {
			p := r.batch.Packet(i)
			if p.Len() < packet.MinFrame || p.Len() > packet.MaxFrame || p.HeaderLen() < packet.MinFrame {
				r.t.Fatalf("a frame of %d bytes with a window of %d", p.Len(), p.HeaderLen())
			}
			r.batch.CopyTo(buf, p)
		}
		r.segmentsInside(n)
		r.tx.Transmit(r.batch, idx[:n])
		if n > 0 {
			r.rx.Release(r.batch)
		}
		if r.rxRing.Err() != nil && r.txRing.Err() != nil {
			return round + 1
		}
	}
	return 300
}

// TestATruncatedMemoryFileIsAFault: the PMD thread survives a SIGBUS because it arrives as a panic with the address.
func TestATruncatedMemoryFileIsAFault(t *testing.T) {
	r := hostileRig(t, true)
	if err := r.guest.Memory().Truncate(0); err != nil {
		t.Fatal(err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for name, use := range map[string]func(){
		"Receive":  func() { r.rx.Receive(r.batch) },
		"Transmit": func() { r.transmit([][]byte{make([]byte, 60)}, rand.New(rand.NewPCG(1, 1))) },
	} {
		func() {
			defer func() {
				err, ok := recover().(interface {
					runtime.Error
					Addr() uintptr
				})
				if !ok {
					t.Errorf("%s on a truncated memory file: no memory fault", name)
				} else if err.Addr() == 0 {
					t.Errorf("%s on a truncated memory file: %v", name, err)
				}
			}()
			use()
		}()
	}
}

// TestValuesThatChangeBetweenTwoReads flips one field between a good and a bad value as fast as a CPU can. A device
// that checks one reading and uses another leaves guest memory, where it faults, or hands out a segment outside.
func TestValuesThatChangeBetweenTwoReads(t *testing.T) {
	type desc = vhosttest.Desc
	const edge = endGPA - 2000
	for name, c := range map[string]struct{ good, bad desc }{
		"length":  {desc{Addr: edge, Len: 2000}, desc{Addr: edge, Len: 9000}},
		"address": {desc{Addr: edge, Len: 2000}, desc{Addr: edge + 1900, Len: 2000}},
		"flags":   {desc{Addr: edge, Len: 2000}, desc{Addr: edge, Len: 2000, Flags: indirect}},
		"next": {
			desc{Addr: edge, Len: 2000, Flags: next, Next: 1},
			desc{Addr: edge, Len: 2000, Flags: next, Next: 0x7fff},
		},
	} {
		for _, inTable := range []bool{false, true} {
			for _, rx := range []bool{false, true} {
				where := map[bool]string{false: "in the ring", true: "in a table"}[inTable]
				side := map[bool]string{false: "transmitq", true: "receiveq"}[rx]
				t.Run(name+" "+where+" of the "+side, func(t *testing.T) { flip(t, c.good, c.bad, inTable, rx) })
			}
		}
	}
}

func flip(t *testing.T, good, bad vhosttest.Desc, inTable, rx bool) {
	v := newVictim(t, attack{}, rx)
	r, mem := v.r, v.r.guest.Memory()
	good.Flags |= v.w
	bad.Flags |= v.w
	set := func(d vhosttest.Desc) { v.ring.SetDesc(0, d) }
	v.desc(1, good.Addr, 500, 0, 0)
	if inTable {
		set = func(d vhosttest.Desc) { _ = mem.WriteDescs(v.tab.GPA, d) }
		_ = mem.WriteDescs(v.tab.GPA, good, vhosttest.Desc{Addr: good.Addr, Len: 500, Flags: v.w})
		v.ring.SetDesc(0, vhosttest.Desc{Addr: v.tab.GPA, Len: 32, Flags: indirect})
	}
	var stop atomic.Bool
	var flipper sync.WaitGroup
	flipper.Go(func() {
		for !stop.Load() {
			for range 64 {
				set(bad)
				set(good)
			}
		}
	})
	defer flipper.Wait()
	defer stop.Store(true)
	rng := rand.New(rand.NewPCG(1, 1))
	frame := make([]byte, 1800)
	well, broken := 0, 0
	for deadline := time.Now().Add(60 * time.Millisecond); time.Now().Before(deadline); {
		v.ring.Offer(0, 0, 0, 0, 0, 0, 0, 0)
		ring := r.rxRing
		if rx {
			ring = r.txRing
			r.transmit([][]byte{frame, frame, frame, frame, frame, frame, frame, frame}, rng)
		} else if n := r.rx.Receive(r.batch); n > 0 {
			r.segmentsInside(n)
			r.rx.Release(r.batch)
		}
		if ring.Err() == nil {
			well++
			continue
		}
		broken++
		_, used := v.ring.UsedHead()
		v.ring.SetAvailHead(0, used)
		r.attach()
	}
	t.Logf("%d rounds went well, %d broke the ring", well, broken)
}

// segmentsInside checks that what the device lends of n frames is guest memory that it was told of.
func (r *rig) segmentsInside(n int) {
	for i := range n {
		for _, s := range r.batch.Segments(r.batch.Packet(i)) {
			at, found := uintptr(s.Pointer()), false
			for _, reg := range r.guest.Memory().Regions() {
				base := uintptr(reg.Base)
				found = found || reg.GPA != secretGPA && at >= base && at+uintptr(s.Len()) <= base+uintptr(reg.Size)
			}
			if !found {
				r.t.Fatalf("a segment of %d bytes lies outside guest memory", s.Len())
			}
		}
	}
}
