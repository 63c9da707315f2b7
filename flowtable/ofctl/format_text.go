package ofctl

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// What rules are made of is appended to the caller's memory, without package fmt: a dump has a hundred such parts for each
// of a million rules.

const hexDigits = "0123456789abcdef"

// appendHex appends v in hexadecimal with at least so many digits.
func appendHex(b []byte, v uint64, digits int) []byte {
	for n := max(digits, (bits.Len64(v)+3)/4, 1); n > 0; n-- {
		b = append(b, hexDigits[v>>(4*(n-1))&0xf])
	}
	return b
}

// append0x appends v as C's %#x has it, which is 0 for 0.
func append0x(b []byte, v uint64) []byte {
	if v == 0 {
		return append(b, '0')
	}
	return appendHex(append(b, "0x"...), v, 1)
}

// appendSeconds appends a time with its milliseconds.
func appendSeconds(b []byte, d time.Duration) []byte {
	b = strconv.AppendInt(b, int64(d/time.Second), 10)
	ms := int64(d / time.Millisecond % 1000)
	return append(b, '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 's')
}

// FormatMAC prints an Ethernet address, the low 48 bits of v.
func FormatMAC(v uint64) string { return string(appendMAC(nil, v)) }

func appendMAC(b []byte, v uint64) []byte {
	b = appendHex(b, v>>40&0xff, 2)
	for shift := 32; shift >= 0; shift -= 8 {
		b = appendHex(append(b, ':'), v>>shift&0xff, 2)
	}
	return b
}

func appendMaskedMAC(b []byte, v, mask, full uint64) []byte {
	b = appendMAC(b, v)
	if mask != full {
		b = appendMAC(append(b, '/'), mask)
	}
	return b
}

// FormatIPv4 prints an IPv4 address.
func FormatIPv4(v uint64) string { return string(appendIPv4(nil, v)) }

func appendIPv4(b []byte, v uint64) []byte {
	b = strconv.AppendUint(b, v>>24&0xff, 10)
	for shift := 16; shift >= 0; shift -= 8 {
		b = strconv.AppendUint(append(b, '.'), v>>shift&0xff, 10)
	}
	return b
}

// appendMaskedIPv4 appends an address with its prefix length, or with its mask if that is not a prefix.
func appendMaskedIPv4(b []byte, v, mask uint64) []byte {
	const full = 0xffffffff
	b = appendIPv4(b, v)
	n := bits.OnesCount64(mask)
	switch {
	case mask != full<<(32-n)&full:
		return appendIPv4(append(b, '/'), mask)
	case n != 32:
		return strconv.AppendInt(append(b, '/'), int64(n), 10)
	}
	return b
}

func appendIPv6(b []byte, hi, lo uint64) []byte {
	var a [16]byte
	for i := range 8 {
		a[i], a[8+i] = byte(hi>>(56-8*i)), byte(lo>>(56-8*i))
	}
	return netip.AddrFrom16(a).AppendTo(b)
}

// appendMaskedIPv6 appends an address with its prefix length, or with its mask if that is not a prefix.
func appendMaskedIPv6(b []byte, hi, lo, maskHi, maskLo uint64) []byte {
	b = appendIPv6(b, hi, lo)
	n := bits.LeadingZeros64(^maskHi)
	if n == 64 {
		n += bits.LeadingZeros64(^maskLo)
	}
	switch {
	case n == 128:
		return b
	case bits.OnesCount64(maskHi)+bits.OnesCount64(maskLo) == n:
		return strconv.AppendInt(append(b, '/'), int64(n), 10)
	}
	return appendIPv6(append(b, '/'), maskHi, maskLo)
}

// appendName appends a port's name, in quotation marks unless it is a plain word that could not be taken for anything
// else.
func appendName(b []byte, name string) []byte {
	plain := name != ""
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			plain = false
		}
	}
	for _, r := range reservedPorts {
		if strings.EqualFold(r, name) {
			plain = false
		}
	}
	if plain {
		return append(b, name...)
	}
	return strconv.AppendQuote(b, name)
}
