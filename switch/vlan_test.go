package vswitch

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// vlanPorts is a bridge with a port of every VLAN mode, all around VLAN 10.
const vlanPorts = `
pmd: {cpus: 1, idle: sleep}
bridges:
- name: br0
  ports:
  - {name: trunk, driver: memory}
  - {name: trunk10, driver: memory, vlan: {trunks: [10, 12-13]}}
  - {name: access, driver: memory, vlan: {tag: 10}}
  - {name: tagged, driver: memory, vlan: {mode: native-tagged, tag: 10, trunks: [11]}}
  - {name: untagged, driver: memory, vlan: {mode: native-untagged, tag: 10}}
  - {name: tunnel, driver: memory, vlan: {mode: dot1q-tunnel, tag: 10, cvlans: [0, 11]}}
  - {name: prio, driver: memory, vlan: {tag: 10, priority_tags: if-nonzero}}
`

// tags writes a frame's tags: "8100:2005 8100:0007", or "-" for none.
func tags(f []byte) string {
	var out []string
	for at := 12; at+4 <= len(f); at += 4 {
		t := binary.BigEndian.Uint16(f[at:])
		if t != 0x8100 && t != 0x88a8 {
			break
		}
		out = append(out, fmt.Sprintf("%04x:%04x", t, binary.BigEndian.Uint16(f[at+2:])))
	}
	if out == nil {
		return "-"
	}
	return strings.Join(out, " ")
}

// TestVLANModes floods a frame from one port and looks at what comes out of the others. What is wanted was read off
// Open vSwitch's documentation of the modes.
func TestVLANModes(t *testing.T) {
	r := newRig(t)
	r.apply(vlanPorts)
	for _, c := range []struct {
		from string
		tags []uint16
		want string // port=tags, in the order of ports
		drop string
	}{
		{"trunk", nil, "", ""},
		{"trunk", []uint16{0x6000}, "", ""},
		{"trunk", []uint16{10}, "trunk10=8100:000a access=- tagged=8100:000a untagged=- tunnel=- prio=-", ""},
		{"trunk", []uint16{0x600a}, "trunk10=8100:600a access=- tagged=8100:600a untagged=- tunnel=- prio=8100:6000", ""},
		{"trunk", []uint16{11}, "tagged=8100:000b untagged=8100:000b", ""},
		{"trunk", []uint16{12}, "trunk10=8100:000c untagged=8100:000c", ""},
		{
			"trunk",
			[]uint16{10, 11},
			"trunk10=8100:000a 8100:000b,tagged=8100:000a 8100:000b,untagged=8100:000b,tunnel=8100:000b", "",
		},
		{"trunk", []uint16{10, 12}, "trunk10=8100:000a 8100:000c,tagged=8100:000a 8100:000c,untagged=8100:000c", ""},
		{"trunk10", []uint16{11}, "", "vlan"},
		{"trunk10", nil, "", "vlan"},
		{"access", nil, "trunk=8100:000a trunk10=8100:000a tagged=8100:000a untagged=- tunnel=- prio=-", ""},
		{"access", []uint16{10}, "", "vlan"},
		{"access", []uint16{0x6000}, "trunk=8100:600a trunk10=8100:600a tagged=8100:600a untagged=- tunnel=- prio=8100:6000", ""},
		{"tagged", nil, "trunk=8100:000a trunk10=8100:000a access=- untagged=- tunnel=- prio=-", ""},
		{"tagged", []uint16{11}, "trunk=8100:000b untagged=8100:000b", ""},
		{"tagged", []uint16{12}, "", "vlan"},
		{"untagged", nil, "trunk=8100:000a trunk10=8100:000a access=- tagged=8100:000a tunnel=- prio=-", ""},
		{"tunnel", nil, "trunk=88a8:000a trunk10=88a8:000a access=- tagged=88a8:000a untagged=- prio=-", ""},
		{
			"tunnel",
			[]uint16{11},
			"trunk=88a8:000a 8100:000b,trunk10=88a8:000a 8100:000b,tagged=88a8:000a 8100:000b,untagged=8100:000b", "",
		},
		{"tunnel", []uint16{12}, "", "vlan"},
	} {
		before := r.dropped()
		f := frame(0xff, 1, 64, c.tags...)
		copy(f, "\xff\xff\xff\xff\xff\xff")
		r.send(c.from, f)
		var got []string
		for _, port := range []string{"trunk", "trunk10", "access", "tagged", "untagged", "tunnel", "prio"} {
			for _, f := range r.got(port) {
				got = append(got, port+"="+tags(f))
			}
		}
		sep := " "
		if strings.Contains(c.want, ",") {
			sep = ","
		}
		if s := strings.Join(got, sep); s != c.want {
			t.Errorf("from %s, tags %x:\n got  %s\n want %s", c.from, c.tags, s, c.want)
		}
		if c.drop != "" && r.dropped()[c.drop] != before[c.drop]+1 {
			t.Errorf("from %s, tags %x: drops %v, want one more for %s", c.from, c.tags, r.dropped(), c.drop)
		}
	}
}

// TestTagsOfVLANZero floods from one port and looks at the tags that leave others: a tag without id and priority ends
// them, unless the port is to have such tags. Open vSwitch sends the same.
func TestTagsOfVLANZero(t *testing.T) {
	r := newRig(t)
	r.apply(`
pmd: {cpus: 1, idle: sleep}
bridges:
- name: br0
  ports:
  - {name: a, driver: memory}
  - {name: b, driver: memory}
  - {name: nonzero, driver: memory, vlan: {priority_tags: if-nonzero}}
  - {name: always, driver: memory, vlan: {priority_tags: always}}
  - {name: untagged, driver: memory, vlan: {mode: native-untagged, tag: 5}}
  - {name: tunnel, driver: memory, vlan: {mode: dot1q-tunnel, tag: 5, qinq_ethtype: 802.1q}}
`)
	for _, c := range []struct {
		from string
		tags []uint16
		want string
	}{
		{"a", []uint16{0, 0}, "b=- nonzero=- always=8100:0000 8100:0000"},
		{"a", []uint16{0, 6}, "b=- nonzero=- always=8100:0000 8100:0006"},
		{"a", []uint16{0x6000, 0}, "b=8100:6000 nonzero=8100:6000 always=8100:6000 8100:0000"},
		{"a", []uint16{0x6000, 0x2000}, "b=8100:6000 8100:2000 nonzero=8100:6000 8100:2000 always=8100:6000 8100:2000"},
		{"a", []uint16{0, 0x2000}, "b=- nonzero=- always=8100:0000 8100:2000"},
		{"a", []uint16{5, 0}, "b=8100:0005 nonzero=8100:0005 always=8100:0005 8100:0000 untagged=- tunnel=-"},
		{"a", []uint16{6, 0}, "b=8100:0006 nonzero=8100:0006 always=8100:0006 8100:0000 untagged=8100:0006"},
		{"tunnel", []uint16{0}, "a=8100:0005 b=8100:0005 nonzero=8100:0005 always=8100:0005 8100:0000 untagged=-"},
	} {
		f := frame(0xff, 1, 64, c.tags...)
		copy(f, "\xff\xff\xff\xff\xff\xff")
		r.send(c.from, f)
		var got []string
		for _, port := range []string{"a", "b", "nonzero", "always", "untagged", "tunnel"} {
			for _, f := range r.got(port) {
				got = append(got, port+"="+tags(f))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("from %s, tags %x:\n got  %s\n want %s", c.from, c.tags, s, c.want)
		}
	}
}

func TestAddressesAreLearnedInTheVLANOfTheirPort(t *testing.T) {
	r := newRig(t)
	r.apply(vlanPorts)
	r.send("access", frame(9, 1, 64))
	r.want(map[string]int{"trunk": 1, "trunk10": 1, "tagged": 1, "untagged": 1, "tunnel": 1, "prio": 1})
	r.send("trunk", frame(1, 2, 64, 10)) // known in VLAN 10
	if got := r.want(map[string]int{"access": 1})["access"]; tags(got[0]) != "-" {
		t.Errorf("tags %s", tags(got[0]))
	}
	r.send("trunk", frame(1, 2, 64, 11)) // not known in VLAN 11
	r.want(map[string]int{"tagged": 1, "untagged": 1})
	// A port that changes its VLAN forgets whom it knew.
	r.apply(strings.Replace(vlanPorts, "{tag: 10}", "{tag: 11}", 1))
	r.send("trunk", frame(1, 2, 64, 10))
	r.want(map[string]int{"trunk10": 1, "tagged": 1, "untagged": 1, "tunnel": 1, "prio": 1})
}

func TestAFrameThatEndsInItsTagIsDropped(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	r.send("a", frame(9, 1, 0)[:12:12])
	short := append(frame(9, 1, 0)[:12:12], 0x81, 0, 0)
	r.send("a", short)
	if d := r.dropped(); d["bad_tag"] != 1 {
		t.Errorf("drops %v", d)
	}
	r.want(map[string]int{})
}

func TestOnlySoManyAddressesASecondComeFromOnePort(t *testing.T) {
	r := newRig(t)
	r.apply(strings.Replace(threePorts(), "name: br0", "name: br0\n  mac_rate: 5", 1))
	for i := range 50 {
		r.send("a", frame(200, byte(i), 64))
	}
	b := r.Bridges()[0]
	// The test may see the seconds change once or twice.
	if b.FDB.Entries < 5 || b.FDB.Entries > 15 || b.FDB.Limited < 35 {
		t.Errorf("%d addresses learned, %d refused", b.FDB.Entries, b.FDB.Limited)
	}
	r.send("b", frame(0, 100, 64)) // another port may
	if n := r.Bridges()[0].FDB.Entries; n != b.FDB.Entries+1 && n > 5 {
		t.Errorf("%d addresses after one from another port, %d before", n, b.FDB.Entries)
	}
}

func TestReservedAddressesStayOnTheWire(t *testing.T) {
	reserved := []uint64{0x0180c2000000, 0x0180c200000e, 0x00e02b000004, 0x01000ccccccc, 0x01000cccccc5, 0x01000ccdcdcd}
	others := []uint64{0x0180c2000010, 0x00e02b000001, 0x01000c000001, 0x01000cccccc8, 0x01005e000001}
	for _, mac := range reserved {
		if !isReserved(mac) {
			t.Errorf("%s is forwarded", formatMAC(mac))
		}
	}
	if i := slices.IndexFunc(others, isReserved); i >= 0 {
		t.Errorf("%s is not forwarded", formatMAC(others[i]))
	}
	r := newRig(t)
	lldp := frame(9, 1, 64)
	copy(lldp, "\x01\x80\xc2\x00\x00\x0e")
	r.apply(threePorts())
	r.send("a", lldp)
	r.want(map[string]int{})
	r.apply(strings.Replace(threePorts(), "name: br0", "name: br0\n  forward_reserved: true", 1))
	r.send("a", lldp)
	r.want(map[string]int{"b": 1, "c": 1})
}
