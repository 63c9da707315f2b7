package frame

import "encoding/binary"

// TagLen is the length of a VLAN tag in bytes.
const TagLen = tagLen

// InsertTag returns b with a VLAN tag behind the addresses, outside of any tag that is there. It returns a copy.
func InsertTag(b []byte, t Tag) []byte {
	if len(b) < addressesLen {
		return b
	}
	out := make([]byte, 0, len(b)+tagLen)
	out = append(out, b[:addressesLen]...)
	out = binary.BigEndian.AppendUint16(out, t.TPID)
	out = binary.BigEndian.AppendUint16(out, t.TCI)
	return append(out, b[addressesLen:]...)
}

// StripTags returns a copy of b without the first n VLAN tags of the MAC header at offset at. The caller knows that
// they are there.
func StripTags(b []byte, at, n int) []byte {
	out := make([]byte, 0, len(b)-n*tagLen)
	out = append(out, b[:at+addressesLen]...)
	return append(out, b[at+addressesLen+n*tagLen:]...)
}

// MinLen is the length in bytes to which the MAC pads frames on the wire, frame check sequence excluded.
const MinLen = 60

// Pad returns b with zeros up to the shortest frame.
func Pad(b []byte) []byte {
	if len(b) >= MinLen {
		return b
	}
	return append(b[:len(b):len(b)], make([]byte, MinLen-len(b))...)
}
