package vhostuser

import (
	"math"
	"os"
	"strings"
	"testing"
	"unsafe"

	"weft/internal/sys"
)

func TestMemoryTablesThatAreRefused(t *testing.T) {
	g := newGuest(t, 1, 64)
	r := g.region()
	with := func(f func(*regionSpec)) regionSpec { c := r; f(&c); return c }
	at := func(offset uint64) []regionSpec { return []regionSpec{with(func(r *regionSpec) { r.offset = offset })} }
	twice := func(f func(*regionSpec)) []regionSpec { return []regionSpec{r, with(f)} }
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	readOnly, err := os.Open("/etc/hostname")
	if err != nil {
		t.Skipf("SKIP: no file to open read-only: %v", err)
	}
	defer readOnly.Close()
	cases := []struct {
		name  string
		specs []regionSpec
		fd    int
		want  string
	}{
		{"empty", []regionSpec{with(func(r *regionSpec) { r.size = 0 })}, g.fd(), "empty"},
		{"longer than the file", []regionSpec{with(func(r *regionSpec) { r.size++ })}, g.fd(), "exceeds the file"},
		{"offset beyond the file", at(4096), g.fd(), "exceeds the file"},
		{"offset + size overflows", at(math.MaxUint64 - 4095), g.fd(), "overflows"},
		{"offset + size is 2^63", at(1<<63 - r.size), g.fd(), "exceeds the file"},
		{"size 2^64-1", []regionSpec{{0, math.MaxUint64, 0, 0}}, g.fd(), "limit"},
		{"guest address wraps", []regionSpec{with(func(r *regionSpec) { r.gpa = math.MaxUint64 - 1 })}, g.fd(), "wraps"},
		{"user address wraps", []regionSpec{with(func(r *regionSpec) { r.user = math.MaxUint64 - 1 })}, g.fd(), "wraps"},
		{"regions overlap for the guest", twice(func(r *regionSpec) { r.user += 1 << 30 }), g.fd(), "overlap"},
		{"regions overlap for the front end", twice(func(r *regionSpec) { r.gpa += 1 << 30; r.user++ }), g.fd(), "overlap"},
		{"a device", []regionSpec{r}, int(null.Fd()), "not a file"},
		{"an eventfd", []regionSpec{r}, g.kickFD(), "not a file"},
		{"a file that may not be written", []regionSpec{{0, 1, 0, 0}}, int(readOnly.Fd()), "permission"},
	}
	b := newBench(t, Config{})
	f := dial(t, b.path)
	g.start(f)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			check := noLeak(t)
			f.t = t
			if f.do(SetMemTable, table(c.specs...), slicesRepeat(c.fd, len(c.specs))...) {
				t.Error("accepted")
			}
			if got := b.Status().LastError; !strings.Contains(got, c.want) {
				t.Errorf("last error %q does not say %q", got, c.want)
			}
			check()
			if st := b.Status(); st.State != StateUp || st.Memory.Regions != 1 {
				t.Errorf("the running rings suffered: %+v", st)
			}
		})
	}
	f.t = t
	f.send(SetMemTable, table(regionSpec{0, 0, 0, 0}), g.fd())
	f.ended() // without an acknowledgement there is no other way to say no
}

// TestMemoryChangesUnderRunningRings: rings pause, are translated anew and go on where they were.
func TestMemoryChangesUnderRunningRings(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	extra := memoryFile(t, 4<<20)
	defer extra.Close()
	more := regionSpec{0, 2 << 20, guestUser + 1<<30, 1 << 20}
	f := dial(t, b.path)
	g.start(f)
	n := uint16(0)
	traffic := func() {
		t.Helper()
		g.post(1, n%32, frame, false)
		n++
		until(t, "the frame is taken", func() bool { return g.usedIdx(1) == n })
	}
	traffic()
	check := noLeak(t)
	for range 10 {
		f.must(SetMemTable, table(g.region(), more), g.fd(), int(extra.Fd()))
		traffic()
		if st := b.Status().Memory; st.Regions != 2 || st.Bytes != guestSize+2<<20 {
			t.Fatalf("memory %+v", st)
		}
		f.must(SetMemTable, table(more, g.region()), int(extra.Fd()), g.fd()) // another order
		traffic()
		f.must(SetMemTable, table(g.region()), g.fd())
		traffic()
	}
	check()
	// The rings' own region goes and comes, as it does when qemu's memory layout changes.
	f.must(RemMemReg, oneRegion(g.region()), g.fd())
	if st := b.Status(); st.Memory.Regions != 0 || b.ActiveRx()[0] || st.Rings[1].WaitingFor != "SET_MEM_TABLE" {
		t.Fatalf("%+v", st)
	}
	f.must(AddMemReg, oneRegion(more), int(extra.Fd()))
	if st := b.Status(); st.State != StateError {
		t.Fatalf("rings outside memory: %+v", st)
	}
	f.must(AddMemReg, oneRegion(g.region()), g.fd())
	traffic()
	if st := b.Status(); st.State != StateUp || st.Memory.Regions != 2 {
		t.Fatalf("%+v", st)
	}
	if got := b.RxQueues()[0].Counters().Packets; got != uint64(n) {
		t.Errorf("%d packets received of %d", got, n)
	}
}

func TestMemorySlots(t *testing.T) {
	b := newBench(t, Config{})
	g, other := newGuest(t, 1, 64), newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	if got := f.askU64(GetMaxMemSlots, nil); got != maxSlots {
		t.Fatalf("%d slots, want %d", got, maxSlots)
	}
	check := noLeak(t)
	slot := func(i uint64) regionSpec { return regionSpec{i << 20, 4096, i << 21, i * 4096} }
	for i := range uint64(maxSlots) {
		f.must(AddMemReg, oneRegion(slot(i)), g.fd())
	}
	if f.do(AddMemReg, oneRegion(slot(maxSlots)), g.fd()) {
		t.Error("one slot too many was accepted")
	}
	// qemu before 9.1 adds and removes each region once for every queue pair.
	f.must(AddMemReg, oneRegion(slot(3)), g.fd())
	if n := b.Status().Memory.Regions; n != maxSlots {
		t.Errorf("%d regions after one was added twice, want %d", n, maxSlots)
	}
	if f.do(AddMemReg, oneRegion(slot(3)), other.fd()) {
		t.Error("a slot was accepted twice, with another file")
	}
	f.must(RemMemReg, oneRegion(slot(99)))
	wrong := slot(5)
	wrong.offset = 77 // does not matter
	f.must(RemMemReg, oneRegion(wrong))
	f.must(RemMemReg, oneRegion(slot(5)))
	if n := b.Status().Memory.Regions; n != maxSlots-1 {
		t.Errorf("%d regions after one was removed, want %d", n, maxSlots-1)
	}
	for i := range uint64(maxSlots) {
		if i != 5 {
			f.must(RemMemReg, oneRegion(slot(i)))
		}
	}
	check()
	if st := b.Status(); st.Memory.Regions != 0 || st.Session != "negotiated" {
		t.Errorf("%+v", st)
	}
}

func TestMaximumOfRegionsInATable(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	var specs []regionSpec
	for i := range uint64(maxTableRegions) {
		specs = append(specs, regionSpec{i << 30, 4096, i << 32, i * 8192})
	}
	f.must(SetMemTable, table(specs...), slicesRepeat(g.fd(), len(specs))...)
	if st := b.Status().Memory; st.Regions != 8 || st.Bytes != 8*4096 {
		t.Errorf("memory %+v", st)
	}
}

// TestRegionsStartAtTheirOffset maps regions at offsets that are no multiple of a page, and reads through them.
func TestRegionsStartAtTheirOffset(t *testing.T) {
	g := newGuest(t, 1, 64)
	for i := range g.mem {
		g.mem[i] = byte(i >> 8)
	}
	for _, offset := range []uint64{0, 1, 4095, 4096, 4097, 300000} {
		spec := regionSpec{0, 5000, 1 << 40, offset}
		s, err := openSlot(spec, g.fd())
		if err != nil {
			t.Fatal(err)
		}
		m, err := newGuestMemory([]*memSlot{s})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.mem[s.head]; got != byte(offset>>8) {
			t.Errorf("offset %d: the region starts with %d", offset, got)
		}
		p, err := m.translate(1<<40+4999, 1)
		if err != nil || p != unsafe.Pointer(&s.mem[s.head+4999]) {
			t.Errorf("offset %d: last byte at %p, %v", offset, p, err)
		}
		outside := [][2]uint64{{1<<40 - 1, 1}, {1<<40 + 5000, 1}, {1 << 40, 5001}, {1<<40 + 4999, 2}, {0, math.MaxUint64}}
		for _, bad := range outside {
			if _, err := m.translate(bad[0], bad[1]); err == nil {
				t.Errorf("%d bytes at %#x were translated", bad[1], bad[0])
			}
		}
		if err := m.closeExcept(nil); err != nil {
			t.Error(err)
		}
	}
}

func TestHugePageMemory(t *testing.T) {
	const huge = 2 << 20
	file, err := hugeFile(2 * huge)
	if err != nil {
		t.Skipf("SKIP: no memory file of 2 MiB pages: %v", err)
	}
	defer file.Close()
	fd := int(file.Fd())
	s, err := openSlot(regionSpec{0, huge - 8192, 0, huge + 4096}, fd)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.mem) != huge || s.head != 4096 {
		t.Errorf("mapped %#x bytes, region at %#x: want whole huge pages", len(s.mem), s.head)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	// Mapping beyond the end of such a file would make it longer.
	if _, err := openSlot(regionSpec{0, 3 * huge, 0, 0}, fd); err == nil {
		t.Error("a region longer than the file was accepted")
	}
	if info, err := sys.StatFile(fd); err != nil || info.Size != 2*huge || info.PageSize != huge {
		t.Errorf("%+v, %v", info, err)
	}
}

func hugeFile(size int64) (*os.File, error) {
	file, _, err := sys.MemfdFile("weft-test-huge", size, true)
	return file, err
}

func TestMemoryNode(t *testing.T) {
	asked := 0
	d := &pmd{}
	p, err := Open(Config{Name: "vm", Path: t.TempDir() + "/s", Server: true}, Host{
		Synchronize: func() {},
		NodeOf: func(p unsafe.Pointer) (int, error) {
			asked++
			return 1, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	d.port.Store(p)
	if got := p.Status().Memory.Node; got != -1 {
		t.Errorf("node %d without a guest", got)
	}
	g := newGuest(t, 1, 64)
	g.start(dial(t, p.cfg.Path))
	if got := p.Status().Memory.Node; got != 1 || asked != 1 {
		t.Errorf("node %d, asked %d times", got, asked)
	}
}
