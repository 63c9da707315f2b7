package flowtable

import (
	"slices"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

// A label stack that the frame cuts off has the entries that are there, and one of zeros has none: a label can be pushed,
// and where there is nothing to pop the rest of the actions goes on. Open vSwitch counts labels like this.
func TestLabelsThatAreNotThere(t *testing.T) {
	frame := func(lse ...uint32) flowtest.Frame { return flowtest.NewFrame().MPLS(nil, lse...) }
	short := flowtest.NewFrame().U16(flow.EthMPLS).Pad(3) // not even one entry
	push := func(lse uint64) []Op {
		return append(output(2), Op{Kind: OpPushMPLS, A: flow.EthMPLSMC, B: lse}, output(3)[0])
	}
	pop := append(output(2), Op{Kind: OpPopMPLS, A: 0x88b5}, output(3)[0])
	none := append(output(2), output(3)...)
	stuck := drop(packet.DropTooManyLabels)
	const label, bottom = 0x00005040, 0x00006140
	for _, c := range []struct {
		name      string
		frame     flowtest.Frame
		push, pop []Op
	}{
		{"no room for an entry", short, push(0x140), none},
		{"nothing behind the EtherType", frame(), push(0x140), none},
		{"an entry of zero", frame(0), push(0x140), none},
		{"four entries of zero", frame(0, 0, 0, 0), push(0x140), none},
		{"one entry, and the frame ends", frame(label), push(label), pop},
		{"two entries, and the frame ends", frame(label, label), push(label), pop},
		{"an entry of zero, then the bottom", frame(0, bottom), push(0), pop},
		{"three entries, the bottom last", frame(label, label, bottom), stuck, pop},
		{"four entries", frame(label, label, label, bottom), stuck, stuck},
		{"no bottom at all", frame(label, label, label, label), stuck, stuck},
	} {
		for _, a := range []struct {
			action string
			want   []Op
		}{{"push_mpls:0x8848", c.push}, {"pop_mpls:0x88b5", c.pop}} {
			b := newBench(t, "actions=output:2,"+a.action+",output:3")
			if got := b.send(1, c.frame); !slices.Equal(got, a.want) {
				t.Errorf("%s, %s:\n got  %+v\n want %+v", c.name, a.action, got, a.want)
			}
		}
	}
}
