package vfiouser

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mappedViews is how many mappings of files called name the process has.
func mappedViews(t *testing.T, name string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), name)
}

func TestPagesOfOneFileAreOneMapping(t *testing.T) {
	before := mappedViews(t, "memfd:test")
	d := DMA{max: 2000}
	f := memory(t, 4<<20)
	fd := int(f.Fd())
	for i := range uint64(1000) {
		if err := d.add(Mapping{IOVA: i << 13, Size: 4096, Readable: true, Writeable: true}, fd, (999-i)<<12); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.add(Mapping{IOVA: 1 << 40, Size: 4096, Readable: true}, fd, 0); err != nil {
		t.Fatal(err)
	}
	if got := mappedViews(t, "memfd:test") - before; got != 2 {
		t.Errorf("%d mappings, want one for writing and one for reading", got)
	}
	for i := range uint64(1000) {
		if err := d.Write(i<<13|8, []byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
	var got [2]byte
	for i := range uint64(1000) {
		if _, err := f.ReadAt(got[:], int64((999-i)<<12|8)); err != nil || got != [2]byte{byte(i), byte(i >> 8)} {
			t.Fatalf("page %d has %x, %v", i, got, err)
		}
	}
	// A file that has grown.
	if err := f.Truncate(8 << 20); err != nil {
		t.Fatal(err)
	}
	if err := d.add(Mapping{IOVA: 2 << 40, Size: 4096, Readable: true, Writeable: true}, fd, 8<<20-4096); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(2<<40, got[:]); err != nil {
		t.Error(err)
	}
	if err := d.detach(); err != nil {
		t.Error(err)
	}
	if got := mappedViews(t, "memfd:test"); got != before {
		t.Errorf("%d mappings are left", got-before)
	}
	if err := d.Write(0, got[:]); !errors.Is(err, ErrDetached) {
		t.Errorf("after detach: %v", err)
	}
}

func TestClientCannotUseUpTheMappingsOfTheProcess(t *testing.T) {
	d := DMA{max: ourMaxDMAMaps}
	defer func() {
		if err := d.detach(); err != nil {
			t.Error(err)
		}
	}()
	add := func(i int) error {
		f := memory(t, 4096)
		defer f.Close()
		return d.add(Mapping{IOVA: uint64(i) << 12, Size: 4096, Readable: true}, int(f.Fd()), 0)
	}
	for i := range maxFileViews {
		if err := add(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(maxFileViews); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("one file too many: %v", err)
	}
	if err := d.remove([]Mapping{{IOVA: 0, Size: 4096}}); err != nil {
		t.Fatal(err)
	}
	if err := add(0); err != nil {
		t.Errorf("after one was given back: %v", err)
	}
	few := DMA{max: 3}
	for i := range uint64(4) {
		err := few.add(Mapping{IOVA: i, Size: 1, Readable: true}, -1, 0)
		if (i == 3) != errors.Is(err, unix.ENOSPC) {
			t.Errorf("mapping %d of 3: %v", i, err)
		}
	}
}

// TestClientCannotUseUpTheAddressSpace: files without content are as long as their owner likes.
func TestClientCannotUseUpTheAddressSpace(t *testing.T) {
	d := DMA{max: ourMaxDMAMaps}
	add := func(iova, length, size uint64) error {
		f := memory(t, int64(length))
		defer f.Close()
		return d.add(Mapping{IOVA: iova, Size: size, Readable: true, Writeable: true}, int(f.Fd()), 0)
	}
	if err := add(0, maxViewBytes-1<<30, 4096); err != nil {
		t.Fatal(err)
	}
	if err := add(1<<50, 2<<30, 2<<30); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("more than %d bytes: %v", uint64(maxViewBytes), err)
	}
	if err := add(2<<50, 1<<62, 4096); err != nil { // what is needed of it is mapped
		t.Error(err)
	}
	for _, iova := range []uint64{0, 2 << 50} {
		if err := d.Write(iova, []byte{1, 2, 3}); err != nil {
			t.Error(err)
		}
	}
	if err := d.remove(d.all()); err != nil || d.files.bytes != 0 || d.files.views != 0 {
		t.Errorf("%v, %d bytes in %d views are left", err, d.files.bytes, d.files.views)
	}
}

// TestManyMappingsGoAtOnce as when a guest resets its IOMMU: a client waits five seconds for the reply.
func TestManyMappingsGoAtOnce(t *testing.T) {
	f := memory(t, ourMaxDMAMaps<<12)
	d := DMA{max: ourMaxDMAMaps}
	for i := range uint64(ourMaxDMAMaps) {
		if err := d.add(Mapping{IOVA: i << 12, Size: 4096, Readable: true}, int(f.Fd()), i<<12); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := d.remove(d.all()); err != nil || len(d.regions) != 0 {
		t.Fatalf("%v, %d are left", err, len(d.regions))
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("removing %d mappings took %v", ourMaxDMAMaps, took)
	}
}

func TestWriteOnlyDescriptorCannotBeMemory(t *testing.T) {
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	d := DMA{max: 10}
	defer d.detach()
	for _, c := range []struct {
		mode      int
		writeable bool
		want      error
	}{
		{os.O_RDWR, true, nil},
		{os.O_RDONLY, true, unix.EACCES}, // although the file is mapped for writing already
		{os.O_WRONLY, false, unix.EACCES},
		{os.O_RDONLY, false, nil},
	} {
		f, err := os.OpenFile(path, c.mode, 0)
		if err != nil {
			t.Fatal(err)
		}
		m := Mapping{IOVA: uint64(len(d.regions)) << 12, Size: 4096, Readable: true, Writeable: c.writeable}
		if err := d.add(m, int(f.Fd()), 0); !errors.Is(err, c.want) {
			t.Errorf("mode %d for writing %v: %v, want %v", c.mode, c.writeable, err, c.want)
		}
		f.Close()
	}
}

// TestTableAgreesWithAPlainOne does random changes and accesses beside a table by byte.
func TestTableAgreesWithAPlainOne(t *testing.T) {
	const space = 256
	rng := rand.New(rand.NewPCG(5, 8))
	f := memory(t, 1<<16)
	d := DMA{max: 1000}
	defer d.detach()
	var owner [space]int // start of the mapping plus one, 0 for none
	var content [space]byte
	var readOnly [space]bool
	for step := range 20000 {
		at := rng.IntN(space)
		n := 1 + rng.IntN(min(40, space-at))
		switch rng.IntN(4) {
		case 0:
			ro := rng.IntN(3) == 0
			m := Mapping{IOVA: uint64(at), Size: uint64(n), Readable: true, Writeable: !ro}
			free := true
			for i := at; i < at+n; i++ {
				free = free && owner[i] == 0
			}
			err := d.add(m, int(f.Fd()), uint64(at))
			if free != (err == nil) || !free && !errors.Is(err, unix.EEXIST) {
				t.Fatalf("step %d: map %d+%d: %v, free %v", step, at, n, err, free)
			}
			for i := at; err == nil && i < at+n; i++ {
				owner[i], readOnly[i] = at+1, ro
			}
		case 1:
			if owner[at] == 0 {
				continue
			}
			start := owner[at] - 1
			last := start
			for last+1 < space && owner[last+1] == start+1 {
				last++
			}
			if rng.IntN(2) == 0 { // and what lies right behind it
				for next := last + 1; last+1 < space && owner[last+1] != 0 && owner[last+1] == owner[next]; {
					last++
				}
			}
			gone, err := d.covered(uint64(start), uint64(last-start+1))
			if err == nil {
				err = d.remove(gone)
			}
			if err != nil {
				t.Fatal(err)
			}
			clear(owner[start : last+1])
		case 2:
			p := bytes.Repeat([]byte{byte(step)}, n)
			want := error(nil)
			for i := at; want == nil && i < at+n; i++ {
				if owner[i] == 0 {
					want = ErrUnmapped
				} else if readOnly[i] {
					want = ErrDenied
				}
			}
			if err := d.Write(uint64(at), p); !errors.Is(err, want) {
				t.Fatalf("step %d: write %d+%d: %v, want %v", step, at, n, err, want)
			}
			if want == nil {
				copy(content[at:], p)
			}
		case 3:
			p := make([]byte, n)
			mapped := true
			for i := at; i < at+n; i++ {
				mapped = mapped && owner[i] != 0
			}
			err := d.Read(uint64(at), p)
			if mapped != (err == nil) || mapped && !bytes.Equal(p, content[at:at+n]) {
				t.Fatalf("step %d: read %d+%d: %x, %v", step, at, n, p, err)
			}
		}
	}
}
