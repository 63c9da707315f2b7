package ofctl

import (
	"fmt"
	"strings"

	"weft/flowtable/flow"
)

// ParseMeter reads a meter in the syntax of "ovs-ofctl add-meter" (ovs-ofctl(8), "Meter Syntax"):
//
//	meter=1 kbps burst stats bands=type=drop rate=1000 burst_size=100
//
// Errors are of type *SyntaxError.
func ParseMeter(s string) (*flow.Meter, error) {
	p := meterParser{rest: text{s, 1}, end: text{"", 1 + len(s)}}
	if err := p.run(); err != nil {
		return nil, err
	}
	if err := p.m.Validate(); err != nil {
		return nil, p.end.errorf("", "%s", strings.TrimPrefix(err.Error(), "flowtable: "))
	}
	return &p.m, nil
}

// ParseMeterFilter reads which meters a dump or a deletion is about: "", "meter=all" or "meter=N". all: every meter.
func ParseMeterFilter(s string) (id uint32, all bool, err error) {
	p := meterParser{rest: text{s, 1}}
	word, ok := p.word()
	if !ok {
		return 0, true, nil
	}
	if word.s != "meter" {
		return 0, false, word.errorf("write meter=NUMBER, meter=all or nothing", "unknown keyword %q", word.s)
	}
	value, _ := p.word()
	if value.s == "all" {
		return 0, true, nil
	}
	n, err2 := meterNumber(value)
	if err2 != nil {
		return 0, false, err2
	}
	return n, false, nil
}

type meterParser struct {
	rest, end text
	m         flow.Meter
}

// word takes the next word: what stands between commas, equals signs and white space.
func (p *meterParser) word() (text, bool) {
	const between = separators + "="
	i := 0
	for i < len(p.rest.s) && strings.IndexByte(between, p.rest.s[i]) >= 0 {
		i++
	}
	p.rest.take(i)
	n := strings.IndexAny(p.rest.s, between)
	if n < 0 {
		n = len(p.rest.s)
	}
	return p.rest.take(n), n > 0
}

func meterNumber(t text) (uint32, *SyntaxError) {
	if t.s == "controller" || t.s == "slowpath" {
		return 0, t.errorf("Weft has no meter for it", "meter=%s is not supported", t.s)
	}
	n, err := number(t, "meter", flow.MaxMeter)
	if err == nil && n == 0 {
		err = t.errorf("meters start at 1", "meter 0 does not exist")
	}
	return uint32(n), err
}

// run reads the number and the flags, then the bands.
func (p *meterParser) run() *SyntaxError {
	for {
		word, ok := p.word()
		if !ok {
			break
		}
		switch word.s {
		case "kbps":
			p.m.Flags |= flow.MeterKbps
		case "pktps":
			p.m.Flags |= flow.MeterPktps
		case "burst":
			p.m.Flags |= flow.MeterBurst
		case "stats":
			p.m.Flags |= flow.MeterStats
		case "meter":
			value, _ := p.word()
			n, err := meterNumber(value)
			if err != nil {
				return err
			}
			p.m.ID = n
		case "band", "bands":
			if err := p.bands(); err != nil {
				return err
			}
		default:
			return word.errorf("write meter=NUMBER, kbps or pktps, burst, stats, bands=LIST", "unknown keyword %q", word.s)
		}
	}
	switch {
	case p.m.ID == 0:
		return p.end.errorf("write meter=NUMBER", "the meter has no number")
	case len(p.m.Bands) == 0:
		return p.end.errorf("write bands=type=drop rate=NUMBER", "the meter has no bands")
	}
	return nil
}

// bands reads the rest.
func (p *meterParser) bands() *SyntaxError {
	for {
		word, ok := p.word()
		if !ok {
			return nil
		}
		value, ok := p.word()
		if !ok {
			return value.errorf("write "+word.s+"=VALUE", "%s is missing a value", word.s)
		}
		if word.s == "type" {
			if value.s != "drop" {
				return value.errorf("Weft has drop", "bands of type %s are not supported", value.s)
			}
			p.m.Bands = append(p.m.Bands, flow.Band{})
			continue
		}
		if len(p.m.Bands) == 0 {
			return word.errorf("begin with type=drop", "%s stands before the type of the band", word.s)
		}
		band := &p.m.Bands[len(p.m.Bands)-1]
		n, err := number(value, word.s, 0xffffffff)
		switch word.s {
		case "rate":
			band.Rate = uint32(n)
		case "burst_size":
			band.Burst = uint32(n)
		default:
			return word.errorf("bands have type, rate and burst_size", "unknown keyword %q", word.s)
		}
		if err != nil {
			return err
		}
	}
}

// FormatMeter prints m as "ovs-ofctl dump-meters" does, but on one line, which ParseMeter and ovs-ofctl read.
func FormatMeter(m *flow.Meter) string {
	var b strings.Builder
	fmt.Fprintf(&b, "meter=%d ", m.ID)
	for _, f := range []struct {
		flag flow.MeterFlags
		name string
	}{{flow.MeterKbps, "kbps "}, {flow.MeterPktps, "pktps "}, {flow.MeterBurst, "burst "}, {flow.MeterStats, "stats "}} {
		if m.Flags&f.flag != 0 {
			b.WriteString(f.name)
		}
	}
	b.WriteString("bands=")
	for i, band := range m.Bands {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "type=drop rate=%d", band.Rate)
		if m.Flags&flow.MeterBurst != 0 {
			fmt.Fprintf(&b, " burst_size=%d", band.Burst)
		}
	}
	return b.String()
}

// FormatMeterStats prints a meter as "ovs-ofctl meter-stats" does: a line, and one more for each band.
func FormatMeterStats(s *flow.MeterStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "meter:%d flow_count:%d packet_in_count:%d byte_in_count:%d duration:%s bands:", s.Meter.ID, s.Refs,
		s.Packets, s.Bytes, durationText(s.Duration))
	for i, n := range s.Bands {
		fmt.Fprintf(&b, "\n%d: packet_count:%d byte_count:%d", i, n.Packets, n.Bytes)
	}
	return b.String()
}
