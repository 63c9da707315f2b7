package i40esim

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/lan"
)

// vfDriver is a small driver of a VF: registers of its BAR, and memory of its own.
type vfDriver struct {
	memory
	t     *testing.T
	vf    *VF
	fired [8]int
}

func (d *vfDriver) Trigger(_, n int) bool { d.fired[n]++; return true }

func (d *vfDriver) Assigned(kind, _ int) bool { return kind == vfiouser.IRQMSIX }

func (d *vfDriver) access(name string, index uint32, b []byte, write bool) {
	d.t.Helper()
	bar := &d.vf.f.c.vfBAR
	r := bar.table.rows[bar.table.byName[name]]
	do := d.vf.ReadRegion
	if write {
		do = d.vf.WriteRegion
	}
	if err := do(vfiouser.RegionBAR0, uint64(r.At(index%r.Count[0], index/r.Count[0])), b); err != nil {
		d.t.Fatal(err)
	}
}

func (d *vfDriver) r(name string, index uint32) uint32 {
	d.t.Helper()
	var b [4]byte
	d.access(name, index, b[:], false)
	return binary.LittleEndian.Uint32(b[:])
}

func (d *vfDriver) w(name string, v, index uint32) {
	d.t.Helper()
	d.access(name, index, binary.LittleEndian.AppendUint32(nil, v), true)
}

// plugVF gives VF 0 of the PF's card a driver.
func plugVF(d *driver) *vfDriver {
	d.t.Helper()
	vf, err := d.dev.VF(0)
	if err != nil {
		d.t.Fatal(err)
	}
	v := &vfDriver{t: d.t, vf: vf}
	v.bytes = make([]byte, 1<<20)
	vf.AttachHost(v)
	if err := vf.WriteRegion(vfiouser.RegionConfig, cfgCommand, []byte{6, 0}); err != nil {
		d.t.Fatal(err)
	}
	return v
}

// mailbox sets up the VF's admin queues: the send queue at the start of its memory, one page of receive buffers behind.
func (d *vfDriver) mailbox() {
	const entries, buffers = 8, memBase + 0x2000
	for i := range uint64(entries) {
		desc := adminq.Descriptor{Flags: adminq.FlagBUF | adminq.FlagLB, DataLen: 4096}
		desc.SetAddress(buffers + 4096*i)
		var raw [adminq.DescriptorSize]byte
		desc.Encode(raw[:])
		if err := d.Write(memBase+0x1000+adminq.DescriptorSize*i, raw[:]); err != nil {
			d.t.Fatal(err)
		}
	}
	for name, at := range map[string]uint64{"VF_ATQ": memBase, "VF_ARQ": memBase + 0x1000} {
		d.w(name+"BAL1", uint32(at), 0)
		d.w(name+"BAH1", uint32(at>>32), 0)
		d.w(name+"LEN1", entries|1<<31, 0)
	}
	d.w("VF_ARQT1", entries-1, 0)
}

// giveQueue does what a PF's driver does for a VF with one queue: its own queue 8 becomes the VF's queue 0.
func giveQueue(d *driver, v *vfDriver) (handle uint16) {
	d.t.Helper()
	const q, ring, txRing, vector = 8, memBase + 0x20000, memBase + 0x30000, 1
	props := make([]byte, 128)
	binary.LittleEndian.PutUint16(props[0:], 0x0004|0x0040)
	props[12] = 3 | 3<<3
	binary.LittleEndian.PutUint16(props[30:], q)
	done := d.command(0x0210, []byte{2, 0, 1, 0, 0, 0, 0, 0}, props, true)
	vsi := binary.LittleEndian.Uint16(done.Params[2:])
	handle = binary.LittleEndian.Uint16(props[96:])
	seid := done.Params[:2]
	mac := make([]byte, 16)
	copy(mac, []byte{2, 0, 0, 0, 0, 0x77})
	binary.LittleEndian.PutUint16(mac[8:], 1|4) // perfect, any VLAN
	d.command(0x0250, []byte{1, 0, seid[0], seid[1] | 0x80}, mac, true)
	d.w("VSILAN_QBASE", queueTableOn, uint32(vsi))
	d.w("VSILAN_QTABLE", q|queueNone<<16, 0, uint32(vsi))
	d.w("VPLAN_MAPENA", 1, 0)
	d.w("VPLAN_QTABLE", q, 0, 0)
	d.w("QTX_CTL", ctlVF|0<<ctlVFShift, q)
	d.w("VPINT_LNKLSTN", q, 0)
	d.w("QINT_RQCTL", vector|q<<16|1<<27|1<<30, q)
	d.w("QINT_TQCTL", vector|queueNone<<16|1<<30, q)
	for i := range uint64(ringLen) {
		if err := v.Write(ring+32*i, binary.LittleEndian.AppendUint64(nil, memBase+0x40000+bufferSize*i)); err != nil {
			d.t.Fatal(err)
		}
	}
	tx := lan.TxContext{New: true, Base: txRing, Len: ringLen, ReadyList: handle}
	rx := lan.RxContext{
		Base: ring, Len: ringLen, Buffer: bufferSize, Long: true, StripCRC: true, L2TSel: true,
		RxMax: 1518, Prefetch: true, LowThreshold: 1,
	}
	d.putContext(q, &tx, &rx)
	v.w("QRX_TAIL1", ringLen-1, 0)
	d.qdis(q, qdisClear)
	d.w("QTX_ENA", 1, q)
	d.w("QRX_ENA", 1, q)
	d.clk.Advance(time.Millisecond)
	d.w("VFGEN_RSTAT1", 2, 0)
	return handle
}

func TestAVFExchangesFramesAndMessages(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	d.startQueue(0, 0)
	v := plugVF(d)
	giveQueue(d, v)
	if got := v.r("VFGEN_RSTAT", 0); got != 2 {
		t.Errorf("VFGEN_RSTAT is %d", got)
	}
	v.w("VFINT_DYN_CTLN1", dynEnable|3<<dynITRShift, 0)
	in := testFrame(adminq.MAC{2, 0, 0, 0, 0, 0x77}, 90)
	d.dev.Receive(in)
	got, _ := v.at(memBase+0x40000, len(in))
	if !bytes.Equal(got, in) || v.fired[1] != 1 {
		t.Errorf("the VF received %x with %d interrupts", got, v.fired[1])
	}
	out := testFrame(adminq.MAC{2, 0, 0, 0, 0, 0x55}, 70)
	copy(v.bytes[0x80000:], out)
	binary.LittleEndian.PutUint64(v.bytes[0x30000:], memBase+0x80000)
	binary.LittleEndian.PutUint64(v.bytes[0x30008:], 7<<4|uint64(len(out))<<34|7<<16)
	v.w("QTX_TAIL1", 1, 0)
	if len(d.wire.frames) != 1 || !bytes.Equal(d.wire.frames[0], out) {
		t.Errorf("on the wire: %x", d.wire.frames)
	}
	if done := v.bytes[0x30008]; done != 0xF {
		t.Errorf("the VF's descriptor is %#x, want done", done)
	}
	checkMessages(t, d, v)
	d.noViolations()
}

// checkMessages sends one message each way through the mailbox.
func checkMessages(t *testing.T, d *driver, v *vfDriver) {
	t.Helper()
	v.mailbox()
	v.w("VFINT_ICR0_ENA1", icr0AdminQ, 0)
	v.w("VFINT_DYN_CTL01", dynEnable|3<<dynITRShift, 0)
	d.w("PFINT_ICR0_ENA", icr0AdminQ)
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	desc := adminq.Descriptor{Opcode: adminq.OpSendToPF, Flags: adminq.FlagSI, CookieHigh: 1}
	var raw [adminq.DescriptorSize]byte
	desc.Encode(raw[:])
	if err := v.Write(memBase, raw[:]); err != nil {
		t.Fatal(err)
	}
	before := d.fired[0]
	v.w("VF_ATQT1", 1, 0)
	if d.fired[0] != before+1 || d.r("PF_ARQH") != 1 {
		t.Errorf("the PF's message: %d interrupts, PF_ARQH %d", d.fired[0]-before, d.r("PF_ARQH"))
	}
	d.command(adminq.OpSendToVF, make([]byte, 4), []byte("answer!!"), true)
	if got, _ := v.at(memBase+0x2000, 8); string(got) != "answer!!" || v.fired[0] != 1 {
		t.Errorf("the VF's message is %q with %d interrupts", got, v.fired[0])
	}
	if got := v.r("VFINT_ICR01", 0); got != icr0AdminQ|icr0Event {
		t.Errorf("VFINT_ICR01 is %#x", got)
	}
}

func TestAVFResetTakesTheVFAlone(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	d.startQueue(0, 0)
	v := plugVF(d)
	giveQueue(d, v)
	v.mailbox()
	d.w("VPGEN_VFRTRIG", 1, 0)
	if v.r("VFGEN_RSTAT", 0) != 0 || v.r("VF_ARQLEN1", 0)>>31 != 0 || d.r("VPGEN_VFRSTAT", 0) != 0 {
		t.Error("the VF does not see its reset")
	}
	d.clk.Advance(10 * time.Millisecond)
	if d.r("VPGEN_VFRSTAT", 0) != 1 {
		t.Error("the VF's reset does not end")
	}
	d.w("VPGEN_VFRTRIG", 0, 0)
	if d.r("QRX_ENA", 8)&enaStatus != 0 || d.r("QRX_ENA", 0)&enaStatus == 0 {
		t.Error("the reset stopped the wrong queues")
	}
	d.noViolations()
	v.w("QTX_TAIL1", 1, 0)
	d.violation("not mapped the VF's queues")

	giveQueue(d, v)
	d.w("PFINT_ICR0_ENA", icr0VFLR)
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	if err := v.vf.WriteRegion(vfiouser.RegionConfig, devCtl, []byte{0, devCtlFLR >> 8}); err != nil {
		t.Fatal(err)
	}
	if d.r("GLGEN_VFLRSTAT", 0) != 1 || d.fired[0] != 1 {
		t.Error("the PF does not hear of the VF's function level reset")
	}
	d.w("GLGEN_VFLRSTAT", 1, 0)
	if d.r("GLGEN_VFLRSTAT", 0) != 0 {
		t.Error("GLGEN_VFLRSTAT does not clear")
	}
}

// TestAVFSeesItsOwnRegistersAlone: each of its registers is the PF's view of the same VF.
func TestAVFSeesItsOwnRegistersAlone(t *testing.T) {
	d := newDriver(t, nil)
	if _, err := d.dev.VF(3); err != nil {
		t.Fatal(err)
	}
	vf, err := d.dev.VF(3)
	if err != nil {
		t.Fatal(err)
	}
	v := &vfDriver{t: t, vf: vf}
	if err := vf.WriteRegion(vfiouser.RegionConfig, cfgCommand, []byte{6, 0}); err != nil {
		t.Fatal(err)
	}
	v.w("VFQF_HKEY", 0x11223344, 12)
	v.w("VFQF_HLUT", 0x03020100, 15)
	v.w("VFINT_ITRN1", 0x2A, 1+3*2) // throttle 1 of vector 3
	v.w("VFINT_ITR01", 0x2B, 2)
	for _, c := range []struct {
		name  string
		index []uint32
		want  uint32
	}{
		{"VFQF_HKEY1", []uint32{12, 3}, 0x11223344},
		{"VFQF_HLUT1", []uint32{15, 3}, 0x03020100},
		{"VFINT_ITRN", []uint32{1, 3*4 + 2}, 0x2A},
		{"VFINT_ITR0", []uint32{2, 3}, 0x2B},
	} {
		if got := d.r(c.name, c.index...); got != c.want {
			t.Errorf("%s%v is %#x, want %#x", c.name, c.index, got, c.want)
		}
	}
	if _, err := d.dev.VF(16); err == nil {
		t.Error("there is a VF 16 of 16")
	}
	d.noViolations()
}
