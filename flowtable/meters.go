package flowtable

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"weft/flowtable/flow"
)

// meterEntry is an entry of the meter table. It is replaced, never changed.
type meterEntry struct {
	def     flow.Meter
	slot    uint32 // place in the array that lookups see
	created int64  // Unix time, nanoseconds
	meter   *Meter
}

// MaxMeters is how many meters a pipeline takes.
const MaxMeters = 1 << 16

// meterMod changes the meter table (OpenFlow 1.3 §6.8).
func (x *txn) meterMod(m *flow.MeterMod) error {
	id := m.Meter.ID
	switch m.Command {
	case flow.MeterDelete:
		x.deleteMeter(id)
		return nil
	case flow.MeterDeleteAll:
		for _, id := range slices.Sorted(maps.Keys(x.meters)) {
			x.deleteMeter(id)
		}
		return nil
	case flow.MeterAdd, flow.MeterModify:
	default:
		return fmt.Errorf("flowtable: unknown meter command %d", m.Command)
	}
	if err := m.Meter.Validate(); err != nil {
		return err
	}
	old := x.meters[id]
	switch {
	case old != nil && m.Command == flow.MeterAdd:
		return fmt.Errorf("flowtable: meter %d exists; modify it", id)
	case old == nil && m.Command == flow.MeterModify:
		return fmt.Errorf("flowtable: meter %d does not exist; add it", id)
	case old == nil && len(x.meters) == MaxMeters:
		return fmt.Errorf("flowtable: there are %d meters, which is the most", MaxMeters)
	}
	e := &meterEntry{def: m.Meter}
	e.def.Bands = slices.Clone(m.Meter.Bands)
	if old == nil {
		e.slot, e.created, e.meter = x.freeMeterSlot(), x.now.UnixNano(), NewMeter(&e.def)
	} else {
		e.slot, e.created, e.meter = old.slot, old.created, old.meter
	}
	x.writableMeters()[id] = e
	x.entries++
	return nil
}

// freeMeterSlot is the lowest place that no meter has, nor had in the last state: flows that name the place of a meter
// which goes are not asked again before they see its rules gone.
func (x *txn) freeMeterSlot() uint32 {
	if x.takenSlots == nil {
		x.takenSlots = make(map[uint32]bool, len(x.meters))
		for _, e := range x.p.meters {
			x.takenSlots[e.slot] = true
		}
	}
	for x.takenSlots[x.nextMeter] {
		x.nextMeter++
	}
	x.nextMeter++
	return x.nextMeter - 1
}

func (x *txn) writableMeters() map[uint32]*meterEntry {
	if !x.metersChanged {
		x.meters = maps.Clone(x.meters)
		if x.meters == nil {
			x.meters = make(map[uint32]*meterEntry)
		}
		x.metersChanged = true
	}
	return x.meters
}

// deleteMeter deletes a meter and the rules that use it.
func (x *txn) deleteMeter(id uint32) {
	if x.meters[id] == nil {
		return
	}
	x.removeUsers(target{true, id})
	x.entries++
	delete(x.writableMeters(), id)
}

// publishMeters fills in what lookups see. A meter that was modified changes its bands here, when nothing can fail any
// more.
func (x *txn) publishMeters(st *state) {
	if !x.metersChanged {
		return
	}
	st.meters, st.meterSlots = nil, make(map[uint32]uint32, len(x.meters))
	for id, e := range x.meters {
		for int(e.slot) >= len(st.meters) {
			st.meters = append(st.meters, nil)
		}
		st.meters[e.slot], st.meterSlots[id] = e.meter, e.slot
		if old := x.p.meters[id]; old != nil && old != e && old.meter == e.meter {
			e.meter.change(&e.def)
		}
	}
	x.p.meters = x.meters
}

// Meters returns the meters by their numbers, with their counters.
func (p *Pipeline) Meters() []flow.MeterStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	out := make([]flow.MeterStatus, 0, len(p.meters))
	for _, e := range p.meters {
		s := flow.MeterStatus{Meter: e.def, Refs: len(p.users[target{true, e.def.ID}])}
		s.Packets, s.Bytes, s.Bands = e.meter.counts()
		s.Duration = max(0, now.Sub(time.Unix(0, e.created)))
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b flow.MeterStatus) int { return cmp.Compare(a.Meter.ID, b.Meter.ID) })
	return out
}

// Meter is the meter that OpMeter names by slot, in the last batch; nil if it is gone, and the packet passes.
func (l *Lookup) Meter(slot uint32) *Meter {
	if st := l.st; int(slot) < len(st.meters) {
		return st.meters[slot]
	}
	return nil
}
