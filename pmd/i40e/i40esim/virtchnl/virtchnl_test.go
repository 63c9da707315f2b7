package virtchnl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"weft/pmd/i40e/i40esim/adminq"
)

var (
	broadcast = adminq.MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	other     = adminq.MAC{2, 9, 9, 9, 9, 9}
	multicast = adminq.MAC{1, 0, 0x5E, 0, 0, 1}
)

func TestResources(t *testing.T) {
	mac := adminq.MAC{2, 1, 2, 3, 4, 5}
	g := newRig(t, Config{Addresses: []adminq.MAC{mac}})
	res := g.open(everything)
	if n := len(res); n != 52 { // as Linux sends it: one VSI, and room for one more
		t.Fatalf("%d bytes", n)
	}
	caps := le.Uint32(res[8:])
	if le.Uint16(res) != 1 || le.Uint16(res[2:]) != 4 || le.Uint16(res[4:]) != 5 || le.Uint16(res[6:]) != adminq.MaxFrame ||
		le.Uint32(res[12:]) != 52 || le.Uint32(res[16:]) != 64 {
		t.Errorf("resources % x", res[:20])
	}
	if n := g.r.Counts()[OpGetResources]; n != 1 {
		t.Errorf("counted %d times", n)
	}
	if want := uint32(Offered &^ CapRSSRegisters); caps != want || g.r.Granted(0) != caps {
		t.Errorf("capabilities %#x, want %#x", caps, want)
	}
	v := g.vsi()
	set, _ := v.QueueSet(0)
	if le.Uint16(res[20:]) != v.Number || le.Uint16(res[22:]) != 4 || le.Uint32(res[24:]) != 6 ||
		le.Uint16(res[28:]) != set || adminq.MAC(res[30:36]) != mac || g.r.Address(0) != mac {
		t.Errorf("VSI % x", res[20:])
	}
	if q, ok := v.Queue(3); !ok || q != 128-16+3 {
		t.Errorf("queue 3 of the VF is %d, %v", q, ok)
	}
	for what, h := range map[string]adminq.Header{
		"its address": {Dst: mac, Src: other}, "broadcasts": {Dst: broadcast, Src: other},
		"its address, tagged": {Dst: mac, Src: other, Tagged: true, TCI: 5},
	} {
		if !g.accepts(h) {
			t.Errorf("%s does not reach the VF", what)
		}
	}
	if g.accepts(adminq.Header{Dst: other, Src: mac}) {
		t.Error("another address reaches the VF")
	}
}

func TestCapabilitiesAreGrantedAsAskedFor(t *testing.T) {
	for _, c := range []struct {
		name              string
		offer, want, caps uint32
	}{
		{"nothing", 0, 0, CapL2 | CapVLAN | CapRSSRegisters},
		{"RSS by message", 0, CapRSS, CapL2 | CapVLAN | CapRSS},
		{"link speed", 0, CapLinkSpeed | CapWriteBack, CapL2 | CapVLAN | CapRSSRegisters | CapLinkSpeed | CapWriteBack},
		{"new VLANs, not offered", 0, CapVLAN2, CapL2 | CapVLAN | CapRSSRegisters},
		{"new VLANs", Offered | CapVLAN2, CapVLAN2 | CapVLAN, CapL2 | CapVLAN2 | CapRSSRegisters},
	} {
		g := newRig(t, Config{Offer: c.offer})
		if got := le.Uint32(g.open(c.want)[8:]); got != c.caps {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.caps)
		}
	}
}

func TestOldVFs(t *testing.T) {
	g := newRig(t, Config{})
	if got := g.must(OpVersion, u32s(1, 0)); !bytes.Equal(got, u32s(1, 0)) {
		t.Errorf("version % x", got)
	}
	res := g.must(OpGetResources, nil)
	if got := le.Uint32(res[8:]); got != CapL2|CapVLAN|CapRSSRegisters {
		t.Errorf("capabilities %#x", got)
	}
	g.refused(StatusMismatch, OpGetResources, u32s(0), "does not fit")
}

func TestAddressesAreMadeFromThePFs(t *testing.T) {
	g := newRig(t, Config{})
	seen := map[adminq.MAC]bool{g.fw.Config().MAC: true}
	for vf := range 16 {
		mac := g.r.Address(vf)
		if mac[0]&3 != 2 || seen[mac] {
			t.Errorf("VF %d has %s", vf, mac)
		}
		seen[mac] = true
	}
}

func TestMessagesBeforeTheirTime(t *testing.T) {
	g := newRig(t, Config{})
	for op, row := range rules() {
		if row.before {
			continue
		}
		g.refused(StatusParam, op, make([]byte, max(row.size, 0)), "before its resources are known")
	}
	g.open(0)
	for op, row := range rules() {
		if row.caps&(CapVLAN2|CapRSS|CapRequestQueues) != 0 {
			g.refused(StatusNotSupported, op, make([]byte, max(row.size, 0)), "not granted")
		}
	}
	for _, op := range []Op{0, OpHashFunction, OpGetDescriptors, OpAddFlow, 999} {
		g.refused(StatusNotSupported, op, nil, "not one that this PF knows")
	}
}

func TestLengthsOfMessages(t *testing.T) {
	g := newRig(t, Config{Offer: Offered | CapVLAN2})
	g.open(everything &^ CapVLAN2)
	old := g
	g = newRig(t, Config{Offer: Offered | CapVLAN2})
	g.open(everything)
	for op, row := range rules() {
		if row.before {
			continue
		}
		rig := g
		if row.caps == CapVLAN {
			rig = old
		}
		for _, n := range []int{0, 1, 3, 7, 13, 39, 600} {
			if n == row.size || n == 0 && row.size == 0 {
				continue
			}
			msg := bytes.Repeat([]byte{0}, n)
			rig.refused(StatusMismatch, op, msg, "bytes")
		}
	}
}

// pair is one element of CONFIG_VSI_QUEUES.
func pair(vsi uint16, id uint16) []byte {
	tx := slices.Concat(u16s(vsi, id, 512, 1), u32s(0x10000, 1), u32s(0x8000, 2))
	rx := slices.Concat(u16s(vsi, id), u32s(512), u16s(0, 0), u32s(2048, 1522), u32s(0), u32s(0x20000, 1), u32s(0, 0))
	return append(tx, rx...)
}

func TestQueuesAreConfigured(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	set, _ := g.vsi().QueueSet(0)
	msg := slices.Concat(u16s(vsi, 2, 0, 0), pair(vsi, 0), pair(vsi, 1))
	for _, legacy := range []bool{false, true} {
		if legacy {
			msg = append(msg, make([]byte, queuePairSize)...)
		}
		g.must(OpConfigureQueues, msg)
		var want []string
		for id := range 2 {
			tx := TxQueue{ID: id, Length: 512, Ring: 0x1_0001_0000, HeadWB: true, HeadWBAdr: 0x2_0000_8000}
			rx := RxQueue{ID: id, Length: 512, Ring: 0x1_0002_0000, Buffer: 2048, MaxPacket: 1522, Descriptors: 32}
			want = append(want, fmt.Sprintf("tx 0 %+v %d", tx, set), fmt.Sprintf("rx 0 %+v", rx))
		}
		if got := g.called(); !slices.Equal(got, want) {
			t.Errorf("called %q", got)
		}
	}
	one := pair(vsi, 3)
	g.must(OpConfigureTx, one[:txQueueSize])
	g.must(OpConfigureRx, one[txQueueSize:])
	if got := g.called(); len(got) != 2 {
		t.Errorf("called %q", got)
	}
}

func TestQueuesThatCannotBe(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	change := func(at int, v ...byte) []byte {
		p := pair(vsi, 0)
		copy(p[at:], v)
		return slices.Concat(u16s(vsi, 1, 0, 0), p)
	}
	rx := txQueueSize
	for what, msg := range map[string][]byte{
		"VSI 77":                         slices.Concat(u16s(77, 1, 0, 0), pair(vsi, 0)),
		"VSI 255":                        change(0, 255),
		"5 queue pairs":                  slices.Concat(u16s(vsi, 5, 0, 0), bytes.Repeat(pair(vsi, 0), 5)),
		"transmit queue 4":               slices.Concat(u16s(vsi, 1, 0, 0), pair(vsi, 4)),
		"of 513 descriptors":             change(4, 1),
		"of 0 descriptors":               change(4, 0, 0),
		"at 0x100010040":                 change(8, 0x40),
		"of 520 descriptors":             change(rx+4, 8),
		"at 0x100020001":                 change(rx+24, 1),
		"buffers of 0":                   change(rx+12, 0, 0),
		"buffers of 17":                  change(rx+12, 0, 0, 1),
		"packets of 32":                  change(rx+16, 32, 0),
		"packets of 16384":               change(rx+16, 0, 0x40),
		"transmit queue 0 and receive q": change(rx+2, 1),
	} {
		if what == "buffers of 17" {
			what = "buffers of 65536"
		}
		g.refused(StatusParam, OpConfigureQueues, msg, what)
	}
	bad := pair(vsi, 9)
	g.refused(StatusParam, OpConfigureTx, bad[:txQueueSize], "transmit queue 9")
	g.refused(StatusParam, OpConfigureRx, bad[txQueueSize:], "receive queue 9")

	g.fail = errors.New("no such memory")
	g.refused(StatusParam, OpConfigureQueues, slices.Concat(u16s(vsi, 1, 0, 0), pair(vsi, 0)), "no such memory")
	g.refused(StatusParam, OpConfigureRx, pair(vsi, 0)[rx:], "no such memory")
}

func TestQueuesAreEnabledAndDisabled(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := uint32(g.vsi().Number)
	if status, _ := g.ask(OpEnableQueues, u32s(vsi, 0xF, 0x7)); status != StatusOK {
		t.Fatal(status)
	}
	op, _, msg, ok := g.receive() // the link's state follows
	if !ok || op != OpEvent || len(msg) != eventSize || le.Uint32(msg) != eventLink || le.Uint32(msg[4:]) != 10000 ||
		msg[8] != 1 {
		t.Errorf("event %v %s % x", ok, op, msg)
	}
	if rx, tx := g.r.Enabled(0); rx != 0xF || tx != 0x7 {
		t.Errorf("enabled %#x, %#x", rx, tx)
	}
	one := pair(uint16(vsi), 0)
	g.called()
	g.refused(StatusParam, OpConfigureTx, one[:txQueueSize], "while it is enabled")
	g.refused(StatusParam, OpConfigureRx, one[txQueueSize:], "while it is enabled")
	g.must(OpDisableQueues, u32s(vsi, 0xE, 0x7))
	if rx, tx := g.r.Enabled(0); rx != 1 || tx != 0 {
		t.Errorf("enabled %#x, %#x", rx, tx)
	}
	if got := g.called(); !slices.Equal(got, []string{"disable 0 0xe 0x7"}) {
		t.Errorf("called %q", got)
	}
	for _, op := range []Op{OpDisableQueues, OpEnableQueues} {
		for what, m := range map[string][]byte{
			"VSI 99":         u32s(99, 1, 1),
			"queues 0x0":     u32s(vsi, 0, 0),
			"queues 0x10":    u32s(vsi, 0x10, 0),
			"queues 0x1 and": u32s(vsi, 1, 0x100),
		} {
			g.refused(StatusParam, op, m, what)
		}
	}
	g.fail = errors.New("still busy")
	g.refused(StatusParam, OpDisableQueues, u32s(vsi, 1, 0), "still busy")
	g.refused(StatusParam, OpEnableQueues, u32s(vsi, 1, 0), "still busy")
}

func TestInterruptsAreMapped(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	msg := slices.Concat(u16s(2), u16s(vsi, 1, 0x3, 0x3, 0, 1), u16s(vsi, 0, 0, 0, 0, 0))
	want := "map 0 [{ID:1 Rx:3 Tx:3 RxITR:0 TxITR:1} {ID:0 Rx:0 Tx:0 RxITR:0 TxITR:0}]"
	for range 2 {
		g.must(OpMapInterrupts, msg)
		if got := g.called(); !slices.Equal(got, []string{want}) {
			t.Errorf("called %q", got)
		}
		msg = append(msg, make([]byte, vectorSize)...)
	}
	for what, v := range map[string][]byte{
		"vector 5": u16s(vsi, 5, 1, 1, 0, 0), "receive queues 0x10": u16s(vsi, 1, 0x10, 1, 0, 0),
		"(ITR 4)": u16s(vsi, 1, 1, 1, 4, 0), "VSI 88": u16s(88, 1, 1, 1, 0, 0),
	} {
		g.refused(StatusParam, OpMapInterrupts, append(u16s(1), v...), what)
	}
	g.refused(StatusMismatch, OpMapInterrupts, u16s(0), "does not fit")
	g.fail = errors.New("no vector")
	g.refused(StatusParam, OpMapInterrupts, append(u16s(1), u16s(vsi, 1, 1, 1, 0, 0)...), "no vector")
}

func TestReceiveHash(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	key := append(u16s(vsi, 52), bytes.Repeat([]byte{0xAB}, 52)...)
	table := append(u16s(vsi, 64), bytes.Repeat([]byte{0, 1, 2, 3}, 16)...)
	for extra := range 3 { // a structure that ended in an array of one, with and without a compiler's padding
		g.must(OpHashKey, append(slices.Clone(key), make([]byte, extra)...))
		g.must(OpHashTable, append(slices.Clone(table), make([]byte, extra)...))
	}
	if got := le.Uint64(g.must(OpGetHashTypes, nil)); got != DefaultHashTypes {
		t.Errorf("hash types %#x", got)
	}
	g.must(OpSetHashTypes, u32s(0x80000000, 0))
	got := g.called()
	if len(got) != 7 || got[0] != "key 0 abababab" || got[1] != "table 0 00010203" || got[6] != "types 0 0x80000000" {
		t.Errorf("called %q", got)
	}
	table[4] = 4
	g.refused(StatusParam, OpHashTable, table, "is queue 4 of 4")
	g.refused(StatusParam, OpHashTable, append(u16s(vsi, 32), make([]byte, 32)...), "32 bytes of hash")
	g.refused(StatusParam, OpHashKey, append(u16s(9, 52), make([]byte, 52)...), "VSI 9")
	g.refused(StatusMismatch, OpHashKey, append(u16s(vsi, 52), make([]byte, 51)...), "does not fit")
}

func TestStatistics(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	g.stats = Statistics{RxBytes: 1, RxUnicast: 2, RxDiscards: 5, TxBytes: 7, TxErrors: 12}
	got := g.must(OpGetStatistics, u32s(uint32(g.vsi().Number), 0, 0))
	if len(got) != 96 {
		t.Fatalf("%d bytes", len(got))
	}
	for at, want := range map[int]uint64{0: 1, 8: 2, 32: 5, 48: 7, 88: 12} {
		if v := le.Uint64(got[at:]); v != want {
			t.Errorf("counter at %d is %d", at, v)
		}
	}
	g.refused(StatusParam, OpGetStatistics, u32s(77, 0, 0), "VSI 77")
}

func TestAResetBeginsAnew(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi, own := g.vsi().Number, g.r.Address(0)
	g.must(OpAddAddresses, addresses(vsi, other))
	g.must(OpAddVLANs, u16s(vsi, 1, 7))
	g.ask(OpEnableQueues, u32s(uint32(vsi), 1, 1))
	g.receive() // the link's state
	g.called()
	g.send(OpReset, nil)
	if got := g.called(); !slices.Equal(got, []string{"reset 0"}) {
		t.Errorf("called %q", got)
	}
	var next adminq.Descriptor
	if next.Decode(g.mem[arqAt+g.clean*adminq.DescriptorSize:]); next.Flags&adminq.FlagDD != 0 {
		t.Error("RESET_VF is answered")
	}
	if g.pair.Read(adminq.Send, adminq.LEN) != 0 {
		t.Error("the VF's queue is still on")
	}
	if rx, tx := g.r.Enabled(0); rx|tx != 0 || g.r.Granted(0) != 0 || g.vsi().TagMode() != adminq.TagKeep {
		t.Errorf("enabled %#x, %#x, capabilities %#x", rx, tx, g.r.Granted(0))
	}
	g.start()
	g.refused(StatusParam, OpAddAddresses, addresses(vsi, other), "before its resources are known")
	g.open(everything)
	if g.accepts(adminq.Header{Dst: other, Src: multicast}) ||
		!g.accepts(adminq.Header{Dst: own, Src: other, Tagged: true, TCI: 9}) {
		t.Error("addresses and VLANs of before the reset are still there")
	}
	if n := len(g.fw.Switch().VSIs()); n != 2 {
		t.Errorf("%d VSIs", n)
	}
}

func TestMoreQueues(t *testing.T) {
	g := newRig(t, Config{QueuePairs: 2})
	g.open(everything)
	g.called()
	if got := g.must(OpRequestQueues, u16s(17)); !bytes.Equal(got, u16s(16)) {
		t.Errorf("17 queue pairs are answered with % x", got)
	}
	g.refused(StatusParam, OpRequestQueues, u16s(0), "0 queue pairs")
	var event []byte
	g.send(OpRequestQueues, u16s(6))
	if got := g.called(); !slices.Equal(got, []string{"reset 0"}) {
		t.Errorf("called %q", got)
	}
	event = g.mem[eventsAt+uint32(0):][:eventSize]
	for i := range uint32(entries) { // the reset has taken the queue; the event is in memory
		var d adminq.Descriptor
		d.Decode(g.mem[arqAt+i*adminq.DescriptorSize:])
		if d.Opcode == adminq.OpSendToVF && Op(d.CookieHigh) == OpEvent {
			event = g.mem[d.Address():][:eventSize]
		}
	}
	if le.Uint32(event) != eventReset || le.Uint32(event[12:]) != certainDoom {
		t.Errorf("event % x", event)
	}
	g.start()
	if res := g.open(everything); le.Uint16(res[2:]) != 6 || g.r.QueuePairs(0) != 6 {
		t.Errorf("%d queue pairs", le.Uint16(res[2:]))
	}
	if _, n := g.vsi().Region(0); n != 8 {
		t.Errorf("class 0 has %d queues", n)
	}
}

func TestLinkEvents(t *testing.T) {
	for _, c := range []struct {
		name        string
		want, speed uint32
	}{{"in Mbit/s", CapLinkSpeed, 10000}, {"as a bit", 0, uint32(adminq.Speed10G)}} {
		g := newRig(t, Config{})
		g.r.LinkChanged()
		if _, _, _, ok := g.receive(); ok {
			t.Errorf("%s: an event before the VF is ready", c.name)
		}
		g.open(c.want)
		g.fw.SetLink(false)
		g.r.LinkChanged()
		if op, _, msg, ok := g.receive(); !ok || op != OpEvent || le.Uint32(msg[4:]) != 0 || msg[8] != 0 {
			t.Errorf("%s: down: %v % x", c.name, ok, msg)
		}
		g.fw.SetLink(true)
		g.r.LinkChanged()
		if _, _, msg, ok := g.receive(); !ok || le.Uint32(msg[4:]) != c.speed || msg[8] != 1 {
			t.Errorf("%s: up: %v % x", c.name, ok, msg)
		}
		g.r.Close()
		if _, _, msg, ok := g.receive(); !ok || le.Uint32(msg) != 3 {
			t.Errorf("%s: close: %v % x", c.name, ok, msg)
		}
	}
}

// TestAResetOfThePF empties the switch under the VF's feet.
func TestAResetOfThePF(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	g.fw.Reset(adminq.ResetPF)
	for op, row := range rules() {
		if row.before || row.size < 0 || row.caps == CapVLAN2 {
			continue
		}
		g.refused(StatusParam, op, make([]byte, row.size), "")
	}
	g.r.ResetAll()
	g.start()
	g.open(everything)
	g.must(OpAddAddresses, addresses(vsi, other))
	g.r.Forget(0)
	if g.fw.Switch().VSIOfVF(0) != nil {
		t.Error("the VSI of a VF that was unplugged is still there")
	}
}

func TestWithoutRoomForTheVF(t *testing.T) {
	g := newRig(t, Config{}, func(c *adminq.Config) { c.VSIs = 1 })
	g.must(OpVersion, u32s(1, 1))
	g.refused(StatusNoMemory, OpGetResources, u32s(0), "ENOSPC")
	small := newRig(t, Config{}, func(c *adminq.Config) { c.Queues = 8 })
	small.must(OpVersion, u32s(1, 1))
	small.refused(StatusNoMemory, OpGetResources, u32s(0), "ENOSPC")
	small.r.ResetVF(0)
	if len(small.violations) != 1 {
		t.Errorf("violations %q", small.violations)
	}
	small.violations = nil
	if _, err := New(g.fw, Config{QueuePairs: 17}, Hooks{}); err == nil {
		t.Error("17 queue pairs were accepted")
	}
}

func TestWithoutHooks(t *testing.T) {
	g := newRig(t, Config{})
	var err error
	if g.r, err = New(g.fw, Config{}, Hooks{}); err != nil {
		t.Fatal(err)
	}
	g.open(everything)
	vsi := g.vsi().Number
	g.must(OpConfigureQueues, slices.Concat(u16s(vsi, 1, 0, 0), pair(vsi, 0)))
	g.must(OpMapInterrupts, slices.Concat(u16s(1), u16s(vsi, 1, 1, 1, 0, 0)))
	g.ask(OpEnableQueues, u32s(uint32(vsi), 1, 1))
	g.receive()
	g.must(OpDisableQueues, u32s(uint32(vsi), 1, 1))
	g.must(OpGetStatistics, u32s(uint32(vsi), 0, 0))
	g.must(OpSetHashTypes, u32s(0, 0))
	g.must(OpHashKey, append(u16s(vsi, 52), make([]byte, 52)...))
	g.must(OpHashTable, append(u16s(vsi, 64), make([]byte, 64)...))
	g.send(OpReset, nil)
	g.ask(OpHashFunction, nil)
}

func TestNamesOfMessages(t *testing.T) {
	for op := range rules() {
		if opNames[op] == "" {
			t.Errorf("message %d has no name", op)
		}
	}
	if got := Op(4711).String(); got != "unknown (4711)" {
		t.Errorf("%q", got)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte{1, 8, 1, 0, 0, 0, 1, 0, 0, 0, 3, 4, 0xFF, 0xFF, 0xFF, 0xFF, 10, 12, 1, 0, 1, 0, 2, 9, 9, 9, 9, 9, 0, 0})
	f.Add(append([]byte{6, 72, 1, 0, 1, 0, 0, 0, 0, 0}, pair(1, 0)...))
	f.Add([]byte{12, 6, 1, 0, 1, 0, 5, 0, 2, 0, 23, 57})
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newRig(t, Config{Offer: Offered | CapVLAN2})
		g.open(everything)
		for n := 0; len(data) >= 2 && n < 20; n++ {
			op, size := Op(data[0]), min(int(data[1]), len(data)-2)
			msg := data[2 : 2+size]
			data = data[2+size:]
			g.send(op, msg)
			if g.pair.Read(adminq.Send, adminq.LEN) == 0 {
				g.start()
			}
			for {
				if _, _, _, ok := g.receive(); !ok {
					break
				}
			}
		}
		g.violations = nil
	})
}
