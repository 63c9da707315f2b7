package lan

import (
	"encoding/binary"

	"weft/pmd/i40e/i40esim/frame"
)

// txDescLen is the length of every transmit descriptor in bytes.
const txDescLen = 16

// Descriptor types, DTYPE.
const (
	dtypeData    = 0x0
	dtypeContext = 0x1
	dtypeFilter  = 0x8
	dtypeDone    = 0xF
)

// Bits of CMD in a data descriptor.
const (
	cmdEOP     = 0x001
	cmdRS      = 0x002
	cmdTag1    = 0x008 // IL2TAG1
	cmdDummy   = 0x010
	cmdFCoE    = 0x080
	cmdIPShift = 5 // IIPT, 2 bits
	cmdL4Shift = 8 // L4T, 2 bits
)

// Bits of CMD in a context descriptor.
const (
	ctxTSO         = 0x01
	ctxTimesync    = 0x02
	ctxTag2        = 0x04 // IL2TAG2
	ctxTag2Inner   = 0x08 // IL2TAG2_IL2H
	ctxSwitchShift = 4    // SWTCH, 2 bits
	ctxSWPE        = 0x40
)

// Reserved bits of the context descriptor on the XL710: in quad word 0 bit 8, DECTTL (19..22), L4T_CS (23, X722 alone),
// 24..31 and 48..63; in quad word 1 those between CMD, TLEN and MSS.
const (
	ctxReserved0 = 0xFFFF_0000_FFF8_0100
	ctxReserved1 = 0x0003_0000_3FFF_F800
)

// txDesc is a transmit descriptor.
type txDesc [2]uint64

func parseTxDesc(b []byte) txDesc {
	return txDesc{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func (d txDesc) dtype() uint8 { return uint8(d[1] & 0xF) }

// dataDesc is a data descriptor, decoded.
type dataDesc struct {
	addr   uint64
	cmd    uint16
	maclen int // bytes
	iplen  int
	l4len  int
	size   int
	tag1   uint16
}

func (d txDesc) data() dataDesc {
	return dataDesc{
		addr:   d[0],
		cmd:    uint16(d[1] >> 4 & 0x3FF),
		maclen: int(d[1]>>16&0x7F) * 2,
		iplen:  int(d[1]>>23&0x7F) * 4,
		l4len:  int(d[1]>>30&0xF) * 4,
		size:   int(d[1] >> 34 & 0x3FFF),
		tag1:   uint16(d[1] >> 48),
	}
}

// common is what all data descriptors of a packet must agree on.
func (d *dataDesc) common() dataDesc {
	c := *d
	c.addr, c.size = 0, 0
	c.cmd &^= cmdEOP | cmdRS
	return c
}

// contextDesc is a context descriptor, decoded.
type contextDesc struct {
	outerIP    frame.IPType
	outerLen   int // bytes
	tunnel     frame.TunnelType
	keepID     bool
	tunnelLen  int
	tag2       uint16
	cmd        uint8
	switching  Switching
	tsoLen     int
	mss        int
	vsi        uint16 // in the place of mss
	reserved   bool
	reservedIn [2]uint64
}

func (d txDesc) context() contextDesc {
	reserved := [2]uint64{d[0] & ctxReserved0, d[1] & ctxReserved1}
	return contextDesc{
		outerIP:    frame.IPType(d[0] & 3),
		outerLen:   int(d[0]>>2&0x3F) * 4,
		tunnel:     frame.TunnelType(d[0] >> 9 & 3),
		keepID:     d[0]>>11&1 != 0,
		tunnelLen:  int(d[0]>>12&0x7F) * 2,
		tag2:       uint16(d[0] >> 32),
		cmd:        uint8(d[1] >> 4 & 0x7F),
		switching:  Switching(d[1] >> (4 + ctxSwitchShift) & 3),
		tsoLen:     int(d[1] >> 30 & 0x3FFFF),
		mss:        int(d[1] >> 50 & 0x3FFF),
		vsi:        uint16(d[1] >> 50 & 0x1FF),
		reserved:   reserved != [2]uint64{},
		reservedIn: reserved,
	}
}

// Switching is SWTCH of a context descriptor: where the switch takes the packet.
type Switching uint8

// The values of the field.
const (
	SwitchNormal Switching = iota // by the switch's own rules
	SwitchUplink                  // to the wire
	SwitchLocal                   // inside the device alone
	SwitchVSI                     // to the VSI that the descriptor names
)
