package vswitch

import (
	"errors"
	"strings"
	"testing"
)

// What people feed in: texts of other systems' editors, dumps of ovs-ofctl, lines without end. Mistakes are placed where
// they are.
func TestTextsAsTheyComeAreTakenOrRefusedAtTheirPlace(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	for _, c := range []struct {
		name, kind, text string
		want             FlowCounts
		line             int    // of the error, -1: there is none
		message          string // of the error
	}{
		{
			"byte order mark and CRLF", KindFlow, "\ufeffin_port=1,actions=2\r\nin_port=2,actions=1\r\n",
			FlowCounts{Lines: 2, Added: 2},
			-1, "",
		},
		{"a mark further on", KindFlow, "in_port=1,actions=2\n\ufeffin_port=2,actions=1", FlowCounts{}, 2, "unknown keyword"},
		{
			"a dump", KindFlow, "NXST_FLOW reply (xid=0x4):\n cookie=0x7, duration=1.8s, table=0, n_packets=9, n_bytes=8, idle_age=2," +
				" in_port=3 actions=NORMAL\nOFPST_FLOW reply (OF1.5) (xid=0x2):\n", FlowCounts{Lines: 1, Added: 1}, -1, "",
		},
		{
			"groups and meters", KindGroup, "group_id=1,type=all,bucket=output:1\nmeter add meter=2,pktps,bands=type=drop,rate=1\n" +
				"flow add cookie=7,actions=meter:2,group:1\ndelete group_id=8\n", FlowCounts{Lines: 4, Added: 1, Entries: 2}, -1, "",
		},
		{
			"a group that is not there", KindGroup, "\ngroup_id=5,type=all,bucket=group:6\n\nflow add actions=drop\n",
			FlowCounts{},
			2, "group 6",
		},
		{
			"a group that goes", KindGroup, "group_id=3,type=all,bucket=group:1\ndelete group_id=3\ngroup_id=3,type=all,bucket=group:1\n" +
				"delete group_id=1\n", FlowCounts{}, 3, "group 3 names group 1",
		},
		{
			"lines across pieces, and one that is longer", KindFlow, strings.Repeat("in_port=1,actions=2\n", textPiece/10) + "#" +
				strings.Repeat(" ", 3*textPiece) + "\nnonsense\n", FlowCounts{}, textPiece/10 + 2, `"nonsense"`,
		},
		{
			"a long line", KindFlow, strings.Repeat("# more\n", 9) + "in_port=1" + strings.Repeat(" ", maxLine) + "actions=2",
			FlowCounts{},
			10, "too long",
		},
	} {
		n, err := r.FlowApply(FlowRequest{Kind: c.kind, Command: CommandAdd}, strings.NewReader(c.text))
		var errs ConfigErrors
		switch {
		case c.line < 0:
			if err != nil || n != c.want {
				t.Errorf("%s: %+v, %v, want %+v", c.name, n, err, c.want)
			}
		case !errors.As(err, &errs) || errs[0].Line != c.line || !strings.Contains(errs[0].Message, c.message):
			t.Errorf("%s: %v, want %q in line %d", c.name, err, c.message, c.line)
		}
	}
	if n, err := r.FlowDel("br0", "cookie=7/-1", false); err != nil || n != 2 {
		t.Errorf("%d rules have the cookie, %v", n, err)
	}
}

// What dump prints of meters is what add and mod take.
func TestMetersAreDumpedAsTheyAreWritten(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	const text = "meter=1 pktps bands=type=drop rate=5 type=drop rate=7\nmeter=3 kbps burst bands=type=drop rate=5 burst_size=4\n"
	r.change(KindMeter, CommandAdd, text)
	dump := func() (s string) {
		list, err := r.Meters("")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			s += m.Text + "\n"
		}
		return s
	}
	if got := dump(); got != text {
		t.Errorf("dumped as\n%s", got)
	}
	r.change(KindMeter, CommandModify, dump())
	if got := dump(); got != text {
		t.Errorf("modified, dumped as\n%s", got)
	}
}
