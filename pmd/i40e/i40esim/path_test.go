package i40esim

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/frame"
)

// TestQueuesOnVectorZero: their causes are the bits QUEUE_n of PFINT_ICR0, as with one interrupt for everything.
func TestQueuesOnVectorZero(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	d.startQueue(0, 0)
	d.w("PFINT_LNKLST0", 0)
	d.w("QINT_RQCTL", 0|2<<causeVector0|queueNone<<causeNextQ|causeEnable, 0)
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	d.r("PFINT_ICR0")
	d.inject()
	if d.fired[0] != 1 || d.received() == nil {
		t.Fatalf("%d interrupts", d.fired[0])
	}
	if got := d.r("PFINT_ICR0"); got != icr0Queue0<<2|icr0Event {
		t.Errorf("PFINT_ICR0 is %#x, want QUEUE_2", got)
	}
	d.w("QINT_RQCTL", 200|queueNone<<causeNextQ|causeEnable, 0)
	d.inject()
	d.violation("QINT_RQCTL[0] names vector 200 of 129")
}

// TestTimeStamps: a PTP frame has its time in a register that its descriptor names, and so has one that is sent.
func TestTimeStamps(t *testing.T) {
	d := ready(t, 0)
	d.w("PRTTSYN_INC_L", 0x33333333)
	d.w("PRTTSYN_INC_H", 3)
	d.w("PRTTSYN_CTL0", tsyncTxInterrupt|1<<31)
	d.w("PRTTSYN_CTL1", tsyncEnable)
	d.w("PFINT_ICR0_ENA", icr0TimeSync)
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	d.clk.Advance(time.Millisecond)
	b := testFrame(adminq.MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 80)
	binary.BigEndian.PutUint16(b[12:], frame.EtherTypeTimesync)
	for i := range uint32(rxStamps) {
		d.rearm()
		d.dev.Receive(b)
		status := d.u64(d.rx + 32*uint64(d.rxHead) + 8)
		if d.received() == nil || uint32(status>>5&3) != i || status>>7&1 != 1 {
			t.Fatalf("frame %d has status %#x: want its stamp in register %d", i, status, i)
		}
	}
	d.rearm()
	d.dev.Receive(b) // all registers are taken
	if status := d.u64(d.rx + 32*uint64(d.rxHead) + 8); status>>7&1 != 0 {
		t.Errorf("a fifth frame has a stamp: %#x", status)
	}
	now := d.r("PRTTSYN_TIME_L")
	if got := d.r("PRTTSYN_RXTIME_L", 2); got == 0 || got > now {
		t.Errorf("stamp 2 is %d at %d", got, now)
	}
	d.r("PRTTSYN_RXTIME_H", 2)
	if got := d.r("PRTTSYN_STAT_1"); got != 0xB {
		t.Errorf("PRTTSYN_STAT_1 is %#x after stamp 2 was read", got)
	}
	d.put64(d.tx, 0)
	d.put64(d.tx+8, 1|2<<4) // context descriptor: TSYN
	d.txTail++
	d.transmit(0, b, 2)
	if d.fired[0] != 1 || d.r("PFINT_ICR0")&icr0TimeSync == 0 {
		t.Error("no cause TIMESYNC")
	}
	if d.r("PRTTSYN_STAT_0") != tsyncTxStamp || d.r("PRTTSYN_STAT_0") != 0 || d.r("PRTTSYN_TXTIME_L") == 0 {
		t.Error("no stamp of the frame that was sent")
	}
	d.noViolations()
}

// TestTagsAreStrippedAsTheVSISays changes the VSI's tag mode and looks at frame and descriptor.
func TestTagsAreStrippedAsTheVSISays(t *testing.T) {
	d := ready(t, 0)
	props := make([]byte, 128)
	binary.LittleEndian.PutUint16(props, 0x0004)
	props[12] = 3 // all frames, tags stripped and shown
	d.command(0x0211, binary.LittleEndian.AppendUint16(nil, d.seid), props, true)
	plain := testFrame(adminq.MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 80)
	tagged := frame.InsertTag(plain, frame.Tag{TPID: frame.EtherTypeVLAN, TCI: 0x6064})
	d.command(0x0254, []byte{0x14, 0, 0x14, 0, byte(d.seid), byte(d.seid >> 8)}, nil, false) // broadcast of any VLAN
	d.dev.Receive(tagged)
	at := d.rx + 32*uint64(d.rxHead)
	if tag := uint16(d.u32(at) >> 16); tag != 0x6064 || d.u64(at+8)>>2&1 != 1 {
		t.Errorf("the descriptor shows tag %#x, status %#x", tag, d.u64(at+8))
	}
	if got := d.received(); !bytes.Equal(got, plain) {
		t.Errorf("received %x, want it without its tag", got)
	}
	d.noViolations()
}

// TestFramesTooLongForTheQueue are counted as errors of the port's PF.
func TestFramesTooLongForTheQueue(t *testing.T) {
	d := ready(t, 0)
	d.stopQueue(0)
	raw, err := d.at(d.hmc+16*128, 32)
	if err != nil {
		t.Fatal(err)
	}
	const rxMaxBit = 174
	rxMax := 1000
	for i := range 14 {
		n := rxMaxBit + i
		raw[n/8] = raw[n/8]&^(1<<(n%8)) | byte(rxMax>>i&1)<<(n%8)
	}
	d.qdis(0, qdisClear)
	d.w("QRX_ENA", 1, 0)
	d.clk.Advance(time.Millisecond)
	d.dev.Receive(testFrame(d.dev.cfg.Card.MAC, 1000))
	if got := d.r("GL_RXERR1L", 128); got != 1 {
		t.Errorf("GL_RXERR1L[128] is %d", got)
	}
	d.noViolations()
}

// TestTunnelPorts: a UDP port that a command names makes the inner headers those that are classified.
func TestTunnelPorts(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	inner := testFrame(adminq.MAC{2, 2, 2, 2, 2, 2}, 60)
	b := testFrame(d.dev.cfg.Card.MAC, 42+8+len(inner))
	binary.BigEndian.PutUint16(b[36:], 4789)
	b[42] = 0x08
	binary.BigEndian.PutUint32(b[46:], 77<<8)
	copy(b[50:], inner)
	if p := d.dev.parse(b); p.header.Tunnel != nil {
		t.Error("a tunnel without its port")
	}
	d.command(0x0B00, []byte{0xB5, 0x12, 0, 0, 0, 0}, nil, false)
	p := d.dev.parse(b)
	if tun := p.header.Tunnel; tun == nil || tun.Kind != adminq.TunnelVXLAN || tun.ID != 77 ||
		tun.InnerDst != (adminq.MAC{2, 2, 2, 2, 2, 2}) {
		t.Errorf("the tunnel is %+v", tun)
	}
	d.noViolations()
}

// TestReceiveControlByCommand reads and writes a register by 0206, 0207 and FF03.
func TestReceiveControlByCommand(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	at := d.dev.at("PFQF_HENA", []uint32{1})
	params := func(v uint32) []byte {
		p := make([]byte, 16)
		binary.LittleEndian.PutUint32(p[4:], at)
		binary.LittleEndian.PutUint32(p[12:], v)
		return p
	}
	d.command(0x0207, params(0x1234), nil, false)
	for _, op := range []adminq.Opcode{0x0206, 0xFF03} {
		done := d.command(op, params(0), nil, false)
		if got := binary.LittleEndian.Uint32(done.Params[12:]); got != 0x1234 {
			t.Errorf("%s answers %#x", op, got)
		}
	}
	d.noViolations()
	at = 0x12344
	if done := d.send(0x0206, params(0), nil, false); done.RetVal == 0 {
		t.Error("a register that there is not can be read")
	}
	d.violation("command reads register 0x12344")
}

func TestMDIOIsEmpty(t *testing.T) {
	d := newDriver(t, nil)
	d.w("GLGEN_MSCA", 1<<30|2<<26, 1)
	if d.r("GLGEN_MSCA", 1)>>30&1 != 0 || d.r("GLGEN_MSRWD", 1)>>16 != 0xFFFF {
		t.Error("a command on the MDIO bus does not end, or finds something")
	}
	if got := d.r("PRTGL_SAH") >> 16; got != 9728 {
		t.Errorf("the longest frame is %d", got)
	}
	d.noViolations()
}
