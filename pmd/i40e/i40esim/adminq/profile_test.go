package adminq

import (
	"bytes"
	"testing"

	"weft/pmd/i40e/i40esim/ddp"
)

// profile is a package with two register sections.
func profile(track uint32, name string, value uint32) *ddp.Package {
	return &ddp.Package{
		Version:  ddp.Version{0, 0, 0, 1},
		Metadata: ddp.Metadata{TrackID: track, Name: name},
		Profiles: []ddp.Profile{{
			Version: ddp.Version{0, 0, 0, 9}, Name: name, Devices: []ddp.Device{{Vendor: 0x8086, Device: 0x1572}},
			Sections: []ddp.Section{
				ddp.Registers(ddp.Register{Address: 0x100, Value: [3]uint32{value}},
					ddp.Register{Address: 0x104, Value: [3]uint32{value, 1, 2}}),
				{Type: ddp.SectionNote, Data: []byte("not for the firmware")},
				// The same register twice: a rollback must give back what it held before the first.
				ddp.Registers(ddp.Register{Address: 0x100, Value: [3]uint32{value + 1}},
					ddp.Register{Address: 0x100, Value: [3]uint32{value + 2}}),
			},
		}},
	}
}

// writeSection sends a section and returns what came back.
func (p *port) writeSection(track uint32, s ddp.Section) ([]byte, *Descriptor, Code) {
	p.t.Helper()
	buf, err := s.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	d, code := p.command(OpWriteProfile, params32(0, track), buf, true)
	return buf, d, code
}

// load adds a profile as the drivers do; its register sections become rollback sections.
func (p *port) load(pkg *ddp.Package) Code {
	p.t.Helper()
	prof, track := &pkg.Profiles[0], pkg.Metadata.TrackID
	for i := range prof.Sections {
		if prof.Sections[i].Type != ddp.SectionMMIO {
			continue
		}
		back, _, code := p.writeSection(track, prof.Sections[i])
		if code != CodeOK {
			return code
		}
		s, err := ddp.ParseSection(back)
		if err != nil {
			p.t.Fatal(err)
		}
		prof.Sections[i] = s
	}
	_, _, code := p.writeSection(track, prof.Info(track, ddp.Add))
	return code
}

// unload rolls a profile back, its sections in reverse.
func (p *port) unload(pkg *ddp.Package) Code {
	p.t.Helper()
	prof, track := &pkg.Profiles[0], pkg.Metadata.TrackID
	for i := len(prof.Sections) - 1; i >= 0; i-- {
		if prof.Sections[i].Type != ddp.SectionRollbackMMIO {
			continue
		}
		if _, _, code := p.writeSection(track, prof.Sections[i]); code != CodeOK {
			return code
		}
	}
	_, _, code := p.writeSection(track, prof.Info(track, ddp.Remove))
	return code
}

func (p *port) loaded() []ddp.Loaded {
	p.t.Helper()
	buf := make([]byte, 4+infoSize*maxProfiles)
	d := p.must(OpListProfiles, nil, buf, false)
	list, err := ddp.ParseList(buf[:d.DataLen])
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

func TestProfilesAreLoadedListedAndRolledBack(t *testing.T) {
	r := newRig(t)
	if got := r.loaded(); len(got) != 0 {
		t.Errorf("loaded at first: %v", got)
	}
	first, second := profile(0x80010001, "first", 10), profile(0x80010002, "second", 20)
	for _, pkg := range []*ddp.Package{first, second} {
		if code := r.load(pkg); code != CodeOK {
			t.Fatalf("%s: %s", pkg.Metadata.Name, code)
		}
	}
	list := r.loaded()
	if len(list) != 2 || list[0].TrackID != 0x80010001 || list[1].Name != "second" ||
		list[1].Version != (ddp.Version{0, 0, 0, 9}) {
		t.Errorf("loaded: %v", list)
	}
	if got := r.fw.Profiles(); len(got) != 2 || got[0].TrackID != 0x80010001 {
		t.Errorf("profiles %v", got)
	}
	value := func(address uint32) uint32 {
		v, _ := r.fw.ProfileRegister(address)
		return le.Uint32(v[:])
	}
	if value(0x100) != 22 || value(0x104) != 20 {
		t.Errorf("registers %d, %d", value(0x100), value(0x104))
	}
	saved, err := second.Profiles[0].Sections[0].Records()
	if err != nil || second.Profiles[0].Sections[0].Type != ddp.SectionRollbackMMIO || saved[0].Value[0] != 12 ||
		saved[1].Value != [3]uint32{10, 1, 2} {
		t.Errorf("saved %v, %v", saved, err)
	}
	if code := r.unload(second); code != CodeOK {
		t.Fatalf("rolling back: %s", code)
	}
	if value(0x100) != 12 || value(0x104) != 10 || len(r.loaded()) != 1 {
		t.Errorf("registers %d, %d, %d profiles", value(0x100), value(0x104), len(r.loaded()))
	}
	if code := r.unload(second); code != CodeNoEnt {
		t.Errorf("rolling back again: %s", code)
	}
	if code := r.unload(first); code != CodeOK || value(0x100) != 0 {
		t.Errorf("%s, register %d", code, value(0x100))
	}
}

func TestProfilesTwice(t *testing.T) {
	r := newRig(t)
	if code := r.load(profile(0x80010001, "first", 10)); code != CodeOK {
		t.Fatal(code)
	}
	if code := r.load(profile(0x80010001, "first", 10)); code != CodeExist {
		t.Errorf("again: %s", code)
	}
}

func TestGroupsOfProfiles(t *testing.T) {
	const exclusive, group1, group2, anyGroup = 0x80000001, 0x80010001, 0x80020001, 0x80FF0001
	for _, c := range []struct {
		name   string
		loaded []uint32
		track  uint32
		want   Code
	}{
		{"exclusive, first", nil, exclusive, CodeOK},
		{"exclusive beside another", []uint32{group1}, exclusive, CodeAccess},
		{"beside an exclusive one", []uint32{exclusive}, group1, CodeAccess},
		{"same group", []uint32{group1}, group1 + 1, CodeOK},
		{"another group", []uint32{group1}, group2, CodeAccess},
		{"any group beside a group", []uint32{group1}, anyGroup, CodeOK},
		{"a group beside any group", []uint32{anyGroup}, group2, CodeOK},
		{"any group beside an exclusive one", []uint32{exclusive}, anyGroup, CodeOK},
	} {
		r := newRig(t)
		for _, track := range c.loaded {
			if code := r.load(profile(track, "loaded", 1)); code != CodeOK {
				t.Fatalf("%s: %s", c.name, code)
			}
		}
		if code := r.load(profile(c.track, "new", 2)); code != c.want {
			t.Errorf("%s: %s, want %s", c.name, code, c.want)
		}
		if c.want == CodeOK {
			continue
		}
		info := profile(c.track, "new", 2).Profiles[0].Info(c.track, ddp.Add)
		if _, _, code := r.writeSection(c.track, info); code != c.want {
			t.Errorf("%s, the list alone: %s, want %s", c.name, code, c.want)
		}
	}
}

func TestNoMoreThanSixteenProfiles(t *testing.T) {
	r := newRig(t)
	for i := range uint32(maxProfiles + 1) {
		want := CodeOK
		if i == maxProfiles {
			want = CodeNoSpc
		}
		if code := r.load(profile(0x80FF0000+i, "x", i)); code != want {
			t.Errorf("profile %d: %s", i, code)
		}
	}
	if got := len(r.loaded()); got != maxProfiles {
		t.Errorf("%d loaded", got)
	}
	r.want(CodeNoMem, OpListProfiles, nil, make([]byte, 4+infoSize), false)
	r.want(CodeInval, OpListProfiles, []byte{8}, make([]byte, 1024), false)
	r.expect("flags 0x08")
}

func TestProfilesAndResets(t *testing.T) {
	for kind, want := range map[ResetKind]int{ResetPF: 1, ResetCore: 0, ResetGlobal: 0, ResetEMP: 0} {
		r := newRig(t)
		if code := r.load(profile(0x80010001, "first", 10)); code != CodeOK {
			t.Fatal(code)
		}
		r.fw.Reset(kind)
		if got := len(r.fw.Profiles()); got != want {
			t.Errorf("reset %d leaves %d profiles", kind, got)
		}
		if _, written := r.fw.ProfileRegister(0x100); written != (want == 1) {
			t.Errorf("reset %d: register written %v", kind, written)
		}
	}
}

func TestSectionsThatCannotBe(t *testing.T) {
	const track = 0x80010001
	valid, err := profile(track, "x", 1).Profiles[0].Sections[0].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(change func(b []byte)) []byte {
		b := bytes.Clone(valid)
		change(b)
		return b
	}
	info := profile(track, "x", 1).Profiles[0].Info(track, ddp.Operation(9))
	wrongOp, err := info.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, what string
		track      uint32
		buf        []byte
	}{
		{"type", "section of type", track, damaged(func(b []byte) { le.PutUint32(b[4:], 0x801) })},
		{"beyond the buffer", "in a buffer of", track, damaged(func(b []byte) { le.PutUint32(b[12:], 48) })},
		{"offset in the header", "bytes at 8", track, damaged(func(b []byte) { le.PutUint32(b[8:], 8) })},
		{"wrapping", "in a buffer of", track, damaged(func(b []byte) { le.PutUint32(b[8:], 0xFFFFFFFF) })},
		{"end", "ending at 100", track, damaged(func(b []byte) { le.PutUint16(b[2:], 100) })},
		{"half a record", "register section of 24", track, damaged(func(b []byte) { le.PutUint32(b[12:], 24) })},
		{"no record", "register section of 0", track, damaged(func(b []byte) { le.PutUint32(b[12:], 0) })},
		{"info of another size", "info section of 32", track, damaged(func(b []byte) { le.PutUint32(b[4:], 0x10) })},
		{"info of another track", "track 0x80010001", track + 1, wrongOp},
		{"operation", "operation 9", track, wrongOp},
	} {
		r := newRig(t)
		d, code := r.command(OpWriteProfile, params32(0, c.track), bytes.Clone(c.buf), true)
		if code != CodeInval || d.u32(4) == 0 {
			t.Errorf("%s: %s, error info %d", c.name, code, d.u32(4))
		}
		r.expect(c.what)
		if _, written := r.fw.ProfileRegister(0x100); written {
			t.Errorf("%s: registers were written", c.name)
		}
	}
	r := newRig(t)
	r.want(CodeInval, OpWriteProfile, params32(0, trackInvalid), bytes.Clone(valid), true)
	second := newRig(t, func(c *Config) { c.PFs, c.PF = 2, 1 })
	second.want(CodePerm, OpWriteProfile, params32(0, track), bytes.Clone(valid), true)
}

// TestReadOnlyProfiles are written without being listed, whatever else is loaded (DPDK's "write only").
func TestReadOnlyProfiles(t *testing.T) {
	r := newRig(t)
	if code := r.load(profile(0x80000001, "exclusive", 1)); code != CodeOK {
		t.Fatal(code)
	}
	pkg := profile(0, "read-only", 5)
	if _, _, code := r.writeSection(0, pkg.Profiles[0].Sections[0]); code != CodeOK {
		t.Errorf("writing: %s", code)
	}
	if _, _, code := r.writeSection(0, pkg.Profiles[0].Info(0, ddp.Add)); code != CodeInval {
		t.Errorf("listing: %s", code)
	}
	r.expect("track")
}
