package vhosttest_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/vhostuser"
	"weft/vhostuser/vhosttest"
)

// TestStopIsExact: what GET_VRING_BASE leaves in the rings is neither lost nor done twice.
func TestStopIsExact(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		both(t, func(t *testing.T, guestListens bool) {
			cfg := vhosttest.Config{Packed: packed, QueuePairs: 2, Mergeable: true, Verify: true}
			_, g := start(t, guestListens, vhostuser.Config{}, cfg)
			rng := rand.New(rand.NewPCG(3, 3))
			for round := range 20 {
				echo(t, g, 5, rng)
				var sent [2][]byte
				for pair := range 2 {
					for i := range 40 { // some are done before the stop, some after the start
						if rng.IntN(40) == 0 {
							time.Sleep(50 * time.Microsecond)
						}
						sent[pair] = append(sent[pair], byte(round*40+i))
						if err := g.Send(pair, bytes.Repeat([]byte{byte(round*40 + i)}, 60)); err != nil {
							t.Fatal(err)
						}
					}
				}
				// What is received while only the receiveq is stopped is dropped, so the transmitq stops first.
				for pair := range 2 {
					for _, q := range []*vhosttest.Queue{g.Tx(pair), g.Rx(pair)} {
						if err := g.StopRing(q); err != nil {
							t.Fatal(err)
						}
					}
				}
				for pair := range 2 {
					sent[pair] = append(sent[pair], 0xee)
					if err := g.Send(pair, bytes.Repeat([]byte{0xee}, 60)); err != nil {
						t.Fatal(err)
					}
				}
				before := deviceWrites(g.Tx(0))
				time.Sleep(time.Millisecond)
				if !bytes.Equal(deviceWrites(g.Tx(0)), before) {
					t.Fatal("the back end works on a stopped ring")
				}
				if err := g.Start(); err != nil {
					t.Fatal(err)
				}
				for pair := range 2 {
					expect(t, g, pair, sent[pair])
				}
			}
		})
	})
}

// deviceWrites is a copy of all of a ring that a device may write.
func deviceWrites(q *vhosttest.Queue) []byte {
	desc, _, device := q.Parts()
	return append(bytes.Clone(desc.Bytes), device.Bytes...)
}

// expect receives frames of 60 equal bytes, one for each of want in order, and nothing else.
func expect(t *testing.T, g *vhosttest.Guest, pair int, want []byte) {
	t.Helper()
	for i, w := range want {
		got, err := g.Receive(pair, 5*time.Second)
		if err != nil || len(got) != 60 || got[0] != w {
			t.Fatalf("pair %d, frame %d: %d bytes (%v), want 60 of value %d", pair, i, len(got), err, w)
		}
	}
	if got, err := g.Receive(pair, 2*time.Millisecond); !errors.Is(err, vhosttest.ErrEmpty) {
		t.Fatalf("pair %d: %d bytes more than were sent: %v", pair, len(got), err)
	}
}

func TestReconnectAfterTheBackEndWasRestarted(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		both(t, func(t *testing.T, guestListens bool) {
			for _, order := range []vhosttest.Order{vhosttest.QemuOrder, vhosttest.VirtioUserOrder} {
				t.Run(fmt.Sprintf("order %d", order), func(t *testing.T) {
					b, g := start(t, guestListens, vhostuser.Config{}, vhosttest.Config{
						Packed: packed, Order: order, QueuePairs: 2, Mergeable: true, Verify: true,
					})
					rng := rand.New(rand.NewPCG(4, 4))
					for round := range 5 {
						echo(t, g, 20, rng)
						b.close()
						sent := bytes.Repeat([]byte{byte(round)}, 30)
						for range sent {
							if err := g.Send(1, bytes.Repeat([]byte{byte(round)}, 60)); err != nil {
								t.Fatal(err)
							}
						}
						b.open()
						if err := g.Reconnect(); err != nil {
							t.Fatal(err)
						}
						expect(t, g, 1, sent)
					}
				})
			}
		})
	})
}

func TestTheGuestGoesAndComesAgain(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		both(t, func(t *testing.T, guestListens bool) {
			b, g := start(t, guestListens, vhostuser.Config{}, vhosttest.Config{Packed: packed, Verify: true})
			for range 10 {
				echo(t, g, 3, rand.New(rand.NewPCG(5, 5)))
				g.HangUp()
				if err := g.Reconnect(); err != nil {
					t.Fatal(err)
				}
			}
			if s := b.port.Status(); s.Sessions != 11 {
				t.Errorf("%d sessions were counted, there were 11", s.Sessions)
			}
		})
	})
}

func TestMemoryChangesWhileFramesFlow(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		for _, slots := range []bool{false, true} {
			t.Run(fmt.Sprintf("region by region %v", slots), func(t *testing.T) {
				cfg := vhosttest.Config{Packed: packed, MemSlots: slots, Mergeable: true, Verify: true}
				_, g := start(t, false, vhostuser.Config{}, cfg)
				rng := rand.New(rand.NewPCG(6, 6))
				for i := range uint64(5) {
					echo(t, g, 20, rng)
					for range 3 { // in flight while the table changes
						if err := g.Send(0, bytes.Repeat([]byte{byte(i)}, 60)); err != nil {
							t.Fatal(err)
						}
					}
					if err := g.AddMemory(vhosttest.RegionLayout{GPA: (8 + i) << 32, Size: 2 << 20}); err != nil {
						t.Fatal(err)
					}
					expect(t, g, 0, bytes.Repeat([]byte{byte(i)}, 3))
				}
				// The same table again changes nothing.
				for range 3 {
					if err := g.AnnounceMemory(); err != nil {
						t.Fatal(err)
					}
					echo(t, g, 5, rng)
				}
			})
		}
	})
}

func TestADisabledQueueDropsByName(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		b, g := start(t, false, vhostuser.Config{}, vhosttest.Config{Packed: packed, Verify: true})
		rng := rand.New(rand.NewPCG(7, 7))
		echo(t, g, 5, rng)
		off := func(num uint32) {
			if err := g.FrontEnd().Send(vhosttest.SetVringEnable, vhosttest.VringState(0, num)); err != nil {
				t.Fatal(err)
			}
			if err := g.FrontEnd().Sync(); err != nil {
				t.Fatal(err)
			}
		}
		off(0)
		if err := g.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			c := b.port.TxQueues()[0].Counters()
			if c.Drops[packet.DropQueueDisabled] == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a frame to a disabled queue is not counted: %+v", c.Drops)
			}
		}
		off(1)
		echo(t, g, 5, rng)
	})
}

func TestResets(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		_, g := start(t, false, vhostuser.Config{}, vhosttest.Config{Packed: packed, Verify: true, NeedReply: true, QueuePairs: 2})
		for range 3 {
			for name, reset := range map[string]func() error{
				"RESET_DEVICE": g.ResetDevice, "RESET_OWNER": g.ResetOwner,
			} {
				echo(t, g, 5, rand.New(rand.NewPCG(8, 8)))
				if err := reset(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		echo(t, g, 5, rand.New(rand.NewPCG(8, 8)))
	})
}

func TestTheMTUIsKept(t *testing.T) {
	b, g := start(t, false, vhostuser.Config{MTU: 1400}, vhosttest.Config{MTU: 1400, MaxFrame: 3000, SlotSize: 4096})
	tagged := make([]byte, 1400+14+8)
	copy(tagged[12:], []byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0})
	for _, f := range [][]byte{make([]byte, 1415), tagged, make([]byte, 1414)} {
		if err := g.Send(0, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{1422, 1414} {
		if got, err := g.Receive(0, 5*time.Second); err != nil || len(got) != want {
			t.Fatalf("%d bytes arrived, want %d: %v", len(got), want, err)
		}
	}
	// The guest sees frames before they and their neighbours are counted.
	overMTU := func() uint64 { return b.port.TxQueues()[0].Counters().Drops[packet.DropOverMTU] }
	for end := time.Now().Add(5 * time.Second); overMTU() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if n := overMTU(); n != 1 {
		t.Errorf("%d drops over the MTU, want one", n)
	}
}

// breakRing offers what no driver may offer, and returns what the port says of it.
func breakRing(q *vhosttest.Queue) string {
	if r := q.PackedRing(); r != nil {
		r.Offer(q.AvailIndex(), vhosttest.PackedDesc{Addr: 1 << 60, Len: 60})
		return "not wholly inside guest memory"
	}
	q.Ring().Offer(0xffff)
	return "outside the table"
}

func TestABrokenRingIsNamedAndHealsWhenTheGuestStartsAnew(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		b, g := start(t, false, vhostuser.Config{}, vhosttest.Config{Packed: packed, Verify: true, QueuePairs: 2})
		rng := rand.New(rand.NewPCG(9, 9))
		for range 3 {
			echo(t, g, 3, rng)
			said := breakRing(g.Tx(0))
			b.waitFor("an error", func(s vhostuser.Status) bool {
				return s.State == vhostuser.StateError && strings.Contains(s.Error, said)
			})
			if err := g.Send(1, make([]byte, 60)); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Receive(1, 5*time.Second); err != nil {
				t.Fatalf("the other pair: %v", err)
			}
			for _, step := range []func() error{g.Stop, g.ResetRings, g.Start} {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			b.waitFor("healthy", func(s vhostuser.Status) bool { return s.State == vhostuser.StateUp })
		}
		echo(t, g, 3, rng)
	})
}

// TestAGuestWhoseRingsChangeAllTheTime harms itself only, and a well-behaved one is served next.
func TestAGuestWhoseRingsChangeAllTheTime(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		const what = vhosttest.MutateDescs | vhosttest.MutateAvail | vhosttest.MutateAvailHead | vhosttest.MutateBuffers
		b, first := start(t, false, vhostuser.Config{}, vhosttest.Config{Packed: packed, Mergeable: true})
		for seed := range uint64(10) {
			g := first
			if seed > 0 {
				g = connect(t, vhosttest.Config{Packed: packed, Path: b.cfg.Path, Mergeable: true})
			}
			rx, tx := vhosttest.Mutate(g.Rx(0), what, seed), vhosttest.Mutate(g.Tx(0), what, ^seed)
			for range 20 {
				// Whatever comes of it: this driver's own rings are being spoiled.
				_ = g.Send(0, make([]byte, 60))
				_, _ = g.Receive(0, 0)
				time.Sleep(time.Millisecond)
			}
			if rx.Stop() == 0 || tx.Stop() == 0 {
				t.Error("nothing was changed")
			}
			g.HangUp()
			b.waitFor("free", func(s vhostuser.Status) bool { return s.State == vhostuser.StateListening })
		}
		echo(t, connect(t, vhosttest.Config{Packed: packed, Path: b.cfg.Path, Verify: true}), 5, rand.New(rand.NewPCG(1, 9)))
	})
}

// TestAGuestThatTruncatesItsMemory costs its own session only.
func TestAGuestThatTruncatesItsMemory(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		b, g := start(t, false, vhostuser.Config{}, vhosttest.Config{Packed: packed, Verify: true})
		echo(t, g, 3, rand.New(rand.NewPCG(1, 9)))
		// Between two polls: under the race detector, sync/atomic runs on a stack from which Go cannot recover a fault that
		// comes in the midst of it.
		b.mu.Lock()
		err := g.Memory().Truncate(0)
		b.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if err := g.FrontEnd().Gone(); err != nil {
			t.Fatal(err)
		}
		if b.faults.Load() == 0 {
			t.Error("the poller saw no fault")
		}
		next := connect(t, vhosttest.Config{Packed: packed, Path: b.cfg.Path, Verify: true})
		echo(t, next, 3, rand.New(rand.NewPCG(1, 9)))
	})
}

// atMost fails unless count becomes limit or less soon: a session says that it is over before its socket is closed.
func atMost(t *testing.T, what string, limit int, count func(*testing.T) int) {
	t.Helper()
	n := count(t)
	for deadline := time.Now().Add(2 * time.Second); n > limit && time.Now().Before(deadline); n = count(t) {
		time.Sleep(time.Millisecond)
	}
	if n > limit {
		t.Errorf("%d %s became %d", limit, what, n)
	}
}

// least is the smallest of a few counts.
func least(t *testing.T, count func(*testing.T) int) int {
	n := count(t)
	for range 20 {
		time.Sleep(time.Millisecond)
		n = min(n, count(t))
	}
	return n
}

func goroutines(*testing.T) int { return runtime.NumGoroutine() }

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func mappings(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("guest-memory"))
}

// TestNothingIsLeftBehind: guests that come and die leave no descriptor and no mapping.
func TestNothingIsLeftBehind(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		path := socketPath(t)
		b := openBackEnd(t, vhostuser.Config{Path: path, Server: true, QueuePairs: 2})
		round := func() {
			g, err := vhosttest.Connect(vhosttest.Config{Packed: packed, Path: path, QueuePairs: 2, Verify: true})
			if err != nil {
				t.Fatal(err)
			}
			echo(t, g, 2, rand.New(rand.NewPCG(1, 3)))
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			b.waitFor("ready again", func(s vhostuser.Status) bool { return s.State == vhostuser.StateListening })
		}
		round()
		files, maps, threads := least(t, openFiles), least(t, mappings), least(t, goroutines)
		for range 20 {
			round()
		}
		atMost(t, "descriptors", files, openFiles)
		atMost(t, "mappings", maps, mappings)
		atMost(t, "goroutines", threads, goroutines)
	})
}
