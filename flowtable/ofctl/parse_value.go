package ofctl

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"weft/flowtable/flow"
)

// parseValue reads the value of f, and its mask: all bits when none is given.
func parseValue(f *flow.Field, v text, ports PortNames) (val, mask flow.Value, err *SyntaxError) {
	if v.s == "" {
		return val, mask, v.errorf("write "+f.Name+"=VALUE", "%s is missing a value", f.Name)
	}
	if v.s == "*" {
		return flow.Value{}, flow.Value{}, nil
	}
	if !f.Mask && f.Syntax != flow.SynPort && f.Syntax != flow.SynFrag {
		head, tail, masked := v.cut("/")
		if none, err := emptyMask(f, tail, masked); err != nil || none {
			return val, mask, err
		}
		v = head
	}
	switch f.Syntax {
	case flow.SynMAC:
		val.Lo, mask.Lo, err = parseMaskedMAC(v)
	case flow.SynIPv4:
		val.Lo, mask.Lo, err = parseMaskedIPv4(v)
	case flow.SynIPv6:
		val, mask, err = parseMaskedIPv6(v)
	case flow.SynPort:
		val.Lo, err = parsePort(v, f.Name, ports)
		mask.Lo = 1<<f.Width - 1
	case flow.SynFrag:
		val.Lo, mask.Lo, err = parseFrag(v)
	case flow.SynTCPFlags:
		val.Lo, mask.Lo, err = parseTCPFlags(v)
	case flow.SynVLANID, flow.SynVLANVID, flow.SynVLANTCI, flow.SynVLANPCP:
		val.Lo, mask.Lo, err = parseVLANMatch(f, v)
	default:
		if f.Width == 128 {
			val, mask, err = parseWide(f, v)
		} else {
			val.Lo, mask.Lo, err = parseNumber(f, v)
		}
	}
	val.Lo &= mask.Lo
	val.Hi &= mask.Hi
	return val, mask, err
}

// emptyMask looks at the mask of a field that takes none: it may be all bits, as many as the field's bytes have, or none
// at all, as in Open vSwitch. It reports whether it is the latter.
func emptyMask(f *flow.Field, mask text, given bool) (none bool, err *SyntaxError) {
	if !given {
		return false, nil
	}
	all := uint64(0xff)
	for all < f.Max {
		all = all<<bits.Len64(all) | all
	}
	if f == &flow.Fields[flow.FieldARPOp] {
		all = 0xffff // the operation has two bytes, of which keys keep the lower
	}
	n, err := number(mask, f.Name, ^uint64(0))
	if err == nil && n != all && n != 0 {
		err = mask.errorf("write the value alone", "%s takes no mask", f.Name)
	}
	return n == 0, err
}

func parseNumber(f *flow.Field, v text) (val, mask uint64, err *SyntaxError) {
	head, tail, masked := v.cut("/")
	if val, err = number(head, f.Name, f.Max); err != nil {
		return 0, 0, err
	}
	mask = 1<<f.Width - 1
	if masked {
		if mask, err = number(tail, f.Name, mask); err != nil {
			return 0, 0, err
		}
	}
	switch f.Syntax {
	case flow.SynTOS:
		mask = 0xfc
	case flow.SynDSCP:
		val, mask = val<<2, 0xfc
	}
	return val, mask, nil
}

// parseWide reads a number of 128 bits with or without a mask.
func parseWide(f *flow.Field, v text) (val, mask flow.Value, err *SyntaxError) {
	head, tail, masked := v.cut("/")
	if val, err = number128(head, f.Name, 128); err != nil {
		return val, mask, err
	}
	mask = flow.Ones(128)
	if masked {
		mask, err = number128(tail, f.Name, 128)
	}
	return val, mask, err
}

// parseVLANMatch turns the four ways to write a tag into bits of the tag's control information.
func parseVLANMatch(f *flow.Field, v text) (val, mask uint64, err *SyntaxError) {
	head, tail, masked := v.cut("/")
	if val, err = number(head, f.Name, f.Max); err != nil {
		return 0, 0, err
	}
	if masked {
		if mask, err = number(tail, f.Name, 0xffff); err != nil {
			return 0, 0, err
		}
	}
	switch f.Syntax {
	case flow.SynVLANID:
		switch {
		case val == 0xffff:
			return 0, 0xffff, nil
		case val > flow.VLANVID:
			return 0, 0, v.errorf("VLAN ids are 0 to 4095; 0xffff means untagged", "%s is too large for %s", v.s, f.Name)
		}
		return val | flow.VLANPresent, flow.VLANVID | flow.VLANPresent, nil
	case flow.SynVLANPCP:
		return val<<flow.VLANPCPLow | flow.VLANPresent, flow.VLANPCP | flow.VLANPresent, nil
	case flow.SynVLANVID:
		if !masked {
			mask = flow.VLANVID | flow.VLANPresent
		} else if mask&^(flow.VLANVID|flow.VLANPresent) != 0 {
			return 0, 0, tail.errorf("the widest mask is 0x1fff", "mask %s is too wide for %s", tail.s, f.Name)
		}
	default:
		if !masked {
			mask = 0xffff
		}
	}
	val &= mask
	if mask&flow.VLANPresent != 0 && val&flow.VLANPresent == 0 && val != 0 {
		return 0, 0, v.errorf(fmt.Sprintf("set the bit 0x1000, which means that a tag is present: %#x", val|flow.VLANPresent),
			"%s=%s can match no packet", f.Name, v.s)
	}
	return val, mask, nil
}

func parseMaskedMAC(v text) (val, mask uint64, err *SyntaxError) {
	head, tail, masked := v.cut("/")
	if val, err = parseMAC(head); err != nil {
		return 0, 0, err
	}
	mask = flow.FullEth
	if masked {
		mask, err = parseMAC(tail)
	}
	return val, mask, err
}

func parseMAC(v text) (uint64, *SyntaxError) {
	bad := func() (uint64, *SyntaxError) {
		return 0, v.errorf("write six hexadecimal numbers with colons, such as 52:54:00:12:34:56",
			"%q is not an Ethernet address", v.s)
	}
	parts := strings.Split(v.s, ":")
	if len(parts) != 6 {
		return bad()
	}
	var mac uint64
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) > 2 {
			return bad()
		}
		mac = mac<<8 | n
	}
	return mac, nil
}

func parseMaskedIPv4(v text) (val, mask uint64, err *SyntaxError) {
	head, tail, masked := v.cut("/")
	if val, err = parseIPv4(head); err != nil {
		return 0, 0, err
	}
	if !masked {
		return val, 0xffffffff, nil
	}
	if strings.Contains(tail.s, ".") {
		mask, err = parseIPv4(tail)
		return val, mask, err
	}
	n, err := number(tail, "the prefix length", 32)
	if err != nil {
		return 0, 0, err
	}
	return val, 0xffffffff << (32 - n) & 0xffffffff, nil
}

func parseIPv4(v text) (uint64, *SyntaxError) {
	a, err := netip.ParseAddr(v.s)
	if err != nil || !a.Is4() {
		return 0, v.errorf("write it as 192.0.2.1, 192.0.2.0/24 or 192.0.2.0/255.255.255.0",
			"%q is not an IPv4 address", v.s)
	}
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:])), nil
}

func parseMaskedIPv6(v text) (val, mask flow.Value, err *SyntaxError) {
	head, tail, masked := v.cut("/")
	if val, err = parseIPv6(head); err != nil {
		return val, mask, err
	}
	switch {
	case !masked:
		mask = flow.Ones(128)
	case strings.Contains(tail.s, ":"):
		mask, err = parseIPv6(tail)
	default:
		var n uint64
		n, err = number(tail, "the prefix length", 128)
		mask = flow.Ones(int(n)).Shl(128 - int(n))
	}
	return val, mask, err
}

func parseIPv6(v text) (flow.Value, *SyntaxError) {
	a, err := netip.ParseAddr(v.s)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return flow.Value{}, v.errorf("write it as 2001:db8::1 or 2001:db8::/32", "%q is not an IPv6 address", v.s)
	}
	b := a.As16()
	return flow.Value{Hi: binary.BigEndian.Uint64(b[:]), Lo: binary.BigEndian.Uint64(b[8:])}, nil
}

func parseFrag(v text) (val, mask uint64, err *SyntaxError) {
	for _, n := range flow.FragNames {
		if n.Name == v.s {
			return n.Val, n.Mask, nil
		}
	}
	return 0, 0, v.errorf("use no, yes, first, later or not_later", "unknown fragment type %q", v.s)
}

// tcpFlagNames are TCP's flags from the lowest bit (RFC 9293 §3.1); the reserved bits go by their value, as ovs-ofctl
// has it.
var tcpFlagNames = [12]string{
	"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]",
}

const tcpFlagsHint = "write +syn-ack, syn|ack, or a number up to 0xfff with or without /MASK"

// parseTCPFlags reads "+syn-ack" (those two, others do not matter), "syn|ack" (exactly these) or VALUE[/MASK].
func parseTCPFlags(v text) (val, mask uint64, err *SyntaxError) {
	if c := v.s[0]; c >= '0' && c <= '9' {
		head, tail, masked := v.cut("/")
		if val, err = number(head, "tcp_flags", 0xfff); err == nil && masked {
			mask, err = number(tail, "tcp_flags", 0xfff)
			return val, mask, err
		}
		return val, 0xfff, err
	}
	if c := v.s[0]; c != '+' && c != '-' {
		for rest, more := v, true; more; {
			var one text
			one, rest, more = rest.cut("|")
			bit, err := tcpFlag(one)
			if err != nil {
				return 0, 0, err
			}
			val |= bit
		}
		return val, 0xfff, nil
	}
	rest := v
	for rest.s != "" {
		sign := rest.take(1).s
		if sign != "+" && sign != "-" {
			return 0, 0, v.errorf(tcpFlagsHint, "bad tcp_flags %q", v.s)
		}
		n := strings.IndexAny(rest.s, "+-")
		if n < 0 {
			n = len(rest.s)
		}
		one := rest.take(n)
		bit, err := tcpFlag(one)
		if err != nil {
			return 0, 0, err
		}
		if mask&bit != 0 {
			return 0, 0, one.errorf("name each flag once", "tcp flag %s is given twice", one.s)
		}
		mask |= bit
		if sign == "+" {
			val |= bit
		}
	}
	return val, mask, nil
}

func tcpFlag(v text) (uint64, *SyntaxError) {
	for i, n := range tcpFlagNames {
		if n == v.s {
			return 1 << i, nil
		}
	}
	return 0, v.errorf(tcpFlagsHint, "unknown tcp flag %q", v.s)
}

// reservedPorts are the port names that stand for themselves in every bridge.
var reservedPorts = []string{"in_port", "flood", "all", "normal", "local", "controller", "table", "none", "any"}

// parsePort reads the number or name of an ordinary port, or LOCAL.
func parsePort(v text, what string, ports PortNames) (uint64, *SyntaxError) {
	name := v.s
	if strings.HasPrefix(name, `"`) {
		var err *SyntaxError
		if name, err = unquote(v); err != nil {
			return 0, err
		}
	} else {
		if name == "" {
			return 0, v.errorf("write a port's number or name", "%s is missing a port", what)
		}
		if c := name[0]; c >= '0' && c <= '9' {
			n, err := number(v, what, 0xffffffff)
			switch {
			case err == nil && (n == flow.PortLocal || n == 0xfffe): // OpenFlow 1.1's and 1.0's number of LOCAL
				return flow.PortLocal, nil
			case err == nil && n >= 1 && n <= flow.MaxPort:
				return n, nil
			}
			// A name may start with a digit.
		}
		if strings.EqualFold(name, "local") {
			return flow.PortLocal, nil
		}
	}
	if ports != nil {
		if n, ok := ports.PortNumber(name); ok {
			return uint64(n), nil
		}
	}
	return 0, v.errorf(fmt.Sprintf("use the name of a port of this bridge, LOCAL, or a number from 1 to %d", flow.MaxPort),
		"%s: unknown port %s", what, v.s)
}
