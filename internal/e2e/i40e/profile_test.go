//go:build i40e

package i40e

import "weft/pmd/i40e/i40esim/ddp"

// profile is a package for the DDP gates, made here: a vendor's must not be copied.
type profile struct {
	data  []byte
	name  string
	track uint32
}

// testProfile teaches the card a protocol of nobody's: registers in two sections, and the names and numbers that drivers
// read.
func testProfile(r *rig) *profile {
	r.t.Helper()
	p := &profile{name: "Weft test tunnel", track: 0x80010008}
	pack := ddp.Package{
		Version:  ddp.Version{0, 0, 0, 1},
		Metadata: ddp.Metadata{Version: ddp.Version{0, 0, 0, 3}, TrackID: p.track, Name: "Weft test"},
		Notes:    "made by a test",
		Profiles: []ddp.Profile{{
			Version: ddp.Version{0, 0, 0, 11}, Name: p.name,
			Devices: []ddp.Device{{Vendor: 0x8086, Device: 0x1572}},
			NVM:     []uint32{0},
			Sections: []ddp.Section{
				ddp.Registers(ddp.Register{Address: 0x1000, Value: [3]uint32{1, 2, 3}}, ddp.Register{Address: 0x1004}),
				ddp.Registers(ddp.Register{Address: 0x1008, Value: [3]uint32{0xa, 0xb, 0xc}}),
				ddp.Protocols(ddp.Protocol{ID: 12, Name: "GTPU"}, ddp.Protocol{ID: 13, Name: "IPV4"}),
				ddp.Types(ddp.SectionPCTypes, ddp.PacketType{ID: 22, Protocols: []uint8{12, 13}}),
				ddp.Types(ddp.SectionPTypes, ddp.PacketType{ID: 167, Protocols: []uint8{12, 13}}),
			},
		}},
	}
	var err error
	p.data, err = pack.Marshal()
	r.must(err)
	return p
}
