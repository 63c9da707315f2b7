package vhosttest_test

import (
	"errors"
	"strings"
	"testing"

	"weft/vhostuser/vhosttest"
)

// inOrder are a device and the three chains of two descriptors each that it got on the transmitq, a ring of 8.
func inOrder(t *testing.T, packed bool) (*echoDevice, []echoChain) {
	t.Helper()
	g := newGuest(t, vhosttest.Config{
		Packed: packed, RingSize: 8, InOrder: true, Verify: true, TxLayout: vhosttest.Layout{HeaderPieces: 1},
	})
	d := newEchoDevice(t, g, 0)
	return d, sendChains(t, d, 3)
}

// sendChains sends n frames, and returns what the device got.
func sendChains(t *testing.T, d *echoDevice, n int) (chains []echoChain) {
	t.Helper()
	for range n {
		if err := d.g.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		c, found := d.take(&d.tx)
		if !found {
			t.Fatal("the device finds nothing")
		}
		chains = append(chains, c)
	}
	return chains
}

// useBatch returns n chains of two descriptors each, the last of them c, by one used entry or descriptor.
func (d *echoDevice) useBatch(c echoChain, n int) {
	e := &d.tx
	if e.split != nil {
		e.split.SetUsed(e.used, vhosttest.UsedElem{ID: uint32(c.id)})
		e.used += uint16(n)
		e.split.SetUsedHead(0, e.used)
		return
	}
	e.ring.Use(e.used, c.id, 0)
	e.used = e.ring.Advance(e.used, uint16(2*n))
}

// TestABatchIsThatManyBuffers: what one used entry tells of is counted, reaped, and freed in full, and the driver goes on
// behind it.
func TestABatchIsThatManyBuffers(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		d, chains := inOrder(t, packed)
		q := d.g.Tx(0)
		for _, step := range []struct{ batch, last, out int }{{2, 1, 1}, {1, 2, 0}} {
			d.useBatch(chains[step.last], step.batch)
			if n, err := q.Reap(); n != step.batch || err != nil {
				t.Fatalf("reaped %d buffers of a batch of %d: %v", n, step.batch, err)
			}
			if got := q.UsedIndex(); got != d.tx.used || q.Outstanding() != step.out {
				t.Fatalf("the driver went on to %#x with %d buffers out, want %#x and %d", got, q.Outstanding(), d.tx.used, step.out)
			}
		}
		// The ring is 8 descriptors long: the next three wrap around.
		d.useBatch(sendChains(t, d, 3)[2], 3)
		if n, err := q.Reap(); n != 3 || err != nil {
			t.Fatalf("reaped %d buffers of a batch of 3: %v", n, err)
		}
	})
}

// TestAResetRingStartsInOrderAgain, wherever it was: the device finds the first chain at descriptor 0 of a split ring.
func TestAResetRingStartsInOrderAgain(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		d, chains := inOrder(t, packed)
		d.useBatch(chains[1], 2) // one of them known to be used, and one outstanding
		if err := d.g.Tx(0).Wait(0); err != nil {
			t.Fatal(err)
		}
		if err := d.g.ResetRings(); err != nil {
			t.Fatal(err)
		}
		d = newEchoDevice(t, d.g, 0)
		d.inOrder = true
		traffic(t, d, 100)
	})
}

// inOrderOffence is something that a device does that returns three chains, of two descriptors each, in order, and must not
// do.
type inOrderOffence struct {
	name    string
	device  func(d *echoDevice, c []echoChain)
	want    string
	section string
}

// usedEntry writes an entry of the transmitq's used ring, and shows the driver n of them.
func (d *echoDevice) usedEntry(i uint16, e vhosttest.UsedElem, n uint16) {
	d.tx.split.SetUsed(i, e)
	d.tx.split.SetUsedHead(0, n)
}

var splitInOrderOffences = []inOrderOffence{
	{"a descriptor outside the ring", func(d *echoDevice, _ []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: 8}, 1)
	}, "descriptor 8 of a ring of 8", "2.7.8"},
	{"a free descriptor", func(d *echoDevice, _ []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: 6}, 3)
	}, "descriptor 6, with which none of its buffers starts", "2.7.9"},
	{"the middle of a chain", func(d *echoDevice, _ []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: 3}, 3)
	}, "descriptor 3, with which none of its buffers starts", "2.7.9"},
	{"a chain that it was not shown", func(d *echoDevice, _ []echoChain) {
		if err := d.g.Tx(0).Enqueue([]byte{1}); err != nil {
			d.t.Error(err)
		}
		d.usedEntry(0, vhosttest.UsedElem{ID: 6}, 4)
	}, "descriptor 6, with which none of its buffers starts", "2.7.9"},
	{"a chain twice", func(d *echoDevice, c []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: uint32(c[0].id)}, 1)
		d.usedEntry(1, vhosttest.UsedElem{ID: uint32(c[0].id)}, 2)
	}, "descriptor 0, with which none of its buffers starts", "2.7.9"},
	{"an older chain after a batch", func(d *echoDevice, c []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: uint32(c[1].id)}, 2)
		d.usedEntry(2, vhosttest.UsedElem{ID: uint32(c[0].id)}, 3)
	}, "descriptor 0, with which none of its buffers starts", "2.7.9"},
	{"chains in another order", func(d *echoDevice, c []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: uint32(c[2].id)}, 1)
	}, "which ends a batch of 3, and moved the used index on by 1", "2.7.9"},
	{"a second batch past the used index", func(d *echoDevice, c []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: uint32(c[0].id)}, 1)
		d.usedEntry(1, vhosttest.UsedElem{ID: uint32(c[2].id)}, 2)
	}, "which ends a batch of 2, and moved the used index on by 1", "2.7.9"},
	{"more than was available", func(d *echoDevice, c []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: uint32(c[2].id)}, 4)
	}, "used index from 0 to 4 while it had 3", "2.7.8.2"},
	{"a length for what it only read", func(d *echoDevice, c []echoChain) {
		d.usedEntry(0, vhosttest.UsedElem{ID: uint32(c[2].id), Len: 60}, 3)
	}, "claims to have written 60 bytes", "2.7.8.2"},
	{"a change of a skipped descriptor", func(d *echoDevice, c []echoChain) {
		desc := d.tx.split.Desc(1)
		desc.Len++
		d.tx.split.SetDesc(1, desc)
		d.useBatch(c[2], 3)
	}, "changed descriptor 1", "2.7.5.1"},
	{"a change of what it was to read", func(d *echoDevice, c []echoChain) {
		c[1].pieces[1][3] ^= 1
		d.useBatch(c[2], 3)
	}, "device-readable buffer", "2.7.5.1"},
}

// lengthen is a device that changes a descriptor of the transmitq, a packed one.
func (d *echoDevice) lengthen(i uint32) {
	desc := d.tx.ring.Desc(i)
	desc.Len++
	d.tx.ring.SetDesc(i, desc)
}

var packedInOrderOffences = []inOrderOffence{
	{"an id outside the ring", func(d *echoDevice, _ []echoChain) {
		d.tx.ring.Use(firstPlace, 8, 0)
	}, "buffer 8 at descriptor 0 of a ring of 8", "2.8.13"},
	{"an id that is free", func(d *echoDevice, c []echoChain) {
		id := uint16(0)
		for id == c[0].id || id == c[1].id || id == c[2].id {
			id++
		}
		d.tx.ring.Use(firstPlace, id, 0)
	}, "at descriptor 0, which it does not have", "2.8.8"},
	{"an id twice", func(d *echoDevice, c []echoChain) {
		d.tx.ring.Use(firstPlace+2, c[0].id, 0)
		d.tx.ring.Use(firstPlace, c[0].id, 0)
	}, "at descriptor 2, which it does not have", "2.8.8"},
	{"an older id after a batch", func(d *echoDevice, c []echoChain) {
		d.tx.ring.Use(firstPlace+4, c[0].id, 0)
		d.tx.ring.Use(firstPlace, c[1].id, 0)
	}, "at descriptor 4, which it does not have", "2.8.8"},
	{"a length for what it only read", func(d *echoDevice, c []echoChain) {
		d.tx.ring.Use(firstPlace, c[2].id, 60)
	}, "claims to have written 60 bytes", "2.8.3"},
	{"a change of a skipped address", func(d *echoDevice, c []echoChain) {
		desc := d.tx.ring.Desc(3)
		desc.Addr++
		d.tx.ring.SetDesc(3, desc)
		d.useBatch(c[2], 3)
	}, "changed the address of descriptor 3", "2.8.15"},
	{"a change of the descriptor behind all batches", func(d *echoDevice, c []echoChain) {
		d.lengthen(6)
		d.useBatch(c[2], 3)
	}, "changed descriptor 6", "2.8.15"},
	{"a change after the batch was returned", func(d *echoDevice, c []echoChain) {
		d.useBatch(c[2], 3)
		if err := d.g.Tx(0).Wait(0); err != nil {
			d.t.Error(err)
		}
		d.lengthen(3)
	}, "changed descriptor 3", "2.8.15"},
	{"a change of what it was to read", func(d *echoDevice, c []echoChain) {
		c[1].pieces[1][3] ^= 1
		d.useBatch(c[2], 3)
	}, "device-readable buffer", "2.8.15"},
}

func TestADeviceThatBreaksTheRulesOfUseInOrderIsCaught(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		offences := splitInOrderOffences
		if packed {
			offences = packedInOrderOffences
		}
		for _, o := range offences {
			t.Run(o.name, func(t *testing.T) {
				d, chains := inOrder(t, packed)
				o.device(d, chains)
				err := reapOrReceive(d.g.Tx(0), true)
				var v *vhosttest.ViolationError
				if !errors.As(err, &v) || !strings.Contains(v.Error(), o.want) || v.Section != o.section {
					t.Fatalf("got %v, want a violation of section %s with %q", err, o.section, o.want)
				}
			})
		}
	})
}

// TestUseInOrderIsNegotiated: it is asked for, a back end without it is refused by name, and after the back end's death the
// rings go on behind the last batch that stands in them.
func TestUseInOrderIsNegotiated(t *testing.T) {
	path := socketPath(t)
	cfg := vhosttest.Config{
		Path: path, NoProtocol: true, Packed: true, InOrder: true, RingSize: 10, Verify: true,
		TxLayout: vhosttest.Layout{HeaderPieces: 1},
	}
	without := cfg
	without.Path = socketPath(t)
	newRecorder(t, without.Path, 0)
	var missing *vhosttest.MissingFeaturesError
	if g, err := vhosttest.Connect(without); !errors.As(err, &missing) || missing.Features != vhosttest.FeatureInOrder {
		t.Errorf("a back end that does not offer IN_ORDER: got %v", err)
		if err == nil {
			_ = g.Close()
		}
	}

	r := newRecorder(t, path, vhosttest.FeatureInOrder)
	g := connect(t, cfg)
	r.mu.Lock()
	if want := uint64(vhosttest.FeatureVersion1 | vhosttest.FeaturePacked | vhosttest.FeatureInOrder); r.features != want {
		t.Errorf("features %#x were negotiated, want %#x", r.features, want)
	}
	r.mu.Unlock()
	d := newEchoDevice(t, g, 1)
	chains := sendChains(t, d, 4)
	d.useBatch(chains[0], 1) // seen by the driver, and not reaped
	if err := g.Tx(0).Wait(0); err != nil {
		t.Fatal(err)
	}
	d.useBatch(chains[2], 2) // not even seen
	d.useBatch(chains[3], 1)
	g.HangUp()
	if err := g.Reconnect(); err != nil {
		t.Fatal(err)
	}
	r.expectBase(t, 0x8008_8008, 2)
	if n, err := g.Tx(0).Reap(); n != 1 || err != nil {
		t.Errorf("reaped %d buffers that the driver knew of: %v", n, err)
	}
	if n, err := g.Tx(0).Reap(); n != 3 || err != nil {
		t.Errorf("reaped %d buffers of the batches that the back end left behind: %v", n, err)
	}
}
