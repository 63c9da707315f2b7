package i40esim

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
)

// dial serves a device for the time of the test and connects to it.
func dial(t *testing.T, dev vfiouser.Device) *vfiouser.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	l, err := vfiouser.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { served <- vfiouser.Serve(ctx, l, dev, vfiouser.Options{}) }()
	c, err := vfiouser.Dial(ctx, path, vfiouser.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
		cancel()
		if err := <-served; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("serving: %v", err)
		}
	})
	return c
}

func read32(t *testing.T, c *vfiouser.Client, region int, at uint64) uint32 {
	t.Helper()
	var b [4]byte
	if err := c.ReadRegion(region, at, b[:]); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b[:])
}

func write32(t *testing.T, c *vfiouser.Client, region int, at uint64, v uint32) {
	t.Helper()
	if err := c.WriteRegion(region, at, binary.LittleEndian.AppendUint32(nil, v)); err != nil {
		t.Fatal(err)
	}
}

// TestServedOverVfioUser drives the admin queue of a served card: registers, DMA and MSI-X as qemu would use them.
func TestServedOverVfioUser(t *testing.T) {
	dev, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, dev)
	if id := read32(t, c, vfiouser.RegionConfig, 0); id != 0x15728086 {
		t.Fatalf("device and vendor are %#x", id)
	}
	write32(t, c, vfiouser.RegionConfig, 4, 6)

	const iova, size = 0x4000_0000, 1 << 16
	file, _, err := sys.MemfdFile("driver", size, false)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := c.MapDMA(vfiouser.DMAMap{IOVA: iova, Size: size, Readable: true, Writeable: true, File: file}); err != nil {
		t.Fatal(err)
	}
	events := make([]*os.File, 2)
	for i := range events {
		efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		events[i] = os.NewFile(uintptr(efd), "irq")
		defer events[i].Close()
	}
	if err := c.AssignIRQs(vfiouser.IRQMSIX, 0, events); err != nil {
		t.Fatal(err)
	}
	reg := func(name string) uint64 { return uint64(dev.at(name, nil)) }
	w := func(name string, v uint32) { t.Helper(); write32(t, c, vfiouser.RegionBAR0, reg(name), v) }
	w("PF_ATQBAL", iova)
	w("PF_ATQLEN", 32|1<<31)
	w("PFINT_ICR0_ENA", icr0AdminQ)
	w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	desc := adminq.Descriptor{Opcode: adminq.OpGetVersion}
	var raw [adminq.DescriptorSize]byte
	desc.Encode(raw[:])
	if _, err := file.WriteAt(raw[:], 0); err != nil {
		t.Fatal(err)
	}
	w("PF_ATQT", 1)
	if _, err := file.ReadAt(raw[:], 0); err != nil {
		t.Fatal(err)
	}
	if desc.Decode(raw[:]); desc.Flags&adminq.FlagDD == 0 || desc.RetVal != 0 {
		t.Fatalf("get version: flags %#x, answer %d", desc.Flags, desc.RetVal)
	}
	waitEvent(t, events[0])
	if icr := read32(t, c, vfiouser.RegionBAR0, reg("PFINT_ICR0")); icr != icr0AdminQ|icr0Event {
		t.Errorf("PFINT_ICR0 is %#x", icr)
	}
	if v := dev.Violations(); len(v) > 0 {
		t.Errorf("violations: %v", v)
	}
}

func waitEvent(t *testing.T, f *os.File) {
	t.Helper()
	var b [8]byte
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := f.Read(b[:]); err == nil {
			return
		}
	}
	t.Fatal("no interrupt within 5 s")
}
