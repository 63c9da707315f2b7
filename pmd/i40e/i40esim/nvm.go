package i40esim

import (
	"fmt"

	"weft/pmd/i40e/i40esim/adminq"
)

// Shadow RAM (datasheet, "NVM map"): what mirrors the start of the flash, 64 KB on real cards.
const (
	// NVMWords is the shadow RAM of real cards, in words. A driver that verifies the checksum reads all of it, one
	// register access at a time, which takes a quarter of a minute where the processor is emulated.
	NVMWords = 32 << 10
	// SmallNVMWords is the least that drivers' checksum code takes: they read sectors of 2048 words.
	SmallNVMWords = 2 << 10

	nvmControl       = 0x00
	nvmPBA           = 0x15 // and the word after it
	nvmBootPointer   = 0x17
	nvmStarter       = 0x18
	nvmWakeOnLAN     = 0x19
	nvmEETrack       = 0x2D // and the word after it
	nvmVPD           = 0x2F
	nvmLLDP          = 0x31
	nvmPCIeAlternate = 0x3E
	nvmChecksum      = 0x3F
	nvmEMP           = 0x48

	nvmValid        = 0x40 // control word: bits 7:6 are 01
	nvmChecksumBase = 0xBABA
	nvmVPDWords     = 512
	nvmAltWords     = 1024
	nvmNoModule     = 0xFFFF

	// Places of the modules in this NVM.
	nvmPBAAt  = 0x0100
	nvmBootAt = 0x0140
	nvmEMPAt  = 0x0180
	nvmLLDPAt = 0x01F0
	nvmVPDAt  = 0x0200
	nvmAltAt  = 0x0400

	// Where the EMP module keeps the state of the LLDP agent (both drivers' i40e_init_dcb): at a place in it the distance
	// from there to a table, whose word 1 has the administrative state, four bits a port.
	nvmLLDPPointer  = 0x2B
	nvmLLDPDistance = 0x10
	nvmLLDPState    = 1
	nvmLLDPOn       = 0x3333 // receive and transmit
)

// Fields of GLNVM_SRCTL and GLNVM_SRDATA.
const (
	srAddressShift = 14
	srAddressMask  = 0x7FFF
	srWrite        = 1 << 29
	srStart        = 1 << 30
	srDone         = 1 << 31
	srDataShift    = 16
)

// NewNVM makes a shadow RAM as a card has it, NVMWords long: control word, version, part number, pointers to modules,
// and the checksum that drivers verify.
func NewNVM(mac adminq.MAC, device uint16) []uint16 { return newNVM(NVMWords, mac, device) }

// NewSmallNVM is NewNVM with SmallNVMWords.
func NewSmallNVM(mac adminq.MAC, device uint16) []uint16 { return newNVM(SmallNVMWords, mac, device) }

func newNVM(words int, mac adminq.MAC, device uint16) []uint16 {
	w := make([]uint16, words)
	w[nvmControl] = nvmValid
	w[nvmBootPointer], w[nvmEMP], w[nvmLLDP] = nvmBootAt, nvmEMPAt, nvmLLDPAt
	w[nvmStarter] = 0x9030
	w[nvmWakeOnLAN] = 0xFFFF // off on every port
	w[nvmEETrack], w[nvmEETrack+1] = 0x0001, 0x8000
	w[nvmVPD], w[nvmPCIeAlternate] = nvmVPDAt, nvmAltAt
	putPBA(w, "WEFT01-000")
	w[nvmBootAt] = 0x0010
	w[nvmEMPAt+nvmLLDPPointer] = nvmLLDPDistance
	w[nvmEMPAt+nvmLLDPPointer+nvmLLDPDistance+nvmLLDPState] = nvmLLDPOn
	w[nvmLLDPAt] = 0x0002
	w[nvmAltAt] = device
	for i := 0; i < len(mac); i += 2 {
		w[nvmAltAt+1+i/2] = uint16(mac[i]) | uint16(mac[i+1])<<8
	}
	w[nvmChecksum] = NVMChecksum(w)
	return w
}

// putPBA stores a printed board assembly number: the pointer's flag, then a length and the text.
func putPBA(w []uint16, pba string) {
	w[nvmPBA], w[nvmPBA+1] = 0xFAFA, nvmPBAAt
	w[nvmPBAAt] = uint16(len(pba)/2 + 1)
	for i := 0; i+1 < len(pba); i += 2 {
		w[nvmPBAAt+1+i/2] = uint16(pba[i])<<8 | uint16(pba[i+1])
	}
}

// NVMChecksum is the word that makes the sum of a shadow RAM 0xBABA, VPD and PCIe alternate modules and the word itself
// left out (datasheet, "Software checksum").
func NVMChecksum(w []uint16) uint16 {
	skip := func(pointer int, words int, i int) bool {
		at := w[pointer]
		return at != nvmNoModule && i >= int(at) && i < int(at)+words
	}
	var sum uint16
	for i, v := range w {
		if i == nvmChecksum || skip(nvmVPD, nvmVPDWords, i) || skip(nvmPCIeAlternate, nvmAltWords, i) {
			continue
		}
		sum += v
	}
	return nvmChecksumBase - sum
}

// serial is a serial number made of an address.
func serial(m adminq.MAC) string {
	return fmt.Sprintf("%02X%02X%02X%02X%02X%02X", m[0], m[1], m[2], m[3], m[4], m[5])
}

// shadowRAM is what GLNVM_SRCTL reads. It shares its words with the firmware.
type shadowRAM struct{ words []uint16 }

// writeSRCTL starts an access to the shadow RAM, which is over at once. Writing through it is for the firmware alone:
// drivers use admin queue commands.
func (c *card) writeSRCTL(v uint32) {
	if v&srStart == 0 {
		c.set("GLNVM_SRCTL", v&^uint32(srDone)|c.get("GLNVM_SRCTL")&srDone)
		return
	}
	at := int(v >> srAddressShift & srAddressMask)
	switch {
	case v&srWrite != 0:
		c.violation("GLNVM_SRCTL writes word %#x: the shadow RAM is written by commands", at)
	case at >= len(c.nvm.words):
		c.violation("GLNVM_SRCTL reads word %#x of %#x", at, len(c.nvm.words))
	default:
		word := c.nvm.words[at]
		if c.faults.corruptNVM && at == nvmChecksum {
			word ^= 0x5555
		}
		c.set("GLNVM_SRDATA", uint32(word)<<srDataShift|c.get("GLNVM_SRDATA")&0xFFFF)
	}
	c.set("GLNVM_SRCTL", v&^uint32(srStart)|srDone)
}
