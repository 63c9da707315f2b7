package lan

import (
	"testing"

	"weft/pmd/i40e/i40esim/frame"
)

// filterWords is a filter programming descriptor.
func filterWords(p FilterProgram) (w0, w1 uint64) {
	w0 = uint64(p.Queue) | uint64(p.FlexOffset)<<11 | uint64(p.PCType)<<17 | uint64(p.VSI)<<23
	w1 = dtypeFilter | uint64(p.Command)<<4 | uint64(p.Dest)<<7 | uint64(p.Report)<<13 | uint64(p.Counter)<<20 |
		uint64(p.ID)<<32
	if p.Count {
		w1 |= 1 << 11
	}
	return w0, w1
}

func sampleFilter() FilterProgram {
	return FilterProgram{
		Queue: 5, FlexOffset: 2, PCType: frame.PCTypeIPv4TCP, VSI: 0x155, Command: FilterAdd, Dest: DestQueue,
		Count: true, Report: ReportID, Counter: 0x101, ID: 0xABCD1234,
	}
}

func TestFilterDescriptorsProgramAndDummiesStayHome(t *testing.T) {
	r := newTxRing(t, nil)
	want := sampleFilter()
	r.put(filterWords(want))
	last := r.packet(tcpFrame(t, 400), 1, cmdEOP|cmdRS|cmdDummy, frame.Offload{}, 0)
	r.put(filterWords(want)) // as Linux does for a flow that it sends: the packet goes out too
	r.packet(tcpFrame(t, 40), 1, cmdEOP, frame.Offload{}, 0)
	if n := r.run(); n != 2 || len(r.sent) != 1 || !r.reported(last) {
		t.Fatalf("%d packets, %d sent", n, len(r.sent))
	}
	r.clean()
	if len(r.programs) != 2 || r.programs[0] != want || r.programs[1] != want {
		t.Errorf("%+v, want %+v", r.programs, want)
	}
}

func TestFilterDescriptorBreaches(t *testing.T) {
	for name, x := range map[string]struct {
		text   string
		enable bool
		edit   func(*FilterProgram)
		w0, w1 uint64
	}{
		"queue without FD_ENA": {"FD_ENA", false, func(*FilterProgram) {}, 0, 0},
		"reserved bit 14":      {"reserved", true, func(*FilterProgram) {}, 1 << 14, 0},
		"reserved bit 18":      {"reserved", true, func(*FilterProgram) {}, 0, 1 << 18},
		"command 3":            {"command 3", true, func(p *FilterProgram) { p.Command = 3 }, 0, 0},
		"destination 3":        {"destination 3", true, func(p *FilterProgram) { p.Dest = 3 }, 0, 0},
	} {
		r := newTxRing(t, func(c *TxContext) { c.FlowDirect = x.enable })
		p := sampleFilter()
		x.edit(&p)
		w0, w1 := filterWords(p)
		r.put(w0|x.w0, w1|x.w1)
		r.packet(tcpFrame(t, 400), 1, cmdEOP|cmdDummy, frame.Offload{}, 0)
		if n := r.run(); n != 1 || len(r.programs) != 0 || len(r.events) != 0 {
			t.Errorf("%s: %d packets, %d programs, events %v", name, n, len(r.programs), r.events)
		}
		r.violated(x.text)
	}
	r := newTxRing(t, nil)
	r.packet(tcpFrame(t, 400), 1, cmdEOP|cmdDummy, frame.Offload{}, 0)
	r.run()
	r.violated("DUMMY")
}

// fields of a frame and of the one that answers it.
func fieldsOf(b []byte) (frame.FieldVector, frame.FieldVector, frame.PCType) {
	var p frame.Parser
	l := p.Parse(b)
	v := l.Fields(b)
	return v, v.Exchange(l.PCType()), l.PCType()
}

func TestFlowDirectorFindsTheAnswersToWhatProgrammedIt(t *testing.T) {
	d := NewFlowDirector(2)
	sent, answer, pctype := fieldsOf(tcpFrame(t, 10))
	set := frame.DefaultInputSet(pctype)
	p := sampleFilter()
	if s := d.Program(&p, &sent, set); s != Programmed || d.Len() != 1 {
		t.Fatalf("status %d, %d filters", s, d.Len())
	}
	if got, found := d.Lookup(pctype, p.VSI, &answer, set); !found || got != p {
		t.Errorf("answer: %+v, %v", got, found)
	}
	for name, miss := range map[string]func() bool{
		"the packet itself": func() bool { _, f := d.Lookup(pctype, p.VSI, &sent, set); return f },
		"another VSI":       func() bool { _, f := d.Lookup(pctype, p.VSI+1, &answer, set); return f },
		"another PCTYPE":    func() bool { _, f := d.Lookup(frame.PCTypeIPv4UDP, p.VSI, &answer, set); return f },
	} {
		if miss() {
			t.Errorf("%s matches", name)
		}
	}
	p.Queue = 9
	if s := d.Program(&p, &sent, set); s != Programmed || d.Len() != 1 {
		t.Errorf("update: status %d, %d filters", s, d.Len())
	}
	if got, _ := d.Lookup(pctype, p.VSI, &answer, set); got.Queue != 9 {
		t.Errorf("update: %+v", got)
	}
	p.Command = FilterRemove
	if s := d.Program(&p, &sent, set); s != Programmed || d.Len() != 0 {
		t.Errorf("remove: status %d, %d filters", s, d.Len())
	}
	if s := d.Program(&p, &sent, set); s != NoSuchFilter {
		t.Errorf("remove again: status %d", s)
	}
}

func TestFlowDirectorFillsUp(t *testing.T) {
	d := NewFlowDirector(1)
	v, _, pctype := fieldsOf(tcpFrame(t, 10))
	set := frame.DefaultInputSet(pctype)
	p := sampleFilter()
	d.Program(&p, &v, set)
	p.VSI++
	if s := d.Program(&p, &v, set); s != TableFull || d.Len() != 1 {
		t.Errorf("status %d", s)
	}
	if d.Clear(); d.Len() != 0 {
		t.Error("not cleared")
	}
	if s := d.Program(&p, &v, set); s != Programmed {
		t.Errorf("after the clear: status %d", s)
	}
}
