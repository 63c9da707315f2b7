package ddp

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sample() *Package {
	return &Package{
		Version:  Version{0, 0, 0, 1},
		Metadata: Metadata{Version: Version{0, 0, 0, 3}, TrackID: 0x80010008, Name: "Weft test"},
		Notes:    "made by a test",
		Profiles: []Profile{{
			Version: Version{0, 0, 0, 11}, Name: "test tunnel",
			Devices: []Device{{0x8086, 0x1572, 0}, {0x8086, 0x1583, 7}},
			NVM:     []uint32{0x60000001},
			Sections: []Section{
				{Type: SectionNote, Data: []byte("note")},
				Registers(Register{0x1000, [3]uint32{1, 2, 3}}, Register{0x1004, [3]uint32{4, 5, 6}}),
				Protocols(Protocol{12, "GTPU"}, Protocol{13, "A_PROTOCOL_WITH_A_LONG_NAME"}),
				Types(SectionPCTypes, PacketType{22, []uint8{12, 13}}),
				Types(SectionPTypes, PacketType{167, []uint8{12}}, PacketType{168, nil}),
				Command(0x0001, 0x2000, [16]byte{1}, []byte{9, 9}),
			},
		}},
	}
}

func TestAPackageIsReadAsItWasWritten(t *testing.T) {
	want := sample()
	file, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwrote %+v", got, want)
	}
}

// TestTheFileIsLaidOutAsDriversReadIt follows the drivers' pointer arithmetic through the bytes.
func TestTheFileIsLaidOutAsDriversReadIt(t *testing.T) {
	file, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if file[0] != 0 {
		t.Errorf("major version %d: Linux refuses all but 0", file[0])
	}
	n := le.Uint32(file[4:])
	if n != 3 {
		t.Fatalf("%d segments", n)
	}
	byType := make(map[uint32][]byte)
	for i := range n {
		at := le.Uint32(file[8+4*i:])
		if at%16 != 0 {
			t.Errorf("segment %d at %d", i, at)
		}
		byType[le.Uint32(file[at:])] = file[at:]
	}
	if got := le.Uint32(byType[SegmentMetadata][48:]); got != 0x80010008 {
		t.Errorf("track id %#x in the metadata", got)
	}
	notes := byType[SegmentNotes]
	if got := string(notes[44 : 44+le.Uint32(notes[8:])]); got != "made by a test" {
		t.Errorf("notes %q", got)
	}
	seg := byType[SegmentI40E]
	devices := le.Uint32(seg[80:])
	if devices != 2 || le.Uint32(seg[84:]) != 0x80861572 {
		t.Fatalf("%d devices, the first %#x", devices, le.Uint32(seg[84:]))
	}
	nvm := seg[84+8*devices:]
	table := nvm[4*(le.Uint32(nvm)+1):]
	if got := le.Uint32(table); got != 6 {
		t.Fatalf("%d sections", got)
	}
	registers := seg[le.Uint32(table[4+4*1:]):]
	if le.Uint16(registers[0:]) != 1 || le.Uint16(registers[2:]) != 48 || le.Uint32(registers[4:]) != 0x800 ||
		le.Uint32(registers[8:]) != 16 || le.Uint32(registers[12:]) != 32 {
		t.Errorf("register section begins % x", registers[:16])
	}
}

func TestSectionsAreReadAsTheyWereMade(t *testing.T) {
	p := sample().Profiles[0]
	records, err := p.Sections[1].Records()
	if err != nil || len(records) != 2 || records[1] != (Register{0x1004, [3]uint32{4, 5, 6}}) {
		t.Errorf("records %v, %v", records, err)
	}
	protocols, err := p.Sections[2].Protocols()
	if err != nil || len(protocols) != 2 || protocols[1] != (Protocol{13, "A_PROTOCOL_WITH_A_LONG_NAME"}) {
		t.Errorf("protocols %v, %v", protocols, err)
	}
	types, err := p.Sections[4].PacketTypes()
	if err != nil || !reflect.DeepEqual(types, []PacketType{{167, []uint8{12}}, {168, nil}}) {
		t.Errorf("types %v, %v", types, err)
	}
	sent, err := p.Sections[1].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseSection(sent)
	if err != nil || !reflect.DeepEqual(back, p.Sections[1]) {
		t.Errorf("section %v, %v", back, err)
	}
}

func TestInfoAndList(t *testing.T) {
	p := sample().Profiles[0]
	info := p.Info(5, Remove)
	if len(info.Data) != InfoSize || info.Data[8] != 2 || string(info.Data[16:20]) != "test" {
		t.Errorf("info % x", info.Data)
	}
	list := append([]byte{1, 0, 0, 0}, info.Data...)
	got, err := ParseList(list)
	if err != nil || len(got) != 1 || got[0].TrackID != 5 || got[0].Name != "test tunnel" || got[0].Version != p.Version {
		t.Errorf("list %v, %v", got, err)
	}
	if _, err := ParseList([]byte{2, 0, 0, 0}); !errors.Is(err, ErrFormat) {
		t.Errorf("a list that is cut off: %v", err)
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	long := sample()
	long.Profiles[0].Name = strings.Repeat("x", NameSize)
	if _, err := long.Marshal(); err == nil {
		t.Error("a name that fills its field was written")
	}
	big := sample()
	big.Profiles[0].Sections[0].Data = make([]byte, 0xFFF8)
	if _, err := big.Marshal(); err == nil {
		t.Error("a section of 64 KiB was written")
	}
}

// TestEveryTruncationIsRefused cuts the package anywhere before its last section ends.
func TestEveryTruncationIsRefused(t *testing.T) {
	file, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndex(file, []byte{9, 9}) + 1
	for n := range end {
		if _, err := Parse(file[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestBrokenTablesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(b []byte){
		"an unaligned segment":        func(b []byte) { b[8]++ },
		"a segment inside the header": func(b []byte) { le.PutUint32(b[8:], 0) },
		"very many segments":          func(b []byte) { le.PutUint32(b[4:], 1<<31) },
		"very many devices":           func(b []byte) { le.PutUint32(b[le.Uint32(b[16:])+80:], 1<<30) },
		"no metadata":                 func(b []byte) { le.PutUint32(b[le.Uint32(b[8:]):], 0x77) },
	} {
		file, err := sample().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		damage(file)
		if _, err := Parse(file); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := Section{Type: SectionPTypes, Data: make([]byte, RecordSize)} // an entry of no length
	if _, err := broken.PacketTypes(); !errors.Is(err, ErrFormat) {
		t.Errorf("an entry of no length: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	file, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		for i := range p.Profiles {
			for j := range p.Profiles[i].Sections {
				s := &p.Profiles[i].Sections[j]
				_, _ = s.Records()
				_, _ = s.Protocols()
				_, _ = s.PacketTypes()
			}
		}
		again, err := p.Marshal()
		if err != nil {
			return
		}
		back, err := Parse(again)
		if err != nil {
			t.Fatalf("written again, it is not read: %v", err)
		}
		// Clone makes nil of what is empty, and empty of what was nil.
		if len(back.Profiles) != len(p.Profiles) || back.Metadata != p.Metadata || back.Notes != p.Notes {
			t.Errorf("read %+v, written and read %+v", p, back)
		}
	})
}
