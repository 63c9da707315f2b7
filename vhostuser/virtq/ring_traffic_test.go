package virtq_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// rig is a guest and the device's queues on its rings, in one process.
type rig struct {
	t     testing.TB
	cfg   vhosttest.Config
	guest *vhosttest.Guest
	mem   *virtq.Memory

	rx     *virtq.RxQueue // what the guest transmits
	tx     *virtq.TxQueue // what the guest receives
	rxRing *virtq.Ring
	txRing *virtq.Ring
	errors atomic.Int32 // calls of onError

	notifier *sys.Notifier

	batch *packet.Batch
}

func newRig(t testing.TB, cfg vhosttest.Config) *rig {
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
	r := &rig{t: t, cfg: cfg, guest: g, batch: packet.NewBatch(nil)}
	if r.notifier, err = sys.NewNotifier(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.notifier.Close(); err != nil {
			t.Error(err)
		}
	})
	var regions []virtq.Region
	for _, reg := range g.Memory().Regions() {
		if reg.GPA != secretGPA {
			regions = append(regions, virtq.Region(reg))
		}
	}
	if r.mem, err = virtq.NewMemory(regions); err != nil {
		t.Fatal(err)
	}
	r.rx = virtq.NewRxQueue(func() { r.errors.Add(1) }, nil)
	r.tx = virtq.NewTxQueue(func() { r.errors.Add(1) })
	r.attach()
	return r
}

func (r *rig) attach() {
	r.rxRing, r.txRing = r.ring(r.guest.Tx(0)), r.ring(r.guest.Rx(0))
	r.rx.Attach(r.rxRing)
	r.tx.Attach(r.txRing)
}

func (r *rig) ring(q *vhosttest.Queue) *virtq.Ring {
	r.t.Helper()
	ring, err := virtq.NewRing(r.ringConfig(q))
	if err != nil {
		r.t.Fatal(err)
	}
	return ring
}

// ringConfig is what q's driver would say of it.
func (r *rig) ringConfig(q *vhosttest.Queue) virtq.RingConfig {
	desc, driver, device := q.Parts()
	return virtq.RingConfig{
		Packed: r.cfg.Packed, Size: q.Size(), Base: q.Base() & 0xffff,
		Desc: desc.Ptr, Driver: driver.Ptr, Device: device.Ptr, Memory: r.mem,
		HeaderLen: r.guest.HeaderLen(), Mergeable: r.cfg.Mergeable, Indirect: r.cfg.Indirect, Call: r.notifier.Event(q.CallFD()),
		InOrder: r.cfg.InOrder, Batches: r.cfg.InOrder && q.Index()%2 == 1,
	}
}

// poll receives one batch, hands each whole frame to f and releases the batch.
func (r *rig) poll(f func(frame []byte)) int {
	n := r.rx.Receive(r.batch)
	if n == 0 {
		return 0
	}
	buf := make([]byte, packet.MaxFrame)
	for i := range n {
		p := r.batch.Packet(i)
		f(buf[:r.batch.CopyTo(buf, p)])
	}
	r.rx.Release(r.batch)
	return n
}

// transmit sends frames to the guest in one burst: windows copied, the rest as segments of random lengths.
func (r *rig) transmit(frames [][]byte, rng *rand.Rand) {
	b := r.batch
	b.Reset()
	var idx [packet.BatchSize]uint8
	for i, f := range frames {
		idx[i] = uint8(i)
		p := b.Add(min(len(f), packet.WindowSize))
		rest := f[copy(p.Header(), f):]
		for len(rest) > 0 {
			n := len(rest)
			if rng.IntN(2) == 0 && b.SegmentsFree() > packet.BatchSize {
				n = 1 + rng.IntN(n)
			}
			b.AddSegment(p, packet.SegmentOf(rest[:n]))
			rest = rest[n:]
		}
	}
	r.tx.Transmit(b, idx[:len(frames)])
}

func (r *rig) healthy() {
	r.t.Helper()
	for name, ring := range map[string]*virtq.Ring{"transmitq": r.rxRing, "receiveq": r.txRing} {
		if err := ring.Err(); err != nil {
			r.t.Fatalf("the %s broke: %v", name, err)
		}
	}
	for _, q := range []*vhosttest.Queue{r.guest.Rx(0), r.guest.Tx(0)} {
		if err := q.Err(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func randomFrame(rng *rand.Rand, least, most int) []byte {
	n := least + rng.IntN(most-least+1)
	f := make([]byte, 0, n+8)
	for len(f) < n {
		f = binary.LittleEndian.AppendUint64(f, rng.Uint64())
	}
	return f[:n]
}

type layout = vhosttest.Layout

// layouts are the ways in which drivers lay out their rings and buffers.
var layouts = map[string]func(c *vhosttest.Config){
	"one descriptor":            func(*vhosttest.Config) {},
	"legacy header of 10 bytes": func(c *vhosttest.Config) { c.Legacy = true },
	"header in its own descriptor": func(c *vhosttest.Config) {
		c.TxLayout, c.RxLayout = layout{HeaderPieces: 1}, layout{HeaderPieces: 1}
	},
	"header over three descriptors, frame over five": func(c *vhosttest.Config) {
		c.TxLayout = layout{HeaderPieces: 3, DataPieces: 5}
		c.RxLayout = c.TxLayout
	},
	"random chains": func(c *vhosttest.Config) {
		c.TxLayout = layout{DataPieces: 20, Random: true}
		c.RxLayout, c.Seed = c.TxLayout, 7
	},
	"random chains, legacy header": func(c *vhosttest.Config) {
		c.TxLayout = layout{DataPieces: 20, Random: true}
		c.RxLayout, c.Legacy = c.TxLayout, true
	},
	"chains as long as the ring": func(c *vhosttest.Config) {
		c.RingSize = 8
		c.TxLayout, c.RxLayout = layout{HeaderPieces: 1, DataPieces: 7}, layout{HeaderPieces: 2, DataPieces: 6}
	},
	"small buffers in long chains": func(c *vhosttest.Config) { c.SlotSize, c.RingSize = 512, 256 },
	"indirect": func(c *vhosttest.Config) {
		c.Indirect = true
		c.TxLayout = layout{HeaderPieces: 1, DataPieces: 4, Indirect: true}
		c.RxLayout, c.SlotSize = c.TxLayout, 3000
	},
	"indirect, random": func(c *vhosttest.Config) {
		c.Indirect = true
		c.TxLayout = layout{DataPieces: 30, Random: true, Indirect: true}
		c.RxLayout, c.RingSize = c.TxLayout, 32
	},
	"indirect in a ring of one": func(c *vhosttest.Config) {
		c.RingSize, c.Indirect = 1, true
		c.TxLayout, c.RxLayout = layout{Indirect: true}, layout{Indirect: true}
	},
	"a ring of one": func(c *vhosttest.Config) { c.RingSize = 1 },
	"a ring of two": func(c *vhosttest.Config) { c.RingSize = 2 },
	"the largest ring": func(c *vhosttest.Config) {
		c.RingSize, c.MaxFrame, c.SlotSize, c.Verify = 32768, 1000, 1024, false
	},
	"avail ring at 2 modulo 4": func(c *vhosttest.Config) { c.OddAvail = true },
	"mergeable":                func(c *vhosttest.Config) { c.Mergeable = true },
	"mergeable, legacy":        func(c *vhosttest.Config) { c.Mergeable, c.Legacy, c.RxBuffer = true, true, 1526 },
	"mergeable, buffers of 100 bytes": func(c *vhosttest.Config) {
		c.Mergeable, c.RxBuffer, c.RingSize = true, 100, 256
	},
	"mergeable, buffers of 1500 bytes in random chains": func(c *vhosttest.Config) {
		c.Mergeable, c.RxBuffer = true, 1500
		c.RxLayout = layout{DataPieces: 6, Random: true}
	},
	"mergeable, indirect, random": func(c *vhosttest.Config) {
		c.Mergeable, c.Indirect, c.RxBuffer = true, true, 700
		c.RxLayout = layout{DataPieces: 6, Random: true, Indirect: true}
		c.TxLayout = c.RxLayout
	},
	"many regions": func(c *vhosttest.Config) {
		for i := range uint64(8) {
			c.Regions = append(c.Regions, vhosttest.RegionLayout{GPA: (7 - i) << 32, Size: 1 << 20, Gap: i << 12})
		}
	},
}

func TestFramesOfEveryLayoutArriveByteForByte(t *testing.T) {
	for name, vary := range layouts {
		cfg := vhosttest.Config{RingSize: 64, MaxFrame: 9000, SlotSize: 9100, Verify: true, FirstIndex: 65500}
		vary(&cfg)
		t.Run(name, func(t *testing.T) {
			t.Run("from the guest", func(t *testing.T) { fromGuest(newRig(t, cfg), 600) })
			t.Run("to the guest", func(t *testing.T) { toGuest(newRig(t, cfg), 600) })
		})
		if cfg.Legacy {
			continue // has no packed rings
		}
		cfg.Packed = true
		if cfg.RingSize < virtq.MaxSize {
			cfg.RingSize = max(1, cfg.RingSize*7/8)
		}
		cfg.FirstIndex = uint16(2*cfg.RingSize - min(cfg.RingSize, 50)) // the second lap ends soon
		t.Run(name+", packed", func(t *testing.T) {
			t.Run("from the guest", func(t *testing.T) { fromGuest(newRig(t, cfg), 600) })
			t.Run("to the guest", func(t *testing.T) { toGuest(newRig(t, cfg), 600) })
			cfg.InOrder = true
			t.Run("from the guest, in order", func(t *testing.T) { fromGuest(newRig(t, cfg), 600) })
		})
	}
}

// fromGuest sends total frames in bursts of random size through the guest's transmitq.
func fromGuest(r *rig, total int) {
	rng := rand.New(rand.NewPCG(1, 2))
	most := r.cfg.MaxFrame
	var sent [][]byte
	got := 0
	for got < total {
		for n := rng.IntN(50); n > 0 && len(sent) < total; n-- {
			f := randomFrame(rng, packet.MinFrame, most)
			err := r.guest.Tx(0).Enqueue(f)
			if errors.Is(err, vhosttest.ErrFull) {
				break
			}
			if err != nil {
				r.t.Fatal(err)
			}
			sent = append(sent, f)
		}
		if err := r.guest.Tx(0).Publish(); err != nil {
			r.t.Fatal(err)
		}
		r.poll(func(f []byte) {
			if !bytes.Equal(f, sent[got]) {
				r.t.Fatalf("frame %d of %d bytes arrived as %d other bytes", got, len(sent[got]), len(f))
			}
			got++
		})
		r.healthy()
	}
	for r.guest.Tx(0).Outstanding() > 0 {
		if n, err := r.guest.Tx(0).Reap(); n == 0 || err != nil {
			r.t.Fatalf("%d buffers did not come back: %v", r.guest.Tx(0).Outstanding(), err)
		}
	}
	var bytes uint64
	for _, f := range sent {
		bytes += uint64(len(f))
	}
	c := r.rx.Counters()
	if c.Packets != uint64(total) || c.Bytes != bytes || c.Dropped() != 0 {
		r.t.Errorf("the queue counted %d frames, %d bytes, %d drops; sent were %d, %d", c.Packets, c.Bytes, c.Dropped(),
			total, bytes)
	}
}

// toGuest sends total frames to the guest, in bursts that fit its free buffers.
func toGuest(r *rig, total int) {
	rng := rand.New(rand.NewPCG(3, 4))
	q := r.guest.Rx(0)
	buf := make([]byte, packet.MaxFrame)
	var sent [][]byte
	got := 0
	for got < total {
		var burst [][]byte
		for n := 1 + rng.IntN(packet.BatchSize); n > 0 && len(sent) < total; n-- {
			f := randomFrame(rng, packet.MinFrame, r.cfg.MaxFrame)
			burst = append(burst, f)
		}
		before := r.tx.Counters()
		r.transmit(burst, rng)
		r.healthy()
		after := r.tx.Counters()
		taken := int(after.Packets - before.Packets)
		lost := after.Drops[packet.DropNoDescriptor] - before.Drops[packet.DropNoDescriptor]
		if taken+int(lost) != len(burst) {
			r.t.Fatalf("of %d frames %d were sent and %d found no descriptor: %v", len(burst), taken, lost, after.Drops)
		}
		sent = append(sent, burst[:taken]...)
		for range taken {
			n, err := q.Receive(buf)
			if err != nil {
				r.t.Fatalf("frame %d: %v", got, err)
			}
			if !bytes.Equal(buf[:n], sent[got]) {
				r.t.Fatalf("frame %d of %d bytes arrived as %d other bytes", got, len(sent[got]), n)
			}
			got++
		}
		if _, err := q.Receive(buf); !errors.Is(err, vhosttest.ErrEmpty) {
			r.t.Fatalf("more arrived than was sent: %v", err)
		}
		if _, err := q.Refill(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestGuestToGuestWithoutCopyInBetween(t *testing.T) {
	for _, mergeable := range []bool{false, true} {
		t.Run(fmt.Sprintf("mergeable %v", mergeable), func(t *testing.T) {
			cfg := vhosttest.Config{
				MaxFrame: 9000, SlotSize: 2048, Mergeable: mergeable, Verify: true,
				TxLayout: vhosttest.Layout{HeaderPieces: 2, DataPieces: 3, Random: true},
			}
			from, to := newRig(t, cfg), newRig(t, cfg)
			rng := rand.New(rand.NewPCG(5, 6))
			var idx [packet.BatchSize]uint8
			for i := range idx {
				idx[i] = uint8(i)
			}
			buf := make([]byte, packet.MaxFrame)
			for range 300 {
				var sent [][]byte
				for range 1 + rng.IntN(8) {
					f := randomFrame(rng, packet.MinFrame, cfg.MaxFrame)
					if err := from.guest.Send(0, f); err != nil {
						t.Fatal(err)
					}
					sent = append(sent, f)
				}
				n := from.rx.Receive(from.batch)
				if n != len(sent) {
					t.Fatalf("received %d of %d frames", n, len(sent))
				}
				to.tx.Transmit(from.batch, idx[:n])
				from.rx.Release(from.batch)
				for i, f := range sent {
					n, err := to.guest.Rx(0).Receive(buf)
					if err != nil || !bytes.Equal(buf[:n], f) {
						t.Fatalf("frame %d of %d bytes arrived as %d bytes: %v", i, len(f), n, err)
					}
				}
				if _, err := to.guest.Rx(0).Refill(); err != nil {
					t.Fatal(err)
				}
				from.healthy()
				to.healthy()
			}
		})
	}
}

func TestFramesThatDoNotFitAreDroppedByName(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	t.Run("longer than a buffer", func(t *testing.T) {
		r := newRig(t, vhosttest.Config{MaxFrame: 1000, Verify: true})
		long, short := randomFrame(rng, 1001, 1001), randomFrame(rng, 1000, 1000)
		r.transmit([][]byte{long, short}, rng)
		got, err := r.guest.Receive(0, 0)
		if err != nil || !bytes.Equal(got, short) {
			t.Fatalf("the frame behind the long one: %d bytes, %v", len(got), err)
		}
		if c := r.tx.Counters(); c.Drops[packet.DropFrameTooLong] != 1 || c.Packets != 1 {
			t.Errorf("counted %+v", c)
		}
	})
	t.Run("no descriptor", func(t *testing.T) {
		r := newRig(t, vhosttest.Config{RingSize: 2, Verify: true})
		f := randomFrame(rng, 60, 60)
		r.transmit([][]byte{f, f, f, f, f}, rng)
		if c := r.tx.Counters(); c.Drops[packet.DropNoDescriptor] != 3 || c.Packets != 2 {
			t.Errorf("counted %+v", c)
		}
	})
	t.Run("too few mergeable buffers", func(t *testing.T) {
		r := newRig(t, vhosttest.Config{RingSize: 4, Mergeable: true, RxBuffer: 1000, Verify: true})
		f := randomFrame(rng, 5000, 5000)
		r.transmit([][]byte{f}, rng)
		r.healthy()
		if c := r.tx.Counters(); c.Dropped() != 1 || c.Packets != 0 {
			t.Errorf("counted %+v", c)
		}
		short := randomFrame(rng, 3900, 3900)
		r.transmit([][]byte{short}, rng)
		if got, err := r.guest.Receive(0, 0); err != nil || !bytes.Equal(got, short) {
			t.Fatalf("a frame that fits after one that did not: %d bytes, %v", len(got), err)
		}
	})
}

// TestBothSidesAtOnce runs driver and device on goroutines of their own: rings wrap, notifications cross.
func TestBothSidesAtOnce(t *testing.T) {
	for name, cfg := range map[string]vhosttest.Config{
		"small ring": {RingSize: 4, Verify: true},
		"one entry":  {RingSize: 1, Verify: true},
		"mergeable chains": {
			RingSize: 256, Mergeable: true, RxBuffer: 300, TxLayout: vhosttest.Layout{DataPieces: 3, Random: true},
		},
		"avail at 2 mod 4": {RingSize: 16, OddAvail: true},
		"indirect tables":  {RingSize: 16, Indirect: true, TxLayout: vhosttest.Layout{DataPieces: 3, Indirect: true}},
	} {
		t.Run(name, func(t *testing.T) { echo(t, cfg, 3000) })
		t.Run(name+", packed", func(t *testing.T) {
			cfg.Packed = true
			echo(t, cfg, 3000)
		})
	}
}

// echo has the device send back what it receives while the guest checks the order and content of what returns.
func echo(t *testing.T, cfg vhosttest.Config, total int) {
	r := newRig(t, cfg)
	var stop atomic.Bool
	var device sync.WaitGroup
	device.Go(func() {
		idx := make([]uint8, packet.BatchSize)
		for i := range idx {
			idx[i] = uint8(i)
		}
		for !stop.Load() {
			if n := r.rx.Receive(r.batch); n > 0 {
				r.tx.Transmit(r.batch, idx[:n])
				r.rx.Release(r.batch)
			} else {
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	defer device.Wait()
	defer stop.Store(true)
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range total {
		f := randomFrame(rng, packet.MinFrame, 1500)
		if err := r.guest.Send(0, f); err != nil {
			if !errors.Is(err, vhosttest.ErrFull) {
				t.Fatalf("frame %d: %v", i, err)
			}
			if err := r.guest.Tx(0).Wait(5 * time.Second); err != nil {
				t.Fatalf("frame %d: waiting for a transmit buffer: %v", i, err)
			}
			if err := r.guest.Send(0, f); err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
		}
		got, err := r.guest.Receive(0, 5*time.Second)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if !bytes.Equal(got, f) {
			t.Fatalf("frame %d of %d bytes came back as %d other bytes", i, len(f), len(got))
		}
	}
}

// TestABatchEndsWhereSegmentsDo sends frames that are too many pieces for one batch: whatever comes next, a chain or one piece,
// begins the next batch, and nothing is lost or changes places.
func TestABatchEndsWhereSegmentsDo(t *testing.T) {
	layouts := []vhosttest.Layout{{}, {DataPieces: 5}, {DataPieces: 7, Indirect: true}, {HeaderPieces: 1, DataPieces: 31}}
	for _, layout := range layouts {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v packed=%v", layout, packed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(7, 8))
				cfg := vhosttest.Config{
					TxLayout: layout, Packed: packed, Indirect: layout.Indirect, RingSize: 1024, MaxFrame: 2400, SlotSize: 300,
				}
				if layout.Indirect {
					cfg.SlotSize = 2048
				}
				r := newRig(t, cfg)
				var sent, got [][]byte
				for range 400 {
					// Of one piece, or as many as SlotSize or the layout say.
					f := randomFrame(rng, 60, 280)
					if rng.IntN(2) == 0 {
						f = randomFrame(rng, 1800, 2400)
					}
					sent = append(sent, f)
				}
				if n, err := r.guest.Tx(0).SendBurst(sent); n == 0 || err != nil {
					t.Fatalf("%d frames sent: %v", n, err)
				} else {
					sent = sent[:n]
				}
				polls := 0
				for r.poll(func(f []byte) { got = append(got, bytes.Clone(f)) }) > 0 {
					polls++
				}
				if len(got) != len(sent) || polls < 2 {
					t.Fatalf("%d frames in %d batches, %d were sent", len(got), polls, len(sent))
				}
				for i := range got {
					if !bytes.Equal(got[i], sent[i]) {
						t.Fatalf("frame %d of %d bytes came as one of %d", i, len(sent[i]), len(got[i]))
					}
				}
				r.healthy()
			})
		}
	}
}
