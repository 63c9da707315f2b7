package ofctl

import (
	"slices"
	"strings"

	"weft/flowtable/flow"
)

// setting is an item before the actions that is not a condition.
type setting struct {
	name  string
	value bool // takes a value
	modes []parseMode
	set   func(p *parser, it item) *SyntaxError
}

// Which commands a setting belongs to.
var (
	everywhere = []parseMode{modeAdd, modeModify, modeFilter}
	withRule   = []parseMode{modeAdd, modeModify}
	onlyAdd    = []parseMode{modeAdd}
	selecting  = []parseMode{modeModify, modeFilter}
)

// settings is the table of them.
var settings = []setting{
	{"table", true, everywhere, (*parser).setTable},
	{"priority", true, everywhere, (*parser).setPriority},
	{"cookie", true, everywhere, (*parser).setCookie},
	{"idle_timeout", true, withRule, func(p *parser, it item) *SyntaxError { return p.setUint16(it, &p.rule.IdleTimeout) }},
	{"hard_timeout", true, withRule, func(p *parser, it item) *SyntaxError { return p.setUint16(it, &p.rule.HardTimeout) }},
	{"importance", true, onlyAdd, func(p *parser, it item) *SyntaxError { return p.setUint16(it, &p.rule.Importance) }},
	{"out_port", true, selecting, (*parser).setOutPort},
	{"out_group", true, selecting, (*parser).setOutGroup},
	{"send_flow_rem", false, withRule, func(p *parser, _ item) *SyntaxError { return p.setFlag(flow.FlagSendRemoved) }},
	{"check_overlap", false, withRule, func(p *parser, _ item) *SyntaxError { return p.setFlag(flow.FlagCheckOverlap) }},
	{"reset_counts", false, withRule, func(p *parser, _ item) *SyntaxError { return p.setFlag(flow.FlagResetCounts) }},
	{"no_packet_counts", false, withRule, func(p *parser, _ item) *SyntaxError { return p.setFlag(flow.FlagNoPacketCounts) }},
	{"no_byte_counts", false, withRule, func(p *parser, _ item) *SyntaxError { return p.setFlag(flow.FlagNoByteCounts) }},
	{"duration", true, everywhere, ignoreStat},
	{"n_packets", true, everywhere, ignoreStat},
	{"n_bytes", true, everywhere, ignoreStat},
	{"idle_age", true, everywhere, ignoreStat},
	{"hard_age", true, everywhere, ignoreStat},
}

// setting handles an item that is the setting s.
func (p *parser) setting(it item, s *setting) *SyntaxError {
	switch {
	case !slices.Contains(s.modes, p.mode):
		return it.key.errorf("remove it", "%s has no meaning here", s.name)
	case s.value && (it.sep == 0 || it.val.s == ""):
		return it.key.errorf("write "+s.name+"=VALUE", "%s is missing a value", s.name)
	case !s.value && it.sep != 0:
		return it.key.errorf("write it alone", "%s takes no value", s.name)
	case slices.Contains(p.given, s.name) && s.name != "cookie":
		return it.key.errorf("remove one of the two", "%s is given twice", s.name)
	}
	p.given = append(p.given, s.name)
	return s.set(p, it)
}

func (p *parser) setTable(it item) *SyntaxError {
	n, err := number(it.val, "table", flow.NumTables-1)
	p.rule.Table, p.tableGiven = uint8(n), true
	return err
}

func (p *parser) setPriority(it item) *SyntaxError {
	if p.mode == modeFilter && !p.change.Filter.Strict {
		return it.key.errorf("use the strict form of the command", "a priority selects rules only in the strict form")
	}
	n, err := number(it.val, "priority", 0xffff)
	p.rule.Priority, p.prioGiven = uint16(n), true
	return err
}

// setCookie reads cookie=VALUE and cookie=VALUE/MASK. A mask of -1 is all bits, as ovs-ofctl has it.
func (p *parser) setCookie(it item) *SyntaxError {
	head, tail, masked := it.val.cut("/")
	val, err := number(head, "cookie", ^uint64(0))
	if err != nil {
		return err
	}
	if !masked && p.mode != modeFilter {
		if p.cookieGiven {
			return it.key.errorf("remove one of the two", "cookie is given twice")
		}
		p.rule.Cookie, p.cookieGiven = val, true
		return nil
	}
	if p.mode == modeAdd {
		return tail.errorf("write cookie="+head.s, "a rule to add cannot have a cookie mask")
	}
	mask := ^uint64(0)
	if masked && tail.s != "-1" {
		if mask, err = number(tail, "the cookie mask", mask); err != nil {
			return err
		}
	}
	if p.change.Filter.CookieMask != 0 {
		return it.key.errorf("remove one of the two", "cookie is given twice")
	}
	p.change.Filter.Cookie, p.change.Filter.CookieMask = val&mask, mask
	return nil
}

func (p *parser) setUint16(it item, dst *uint16) *SyntaxError {
	n, err := number(it.val, it.key.s, 0xffff)
	*dst = uint16(n)
	return err
}

func (p *parser) setOutPort(it item) *SyntaxError {
	n, err := parsePort(it.val, "out_port", p.ports)
	p.change.Filter.OutPort = uint32(n)
	return err
}

func (p *parser) setOutGroup(it item) *SyntaxError {
	n, err := number(it.val, "out_group", flow.MaxGroup)
	p.change.Filter.ByOutGroup, p.change.Filter.OutGroup = true, uint32(n)
	return err
}

func (p *parser) setFlag(f flow.Flags) *SyntaxError {
	p.rule.Flags |= f
	return nil
}

// ignoreStat checks that a statistic looks like one, and forgets it.
func ignoreStat(_ *parser, it item) *SyntaxError {
	v := it.val
	if it.key.s == "duration" {
		v.s = strings.TrimSuffix(v.s, "s")
	}
	if v.s == "" || strings.Trim(v.s, "0123456789.") != "" {
		return it.val.errorf("statistics are ignored, but must be numbers", "%s=%s is not a number", it.key.s, it.val.s)
	}
	return nil
}
