package vhosttest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weft/vhostuser/vhosttest"
)

func packedDescAt(b []byte) vhosttest.PackedDesc {
	return vhosttest.PackedDesc{
		Addr: binary.LittleEndian.Uint64(b), Len: binary.LittleEndian.Uint32(b[8:]),
		ID: binary.LittleEndian.Uint16(b[12:]), Flags: binary.LittleEndian.Uint16(b[14:]),
	}
}

func TestPackedDescriptorsLieAsTheSpecificationSays(t *testing.T) {
	r := newGuest(t, vhosttest.Config{Packed: true, RingSize: 3}).Tx(0).PackedRing()
	want := vhosttest.PackedDesc{Addr: 0x1122334455667788, Len: 0x99aabbcc, ID: 0xddee, Flags: 0xff01}
	r.SetDesc(2, want)
	if got := packedDescAt(r.DescPlace().Bytes[2*vhosttest.DescSize:]); got != want || r.Desc(2) != want {
		t.Errorf("%+v was written and stands as %+v, read as %+v", want, got, r.Desc(2))
	}
	r.SetDriverEvent(0x8123, vhosttest.EventsDisable)
	r.SetDeviceEvent(0x0456, vhosttest.EventsEnable)
	if got := r.DriverPlace().Bytes; !bytes.Equal(got, []byte{0x23, 0x81, 1, 0}) {
		t.Errorf("the driver's events stand as %x", got)
	}
	if got := r.DevicePlace().Bytes; !bytes.Equal(got, []byte{0x56, 0x04, 0, 0}) {
		t.Errorf("the device's events stand as %x", got)
	}
	// Section 2.8.1, both wrap counters.
	const wrapped = vhosttest.WrapBit
	for _, c := range []struct{ name, got, want any }{
		{"available", vhosttest.AvailFlags(wrapped | 5), uint16(vhosttest.DescAvail)},
		{"used", vhosttest.UsedFlags(wrapped | 5), uint16(vhosttest.DescAvail | vhosttest.DescUsed)},
		{"available, wrap 0", vhosttest.AvailFlags(5), uint16(vhosttest.DescUsed)},
		{"used, wrap 0", vhosttest.UsedFlags(5), uint16(0)},
		{"around the end", r.Advance(wrapped|2, 2), uint16(1)},
		{"around the end, wrap 0", r.Advance(1, 2), uint16(wrapped)},
		{"a whole round", r.Advance(1, 3), uint16(wrapped | 1)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, c.got, c.want)
		}
	}
}

// everyLayout are guests whose rings have each something of their own.
func everyLayout(packed bool) map[string]vhosttest.Config {
	type layout = vhosttest.Layout
	all := map[string]vhosttest.Config{
		"one piece":     {},
		"chains":        {TxLayout: layout{HeaderPieces: 1, DataPieces: 2}, RxLayout: layout{DataPieces: 3}},
		"random chains": {TxLayout: layout{DataPieces: 5, Random: true}, RxLayout: layout{HeaderPieces: 2, Random: true}},
		"indirect": {
			Indirect: true,
			TxLayout: layout{DataPieces: 4, Indirect: true}, RxLayout: layout{DataPieces: 2, Indirect: true},
		},
		"mergeable":        {Mergeable: true, RxBuffer: 600},
		"mergeable chains": {Mergeable: true, RxBuffer: 700, RxLayout: layout{DataPieces: 2}},
	}
	for name, cfg := range all {
		cfg.Packed, cfg.Verify = packed, true
		all[name] = cfg
	}
	return all
}

// TestPackedRingsCarryFrames goes round rings of sizes that are no power of two, from either wrap counter, with frames that
// come back changed by nothing.
func TestPackedRingsCarryFrames(t *testing.T) {
	for name, cfg := range everyLayout(true) {
		for _, size := range []int{1, 2, 3, 7, 8, 200} {
			for _, first := range []int{0, size - 1, size, 2*size - 1} {
				cfg.RingSize, cfg.FirstIndex, cfg.Seed = size, uint16(first), uint64(size)
				t.Run(fmt.Sprintf("%s, ring of %d from %d", name, size, first), func(t *testing.T) { carryFrames(t, cfg) })
			}
		}
	}
}

// carryFrames has a guest's frames come back from devices that return buffers as they come, in disorder, and in batches.
func carryFrames(t *testing.T, cfg vhosttest.Config) {
	if cfg.Mergeable && cfg.RingSize < 8 {
		cfg.RxBuffer = 2048 // a frame's buffers must fit the ring
	}
	for _, how := range []string{"as they come", "reordered", "in batches"} {
		t.Run(how, func(t *testing.T) {
			cfg.InOrder = how == "in batches"
			d := newEchoDevice(t, newGuest(t, cfg), uint64(cfg.FirstIndex))
			d.reorder, d.inOrder = how == "reordered", cfg.InOrder
			traffic(t, d, 400)
			if cfg.InOrder && cfg.RingSize >= 8 && (d.tx.skipped == 0 || d.rx.skipped == 0) {
				t.Errorf("%d sent and %d received buffers were in batches: this shows nothing", d.tx.skipped, d.rx.skipped)
			}
		})
	}
}

// traffic sends n frames in bursts and expects each back, in order.
func traffic(t *testing.T, d *echoDevice, n int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var sent [][]byte
	room := make([]byte, 4096)
	waiting := 0 // published, and not yet sent back
	for sending := n; sending > 0 || len(sent) > 0; {
		hidden := 0
		for burst := rng.IntN(12); burst > 0 && sending > 0; burst-- {
			f := make([]byte, 60+rng.IntN(1400))
			if d.inOrder && rng.IntN(2) == 0 {
				f = make([]byte, vhosttest.DefaultMaxFrame) // fills a receive buffer, as those inside a batch must be
			}
			for i := range f {
				f[i] = byte(rng.Uint32())
			}
			err := d.g.Tx(0).Enqueue(f)
			if errors.Is(err, vhosttest.ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			sent, sending = append(sent, f), sending-1
			if waiting -= d.poll(); waiting < 0 {
				t.Fatal("the device saw a chain that was not published")
			}
			hidden++
		}
		if err := d.g.Tx(0).Publish(); err != nil {
			t.Fatal(err)
		}
		waiting += hidden
		waiting -= d.poll()
		for len(sent) > 0 {
			n, err := d.g.Rx(0).Receive(room)
			if errors.Is(err, vhosttest.ErrEmpty) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(room[:n], sent[0]) {
				t.Fatalf("%d bytes came back as %d others", len(sent[0]), n)
			}
			sent = sent[1:]
		}
		if _, err := d.g.Rx(0).Refill(); err != nil {
			t.Fatal(err)
		}
	}
}

// packedOffence is something that a device does with a packed ring of 8 and must not do. It is given the ring, the chain
// at its first position, and the position behind it.
type packedOffence struct {
	name      string
	mergeable bool
	tx        bool
	device    func(d *echoDevice, r *vhosttest.PackedRing, c echoChain)
	want      string
	section   string
}

// firstPlace is the first position of a ring.
const firstPlace = vhosttest.WrapBit

// filled is a receive buffer with a header of so many buffers.
func (c echoChain) filled(buffers byte) echoChain {
	clear(c.pieces[0][:12])
	c.pieces[0][10] = buffers
	return c
}

var packedOffences = []packedOffence{
	{"an id outside the ring", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, _ echoChain) {
		r.Use(firstPlace, 8, 0)
	}, "buffer 8 at descriptor 0 of a ring of 8", "2.8.13"},
	{"an id that it does not have", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, (c.id+1)%8, 0)
	}, "which it does not have", "2.8.13"},
	{"an id twice", false, false, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, c.filled(1).id, 72)
		r.Use(firstPlace+1, c.id, 72)
	}, "which it does not have", "2.8.13"},
	{"a used descriptor of the last round", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(0, c.id, 0)
	}, "neither available nor used", "2.8.1"},
	{"more than was available", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, c.id, 0)
		r.Use(firstPlace+2, c.id, 0)
	}, "changed descriptor 2", "2.8.15"},
	{"a used descriptor for each of a chain", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace+1, c.id, 0)
		r.Use(firstPlace, c.id, 0)
	}, "changed descriptor 1", "2.8.15"},
	{"a length for what it only read", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, c.id, 60)
	}, "claims to have written 60 bytes", "2.8.3"},
	{"a length without the flag for it", false, false, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.SetDesc(0, vhosttest.PackedDesc{Len: 72, ID: c.filled(1).id, Flags: vhosttest.UsedFlags(firstPlace)})
	}, "without the WRITE flag", "2.8.3"},
	{"a change of what it was to read", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		c.pieces[1][3] ^= 1
		r.Use(firstPlace, c.id, 0)
	}, "device-readable buffer", "2.8.15"},
	{"a change of a chain's second descriptor", false, true, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		d := r.Desc(1)
		d.Len++
		r.SetDesc(1, d)
		r.Use(firstPlace, c.id, 0)
	}, "changed descriptor 1", "2.8.15"},
	{"a byte behind the buffer", false, false, func(d *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		desc := r.Desc(0)
		p, _ := d.mem.At(desc.Addr+uint64(desc.Len), 1)
		p.Bytes[0] = 0
		r.Use(firstPlace, c.filled(1).id, 72)
	}, "wrote outside", "2.8.4"},
	{"less than a header", false, false, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, c.id, 11)
	}, "wrote 11 bytes", "2.8.4"},
	{"more than the buffer holds", false, false, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, c.id, 1531)
	}, "wrote 1531 bytes into a buffer of 1530", "2.8.4"},
	{"two buffers, one of them shown", true, false, func(_ *echoDevice, r *vhosttest.PackedRing, c echoChain) {
		r.Use(firstPlace, c.filled(2).id, 2048)
	}, "over 2 buffers and showed 1", "2.8.9"},
	{"two buffers, the first not full", true, false, func(d *echoDevice, _ *vhosttest.PackedRing, c echoChain) {
		next, _ := d.take(&d.rx)
		d.give(&d.rx, []echoChain{c.filled(2), next}, []int{2047, 10})
	}, "into buffer 1 of 2, which holds 2048", "5.1.6.4.1"},
}

func TestADeviceThatBreaksTheRulesOfPackedRingsIsCaught(t *testing.T) {
	for _, c := range packedOffences {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t, vhosttest.Config{
				Packed: true, RingSize: 8, Mergeable: c.mergeable, Verify: true, TxLayout: vhosttest.Layout{HeaderPieces: 1},
			})
			d := newEchoDevice(t, g, 0)
			q, end := g.Rx(0), &d.rx
			if c.tx {
				q, end = g.Tx(0), &d.tx
				if err := g.Send(0, make([]byte, 60)); err != nil {
					t.Fatal(err)
				}
			}
			chain, found := d.take(end)
			if !found {
				t.Fatal("the device finds nothing")
			}
			c.device(d, q.PackedRing(), chain)
			err := reapOrReceive(q, c.tx)
			var v *vhosttest.ViolationError
			if !errors.As(err, &v) || !strings.Contains(v.Error(), c.want) || v.Section != c.section {
				t.Fatalf("got %v, want a violation of section %s with %q", err, c.section, c.want)
			}
			if q.Err() == nil {
				t.Error("the queue does not remember it")
			}
		})
	}
}

func TestADeviceThatOverwritesFreeDescriptorsIsCaught(t *testing.T) {
	g := newGuest(t, vhosttest.Config{Packed: true, RingSize: 8, Verify: true})
	g.Tx(0).PackedRing().SetState(0, 1, 2)
	var v *vhosttest.ViolationError
	if err := g.Send(0, make([]byte, 60)); !errors.As(err, &v) || v.Section != "2.8.15" {
		t.Errorf("got %v, want a violation of section 2.8.15", err)
	}
}

func TestEventFlagsWithoutEventIndexAreCaught(t *testing.T) {
	g := newGuest(t, vhosttest.Config{Packed: true, RingSize: 8})
	g.Tx(0).PackedRing().SetDeviceEvent(0, 2)
	var v *vhosttest.ViolationError
	if err := g.Send(0, make([]byte, 60)); !errors.As(err, &v) || v.Section != "2.8.10" {
		t.Errorf("got %v, want a violation of section 2.8.10", err)
	}
}

// TestMutatorsOfPackedRingsSpoilWhatTheyName and nothing else; with MutateFlip all is as before when they stop.
func TestMutatorsOfPackedRingsSpoilWhatTheyName(t *testing.T) {
	const (
		descs = 1 << iota
		driver
		device
		tables

		allButUsed = vhosttest.MutateDescs | vhosttest.MutateAvail | vhosttest.MutateTables | vhosttest.MutateAvailHead
	)
	for what, want := range map[vhosttest.MutateWhat]int{
		vhosttest.MutateDescs: descs, vhosttest.MutateAvail: descs, vhosttest.MutateAvailHead: driver,
		vhosttest.MutateUsed: device, vhosttest.MutateTables: tables,
		allButUsed | vhosttest.MutateFlip: 0,
	} {
		g := newGuest(t, vhosttest.Config{
			Packed: true, RingSize: 6, Indirect: true, RxLayout: vhosttest.Layout{DataPieces: 2, Indirect: true},
		})
		r := g.Rx(0).PackedRing()
		places := [][]byte{r.DescPlace().Bytes, r.DriverPlace().Bytes, r.DevicePlace().Bytes}
		for i := range r.Size() {
			table, err := g.Memory().At(r.Desc(i).Addr, uint64(r.Desc(i).Len))
			if err != nil {
				t.Fatal(err)
			}
			places = append(places, table.Bytes)
		}
		var before [][]byte
		for _, p := range places {
			before = append(before, bytes.Clone(p))
		}
		m := vhosttest.Mutate(g.Rx(0), what, 1)
		m.Stop()
		for range 101 { // whatever its goroutine came to do
			m.Once()
		}
		got := 0
		for i, p := range places {
			if !bytes.Equal(p, before[i]) {
				got |= 1 << min(i, 3)
			}
		}
		if got != want {
			t.Errorf("mutator %#x changed places %#b, want %#b", what, got, want)
		}
	}
}
