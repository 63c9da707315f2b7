package vhostuser

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weft/internal/packet"
	"weft/vhostuser/virtq"
)

var frame = append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}, bytes.Repeat([]byte{0x5a}, 50)...)

func TestFrontEndInQemusOrderGetsPacketsThrough(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	if got := b.Status().State; got != StateListening && got != StateConnected {
		t.Fatalf("state %s before anything", got)
	}
	g.start(f)
	if got := b.Status(); got.State != StateUp || got.Session != "running" {
		t.Fatalf("state %s, session %s", got.State, got.Session)
	}
	if rx, tx := b.ActiveRx(), b.ActiveTx(); !rx[0] || !tx[0] {
		t.Fatalf("active rx %v, tx %v", rx, tx)
	}
	// The PMD loops what the guest transmits (ring 1) back to its receiveq (ring 0).
	for n := range uint16(200) {
		slot := n % 32
		g.post(0, slot, make([]byte, 1000), true)
		g.post(1, slot, frame, false)
		until(t, "the frame comes back", func() bool { return g.usedIdx(0) == n+1 && g.usedIdx(1) == n+1 })
		at := uint64(guestSize/2) + uint64(slot)*2048
		if got := g.mem[at+12 : at+12+uint64(len(frame))]; !bytes.Equal(got, frame) {
			t.Fatalf("frame %d: %x", n, got)
		}
	}
	if g.interrupts(0) == 0 || g.interrupts(1) == 0 {
		t.Error("the guest was not interrupted")
	}
}

func TestStartedRingInterruptsTheGuestOnceSoThatAReconnectDoesNotHang(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	for i := range g.rings {
		if n := g.interrupts(i); n != 1 {
			t.Errorf("ring %d: %d interrupts, want 1", i, n)
		}
	}
}

// TestVirtioUserServerReconnects sends what DPDK's virtio-user sends on a fresh connection as a server whose queues
// ran before: rings are disabled and stopped before anything is negotiated, and bases are 0 whatever the rings say.
func TestVirtioUserServerReconnects(t *testing.T) {
	b := newBench(t, Config{QueuePairs: 2})
	g := newGuest(t, 2, 64)
	f := dial(t, b.path)
	g.start(f)
	for slot := range uint16(5) {
		g.post(1, slot, frame, false)
	}
	until(t, "5 frames taken", func() bool { return g.usedIdx(1) == 5 })
	f.close()
	until(t, "the session ends", func() bool { return b.Status().Disconnects == 1 })

	f = dial(t, b.path)
	for i := range g.rings {
		f.send(SetVringEnable, state(i, 0))
	}
	for i := range g.rings {
		if got := f.ask(GetVringBase, state(i, 0)); order.Uint32(got) != uint32(i) {
			t.Fatalf("GET_VRING_BASE %d answered for ring %d", i, order.Uint32(got))
		}
	}
	features := f.askU64(GetFeatures, nil) &^ featPacked
	f.send(SetProtocolFeatures, encodeU64(f.askU64(GetProtocolFeatures, nil)&(protoMQ|protoReplyAck|protoStatus)))
	for i := range g.rings {
		f.send(SetVringCall, encodeU64(uint64(i)), g.rings[i].call)
	}
	f.send(SetFeatures, encodeU64(features))
	f.must(SetStatus, encodeU64(11))
	if got := f.askU64(GetStatus, nil); got != 11 {
		t.Fatalf("status %d, want 11", got)
	}
	g.setMemory(f)
	for i := range g.rings {
		g.startRing(f, i, 0)
	}
	for i := range g.rings {
		f.send(SetVringEnable, state(i, 1))
	}
	f.must(SetStatus, encodeU64(15))
	g.post(1, 5, frame, false)
	until(t, "the sixth frame taken", func() bool { return g.usedIdx(1) == 6 })
	rx := b.RxQueues()[0].Counters()
	if rx.Packets != 6 {
		t.Errorf("%d packets received, want 6: none lost, none twice", rx.Packets)
	}
	if st := b.Status(); st.Sessions != 2 || st.Reconnects != 1 || st.State != StateUp {
		t.Errorf("%d sessions, %d reconnects, state %s", st.Sessions, st.Reconnects, st.State)
	}
}

// TestQemuNegotiatesEachPairAnew repeats, while the first pair runs, what qemu sends for each further pair.
func TestQemuNegotiatesEachPairAnew(t *testing.T) {
	b := newBench(t, Config{QueuePairs: 2})
	g := newGuest(t, 2, 64)
	f := dial(t, b.path)
	f.negotiate()
	g.setMemory(f)
	g.startRing(f, 0, 0)
	g.startRing(f, 1, 0)
	f.must(SetVringEnable, state(0, 1))
	f.must(SetVringEnable, state(1, 1))
	features := f.askU64(GetFeatures, nil) &^ featPacked
	f.must(SetProtocolFeatures, encodeU64(f.askU64(GetProtocolFeatures, nil)))
	if n := f.askU64(GetQueueNum, nil); n != 2 {
		t.Fatalf("%d queue pairs offered, want 2", n)
	}
	f.must(SetFeatures, encodeU64(features))
	synced := b.pmd.synced.Load()
	g.setMemory(f) // the same again
	if got := b.pmd.synced.Load(); got != synced {
		t.Error("the same memory table disturbed the running rings")
	}
	g.startRing(f, 2, 0)
	g.startRing(f, 3, 0)
	if rx := b.ActiveRx(); !slices.Equal(rx, []bool{true, false}) {
		t.Errorf("active %v before the second pair is enabled", rx)
	}
	f.must(SetVringEnable, state(3, 1))
	if got := append(b.ActiveRx(), b.ActiveTx()...); !slices.Equal(got, []bool{true, true, true, false}) {
		t.Errorf("active rx and tx: %v", got)
	}
	f.raw(wire(SetFeatures, flagVersion, encodeU64(features&^featMergeable)))
	f.ended() // other features while rings run
}

func TestWithoutProtocolFeaturesRingsStartEnabled(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.send(SetFeatures, encodeU64(featVersion1))
	f.send(SetMemTable, table(g.region()), g.fd())
	for i := range g.rings {
		f.send(SetVringNum, state(i, 64))
		f.send(SetVringAddr, g.addr(i))
		f.send(SetVringKick, encodeU64(uint64(i)|vringNoFD)) // polling
	}
	f.sync()
	if st := b.Status(); st.State != StateUp || !st.Rings[0].Usable || !st.Rings[1].Usable {
		t.Fatalf("state %s, rings %+v", st.State, st.Rings)
	}
}

func TestStartedRingIsUsableOnlyWhileEnabled(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	g.setMemory(f)
	g.startRing(f, 0, 0)
	g.startRing(f, 1, 0)
	if st := b.Status(); st.State != StateConnected || st.Session != "running" {
		t.Fatalf("state %s, session %s", st.State, st.Session)
	}
	g.post(1, 0, frame, false)
	f.must(SetVringEnable, state(1, 1))
	until(t, "frame taken", func() bool { return g.usedIdx(1) == 1 })
	f.must(SetVringEnable, state(1, 0))
	g.post(1, 1, frame, false)
	f.must(SetStatus, encodeU64(1))
	if got := g.usedIdx(1); got != 1 {
		t.Errorf("used index %d of a disabled ring", got)
	}
	if drops := b.TxQueues()[0].Counters().Drops; drops[packet.DropQueueDisabled] != 1 {
		t.Errorf("drops %v: the frame to the disabled receiveq is not counted as such", drops)
	}
	f.must(SetVringEnable, state(1, 1))
	until(t, "frame taken", func() bool { return g.usedIdx(1) == 2 })
}

func TestGetVringBaseStopsARingExactly(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	for slot := range uint16(40) {
		g.post(1, slot%32, frame, false)
		if slot == 20 {
			break
		}
	}
	base := order.Uint32(f.ask(GetVringBase, state(1, 0))[4:])
	if used := g.usedIdx(1); uint32(used) != base {
		t.Fatalf("base %d, used index %d", base, used)
	}
	g.post(1, 30, frame, false)
	f.sync()
	if got := g.usedIdx(1); uint32(got) != base {
		t.Fatalf("a stopped ring went from %d to %d", base, got)
	}
	if b.ActiveRx()[0] {
		t.Error("a stopped ring is active")
	}
	if got := order.Uint32(f.ask(GetVringBase, state(1, 0))[4:]); got != base {
		t.Errorf("asked again, base %d became %d", base, got)
	}
	// The ring stays enabled: a new start is all it takes.
	g.startRing(f, 1, uint16(base))
	until(t, "the rest is taken", func() bool { return g.usedIdx(1) == 22 })
	if got := b.RxQueues()[0].Counters().Packets; got != 22 {
		t.Errorf("%d packets, want 22", got)
	}
}

func TestMessagesInAnyOrderStartARing(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	f.must(SetVringEnable, state(1, 1))
	f.must(SetVringKick, encodeU64(1), g.kickFD())
	if st := b.Status(); st.Rings[1].WaitingFor != "SET_MEM_TABLE" || st.State != StateConnected {
		t.Fatalf("state %s, ring %+v", st.State, st.Rings[1])
	}
	f.must(SetVringAddr, g.addr(1))
	f.must(SetVringBase, state(1, 0))
	g.setMemory(f)
	if st := b.Status(); st.Rings[1].WaitingFor != "SET_VRING_NUM" {
		t.Fatalf("ring %+v", st.Rings[1])
	}
	f.must(SetVringNum, state(1, 64))
	if !b.ActiveRx()[0] {
		t.Fatalf("not started: %+v", b.Status().Rings[1])
	}
}

func TestBrokenRingStopsAloneAndRecovers(t *testing.T) {
	recoveries := []struct {
		name string
		how  func(*front, *guest)
	}{
		{"GET_VRING_BASE", func(f *front, _ *guest) { f.ask(GetVringBase, state(1, 0)) }},
		{"SET_VRING_NUM", func(f *front, _ *guest) { f.must(SetVringNum, state(1, 64)) }},
		{"SET_VRING_ADDR", func(f *front, g *guest) { f.must(SetVringAddr, g.addr(1)) }},
		{"SET_VRING_BASE", func(f *front, _ *guest) { f.must(SetVringBase, state(1, 0)) }},
		{"SET_VRING_KICK", func(f *front, _ *guest) { f.must(SetVringKick, encodeU64(1|vringNoFD)) }},
		{"SET_STATUS 0", func(f *front, _ *guest) { f.must(SetStatus, encodeU64(0)) }},
		{"RESET_DEVICE", func(f *front, _ *guest) { f.must(ResetDevice, nil) }},
	}
	for _, recovery := range recoveries {
		t.Run(recovery.name, func(t *testing.T) {
			b := newBench(t, Config{})
			g := newGuest(t, 1, 64)
			f := dial(t, b.path)
			g.start(f)
			errFile := newGuest(t, 1, 64) // lends its descriptors
			f.must(SetVringErr, encodeU64(1), errFile.rings[0].call)
			g.post(1, 0, frame, false)
			until(t, "frame taken", func() bool { return g.usedIdx(1) == 1 })

			g.postHead(1, 64) // no such descriptor
			until(t, "the error", func() bool { return b.Status().State == StateError })
			st := b.Status()
			if !strings.HasPrefix(st.Error, "rx0: ") || st.Rings[1].State != "broken" || !st.Rings[0].Usable {
				t.Fatalf("status %+v", st)
			}
			if errFile.interrupts(0) != 1 {
				t.Error("the front end was not told through its error descriptor")
			}
			if rx, tx := b.ActiveRx()[0], b.ActiveTx()[0]; rx || !tx {
				t.Errorf("active: rx %v, tx %v", rx, tx)
			}
			if !strings.Contains(b.log.String(), "broke a ring") {
				t.Error("nothing in the log")
			}

			recovery.how(f, g)
			if st := b.Status(); st.State == StateError || st.LastError == "" || st.LastErrorAt == nil {
				t.Fatalf("after recovery: %s, last error %q", st.State, st.LastError)
			}
			for _, r := range []uint64{g.rings[1].avail, g.rings[1].used} {
				clear(g.mem[r : r+4])
			}
			f.ask(GetVringBase, state(1, 0))
			g.startRing(f, 1, 0)
			f.must(SetVringEnable, state(1, 1))
			g.post(1, 1, frame, false)
			until(t, "frame taken after recovery", func() bool { return g.usedIdx(1) == 1 })
		})
	}
}

func TestRingAddressesMustBeMappedWholly(t *testing.T) {
	at := func(user uint64) func(*guest) { return func(g *guest) { g.user = user } }
	cases := []struct {
		name string
		bad  func(*guest)
	}{
		{"before the region", at(guestUser - 1<<20)},
		{"behind the region", at(guestUser + guestSize)},
		{"zero", at(0)},
		{"descriptor table over the region's end", func(g *guest) { g.rings[1].desc = guestSize - 16*64 + 16 }},
		{"available ring over the region's end", func(g *guest) { g.rings[1].avail = guestSize - 2*64 }},
		{"used ring over the region's end", func(g *guest) { g.rings[1].used = guestSize - 8*64 }},
		{"wraps", func(g *guest) { g.rings[1].desc = -g.user - 16 }},
		{"misaligned descriptor table", func(g *guest) { g.rings[1].desc += 8 }},
		{"misaligned used ring", func(g *guest) { g.rings[1].used += 2 }},
		{"misaligned available ring", func(g *guest) { g.rings[1].avail++ }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{})
			g := newGuest(t, 1, 64)
			f := dial(t, b.path)
			f.negotiate()
			g.setMemory(f)
			good := g.addr(1)
			c.bad(g)
			g.startRing(f, 1, 0)
			f.must(SetVringEnable, state(1, 1))
			if st := b.Status(); st.State != StateError || !strings.HasPrefix(st.Error, "rx0: ") || b.ActiveRx()[0] {
				t.Fatalf("state %s, %q", st.State, st.Error)
			}
			f.must(SetVringAddr, good) // mends it without a new start
			if !b.ActiveRx()[0] {
				t.Errorf("good addresses did not mend the ring: %+v", b.Status())
			}
		})
	}
}

func TestRingSizes(t *testing.T) {
	b := newBench(t, Config{})
	f := dial(t, b.path)
	f.negotiate()
	for n := uint32(1); n <= virtq.MaxSize; n *= 2 {
		f.must(SetVringNum, state(0, n))
	}
	for _, n := range []uint32{0, 3, 100, 65535, 65536, 1 << 31, 1<<32 - 1} {
		if f.do(SetVringNum, state(0, n)) {
			t.Errorf("size %d was accepted", n)
		}
	}
}

func TestResetDeviceForgetsRingsButKeepsMemoryAndFeatures(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	f.must(SetStatus, encodeU64(15))
	f.must(ResetDevice, nil)
	st := b.Status()
	if st.State != StateConnected || st.Session != "configured" || f.askU64(GetStatus, nil) != 0 {
		t.Fatalf("state %s, session %s", st.State, st.Session)
	}
	for _, r := range st.Rings {
		if r.State != "stopped" || r.Enabled || r.Size != 0 || !r.Interrupts {
			t.Errorf("ring %+v", r)
		}
	}
	for i := range g.rings {
		clear(g.mem[g.rings[i].used : g.rings[i].used+4])
		f.must(SetVringNum, state(i, 64))
		f.must(SetVringAddr, g.addr(i))
		f.must(SetVringKick, encodeU64(uint64(i)), g.kickFD())
		f.must(SetVringEnable, state(i, 1))
	}
	if b.Status().State != StateUp {
		t.Error("no new start after RESET_DEVICE")
	}
}

func TestResetOwnerDisablesRings(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	f.must(ResetOwner, nil)
	if rx, tx := b.ActiveRx()[0], b.ActiveTx()[0]; rx || tx {
		t.Errorf("active: rx %v, tx %v", rx, tx)
	}
	f.must(SetVringEnable, state(0, 1))
	if !b.ActiveTx()[0] {
		t.Error("not enabled again")
	}
}

func TestFeaturesNotOfferedAreRefused(t *testing.T) {
	b := newBench(t, Config{})
	f := dial(t, b.path)
	f.negotiate()
	for _, bit := range []int{0, 3, 17, 22, 26, 29, 33, 36, 63} {
		if f.do(SetFeatures, encodeU64(featVersion1|1<<bit)) {
			t.Errorf("virtio feature %d was accepted", bit)
		}
	}
	for _, bit := range []int{1, 2, 4, 9, 12, 17, 63} {
		if f.do(SetProtocolFeatures, encodeU64(protoReplyAck|1<<bit)) {
			t.Errorf("protocol feature %d was accepted", bit)
		}
	}
	f.send(SetFeatures, encodeU64(1))
	f.ended() // nobody asked for an answer
	until(t, "the log names the feature", func() bool { return strings.Contains(b.log.String(), "CSUM") })
}

func TestMTU(t *testing.T) {
	b := newBench(t, Config{MTU: 9000})
	f := dial(t, b.path)
	f.negotiate()
	if st := b.Status(); !slices.Contains(st.Features, "MTU") || !slices.Contains(st.ProtocolFeatures, "MTU") {
		t.Fatalf("features %v, %v", st.Features, st.ProtocolFeatures)
	}
	mtus := map[uint64]bool{0: false, 67: false, 68: true, 1500: true, 9000: true, 9001: false, 1 << 40: false}
	for mtu, ok := range mtus {
		if f.do(NetSetMTU, encodeU64(mtu)) != ok {
			t.Errorf("MTU %d: want accepted %v", mtu, ok)
		}
	}
	without := newBench(t, Config{})
	f = dial(t, without.path)
	f.negotiate()
	if f.do(NetSetMTU, encodeU64(1500)) {
		t.Error("NET_SET_MTU was accepted though MTU was not offered")
	}
}

func TestMTUIsEnforced(t *testing.T) {
	b := newBench(t, Config{MTU: 1500})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	f.must(NetSetMTU, encodeU64(600))
	g.setMemory(f)
	for i := range g.rings {
		g.startRing(f, i, 0)
		f.must(SetVringEnable, state(i, 1))
	}
	long := append(bytes.Clone(frame), make([]byte, 600)...)
	g.post(0, 0, make([]byte, 1600), true)
	g.post(1, 0, long, false)
	until(t, "dropped", func() bool { return b.TxQueues()[0].Counters().Drops[packet.DropOverMTU] == 1 })
	if st := b.Status(); st.MTU != 600 {
		t.Errorf("MTU %d shown, want the guest's 600", st.MTU)
	}
}

// TestFrontEndTruncatesItsMemory: the files were long enough when they were mapped, and are not any more.
func TestFrontEndTruncatesItsMemory(t *testing.T) {
	t.Run("while rings run", func(t *testing.T) {
		b := newBench(t, Config{})
		g := newGuest(t, 1, 64)
		f := dial(t, b.path)
		g.start(f)
		b.cutOff(g)
		until(t, "the session ends", func() bool { return b.Status().Disconnects == 1 })
		if faults, stray := b.pmd.faults.Load(), b.pmd.stray.Load(); faults == 0 || stray != 0 {
			t.Errorf("%d faults were seen, %d of them were not the port's", faults, stray)
		}
		const want = "the front end cut off its memory file while it was in use (SIGBUS at 0x"
		if got := b.Status().LastError; !strings.HasPrefix(got, want) {
			t.Errorf("last error %q, want %q...", got, want)
		}
		f.ended()
	})
	t.Run("before rings start", func(t *testing.T) {
		b := newBench(t, Config{})
		g := newGuest(t, 1, 64)
		f := dial(t, b.path)
		f.negotiate()
		g.setMemory(f)
		if err := g.file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		g.startRing(f, 1, 0)
		f.must(SetVringEnable, state(1, 1))
		if st := b.Status(); st.State != StateError || !strings.Contains(st.Error, "truncated") {
			t.Errorf("state %s, %q", st.State, st.Error)
		}
	})
}

// TestCloseLeavesRingsConsistent closes the port in the midst of traffic: everything consumed is used.
func TestCloseLeavesRingsConsistent(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	for slot := range uint16(32) {
		g.post(0, slot, make([]byte, 1000), true)
		g.post(1, slot, frame, false)
	}
	until(t, "traffic", func() bool { return g.usedIdx(1) > 0 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	f.ended()
	rx := b.RxQueues()[0].Counters()
	if used := uint64(g.usedIdx(1)); used != rx.Packets {
		t.Errorf("%d buffers used, %d packets received", used, rx.Packets)
	}
	idx := binary.LittleEndian.Uint16(g.mem[g.rings[0].used+2:])
	if tx := b.TxQueues()[0].Counters(); uint64(idx) != tx.Packets {
		t.Errorf("%d buffers used, %d packets transmitted", idx, tx.Packets)
	}
	if st := b.Status(); st.State != StateClosed {
		t.Errorf("state %s", st.State)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestChangedIsCalledForWhatMatters(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	f.sync()
	before := b.pmd.calls.Load()
	for range 10 {
		f.sync()
	}
	if got := b.pmd.calls.Load(); got != before {
		t.Errorf("%d calls for nothing", got-before)
	}
	g.setMemory(f)
	g.startRing(f, 1, 0)
	steps := []struct {
		name string
		do   func()
	}{
		{"enabled", func() { f.must(SetVringEnable, state(1, 1)) }},
		{"disabled", func() { f.must(SetVringEnable, state(1, 0)) }},
		{"enabled again", func() { f.must(SetVringEnable, state(1, 1)) }},
		{"broken", func() { g.postHead(1, 999) }},
		{"gone", f.close},
	}
	for _, s := range steps {
		before := b.pmd.calls.Load()
		s.do()
		until(t, fmt.Sprintf("a call when %s", s.name), func() bool { return b.pmd.calls.Load() > before })
	}
}
