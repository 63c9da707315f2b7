package vhostuser

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"weft/vhostuser/vhosttest"
)

// TestAgainstTheGuestsSide runs whole guests of package vhosttest against a port: frames go in, come back through the
// loop of the bench, and survive what happens to guests.
func TestAgainstTheGuestsSide(t *testing.T) {
	for _, order := range []vhosttest.Order{vhosttest.QemuOrder, vhosttest.VirtioUserOrder} {
		for _, server := range []bool{true, false} {
			for i, cfg := range []vhosttest.Config{
				{},
				{Mergeable: true, Indirect: true, QueuePairs: 2, NeedReply: true, OddAvail: true},
				{Legacy: true, NoProtocol: true},
				{Legacy: true, Mergeable: true, MemSlots: true, FirstIndex: 65500},
				{Mergeable: true, MTU: 1400, RingSize: 32},
				{Packed: true, RingSize: 100},
				{Packed: true, Mergeable: true, Indirect: true, QueuePairs: 2, NeedReply: true, OddAvail: true, RingSize: 33},
				{Packed: true, MemSlots: true, TxLayout: vhosttest.Layout{HeaderPieces: 1}, RxLayout: vhosttest.Layout{DataPieces: 3}},
				{Packed: true, NoProtocol: true, RingSize: 3},
			} {
				cfg.Order, cfg.Verify, cfg.Timeout = order, true, patience
				cfg.Server = !server
				name := fmt.Sprintf("order %d, server %v, guest %d", order, server, i)
				t.Run(name, func(t *testing.T) { guestRun(t, cfg) })
			}
		}
	}
}

func guestRun(t *testing.T, cfg vhosttest.Config) {
	port := Config{Path: filepath.Join(t.TempDir(), "s"), Server: !cfg.Server, QueuePairs: 2, MTU: 1500}
	port.ReconnectMin, port.ReconnectMax = time.Millisecond, 10*time.Millisecond
	cfg.Path = port.Path
	b := newBench(t, port)
	g, err := vhosttest.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, b.log)
		}
	}
	echo := func(what string) {
		t.Helper()
		for n := range 50 {
			for i := range g.Pairs() {
				want := append(bytes.Clone(frame), bytes.Repeat([]byte{byte(n)}, n*25)...)
				must(what, g.Send(i, want))
				got, err := g.Receive(i, patience)
				must(what, err)
				if !bytes.Equal(got, want) {
					t.Fatalf("%s: frame %d of pair %d came back as %x", what, n, i, got)
				}
			}
		}
	}
	echo("first session")
	must("stop", g.Stop())
	must("start", g.Start())
	echo("stopped and started")
	if !cfg.NoProtocol {
		must("reset", g.ResetDevice())
		echo("reset")
	}
	g.HangUp()
	until(t, "the session ends", func() bool { return b.Status().Disconnects == 1 })
	must("reconnect", g.Reconnect())
	echo("reconnected")

	// Weft restarts: another port at the same path.
	must("close", b.Close())
	b = newBench(t, port)
	must("reconnect to the next port", g.Reconnect())
	echo("after a restart of the port")
	if st := b.Status(); st.State != StateUp || st.LastError != "" {
		t.Errorf("state %s, last error %q", st.State, st.LastError)
	}
}
