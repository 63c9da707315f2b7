package vfiouser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestClientLearnsAllAboutADevice(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	bar := memory(t, 1<<20)
	dev.info.Regions[0].File = bar
	dev.info.Regions[0].FileOffset = 8192
	dev.info.Regions[0].Mmap = []SparseArea{{0, 4096}, {0x8000, 8192}}
	dev.info.Regions[1].File = bar // all of it
	event := eventFile(t)
	dev.info.Regions[0].IOFDs = []IOFD{
		{Offset: 16, Size: 4, Kind: IOEventFD, Flags: 1, Data: 7, File: event},
		{Offset: 32, Size: 8, Kind: IORegionFD, Data: 9, File: bar},
		{Offset: 64, Size: 8, Kind: IOEventFD, File: event},
	}
	dev.info.Regions = append(dev.info.Regions, RegionInfo{Index: 12, Size: 64, Flags: RegionRead})
	c := connect(t, dev, Options{}, ClientOptions{})

	if got, err := c.Info(); err != nil || got != (Summary{PCI: true, Reset: true, Regions: 13, IRQs: 5}) {
		t.Fatalf("info %+v, %v", got, err)
	}
	for index := range 13 {
		got, err := c.RegionInfo(index)
		if err != nil {
			t.Fatal(err)
		}
		want := RegionInfo{Index: index}
		if i := slices.IndexFunc(dev.info.Regions, func(r RegionInfo) bool { return r.Index == index }); i >= 0 {
			want = dev.info.Regions[i]
		}
		if (got.File != nil) != (want.File != nil) {
			t.Errorf("region %d: file %v, want %v", index, got.File, want.File)
		}
		if got.File != nil {
			a, _ := got.File.Stat()
			b, _ := want.File.Stat()
			if !os.SameFile(a, b) {
				t.Errorf("region %d: another file", index)
			}
			got.File.Close()
		}
		if got.Index != index || got.Size != want.Size || got.Flags != want.Flags || got.FileOffset != want.FileOffset ||
			!slices.Equal(got.Mmap, want.Mmap) {
			t.Errorf("region %d is %+v, want %+v", index, got, want)
		}
	}
	if _, err := c.RegionInfo(13); !errors.Is(err, unix.EINVAL) {
		t.Errorf("region 13: %v", err)
	}
	checkIOFDs(t, c, dev.info.Regions[0].IOFDs)
	for index, want := range []IRQInfo{
		dev.info.IRQs[0], {Index: 1}, dev.info.IRQs[1], {Index: 3}, {Index: 4},
	} {
		if got, err := c.IRQInfo(index); err != nil || got != want {
			t.Errorf("interrupts %d: %+v, %v; want %+v", index, got, err, want)
		}
	}
	if _, err := c.IRQInfo(5); !errors.Is(err, unix.EINVAL) {
		t.Errorf("interrupts 5: %v", err)
	}
	if _, err := c.Feature(1|1<<16, nil); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("a feature: %v", err)
	}
}

func checkIOFDs(t *testing.T, c *Client, want []IOFD) {
	t.Helper()
	got, err := c.RegionIOFDs(RegionBAR0)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d IO descriptors, %v", len(got), err)
	}
	if got[0].File != got[2].File || got[0].File == got[1].File {
		t.Error("descriptors are not shared as they were")
	}
	got[0].File.Close()
	got[1].File.Close()
	for i := range got {
		got[i].File = want[i].File
		if got[i] != want[i] {
			t.Errorf("IO descriptor %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	if none, err := c.RegionIOFDs(RegionConfig); err != nil || len(none) != 0 {
		t.Errorf("IO descriptors of a region without: %v, %v", none, err)
	}
	if _, err := c.RegionIOFDs(99); !errors.Is(err, unix.EINVAL) {
		t.Errorf("IO descriptors of region 99: %v", err)
	}
}

func TestClientReadsAndWritesRegions(t *testing.T) {
	dev := newCard()
	c := connect(t, dev, Options{MaxTransfer: 1000}, ClientOptions{})
	for _, size := range []int{0, 1, 2, 4, 8, 999, 1000, 1001, 5000} {
		want := bytes.Repeat([]byte{byte(size), 2, 3}, size/3+1)[:size]
		if err := c.WriteRegion(RegionBAR0, 0x1234, want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		if err := c.ReadRegion(RegionBAR0, 0x1234, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	for i := range 100 {
		if err := c.PostRegion(RegionBAR0, uint64(i), []byte{byte(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 100)
	if err := c.ReadRegion(RegionBAR0, 0, got); err != nil || got[0] != 1 || got[99] != 100 {
		t.Errorf("posted writes: %v, %v", got, err)
	}
	if err := c.PostRegion(RegionBAR0, 0, make([]byte, 1001)); !errors.Is(err, unix.E2BIG) {
		t.Errorf("posted too much: %v", err)
	}
	var many []SingleWrite
	for i := range 5000 {
		many = append(many, SingleWrite{RegionBAR0, uint64(8 * i), []byte{byte(i), byte(i >> 8)}})
	}
	if err := c.WriteRegions(many); err != nil {
		t.Fatal(err)
	}
	got = make([]byte, 2)
	if err := c.ReadRegion(RegionBAR0, 8*4999, got); err != nil || got[0] != 4999&0xff || got[1] != 4999>>8 {
		t.Errorf("many writes: %v, %v", got, err)
	}
	for name, err := range map[string]error{
		"end":       c.ReadRegion(RegionBAR0, bar0Size-1, make([]byte, 2)),
		"behind":    c.ReadRegion(RegionBAR0, bar0Size+1, nil),
		"wrap":      c.ReadRegion(RegionBAR0, 1<<64-1, make([]byte, 2)),
		"absent":    c.ReadRegion(RegionVGA, 0, make([]byte, 1)),
		"read-only": c.WriteRegion(RegionROM, 0, make([]byte, 1)),
	} {
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dev.mu.Lock()
	dev.fail = fmt.Errorf("no such register: %w", unix.ENXIO)
	dev.mu.Unlock()
	if err := c.ReadRegion(RegionBAR0, 0, got); !errors.Is(err, unix.ENXIO) {
		t.Errorf("the device's errno: %v", err)
	}
	dev.mu.Lock()
	dev.fail = errors.New("broken")
	dev.mu.Unlock()
	var remote *RemoteError
	if err := c.WriteRegion(RegionBAR0, 0, got); !errors.As(err, &remote) || remote.Errno != unix.EIO {
		t.Errorf("the device's other error: %v", err)
	}
}

func TestClientMapsSharedMemory(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{})
	mem := memory(t, 1<<20)
	ram := DMAMap{IOVA: 0x10000, Size: 0x8000, Readable: true, Writeable: true, File: mem, Offset: 0x4000}
	rom := DMAMap{IOVA: 0x18000, Size: 0x1000, Readable: true, File: mem, Offset: 0x40000}
	for _, m := range []DMAMap{ram, rom} {
		if err := c.MapDMA(m); err != nil {
			t.Fatal(err)
		}
	}
	dma := dev.current(t).DMA()
	// A write from the end of one mapping is seen in the file, and a read goes on in the next mapping.
	if err := dma.Write(0x17ffc, []byte("tail")); err != nil {
		t.Fatal(err)
	}
	if _, err := mem.WriteAt([]byte("head"), 0x40000); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if err := dma.Read(0x17ffc, got); err != nil || string(got) != "tailhead" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := mem.ReadAt(got[:4], 0x4000+0x7ffc); err != nil || string(got[:4]) != "tail" {
		t.Errorf("the file has %q, %v", got[:4], err)
	}
	for _, a := range []struct {
		iova  uint64
		size  int
		write bool
		want  error
	}{
		{0xffff, 1, false, ErrUnmapped},
		{0xffff, 2, false, ErrUnmapped},
		{0x18fff, 2, false, ErrUnmapped},
		{0x18000, 1, true, ErrDenied},
		{0x17fff, 2, true, ErrDenied},
		{1<<64 - 1, 2, false, ErrUnmapped},
		{1<<64 - 1, 1, true, ErrUnmapped},
	} {
		access := dma.Read
		if a.write {
			access = dma.Write
		}
		err := access(a.iova, make([]byte, a.size))
		var d *DMAError
		if !errors.Is(err, a.want) || !errors.As(err, &d) || d.IOVA != a.iova || d.Size != a.size || d.Write != a.write {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if _, err := mem.ReadAt(got[:4], 0x4000+0x7ffc); err != nil || string(got[:4]) != "tail" {
		t.Errorf("a refused write has written %q, %v", got[:4], err)
	}
	if err := c.MapDMA(rom); !errors.Is(err, unix.EEXIST) {
		t.Errorf("mapped twice: %v", err)
	}
	if err := c.UnmapDMA(ram.IOVA, ram.Size); err != nil {
		t.Fatal(err)
	}
	if err := dma.Read(0x10000, got); !errors.Is(err, ErrUnmapped) {
		t.Errorf("unmapped: %v", err)
	}
	if err := c.UnmapDMA(ram.IOVA, ram.Size); !errors.Is(err, unix.ENOENT) {
		t.Errorf("unmapped twice: %v", err)
	}
	if err := c.MapDMA(ram); err != nil {
		t.Errorf("mapped again: %v", err)
	}
	if err := c.UnmapAllDMA(); err != nil {
		t.Error(err)
	}
	if err := dma.Read(0x18000, got); !errors.Is(err, ErrUnmapped) {
		t.Errorf("all unmapped: %v", err)
	}
	dev.mu.Lock()
	defer dev.mu.Unlock()
	if len(dev.maps) != 0 {
		t.Errorf("the device was left with %v", dev.maps)
	}
}

func TestReadOnlyDescriptorIsEnoughForReadOnlyMemory(t *testing.T) {
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{})
	path := filepath.Join(t.TempDir(), "mem")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.MapDMA(DMAMap{Size: 8192, Readable: true, Writeable: true, File: f}); !errors.Is(err, unix.EACCES) {
		t.Errorf("for writing: %v", err)
	}
	if err := c.MapDMA(DMAMap{Size: 8192, Readable: true, File: f}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2)
	if err := dev.current(t).DMA().Read(8190, got); err != nil || string(got) != "xx" {
		t.Errorf("%q, %v", got, err)
	}
}

// ram is memory that is accessed by messages.
type ram struct {
	mu sync.Mutex
	b  []byte
}

func (r *ram) ReadAt(p []byte, at int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return copy(p, r.b[at:]), nil
}

func (r *ram) WriteAt(p []byte, at int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return copy(r.b[at:], p), nil
}

func TestMemoryWithoutADescriptorIsAccessedByMessages(t *testing.T) {
	for _, twin := range []bool{false, true} {
		t.Run(fmt.Sprintf("twin socket %v", twin), func(t *testing.T) {
			noLeaks(t)
			dev := newCard()
			c := connect(t, dev, Options{MaxTransfer: 4096, DMATimeout: patience}, ClientOptions{TwinSocket: twin})
			if (c.back != c.link) != twin {
				t.Fatalf("a second socket: %v", c.back != c.link)
			}
			mem := &ram{b: make([]byte, 0x10000)}
			for _, m := range []DMAMap{
				{IOVA: 0x1000, Size: 0x8000, Readable: true, Writeable: true, Memory: mem, Offset: 0x2000},
				{IOVA: 0x9000, Size: 0x1000, Readable: true, Writeable: true, File: memory(t, 4096)},
				{IOVA: 0xa000, Size: 0x1000, Writeable: true, Memory: mem},
				{IOVA: 0xb000, Size: 0x1000, Readable: true, Writeable: true}, // nothing behind it
			} {
				if err := c.MapDMA(m); err != nil {
					t.Fatal(err)
				}
			}
			dma := dev.current(t).DMA()
			want := bytes.Repeat([]byte("12345"), 0x8800/5)
			if err := dma.Write(0x1000, want); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if err := dma.Read(0x1000, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes by messages and shared memory: %v", len(got), err)
			}
			if err := dma.Read(0xa000, got[:1]); !errors.Is(err, ErrDenied) {
				t.Errorf("not readable: %v", err)
			}
			if err := dma.Write(0xb000, got[:1]); !errors.Is(err, unix.EFAULT) {
				t.Errorf("nothing behind it: %v", err)
			}
			// From inside a command, with more commands behind it.
			dev.reading(func(offset uint64) error { return dma.Write(0x1000+offset, []byte{byte(offset + 1)}) })
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					if err := c.ReadRegion(RegionBAR0, uint64(i), make([]byte, 1)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for i := range 200 {
				var b [1]byte
				if _, err := mem.ReadAt(b[:], int64(0x2000+i)); err != nil || b[0] != byte(i+1) {
					t.Fatalf("byte %d is %d, %v", i, b[0], err)
				}
			}
		})
	}
}

func TestInterruptsReachTheClient(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{})
	events := make([]*os.File, 40)
	for i := range events {
		if i != 20 {
			events[i] = eventFile(t)
		}
	}
	if err := c.AssignIRQs(IRQMSIX, 0, events); err != nil {
		t.Fatal(err)
	}
	s := dev.current(t)
	for i := range events {
		if got := s.Trigger(IRQMSIX, i); got != (i != 20) || got != s.Assigned(IRQMSIX, i) {
			t.Errorf("vector %d triggered: %v", i, got)
		}
	}
	for i, f := range events {
		if f != nil && count(t, f) != 1 {
			t.Errorf("vector %d was not signalled", i)
		}
	}
	for _, wrong := range [][2]int{{IRQMSIX, 40}, {IRQMSIX, -1}, {IRQMSI, 0}, {-1, 0}, {99, 0}, {IRQINTx, 0}} {
		if s.Trigger(wrong[0], wrong[1]) {
			t.Errorf("triggered %v", wrong)
		}
	}
	if err := c.AssignIRQs(IRQMSIX, 3, []*os.File{nil, events[9]}); err != nil {
		t.Fatal(err)
	}
	if s.Trigger(IRQMSIX, 3) || !s.Trigger(IRQMSIX, 4) || count(t, events[9]) != 1 || count(t, events[4]) != 0 {
		t.Error("vectors 3 and 4 were not re-assigned")
	}
	if err := c.ActIRQs(IRQTrigger, IRQMSIX, 5, 3, []bool{true, false, true}); err != nil {
		t.Fatal(err)
	}
	if count(t, events[5]) != 1 || count(t, events[6]) != 0 || count(t, events[7]) != 1 {
		t.Error("the client did not trigger its own vectors")
	}
	if err := c.ActIRQs(IRQMask, IRQMSIX, 0, 1, nil); !errors.Is(err, unix.EINVAL) {
		t.Errorf("masked what cannot be: %v", err)
	}
	if err := c.Reset(); err != nil || !s.Trigger(IRQMSIX, 0) {
		t.Errorf("a reset took the vectors away (%v)", err)
	}
	if err := c.DisableIRQs(IRQMSIX); err != nil || s.Trigger(IRQMSIX, 0) || s.Trigger(IRQMSIX, 39) {
		t.Errorf("not disabled (%v)", err)
	}
	dev.mu.Lock()
	defer dev.mu.Unlock()
	last := dev.sets[len(dev.sets)-1]
	if last.Action != IRQDeassign || last.Index != IRQMSIX || last.Start != 0 || last.Count != 40 {
		t.Errorf("the device was told %+v", last)
	}
}

func TestMaskedInterruptIsKeptUntilItIsUnmasked(t *testing.T) {
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{})
	e := eventFile(t)
	if err := c.AssignIRQs(IRQINTx, 0, []*os.File{e}); err != nil {
		t.Fatal(err)
	}
	s := dev.current(t)
	for range 3 {
		if !s.Trigger(IRQINTx, 0) {
			t.Fatal("not triggered")
		}
	}
	if got := count(t, e); got != 1 {
		t.Errorf("an interrupt that masks itself came %d times", got)
	}
	if err := c.ActIRQs(IRQUnmask, IRQINTx, 0, 1, nil); err != nil || count(t, e) != 1 {
		t.Errorf("the pending one did not come (%v)", err)
	}
	for _, a := range []IRQAction{IRQUnmask, IRQMask} {
		if err := c.ActIRQs(a, IRQINTx, 0, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.Trigger(IRQINTx, 0)
	if got := count(t, e); got != 0 {
		t.Errorf("a masked interrupt came %d times", got)
	}
	if err := c.ActIRQs(IRQUnmask, IRQINTx, 0, 1, []bool{true}); err != nil || count(t, e) != 1 {
		t.Errorf("it did not come later (%v)", err)
	}
}

func TestServerServesOneClientAfterAnother(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "sock")
	dev := newCard()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- ServePath(ctx, path, dev, Options{Log: testLog(t)}) }()
	// The file alone does not tell: between bind and listen connections are refused, as they are when a server is dead.
	until(t, "the server", func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
	if err := ServePath(ctx, path, dev, Options{}); err == nil {
		t.Error("two servers at one path")
	}
	for i := range 3 {
		c, err := Dial(ctx, path, ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AssignIRQs(IRQMSIX, 0, []*os.File{eventFile(t)}); err != nil {
			t.Fatal(err)
		}
		if err := c.MapDMA(DMAMap{Size: 4096, Readable: true, File: memory(t, 4096)}); err != nil {
			t.Fatal(err)
		}
		got := []byte{9}
		if err := c.ReadRegion(RegionBAR0, 0, got); err != nil || got[0] != 0 {
			t.Errorf("client %d found %d, %v: the device was not reset", i, got[0], err)
		}
		if err := c.WriteRegion(RegionBAR0, 0, []byte{1}); err != nil {
			t.Fatal(err)
		}
		if second, err := Dial(ctx, path, ClientOptions{}); !errors.Is(err, unix.EBUSY) {
			t.Errorf("a second client: %v, %v", second, err)
		}
		c.Close()
		if err := c.Reset(); !errors.Is(err, ErrDetached) {
			t.Errorf("a command after Close: %v", err)
		}
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file is still there: %v", err)
	}
	dev.mu.Lock()
	defer dev.mu.Unlock()
	if dev.attached != 3 || dev.detached != 3 || dev.resets != 3 {
		t.Errorf("%d attached, %d detached, %d resets", dev.attached, dev.detached, dev.resets)
	}
}

func TestClientSeesTheServerGo(t *testing.T) {
	dev := newCard()
	conn, _ := serve(t, dev, Options{})
	c, err := NewClient(context.Background(), conn, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	dev.reading(func(uint64) error { <-hold; return nil })
	result := make(chan error, 1)
	go func() { result <- c.ReadRegion(RegionBAR0, 0, make([]byte, 4)) }()
	dev.current(t).link.conn.Close()
	if err := <-result; err == nil {
		t.Error("a read from a server that is gone")
	}
	<-c.Done()
	if c.Err() == nil {
		t.Error("no reason")
	}
	close(hold)
}

func TestClientDoesNotWaitForEver(t *testing.T) {
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{Timeout: 50 * time.Millisecond})
	release := make(chan struct{})
	dev.reading(func(offset uint64) error {
		if offset == 0 {
			<-release
		}
		return nil
	})
	if err := c.ReadRegion(RegionBAR0, 0, make([]byte, 4)); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
	close(release)
	c.opt.Timeout = patience // the late reply is dropped, and the session goes on
	if err := c.ReadRegion(RegionBAR0, 8, make([]byte, 4)); err != nil {
		t.Error(err)
	}
}
