package ofctl

import "weft/flowtable/flow"

// partCondition handles FIELD[START..END]=VALUE.
func (p *parser) partCondition(it item) *SyntaxError {
	sub, err := parseSubfield(it.key)
	if err != nil {
		return err
	}
	if it.sep == 0 {
		return it.key.errorf("write "+it.key.s+"=VALUE", "%s is missing a value", it.key.s)
	}
	f := &flow.Fields[sub.Field]
	if !f.Mask && (!sub.IsWhole() || sub.Bits%8 != 0) {
		return it.key.errorf("write "+f.Name+"=VALUE", "%s can only be matched as a whole", f.Name)
	}
	val, err := number128(it.val, it.key.s, int(sub.Bits))
	if err != nil {
		return err
	}
	if sub.IsWhole() && !f.Mask {
		// The condition may look at more bits than the field has for actions, as in_port's does.
		if f.Syntax == flow.SynPort {
			n, err := parsePort(it.val, f.Name, nil)
			return cmpError(err, p.setMatch(sub.Field, it.key, flow.Value{Lo: n}, flow.Value{Lo: 1<<f.Width - 1}))
		}
		return p.setMatch(sub.Field, it.key, val, flow.Value{Lo: 1<<f.Width - 1})
	}
	shift := int(sub.Ofs) + int(flow.Places[sub.Field].Shift) - int(f.Shift)
	return p.setMatch(sub.Field, it.key, val.Shl(shift), flow.Ones(int(sub.Bits)).Shl(shift))
}

// cmpError is the first error.
func cmpError(a, b *SyntaxError) *SyntaxError {
	if a != nil {
		return a
	}
	return b
}
