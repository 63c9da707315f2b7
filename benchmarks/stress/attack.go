package main

import (
	"fmt"
	"io"
	"math/bits"
)

// The rules and the traffic of the tuple space explosion, as published: L. Csikor, D. M. Divakaran, M. S. Kang, A.
// Korosi, B. Sonkoly, D. Haja, D. P. Pezaros, S. Schmid, G. Retvari, "Tuple Space Explosion: A Denial-of-Service Attack
// Against a Software Packet Classifier", CoNEXT 2019. The tenant's access list allows one value of each of some header
// fields, one rule a field, and denies the rest. A switch that caches what it decided under the bits that decided it
// needs, for a denied packet, for each field the prefix up to the first bit that differs from the allowed value; packets
// that differ at every combination of bits make it a mask each: 16 for one port, 32 x 16 x 16 = 8192 for a source
// address and two ports.

// field is a header field that a rule of the access list allows one value of.
type field struct {
	name    string // in rules
	width   int    // bits
	allowed uint32
	set     func(t *tuple, v uint32)
}

// The fields, with allowed values in the manner of the paper's examples.
var (
	destinationPort = field{"tp_dst", 16, 80, func(t *tuple, v uint32) { t.dstPort = uint16(v) }}
	sourceAddress   = field{"nw_src", 32, 10<<24 | 1, func(t *tuple, v uint32) { t.src = v }}
	sourcePort      = field{"tp_src", 16, 12345, func(t *tuple, v uint32) { t.srcPort = uint16(v) }}
	destination     = field{"nw_dst", 32, 10<<24 | 255<<16 | 7, func(t *tuple, v uint32) { t.dst = v }}
)

// accessList is the fields that one has, by the name of the paper's scenario.
type accessList struct {
	name   string
	fields []field
}

// worstPublished is the paper's access list of the most combinations.
const worstPublished = "SipSpDp"

// accessLists are the paper's, and one with the destination address in addition.
func accessLists() []accessList {
	return []accessList{
		{"Dp", []field{destinationPort}},
		{"SpDp", []field{destinationPort, sourcePort}},
		{"SipDp", []field{destinationPort, sourceAddress}},
		{worstPublished, []field{destinationPort, sourceAddress, sourcePort}},
		{"SipDipSpDp", []field{destinationPort, sourceAddress, sourcePort, destination}},
	}
}

// text is how a rule writes the value.
func (f *field) text() string {
	if f.width == 32 {
		return address(f.allowed)
	}
	return fmt.Sprint(f.allowed)
}

// writeRules writes the access list in the syntax of ovs-ofctl: what it allows goes from port 1 to port 2.
func (a *accessList) writeRules(w io.Writer) error {
	for i := range a.fields {
		f := &a.fields[i]
		if _, err := fmt.Fprintf(w, "priority=%d,in_port=1,udp,%s=%s,actions=output:2\n", 1000-i, f.name, f.text()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, "priority=1,actions=drop")
	return err
}

// combinations is how many different packets the attack has, and masks a switch that can be attacked makes.
func (a *accessList) combinations() uint64 {
	n := uint64(1)
	for i := range a.fields {
		n *= uint64(a.fields[i].width)
	}
	return n
}

// attack goes round all combinations: in each field the bits before one are those of the allowed value, that one is the
// opposite, and those after it, which no mask has, are random.
func (a *accessList) attack() generator {
	n := a.combinations()
	return func(i uint64) tuple {
		// Fields that no rule looks at.
		t := tuple{src: 10<<24 | 9, dst: 10<<24 | 8, srcPort: 1000, dstPort: 1000}
		c, noise := i%n, scramble(i)
		for k := range a.fields {
			f := &a.fields[k]
			w := uint64(f.width)
			bit := uint32(1) << (f.width - 1 - int(c%w))
			c /= w
			f.set(&t, f.allowed&^(bit<<1-1)|^f.allowed&bit|uint32(noise)&(bit-1))
			noise = bits.RotateLeft64(noise, 17)
		}
		return t
	}
}

// scramble makes a number look random (the finaliser of splitmix64, S. Vigna, public domain).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// victim is n flows that the access list's first rule allows: clients of the tenant's service.
func victim(n uint64) generator {
	return func(i uint64) tuple {
		i %= n
		return tuple{src: 192<<24 | 168<<16 | uint32(i), dst: 10<<24 | 8, srcPort: 40000 + uint16(i), dstPort: 80}
	}
}

func address(a uint32) string { return fmt.Sprintf("%d.%d.%d.%d", a>>24, a>>16&255, a>>8&255, a&255) }
