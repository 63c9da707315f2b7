package i40esim

import (
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/lan"
)

// TestQueueHandshake is the order in which queues are enabled and disabled, each step left out once.
func TestQueueHandshake(t *testing.T) {
	d := ready(t, 0)
	d.w("QTX_ENA", 0, 0)
	d.violation("without SET_QDIS")
	d.clk.Advance(time.Millisecond)

	d = ready(t, 0)
	d.qdis(0, qdisSet)
	if d.r("GLLAN_TXPRE_QDIS", 0)&qdisStat == 0 {
		t.Error("QDIS_STAT is clear after SET_QDIS")
	}
	d.w("QTX_ENA", 0, 0)
	d.violation("disabled 0s after SET_QDIS, must be 10µs")
	d.w("QTX_ENA", 1, 0)
	if got := d.dev.ClearViolations(); len(got) != 2 {
		t.Errorf("enabling a queue that still stops, with QDIS set: %v", got)
	}

	d = ready(t, 0)
	d.w("QTX_HEAD", 3, 0)
	d.violation("QTX_HEAD is written while it is enabled")
	d.qdis(0, qdisSet|qdisClear)
	d.violation("both sets and clears")
	d.qdis(200, qdisSet)
	d.violation("queue 200 of 128 in its block")
	d.w("GLLAN_TXPRE_QDIS", qdisSet|5, 3)
	d.violation("queue 389, which is not the PF's")
	d.w("QTX_ENA", 1, 1000)
	d.violation("the PF has 128 queues")
	d.w("QTX_ENA", 0, 1000) // drivers clear what they do not have
	d.stopQueue(0)
	d.noViolations()
}

func TestAQueueWithoutOwnerOrContextIsNotEnabled(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *driver)
		words string
		hmc   uint32 // error type in PFHMC_ERRORINFO, 0 for none
	}{
		"owner":        {func(d *driver) { d.w("QTX_CTL", 2|3<<2, 1) }, "QTX_CTL gives it to no function", 0},
		"reserved bit": {func(d *driver) { d.bytes[d.hmc-memBase+128+40] = 0x80 }, "reserved bits", 0},
		"count":        {func(d *driver) { d.w("GLHMC_LANTXCNT", 1, 0) }, "object 1 of 1", hmcObjectTooBig},
		"segment": {func(d *driver) {
			d.w("PFHMC_SDDATALOW", 0)
			d.w("PFHMC_SDCMD", sdWrite)
		}, "segment 0 of FPM address 0x80 is not valid", hmcSegmentInvalid},
		"short segment": {func(d *driver) { d.w("GLHMC_LANTXBASE", 0x10000/512, 0) }, "has 16 pages", hmcSegmentSmall},
		"far segment":   {func(d *driver) { d.w("GLHMC_LANTXBASE", 0xFFFFFF, 0) }, "segment 4095", hmcSegmentInvalid},
		"unmapped":      {func(d *driver) { d.dev.FailDMA(0, 1) }, "injected fault", hmcReadFailed},
		"queue set": {func(d *driver) {
			x := lan.TxContext{New: true, Base: memBase, Len: ringLen, ReadyList: 77}
			copy(d.bytes[d.hmc-memBase+128:], x.Encode())
		}, "RDYLIST 77", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, nil)
			d.bringUp()
			x := lan.TxContext{New: true, Base: memBase, Len: ringLen, ReadyList: d.handle}
			if err := d.Write(d.hmc+128, x.Encode()); err != nil {
				t.Fatal(err)
			}
			d.w("QTX_CTL", 2, 1)
			d.w("PFINT_ICR0_ENA", icr0HMC)
			c.spoil(d)
			d.qdis(1, qdisClear)
			d.w("QTX_ENA", 1, 1)
			d.clk.Advance(time.Second)
			if d.r("QTX_ENA", 1)&enaStatus != 0 {
				t.Error("the queue is enabled")
			}
			d.violation(c.words)
			info := d.r("PFHMC_ERRORINFO")
			if info>>8&0xF != c.hmc || (info>>31 == 1) != (c.hmc != 0) {
				t.Errorf("PFHMC_ERRORINFO is %#x, want error type %d", info, c.hmc)
			}
			if (d.r("PFINT_ICR0")&icr0HMC != 0) != (c.hmc != 0) {
				t.Error("cause HMC_ERR is wrong")
			}
		})
	}
}

// TestPageDescriptorsAreCached: a changed page descriptor counts when it has been invalidated.
func TestPageDescriptorsAreCached(t *testing.T) {
	d := newDriver(t, nil)
	d.paged = true
	d.bringUp()
	s := &d.dev.hmc.segments[0]
	if _, _, err := d.dev.readObject(true, 0); err != nil {
		t.Fatal(err)
	}
	old := d.hmc
	moved := d.alloc(4096)
	d.put64(s.address, moved|pdValid)
	if addr, _, err := d.dev.translate(0); err != nil || addr != old {
		t.Errorf("before the invalidation: %#x, %v, want %#x", addr, err, old)
	}
	d.w("PFHMC_PDINV", 0|0<<pdPageShift)
	if addr, _, err := d.dev.translate(0); err != nil || addr != moved {
		t.Errorf("after the invalidation: %#x, %v, want %#x", addr, err, moved)
	}
	d.put64(s.address, 0)
	d.w("PFHMC_PDINV", 0)
	if _, _, err := d.dev.translate(0); err == nil || err.kind != hmcPageInvalid {
		t.Errorf("an invalid page: %v", err)
	}
	d.w("PFHMC_SDCMD", 0)
	if got := d.r("PFHMC_SDDATALOW"); got != uint32(s.address)|512<<2|1 {
		t.Errorf("a segment descriptor reads back %#x", got)
	}
	d.w("PFHMC_SDDATALOW", 0x1000|1)
	d.w("PFHMC_SDCMD", sdWrite)
	if got := d.dev.ClearViolations(); len(got) != 2 {
		t.Errorf("a segment of no pages in the place of a valid one: %v", got)
	}
}

// TestQueuesAreNotUsedWithoutTheirSegment: a queue may be left behind when its contexts' segment goes, but not used.
func TestQueuesAreNotUsedWithoutTheirSegment(t *testing.T) {
	for words, use := range map[string]func(d *driver){
		"rx queue 0 receives":                (*driver).inject,
		"tx queue 0 is given descriptors":    func(d *driver) { d.w("QTX_TAIL", 0, 0) },
		"rx queue 0 is disabled after the s": func(d *driver) { d.w("QRX_ENA", 0, 0) },
	} {
		d := ready(t, 0)
		d.w("PFHMC_SDDATALOW", 0)
		d.w("PFHMC_SDCMD", sdWrite)
		d.noViolations()
		use(d)
		d.violation(words)
		d.reset()
		d.noViolations()
	}
}

// TestMaliciousDriver: a tail outside the ring stops the queue, and the registers say which.
func TestMaliciousDriver(t *testing.T) {
	d := ready(t, 0)
	d.w("PFINT_ICR0_ENA", icr0Malicious)
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	d.w("QTX_TAIL", ringLen, 0)
	d.violation("tail 64")
	if d.fired[0] != 1 || d.r("PFINT_ICR0")&icr0Malicious == 0 {
		t.Errorf("no cause MAL_DETECT: %d interrupts, PFINT_ICR0 %#x", d.fired[0], d.r("PFINT_ICR0"))
	}
	want := uint32(lan.EventTail)<<25 | 1<<31
	if got := d.r("GL_MDET_TX"); got != want {
		t.Errorf("GL_MDET_TX is %#x, want %#x", got, want)
	}
	if d.r("PF_MDET_TX") != 1 {
		t.Error("PF_MDET_TX is clear")
	}
	d.w("GL_MDET_TX", 0xFFFFFFFF)
	d.w("PF_MDET_TX", 0xFFFF)
	if d.r("GL_MDET_TX")|d.r("PF_MDET_TX") != 0 {
		t.Error("writing ones does not clear")
	}
	// The queue works again when it has been reset: disabled and enabled.
	d.stopQueue(0)
	d.startQueue(0, 0)
	d.transmit(0, testFrame(adminq.MAC{2}, 64), 2)
	if len(d.wire.frames) != 1 {
		t.Errorf("%d frames after the queue was set up again", len(d.wire.frames))
	}
	d.noViolations()
}

func TestDMAFaultsStopTheQueueAlone(t *testing.T) {
	d := ready(t, 0)
	d.dev.FailDMA(1, 1) // the descriptors are read, the packet is not
	d.transmit(0, testFrame(adminq.MAC{2}, 64), 2)
	d.violation("injected fault")
	if d.r("GL_MDET_TX")>>31 != 1 {
		t.Error("no event")
	}
	d.inject()
	if d.received() == nil {
		t.Error("the receive queue stopped, too")
	}
	d.config16(cfgCommand, commandMemory)
	d.rearm()
	d.inject()
	if got := d.dev.ClearViolations(); len(got) == 0 {
		t.Error("DMA without bus mastering is no violation")
	}
}
