package vhosttest_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/vhostuser/vhosttest"
)

func newGuest(t testing.TB, cfg vhosttest.Config) *vhosttest.Guest {
	t.Helper()
	g, err := vhosttest.NewGuest(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// eachFormat runs a test with split rings and with packed ones.
func eachFormat(t *testing.T, f func(t *testing.T, packed bool)) {
	t.Run("split", func(t *testing.T) { f(t, false) })
	t.Run("packed", func(t *testing.T) { f(t, true) })
}

// useFirst is a device that returns the first chain of a new ring, which has one descriptor.
func useFirst(q *vhosttest.Queue, n uint32) {
	if r := q.PackedRing(); r != nil {
		r.Use(firstPlace, r.Desc(0).ID, n)
		return
	}
	use(q.Ring(), 0, n)
}

// wantsInterrupts is what a device sees.
func wantsInterrupts(q *vhosttest.Queue) bool {
	if r := q.PackedRing(); r != nil {
		_, flags := r.DriverEvent()
		return flags == vhosttest.EventsEnable
	}
	flags, _ := q.Ring().AvailHead()
	return flags == 0
}

// wantNoKicks is a device that polls, and has used nothing.
func wantNoKicks(q *vhosttest.Queue) {
	if r := q.PackedRing(); r != nil {
		r.SetDeviceEvent(0, vhosttest.EventsDisable)
		return
	}
	q.Ring().SetUsedHead(1, 0)
}

// use is a device that returns the chain at avail entry i, claiming to have written n bytes.
func use(r *vhosttest.Ring, i uint16, n uint32) {
	r.SetUsed(i, vhosttest.UsedElem{ID: uint32(r.Avail(i)), Len: n})
	r.SetUsedHead(0, i+1)
}

// buffer is the memory of the chain at avail entry i, which has one descriptor.
func buffer(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring, i uint16) []byte {
	t.Helper()
	d := r.Desc(uint32(r.Avail(i)))
	p, err := g.Memory().At(d.Addr, uint64(d.Len))
	if err != nil {
		t.Fatal(err)
	}
	return p.Bytes
}

// fillFrame writes a header with num_buffers n and zeros behind it.
func fillFrame(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring, i uint16, n byte) {
	b := buffer(t, g, r, i)
	clear(b[:12])
	b[10] = n
}

// offence is something that a device does and must not do.
type offence struct {
	name      string
	mergeable bool
	tx        bool
	device    func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring)
	want      string
}

var offences = []offence{
	{"a descriptor outside the ring", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		r.SetUsed(0, vhosttest.UsedElem{ID: 8})
		r.SetUsedHead(0, 1)
	}, "descriptor 8 of a ring of 8"},
	{"a descriptor number of 16 bits and more", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		r.SetUsed(0, vhosttest.UsedElem{ID: uint32(r.Avail(0)) | 1<<16})
		r.SetUsedHead(0, 1)
	}, "of a ring of 8"},
	{"a descriptor that it does not have", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		r.SetUsed(0, vhosttest.UsedElem{ID: uint32(r.Avail(0)+1) % 8})
		r.SetUsedHead(0, 1)
	}, "which it does not have"},
	{"a descriptor twice", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 1)
		use(r, 0, 72)
		r.SetUsed(1, vhosttest.UsedElem{ID: uint32(r.Avail(0)), Len: 72})
		r.SetUsedHead(0, 2)
	}, "which it does not have"},
	{"more than was available", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		r.SetUsedHead(0, 3)
	}, "used index from 0 to 3 while it had 1"},
	{"an index that goes back", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		r.SetUsedHead(0, 0xffff)
	}, "used index from 0 to 65535"},
	{"a length for what it only read", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		use(r, 0, 60)
	}, "claims to have written 60 bytes"},
	{"a change of what it was to read", false, true, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		buffer(t, g, r, 0)[20] ^= 1
		use(r, 0, 0)
	}, "device-readable buffer"},
	{"a change of a descriptor", false, true, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		d := r.Desc(uint32(r.Avail(0)))
		d.Len++
		r.SetDesc(uint32(r.Avail(0)), d)
		use(r, 0, 0)
	}, "changed descriptor"},
	{"a byte behind the buffer", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 1)
		d := r.Desc(uint32(r.Avail(0)))
		p, _ := g.Memory().At(d.Addr+uint64(d.Len), 1)
		p.Bytes[0] = 0
		use(r, 0, 72)
	}, "wrote outside"},
	{"a byte before the buffer", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 1)
		p, _ := g.Memory().At(r.Desc(uint32(r.Avail(0))).Addr-1, 1)
		p.Bytes[0] = 0
		use(r, 0, 72)
	}, "wrote outside"},
	{"less than a header", false, false, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		use(r, 0, 11)
	}, "wrote 11 bytes"},
	{"more than the buffer holds", false, false, func(_ *testing.T, _ *vhosttest.Guest, r *vhosttest.Ring) {
		use(r, 0, 1531)
	}, "wrote 1531 bytes into a buffer of 1530"},
	{"header flags", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 1)
		buffer(t, g, r, 0)[0] = 1
		use(r, 0, 72)
	}, "header flags 0x1"},
	{"a segmentation type", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 1)
		buffer(t, g, r, 0)[1] = 3
		use(r, 0, 72)
	}, "gso_type 0x3"},
	{"no buffers", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 0)
		use(r, 0, 72)
	}, "num_buffers to 0"},
	{"two buffers that cannot be merged", false, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 2)
		use(r, 0, 1530)
	}, "num_buffers to 2 without MRG_RXBUF"},
	{"two buffers, one of them shown", true, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 2)
		use(r, 0, 2048)
	}, "over 2 buffers and showed 1"},
	{"two buffers, the first not full", true, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 2)
		use(r, 0, 2047)
		use(r, 1, 10)
	}, "into buffer 1 of 2, which holds 2048"},
	{"two buffers, the second empty", true, false, func(t *testing.T, g *vhosttest.Guest, r *vhosttest.Ring) {
		fillFrame(t, g, r, 0, 2)
		use(r, 0, 2048)
		use(r, 1, 0)
	}, "wrote 0 bytes into a last buffer"},
}

func TestADeviceThatBreaksTheRulesIsCaught(t *testing.T) {
	for _, c := range offences {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, vhosttest.Config{RingSize: 8, Mergeable: c.mergeable, Verify: true})
			q := g.Rx(0)
			if c.tx {
				q = g.Tx(0)
				if err := g.Send(0, make([]byte, 60)); err != nil {
					t.Fatal(err)
				}
			}
			c.device(t, g, q.Ring())
			err := reapOrReceive(q, c.tx)
			var v *vhosttest.ViolationError
			if !errors.As(err, &v) || !strings.Contains(v.Error(), c.want) {
				t.Fatalf("got %v, want a violation with %q", err, c.want)
			}
			if q.Err() == nil {
				t.Error("the queue does not remember it")
			}
		})
	}
}

func TestAMissingInterruptIsCaught(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		q := newGuest(t, vhosttest.Config{RingSize: 8, Packed: packed}).Rx(0)
		if err := q.Wait(time.Millisecond); !errors.Is(err, vhosttest.ErrEmpty) {
			t.Fatalf("waiting for an idle device: %v", err)
		}
		if wantsInterrupts(q) {
			t.Error("interrupts are not suppressed after a wait")
		}
		var device sync.WaitGroup
		device.Go(func() {
			for !wantsInterrupts(q) { // until the driver waits
			}
			useFirst(q, 72)
		})
		defer device.Wait()
		var v *vhosttest.ViolationError
		if err := q.Wait(100 * time.Millisecond); !errors.As(err, &v) || !strings.Contains(v.Text, "no interrupt") {
			t.Errorf("a device that forgets the interrupt: %v", err)
		}
	})
}

func TestKicksObeyTheDevice(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		g := newGuest(t, vhosttest.Config{RingSize: 8, Packed: packed})
		q := g.Tx(0)
		if err := g.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		wantNoKicks(q)
		if err := g.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		if s := q.Stats(); s.Kicks != 1 || s.NoKicks != 1 {
			t.Errorf("%d kicks and %d suppressed, want one of each", s.Kicks, s.NoKicks)
		}
	})
}

func TestAFullRingSaysSo(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		g := newGuest(t, vhosttest.Config{RingSize: 2, Packed: packed})
		for i := range 3 {
			err := g.Send(0, make([]byte, 60))
			if (err != nil) != (i == 2) || i == 2 && !errors.Is(err, vhosttest.ErrFull) {
				t.Fatalf("frame %d: %v", i, err)
			}
		}
		useFirst(g.Tx(0), 0)
		if err := g.Send(0, make([]byte, 60)); err != nil {
			t.Errorf("after the device returned one: %v", err)
		}
	})
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	for name, cfg := range map[string]vhosttest.Config{
		"a ring size of 3":         {RingSize: 3},
		"a ring size of 65536":     {RingSize: 65536},
		"a packed ring of 32769":   {RingSize: 32769, Packed: true},
		"a packed ring of -1":      {RingSize: -1, Packed: true},
		"a packed legacy ring":     {Packed: true, Legacy: true},
		"legacy, in order":         {InOrder: true, Legacy: true},
		"too many pairs":           {QueuePairs: 129},
		"no room for the header":   {RxBuffer: 4},
		"slots of a byte":          {SlotSize: 1},
		"an odd region":            {Regions: []vhosttest.RegionLayout{{Size: 4097}}},
		"memory that is too small": {Regions: []vhosttest.RegionLayout{{Size: 8192}}},
	} {
		if g, err := vhosttest.NewGuest(cfg); err == nil {
			t.Errorf("%s: accepted", name)
			_ = g.Close()
		}
	}
}

// loopback is a device that returns every frame, for measuring the driver alone. It looks at no more than the first
// descriptor of what it gets.
type loopback struct {
	g      *vhosttest.Guest
	rx, tx uint16
	batch  bool // what was sent is returned in one batch
}

func newLoopback(t testing.TB, cfg vhosttest.Config) *loopback {
	g := newGuest(t, cfg)
	return &loopback{g, uint16(g.Rx(0).Base()), uint16(g.Tx(0).Base()), cfg.InOrder}
}

// poll moves what the guest sent to its receive ring.
func (d *loopback) poll() {
	if d.g.Tx(0).PackedRing() != nil {
		d.pollPacked()
		return
	}
	tx, rx := d.g.Tx(0).Ring(), d.g.Rx(0).Ring()
	_, have := tx.AvailHead()
	first := d.tx
	for ; d.tx != have; d.tx++ {
		from, to := tx.Desc(uint32(tx.Avail(d.tx))), rx.Desc(uint32(rx.Avail(d.rx)))
		d.copy(from.Addr, to.Addr, from.Len)
		rx.SetUsed(d.rx, vhosttest.UsedElem{ID: uint32(rx.Avail(d.rx)), Len: from.Len})
		at := d.tx
		if d.batch {
			at = first
		}
		tx.SetUsed(at, vhosttest.UsedElem{ID: uint32(tx.Avail(d.tx))})
		d.rx++
	}
	rx.SetUsedHead(1, d.rx)
	tx.SetUsedHead(1, d.tx)
}

func (d *loopback) pollPacked() {
	tx, rx := d.g.Tx(0).PackedRing(), d.g.Rx(0).PackedRing()
	rx.SetDeviceEvent(0, vhosttest.EventsDisable)
	tx.SetDeviceEvent(0, vhosttest.EventsDisable)
	first, last := d.tx, uint16(0)
	for {
		from, to := tx.Desc(uint32(d.tx&^vhosttest.WrapBit)), rx.Desc(uint32(d.rx&^vhosttest.WrapBit))
		if from.Flags != vhosttest.AvailFlags(d.tx) {
			break
		}
		d.copy(from.Addr, to.Addr, from.Len)
		rx.Use(d.rx, to.ID, from.Len)
		if last = from.ID; !d.batch {
			tx.Use(d.tx, last, 0)
		}
		d.rx, d.tx = rx.Advance(d.rx, 1), tx.Advance(d.tx, 1)
	}
	if d.batch && d.tx != first {
		tx.Use(first, last, 0)
	}
}

func (d *loopback) copy(from, to uint64, n uint32) {
	src, err := d.g.Memory().At(from, uint64(n))
	dst, err2 := d.g.Memory().At(to, uint64(n))
	if err != nil || err2 != nil {
		panic("unmapped")
	}
	copy(dst.Bytes, src.Bytes)
	dst.Bytes[10] = 1
}

func bursts() (frames, room [][]byte) {
	for i := range 32 {
		frames = append(frames, bytes.Repeat([]byte{byte(i)}, 60+i))
		room = append(room, make([]byte, 0, 2048))
	}
	return frames, room
}

func TestBulkFunctionsDoNotAllocate(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		bulkFunctions(t, newLoopback(t, vhosttest.Config{RingSize: 64, Packed: packed}))
		t.Run("in order", func(t *testing.T) {
			bulkFunctions(t, newLoopback(t, vhosttest.Config{RingSize: 64, Packed: packed, InOrder: true}))
		})
	})
}

func bulkFunctions(t *testing.T, d *loopback) {
	frames, room := bursts()
	check := func(name string, f func()) {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	check("SendBurst and ReceiveBurst", func() {
		n, err := d.g.Tx(0).SendBurst(frames)
		d.poll()
		m, err2 := d.g.Rx(0).ReceiveBurst(room)
		if n != 32 || m != 32 || err != nil || err2 != nil {
			t.Fatalf("sent %d (%v), received %d (%v)", n, err, m, err2)
		}
	})
	for i, f := range frames {
		if !bytes.Equal(room[i], f) {
			t.Errorf("frame %d differs", i)
		}
	}
	check("Drain", func() {
		_, _ = d.g.Tx(0).SendBurst(frames)
		d.poll()
		if n, b, err := d.g.Rx(0).Drain(64); n != 32 || b != 32*60+31*16 || err != nil {
			t.Fatalf("drained %d frames, %d bytes: %v", n, b, err)
		}
	})
	if _, err := d.g.Tx(0).SendBurst(frames); err != nil {
		t.Fatal(err)
	}
	check("Forward", func() {
		d.poll()
		if n, err := d.g.Pair(0).Forward(32); n != 32 || err != nil {
			t.Fatalf("forwarded %d: %v", n, err)
		}
	})
	d.poll()
	if n, err := d.g.Rx(0).ReceiveBurst(room); n != 32 || err != nil {
		t.Fatalf("received %d: %v", n, err)
	}
	for i, f := range frames {
		if !bytes.Equal(room[i], f) {
			t.Errorf("frame %d differs after going round a hundred times", i)
		}
	}
}

func BenchmarkDriver(b *testing.B) {
	benchmarkDriver(b, vhosttest.Config{RingSize: 256})
	b.Run("ring=packed", func(b *testing.B) { benchmarkDriver(b, vhosttest.Config{RingSize: 256, Packed: true}) })
}

func benchmarkDriver(b *testing.B, cfg vhosttest.Config) {
	frames, _ := bursts()
	b.Run("guest=drains", func(b *testing.B) {
		d := newLoopback(b, cfg)
		for i := 0; i < b.N; i += 32 {
			_, _ = d.g.Tx(0).SendBurst(frames)
			d.poll()
			if _, _, err := d.g.Rx(0).Drain(32); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("guest=forwards", func(b *testing.B) {
		d := newLoopback(b, cfg)
		_, _ = d.g.Tx(0).SendBurst(frames)
		for i := 0; i < b.N; i += 32 {
			d.poll()
			if _, err := d.g.Pair(0).Forward(32); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// reapOrReceive has the driver look twice at what the device did to its transmitq or receiveq.
func reapOrReceive(q *vhosttest.Queue, tx bool) (err error) {
	for range 2 {
		if tx {
			_, err = q.Reap()
		} else {
			_, err = q.Receive(make([]byte, 9000))
		}
		if err != nil {
			break
		}
	}
	return err
}
