package ddp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of segments (DPDK's i40e_type.h).
const (
	SegmentMetadata = 0x01
	SegmentNotes    = 0x02
	SegmentI40E     = 0x11
	SegmentX722     = 0x12
)

// Sizes in bytes.
const (
	NameSize          = 32
	segmentHeaderSize = 44
	segmentAlign      = 16
	metadataSize      = segmentHeaderSize + 8 + NameSize
	profileFixedSize  = segmentHeaderSize + 4 + NameSize + 4 // up to the device table
	deviceSize        = 8
	maxSegments       = 64
	maxTable          = 4096 // devices, NVM versions, sections: more is no profile
)

// ErrFormat is wrapped by every error about a package's bytes.
var ErrFormat = errors.New("not a DDP package")

// Version is major, minor, update, draft.
type Version [4]uint8

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d.%d", v[0], v[1], v[2], v[3]) }

// Package is a file. Drivers refuse one whose version has a major number.
type Package struct {
	Version  Version
	Metadata Metadata
	Notes    string
	Profiles []Profile
}

// Metadata names the package. The track id identifies a loaded profile: bits 31:24 type (0 is read-only), 23:16 group.
type Metadata struct {
	Version Version
	TrackID uint32
	Name    string
}

// Device is one that a profile is for; a subsystem of 0 stands for all.
type Device struct {
	Vendor, Device uint16
	SubSystem      uint32
}

// Profile is a segment of type SegmentI40E (or SegmentX722).
type Profile struct {
	X722     bool
	Version  Version
	Name     string
	Devices  []Device
	NVM      []uint32
	Sections []Section
}

var le = binary.LittleEndian

// Marshal writes the package: metadata, notes if any, profiles.
func (p *Package) Marshal() ([]byte, error) {
	segments := [][]byte{p.Metadata.marshal()}
	if p.Notes != "" {
		segments = append(segments, segment(SegmentNotes, Version{0, 0, 0, 1}, "notes", []byte(p.Notes)))
	}
	for i := range p.Profiles {
		s, err := p.Profiles[i].marshal()
		if err != nil {
			return nil, fmt.Errorf("ddp: writing profile %q: %w", p.Profiles[i].Name, err)
		}
		segments = append(segments, s)
	}
	if len(segments) > maxSegments {
		return nil, fmt.Errorf("ddp: writing a package of %d segments: at most %d", len(segments), maxSegments)
	}
	for _, name := range append(p.names(), p.Metadata.Name) {
		if len(name) >= NameSize {
			return nil, fmt.Errorf("ddp: writing a package: name %q has %d bytes, at most %d", name, len(name), NameSize-1)
		}
	}
	out := append([]byte(nil), p.Version[:]...)
	out = le.AppendUint32(out, uint32(len(segments)))
	at := align(8 + 4*len(segments))
	for _, s := range segments {
		out = le.AppendUint32(out, uint32(at))
		at = align(at + len(s))
	}
	for _, s := range segments {
		out = append(pad(out), s...)
	}
	return pad(out), nil
}

func (p *Package) names() []string {
	names := make([]string, len(p.Profiles))
	for i := range p.Profiles {
		names[i] = p.Profiles[i].Name
	}
	return names
}

func align(n int) int { return (n + segmentAlign - 1) / segmentAlign * segmentAlign }

func pad(b []byte) []byte { return append(b, make([]byte, align(len(b))-len(b))...) }

// segment writes a segment's header and content. The size field counts the content: DPDK copies that many bytes of notes.
func segment(kind uint32, v Version, name string, content []byte) []byte {
	out := le.AppendUint32(nil, kind)
	out = append(out, v[:]...)
	out = le.AppendUint32(out, uint32(len(content)))
	out = appendName(out, name)
	return append(out, content...)
}

func appendName(b []byte, name string) []byte {
	var field [NameSize]byte
	copy(field[:], name)
	return append(b, field[:]...)
}

func (m *Metadata) marshal() []byte {
	content := append([]byte(nil), m.Version[:]...)
	content = le.AppendUint32(content, m.TrackID)
	return segment(SegmentMetadata, Version{0, 0, 0, 1}, "metadata", appendName(content, m.Name))
}

func (p *Profile) marshal() ([]byte, error) {
	if len(p.Devices) > maxTable || len(p.NVM) > maxTable || len(p.Sections) > maxTable {
		return nil, fmt.Errorf("more than %d devices, NVM versions or sections", maxTable)
	}
	content := appendName(append([]byte(nil), p.Version[:]...), p.Name)
	content = le.AppendUint32(content, uint32(len(p.Devices)))
	for _, d := range p.Devices {
		content = le.AppendUint32(content, uint32(d.Vendor)<<16|uint32(d.Device))
		content = le.AppendUint32(content, d.SubSystem)
	}
	content = le.AppendUint32(content, uint32(len(p.NVM)))
	for _, v := range p.NVM {
		content = le.AppendUint32(content, v)
	}
	content = le.AppendUint32(content, uint32(len(p.Sections)))
	at := segmentHeaderSize + len(content) + 4*len(p.Sections)
	var body []byte
	for i := range p.Sections {
		s, err := p.Sections[i].Marshal()
		if err != nil {
			return nil, err
		}
		content = le.AppendUint32(content, uint32(at+len(body)))
		body = append(body, s...)
	}
	kind := uint32(SegmentI40E)
	if p.X722 {
		kind = SegmentX722
	}
	return segment(kind, p.Version, p.Name, append(content, body...)), nil
}

// reader takes a package apart; the first thing that is out of bounds ends it.
type reader struct {
	data []byte
	err  error
}

func (r *reader) bytes(at, n uint64) []byte {
	if r.err == nil && (at > uint64(len(r.data)) || n > uint64(len(r.data))-at) {
		r.err = fmt.Errorf("%d bytes at %d of %d: %w", n, at, len(r.data), ErrFormat)
	}
	if r.err != nil {
		return make([]byte, min(n, segmentHeaderSize+NameSize))
	}
	return r.data[at : at+n]
}

func (r *reader) word(at uint64) uint32 { return le.Uint32(r.bytes(at, 4)) }

func (r *reader) count(at uint64, limit uint32) uint64 {
	n := r.word(at)
	if r.err == nil && n > limit {
		r.err = fmt.Errorf("a table of %d entries, at most %d: %w", n, limit, ErrFormat)
	}
	if r.err != nil {
		return 0
	}
	return uint64(n)
}

func (r *reader) name(at uint64) string {
	name, _, _ := bytes.Cut(r.bytes(at, NameSize), []byte{0})
	return string(name)
}

func (r *reader) version(at uint64) Version { return Version(r.bytes(at, 4)) }

// Parse reads a package, its rolled-back form included. It fails with ErrFormat, never by a panic.
func Parse(data []byte) (*Package, error) {
	r := &reader{data: data}
	p := &Package{Version: r.version(0)}
	n := r.count(4, maxSegments)
	found := false
	for i := range n {
		at := uint64(r.word(8 + 4*i))
		if r.err == nil && (at%segmentAlign != 0 || at < 8+4*n) {
			return nil, fmt.Errorf("ddp: reading: segment %d at %d: %w", i, at, ErrFormat)
		}
		switch r.word(at) {
		case SegmentMetadata:
			found = true
			m := at + segmentHeaderSize
			p.Metadata = Metadata{Version: r.version(m), TrackID: r.word(m + 4), Name: r.name(m + 8)}
		case SegmentNotes:
			p.Notes = string(r.bytes(at+segmentHeaderSize, uint64(r.word(at+8))))
		case SegmentI40E, SegmentX722:
			p.Profiles = append(p.Profiles, r.profile(at))
		}
		if r.err != nil {
			return nil, fmt.Errorf("ddp: reading segment %d: %w", i, r.err)
		}
	}
	if r.err != nil || !found {
		return nil, fmt.Errorf("ddp: reading: no metadata: %w", errors.Join(r.err, ErrFormat))
	}
	return p, nil
}

// profile reads the segment at an offset; sections are found by theirs, which count from the segment.
func (r *reader) profile(base uint64) Profile {
	at := base + segmentHeaderSize
	p := Profile{X722: r.word(base) == SegmentX722, Version: r.version(at), Name: r.name(at + 4)}
	at = base + profileFixedSize
	for range r.count(at-4, maxTable) {
		id := r.word(at)
		p.Devices = append(p.Devices, Device{Vendor: uint16(id >> 16), Device: uint16(id), SubSystem: r.word(at + 4)})
		at += deviceSize
	}
	n := r.count(at, maxTable)
	for i := range n {
		p.NVM = append(p.NVM, r.word(at+4+4*i))
	}
	at += 4 + 4*n
	for i := range r.count(at, maxTable) {
		p.Sections = append(p.Sections, r.section(base+uint64(r.word(at+4+4*i))))
		if r.err != nil {
			break
		}
	}
	return p
}
