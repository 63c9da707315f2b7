package vhostuser

import (
	"errors"
	"fmt"
	"sync"

	"weft/internal/packet"
)

// mapping is the guest memory that a port has mapped now, and the session that it belongs to.
//
// Concurrency: a session writes it after its rings were stopped, so while no PMD thread uses the memory, and before it
// unmaps anything. PMD threads never wait for that: what they find locked is none of the memory that they use.
type mapping struct {
	mu      sync.RWMutex
	session *session // nil: nothing is mapped
	spans   []span
}

func (m *mapping) set(s *session, spans []span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session, m.spans = s, spans
}

// contains reports that addr lies in the mapping. The caller has locked it.
func (m *mapping) contains(addr uintptr) bool {
	for _, s := range m.spans {
		if s.first <= addr && addr <= s.last {
			return true
		}
	}
	return false
}

// Fault is told that a PMD thread could not use the memory at addr. If the current session has mapped that, its rings
// come off the port's queues at once, so that no PMD thread faults again once it has let go of what it had in hand; the
// session ends; and the result is true. Nothing happens to a session that does not have addr mapped at that moment. The
// port goes on listening or connecting.
//
// It does not block. It is best called on the PMD thread itself, before its next quiescent point: until then the memory
// stays mapped, so that the answer is exact. Later the address may be another's.
func (p *Port) Fault(addr uintptr) bool {
	m := &p.mapped
	if !m.mu.TryRLock() {
		return false
	}
	defer m.mu.RUnlock()
	if !m.contains(addr) {
		return false
	}
	// While the mapping is locked it is this session's, and rings on the queues can only be its own: the next session
	// has none before it has memory. The order matters, see session.start.
	m.session.cutOff.Store(true)
	p.dropRings()
	select {
	case m.session.failed <- &cutOffError{addr}:
	default: // it is failing already
	}
	return true
}

// dropRings takes all rings off the queues. They still count as attached in the session, which will therefore wait for
// the PMD threads before it gives up the memory.
func (p *Port) dropRings() {
	for _, q := range p.rx {
		q.Detach()
	}
	for _, q := range p.tx {
		q.SetAbsentReason(packet.DropPortDown)
		q.Detach()
	}
}

// cutOffError says why a session ended after a fault on its memory.
type cutOffError struct{ addr uintptr }

func (e *cutOffError) Error() string {
	return fmt.Sprintf("the front end cut off its memory file while it was in use (SIGBUS at %#x); a tmpfs or hugetlbfs "+
		"that is full looks the same", e.addr)
}

// kindOf is what makes an error news to the log: see limiter. Addresses do not.
func kindOf(err error) string {
	var cut *cutOffError
	if errors.As(err, &cut) {
		return "memory cut off"
	}
	return err.Error()
}
