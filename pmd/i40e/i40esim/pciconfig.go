package i40esim

import "encoding/binary"

// Configuration space (PCI Express base specification 3.1, chapter 7; places and values as lspci shows them on real
// X710 and XL710 cards).
const (
	configSize  = 4096
	vendorIntel = 0x8086
	deviceVF    = 0x154C

	pfPBA = 0x1000 // of the MSI-X pending bits in BAR 3
	vfPBA = 0x2000

	cfgCommand = 0x04
	cfgPM      = 0x40
	cfgMSI     = 0x50
	cfgMSIX    = 0x70
	cfgPCIe    = 0xA0
	cfgVPD     = 0xE0
	cfgAER     = 0x100
	cfgDSN     = 0x140
	cfgARI     = 0x150
	cfgSRIOV   = 0x160
	cfgTPH     = 0x1A0
	cfgACS     = 0x1B0
	cfgSecPCIe = 0x1D0

	commandMemory    = 1 << 1
	commandMaster    = 1 << 2
	commandINTxOff   = 1 << 10
	devCtl           = cfgPCIe + 0x08
	devCtlFLR        = 1 << 15
	vpdFlag          = 1 << 15
	msiEnable        = 1
	barPrefetch64    = 0xC // 64-bit, prefetchable, memory
	srIOVVFs         = 0x553
	extendedCapShift = 20
)

// configSpace is the configuration space of a function: its bytes, which of their bits a write changes, and which of
// them a one clears.
type configSpace struct {
	initial, bytes, writable, onesClear [configSize]byte

	vpd []byte
}

func (s *configSpace) reset() { s.bytes = s.initial }

func (s *configSpace) read(at int, p []byte) { copy(p, s.bytes[at:]) }

// write changes what may be changed, byte by byte.
func (s *configSpace) write(at int, p []byte) {
	for i, v := range p {
		n := at + i
		b := s.bytes[n]
		b = b&^s.writable[n] | v&s.writable[n]
		s.bytes[n] = b &^ (v & s.onesClear[n])
	}
}

func (s *configSpace) word(at int) uint16 { return binary.LittleEndian.Uint16(s.bytes[at:]) }

func (s *configSpace) busMaster() bool    { return s.word(cfgCommand)&commandMaster != 0 }
func (s *configSpace) memorySpace() bool  { return s.word(cfgCommand)&commandMemory != 0 }
func (s *configSpace) intxDisabled() bool { return s.word(cfgCommand)&commandINTxOff != 0 }

// set16 and set32 give a place its value at power-on and the bits of it that can be written.
func (s *configSpace) set16(at int, v, writable uint16) {
	binary.LittleEndian.PutUint16(s.initial[at:], v)
	binary.LittleEndian.PutUint16(s.writable[at:], writable)
}

func (s *configSpace) set32(at int, v, writable uint32) {
	binary.LittleEndian.PutUint32(s.initial[at:], v)
	binary.LittleEndian.PutUint32(s.writable[at:], writable)
}

func (s *configSpace) clearable16(at int, bits uint16) {
	binary.LittleEndian.PutUint16(s.onesClear[at:], bits)
}

func (s *configSpace) clearable32(at int, bits uint32) {
	binary.LittleEndian.PutUint32(s.onesClear[at:], bits)
}

// bar64 is a 64-bit prefetchable BAR; sizing it by writing ones answers its size.
func (s *configSpace) bar64(at int, size uint64) {
	s.set32(at, barPrefetch64, uint32(-size)&^0xF)
	s.set32(at+4, 0, uint32(-size>>32))
}

// extended heads an extended capability.
func (s *configSpace) extended(at int, id, version, next uint32) {
	s.set32(at, id|version<<16|next<<extendedCapShift, 0)
}

func newPFConfig(cfg *Config) *configSpace {
	s := &configSpace{}
	s.header(cfg.Card.DeviceID, cfg)
	s.bar64(0x10, pfBAR0Size)
	s.bar64(0x1C, pfBAR3Size)
	rom := uint32(romSize)
	s.set32(0x30, 0, -rom|1)
	s.set16(0x3C, 0x0100, 0x00FF) // INTA
	if cfg.Card.PFs > 1 {
		s.initial[0x0E] = 0x80
	}
	s.initial[0x34] = cfgPM
	s.powerManagement()
	s.msi()
	s.msix(cfg.Card.Vectors, pfPBA, cfgPCIe)
	s.pcie(cfgVPD)
	s.set16(cfgVPD, 0x0003, 0)
	s.set16(cfgVPD+2, 0, 0xFFFF)
	s.vpd = newVPD(cfg)
	s.aer(cfgDSN)
	s.serialNumber(cfg)
	s.extended(cfgARI, 0x0E, 1, cfgSRIOV)
	s.set32(cfgARI+4, 0, 0)
	s.srIOV(cfg)
	s.extended(cfgTPH, 0x17, 1, cfgACS)
	s.set32(cfgTPH+4, 0x00000001, 0)
	s.set32(cfgTPH+8, 0, 0x00000307)
	s.extended(cfgACS, 0x0D, 1, cfgSecPCIe)
	s.set32(cfgACS+4, 0, 0)
	s.extended(cfgSecPCIe, 0x19, 1, 0)
	s.set32(cfgSecPCIe+4, 0, 0x00000003)
	s.reset()
	return s
}

// newVFConfig is a VF as its driver sees it through a passthrough: with the ids that a VF itself does not show.
func newVFConfig(cfg *Config) *configSpace {
	s := &configSpace{}
	s.header(deviceVF, cfg)
	s.bar64(0x10, vfBAR0Size)
	s.bar64(0x1C, vfBAR3Size)
	s.initial[0x34] = cfgMSIX
	s.msix(cfg.Card.VFVectors, vfPBA, cfgPCIe)
	s.pcie(0)
	s.aer(cfgARI)
	s.extended(cfgARI, 0x0E, 1, cfgTPH)
	s.extended(cfgTPH, 0x17, 1, cfgACS)
	s.set32(cfgTPH+4, 0x00000001, 0)
	s.set32(cfgTPH+8, 0, 0x00000307)
	s.extended(cfgACS, 0x0D, 1, 0)
	s.reset()
	return s
}

// header is what PF and VF have alike of the first 64 bytes.
func (s *configSpace) header(device uint16, cfg *Config) {
	s.set16(0x00, vendorIntel, 0)
	s.set16(0x02, device, 0)
	s.set16(cfgCommand, 0, commandMemory|commandMaster|1<<6|1<<8|commandINTxOff)
	s.set16(0x06, 0x0010, 0) // capability list
	s.clearable16(0x06, 0xF900)
	s.set32(0x08, 0x02000000|uint32(cfg.Revision), 0)
	s.set32(0x0C, 0, 0x000000FF) // cache line size
	s.set16(0x2C, cfg.SubVendor, 0)
	s.set16(0x2E, cfg.SubDevice, 0)
}

// powerManagement: version 3, DSI, PME from D0 and D3, no soft reset.
func (s *configSpace) powerManagement() {
	s.set16(cfgPM, 0x0001|cfgMSI<<8, 0)
	s.set16(cfgPM+2, 0xC823, 0)
	s.set16(cfgPM+4, 0x2008, 0x0103)
	s.clearable16(cfgPM+4, 0x8000)
}

// msi: one vector, 64-bit, maskable.
func (s *configSpace) msi() {
	s.set16(cfgMSI, 0x0005|cfgMSIX<<8, 0)
	s.set16(cfgMSI+2, 0x0180, msiEnable|7<<4)
	s.set32(cfgMSI+4, 0, 0xFFFFFFFC)
	s.set32(cfgMSI+8, 0, 0xFFFFFFFF)
	s.set16(cfgMSI+12, 0, 0xFFFF)
	s.set32(cfgMSI+16, 0, 1)
}

// msix: the table at the start of BAR 3, the pending bits behind it.
func (s *configSpace) msix(vectors int, pba uint32, next uint16) {
	s.set16(cfgMSIX, 0x0011|next<<8, 0)
	s.set16(cfgMSIX+2, uint16(vectors-1), 0xC000)
	s.set32(cfgMSIX+4, 3, 0)
	s.set32(cfgMSIX+8, pba|3, 0)
}

// pcie: version 2 endpoint, 2048 bytes of payload, function level reset, 8 GT/s by 8 lanes.
func (s *configSpace) pcie(next uint16) {
	s.set16(cfgPCIe, 0x0010|next<<8, 0)
	s.set16(cfgPCIe+2, 0x0002, 0)
	s.set32(cfgPCIe+4, 0x10008CE4, 0)
	s.set16(devCtl, 0x2910, 0x7FFF)
	s.set16(cfgPCIe+0x0A, 0, 0)
	s.clearable16(cfgPCIe+0x0A, 0x000F)
	s.set32(cfgPCIe+0x0C, 0x00420883, 0)
	s.set16(cfgPCIe+0x10, 0x0040, 0x00CB)
	s.set16(cfgPCIe+0x12, 0x1083, 0)
	s.set32(cfgPCIe+0x24, 0x0000001F, 0)
	s.set16(cfgPCIe+0x28, 0, 0x001F)
	s.set32(cfgPCIe+0x2C, 0x0000000E, 0)
	s.set16(cfgPCIe+0x30, 0x0003, 0x000F)
	s.set16(cfgPCIe+0x32, 0x001E, 0)
}

// aer is advanced error reporting, version 2.
func (s *configSpace) aer(next uint32) {
	s.extended(cfgAER, 0x01, 2, next)
	s.clearable32(cfgAER+4, 0x0017F030)
	s.set32(cfgAER+8, 0, 0x0017F030)
	s.set32(cfgAER+0x0C, 0x00062030, 0x0017F030)
	s.clearable32(cfgAER+0x10, 0x000031C1)
	s.set32(cfgAER+0x14, 0x00002000, 0x000031C1)
	s.set32(cfgAER+0x18, 0x000000A0, 0x00000140)
}

// serialNumber is made of the port's address, as on every Intel card.
func (s *configSpace) serialNumber(cfg *Config) {
	s.extended(cfgDSN, 0x03, 1, cfgARI)
	m := cfg.Card.MAC
	copy(s.initial[cfgDSN+4:], []byte{m[5], m[4], m[3], 0xFF, 0xFF, m[2], m[1], m[0]})
}

// srIOV offers the card's VFs: device 154c, first at offset 16, BAR 0 and BAR 3 of each.
func (s *configSpace) srIOV(cfg *Config) {
	vfs := uint32(cfg.Card.VFs)
	s.extended(cfgSRIOV, 0x10, 1, cfgTPH)
	s.set32(cfgSRIOV+0x04, 0x00000002, 0) // ARI capable hierarchy preserved
	s.set32(cfgSRIOV+0x08, 0, 0x00000019)
	s.set32(cfgSRIOV+0x0C, vfs|vfs<<16, 0)
	s.set32(cfgSRIOV+0x10, uint32(cfg.Card.PF)<<16, 0x0000FFFF)
	s.set32(cfgSRIOV+0x14, 0x00010000|uint32(16+cfg.Card.FirstVF-int(cfg.Card.PF)), 0)
	s.set32(cfgSRIOV+0x18, deviceVF<<16, 0)
	s.set32(cfgSRIOV+0x1C, srIOVVFs, 0)
	s.set32(cfgSRIOV+0x20, 1, srIOVVFs)
	s.bar64(cfgSRIOV+0x24, vfBAR0Size)
	s.bar64(cfgSRIOV+0x30, vfBAR3Size)
}

// writeConfig is a write of the driver to configuration space, with what follows from it.
func (f *function) writeConfig(at int, p []byte) {
	if f.vf < 0 && at <= cfgVPD+3 && at+len(p) > cfgVPD+2 {
		f.config.write(at, p)
		f.config.accessVPD()
		return
	}
	if at <= devCtl+1 && at+len(p) > devCtl+1 && p[devCtl+1-at]&(devCtlFLR>>8) != 0 {
		f.flr()
		return
	}
	f.config.write(at, p)
	if at < cfgCommand+2 && at+len(p) > cfgCommand {
		f.vectors[0].evaluate()
	}
}

// accessVPD answers a read of vital product data: the driver writes the address with bit 15 clear and polls for it to
// be set. A write of data, with bit 15 set, is refused by clearing it: the VPD of these cards is read-only.
func (s *configSpace) accessVPD() {
	address := s.word(cfgVPD + 2)
	if address&vpdFlag != 0 {
		binary.LittleEndian.PutUint16(s.bytes[cfgVPD+2:], address&^vpdFlag)
		return
	}
	var data [4]byte
	if int(address) < len(s.vpd) {
		copy(data[:], s.vpd[address:])
	}
	copy(s.bytes[cfgVPD+4:], data[:])
	binary.LittleEndian.PutUint16(s.bytes[cfgVPD+2:], address|vpdFlag)
}

// newVPD is a resource list (PCI 3.0, appendix I): name, read-only part with a checksum, end.
func newVPD(cfg *Config) []byte {
	name := "XL710 family device model"
	vpd := append([]byte{0x82, byte(len(name)), 0}, name...)
	field := func(b []byte, key, v string) []byte { return append(append(b, key[0], key[1], byte(len(v))), v...) }
	var ro []byte
	ro = field(ro, "V1", "i40esim")
	ro = field(ro, "PN", "WEFT-I40E")
	ro = field(ro, "SN", serial(cfg.Card.MAC))
	ro = append(ro, 'R', 'V', 1, 0)
	vpd = append(vpd, 0x90, byte(len(ro)), byte(len(ro)>>8))
	vpd = append(vpd, ro...)
	var sum byte
	for _, b := range vpd {
		sum += b
	}
	vpd[len(vpd)-1] = -sum
	return append(vpd, 0x78)
}
