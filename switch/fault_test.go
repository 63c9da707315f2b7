package vswitch

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"weft/internal/packet"
	"weft/pmd"
)

func TestFaultFailsThePortThatOwnsTheAddress(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	r.dev("vm2").setOwned(0x5000)
	fault := pmd.Fault{Addr: 0x5000, Port: "vm1", Stage: pmd.StageProcess, CPU: 1, Err: errors.New("bus error")}
	state := func(port string) string {
		t.Helper()
		p, err := r.Port(port)
		if err != nil {
			t.Fatal(err)
		}
		return p.State
	}
	if !r.onFault(fault) || state("vm2") != "failed" || state("vm1") != "up" {
		t.Errorf("vm2, the owner, is %s; vm1, which was polled, is %s", state("vm2"), state("vm1"))
	}
	// Its session is over: now the address is nobody's, and nobody is to blame.
	for range 3 {
		if r.onFault(fault) || state("vm1") != "up" {
			t.Errorf("vm1 is %s after a fault at an address that is nobody's", state("vm1"))
		}
	}
	if st := r.Stats(); st.Faults != 4 || st.StrayFaults != 3 {
		t.Errorf("%d faults, %d of them stray; want 4 and 3", st.Faults, st.StrayFaults)
	}
	// Devices that are closed are not asked.
	old := r.dev("vm2")
	old.setOwned(0x7000)
	if err := r.DelPort("vm2"); err != nil {
		t.Fatal(err)
	}
	fault.Addr = 0x7000
	if r.onFault(fault) {
		t.Error("a closed device was asked")
	}
}

// panicQueue is a transmit queue whose memory is gone.
type panicQueue struct{ counters packet.Counters }

func (q *panicQueue) Transmit(*packet.Batch, []uint8)  { panic("fault") }
func (q *panicQueue) Counters() packet.CounterSnapshot { return q.counters.Snapshot() }

// recovered runs f, which must panic.
func recovered(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no fault")
		}
	}()
	f()
}

// TestAbortSparesTheOtherDestinations: what is on its way to a port whose memory is gone is lost, and nothing else.
func TestAbortSparesTheOtherDestinations(t *testing.T) {
	for _, tt := range []struct {
		name    string
		rule    string
		broken  []string // destinations
		got     map[string]int
		dropped uint64
	}{
		{"the first of two", "actions=b,c", []string{"b"}, map[string]int{"c": 2}, 2},
		{"the last of two", "actions=b,c", []string{"c"}, map[string]int{"b": 2}, 2},
		{"both", "actions=b,c", []string{"b", "c"}, nil, 4},
		{"the only one", "actions=b", []string{"b"}, nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.apply(strings.Replace(threePorts(tt.rule), "cpus: 1", "cpus: 1-2", 1))
			w, b := r.batchOf("a", frame(9, 1, 64), frame(9, 2, 64))
			br := w.view.Load().ports[b.InPort].br
			healthy := slices.Clone(br.outs)
			for _, name := range tt.broken {
				br.out(map[string]uint32{"b": 2, "c": 3}[name]).tx = new(panicQueue)
			}
			index := b.InPort
			recovered(t, func() { w.Process(b) })
			if len(tt.broken) == 2 {
				recovered(t, func() { w.Abort(b) })
				w.Abort(nil)
			} else {
				w.Abort(b)
			}
			r.want(tt.got)
			for i := range br.outs {
				if br.outs[i].lock == nil {
					t.Fatal("with two PMD threads a transmit queue has no lock")
				}
				if br.outs[i].lock.state.Load() != 0 {
					t.Error("a queue is locked still")
				}
			}
			if s := br.stats.packets.Snapshot(); s.Drops[packet.DropMemoryFault] != tt.dropped {
				t.Errorf("%d packets counted as lost to the fault, want %d", s.Drops[packet.DropMemoryFault], tt.dropped)
			}
			copy(br.outs, healthy)
			b.InPort, w.current = index, nil
			w.Process(b)
			want := map[string]int{"b": 2}
			if strings.HasSuffix(tt.rule, ",c") {
				want["c"] = 2
			}
			r.want(want)
		})
	}
}

// TestAbortCountsPacketsThatWereNotRun lets the fault come while programs still run: clones are used up and flushed.
func TestAbortCountsPacketsThatWereNotRun(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts("actions=b,mod_vlan_vid:1,c,mod_vlan_vid:2,b,mod_vlan_vid:3,c,mod_vlan_vid:4,b"))
	var frames [][]byte
	for i := range packet.BatchSize {
		frames = append(frames, frame(9, byte(i), 64))
	}
	w, b := r.batchOf("a", frames...)
	br := w.view.Load().ports[b.InPort].br
	br.out(2).tx = new(panicQueue)
	recovered(t, func() { w.Process(b) })
	if w.waiting == 0 {
		t.Fatal("the fault came when all programs had been run: the test needs more clones")
	}
	notRun, sending, c := w.waiting, w.sending, 0
	for _, i := range br.touched {
		c += int(br.pending[i].n)
	}
	w.Abort(b)
	r.want(map[string]int{"c": c})
	if got := br.stats.packets.Snapshot().Drops[packet.DropMemoryFault]; got != uint64(notRun+sending) {
		t.Errorf("%d packets counted as lost, want %d being sent and %d not run", got, sending, notRun)
	}
	if w.waiting != 0 || w.sending != 0 {
		t.Error("they would be counted again")
	}
}
