package i40esim

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/lan"
)

// Places in the test driver's memory.
const (
	memBase = 0x10_0000_0000
	memSize = 8 << 20

	asqEntries = 32
	arqEntries = 16
	arqBuffer  = 4096
	ringLen    = 64
	bufferSize = 2048
)

var errUnmapped = errors.New("not mapped")

// memory is what the test driver lets the device reach.
type memory struct{ bytes []byte }

func (m *memory) at(addr uint64, n int) ([]byte, error) {
	if addr < memBase || addr+uint64(n) > memBase+uint64(len(m.bytes)) {
		return nil, errUnmapped
	}
	return m.bytes[addr-memBase:][:n], nil
}

func (m *memory) Read(addr uint64, p []byte) error {
	b, err := m.at(addr, len(p))
	copy(p, b)
	return err
}

func (m *memory) Write(addr uint64, p []byte) error {
	b, err := m.at(addr, len(p))
	copy(b, p)
	return err
}

// wireTap collects what a card sends.
type wireTap struct{ frames [][]byte }

func (w *wireTap) Send(b []byte) { w.frames = append(w.frames, b) }

// driver is a small driver of the PF that works by registers alone, in the order in which real ones bring a card up.
type driver struct {
	memory
	t     *testing.T
	dev   *Device
	clk   *ManualClock
	wire  *wireTap
	next  uint64
	fired [256]int // by MSI-X vector

	asq, asqBuf, arq, arqBuf uint64
	asqTail                  uint32
	seid, vsi, handle        uint16
	hmc                      uint64

	tx, rx     uint64 // rings of queue 0
	txBuf      uint64
	rxBufs     uint64
	headWB     uint64
	txTail     uint32
	rxHead     uint32
	paged      bool
	interrupts bool // the queue's vector is enabled
}

func (d *driver) Trigger(_, n int) bool { d.fired[n]++; return true }

func (d *driver) Assigned(kind, _ int) bool { return kind == vfiouser.IRQMSIX }

func newDriver(t *testing.T, change func(*Config)) *driver {
	t.Helper()
	d := &driver{t: t, clk: NewManualClock(time.Unix(1000, 0)), wire: &wireTap{}, next: memBase}
	d.bytes = make([]byte, memSize)
	cfg := Config{Clock: d.clk, Wire: d.wire}
	if change != nil {
		change(&cfg)
	}
	dev, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.dev = dev
	dev.AttachHost(d)
	d.config16(0x04, 0x0006)
	d.clk.Advance(time.Second)
	return d
}

func (d *driver) config16(at int, v uint16) {
	d.t.Helper()
	if err := d.dev.WriteRegion(vfiouser.RegionConfig, uint64(at), []byte{byte(v), byte(v >> 8)}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) config32(at int) uint32 {
	var b [4]byte
	if err := d.dev.ReadRegion(vfiouser.RegionConfig, uint64(at), b[:]); err != nil {
		d.t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b[:])
}

// offset finds a register by name.
func (d *driver) offset(name string, index []uint32) uint64 {
	return uint64(d.dev.at(name, index))
}

func (d *driver) r(name string, index ...uint32) uint32 {
	d.t.Helper()
	var b [4]byte
	if err := d.dev.ReadRegion(vfiouser.RegionBAR0, d.offset(name, index), b[:]); err != nil {
		d.t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b[:])
}

func (d *driver) w(name string, v uint32, index ...uint32) {
	d.t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, v)
	if err := d.dev.WriteRegion(vfiouser.RegionBAR0, d.offset(name, index), b); err != nil {
		d.t.Fatal(err)
	}
}

// alloc gives zeroed memory, aligned to a page.
func (d *driver) alloc(n int) uint64 {
	d.next = (d.next + 4095) &^ 4095
	addr := d.next
	d.next += uint64(n)
	if d.next > memBase+memSize {
		d.t.Fatal("the test driver is out of memory")
	}
	return addr
}

func (d *driver) u32(addr uint64) uint32 {
	b, err := d.at(addr, 4)
	if err != nil {
		d.t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b)
}

func (d *driver) u64(addr uint64) uint64 {
	b, err := d.at(addr, 8)
	if err != nil {
		d.t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b)
}

func (d *driver) put64(addr, v uint64) {
	if err := d.Write(addr, binary.LittleEndian.AppendUint64(nil, v)); err != nil {
		d.t.Fatal(err)
	}
}

// setUpQueues gives the device the admin queues.
func (d *driver) setUpQueues() {
	d.asq, d.asqBuf = d.alloc(asqEntries*32), d.alloc(4096)
	d.arq, d.arqBuf = d.alloc(arqEntries*32), d.alloc(arqEntries*arqBuffer)
	d.asqTail = 0
	d.w("PF_ATQH", 0)
	d.w("PF_ATQT", 0)
	d.w("PF_ATQBAL", uint32(d.asq))
	d.w("PF_ATQBAH", uint32(d.asq>>32))
	d.w("PF_ATQLEN", asqEntries|1<<31)
	if got := d.r("PF_ATQBAL"); got != uint32(d.asq) {
		d.t.Fatalf("PF_ATQBAL reads back %#x, wrote %#x", got, uint32(d.asq))
	}
	for i := range uint64(arqEntries) {
		desc := adminq.Descriptor{Flags: adminq.FlagBUF | adminq.FlagLB, DataLen: arqBuffer}
		desc.SetAddress(d.arqBuf + i*arqBuffer)
		var raw [adminq.DescriptorSize]byte
		desc.Encode(raw[:])
		if err := d.Write(d.arq+i*adminq.DescriptorSize, raw[:]); err != nil {
			d.t.Fatal(err)
		}
	}
	d.w("PF_ARQH", 0)
	d.w("PF_ARQT", 0)
	d.w("PF_ARQBAL", uint32(d.arq))
	d.w("PF_ARQBAH", uint32(d.arq>>32))
	d.w("PF_ARQLEN", arqEntries|1<<31)
	d.w("PF_ARQT", arqEntries-1)
}

// send gives a command to the firmware and returns its answer; buf is changed in place.
func (d *driver) send(op adminq.Opcode, params []byte, buf []byte, reads bool) adminq.Descriptor {
	d.t.Helper()
	desc := adminq.Descriptor{Opcode: op, Flags: adminq.FlagSI}
	copy(desc.Params[:], params)
	if buf != nil {
		desc.Flags |= adminq.FlagBUF
		if reads {
			desc.Flags |= adminq.FlagRD
		}
		if len(buf) > adminq.LargeBuffer {
			desc.Flags |= adminq.FlagLB
		}
		desc.DataLen = uint16(len(buf))
		desc.SetAddress(d.asqBuf)
		if err := d.Write(d.asqBuf, buf); err != nil {
			d.t.Fatal(err)
		}
	}
	var raw [adminq.DescriptorSize]byte
	desc.Encode(raw[:])
	at := d.asq + uint64(d.asqTail)*adminq.DescriptorSize
	if err := d.Write(at, raw[:]); err != nil {
		d.t.Fatal(err)
	}
	d.asqTail = (d.asqTail + 1) % asqEntries
	d.w("PF_ATQT", d.asqTail)
	if got := d.r("PF_ATQH"); got != d.asqTail {
		return adminq.Descriptor{}
	}
	if err := d.Read(at, raw[:]); err != nil {
		d.t.Fatal(err)
	}
	desc.Decode(raw[:])
	if buf != nil {
		if err := d.Read(d.asqBuf, buf); err != nil {
			d.t.Fatal(err)
		}
	}
	return desc
}

// command is send for what must succeed.
func (d *driver) command(op adminq.Opcode, params []byte, buf []byte, reads bool) adminq.Descriptor {
	d.t.Helper()
	desc := d.send(op, params, buf, reads)
	if desc.Flags&adminq.FlagDD == 0 || desc.RetVal != 0 {
		d.t.Fatalf("command %s: flags %#04x, answer %s", op, desc.Flags, adminq.Code(desc.RetVal))
	}
	return desc
}

// reset does a PF reset and waits for its end.
func (d *driver) reset() {
	d.t.Helper()
	d.w("PFGEN_CTRL", 1)
	if d.r("PFGEN_CTRL")&1 == 0 {
		d.t.Fatal("PFGEN_CTRL.PFSWR cleared at once")
	}
	d.clk.Advance(10 * time.Millisecond)
	if d.r("PFGEN_CTRL")&1 != 0 {
		d.t.Fatal("PFGEN_CTRL.PFSWR never cleared")
	}
}

// bringUp is facts section 3, steps 1 to 13: everything but queues.
func (d *driver) bringUp() {
	d.t.Helper()
	if v := d.r("GLGEN_RSTAT") & rstatState; v != 0 {
		d.t.Fatalf("GLGEN_RSTAT.DEVSTATE is %d", v)
	}
	if v := d.r("GLNVM_ULD") & 0x18; v != 0x18 {
		d.t.Fatalf("GLNVM_ULD is %#x", v)
	}
	d.reset()
	d.setUpQueues()
	d.command(0x0001, nil, nil, false)
	d.command(0x0110, []byte{2}, nil, false)
	d.w("GLLAN_RCTL_0", 1)
	d.command(0x000A, nil, make([]byte, 2048), false)
	d.setUpHMC()
	sw := make([]byte, 512)
	d.command(0x0200, nil, sw, false)
	d.seid = binary.LittleEndian.Uint16(sw[16+2:])
	props := make([]byte, 128)
	seid := binary.LittleEndian.AppendUint16(nil, d.seid)
	done := d.command(0x0212, seid, props, false)
	d.vsi = binary.LittleEndian.Uint16(done.Params[2:])
	d.handle = binary.LittleEndian.Uint16(props[96:])
	// Four queues in traffic class 0.
	update := make([]byte, 128)
	binary.LittleEndian.PutUint16(update[0:], 0x0004|0x0040)
	copy(update[8:], props[8:])
	update[12] = 0x03 | 3<<3 // all frames, tags kept
	binary.LittleEndian.PutUint16(update[30:], 0)
	binary.LittleEndian.PutUint16(update[62:], 2<<9)
	d.command(0x0211, seid, update, true)
	d.command(0x0254, []byte{4, 0, 4, 0, byte(d.seid), byte(d.seid >> 8)}, nil, false) // broadcast
}

// setUpHMC publishes 16 contexts of each kind, behind direct or paged segment descriptors.
func (d *driver) setUpHMC() {
	const contexts = 16
	if tx, rx := d.r("GLHMC_LANTXOBJSZ"), d.r("GLHMC_LANRXOBJSZ"); tx != 7 || rx != 5 {
		d.t.Fatalf("object sizes are 2^%d and 2^%d", tx, rx)
	}
	d.hmc = d.alloc(64 << 10)
	low := uint32(d.hmc) | 16<<2 | 1<<1 | 1
	high := uint32(d.hmc >> 32)
	if d.paged {
		table := d.alloc(4096)
		for page := range uint64(16) {
			d.put64(table+8*page, d.hmc+page<<12|1)
		}
		low, high = uint32(table)|512<<2|1, uint32(table>>32)
	}
	d.w("PFHMC_SDDATAHIGH", high)
	d.w("PFHMC_SDDATALOW", low)
	d.w("PFHMC_SDCMD", 0|1<<31)
	d.w("GLHMC_LANTXBASE", 0, 0)
	d.w("GLHMC_LANTXCNT", contexts, 0)
	d.w("GLHMC_LANRXBASE", contexts*128/512, 0)
	d.w("GLHMC_LANRXCNT", contexts, 0)
}

// startQueue configures and enables queue pair q, on vector 1 with the throttle interval (2 us units).
func (d *driver) startQueue(q uint32, interval uint32) {
	d.t.Helper()
	d.linkInterrupt(q, interval)
	d.tx, d.rx = d.alloc(ringLen*16), d.alloc(ringLen*32)
	d.txBuf, d.rxBufs, d.headWB = d.alloc(16<<10), d.alloc(ringLen*bufferSize), d.alloc(64)
	txc := lan.TxContext{
		New: true, Base: d.tx, Len: ringLen, HeadWB: true, HeadWBAddr: d.headWB, ReadyList: d.handle,
		Timesync: true,
	}
	rxc := lan.RxContext{
		Base: d.rx, Len: ringLen, Buffer: bufferSize, Long: true, StripCRC: true, L2TSel: true,
		RxMax: 9728, Prefetch: true, TPHReadDesc: true, TPHWriteDesc: true, TPHData: true, TPHHead: true, LowThreshold: 1,
		ShowIV: false,
	}
	d.putContext(q, &txc, &rxc)
	d.w("QTX_CTL", 2, q)
	d.w("QTX_TAIL", 0, q)
	d.qdis(q, 1<<31)
	d.w("QTX_HEAD", 0, q)
	d.w("QTX_ENA", 1, q)
	for i := range uint64(ringLen) {
		d.put64(d.rx+32*i, d.rxBufs+bufferSize*i)
	}
	d.w("QRX_TAIL", 0, q)
	d.w("QRX_TAIL", ringLen-1, q)
	d.w("QRX_ENA", 1, q)
	if d.r("QTX_ENA", q)&4 != 0 || d.r("QRX_ENA", q)&4 != 0 {
		d.t.Fatal("QENA_STAT follows QENA_REQ at once")
	}
	d.clk.Advance(time.Millisecond)
	d.txTail, d.rxHead = 0, 0
}

func (d *driver) putContext(q uint32, tx *lan.TxContext, rx *lan.RxContext) {
	if err := d.Write(d.hmc+128*uint64(q), tx.Encode()); err != nil {
		d.t.Fatal(err)
	}
	if err := d.Write(d.hmc+16*128+32*uint64(q), rx.Encode()); err != nil {
		d.t.Fatal(err)
	}
}

// linkInterrupt puts queue pair q on vector 1: the receive queue on throttle 0, the transmit queue on 1.
func (d *driver) linkInterrupt(q, interval uint32) {
	d.w("PFINT_ITRN", interval, 0, 0)
	d.w("PFINT_ITRN", interval, 1, 0)
	d.w("PFINT_LNKLSTN", q, 0)
	d.w("QINT_RQCTL", 1|0<<11|q<<16|1<<27|1<<30, q)
	d.w("QINT_TQCTL", 1|1<<11|0x7FF<<16|1<<30, q)
	if d.interrupts {
		d.w("PFINT_DYN_CTLN", 1|1<<1|3<<3, 0)
	}
}

func (d *driver) qdis(q, bit uint32) {
	d.w("GLLAN_TXPRE_QDIS", q|bit, 0)
}

// stopQueue disables queue pair q as drivers must.
func (d *driver) stopQueue(q uint32) {
	d.t.Helper()
	d.qdis(q, 1<<30)
	d.clk.Advance(20 * time.Microsecond)
	d.w("QTX_ENA", 0, q)
	d.w("QRX_ENA", 0, q)
	d.clk.Advance(time.Millisecond)
	if d.r("QTX_ENA", q)&4 != 0 || d.r("QRX_ENA", q)&4 != 0 {
		d.t.Fatal("QENA_STAT stays set")
	}
}

// transmit sends one frame from queue q, in one descriptor with EOP and what more of CMD is given.
func (d *driver) transmit(q uint32, frame []byte, cmd uint64) {
	d.t.Helper()
	buf := d.txBuf + uint64(d.txTail)*256
	if err := d.Write(buf, frame); err != nil {
		d.t.Fatal(err)
	}
	at := d.tx + 16*uint64(d.txTail)
	d.put64(at, buf)
	d.put64(at+8, (1|4|cmd)<<4|uint64(len(frame))<<34|7<<16)
	d.txTail = (d.txTail + 1) % ringLen
	d.w("QTX_TAIL", d.txTail, q)
}

// rearm enables the queue's vector again, as a driver does when it has polled its queues.
func (d *driver) rearm() { d.w("PFINT_DYN_CTLN", 1|3<<3, 0) }

// received returns the frame in the next descriptor of queue 0, nil when it is not done.
func (d *driver) received() []byte {
	status := d.u64(d.rx + 32*uint64(d.rxHead) + 8)
	if status&1 == 0 {
		return nil
	}
	b, err := d.at(d.rxBufs+bufferSize*uint64(d.rxHead), int(status>>38&0x3FFF))
	if err != nil {
		d.t.Fatal(err)
	}
	d.rxHead = (d.rxHead + 1) % ringLen
	return b
}

// all takes every frame that shows, and returns how many.
func (d *driver) all() (n int) {
	for d.received() != nil {
		n++
	}
	return n
}

// noViolations fails the test for each violation.
func (d *driver) noViolations() {
	d.t.Helper()
	for _, v := range d.dev.ClearViolations() {
		d.t.Errorf("violation: %v", v)
	}
}

// violation wants exactly one violation, with words in it.
func (d *driver) violation(words string) {
	d.t.Helper()
	got := d.dev.ClearViolations()
	if len(got) != 1 || !strings.Contains(got[0].What, words) {
		d.t.Errorf("violations %v, want one with %q", got, words)
	}
}

// testFrame is an IPv4 UDP frame to dst, n bytes long.
func testFrame(dst adminq.MAC, n int) []byte {
	b := make([]byte, n)
	copy(b, dst[:])
	copy(b[6:], []byte{2, 0, 0, 0, 0, 9})
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(n-14))
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(ip[10:], ipSum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], 1000)
	binary.BigEndian.PutUint16(ip[22:], 2000)
	binary.BigEndian.PutUint16(ip[24:], uint16(n-34))
	return b
}

func ipSum(h []byte) uint16 {
	var s uint32
	for i := 0; i < len(h); i += 2 {
		s += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for s>>16 != 0 {
		s = s&0xFFFF + s>>16
	}
	return ^uint16(s)
}
