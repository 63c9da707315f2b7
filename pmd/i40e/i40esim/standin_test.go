package i40esim

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
)

// Messages of a VF (virtchnl.h).
const (
	msgVersion         = 1
	msgReset           = 2
	msgResources       = 3
	msgConfigureQueues = 6
	msgMapInterrupts   = 7
	msgEnableQueues    = 8
	msgDisableQueues   = 9
	msgStatistics      = 15
)

// lonelyVF is a VF of a card whose PF has no driver, at the end of its reset.
func lonelyVF(t *testing.T) (*driver, *vfDriver) {
	t.Helper()
	d := &driver{t: t, clk: NewManualClock(time.Unix(1000, 0)), wire: &wireTap{}}
	dev, err := New(Config{Clock: d.clk, Wire: d.wire})
	if err != nil {
		t.Fatal(err)
	}
	d.dev = dev
	v := plugVF(d)
	if got := v.r("VFGEN_RSTAT", 0); got != 0 {
		t.Fatalf("VFGEN_RSTAT is %d at once", got)
	}
	d.clk.Advance(10 * time.Millisecond)
	if got := v.r("VFGEN_RSTAT", 0); got != vfActive {
		t.Fatalf("VFGEN_RSTAT is %d", got)
	}
	v.mailbox()
	return d, v
}

// ask sends a message and returns the answer to it.
func (d *vfDriver) ask(op uint32, msg []byte) (status uint32, answer []byte) {
	d.t.Helper()
	const buffer = memBase + 0x1800
	tail := d.r("VF_ATQT1", 0)
	desc := adminq.Descriptor{Opcode: adminq.OpSendToPF, Flags: adminq.FlagSI, CookieHigh: op}
	if len(msg) > 0 {
		desc.Flags |= adminq.FlagBUF | adminq.FlagRD
		desc.DataLen = uint16(len(msg))
		desc.SetAddress(buffer)
		if err := d.Write(buffer, msg); err != nil {
			d.t.Fatal(err)
		}
	}
	var raw [adminq.DescriptorSize]byte
	desc.Encode(raw[:])
	if err := d.Write(memBase+adminq.DescriptorSize*uint64(tail), raw[:]); err != nil {
		d.t.Fatal(err)
	}
	head := d.r("VF_ARQH1", 0)
	d.w("VF_ATQT1", (tail+1)%8, 0)
	for at := head; at != d.r("VF_ARQH1", 0); at = (at + 1) % 8 {
		place := memBase + 0x1000 + adminq.DescriptorSize*uint64(at)
		if err := d.Read(place, raw[:]); err != nil {
			d.t.Fatal(err)
		}
		desc.Decode(raw[:])
		if desc.CookieHigh == op {
			b, _ := d.at(memBase+0x2000+4096*uint64(at), int(desc.DataLen))
			status, answer = desc.CookieLow, append([]byte(nil), b...)
		}
		d.give(at)
	}
	return status, answer
}

// give returns a buffer to the mailbox.
func (d *vfDriver) give(at uint32) {
	desc := adminq.Descriptor{Flags: adminq.FlagBUF | adminq.FlagLB, DataLen: 4096}
	desc.SetAddress(memBase + 0x2000 + 4096*uint64(at))
	var raw [adminq.DescriptorSize]byte
	desc.Encode(raw[:])
	if err := d.Write(memBase+0x1000+adminq.DescriptorSize*uint64(at), raw[:]); err != nil {
		d.t.Fatal(err)
	}
	d.w("VF_ARQT1", at, 0)
}

func le16s(v ...uint16) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

// TestAVFWithoutPFDriverWorks is a VF's bring-up against the stand-in, one frame each way, and its end.
func TestAVFWithoutPFDriverWorks(t *testing.T) {
	const rxRing, txRing = memBase + 0x20000, memBase + 0x30000
	d, v := lonelyVF(t)
	ok := func(op uint32, msg []byte) []byte {
		t.Helper()
		status, answer := v.ask(op, msg)
		if status != 0 {
			t.Fatalf("message %d: status %d; %v", op, int32(status), d.dev.Violations())
		}
		return answer
	}
	ok(msgVersion, le16s(1, 0, 1, 0))
	resources := ok(msgResources, le16s(1, 8)) // L2, RSS by messages
	vsi := binary.LittleEndian.Uint16(resources[20:])
	mac := adminq.MAC(resources[30:36])
	v.w("QRX_TAIL1", 0, 1)
	v.w("QRX_TAIL1", ringLen-1, 0)
	for i := range uint64(ringLen) {
		if err := v.Write(rxRing+32*i, binary.LittleEndian.AppendUint64(nil, memBase+0x40000+bufferSize*i)); err != nil {
			t.Fatal(err)
		}
	}
	pair := le16s(vsi, 0, ringLen, 0)
	pair = binary.LittleEndian.AppendUint64(pair, txRing)
	pair = binary.LittleEndian.AppendUint64(pair, 0)
	pair = append(pair, le16s(vsi, 0, ringLen, 0, 0, 0, bufferSize, 0, 9000, 0, 0, 0)...)
	pair = binary.LittleEndian.AppendUint64(pair, rxRing)
	pair = binary.LittleEndian.AppendUint64(pair, 0)
	ok(msgConfigureQueues, append(le16s(vsi, 1, 0, 0), pair...))
	ok(msgMapInterrupts, le16s(1, vsi, 1, 1, 1, 0, 1))
	ok(msgEnableQueues, le16s(vsi, 0, 1, 0, 1, 0))

	v.w("VFINT_DYN_CTLN1", dynEnable|3<<dynITRShift, 0)
	in := testFrame(mac, 90)
	d.dev.Receive(in)
	got, _ := v.at(memBase+0x40000, len(in))
	if !bytes.Equal(got, in) || v.fired[1] != 1 {
		t.Errorf("received %x with %d interrupts", got, v.fired[1])
	}
	out := testFrame(adminq.MAC{2, 0, 0, 0, 0, 0x55}, 70)
	copy(v.bytes[0x80000:], out)
	binary.LittleEndian.PutUint64(v.bytes[0x30000:], memBase+0x80000)
	binary.LittleEndian.PutUint64(v.bytes[0x30008:], 7<<4|uint64(len(out))<<34|7<<16)
	v.w("QTX_TAIL1", 1, 0)
	if len(d.wire.frames) != 1 || !bytes.Equal(d.wire.frames[0], out) {
		t.Errorf("on the wire: %x", d.wire.frames)
	}
	ok(msgStatistics, le16s(vsi, 0, 0, 0, 0, 0)) // the ring has eight entries: go round it
	stats := ok(msgStatistics, le16s(vsi, 0, 0, 0, 0, 0))
	if rx, tx := binary.LittleEndian.Uint64(stats), binary.LittleEndian.Uint64(stats[48:]); rx != 94 || tx != 74 {
		t.Errorf("statistics: %d bytes in, %d out, want 94 and 74", rx, tx)
	}
	ok(msgDisableQueues, le16s(vsi, 0, 1, 0, 1, 0))
	d.dev.Receive(in)
	v.ask(msgReset, nil)
	d.clk.Advance(1500 * time.Microsecond)
	if v.r("VFGEN_RSTAT", 0) != 0 || v.r("VF_ARQLEN1", 0)>>31 != 0 {
		t.Error("the VF does not see the reset that it asked for")
	}
	if head, tail := v.r("VF_ATQH1", 0), v.r("VF_ATQT1", 0); head != tail || head == 0 {
		t.Errorf("after the reset VF_ATQH1 is %d and VF_ATQT1 %d: a driver looks whether its request was taken", head, tail)
	}
	d.clk.Advance(10 * time.Millisecond)
	if v.r("VFGEN_RSTAT", 0) != vfActive {
		t.Error("the reset does not end")
	}
	d.noViolations()
}

// TestTheStandInLeavesWhenADriverComes: the mailbox goes to the PF's queue as long as somebody drives the PF.
func TestTheStandInLeavesWhenADriverComes(t *testing.T) {
	d, v := lonelyVF(t)
	d.bytes, d.next = make([]byte, memSize), memBase
	if err := d.dev.Reset(); err != nil {
		t.Fatal(err)
	}
	d.dev.AttachHost(d)
	d.config16(cfgCommand, commandMemory|commandMaster)
	d.bringUp()
	if got := v.r("VFGEN_RSTAT", 0); got != 0 {
		t.Errorf("VFGEN_RSTAT is %d, and no driver set it", got)
	}
	v.mailbox()
	v.ask(msgVersion, le16s(1, 0, 1, 0))
	if d.r("PF_ARQH") != 1 {
		t.Error("the PF's driver did not get the message")
	}
	d.dev.Detach()
	d.clk.Advance(10 * time.Millisecond)
	if got := v.r("VFGEN_RSTAT", 0); got != vfActive {
		t.Errorf("VFGEN_RSTAT is %d after the driver has gone", got)
	}
	v.mailbox()
	if status, answer := v.ask(msgVersion, le16s(1, 0, 1, 0)); status != 0 || len(answer) != 8 {
		t.Errorf("the stand-in answers %d, %x", status, answer)
	}
	d.noViolations()
}
