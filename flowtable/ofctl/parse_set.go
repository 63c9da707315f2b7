package ofctl

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"

	"weft/flowtable/flow"
)

// arrow cuts VALUE->DESTINATION.
func arrow(t text, form string) (value, dst text, err *SyntaxError) {
	value, dst, ok := t.cut("->")
	switch {
	case !ok:
		return value, dst, t.errorf("write "+form, "%q has no ->", t.s)
	case dst.s == "":
		return value, dst, dst.errorf("write "+form, "no field follows ->")
	}
	return value, dst, nil
}

// parseSetField reads set_field:VALUE[/MASK]->FIELD.
func (p *parser) parseSetField(it item) (flow.Action, *SyntaxError) {
	a := flow.Action{Kind: flow.ActionSetField}
	val, dst, err := arrow(it.val, "set_field:VALUE->FIELD")
	if err != nil {
		return a, err
	}
	id, ok := actionField(dst.s, false)
	if !ok {
		return a, dst.errorf(setFieldHint(dst.s), "%q is not a field that set_field can set", dst.s)
	}
	if pl := &flow.Places[id]; !pl.Writable {
		return a, dst.errorf("actions cannot change it", "%s is read-only", pl.Name)
	}
	a.Dst = flow.Whole(id)
	a.Value, a.Mask, err = p.fieldValue(id, val)
	a.Value = a.Value.And(a.Mask)
	return a, err
}

// setFieldHint says what to write instead of the unknown field name.
func setFieldHint(name string) string {
	if bare, _, bracket := strings.Cut(name, "["); bracket {
		return "set_field sets whole fields; for some bits write load:VALUE->" + bare + "[FIRST..LAST] or a mask"
	}
	if id, ok := actionField(name, true); ok {
		return "write ->" + flow.Places[id].Name
	}
	var words []string
	for id := range flow.Places {
		if pl := &flow.Places[id]; pl.Writable {
			words = append(words, pl.Name)
		}
	}
	if w := nearest(strings.ToLower(name), words); w != "" {
		return "did you mean " + w + "?"
	}
	return "see ovs-fields(7) for the names of fields"
}

// fieldValue reads the value of a field and its mask, all bits when none is given.
func (p *parser) fieldValue(id flow.FieldID, t text) (val, mask flow.Value, err *SyntaxError) {
	pl, f := &flow.Places[id], &flow.Fields[id]
	full := flow.Ones(int(pl.Bits))
	if t.s == "" {
		return val, mask, t.errorf("write set_field:VALUE->"+pl.Name, "set_field is missing a value")
	}
	switch f.Syntax {
	case flow.SynMAC:
		val.Lo, mask.Lo, err = parseMaskedMAC(t)
	case flow.SynIPv4:
		val.Lo, mask.Lo, err = parseMaskedIPv4(t)
	case flow.SynIPv6:
		val, mask, err = parseMaskedIPv6(t)
	case flow.SynPort:
		val.Lo, err = p.portField(t)
		mask = full
	case flow.SynVLANVID:
		// The bit that says that there is a tag may be written, and goes without saying.
		head, tail, masked := t.cut("/")
		val.Lo, err = number(head, pl.Name, flow.VLANPresent|flow.VLANVID)
		mask = full
		if err == nil && masked {
			mask.Lo, err = number(tail, pl.Name, flow.VLANPresent|flow.VLANVID)
		}
		val, mask = val.And(full), mask.And(full)
	default:
		head, tail, masked := t.cut("/")
		val, err = number128(head, pl.Name, int(pl.Bits))
		mask = full
		if err == nil && masked {
			mask, err = number128(tail, pl.Name, int(pl.Bits))
		}
	}
	if err != nil {
		return val, mask, err
	}
	if mask != full && !pl.Maskable {
		return val, mask, t.errorf("write the value alone", "%s takes no mask", pl.Name)
	}
	return val, mask, nil
}

// portField reads the number of a port as in_port's 16 bits hold it (OpenFlow 1.0 §5.2.1).
func (p *parser) portField(t text) (uint64, *SyntaxError) {
	if n, err := number(t, "in_port", 0xffff); err == nil {
		return n, nil
	}
	n, err := parsePort(t, "in_port", p.ports)
	return n & 0xffff, err
}

// number128 parses a number that fits into width bits: decimal up to 64 bits, or hexadecimal.
func number128(t text, what string, width int) (flow.Value, *SyntaxError) {
	if width <= 64 {
		n, err := number(t, what, flow.Ones(width).Lo)
		return flow.Value{Lo: n}, err
	}
	digits, hex := strings.CutPrefix(strings.ToLower(t.s), "0x")
	if !hex || len(digits) <= 16 {
		n, err := number(t, what, ^uint64(0))
		return flow.Value{Lo: n}, err
	}
	digits = strings.TrimLeft(digits, "0")
	if len(digits) > 32 {
		return flow.Value{}, t.errorf("it has 128 bits", "%s is too large for %s", t.s, what)
	}
	split := max(0, len(digits)-16)
	var v flow.Value
	var err error
	if v.Lo, err = strconv.ParseUint(digits[split:], 16, 64); err == nil && split > 0 {
		v.Hi, err = strconv.ParseUint(digits[:split], 16, 64)
	}
	if err != nil {
		return v, t.errorf("use a decimal number, or a hexadecimal one with 0x", "%q is not a number for %s", t.s, what)
	}
	return v, nil
}

// parseLoad reads load:VALUE->SUBFIELD.
func (p *parser) parseLoad(it item) (flow.Action, *SyntaxError) {
	a := flow.Action{Kind: flow.ActionLoad}
	val, dst, err := arrow(it.val, "load:VALUE->FIELD[FIRST..LAST]")
	if err != nil {
		return a, err
	}
	if a.Dst, err = parseSubfield(dst); err != nil {
		return a, err
	}
	if a.Value, err = number128(val, "load", int(flow.Places[a.Dst.Field].Bits)); err != nil {
		return a, err
	}
	if a.Value.Len() > int(a.Dst.Bits) {
		return a, val.errorf("give a smaller value or more bits", "%s does not fit into %d bits", val.s, a.Dst.Bits)
	}
	return a, nil
}

// parseMove reads move:SUBFIELD->SUBFIELD.
func (p *parser) parseMove(it item) (flow.Action, *SyntaxError) {
	a := flow.Action{Kind: flow.ActionMove}
	src, dst, err := arrow(it.val, "move:FIELD[FIRST..LAST]->FIELD[FIRST..LAST]")
	if err != nil {
		return a, err
	}
	if a.Src, err = parseSubfield(src); err != nil {
		return a, err
	}
	a.Dst, err = parseSubfield(dst)
	return a, err
}

func (p *parser) parseWriteMetadata(it item) (flow.Action, *SyntaxError) {
	a := flow.Action{Kind: flow.ActionWriteMetadata, Mask: flow.Ones(64)}
	head, tail, masked := it.val.cut("/")
	var err *SyntaxError
	if a.Value.Lo, err = number(head, "write_metadata", ^uint64(0)); err == nil && masked {
		a.Mask.Lo, err = number(tail, "write_metadata", ^uint64(0))
	}
	a.Value = a.Value.And(a.Mask)
	return a, err
}

// parseSetTunnel reads set_tunnel:ID. A large ID makes it set_tunnel64.
func (p *parser) parseSetTunnel(it item) (flow.Action, *SyntaxError) {
	n, err := number(it.val, "set_tunnel", ^uint64(0))
	a := flow.Action{Kind: flow.ActionSetTunnel, Value: flow.Value{Lo: n}}
	if bits.Len64(n) > 32 {
		a.Kind = flow.ActionSetTunnel64
	}
	return a, err
}

// parseDecTTL reads dec_ttl and dec_ttl(ID,ID), the controllers to tell of packets that have no TTL left. They are kept
// for printing.
func (p *parser) parseDecTTL(it item) (flow.Action, *SyntaxError) {
	a := flow.Action{Kind: flow.ActionDecTTL}
	if it.sep == 0 || it.val.s == "" {
		return a, nil
	}
	var ids []byte
	for rest, more := it.val, true; more; {
		var id text
		id, rest, more = rest.cut(",")
		n, err := number(id.trim(), "a controller of dec_ttl", 0xffff)
		if err != nil {
			return a, err
		}
		ids = binary.BigEndian.AppendUint16(ids, uint16(n))
	}
	a.Note = string(ids)
	return a, nil
}

// parseNote reads note:HEX.HEX. Notes have 6 bytes or 8 more, since that is what fits into OpenFlow's action: the rest is
// filled with zeros, as ovs-ofctl does.
func (p *parser) parseNote(it item, set bool) *SyntaxError {
	const hint = "write pairs of hexadecimal digits with dots between them, such as note:01.2f"
	v := it.val.trim()
	var b []byte
	for i := 0; i < len(v.s); {
		if v.s[i] == '.' {
			i++
			continue
		}
		if i+2 > len(v.s) {
			return v.errorf(hint, "%q is no note", v.s)
		}
		n, err := strconv.ParseUint(v.s[i:i+2], 16, 8)
		if err != nil {
			return v.errorf(hint, "%q is no note", v.s)
		}
		b = append(b, byte(n))
		i += 2
	}
	for len(b)%8 != 6 {
		b = append(b, 0)
	}
	p.put(flow.Action{Kind: flow.ActionNote, Note: string(b)}, it.key, set)
	return nil
}
