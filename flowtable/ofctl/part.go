package ofctl

import (
	"fmt"
	"math/big"
	"strings"

	"weft/flowtable/flow"
)

// part is a range of a field's bits: FIELD[START..END], FIELD[BIT] or FIELD[] for all of it.
type part struct {
	id         flow.FieldID
	start, len int // bits
}

// whole reports whether p is all of its field.
func (p part) whole() bool { return p.len == int(flow.Wires[p.id].Bits) }

// parsePart reads a part of a field by any of the field's names (ovs-ofctl(8), "Syntax of FIELD[START..END]").
func parsePart(t text) (part, *SyntaxError) {
	name, rest, found := t.cut("[")
	inside, closed := strings.CutSuffix(rest.s, "]")
	if !found || !closed {
		return part{}, rest.errorf("write FIELD[], FIELD[BIT] or FIELD[START..END]", "%q is not a part of a field", t.s)
	}
	id, ok := fieldNamed(name.s)
	if !ok || flow.Wires[id].Bits == 0 {
		hint := "see ovs-fields(7) for the names of fields"
		if w := nearest(name.s, fieldWords()); w != "" {
			hint = "did you mean " + w + "?"
		}
		return part{}, name.errorf(hint, "unknown field %q", name.s)
	}
	width := int(flow.Wires[id].Bits)
	if inside == "" {
		return part{id, 0, width}, nil
	}
	first, last, ranged := text{inside, rest.col}.cut("..")
	if !ranged {
		last = first
	}
	largest := fmt.Sprintf("%s has %d bits, 0 to %d", name.s, width, width-1)
	start, err := bitNumber(first, largest, width)
	if err != nil {
		return part{}, err
	}
	end, err := bitNumber(last, largest, width)
	if err != nil {
		return part{}, err
	}
	if start > end {
		return part{}, first.errorf("write the lower bit first", "bit %d comes after bit %d", start, end)
	}
	return part{id, start, end - start + 1}, nil
}

func bitNumber(t text, hint string, width int) (int, *SyntaxError) {
	n, err := number(t, "a bit", 127)
	if err != nil {
		return 0, err
	}
	if int(n) >= width {
		return 0, t.errorf(hint, "there is no bit %d", n)
	}
	return int(n), nil
}

// partCondition handles FIELD[START..END]=VALUE.
func (p *parser) partCondition(it item) *SyntaxError {
	pt, err := parsePart(it.key)
	if err != nil {
		return err
	}
	if it.sep == 0 {
		return it.key.errorf("write "+it.key.s+"=VALUE", "%s is missing a value", it.key.s)
	}
	f := &flow.Fields[pt.id]
	if !f.Mask && (!pt.whole() || pt.len%8 != 0) {
		return it.key.errorf("write "+f.Name+"=VALUE", "%s can only be matched as a whole", f.Name)
	}
	val, err := wideNumber(it.val, it.key.s, pt.len)
	if err != nil {
		return err
	}
	if pt.whole() && !f.Mask {
		// The condition may look at more bits than the field has for actions, as in_port's does.
		if f.Syntax == flow.SynPort {
			n, err := parsePort(it.val, f.Name, nil)
			return cmpError(err, p.setMatch(pt.id, it.key, value128{lo: n}, value128{lo: 1<<f.Width - 1}))
		}
		return p.setMatch(pt.id, it.key, val, value128{lo: 1<<f.Width - 1})
	}
	shift := pt.start + int(flow.Wires[pt.id].Low) - int(f.Shift)
	return p.setMatch(pt.id, it.key, val.shift(shift), ones(pt.len).shift(shift))
}

// cmpError is the first error.
func cmpError(a, b *SyntaxError) *SyntaxError {
	if a != nil {
		return a
	}
	return b
}

// ones is a value whose low n bits are set.
func ones(n int) value128 {
	if n > 64 {
		return value128{hi: 1<<(n-64) - 1, lo: ^uint64(0)}
	}
	return value128{lo: 1<<n - 1}
}

// shift moves v n bits up.
func (v value128) shift(n int) value128 {
	if n >= 64 {
		return value128{hi: v.lo << (n - 64)}
	}
	return value128{hi: v.hi<<n | v.lo>>(64-n), lo: v.lo << n}
}

// wideNumber parses an unsigned decimal or 0x number of up to bits bits.
func wideNumber(t text, what string, bits int) (value128, *SyntaxError) {
	digits, base := t.s, 10
	if len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X") {
		digits, base = digits[2:], 16
	}
	const longest = 64 // digits; no number that fits has more
	n, ok := new(big.Int), len(digits) <= longest && !strings.ContainsAny(digits, "+-_")
	if ok {
		_, ok = n.SetString(digits, base)
	}
	if !ok {
		return value128{}, t.errorf("use a decimal number, or a hexadecimal one with 0x", "%q is not a number for %s", t.s, what)
	}
	if n.BitLen() > bits {
		return value128{}, t.errorf(fmt.Sprintf("it has %d bits", bits), "%s is too large for %s", t.s, what)
	}
	var b [16]byte
	n.FillBytes(b[:])
	var v value128
	for i := range 8 {
		v.hi, v.lo = v.hi<<8|uint64(b[i]), v.lo<<8|uint64(b[8+i])
	}
	return v, nil
}
