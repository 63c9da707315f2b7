package i40esim

import (
	"math/bits"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/frame"
	"weft/pmd/i40e/i40esim/lan"
)

// ResetKind is a reset of the whole card.
type ResetKind uint8

// The resets as GLGEN_RSTAT.RESET_TYPE numbers them (datasheet, "Resets").
const (
	CORER ResetKind = 1 // everything but MAC and PHY
	GLOBR ResetKind = 2 // and those
	EMPR  ResetKind = 3 // and the firmware
)

func (k ResetKind) String() string { return [...]string{"POR", "CORER", "GLOBR", "EMPR"}[k] }

// Fields of GLGEN_RSTAT, and bits of other reset registers.
const (
	rstatRequested  = 1
	rstatActive     = 2
	rstatState      = 3
	rstatTypeShift  = 2
	rstatCountShift = 4 // CORERCNT, then GLOBRCNT, then EMPRCNT, 2 bits each
	pfSoftReset     = 1
	vfSoftReset     = 1
	vfResetDone     = 1
	uldDone         = 0x3F
)

// resetState is where the card is between resets.
type resetState struct {
	epoch  uint64 // timers of an earlier one are void
	serial uint64 // of the card reset under way
	active bool   // from the reset itself until it is over: accesses have no effect
	kind   ResetKind
}

// powerOn is the state after the slot got power. A VF that has a client of its own keeps its configuration space, which
// is that client's.
func (c *card) powerOn() {
	c.reset.serial++
	c.reset.active, c.reset.kind = false, 0
	for _, f := range append([]*function{c.pf}, c.vfs...) {
		if f.vf < 0 || f.host == nil {
			f.config.reset()
			clear(f.bar3)
		}
	}
	c.resetTo(LevelPOR, adminq.ResetEMP)
	c.linkChanged()
	c.set("PFINT_ICR0", 0)
}

// resetTo stops everything and gives registers up to a level their reset values.
func (c *card) resetTo(level ResetLevel, kind adminq.ResetKind) {
	c.reset.epoch++
	for i := range c.tx {
		c.tx[i].halt()
		c.rx[i].halt()
	}
	c.hmc.clear()
	for _, f := range append([]*function{c.pf}, c.vfs...) {
		for _, v := range f.vectors {
			v.quiet()
		}
		f.resetAdmin(level)
	}
	for n := range c.pfBAR.table.rows {
		if r := &c.pfBAR.table.rows[n]; r.Level <= level {
			c.resetRegister(r)
		}
	}
	if level >= LevelCORER {
		c.fdir.table = lan.NewFlowDirector(fdGuaranteed + fdBestEffort)
		for i := range c.tx {
			c.tx[i].qdis = false
		}
		c.steering = steering{tx: lan.DefaultTxSettings()}
		c.deriveCore()
	}
	c.set("PFINT_ICR0", 0)
	c.derive()
	c.fw.Reset(kind)
	c.restartStandIn()
}

func (c *card) resetRegister(r *Register) {
	for j := range r.Count[1] {
		for i := range r.Count[0] {
			if at := r.At(i, j); r.Reset != 0 || c.regs.load(at) != 0 {
				c.regs.store(at, r.Reset)
			}
		}
	}
}

// derive sets registers that say what the card is.
func (c *card) derive() {
	card := &c.cfg.Card
	u := func(n int) uint32 { return uint32(n) }
	c.set("GLPCI_CNF2", u(card.Vectors-1)<<2|u(card.VFVectors-1)<<13)
	c.set("PFLAN_QALLOC", u(card.FirstQueue)|u(card.FirstQueue+card.Queues-1)<<16|1<<31)
	if card.VFs > 0 {
		c.set("PF_VT_PFALLOC", u(card.FirstVF)|u(card.FirstVF+card.VFs-1)<<8|1<<31)
	}
	c.set("PF_FUNC_RID", uint32(card.PF))
	c.set("PFGEN_PORTNUM", uint32(card.Port))
	c.set("GLPCI_CAPSUP", 1|1<<3|1<<4|1<<5|1<<6|1<<7)
	const wordsPerKB = 512 // SR_SIZE is in KB, as a power of two
	c.set("GLNVM_GENS", 1|uint32(bits.Len(uint(len(c.nvm.words)/wordsPerKB))-1)<<5)
	c.set("GLGEN_PCIFCNCNT", u(card.PFs)|u(card.VFs)<<16)
	c.set("PFPCI_SUBSYSID", uint32(c.cfg.SubDevice)|uint32(c.cfg.SubDevice)<<16)
	c.set("PFQF_FDALLOC", fdGuaranteed/fdUnit|fdBestEffort/fdUnit<<8)
	for port := range u(4) {
		c.set("PRTGEN_CNF", c.get("PRTGEN_CNF", port)&^1, port)
		if port >= u(card.Ports) {
			c.set("PRTGEN_CNF", 1, port)
		}
	}
	c.showFilters()
}

// Space of the flow director, in filters. Model: one PF's share, as capability 0045 tells its driver.
const (
	fdGuaranteed = 512
	fdBestEffort = 7168
	fdUnit       = 32
)

// deriveCore sets filter registers to what the firmware loads from the NVM: input sets and symmetric pairs.
func (c *card) deriveCore() {
	for t := range uint32(64) {
		set := uint64(frame.DefaultInputSet(frame.PCType(t)))
		for half := range uint32(2) {
			word := uint32(set >> (32 * half))
			c.set("GLQF_HASH_INSET", word, half, t)
			c.set("PRTQF_FD_INSET", word, t, half)
		}
		c.set("GLQF_FD_PCTYPES", t, t)
		switch pc := frame.PCType(t); {
		case pc >= frame.PCTypeIPv4UDP && pc <= frame.PCTypeIPv4Frag:
			c.set("GLQF_SWAP", 15|27<<6|2<<12|(29|30<<6|1<<12)<<16, 0, t)
		case pc >= frame.PCTypeIPv6UDP && pc <= frame.PCTypeIPv6Frag:
			c.set("GLQF_SWAP", 13|21<<6|8<<12|(29|30<<6|1<<12)<<16, 0, t)
		}
	}
}

// functionReset is what ends a function's use without its driver's help.
func (f *function) functionReset() {
	if f.vf >= 0 {
		f.vfReset()
		f.c.vfGone(f.vf)
		return
	}
	f.c.resetTo(LevelPFR, adminq.ResetPF)
}

// flr is a function level reset by the PCIe device control register.
func (f *function) flr() {
	f.c.traceText(f.name + " function level reset")
	f.config.reset()
	clear(f.bar3)
	if f.vf < 0 {
		f.c.resetTo(LevelFLR, adminq.ResetPF)
		return
	}
	f.vfReset()
	absolute := uint32(f.c.cfg.Card.FirstVF + f.vf)
	f.c.set("GLGEN_VFLRSTAT", f.c.get("GLGEN_VFLRSTAT", absolute/32)|1<<(absolute%32), absolute/32)
	f.c.pf.raiseOther(icr0VFLR)
	f.c.vfGone(f.vf)
}

// writePFControl is a write of PFGEN_CTRL: PFSWR resets the function and reads one until that is over.
func (c *card) writePFControl(v uint32) {
	if v&pfSoftReset == 0 {
		return
	}
	c.resetTo(LevelPFR, adminq.ResetPF)
	c.set("PFGEN_CTRL", pfSoftReset)
	c.after(c.cfg.Timing.PFReset, func() { c.set("PFGEN_CTRL", 0) })
}

// vfReset stops a VF: its queues, mailbox, interrupts, and its mapping.
func (f *function) vfReset() {
	c, vf := f.c, uint32(f.vf)
	for i := range c.tx {
		for _, q := range []*queue{c.tx[i], c.rx[i]} {
			if q.f == f {
				q.halt()
			}
		}
	}
	for _, v := range f.vectors {
		v.quiet()
	}
	f.resetAdmin(LevelVFR)
	for _, name := range []string{
		"VFINT_DYN_CTL0", "VPINT_LNKLST0", "VFGEN_RSTAT1", "VPLAN_MAPENA", "VFINT_ICR0",
		"VFINT_ICR0_ENA",
	} {
		c.set(name, c.row(name).Reset, vf)
	}
	for i := range uint32(16) {
		c.set("VPLAN_QTABLE", 0, i, vf)
	}
	for n := 1; n < len(f.vectors); n++ {
		at := c.vfVector(f.vf, n)
		c.set("VFINT_DYN_CTLN", 0, at)
		c.set("VPINT_LNKLSTN", c.row("VPINT_LNKLSTN").Reset, at)
		for itr := range uint32(3) {
			c.set("VFINT_ITRN", 0, itr, at)
			c.set("VFINT_ITR0", 0, itr, vf)
		}
	}
}

// writeVFTrigger is a write of VPGEN_VFRTRIG by the PF's driver.
func (c *card) writeVFTrigger(vf, v uint32) {
	old := c.get("VPGEN_VFRTRIG", vf)
	c.set("VPGEN_VFRTRIG", v&vfSoftReset, vf)
	if v&vfSoftReset == 0 || old&vfSoftReset != 0 {
		return
	}
	if int(vf) >= len(c.vfs) {
		c.violation("VPGEN_VFRTRIG[%d]: the PF has %d VFs", vf, len(c.vfs))
		return
	}
	c.vfs[vf].vfReset()
	c.set("VPGEN_VFRSTAT", 0, vf)
	c.after(c.cfg.Timing.VFReset, func() { c.set("VPGEN_VFRSTAT", vfResetDone, vf) })
}

// writeTrigger is a write of GLGEN_RTRIG.
func (c *card) writeTrigger(v uint32) {
	for bit, kind := range []ResetKind{CORER, GLOBR, EMPR} {
		if v>>bit&1 != 0 {
			c.requestReset(kind)
			return
		}
	}
}

// ResetCard makes the card reset itself, in the middle of whatever it does.
func (d *Device) ResetCard(kind ResetKind) {
	d.lock()
	defer d.unlock()
	d.requestReset(kind)
}

// requestReset warns the functions (cause GRST), and resets later. A reset that is under way goes on, as the larger of
// the two.
func (c *card) requestReset(kind ResetKind) {
	c.traceText("card reset " + kind.String())
	if c.get("GLGEN_RSTAT")&rstatState != 0 {
		c.reset.kind = max(c.reset.kind, kind)
		return
	}
	c.reset.kind = kind
	c.setResetStatus(rstatRequested)
	c.pf.raiseOther(icr0Reset)
	c.afterReset(c.cfg.Timing.ResetWarning, c.beginReset)
}

// afterReset is like after, for the steps of a card reset, which function resets do not stop.
func (c *card) afterReset(d time.Duration, f func()) {
	c.reset.serial++
	serial := c.reset.serial
	c.clk.AfterFunc(d, func() {
		c.lock()
		defer c.unlock()
		if c.reset.serial == serial {
			f()
		}
	})
}

func (c *card) setResetStatus(state uint32) {
	v := c.get("GLGEN_RSTAT") &^ (rstatState | 3<<rstatTypeShift)
	c.set("GLGEN_RSTAT", v|state|uint32(c.reset.kind)<<rstatTypeShift)
}

func (c *card) beginReset() {
	kind := c.reset.kind
	level, fw := LevelCORER, adminq.ResetCore
	switch kind {
	case GLOBR:
		level, fw = LevelGLOBR, adminq.ResetGlobal
	case EMPR:
		level, fw = LevelEMPR, adminq.ResetEMP
	case CORER:
	}
	c.reset.active = true
	c.resetTo(level, fw)
	c.setResetStatus(rstatActive)
	c.set("GLNVM_ULD", 0)
	d := c.cfg.Timing.GlobalReset
	if kind == EMPR {
		d = c.cfg.Timing.EMPReset
	}
	c.afterReset(d, c.endReset)
}

func (c *card) endReset() {
	shift := rstatCountShift + 2*(uint32(c.reset.kind)-1)
	v := c.get("GLGEN_RSTAT")
	c.set("GLGEN_RSTAT", v&^(3<<shift)|(v>>shift+1)&3<<shift)
	c.setResetStatus(0)
	c.set("GLNVM_ULD", uldDone)
	c.reset.active, c.reset.kind = false, 0
	c.linkChanged()
}
