package virtq_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
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

func TestAHostileGuestBreaksItsOwnRingOnly(t *testing.T) {
	for _, packed := range []bool{false, true} {
		list := append(splitAttacks, attacks...)
		if packed {
			list = append(packedAttacks, attacks...)
		}
		for _, a := range list {
			for _, rx := range []bool{false, true} {
				if rx && a.onlyTx || !rx && a.onlyRx {
					continue
				}
				name := a.name + map[bool]string{false: " on the transmitq", true: " on the receiveq"}[rx]
				t.Run(name+map[bool]string{true: ", packed"}[packed], func(t *testing.T) { runAttack(t, a, packed, rx) })
			}
		}
	}
}

func runAttack(t *testing.T, a attack, packed, rx bool) {
	if packed && a.ignored {
		a.want = 0
	}
	v := newVictim(t, a, packed, rx)
	r := v.r
	a.do(v)
	ring, other := r.rxRing, r.txRing
	before, descs := image(r.guest), v.descs()
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
	allowed := v.deviceParts()
	if rx {
		last, _ := r.guest.Memory().At(endGPA-64, 64)
		allowed = append(allowed, v.buf, last)
	}
	unchanged(t, r.guest, before, allowed...)
	v.onlyUsed(descs)
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
	if packed && (re.Index >= hostileRing || re.Descriptor >= tableEntries) {
		t.Errorf("the error names what is not in the ring: %v", re)
	}
	if n := r.errors.Load(); n != 1 {
		t.Errorf("onError was called %d times", n)
	}
	recovers(t, v, rx)
}

// recovers checks that a broken queue stays silent, and works again with the ring of a guest that has re-initialised.
func recovers(t *testing.T, v *victim, rx bool) {
	r := v.r
	fresh := hostileRig(t, true, func(c *vhosttest.Config) { c.Packed = v.packed != nil })
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
		t.Run(name, func(t *testing.T) { mutate(t, what, false) })
		t.Run(name+", packed", func(t *testing.T) { mutate(t, what, true) })
	}
}

func mutate(t *testing.T, what vhosttest.MutateWhat, packed bool) {
	deadline := time.Now().Add(150 * time.Millisecond)
	rounds := 0
	for seed := uint64(1); time.Now().Before(deadline); seed++ {
		r := hostileRig(t, seed%2 == 0, func(c *vhosttest.Config) { c.Packed, c.Mergeable = packed, seed%3 == 0 })
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
			if err != nil && err.Error() == "" {
				t.Error("a ring broke without a reason")
			}
		}
	}
	if rounds == 0 {
		t.Error("nothing was done")
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
	offerTx, offerRx := offerer(r.guest.Tx(0)), offerer(r.guest.Rx(0))
	for round := range 300 {
		for range rng.IntN(8) {
			offerTx(uint16(rng.UintN(hostileRing)))
			offerRx(uint16(rng.UintN(hostileRing)))
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

// offerer makes descriptors available again as they are: those that it is told, or in a packed ring one after the other.
func offerer(q *vhosttest.Queue) func(head uint16) {
	ring, at := q.PackedRing(), q.AvailIndex()
	if ring == nil {
		return func(head uint16) { q.Ring().Offer(head) }
	}
	return func(uint16) { at = ring.Offer(at, ring.Desc(uint32(at&^vhosttest.WrapBit))) }
}

// TestATruncatedMemoryFileIsAFault: the PMD thread survives a SIGBUS because it arrives as a panic with the address.
func TestATruncatedMemoryFileIsAFault(t *testing.T) {
	for _, packed := range []bool{false, true} {
		for _, inOrder := range []bool{false, true} {
			truncated(t, hostileRig(t, true, func(c *vhosttest.Config) { c.Packed, c.InOrder = packed, inOrder }))
		}
	}
}

func truncated(t *testing.T, r *rig) {
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
