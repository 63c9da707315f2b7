package vfiouser

import (
	"sync"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// irqTable holds a session's interrupt vectors and the event descriptors that the client gave for them.
//
// Concurrency: any goroutine may trigger. The session's own changes the table.
type irqTable struct {
	mu       sync.Mutex
	notifier *sys.Notifier // made with the first descriptor
	kinds    []irqKind
	ended    bool
}

type irqKind struct {
	flags   IRQFlags
	vectors []vector
}

// vector is one interrupt.
type vector struct {
	trigger, mask, unmask *event // nil without a descriptor
	masked                bool
	pending               bool // triggered while it was masked
}

// event is an eventfd of the client, ours to close.
type event struct {
	fd int
	ev *sys.Event
}

func (e *event) signal() {
	if e != nil {
		e.ev.Signal()
	}
}

func (e *event) close() {
	if e != nil {
		sys.CloseFDs([]int{e.fd})
	}
}

func newIRQTable(info DeviceInfo) *irqTable {
	n := pciIRQs
	for _, i := range info.IRQs {
		n = max(n, i.Index+1)
	}
	t := &irqTable{kinds: make([]irqKind, n)}
	for _, i := range info.IRQs {
		t.kinds[i.Index] = irqKind{flags: i.Flags, vectors: make([]vector, i.Count)}
	}
	return t
}

// vector is nil for one that does not exist. The caller has locked t.
func (t *irqTable) vector(index, n int) *vector {
	if index < 0 || index >= len(t.kinds) || n < 0 || n >= len(t.kinds[index].vectors) {
		return nil
	}
	return &t.kinds[index].vectors[n]
}

// fire triggers a vector, and reports whether the client has been told or will be when it unmasks.
func (t *irqTable) fire(index, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.vector(index, n)
	if v == nil || t.ended {
		return false
	}
	return t.fireLocked(index, v)
}

func (t *irqTable) fireLocked(index int, v *vector) bool {
	if v.trigger == nil {
		return false
	}
	if v.masked {
		v.pending = true
		return true
	}
	v.trigger.signal()
	if t.kinds[index].flags&IRQAutoMasked != 0 {
		v.masked = true
	}
	return true
}

// assigned reports whether the client has given a descriptor for a vector.
func (t *irqTable) assigned(index, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.vector(index, n)
	return v != nil && v.trigger != nil
}

// set does what a DEVICE_SET_IRQS asks, and takes m's descriptors if it does.
func (t *irqTable) set(m *message) (IRQSet, error) {
	s, chosen, err := t.parse(m)
	if err != nil {
		return IRQSet{}, err
	}
	done := IRQSet{Index: int(s.index), Start: int(s.start), Count: int(s.count), Chosen: chosen}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case s.flags&irqDataEventFD != 0:
		done.Action = IRQAssign
		if len(m.fds) == 0 {
			done.Action = IRQDeassign
		}
		return done, t.assign(s, m)
	case s.count == 0:
		done.Action, done.Count = IRQDeassign, len(t.kinds[s.index].vectors)
		for i := range t.kinds[s.index].vectors {
			t.kinds[s.index].vectors[i].clear()
		}
		return done, nil
	}
	done.Action = actionOf(s.flags)
	for i := range done.Count {
		if chosen == nil || chosen[i] {
			t.act(done.Action, done.Index, &t.kinds[s.index].vectors[done.Start+i])
		}
	}
	return done, nil
}

func actionOf(flags uint32) IRQAction {
	switch flags & irqAction {
	case irqActionMask:
		return IRQMask
	case irqActionUnmask:
		return IRQUnmask
	}
	return IRQTrigger
}

// act masks, unmasks or triggers a vector for the client.
func (t *irqTable) act(a IRQAction, index int, v *vector) {
	switch a {
	case IRQMask:
		v.masked = true
		v.mask.signal()
	case IRQUnmask:
		v.masked = false
		v.unmask.signal()
		if v.pending {
			v.pending = false
			t.fireLocked(index, v)
		}
	case IRQTrigger:
		t.fireLocked(index, v)
	}
}

// clear takes a vector's descriptors away.
func (v *vector) clear() {
	v.trigger.close()
	v.mask.close()
	v.unmask.close()
	*v = vector{}
}

// parse checks a DEVICE_SET_IRQS against the table (specification, "VFIO_USER_DEVICE_SET_IRQS").
func (t *irqTable) parse(m *message) (s irqSet, chosen []bool, err error) {
	if err := needArgs(m, irqSetSize); err != nil {
		return s, nil, err
	}
	b := m.body
	s = irqSet{le32(b[4:]), le32(b[8:]), le32(b[12:]), le32(b[16:])}
	data, action := s.flags&irqData, s.flags&irqAction
	switch {
	case data == 0 || data&(data-1) != 0 || action == 0 || action&(action-1) != 0 || s.flags&^(irqData|irqAction) != 0:
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: flags %#x", s.flags)
	case int64(s.index) >= int64(len(t.kinds)):
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: kind %d of %d", s.index, len(t.kinds))
	}
	kind := &t.kinds[s.index]
	n := uint64(len(kind.vectors))
	switch {
	case uint64(s.start)+uint64(s.count) > n || s.count > 0 && uint64(s.start) >= n:
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: vectors %d to %d of %d", s.start, s.start+s.count, n)
	case s.count == 0 && (s.start != 0 || data != irqDataNone || action != irqActionTrigger):
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: no vectors, but not the form that disables all")
	case action != irqActionTrigger && kind.flags&IRQMaskable == 0:
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: kind %d cannot be masked", s.index)
	case data != irqDataEventFD && len(m.fds) > 0:
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: %d descriptors that the flags %#x say nothing of", len(m.fds), s.flags)
	case data == irqDataEventFD && len(m.fds) > 0 && uint64(len(m.fds)) != uint64(s.count):
		return s, nil, refuse(unix.EINVAL, "SET_IRQS: %d descriptors for %d vectors", len(m.fds), s.count)
	}
	if data == irqDataBool {
		if err := need(m, irqSetSize+int(s.count)); err != nil {
			return s, nil, err
		}
		chosen = make([]bool, s.count)
		for i := range chosen {
			chosen[i] = b[irqSetSize+i] != 0
		}
	}
	return s, chosen, nil
}

// assign replaces descriptors of vectors by those of m, or by none.
func (t *irqTable) assign(s irqSet, m *message) error {
	for _, fd := range m.fds {
		if err := sys.CheckEvent(fd); err != nil {
			return refuse(unix.EINVAL, "SET_IRQS: %v", err)
		}
	}
	if t.notifier == nil && len(m.fds) > 0 {
		var err error
		if t.notifier, err = sys.NewNotifier(); err != nil {
			return err
		}
	}
	for i := range int(s.count) {
		v := &t.kinds[s.index].vectors[int(s.start)+i]
		place := &v.trigger
		switch s.flags & irqAction {
		case irqActionMask:
			place = &v.mask
		case irqActionUnmask:
			place = &v.unmask
		}
		(*place).close()
		*place = nil
		if len(m.fds) > 0 {
			*place = &event{m.fds[i], t.notifier.Event(m.fds[i])}
		} else if place == &v.trigger {
			v.masked, v.pending = false, false
		}
	}
	m.fds = nil
	return nil
}

// end takes all descriptors away for good.
func (t *irqTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for i := range t.kinds {
		for j := range t.kinds[i].vectors {
			t.kinds[i].vectors[j].clear()
		}
	}
	if t.notifier != nil {
		_ = t.notifier.Close()
		t.notifier = nil
	}
}
