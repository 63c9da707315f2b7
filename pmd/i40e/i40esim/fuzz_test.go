package i40esim

import (
	"encoding/binary"
	"testing"
	"time"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
)

// FuzzDriver is a driver that does anything: accesses to both BARs and configuration spaces, in a state in which queues
// run. Nothing that it does may bring the model down, and the card must work after a reset.
//
// An input is a list of operations of eight bytes: what, an index into the register table, a place in the row, a value.
func FuzzDriver(f *testing.F) {
	op := func(what byte, row, index uint16, v uint32) []byte {
		b := binary.LittleEndian.AppendUint16([]byte{what}, row)
		b = append(b, byte(index))
		return binary.LittleEndian.AppendUint32(b, v)
	}
	var pf, vf []byte
	for row := range uint16(340) { // every register of the tables, first and last place
		pf = append(append(pf, op(0, row, 0, 0xFFFFFFFF)...), op(1, row|0x8000, 0, 0)...)
		vf = append(append(vf, op(2, row, 1, 0xFFFFFFFF)...), op(3, row|0x8000, 0, 0)...)
	}
	f.Add(pf)
	f.Add(vf)
	f.Add(append(op(4, 0xA8, 0, 0xFFFFFFFF), op(6, 64, 0, 0)...))
	f.Fuzz(func(t *testing.T, ops []byte) {
		d := ready(t, 3)
		v := plugVF(d)
		giveQueue(d, v)
		for range 1000 {
			if len(ops) < 8 {
				break
			}
			row, index := int(binary.LittleEndian.Uint16(ops[1:])), uint32(ops[3])
			anything(d, v, ops[0], row, index, binary.LittleEndian.Uint32(ops[4:]))
			ops = ops[8:]
		}
		d.clk.Advance(time.Second)
		if err := d.dev.Reset(); err != nil {
			t.Fatal(err)
		}
		d.dev.ClearViolations()
		clear(d.bytes[:d.next-memBase])
		d.next = memBase
		d.config16(cfgCommand, commandMemory|commandMaster)
		d.bringUp()
		d.startQueue(0, 0)
		d.inject()
		if d.received() == nil {
			t.Error("the card does not work after a reset")
		}
		d.noViolations()
	})
}

// anything is one operation of the fuzzed driver.
func anything(d *driver, v *vfDriver, what byte, row int, index, value uint32) {
	b := binary.LittleEndian.AppendUint32(nil, value)
	bar, dev := &d.dev.pfBAR, vfiouser.Device(d.dev)
	if what&2 != 0 {
		bar, dev = &d.dev.vfBAR, v.vf
	}
	r := &bar.table.rows[row%len(bar.table.rows)]
	index %= r.Count[0] * r.Count[1]
	if row&0x8000 != 0 { // from the far end of the array
		index = r.Count[0]*r.Count[1] - 1 - index
	}
	at := uint64(r.At(index%r.Count[0], index/r.Count[0]))
	switch what & 7 {
	case 0, 2:
		_ = dev.WriteRegion(vfiouser.RegionBAR0, at, b) // BAR 0 takes every access
	case 1, 3:
		_ = dev.ReadRegion(vfiouser.RegionBAR0, at, b)
	case 4:
		_ = dev.WriteRegion(vfiouser.RegionConfig, uint64(row%(configSize-3)), b)
	case 5:
		_ = dev.ReadRegion(vfiouser.RegionConfig, uint64(row%(configSize-3)), b)
	case 6:
		d.dev.Receive(testFrame(adminq.MAC{2, 0, 0, 0, 0, 0x77}, 46+row%2000))
	case 7:
		d.clk.Advance(time.Duration(value))
	}
}
