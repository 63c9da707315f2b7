package i40esim

import (
	"testing"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
)

// capabilities walks both lists of a configuration space: id to offset.
func capabilities(read func(int) uint32) (plain, extended map[uint32]int) {
	plain, extended = make(map[uint32]int), make(map[uint32]int)
	for at := int(read(0x34) & 0xFF); at != 0; at = int(read(at) >> 8 & 0xFF) {
		plain[read(at)&0xFF] = at
	}
	for at := 0x100; at != 0; at = int(read(at) >> 20) {
		extended[read(at)&0xFFFF] = at
	}
	return plain, extended
}

// TestConfigurationSpaceIsThatOfARealCard holds it against dumps of an X710 by lspci.
func TestConfigurationSpaceIsThatOfARealCard(t *testing.T) {
	d := newDriver(t, nil)
	plain, extended := capabilities(d.config32)
	for id, at := range map[uint32]int{1: 0x40, 5: 0x50, 0x11: 0x70, 0x10: 0xA0, 3: 0xE0} {
		if plain[id] != at {
			t.Errorf("capability %#x is at %#x, want %#x", id, plain[id], at)
		}
	}
	for id, at := range map[uint32]int{1: 0x100, 3: 0x140, 0xE: 0x150, 0x10: 0x160, 0x17: 0x1A0, 0xD: 0x1B0, 0x19: 0x1D0} {
		if extended[id] != at {
			t.Errorf("extended capability %#x is at %#x, want %#x", id, extended[id], at)
		}
	}
	for at, want := range map[int]uint32{
		0x00: 0x15728086, 0x08: 0x02000002, 0x2C: 0x00018086,
		0x70:  0x0080A011,                         // 129 vectors
		0x74:  3,                                  // table at BAR 3
		0x78:  0x1003,                             // pending bits behind it
		0x16C: 16<<16 | 16, 0x178: deviceVF << 16, // SR-IOV
		0x144: 0xFF000001, 0x148: 0x3CFDFEFF, // serial number of the address
	} {
		if got := d.config32(at); got != want {
			t.Errorf("%#x reads %#x, want %#x", at, got, want)
		}
	}
	if v := d.config32(0xA4); v>>28&1 != 1 || v&7 != 4 {
		t.Errorf("device capabilities are %#x: want FLR and 2048 bytes of payload", v)
	}
}

// TestBARSizing writes ones as enumeration does.
func TestBARSizing(t *testing.T) {
	d := newDriver(t, nil)
	size := func(at int) uint64 {
		for i := range 4 {
			d.config16(at+2*i, 0xFFFF)
		}
		v := uint64(d.config32(at)) | uint64(d.config32(at+4))<<32
		if v&0xF != barPrefetch64 {
			t.Errorf("the BAR at %#x has type %#x", at, v&0xF)
		}
		return -(v &^ 0xF)
	}
	for at, want := range map[int]uint64{
		0x10: 8 << 20, 0x1C: 32 << 10, cfgSRIOV + 0x24: 64 << 10, cfgSRIOV + 0x30: 16 << 10,
	} {
		if got := size(at); got != want {
			t.Errorf("the BAR at %#x has %#x bytes, want %#x", at, got, want)
		}
	}
	d.config16(0x30, 0xFFFF)
	d.config16(0x32, 0xFFFF)
	if got := -(d.config32(0x30) &^ 0x7FF); got != 512<<10 {
		t.Errorf("the ROM has %#x bytes", got)
	}
	if d.config32(0x18) != 0 {
		t.Error("BAR 2 is not absent")
	}
	d.config16(0x00, 0x1234)
	if d.config32(0) != 0x15728086 {
		t.Error("the vendor id can be written")
	}
}

func TestVitalProductData(t *testing.T) {
	d := newDriver(t, nil)
	var data []byte
	for at := 0; at < 0x80; at += 4 {
		d.config16(cfgVPD+2, uint16(at))
		if d.config32(cfgVPD)>>31 != 1 {
			t.Fatal("the read of vital product data does not end")
		}
		v := d.config32(cfgVPD + 4)
		data = append(data, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	if data[0] != 0x82 {
		t.Fatalf("no name: %x", data[:8])
	}
	ro := 3 + int(data[1])
	if data[ro] != 0x90 {
		t.Fatalf("no read-only part: %x", data[ro:])
	}
	end := ro + 3 + int(data[ro+1]) // behind the checksum
	var sum byte
	for _, b := range data[:end] {
		sum += b
	}
	if sum != 0 || data[end] != 0x78 {
		t.Errorf("the checksum is wrong by %#x, then %#x", sum, data[end])
	}
}

func TestROMAndMSIXTable(t *testing.T) {
	d := newDriver(t, nil)
	rom := make([]byte, 2)
	if err := d.dev.ReadRegion(vfiouser.RegionROM, romSize-2, rom); err != nil || rom[0]&rom[1] != 0xFF {
		t.Errorf("the blank ROM reads %x, %v", rom, err)
	}
	if err := d.dev.WriteRegion(vfiouser.RegionROM, 0, rom); err == nil {
		t.Error("the ROM takes a write")
	}
	entry := []byte{1, 2, 3, 4}
	for at, want := range map[uint64]byte{128 * 16: 1, pfPBA: 0} {
		if err := d.dev.WriteRegion(vfiouser.RegionBAR3, at, entry); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if err := d.dev.ReadRegion(vfiouser.RegionBAR3, at, got); err != nil || got[0] != want {
			t.Errorf("BAR 3 at %#x reads %x, %v", at, got, err)
		}
	}
	if err := d.dev.ReadRegion(vfiouser.RegionBAR2, 0, entry); err == nil {
		t.Error("there is a BAR 2")
	}
}

func TestConfigurationSpaceOfAVF(t *testing.T) {
	d := newDriver(t, nil)
	vf, err := d.dev.VF(1)
	if err != nil {
		t.Fatal(err)
	}
	read := func(at int) uint32 {
		var b [4]byte
		if err := vf.ReadRegion(vfiouser.RegionConfig, uint64(at), b[:]); err != nil {
			t.Fatal(err)
		}
		return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	}
	plain, extended := capabilities(read)
	if read(0) != 0x154C8086 || plain[0x11] != 0x70 || plain[0x10] != 0xA0 || len(plain) != 2 || extended[0x10] != 0 {
		t.Errorf("id %#x, capabilities %x, extended %x", read(0), plain, extended)
	}
	if got := read(0x70) >> 16 & 0x7FF; got != 4 {
		t.Errorf("%d vectors, want 5", got+1)
	}
	// The PF looks at it through its window: the device status, where a driver waits for transactions to end.
	d.w("PF_PCI_CIAA", 1<<12|0xA8)
	if got := d.r("PF_PCI_CIAD"); got != read(0xA8) {
		t.Errorf("PF_PCI_CIAD is %#x, want %#x", got, read(0xA8))
	}
	if info := vf.Info(); info.Regions[0].Size != vfBAR0Size || !info.Reset {
		t.Errorf("described as %+v", info)
	}
	d.noViolations()
}

func TestBadConfigurations(t *testing.T) {
	for name, cfg := range map[string]Config{
		"NVM":  {Card: adminq.Config{NVM: make([]uint16, 100)}},
		"PF":   {Card: adminq.Config{PF: 3, PFs: 2}},
		"VFs":  {Card: adminq.Config{VFs: 1000}},
		"port": {Card: adminq.Config{Port: 7}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
