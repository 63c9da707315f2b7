package adminq

// readRxControl is command 0206: receive control registers, which must not be read directly while frames arrive.
func readRxControl(f *Firmware, c *call) Code {
	v, code := f.readRegister(c.d.u32(4))
	if code == CodeOK {
		c.d.put32(12, v)
	}
	return code
}

// writeRxControl is command 0207.
func writeRxControl(f *Firmware, c *call) Code { return f.writeRegister(c.d.u32(4), c.d.u32(12)) }

// readRegister asks the device; a register that it does not have is its to report.
func (f *Firmware) readRegister(offset uint32) (uint32, Code) {
	if offset%4 != 0 {
		f.violation("register %#x: not aligned", offset)
		return 0, CodeInval
	}
	v, ok := f.regs.ReadRegister(offset)
	if !ok {
		return 0, CodeNXIO
	}
	return v, CodeOK
}

func (f *Firmware) writeRegister(offset, v uint32) Code {
	if offset%4 != 0 {
		f.violation("register %#x: not aligned", offset)
		return CodeInval
	}
	if !f.regs.WriteRegister(offset, v) {
		return CodeNXIO
	}
	return CodeOK
}

// readDebugRegister is command FF03. The value has 64 bits; every register that drivers ask for has 32.
func readDebugRegister(f *Firmware, c *call) Code {
	v, code := f.readRegister(c.d.u32(4))
	if code == CodeOK {
		c.d.put32(8, 0)
		c.d.put32(12, v)
	}
	return code
}

// writeDebugRegister is command FF04. A high half is the next register's.
func writeDebugRegister(f *Firmware, c *call) Code {
	offset, high, low := c.d.u32(4), c.d.u32(8), c.d.u32(12)
	if code := f.writeRegister(offset, low); code != CodeOK {
		return code
	}
	if high != 0 {
		return f.writeRegister(offset+4, high)
	}
	return CodeOK
}

// modifyDebugRegister is command FF07: clear, then set bits.
func modifyDebugRegister(f *Firmware, c *call) Code {
	offset, clearMask, set := c.d.u32(0), c.d.u32(8), c.d.u32(12)
	v, code := f.readRegister(offset)
	if code != CodeOK {
		return code
	}
	v = v&^clearMask | set
	c.d.put32(4, v)
	return f.writeRegister(offset, v)
}

// Clusters of internal tables.
const (
	lastCluster = 11
	lastTable   = 0xFF
)

// dumpInternals is command FF08. Model: the tables are empty.
func dumpInternals(f *Firmware, c *call) Code {
	if c.d.Params[0] > lastCluster {
		return CodeNoEnt
	}
	c.d.Params[1] = lastTable
	c.d.put16(2, 0)
	c.d.put32(4, 0)
	return c.reply(nil)
}

// writeAlternate is command 0900: one or two words of the alternate RAM.
func writeAlternate(f *Firmware, c *call) Code {
	first, second := c.d.u32(0), c.d.u32(8)
	if first >= alternateWords || second >= alternateWords {
		return CodeRange
	}
	f.own.alternate[first] = c.d.u32(4)
	if second != 0 {
		f.own.alternate[second] = c.d.u32(12)
	}
	return CodeOK
}

// readAlternate is command 0902.
func readAlternate(f *Firmware, c *call) Code {
	first, second := c.d.u32(0), c.d.u32(8)
	if first >= alternateWords || second >= alternateWords {
		return CodeRange
	}
	c.d.put32(4, f.own.alternate[first])
	c.d.put32(12, f.own.alternate[second])
	return CodeOK
}

func (f *Firmware) alternateWindow(c *call) ([]uint32, Code) {
	from, count := uint64(c.d.u32(0)), uint64(c.d.u32(4))
	if from+count > alternateWords {
		return nil, CodeRange
	}
	if 4*count > uint64(len(c.buf)) {
		return nil, f.badArgument(c, "%d words in a buffer of %d bytes", count, len(c.buf))
	}
	return f.own.alternate[from : from+count], CodeOK
}

// writeAlternateIndirect is command 0901.
func writeAlternateIndirect(f *Firmware, c *call) Code {
	words, code := f.alternateWindow(c)
	for i := range words {
		words[i] = le.Uint32(c.buf[4*i:])
	}
	return code
}

// readAlternateIndirect is command 0903.
func readAlternateIndirect(f *Firmware, c *call) Code {
	words, code := f.alternateWindow(c)
	if code != CodeOK {
		return code
	}
	out := make([]byte, 4*len(words))
	for i, w := range words {
		le.PutUint32(out[4*i:], w)
	}
	return c.reply(out)
}

// alternateWriteDone is command 0904: nothing of what was written needs a reset.
func alternateWriteDone(f *Firmware, c *call) Code {
	c.d.put16(0, c.d.u16(0)&1)
	return CodeOK
}

// setAlternateMode is command 0905.
func setAlternateMode(f *Firmware, c *call) Code {
	if mode := c.d.u32(0); mode > 1 {
		return f.badArgument(c, "mode %d", mode)
	}
	f.own.altMode = c.d.u32(0)
	return CodeOK
}

// clearAlternate is command 0906.
func clearAlternate(f *Firmware, c *call) Code {
	clear(f.own.alternate[:])
	return CodeOK
}
