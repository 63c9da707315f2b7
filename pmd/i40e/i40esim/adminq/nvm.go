package adminq

import "maps"

// nvm is the way to the flash: who owns it, and what was written but not committed.
type nvm struct {
	words     []uint16          // shadow RAM, shared with the device
	staged    map[uint32]uint16 // by word
	access    uint16            // of the PF; 0 when it does not own the NVM
	foreign   bool              // someone else does
	updating  bool
	minimum   map[uint8]uint32 // rollback revisions by module
	config    map[uint32][]byte
	committed int
}

const (
	nvmLast       = 0x01
	nvmRearrange  = 0x60
	nvmSector     = 4096 // bytes
	nvmFlashBit   = 0x8000
	nvmOffsetMax  = 0x00FFFFFF
	nvmAbsent     = 0xFFFF
	nvmModuleSize = 256 // module pointers are words of the shadow RAM
)

func (n *nvm) reset(words []uint16) {
	config := n.config
	if config == nil {
		config = make(map[uint32][]byte)
	}
	*n = nvm{words: words, staged: make(map[uint32]uint16), minimum: make(map[uint8]uint32), config: config}
}

// release ends the PF's ownership; what it did not commit is dropped.
func (n *nvm) release() {
	n.access = 0
	clear(n.staged)
}

// HoldNVM lets someone else, another PF or the management controller, own the NVM: requests are answered with CodeBusy.
func (f *Firmware) HoldNVM(held bool) { f.nvm.foreign = held }

// Commits is how often an update was written to the NVM.
func (f *Firmware) Commits() int { return f.nvm.committed }

// base is where a module begins, in bytes. Its pointer is a word of the shadow RAM, in words, or in sectors of the flash
// beyond it, which the model does not have.
func (n *nvm) base(module uint8) (uint32, Code) {
	if module == 0 {
		return 0, CodeOK
	}
	if int(module) >= len(n.words) {
		return 0, CodeNoEnt
	}
	pointer := n.words[module]
	switch {
	case pointer == nvmAbsent || pointer == 0 || pointer == nvmAbsent&^nvmFlashBit:
		return 0, CodeNoEnt
	case pointer&nvmFlashBit != 0:
		return uint32(pointer&^nvmFlashBit) * nvmSector, CodeOK
	}
	return 2 * uint32(pointer), CodeOK
}

// window checks a command's part of the NVM and the right to touch it, and returns its first byte.
func (f *Firmware) window(c *call, access uint16, size uint32) (uint32, Code) {
	if f.nvm.access < access {
		f.violation("%s: command %s without owning the NVM for it", c.function(f), c.d.Opcode)
		return 0, CodePerm
	}
	offset := c.d.u32(4)
	if offset > nvmOffsetMax {
		return 0, f.badArgument(c, "offset %#x", offset)
	}
	base, code := f.nvm.base(c.d.Params[1])
	if code != CodeOK {
		return 0, code
	}
	if uint64(base)+uint64(offset)+uint64(size) > 2*uint64(len(f.nvm.words)) {
		return 0, CodeRange
	}
	return base + offset, CodeOK
}

func (n *nvm) byteAt(at uint32) byte {
	word := n.words[at/2]
	if staged, has := n.staged[at/2]; has {
		word = staged
	}
	return byte(word >> (8 * (at % 2)))
}

// readNVM is command 0701.
func readNVM(f *Firmware, c *call) Code {
	length := uint32(c.d.u16(2))
	from, code := f.window(c, accessRead, length)
	if code != CodeOK {
		return code
	}
	if int(length) > len(c.buf) {
		c.size, c.needed = int(length), true
		return CodeNoMem
	}
	out := make([]byte, length)
	for i := range out {
		out[i] = f.nvm.byteAt(from + uint32(i))
	}
	return c.reply(out)
}

// eraseNVM is command 0702, in sectors. The firmware reports by an event when it is done.
func eraseNVM(f *Firmware, c *call) Code {
	offset, length := c.d.u32(4), uint32(c.d.u16(2))
	if length == 0 || offset > nvmOffsetMax/nvmSector {
		return f.badArgument(c, "%d sectors at %d", length, offset)
	}
	sectors := *c.d
	c.d.put32(4, offset*nvmSector)
	from, code := f.window(c, accessWrite, length*nvmSector)
	*c.d = sectors
	if code != CodeOK {
		return code
	}
	for at := from; at < from+length*nvmSector; at += 2 {
		f.nvm.staged[at/2] = nvmAbsent
	}
	f.nvmDone(c)
	return CodeOK
}

// updateNVM is command 0703: bytes within one sector. The last of a series commits.
func updateNVM(f *Firmware, c *call) Code {
	flags, length := c.d.Params[0], uint32(c.d.u16(2))
	if flags&nvmRearrange != 0 {
		return CodeMode // only transitional firmware changes between flat and structured images
	}
	if int(length) != len(c.buf) || length == 0 {
		return f.badArgument(c, "length %d with a buffer of %d bytes", length, len(c.buf))
	}
	from, code := f.window(c, accessWrite, length)
	if code != CodeOK {
		return code
	}
	if from/nvmSector != (from+length-1)/nvmSector || from%2 != 0 || length%2 != 0 {
		return f.badArgument(c, "%d bytes at %#x are not words of one sector", length, from)
	}
	for i := uint32(0); i < length; i += 2 {
		f.nvm.staged[(from+i)/2] = le.Uint16(c.buf[i:])
	}
	f.nvmDone(c)
	return CodeOK
}

// nvmDone commits after the last command of a series, and reports the command as finished.
func (f *Firmware) nvmDone(c *call) {
	if c.d.Params[0]&nvmLast != 0 {
		for word, v := range f.nvm.staged {
			f.nvm.words[word] = v
		}
		clear(f.nvm.staged)
		f.nvm.committed++
	}
	e := Event{Opcode: c.d.Opcode, Params: c.d.Params}
	f.after(eventDelay, func() { f.pf.Post(e) })
}

// NVM configuration elements (0704, 0705).
const (
	anvmMultiple  = 0x1
	anvmImmediate = 0x2
	featureSize   = 6
	immediateSize = 12

	maxConfig = 1024 // elements kept. Model: what is more is refused
)

// readNVMConfig is command 0704. Model: there are the elements that were written.
func readNVMConfig(f *Firmware, c *call) Code {
	flags, id := c.d.u16(0), uint32(c.d.u16(4))
	if flags&anvmImmediate != 0 {
		id |= uint32(c.d.u16(6))<<16 | 1<<31
	}
	if flags&anvmMultiple != 0 {
		return CodeNoSys
	}
	element, has := f.nvm.config[id]
	if !has {
		return CodeNoEnt
	}
	code := c.reply(element)
	if code == CodeOK {
		c.d.put16(2, 1)
	}
	return code
}

// writeNVMConfig is command 0705.
func writeNVMConfig(f *Firmware, c *call) Code {
	flags, count := c.d.u16(0), int(c.d.u16(2))
	size := featureSize
	if flags&anvmImmediate != 0 {
		size = immediateSize
	}
	if count == 0 || count*size > len(c.buf) {
		return f.badArgument(c, "%d elements of %d bytes in a buffer of %d", count, size, len(c.buf))
	}
	if f.nvm.access < accessWrite {
		f.violation("%s: command %s without owning the NVM for it", c.function(f), c.d.Opcode)
		return CodePerm
	}
	config := maps.Clone(f.nvm.config)
	for i := range count {
		e := c.buf[i*size : (i+1)*size]
		id := uint32(le.Uint16(e))
		if size == immediateSize {
			id = le.Uint32(e) | 1<<31
		}
		config[id] = append([]byte(nil), e...)
	}
	if len(config) > maxConfig {
		return CodeNoSpc
	}
	f.nvm.config = config
	return CodeOK
}

// nvmUpdateInProcess is command 0706.
func nvmUpdateInProcess(f *Firmware, c *call) Code {
	if c.d.Params[0] > 1 {
		return f.badArgument(c, "command %d", c.d.Params[0])
	}
	f.nvm.updating = c.d.Params[0] == 1
	return CodeOK
}

// rollbackModules is how many modules have a minimal revision.
const rollbackModules = 9

// rollbackRevision is command 0707.
func rollbackRevision(f *Firmware, c *call) Code {
	if module := c.d.Params[1]; c.d.Params[0]&1 != 0 {
		if module >= rollbackModules {
			return f.badArgument(c, "module %d", module)
		}
		if c.d.u32(4) < f.nvm.minimum[module] {
			return CodePerm
		}
		f.nvm.minimum[module] = c.d.u32(4)
	}
	return CodeOK
}

// oemPostUpdate is command 0720. Cards without an OEM's additions do not know it (DPDK takes ESRCH for that).
func oemPostUpdate(*Firmware, *call) Code { return CodeSrch }
