package vhosttest_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/vhostuser"
	"weft/vhostuser/vhosttest"
)

// backEnd is a vhost-user port with one polling goroutine that sends every frame back to the pair it came from.
type backEnd struct {
	t    testing.TB
	cfg  vhostuser.Config
	port *vhostuser.Port

	mu     sync.Mutex // held while the poller uses queues
	stop   atomic.Bool
	done   sync.WaitGroup
	echoed atomic.Uint64
	faults atomic.Int32
}

// openBackEnd makes a port at path. It fails the test when the port cannot be made, and closes it at the test's end.
func openBackEnd(t testing.TB, cfg vhostuser.Config) *backEnd {
	t.Helper()
	cfg.Name = "vm1"
	b := &backEnd{t: t, cfg: cfg}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *backEnd) open() {
	b.t.Helper()
	port, err := vhostuser.Open(b.cfg, vhostuser.Host{
		Synchronize: func() {
			b.mu.Lock()
			defer b.mu.Unlock()
		},
		Log: slog.New(slog.NewTextHandler(&logWriter{b.t}, nil)),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.port = port
	b.stop.Store(false)
	b.done.Go(b.poll)
}

// logWriter shows a port's log when the test fails.
type logWriter struct{ t testing.TB }

func (w *logWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		w.t.Logf("%s", bytes.TrimSpace(p))
	}
	return len(p), nil
}

func (b *backEnd) close() {
	if b.port == nil {
		return
	}
	if err := b.port.Close(); err != nil {
		b.t.Errorf("closing the port: %v", err)
	}
	b.port = nil
	b.stop.Store(true)
	b.done.Wait()
}

func (b *backEnd) poll() {
	debug.SetPanicOnFault(true)
	port := b.port
	batch := packet.NewBatch(nil)
	idx := make([]uint8, packet.BatchSize)
	for i := range idx {
		idx[i] = uint8(i)
	}
	for !b.stop.Load() {
		if b.once(port, batch, idx) {
			b.faults.Add(1)
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// once polls each queue once. It reports whether a fault on guest memory ended it.
func (b *backEnd) once(port *vhostuser.Port, batch *packet.Batch, idx []uint8) (fault bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			at, ok := r.(interface {
				runtime.Error
				Addr() uintptr
			})
			if !ok || !port.Fault(at.Addr()) {
				panic(r)
			}
			fault = true
		}
	}()
	for i, rx := range port.RxQueues() {
		if n := rx.Receive(batch); n > 0 {
			port.TxQueues()[i].Transmit(batch, idx[:n])
			rx.Release(batch)
			b.echoed.Add(uint64(n))
		}
	}
	return false
}

// waitFor waits until the port's status satisfies ok.
func (b *backEnd) waitFor(what string, ok func(vhostuser.Status) bool) {
	b.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok(b.port.Status()) {
		if time.Now().After(deadline) {
			b.t.Fatalf("the port does not become %s: %+v", what, b.port.Status())
		}
		time.Sleep(time.Millisecond)
	}
}

func connect(t testing.TB, cfg vhosttest.Config) *vhosttest.Guest {
	t.Helper()
	g, err := vhosttest.Connect(cfg)
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

func socketPath(t testing.TB) string { return filepath.Join(t.TempDir(), "vm1.sock") }

// echo sends n random frames on each pair and expects each to come back on it.
func echo(t testing.TB, g *vhosttest.Guest, n int, rng *rand.Rand) {
	t.Helper()
	for i := range n {
		for pair := range g.Pairs() {
			f := make([]byte, packet.MinFrame+rng.IntN(1500))
			for j := range f {
				f[j] = byte(rng.Uint32())
			}
			err := g.Send(pair, f)
			if errors.Is(err, vhosttest.ErrFull) { // the last frame came back before its buffer did
				if err = g.Tx(pair).Wait(5 * time.Second); err == nil {
					err = g.Send(pair, f)
				}
			}
			if err != nil {
				t.Fatalf("frame %d of pair %d: %v", i, pair, err)
			}
			got, err := g.Receive(pair, 5*time.Second)
			if err != nil {
				t.Fatalf("frame %d of pair %d: %v", i, pair, err)
			}
			if !bytes.Equal(got, f) {
				t.Fatalf("frame %d of pair %d, %d bytes, came back as %d other bytes", i, pair, len(f), len(got))
			}
		}
	}
}

// both runs a test with the back end listening and with the guest listening.
func both(t *testing.T, f func(t *testing.T, guestListens bool)) {
	t.Run("back end listens", func(t *testing.T) { f(t, false) })
	t.Run("guest listens", func(t *testing.T) { f(t, true) })
}

// start makes a back end and a guest at either end of a socket.
func start(t *testing.T, guestListens bool, bc vhostuser.Config, gc vhosttest.Config) (*backEnd, *vhosttest.Guest) {
	t.Helper()
	bc.Path = socketPath(t)
	bc.Server = !guestListens
	bc.QueuePairs = max(1, gc.QueuePairs)
	gc.Path, gc.Server = bc.Path, guestListens
	b := openBackEnd(t, bc)
	return b, connect(t, gc)
}

func TestFrontEndsOfEveryKind(t *testing.T) {
	orders := map[string]vhosttest.Order{"qemu": vhosttest.QemuOrder, "virtio-user": vhosttest.VirtioUserOrder}
	both(t, func(t *testing.T, guestListens bool) {
		for name, order := range orders {
			for _, pairs := range []int{1, 2, 4} {
				for _, mergeable := range []bool{false, true} {
					for _, ack := range []bool{false, true} {
						name := fmt.Sprintf("%s, %d pairs, mergeable %v, acknowledged %v", name, pairs, mergeable, ack)
						cfg := vhosttest.Config{
							Order: order, QueuePairs: pairs, Mergeable: mergeable, NeedReply: ack, Verify: true,
							TxLayout: vhosttest.Layout{DataPieces: 3, Random: true}, MemSlots: ack && mergeable,
						}
						t.Run(name, func(t *testing.T) {
							eachFormat(t, func(t *testing.T, packed bool) {
								cfg.Packed = packed
								_, g := start(t, guestListens, vhostuser.Config{}, cfg)
								echo(t, g, 50, rand.New(rand.NewPCG(1, 1)))
							})
						})
					}
				}
			}
		}
	})
}

func TestFeaturesTheGuestMayDoWithout(t *testing.T) {
	for name, cfg := range map[string]vhosttest.Config{
		"no protocol features":   {NoProtocol: true},
		"legacy":                 {Legacy: true},
		"legacy, mergeable":      {Legacy: true, Mergeable: true},
		"indirect":               {Indirect: true, TxLayout: vhosttest.Layout{DataPieces: 3, Indirect: true}},
		"avail ring at 2 mod 4":  {OddAvail: true},
		"small mergeable":        {Mergeable: true, RxBuffer: 200, RingSize: 512},
		"a ring of one":          {RingSize: 1},
		"indices about to wrap":  {FirstIndex: 65530},
		"the largest ring":       {RingSize: 32768},
		"eight regions in a row": {Regions: eightRegions()},

		"packed, no protocol features": {Packed: true, NoProtocol: true},
		"packed, indirect": {
			Packed: true, Indirect: true, TxLayout: vhosttest.Layout{DataPieces: 3, Indirect: true},
		},
		"packed, events at 4 mod 8":         {Packed: true, OddAvail: true},
		"packed, small mergeable":           {Packed: true, Mergeable: true, RxBuffer: 200, RingSize: 500},
		"a packed ring of one":              {Packed: true, RingSize: 1},
		"a packed ring of 100":              {Packed: true, RingSize: 100},
		"a packed ring with wrap counter 0": {Packed: true, RingSize: 100, FirstIndex: 150},
		"the largest packed ring":           {Packed: true, RingSize: 32768},

		"in order":                 {InOrder: true, RingSize: 8, TxLayout: vhosttest.Layout{DataPieces: 3, Random: true}},
		"in order, small buffers":  {InOrder: true, Mergeable: true, RxBuffer: 200, RingSize: 512},
		"in order, indirect":       {InOrder: true, Indirect: true, TxLayout: vhosttest.Layout{DataPieces: 3, Indirect: true}},
		"packed, in order":         {Packed: true, InOrder: true, RingSize: 7, TxLayout: vhosttest.Layout{DataPieces: 3, Random: true}},
		"packed, in order, merged": {Packed: true, InOrder: true, Mergeable: true, RxBuffer: 200, RingSize: 500},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Verify = cfg.RingSize < 1024
			_, g := start(t, false, vhostuser.Config{}, cfg)
			echo(t, g, 100, rand.New(rand.NewPCG(2, 2)))
		})
	}
}

func eightRegions() (all []vhosttest.RegionLayout) {
	for i := range uint64(8) {
		all = append(all, vhosttest.RegionLayout{
			GPA: 1<<30 + i*(1<<20), Size: 1 << 20, Gap: i * 4096, User: 0x7f00_0000_0000 - i<<32,
		})
	}
	return all
}
