package vhosttest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"weft/vhostuser"
	"weft/vhostuser/vhosttest"
)

// badMessage is a message that ends the session, with some descriptors of a file of 1 MiB.
type badMessage struct {
	name string
	raw  []byte
	fds  int
}

func message(req vhosttest.Request, payload []byte) []byte {
	return vhosttest.Encode(req, vhosttest.FlagVersion, payload)
}

func lengthOf4GiB() []byte {
	m := message(vhosttest.SetFeatures, vhosttest.U64(0))
	m[8], m[11] = 0xff, 0xff
	return m
}

var region = vhosttest.MemRegion{GPA: 0, Size: 1 << 20, User: 1 << 40}

var badMessages = []badMessage{
	{"rubbish", bytes.Repeat([]byte{0xa5}, 200), 0},
	{"version 0", vhosttest.Encode(vhosttest.GetFeatures, 0, nil), 0},
	{"a reply", vhosttest.Encode(vhosttest.GetFeatures, vhosttest.FlagVersion|vhosttest.FlagReply, nil), 0},
	{"a length of 4 GiB", lengthOf4GiB(), 0},
	{"a number of 7 bytes", message(vhosttest.SetFeatures, make([]byte, 7)), 0},
	{"a number of 9 bytes", message(vhosttest.SetFeatures, make([]byte, 9)), 0},
	{"a descriptor that nobody asked for", message(vhosttest.SetFeatures, vhosttest.U64(0)), 1},
	{"eight descriptors with a kick", message(vhosttest.SetVringKick, vhosttest.VringFD(0, true)), 8},
	{"forty descriptors", message(vhosttest.SetMemTable, vhosttest.MemTable(region)), 40},
	{"a call without its descriptor", message(vhosttest.SetVringCall, vhosttest.VringFD(0, true)), 0},
	{"a call with a descriptor that it denies", message(vhosttest.SetVringCall, vhosttest.VringFD(0, false)), 1},
	{"ring 2 of 2", message(vhosttest.SetVringNum, vhosttest.VringState(2, 256)), 0},
	{"ring 65536", message(vhosttest.SetVringNum, vhosttest.VringState(1<<16, 256)), 0},
	{"ring 255 by call", message(vhosttest.SetVringCall, vhosttest.VringFD(255, true)), 1},
	{"a ring of 3", message(vhosttest.SetVringNum, vhosttest.VringState(0, 3)), 0},
	{"a ring of 65536", message(vhosttest.SetVringNum, vhosttest.VringState(0, 1<<16)), 0},
	{"an index of 17 bits", message(vhosttest.SetVringBase, vhosttest.VringState(0, 1<<16)), 0},
	{"no regions", message(vhosttest.SetMemTable, vhosttest.MemTable()), 0},
	{"a region without its descriptor", message(vhosttest.SetMemTable, vhosttest.MemTable(region)), 0},
	{"one region, two descriptors", message(vhosttest.SetMemTable, vhosttest.MemTable(region)), 2},
	{"a region that wraps", message(vhosttest.SetMemTable,
		vhosttest.MemTable(vhosttest.MemRegion{GPA: 1<<64 - 4096, Size: 1 << 20})), 1},
	{"an offset that overflows", message(vhosttest.SetMemTable,
		vhosttest.MemTable(vhosttest.MemRegion{Size: 1 << 20, Offset: 1<<64 - 4096})), 1},
	{"a region longer than its file", message(vhosttest.SetMemTable,
		vhosttest.MemTable(vhosttest.MemRegion{Size: 1 << 21, User: 1 << 40})), 1},
	{"regions that overlap", message(vhosttest.SetMemTable, vhosttest.MemTable(region, region)), 2},
	{"features that were not offered", message(vhosttest.SetFeatures, vhosttest.U64(1<<63)), 0},
	{"logging that was not offered", message(vhosttest.SetLogBase, make([]byte, 16)), 1},
	{"in-flight tracking that was not offered", message(vhosttest.SetInflightFD, make([]byte, 24)), 1},
}

// TestMessagesThatNoFrontEndSends end the one session, leave no descriptor behind, and the next front end is served.
func TestMessagesThatNoFrontEndSends(t *testing.T) {
	path := socketPath(t)
	b := openBackEnd(t, vhostuser.Config{Path: path, Server: true})
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	fd := int(file.Fd())
	for _, c := range badMessages {
		t.Run(c.name, func(t *testing.T) {
			b.waitFor("free", func(s vhostuser.Status) bool { return s.State == vhostuser.StateListening })
			before := least(t, openFiles)
			f, err := vhosttest.Dial(path, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Write(c.raw, slices.Repeat([]int{fd}, c.fds)...); err != nil {
				t.Fatal(err)
			}
			if err := f.Gone(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			b.waitFor("free", func(s vhostuser.Status) bool { return s.State == vhostuser.StateListening })
			if s := b.port.Status(); s.LastError == "" {
				t.Error("the port does not say what was wrong")
			}
			atMost(t, "descriptors", before, openFiles)
		})
	}
	echo(t, connect(t, vhosttest.Config{Path: path}), 3, rand.New(rand.NewPCG(1, 1)))
}

// TestAFrontEndThatDiesAnywhere closes the socket after each byte of a whole bring-up, and leaves nothing behind.
func TestAFrontEndThatDiesAnywhere(t *testing.T) {
	path := socketPath(t)
	b := openBackEnd(t, vhostuser.Config{Path: path, Server: true})
	g, err := vhosttest.NewGuest(vhosttest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	script := bringUpScript(t, g)
	before := -1
	for n, m := range script {
		step := max(1, len(m.raw)/12)
		for cut := 1; cut <= len(m.raw); cut += step {
			f, err := vhosttest.Dial(path, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range script[:n] {
				if err := f.Write(m.raw, m.fds...); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Write(m.raw[:cut], m.fds...); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			b.waitFor("free", func(s vhostuser.Status) bool { return s.State == vhostuser.StateListening })
		}
		if before < 0 {
			before = least(t, openFiles)
		}
	}
	atMost(t, "descriptors", before, openFiles)
	echo(t, connect(t, vhosttest.Config{Path: path}), 3, rand.New(rand.NewPCG(1, 1)))
}

type scripted struct {
	raw []byte
	fds []int
}

// bringUpScript is all that starts a guest's first pair, without waiting for answers.
func bringUpScript(t *testing.T, g *vhosttest.Guest) []scripted {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := file.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	var script []scripted
	add := func(req vhosttest.Request, payload []byte, fds ...int) {
		script = append(script, scripted{vhosttest.Encode(req, vhosttest.FlagVersion, payload), fds})
	}
	add(vhosttest.GetFeatures, nil)
	add(vhosttest.SetProtocolFeatures, vhosttest.U64(vhosttest.ProtocolMQ))
	add(vhosttest.SetOwner, nil)
	add(vhosttest.SetFeatures, vhosttest.U64(vhosttest.FeatureVersion1|vhosttest.FeatureProtocol))
	region := vhosttest.MemRegion{Size: 1 << 20, User: 1 << 40}
	add(vhosttest.SetMemTable, vhosttest.MemTable(region), int(file.Fd()))
	for _, q := range []*vhosttest.Queue{g.Rx(0), g.Tx(0)} {
		i := uint32(q.Index())
		at := uint64(1<<40) + uint64(i)<<16
		add(vhosttest.SetVringNum, vhosttest.VringState(i, 256))
		add(vhosttest.SetVringBase, vhosttest.VringState(i, 0))
		add(vhosttest.SetVringAddr, vhosttest.VringAddr(i, 0, at, at+0x4000, at+0x2000, 0))
		add(vhosttest.SetVringCall, vhosttest.VringFD(i, true), q.CallFD())
		add(vhosttest.SetVringKick, vhosttest.VringFD(i, true), q.KickFD())
		add(vhosttest.SetVringEnable, vhosttest.VringState(i, 1))
	}
	return script
}

func TestRingsOutsideMemoryDoNotStart(t *testing.T) {
	eachFormat(t, func(t *testing.T, packed bool) {
		path := socketPath(t)
		b := openBackEnd(t, vhostuser.Config{Path: path, Server: true})
		g := connect(t, vhosttest.Config{Path: path, NeedReply: true, Packed: packed})
		for name, addr := range map[string][3]uint64{
			"the descriptors nowhere":           {1 << 50, 0, 0},
			"the driver's area at the end":      {0, 0, 1<<64 - 2},
			"a device area that is not aligned": {0, 2, 0},
		} {
			descs, driver, device := g.Tx(0).Parts()
			desc, used, avail := descs.User, device.User, driver.User
			for p, v := range map[*uint64]uint64{&desc: addr[0], &used: addr[1], &avail: addr[2]} {
				if v > 1<<40 {
					*p = v
				} else {
					*p += v
				}
			}
			if err := g.StopRing(g.Tx(0)); err != nil {
				t.Fatal(err)
			}
			// Refused at once or when the ring is started: either is right, forwarding is not.
			_ = g.FrontEnd().Send(vhosttest.SetVringAddr, vhosttest.VringAddr(1, 0, desc, used, avail, 0))
			_ = g.FrontEnd().Send(vhosttest.SetVringKick, vhosttest.VringFD(1, true), g.Tx(0).KickFD())
			if err := g.FrontEnd().Sync(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if b.port.ActiveRx()[0] {
				t.Errorf("%s: the ring runs", name)
			}
			if s := b.port.Status(); s.LastError == "" {
				t.Errorf("%s: the port does not say so: %+v", name, s)
			}
		}
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := g.Start(); err != nil {
			t.Fatal(err)
		}
		echo(t, g, 3, rand.New(rand.NewPCG(1, 1)))
	})
}

func ExampleConnect() {
	// The other end: a vhost-user port that listens, with something that polls its queues.
	g, err := vhosttest.Connect(vhosttest.Config{Path: "/nowhere/vm1.sock", Timeout: time.Millisecond})
	if err != nil {
		fmt.Println("no back end")
		return
	}
	defer g.Close()
	_ = g.Send(0, make([]byte, 60))
	frame, err := g.Receive(0, time.Second)
	fmt.Println(len(frame), err)
	// Output: no back end
}
