package i40esim

import "weft/pmd/i40e/i40esim/adminq"

// pfBehaviours says what registers of the PF's table do besides keeping their value.
func pfBehaviours() map[string]behaviour {
	all := map[string]behaviour{
		"PFGEN_CTRL":       {write: func(c *card, _ *function, _, v uint32) { c.writePFControl(v) }},
		"GLGEN_RTRIG":      {write: func(c *card, _ *function, _, v uint32) { c.writeTrigger(v) }},
		"VPGEN_VFRTRIG":    {write: func(c *card, _ *function, vf, v uint32) { c.writeVFTrigger(vf, v) }},
		"GLNVM_SRCTL":      {write: func(c *card, _ *function, _, v uint32) { c.writeSRCTL(v) }},
		"PFHMC_SDCMD":      {write: func(c *card, _ *function, _, v uint32) { c.writeSegment(v) }},
		"PFHMC_PDINV":      {write: func(c *card, _ *function, _, v uint32) { c.invalidatePage(v) }},
		"GLLAN_TXPRE_QDIS": {read: func(c *card, _ *function, i uint32) uint32 { return c.readQDIS(i) }, write: writeQDIS},
		"QTX_ENA":          enable(func(c *card) []*queue { return c.tx }),
		"QRX_ENA":          enable(func(c *card) []*queue { return c.rx }),
		"QTX_TAIL":         {write: func(c *card, _ *function, q, v uint32) { c.withQueue(c.tx, q, v, (*queue).writeTail) }},
		"QRX_TAIL":         {write: func(c *card, _ *function, q, v uint32) { c.withQueue(c.rx, q, v, (*queue).writeTail) }},
		"QTX_HEAD":         {read: readHead, write: writeHead},
		"PF_PCI_CIAD":      {read: readVFConfig},
		"GLGEN_MSCA":       {write: writeMDIO},
		"GLVFGEN_TIMER":    {read: func(c *card, _ *function, _ uint32) uint32 { return uint32(c.clk.Now().UnixMicro()) }},
		"PFQF_CTL_1":       {write: clearFilters},
		"PRTGL_SAH":        {read: readMaxFrame},
	}
	for _, more := range []map[string]behaviour{pfInterrupts(), adminQueues(), clockRegisters()} {
		for name, b := range more {
			all[name] = b
		}
	}
	return all
}

func writeQDIS(c *card, _ *function, block, v uint32) { c.writeQDIS(block, v) }

// withQueue does a write for a queue that the PF has. Drivers may clear the registers of queues that they do not have.
func (c *card) withQueue(queues []*queue, q, v uint32, f func(*queue, uint32)) {
	if int(q) < len(queues) {
		f(queues[q], v)
		return
	}
	if v != 0 {
		c.violation("a register of queue %d is written %#x: the PF has %d queues", q, v, len(queues))
	}
}

// enable is QTX_ENA or QRX_ENA, of the queues that it returns.
func enable(queues func(c *card) []*queue) behaviour {
	return behaviour{
		read: func(c *card, _ *function, q uint32) uint32 {
			if all := queues(c); int(q) < len(all) {
				return all[q].readEnable()
			}
			return 0
		},
		write: func(c *card, _ *function, q, v uint32) { c.withQueue(queues(c), q, v, (*queue).writeEnable) },
	}
}

func writeHead(c *card, _ *function, q, v uint32) { c.withQueue(c.tx, q, v, (*queue).writeHead) }

func readHead(c *card, _ *function, q uint32) uint32 {
	if int(q) >= len(c.tx) {
		return 0
	}
	return c.tx[q].readHead()
}

// readVFConfig is the window into a VF's configuration space that PF_PCI_CIAA chooses.
func readVFConfig(c *card, _ *function, _ uint32) uint32 {
	const addressMask, vfShift, vfMask = 0xFFC, 12, 0x7F
	ciaa := c.get("PF_PCI_CIAA")
	vf := int(ciaa >> vfShift & vfMask)
	if vf >= len(c.vfs) {
		c.violation("PF_PCI_CIAD is read for VF %d of %d", vf, len(c.vfs))
		return 0xFFFFFFFF
	}
	var raw [4]byte
	c.vfs[vf].config.read(int(ciaa&addressMask), raw[:])
	return uint32(raw[0]) | uint32(raw[1])<<8 | uint32(raw[2])<<16 | uint32(raw[3])<<24
}

// writeMDIO is a command on the MDIO bus, which has nothing on it: reads answer ones.
func writeMDIO(c *card, _ *function, i, v uint32) {
	const command = 1 << 30
	c.set("GLGEN_MSCA", v&^uint32(command), i)
	c.set("GLGEN_MSRWD", c.get("GLGEN_MSRWD", i)|0xFFFF0000, i)
}

func clearFilters(c *card, _ *function, _, v uint32) {
	const clearTable = 1
	if v&clearTable != 0 {
		c.fdir.table.Clear()
		c.showFilters()
	}
	c.set("PFQF_CTL_1", v&^clearTable)
}

func readMaxFrame(c *card, _ *function, _ uint32) uint32 {
	mac := c.cfg.Card.MAC
	return uint32(mac[5]) | uint32(mac[4])<<8 | uint32(c.fw.FrameLimit())<<16
}

// pfInterrupts are the registers of interrupts, of the PF and of VFs as the PF sees them.
func pfInterrupts() map[string]behaviour {
	return map[string]behaviour{
		"PFINT_DYN_CTL0": {write: func(c *card, _ *function, _, v uint32) { c.pf.vectors[0].writeDynamic(v) }},
		"PFINT_DYN_CTLN": {write: func(c *card, _ *function, i, v uint32) {
			if int(i)+1 < len(c.pf.vectors) {
				c.pf.vectors[i+1].writeDynamic(v)
			} else if v&(dynEnable|dynSWTrigger) != 0 {
				c.violation("PFINT_DYN_CTLN[%d] is enabled: the PF has %d vectors", i, len(c.pf.vectors))
			}
		}},
		"PFINT_ICR0_ENA": {write: func(c *card, _ *function, _, v uint32) { c.pf.writeCauseEnable(v) }},
		"VFINT_DYN_CTL0": {write: func(c *card, _ *function, vf, v uint32) {
			if int(vf) < len(c.vfs) {
				c.vfs[vf].vectors[0].writeDynamic(v)
			}
		}},
		"VFINT_DYN_CTLN": {write: func(c *card, _ *function, i, v uint32) {
			if per := c.cfg.Card.VFVectors - 1; per > 0 && int(i) < per*len(c.vfs) {
				c.vfs[int(i)/per].vectors[1+int(i)%per].writeDynamic(v)
			}
		}},
		"VFINT_ICR0_ENA": {write: func(c *card, _ *function, vf, v uint32) {
			if int(vf) < len(c.vfs) {
				c.vfs[vf].writeCauseEnable(v)
			}
		}},
	}
}

// adminQueues are the registers of the admin queues and of the VFs' mailboxes.
func adminQueues() map[string]behaviour {
	out := make(map[string]behaviour)
	for _, q := range []struct {
		name string
		side adminq.Side
	}{{"ATQ", adminq.Send}, {"ARQ", adminq.Receive}} {
		for suffix, reg := range queueRegisters {
			out["PF_"+q.name+suffix] = behaviour{
				read:  func(c *card, _ *function, _ uint32) uint32 { return c.pf.readAdmin(q.side, reg) },
				write: func(c *card, _ *function, _, v uint32) { c.pf.writeAdmin(q.side, reg, v) },
			}
			out["VF_"+q.name+suffix] = behaviour{
				read: func(c *card, _ *function, vf uint32) uint32 {
					if int(vf) >= len(c.vfs) {
						return 0
					}
					return c.vfs[vf].readAdmin(q.side, reg)
				},
				write: func(c *card, _ *function, vf, v uint32) {
					if int(vf) < len(c.vfs) {
						c.vfs[vf].writeAdmin(q.side, reg, v)
					}
				},
			}
		}
	}
	return out
}

// queueRegisters are an admin queue's registers by the ends of their names.
var queueRegisters = map[string]adminq.Register{
	"BAL": adminq.BAL, "BAH": adminq.BAH, "LEN": adminq.LEN, "H": adminq.HEAD, "T": adminq.TAIL,
}

// heldQueue is what a queue's registers show after a reset that only took its enable bit, until they are written.
type heldQueue struct {
	valid  bool
	values [5]uint32 // by adminq.Register
}

func (f *function) readAdmin(side adminq.Side, reg adminq.Register) uint32 {
	switch {
	case f.pair == nil:
		return 0
	case f.held[side].valid:
		return f.held[side].values[reg]
	}
	return f.pair.Read(side, reg)
}

func (f *function) writeAdmin(side adminq.Side, reg adminq.Register, v uint32) {
	if f.pair != nil {
		f.held[side].valid = false
		f.pair.Write(side, reg, v)
	}
}

// resetAdmin stops a function's admin queues. Their registers keep what they have, but for ENABLE and the errors, in
// all resets below EMPR (the tables of registers): a driver that asked for a reset looks at the head afterwards.
func (f *function) resetAdmin(level ResetLevel) {
	if f.pair == nil {
		return
	}
	for _, side := range []adminq.Side{adminq.Send, adminq.Receive} {
		var held heldQueue
		for _, reg := range queueRegisters {
			held.values[reg] = f.readAdmin(side, reg)
		}
		const length = 0x3FF
		held.values[adminq.LEN] &= length
		held.valid = level < LevelEMPR
		f.held[side] = held
	}
	f.pair.Reset()
}

// clockRegisters are those of the port's clock.
func clockRegisters() map[string]behaviour {
	inc := func(c *card, _ *function, _, _ uint32) {
		c.ptp.setIncrement(c, uint64(c.get("PRTTSYN_INC_H"))<<32|uint64(c.get("PRTTSYN_INC_L")))
	}
	keep := func(name string, then writeFunc) writeFunc {
		return func(c *card, f *function, i, v uint32) {
			c.keep(c.row(name), i, v)
			then(c, f, i, v)
		}
	}
	return map[string]behaviour{
		"PRTTSYN_INC_L": {write: keep("PRTTSYN_INC_L", inc)},
		"PRTTSYN_INC_H": {write: keep("PRTTSYN_INC_H", inc)},
		"PRTTSYN_ADJ":   {write: func(c *card, _ *function, _, v uint32) { c.ptp.adjust(c, v) }},
		"PRTTSYN_TIME_L": {
			read:  func(c *card, _ *function, _ uint32) uint32 { return c.ptp.readLow(c) },
			write: func(c *card, _ *function, _, v uint32) { c.ptp.low = v },
		},
		"PRTTSYN_TIME_H": {
			read:  func(c *card, _ *function, _ uint32) uint32 { return c.ptp.latch },
			write: func(c *card, _ *function, _, v uint32) { c.ptp.set(c, uint64(v)<<32|uint64(c.ptp.low)) },
		},
		"PRTTSYN_RXTIME_H": {read: func(c *card, _ *function, i uint32) uint32 {
			c.set("PRTTSYN_STAT_1", c.get("PRTTSYN_STAT_1")&^(1<<i))
			return c.get("PRTTSYN_RXTIME_H", i)
		}},
	}
}

// vfBehaviours makes the VF's registers windows on the PF's: an access to one is an access to the register behind it,
// with that one's effects.
func vfBehaviours() map[string]behaviour {
	rows, err := VFRegisters()
	if err != nil {
		return nil // New reports it
	}
	out := make(map[string]behaviour)
	for _, r := range rows {
		if r.Alias == "" {
			out[r.Name] = ownOfVF(r.At(0, 0))
			continue
		}
		out[r.Name] = behaviour{
			read: func(c *card, f *function, index uint32) uint32 {
				row, at, ok := f.behind(&r, index)
				if !ok {
					return 0
				}
				return c.pf.load(&c.pfBAR, row, at)
			},
			write: func(c *card, f *function, index, v uint32) {
				if row, at, ok := f.behind(&r, index); ok {
					c.pf.put(&c.pfBAR, row, at, v)
				}
			},
		}
	}
	return out
}

// ownOfVF is a register of the VF that the PF has no view of: it reads as zero.
func ownOfVF(uint32) behaviour {
	return behaviour{
		read:  func(*card, *function, uint32) uint32 { return 0 },
		write: func(*card, *function, uint32, uint32) {},
	}
}

// behind finds the PF's register behind one of a VF: its row, and its index in that.
func (f *function) behind(r *Register, index uint32) (row int, at uint32, ok bool) {
	c, vf := f.c, uint32(f.vf)
	row = c.pfBAR.table.byName[r.Alias]
	target := &c.pfBAR.table.rows[row]
	i, j := index%r.Count[0], index/r.Count[0]
	switch r.Alias {
	case "QTX_TAIL", "QRX_TAIL":
		c.mapVFQueues(f.vf)
		if c.get("VPLAN_MAPENA", vf)&1 == 0 {
			c.violation("%s: %s is written while the PF has not mapped the VF's queues", f.name, r.Label(index))
			return 0, 0, false
		}
		return row, c.get("VPLAN_QTABLE", i, vf) & queueNone, true
	case "VFINT_DYN_CTLN":
		n := int(i) + 1
		return row, c.vfVector(f.vf, n), n < len(f.vectors)
	case "VFINT_ITRN":
		n := int(j) + 1
		return row, i + target.Count[0]*c.vfVector(f.vf, n), n < len(f.vectors)
	}
	if target.Count[1] > 1 {
		return row, i + target.Count[0]*vf, true
	}
	return row, vf, true
}
