package adminq

// Interfaces of PHY registers (0628, 0629).
const (
	phyInternal = 0
	phyExternal = 1
	phyModule   = 2

	phyFlagKeepPage = 0x01
	phyFlagSetMDIO  = 0x02
	phyFlagsKnown   = 0x0F

	// eepromAddress is the module's address on its bus, in the eight-bit form that both drivers use. At A2h, where
	// others have their diagnostics, this module does not answer: its byte 92 says that it has none (SFF-8472).
	eepromAddress = 0xA0
	eepromSize    = 256

	maxPHYRegisters = 4096 // kept, of the 2^26 that can be named. Model: what is more is refused
)

// moduleEEPROM is what SFF-8472 says of the module: an SFP+ of no particular maker.
func (f *Firmware) moduleEEPROM() (e [eepromSize]byte) {
	kind := moduleType(f.cfg.PHYType)
	e[0], e[1], e[2] = kind[0], 4, 0x21 // identifier, extended identifier, copper pigtail
	if kind[1] != 0 {
		e[2] = 7 // LC
	}
	e[3], e[6] = kind[1], kind[2]
	e[12] = 103 // nominal rate, 100 Mbit/s
	copy(e[20:36], "WEFT MODEL      ")
	copy(e[40:56], "SFP+            ")
	copy(e[56:60], "1.0 ")
	copy(e[68:84], "0001            ")
	for i := range 63 {
		e[63] += e[i]
	}
	for i := 64; i < 95; i++ {
		e[95] += e[i]
	}
	return e
}

func phyKey(c *call) uint32 {
	return uint32(c.d.Params[0])<<30 | uint32(c.d.Params[1])<<16 | c.d.u32(4)&0xFFFF
}

func (f *Firmware) checkPHY(c *call) Code {
	if c.d.Params[0] > phyModule || c.d.Params[2]&^phyFlagsKnown != 0 {
		return f.badArgument(c, "interface %d, flags %#02x", c.d.Params[0], c.d.Params[2])
	}
	return CodeOK
}

// getPHYRegister is command 0629. Of a module that is its EEPROM; other PHY registers hold what was written.
func getPHYRegister(f *Firmware, c *call) Code {
	if code := f.checkPHY(c); code != CodeOK {
		return code
	}
	v := uint32(f.link.registers[phyKey(c)])
	if c.d.Params[0] == phyModule {
		offset := c.d.u32(4)
		if c.d.Params[1] != eepromAddress || offset >= eepromSize {
			return CodeIO
		}
		eeprom := f.moduleEEPROM()
		v = uint32(eeprom[offset])
	}
	c.d.put32(8, v)
	return CodeOK
}

// setPHYRegister is command 0628.
func setPHYRegister(f *Firmware, c *call) Code {
	if code := f.checkPHY(c); code != CodeOK {
		return code
	}
	if c.d.Params[0] == phyModule {
		return CodePerm
	}
	key := phyKey(c)
	if _, has := f.link.registers[key]; !has && len(f.link.registers) >= maxPHYRegisters {
		return CodeNoSpc
	}
	f.link.registers[key] = uint16(c.d.u32(8))
	return CodeOK
}

// setPHYDebug is command 0622; resetting the PHY restarts the link.
func setPHYDebug(f *Firmware, c *call) Code {
	const resetInternal, resetExternal = 0x02, 0x0C
	if c.d.Params[0]&(resetInternal|resetExternal) != 0 && f.link.up {
		f.restart()
	}
	return CodeOK
}

// runPHYActivity is command 0626: energy efficient Ethernet statistics of 10GBASE-T PHYs, which are zero.
func runPHYActivity(f *Firmware, c *call) Code {
	const userDefined, succeeded = 0x10, 0x4
	if c.d.u16(1) != userDefined {
		return f.badArgument(c, "activity %#04x", c.d.u16(1))
	}
	switch c.d.u32(4) {
	case 0x801A, 0x801B, 0x1801B:
	default:
		return CodeInval
	}
	c.d.zeroFrom(4, 16)
	c.d.put32(4, succeeded)
	return CodeOK
}
