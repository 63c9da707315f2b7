package adminq

import (
	"encoding/binary"
	"fmt"
)

// Sizes of an admin queue, in bytes where not said otherwise (datasheet, "Admin Queue Structure").
const (
	DescriptorSize = 32
	MaxBuffer      = 4096 // largest indirect buffer
	LargeBuffer    = 512  // a larger one must say so by FlagLB
	maxEntries     = 1023 // of a ring: LEN is 10 bits
)

// Flags of a descriptor. The low byte is the firmware's, the high byte the driver's.
const (
	FlagDD  = 1 << 0  // descriptor done
	FlagCMP = 1 << 1  // complete, by the firmware
	FlagERR = 1 << 2  // RetVal is not CodeOK
	FlagVFE = 1 << 3  // the VF on whose behalf it was made is in error
	FlagLB  = 1 << 9  // buffer of more than LargeBuffer bytes
	FlagRD  = 1 << 10 // the firmware reads the buffer
	FlagVFC = 1 << 11 // made on behalf of a VF
	FlagBUF = 1 << 12 // there is a buffer
	FlagSI  = 1 << 13 // no interrupt at completion
	FlagEI  = 1 << 14 // interrupt when it fails, FlagSI or not
	FlagFE  = 1 << 15 // when it fails, flush what follows with CodeFlushed
)

const (
	firmwareFlags = FlagDD | FlagCMP | FlagERR | FlagVFE
	knownFlags    = firmwareFlags | FlagLB | FlagRD | FlagVFC | FlagBUF | FlagSI | FlagEI | FlagFE
)

// Code is the firmware's answer, in Descriptor.RetVal.
type Code uint16

// The codes that firmware knows.
const (
	CodeOK       Code = 0
	CodePerm     Code = 1  // not permitted
	CodeNoEnt    Code = 2  // no such element
	CodeSrch     Code = 3  // bad opcode
	CodeIntr     Code = 4  // interrupted
	CodeIO       Code = 5  // I/O error
	CodeNXIO     Code = 6  // no such resource
	Code2Big     Code = 7  // argument too long
	CodeAgain    Code = 8  // try again
	CodeNoMem    Code = 9  // out of memory, or reply larger than the buffer
	CodeAccess   Code = 10 // permission denied
	CodeFault    Code = 11 // bad address
	CodeBusy     Code = 12 // held by someone else
	CodeExist    Code = 13 // exists already
	CodeInval    Code = 14 // invalid argument
	CodeNotTy    Code = 15 // not a typewriter
	CodeNoSpc    Code = 16 // no space left
	CodeNoSys    Code = 17 // not implemented
	CodeRange    Code = 18 // parameter out of range
	CodeFlushed  Code = 19 // flushed because an earlier command failed
	CodeBadAddr  Code = 20 // descriptor contains a bad pointer
	CodeMode     Code = 21 // not in the present mode
	CodeFileSize Code = 22 // file too large
)

var codeNames = [...]string{
	"OK", "EPERM", "ENOENT", "ESRCH", "EINTR", "EIO", "ENXIO", "E2BIG", "EAGAIN", "ENOMEM", "EACCES", "EFAULT", "EBUSY",
	"EEXIST", "EINVAL", "ENOTTY", "ENOSPC", "ENOSYS", "ERANGE", "EFLUSHED", "BAD_ADDR", "EMODE", "EFBIG",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// Descriptor is one entry of an admin queue, little endian in memory. Params are the command's own; in an indirect
// command its last eight bytes are the buffer's address, high half first.
type Descriptor struct {
	Flags      uint16
	Opcode     Opcode
	DataLen    uint16 // bytes of the buffer
	RetVal     uint16
	CookieHigh uint32
	CookieLow  uint32
	Params     [16]byte
}

// Decode reads a descriptor from DescriptorSize bytes.
func (d *Descriptor) Decode(p []byte) {
	_ = p[DescriptorSize-1]
	d.Flags = le.Uint16(p[0:])
	d.Opcode = Opcode(le.Uint16(p[2:]))
	d.DataLen = le.Uint16(p[4:])
	d.RetVal = le.Uint16(p[6:])
	d.CookieHigh = le.Uint32(p[8:])
	d.CookieLow = le.Uint32(p[12:])
	copy(d.Params[:], p[16:DescriptorSize])
}

// Encode writes a descriptor to DescriptorSize bytes.
func (d *Descriptor) Encode(p []byte) {
	_ = p[DescriptorSize-1]
	le.PutUint16(p[0:], d.Flags)
	le.PutUint16(p[2:], uint16(d.Opcode))
	le.PutUint16(p[4:], d.DataLen)
	le.PutUint16(p[6:], d.RetVal)
	le.PutUint32(p[8:], d.CookieHigh)
	le.PutUint32(p[12:], d.CookieLow)
	copy(p[16:DescriptorSize], d.Params[:])
}

// Address is the buffer's, of an indirect command.
func (d *Descriptor) Address() uint64 {
	return uint64(le.Uint32(d.Params[8:]))<<32 | uint64(le.Uint32(d.Params[12:]))
}

// SetAddress makes addr the buffer's.
func (d *Descriptor) SetAddress(addr uint64) {
	le.PutUint32(d.Params[8:], uint32(addr>>32))
	le.PutUint32(d.Params[12:], uint32(addr))
}

// Param is the n-th of the four words of Params.
func (d *Descriptor) Param(n int) uint32 { return le.Uint32(d.Params[4*n:]) }

// SetParam writes the n-th of the four words of Params.
func (d *Descriptor) SetParam(n int, v uint32) { le.PutUint32(d.Params[4*n:], v) }

func (d *Descriptor) u16(at int) uint16       { return le.Uint16(d.Params[at:]) }
func (d *Descriptor) u32(at int) uint32       { return le.Uint32(d.Params[at:]) }
func (d *Descriptor) put16(at int, v uint16)  { le.PutUint16(d.Params[at:], v) }
func (d *Descriptor) put32(at int, v uint32)  { le.PutUint32(d.Params[at:], v) }
func (d *Descriptor) zeroFrom(from, upto int) { clear(d.Params[from:upto]) }

// le is the byte order of everything that firmware and driver share.
var le = binary.LittleEndian
