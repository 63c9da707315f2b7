package i40esim

import (
	"strings"
	"testing"

	"weft/pmd/i40e/i40esim/adminq"
)

func TestRegisterTablesAreConsistent(t *testing.T) {
	pf, err := PFRegisters()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newTable(pf, pfBAR0Size); err != nil {
		t.Error(err)
	}
	vf, err := VFRegisters()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newTable(vf, vfBAR0Size); err != nil {
		t.Error(err)
	}
	for _, r := range append(pf, vf...) {
		if r.Description == "" || r.Description == "?" {
			t.Errorf("%s has no description", r.Name)
		}
		if r.Mask != 0 && r.Reset&^r.Mask != 0 && r.Access == ReadWrite {
			t.Errorf("%s: reset value %#x has bits outside the mask %#x", r.Name, r.Reset, r.Mask)
		}
		for i := range r.Count {
			if r.Count[i] == 0 || r.Count[i] > 1 && r.Stride[i] == 0 {
				t.Errorf("%s: dimension %d has count %d and stride %d", r.Name, i, r.Count[i], r.Stride[i])
			}
		}
	}
}

// TestRegistersAreWhereTheFactsHaveThem holds some rows against offsets of the facts, one of each kind of array.
func TestRegistersAreWhereTheFactsHaveThem(t *testing.T) {
	dev, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		index  []uint32
		offset uint32
	}{
		{"PFGEN_CTRL", nil, 0x92400},
		{"QTX_ENA", []uint32{1535}, 0x100000 + 4*1535},
		{"PFINT_ITRN", []uint32{2, 5}, 0x30000 + 2048*2 + 4*5},
		{"PFQF_HLUT", []uint32{127}, 0x240000 + 128*127},
		{"VPLAN_QTABLE", []uint32{15, 127}, 0x70000 + 1024*15 + 4*127},
		{"VSILAN_QTABLE", []uint32{7, 383}, 0x200000 + 2048*7 + 4*383},
		{"GLPRT_PXONRXC", []uint32{3, 7}, 0x300180 + 8*3 + 32*7},
		{"GLV_GORCH", []uint32{383}, 0x358004 + 8*383},
		{"GLHMC_FCOEFCNT", []uint32{15}, 0xC6900 + 4*15},
		{"GLVEBTC_RPCH", []uint32{7, 15}, 0x368004 + 8*7 + 64*15},
	} {
		if got := dev.at(c.name, c.index); got != c.offset {
			t.Errorf("%s%v is at %#x, want %#x", c.name, c.index, got, c.offset)
		}
		row, _, found := dev.pfBAR.table.find(c.offset)
		if !found || dev.pfBAR.table.rows[row].Name != c.name {
			t.Errorf("%#x is not %s", c.offset, c.name)
		}
	}
}

func TestABadRowIsRefused(t *testing.T) {
	const good = "PFGEN_CTRL 0x092400 1 0 1 0 rw pfr 0x0 0x1 PF control\n"
	for name, c := range map[string]struct{ row, words string }{
		"short":    {"PFGEN_CTRL 0x1", "columns"},
		"number":   {strings.Replace(good, "0x092400", "92400h", 1), "column 2"},
		"reset":    {strings.Replace(good, "pfr", "xyz", 1), "reset"},
		"access":   {strings.Replace(good, "rw", "wr", 1), "access"},
		"good row": {good, ""},
	} {
		_, err := parseTable(c.row)
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
	rows, err := parseTable(good + strings.Replace(good, "PFGEN_CTRL", "OTHER", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newTable(rows, pfBAR0Size); err == nil || !strings.Contains(err.Error(), "share") {
		t.Errorf("two registers at one place: %v", err)
	}
}

func TestAccess(t *testing.T) {
	d := newDriver(t, nil)
	for name, c := range map[string]struct {
		do    func()
		words string
	}{
		"unknown read": {func() {
			if v := d.dev.pf.readRegister(0x12344); v != invalidRead {
				t.Errorf("an unknown register reads %#x", v)
			}
		}, "read of 0x12344, where the register table has nothing"},
		"unknown write":   {func() { d.dev.pf.writeRegister(0x12344, 7) }, "write of 0x00000007 to 0x12344"},
		"read-only write": {func() { d.w("GLPRT_GORCL", 1, 0) }, "GLPRT_GORCL[0], which is read-only"},
		"half a register": {func() { d.dev.pf.readBAR0(0x92400, make([]byte, 2)) }, "read of 2 bytes"},
		"across two":      {func() { d.dev.pf.writeBAR0(0x92404, make([]byte, 8)) }, "write of 8 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c.do()
			d.violation(c.words)
		})
	}
	d.config16(cfgCommand, commandMaster)
	if v := d.r("GLGEN_RSTAT"); v != 0xFFFFFFFF {
		t.Errorf("a read with memory space off is %#x", v)
	}
	d.violation("memory space is off")
}

func TestAWideReadIsBothHalves(t *testing.T) {
	d := newDriver(t, nil)
	d.dev.count48("GLV_GORC", 1<<40+5, 3)
	var b [8]byte
	d.dev.pf.readBAR0(d.dev.at("GLV_GORCL", []uint32{3}), b[:])
	if b != [8]byte{5, 0, 0, 0, 0, 1} {
		t.Errorf("reads %x", b)
	}
	d.dev.count48("GLV_GORC", 1<<48-1, 3)
	if lo, hi := d.r("GLV_GORCL", 3), d.r("GLV_GORCH", 3); lo != 4 || hi != 1<<8 {
		t.Errorf("a counter of 48 bits rolls over to %#x:%#x", hi, lo)
	}
	d.noViolations()
}

// TestRegisterSelfTest writes the patterns of the drivers' offline self-test to the registers of its list.
func TestRegisterSelfTest(t *testing.T) {
	list := []struct {
		name  string
		mask  uint32
		index [][]uint32
	}{
		{"QTX_CTL", 0xFFBF, [][]uint32{{0}, {127}}},
		{"PFINT_ITR0", 0xFFF, [][]uint32{{0}, {1}, {2}}},
		{"PFINT_ITRN", 0xFFF, [][]uint32{{0, 0}, {0, 127}, {1, 64}, {2, 127}}},
		{"PFINT_STAT_CTL0", 0xC, [][]uint32{nil}},
		{"PFINT_LNKLST0", 0x1FFF, [][]uint32{nil}},
		{"PFINT_LNKLSTN", 0x7FF, [][]uint32{{0}, {63}}},
		{"QINT_TQCTL", 0xFF, [][]uint32{{0}, {127}}},
		{"QINT_RQCTL", 0xFF, [][]uint32{{0}, {127}}},
		{"PFINT_ICR0_ENA", 0xF7F20000, [][]uint32{nil}},
	}
	run := func(d *driver) (failed []string) {
		for _, r := range list {
			for _, index := range r.index {
				before := d.r(r.name, index...)
				ok := true
				for _, pattern := range []uint32{0x5A5A5A5A, 0xA5A5A5A5, 0, 0xFFFFFFFF} {
					d.w(r.name, pattern&r.mask, index...)
					ok = ok && d.r(r.name, index...)&r.mask == pattern&r.mask
				}
				d.w(r.name, before, index...)
				if !ok || d.r(r.name, index...) != before {
					failed = append(failed, r.name)
				}
			}
		}
		return failed
	}
	d := newDriver(t, nil)
	if failed := run(d); failed != nil {
		t.Errorf("failed: %v", failed)
	}
	d.dev.StickRegister("PFINT_ITRN[1,64]")
	if failed := run(d); len(failed) != 1 || failed[0] != "PFINT_ITRN" {
		t.Errorf("with a stuck register: %v", failed)
	}
	d.dev.ClearFaults()
	if failed := run(d); failed != nil {
		t.Errorf("after the fault: %v", failed)
	}
	d.noViolations()
}

func TestNVMChecksumByRegisters(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Card.NVM = NewSmallNVM(adminq.MAC{2, 0, 0, 0, 0, 1}, 0x1572) })
	if gens := d.r("GLNVM_GENS"); gens&1 == 0 || gens>>5&7 != 2 {
		t.Fatalf("GLNVM_GENS is %#x", gens)
	}
	word := func(at int) uint16 {
		d.w("GLNVM_SRCTL", uint32(at)<<srAddressShift|srStart)
		if d.r("GLNVM_SRCTL")&srDone == 0 {
			t.Fatal("GLNVM_SRCTL.DONE is clear")
		}
		return uint16(d.r("GLNVM_SRDATA") >> srDataShift)
	}
	valid := func() bool {
		vpd, alt := int(word(nvmVPD)), int(word(nvmPCIeAlternate))
		var sum uint16
		for at := range SmallNVMWords {
			if at == nvmChecksum || at >= vpd && at < vpd+nvmVPDWords || at >= alt && at < alt+nvmAltWords {
				continue
			}
			sum += word(at)
		}
		return nvmChecksumBase-sum == word(nvmChecksum)
	}
	if word(nvmControl)&0xC0 != nvmValid || !valid() {
		t.Error("the shadow RAM is not valid")
	}
	d.dev.CorruptNVM(true)
	if valid() {
		t.Error("the corrupted shadow RAM is valid")
	}
	d.noViolations()
	d.w("GLNVM_SRCTL", srStart|srWrite)
	d.violation("written by commands")
}
