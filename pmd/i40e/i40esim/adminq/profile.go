package adminq

import "slices"

// Sections of a profile that go to the firmware (DPDK's i40e_type.h).
const (
	sectionInfo     = 0x0010
	sectionMMIO     = 0x0800
	sectionRollback = 0x1800

	sectionHeaderSize = 16
	recordSize        = 16 // of a register section
	infoSize          = 48
	infoAdd           = 1
	infoRemove        = 2

	maxProfiles = 16
	// maxProfileRegisters is how many registers profiles may have written in all. Model: the number and the refusal.
	maxProfileRegisters = 1 << 16
	trackInvalid        = 0xFFFFFFFF
	trackReadOnly       = 0
	groupAny            = 0xFF
	groupExclusive      = 0
	listFlagsKnown      = 0x3
	errorInfoBounds     = 1
	errorInfoType       = 2
	errorInfoTrack      = 3
)

// Profile is one that is loaded.
type Profile struct {
	TrackID uint32
	Version [4]uint8 // major, minor, update, draft
	Name    [32]byte
}

// profiles are the loaded ones and the registers that they wrote. What a register does is not documented, nor how a record
// of 16 bytes is laid out beyond beginning with its address; the model keeps the other twelve bytes as its value.
type profiles struct {
	list []Profile
	regs map[uint32][12]byte
}

func (p *profiles) reset() { *p = profiles{regs: make(map[uint32][12]byte)} }

// Profiles returns what is loaded, in the order of loading.
func (f *Firmware) Profiles() []Profile { return slices.Clone(f.ddp.list) }

// ProfileRegister returns what profiles have written to a register of theirs.
func (f *Firmware) ProfileRegister(address uint32) (value [12]byte, written bool) {
	value, written = f.ddp.regs[address]
	return value, written
}

func group(track uint32) uint8 { return uint8(track >> 16) }

func (p *profiles) index(track uint32) int {
	return slices.IndexFunc(p.list, func(o Profile) bool { return o.TrackID == track })
}

// conflict says whether a profile's group may not be loaded beside what is loaded: group 0 goes alone, group FF with
// everything else, any other with itself.
func (p *profiles) conflict(track uint32) bool {
	g := group(track)
	return slices.ContainsFunc(p.list, func(o Profile) bool {
		other := group(o.TrackID)
		switch {
		case o.TrackID == track:
			return false
		case g == groupExclusive:
			return true
		case g == groupAny || other == groupAny:
			return false
		}
		return g != other
	})
}

// writeProfile is command 0270: one section of a profile. A register section comes back as a rollback section, its values
// those that it replaced. Model: the codes of refusals.
func writeProfile(f *Firmware, c *call) Code {
	track := c.d.u32(4)
	if f.cfg.PF != 0 {
		return CodePerm
	}
	if track == trackInvalid {
		return f.sectionError(c, 0, errorInfoTrack, CodeInval)
	}
	dataEnd, kind := int(le.Uint16(c.buf[2:])), le.Uint32(c.buf[4:])
	offset, size := uint64(le.Uint32(c.buf[8:])), uint64(le.Uint32(c.buf[12:]))
	if offset < sectionHeaderSize || offset+size > uint64(len(c.buf)) || dataEnd > len(c.buf) {
		f.badArgument(c, "a section of %d bytes at %d, ending at %d, in a buffer of %d", size, offset, dataEnd, len(c.buf))
		return f.sectionError(c, 8, errorInfoBounds, CodeInval)
	}
	data := c.buf[offset : offset+size]
	switch kind {
	case sectionInfo:
		if size != infoSize {
			return f.sectionError(c, 12, errorInfoBounds, f.badArgument(c, "an info section of %d bytes", size))
		}
		return f.profileInfo(c, track, data)
	case sectionMMIO, sectionRollback:
		if size == 0 || size%recordSize != 0 {
			return f.sectionError(c, 12, errorInfoBounds, f.badArgument(c, "a register section of %d bytes", size))
		}
		return f.profileRegisters(c, track, data, kind == sectionRollback)
	}
	return f.sectionError(c, 4, errorInfoType, f.badArgument(c, "a section of type %#x", kind))
}

// sectionError says where in the section the firmware stumbled.
func (f *Firmware) sectionError(c *call, offset, info uint32, code Code) Code {
	c.d.put32(0, offset)
	c.d.put32(4, info)
	return code
}

// profileInfo adds a profile to the list or removes it.
func (f *Firmware) profileInfo(c *call, track uint32, data []byte) Code {
	p := Profile{TrackID: le.Uint32(data), Version: [4]uint8(data[4:8]), Name: [32]byte(data[16:48])}
	if p.TrackID != track || track == trackReadOnly {
		return f.sectionError(c, sectionHeaderSize, errorInfoTrack,
			f.badArgument(c, "track %#08x in the section, %#08x in the command", p.TrackID, track))
	}
	at := f.ddp.index(track)
	switch data[8] {
	case infoAdd:
		switch {
		case at >= 0:
			return f.sectionError(c, sectionHeaderSize, errorInfoTrack, CodeExist)
		case f.ddp.conflict(track):
			return f.sectionError(c, sectionHeaderSize, errorInfoTrack, CodeAccess)
		case len(f.ddp.list) >= maxProfiles:
			return CodeNoSpc
		}
		f.ddp.list = append(f.ddp.list, p)
	case infoRemove:
		if at < 0 {
			return f.sectionError(c, sectionHeaderSize, errorInfoTrack, CodeNoEnt)
		}
		f.ddp.list = slices.Delete(f.ddp.list, at, at+1)
	default:
		return f.sectionError(c, sectionHeaderSize+8, errorInfoType, f.badArgument(c, "operation %d", data[8]))
	}
	c.d.zeroFrom(0, 8)
	return c.echo()
}

// profileRegisters writes registers and puts what they held into the records. A rollback goes from the last record to the
// first, so that a register that was written twice gets back what it had before.
func (f *Firmware) profileRegisters(c *call, track uint32, data []byte, rollback bool) Code {
	switch {
	case rollback && f.ddp.index(track) < 0:
		return f.sectionError(c, 4, errorInfoTrack, CodeNoEnt)
	case !rollback && track != trackReadOnly && f.ddp.conflict(track):
		return f.sectionError(c, 4, errorInfoTrack, CodeAccess)
	}
	if len(f.ddp.regs)+len(data)/recordSize > maxProfileRegisters {
		return f.sectionError(c, 12, errorInfoBounds, CodeNoSpc)
	}
	for i := range len(data) / recordSize {
		if rollback {
			i = len(data)/recordSize - 1 - i
		}
		record := data[i*recordSize : (i+1)*recordSize]
		address := le.Uint32(record)
		saved := f.ddp.regs[address]
		f.ddp.regs[address] = [12]byte(record[4:])
		copy(record[4:], saved[:])
	}
	if !rollback {
		le.PutUint32(c.buf[4:], sectionRollback)
	}
	c.d.zeroFrom(0, 8)
	return c.echo()
}

// listProfiles is command 0271.
func listProfiles(f *Firmware, c *call) Code {
	if flags := c.d.Params[0]; flags&^listFlagsKnown != 0 {
		return f.badArgument(c, "flags %#02x", flags)
	}
	out := make([]byte, 4+infoSize*len(f.ddp.list))
	le.PutUint32(out, uint32(len(f.ddp.list)))
	for i, p := range f.ddp.list {
		e := out[4+infoSize*i:]
		le.PutUint32(e, p.TrackID)
		copy(e[4:], p.Version[:])
		e[8] = f.cfg.PF // owner
		copy(e[16:], p.Name[:])
	}
	return c.reply(out)
}
