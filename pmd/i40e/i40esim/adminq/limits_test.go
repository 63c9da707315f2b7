package adminq

import (
	"bytes"
	"testing"

	"weft/pmd/i40e/i40esim/ddp"
)

// TestWhatADriverStoresIsBounded: what commands keep for the driver, a driver must not be able to fill memory with.
func TestWhatADriverStoresIsBounded(t *testing.T) {
	r := newRig(t)
	name := tlv(5, bytes.Repeat([]byte{'x'}, 100)...)
	add := append([]byte{0, 0}, params16(uint16(len(name)))...)
	for range maxExtra / len(name) {
		r.must(OpAddLLDPTLV, add, bytes.Clone(name), true)
	}
	r.want(CodeNoSpc, OpAddLLDPTLV, add, bytes.Clone(name), true)
	if mib := len(r.fw.lldp.local()); mib > 1500 {
		t.Errorf("a MIB of %d bytes does not fit a frame", mib)
	}

	r.fw.nvm.access = accessWrite
	for i := range uint16(maxConfig) {
		r.must(OpWriteNVMConfig, params16(0, 1), params16(i, 0, 0), true)
	}
	r.want(CodeNoSpc, OpWriteNVMConfig, params16(0, 1), params16(maxConfig, 0, 0), true)
	r.must(OpWriteNVMConfig, params16(0, 1), params16(0, 1, 2), true) // one that is there

	for i := range uint32(maxProfileRegisters - 1) {
		r.fw.ddp.regs[i*4] = [12]byte{1}
	}
	two := ddp.Registers(ddp.Register{Address: 0x100}, ddp.Register{Address: 0x104})
	if _, _, code := r.writeSection(0x80010008, two); code != CodeNoSpc {
		t.Errorf("two registers beyond the last: %v", code)
	}
}
