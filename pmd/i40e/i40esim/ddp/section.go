package ddp

import (
	"fmt"
	"slices"
)

// SectionType is what a section holds.
type SectionType uint32

// The types (DPDK's i40e_type.h). Rollback sections are what the others become when a profile is loaded.
const (
	SectionInfo         SectionType = 0x10
	SectionMMIO         SectionType = 0x800
	SectionAQ           SectionType = 0x801
	SectionRollbackMMIO SectionType = 0x1800
	SectionRollbackAQ   SectionType = 0x1801
	SectionNote         SectionType = 0x80000000
	SectionName         SectionType = 0x80000001
	SectionProtocols    SectionType = 0x80000002
	SectionPCTypes      SectionType = 0x80000003
	SectionPTypes       SectionType = 0x80000004
)

// Sizes in bytes.
const (
	SectionHeaderSize = 16
	RecordSize        = 16
	InfoSize          = 48
	aqFixedSize       = 22
	unusedProtocol    = 0xFF // RTE_PMD_I40E_PROTO_UNUSED
	protocolsOfType   = 6
)

// Section is a part of a profile.
type Section struct {
	Type SectionType
	Data []byte
}

// Marshal writes the section with its header, as it is in a file and as it is sent to the firmware.
func (s *Section) Marshal() ([]byte, error) {
	size := SectionHeaderSize + len(s.Data)
	if size > 0xFFFF {
		return nil, fmt.Errorf("section %#x has %d bytes: its end is a field of 16 bits", uint32(s.Type), size)
	}
	out := le.AppendUint16(nil, 1) // entries of the section table
	out = le.AppendUint16(out, uint16(size))
	out = le.AppendUint32(out, uint32(s.Type))
	out = le.AppendUint32(out, SectionHeaderSize)
	out = le.AppendUint32(out, uint32(len(s.Data)))
	return append(out, s.Data...), nil
}

func (r *reader) section(at uint64) Section {
	size := uint64(r.word(at + 12))
	offset := uint64(r.word(at + 8))
	return Section{Type: SectionType(r.word(at + 4)), Data: slices.Clone(r.bytes(at+offset, size))}
}

// ParseSection reads a section as the firmware gives it back.
func ParseSection(data []byte) (Section, error) {
	r := &reader{data: data}
	s := r.section(0)
	if r.err != nil {
		return Section{}, fmt.Errorf("ddp: reading a section: %w", r.err)
	}
	return s, nil
}

// Register is a record of a register section. Beyond its first word, the address, its layout is not documented: the model
// treats the other three words as the register's content.
type Register struct {
	Address uint32
	Value   [3]uint32
}

// Registers makes a section that writes registers.
func Registers(records ...Register) Section {
	var data []byte
	for _, r := range records {
		data = le.AppendUint32(data, r.Address)
		for _, v := range r.Value {
			data = le.AppendUint32(data, v)
		}
	}
	return Section{Type: SectionMMIO, Data: data}
}

// Records reads a register section, before or after it was written.
func (s *Section) Records() ([]Register, error) {
	if s.Type != SectionMMIO && s.Type != SectionRollbackMMIO || len(s.Data)%RecordSize != 0 {
		return nil, fmt.Errorf("ddp: section %#x of %d bytes holds no registers: %w", uint32(s.Type), len(s.Data), ErrFormat)
	}
	var out []Register
	for d := s.Data; len(d) > 0; d = d[RecordSize:] {
		out = append(out, Register{
			Address: le.Uint32(d), Value: [3]uint32{le.Uint32(d[4:]), le.Uint32(d[8:]), le.Uint32(d[12:])},
		})
	}
	return out, nil
}

// Command makes a section by which the driver sends an admin queue command.
func Command(opcode, flags uint16, params [16]byte, buffer []byte) Section {
	data := le.AppendUint16(nil, opcode)
	data = le.AppendUint16(data, flags)
	data = append(data, params[:]...)
	data = le.AppendUint16(data, uint16(len(buffer)))
	data = append(data, buffer...)
	if len(buffer) == 0 {
		data = append(data, 0) // the structure has room for one byte
	}
	return Section{Type: SectionAQ, Data: data}
}

// Operation is what an info section asks for.
type Operation uint8

// The operations.
const (
	Add    Operation = 1
	Remove Operation = 2
)

// Info makes the section that adds a profile to the firmware's list or removes it.
func (p *Profile) Info(track uint32, op Operation) Section {
	data := le.AppendUint32(nil, track)
	data = append(data, p.Version[:]...)
	data = append(data, byte(op), 0, 0, 0, 0, 0, 0, 0)
	return Section{Type: SectionInfo, Data: appendName(data, p.Name)}
}

// Loaded is an entry of the firmware's list.
type Loaded struct {
	TrackID uint32
	Version Version
	Owner   uint8
	Name    string
}

// ParseList reads what the firmware lists: a count, then entries of InfoSize bytes.
func ParseList(data []byte) ([]Loaded, error) {
	r := &reader{data: data}
	var out []Loaded
	n := r.count(0, uint32(len(data)/InfoSize))
	for i := range n {
		at := 4 + InfoSize*i
		out = append(out, Loaded{
			TrackID: r.word(at), Version: r.version(at + 4), Owner: r.bytes(at+8, 1)[0], Name: r.name(at + 16),
		})
	}
	if r.err != nil {
		return nil, fmt.Errorf("ddp: reading a list of profiles: %w", r.err)
	}
	return out, nil
}

// Protocol is a name for a number that types are made of.
type Protocol struct {
	ID   uint8
	Name string
}

// PacketType is a packet type (PTYPE) or packet classifier type (PCTYPE): a number and up to six protocols.
type PacketType struct {
	ID        uint8
	Protocols []uint8
}

// tlv writes one entry: record type, type, length in records, content.
func tlv(b []byte, content []byte) []byte {
	records := (4 + len(content) + RecordSize - 1) / RecordSize
	b = append(b, 0, 0)
	b = le.AppendUint16(b, uint16(records))
	b = append(b, content...)
	return append(b, make([]byte, records*RecordSize-4-len(content))...)
}

// Protocols makes the section that names protocols. DPDK knows a tunnel by names: GTPC, GTPU, IPV4, ESP ...
func Protocols(list ...Protocol) Section {
	var data []byte
	for _, p := range list {
		data = tlv(data, append(append([]byte{p.ID}, p.Name...), 0))
	}
	return Section{Type: SectionProtocols, Data: data}
}

// Types makes a section of type SectionPCTypes or SectionPTypes.
func Types(kind SectionType, list ...PacketType) Section {
	var data []byte
	for _, t := range list {
		content := []byte{t.ID}
		for i := range protocolsOfType {
			id := uint8(unusedProtocol)
			if i < len(t.Protocols) {
				id = t.Protocols[i]
			}
			content = append(content, id)
		}
		data = tlv(data, content)
	}
	return Section{Type: kind, Data: data}
}

// entries reads the TLVs of a section.
func (s *Section) entries() ([][]byte, error) {
	var out [][]byte
	for d := s.Data; len(d) > 0; {
		if len(d) < RecordSize {
			return nil, fmt.Errorf("ddp: section %#x ends in half a record: %w", uint32(s.Type), ErrFormat)
		}
		size := RecordSize * int(le.Uint16(d[2:]))
		if size == 0 || size > len(d) {
			return nil, fmt.Errorf("ddp: section %#x: an entry of %d bytes where %d are left: %w", uint32(s.Type), size,
				len(d), ErrFormat)
		}
		out = append(out, d[4:size])
		d = d[size:]
	}
	return out, nil
}

// Protocols reads a section of protocols.
func (s *Section) Protocols() ([]Protocol, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	var out []Protocol
	for _, e := range entries {
		name := e[1:]
		if end := slices.Index(name, 0); end >= 0 {
			name = name[:end]
		}
		out = append(out, Protocol{ID: e[0], Name: string(name)})
	}
	return out, nil
}

// PacketTypes reads a section of packet types or packet classifier types.
func (s *Section) PacketTypes() ([]PacketType, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	var out []PacketType
	for _, e := range entries {
		t := PacketType{ID: e[0]}
		for _, id := range e[1 : 1+protocolsOfType] {
			if id != unusedProtocol {
				t.Protocols = append(t.Protocols, id)
			}
		}
		out = append(out, t)
	}
	return out, nil
}
