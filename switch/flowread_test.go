package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// scribble writes over everything that texts were read into.
func (m *textMemory) scribble() {
	for _, piece := range m.pieces {
		for i := range piece {
			piece[i] = '#'
		}
	}
}

// shown is all that a switch tells about its rules, groups and meters, but for times.
func shown(t *testing.T, r *rig) string {
	t.Helper()
	var b strings.Builder
	flows, err := r.FlowDump("", "")
	for _, f := range flows {
		fmt.Fprintln(&b, f.Text, f.Origin, f.Cookie)
	}
	groups, errGroups := r.Groups("")
	meters, errMeters := r.Meters("")
	if err := errors.Join(err, errGroups, errMeters); err != nil {
		t.Fatal(err)
	}
	for _, e := range slices.Concat(groups, meters) {
		fmt.Fprintln(&b, e.Text)
	}
	return b.String()
}

// remembered are lines of all that has strings in it.
var remembered = []string{
	"cookie=0x7,table=2,priority=5,tcp,nw_src=10.0.0.0/8,tp_dst=80,tcp_flags=+syn-ack,actions=note:de.ad.be.ef.01.02,output:b",
	`in_port="a",dl_vlan=7,actions=dec_ttl(1,2,3),write_actions(set_field:00:00:00:00:00:09->eth_dst,output:"c")`,
	"ipv6,ipv6_dst=2001:db8::/32,actions=load:0x9->NXM_NX_REG0[0..7],move:NXM_NX_REG0[]->NXM_NX_REG1[],resubmit(a,3),group:1",
	"group add group_id=2,type=select,bucket=bucket_id:5,weight:3,watch_port:a,actions=note:01.02.03.04.05.06,output:b",
	"meter add meter=2 pktps burst bands=type=drop rate=5 burst_size=4",
	"flow modify table=2,tcp,actions=meter:1,note:77.77.77.77.77.77,NORMAL",
	"delete cookie=0x9/0xff,out_port=b",
	"group delete group_id=1",
}

// TestNothingRefersToATextThatWasRead writes over the memory that texts were read into, and looks whether rules, groups
// and meters are still the same, and errors: those of whole lines and of lines that lack a byte, wherever it is.
func TestNothingRefersToATextThatWasRead(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	r.change(KindGroup, CommandAdd, "group_id=1,type=all,bucket=output:a\nmeter add meter=1,pktps,bands=type=drop,rate=1\n")
	memory := newTextMemory()
	mistakes := 0
	try := func(kind, command, text string) {
		t.Helper()
		_, err := r.applyText(FlowRequest{Kind: kind, Command: command}, strings.NewReader(text), memory)
		before := strings.Clone(fmt.Sprintf("%v\n%#v\n%s", err, err, shown(t, r)))
		var errs ConfigErrors
		if errors.As(err, &errs) {
			mistakes++
			before += fmt.Sprintf("%#v", *errs[0])
		}
		memory.scribble()
		after := fmt.Sprintf("%v\n%#v\n%s", err, err, shown(t, r))
		if len(errs) > 0 {
			after += fmt.Sprintf("%#v", *errs[0])
		}
		if before != after {
			t.Fatalf("%s: it was\n%s\nand is\n%s", text, before, after)
		}
		memory.taken = 0
		memory.parser.Reset(nil)
	}
	for _, line := range remembered {
		try(KindFlow, CommandAdd, line)
		for i := range len(line) {
			try(KindFlow, CommandAdd, "priority=1,actions=drop\n"+line[:i]+line[i+1:])
		}
		try(KindGroup, CommandModify, line)
		try(KindMeter, CommandDelete, line)
	}
	try(KindFlow, CommandAdd, strings.Join(remembered[:3], "\n")+"\ngroup group_id=9,type=all,bucket=group:8\nactions=output:c")
	try(KindFlow, CommandReplace, remembered[0]+"\n"+remembered[1])
	if mistakes < 100 {
		t.Errorf("%d mistakes, which is not all", mistakes)
	}
	if s := shown(t, r); !strings.Contains(s, "note:de.ad.be.ef.01.02") || !strings.Contains(s, "dec_ttl(1,2,3)") {
		t.Errorf("in the end\n%s", s)
	}
}

// TestTextsAreReadWhole: in lines of all lengths, however it comes.
func TestTextsAreReadWhole(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	memory := newTextMemory()
	for range 30 {
		var text strings.Builder
		for range rnd.IntN(60) {
			text.WriteString(strings.Repeat("x", rnd.IntN(1<<rnd.IntN(19))) + "\n")
		}
		text.WriteString(strings.Repeat("y", rnd.IntN(2)*rnd.IntN(3*textPiece)))
		for _, r := range []io.Reader{
			strings.NewReader(text.String()), iotest.HalfReader(strings.NewReader(text.String())),
			iotest.DataErrReader(strings.NewReader(text.String())),
		} {
			memory.scribble()
			memory.taken = 0
			var got flowText
			if err := got.read(r, memory); err != nil {
				t.Fatal(err)
			}
			for i, piece := range got.data {
				if i < len(got.data)-1 && !strings.HasSuffix(piece, "\n") {
					t.Fatalf("piece %d ends in the middle of a line", i)
				}
			}
			if strings.Join(got.data, "") != text.String() {
				t.Fatalf("of %d bytes others were read", text.Len())
			}
		}
	}
}

func TestMemoryOfALongTextIsNotKept(t *testing.T) {
	memory := newTextMemory()
	var long flowText
	text := bytes.Repeat([]byte("# more\n"), 4<<20/7)
	if err := long.read(bytes.NewReader(text), memory); err != nil || strings.Join(long.data, "") != string(text) {
		t.Fatal(err)
	}
	if len(memory.pieces) != keptPieces || memory.taken != keptPieces {
		t.Errorf("%d pieces are kept, want %d", len(memory.pieces), keptPieces)
	}
	for _, piece := range memory.pieces {
		if len(piece) != textPiece {
			t.Errorf("a piece of %d bytes is kept", len(piece))
		}
	}
}
