package vhostuser

import (
	"fmt"
	"time"
)

// State is what a port is doing, in one word.
type State string

// The states of a port.
const (
	// StateListening and StateConnecting: no front end is there.
	StateListening  State = "listening"
	StateConnecting State = "connecting"
	// StateConnected: a front end is there, and no queue is usable yet or any more.
	StateConnected State = "connected"
	// StateUp: at least one queue is usable.
	StateUp State = "up"
	// StateError: a ring that ought to run cannot; Status.Error says which and why.
	StateError State = "error"
	// StateClosed: after Close.
	StateClosed State = "closed"
)

// Status is what a port is doing, for people and programs to read.
type Status struct {
	State State `json:"state"`
	// Error explains StateError.
	Error string `json:"error,omitempty"`
	// Waiting says why the last attempt to connect failed, while there is no front end. Client only.
	Waiting string `json:"waiting,omitempty"`
	// Mode is "server" or "client", Path the socket's.
	Mode string `json:"mode"`
	Path string `json:"path"`
	// Session is how far the front end has come: connected, negotiated, configured or running; empty without one.
	Session string `json:"session,omitempty"`
	// Peer is the front end's process; Connected when it came.
	Peer      *Peer      `json:"peer,omitempty"`
	Connected *time.Time `json:"connected,omitempty"`
	// Features and ProtocolFeatures are what was negotiated, by name; the Offered ones what could be.
	Features                []string `json:"features"`
	ProtocolFeatures        []string `json:"protocol_features"`
	OfferedFeatures         []string `json:"offered_features"`
	OfferedProtocolFeatures []string `json:"offered_protocol_features"`
	// QueuePairs is how many are offered.
	QueuePairs int `json:"queue_pairs"`
	// MTU bounds the L3 payload of frames to the guest, in bytes; 0 is no bound.
	MTU int `json:"mtu,omitempty"`
	// Rings are in the order of the front end's indices: tx0, rx0, tx1, ... Empty without a session.
	Rings  []RingStatus `json:"rings,omitempty"`
	Memory MemoryStatus `json:"memory"`
	// LastError is the last thing that went wrong, also when it is over.
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	// Sessions counts front ends that were served, Reconnects those after the first, Disconnects those that are gone.
	Sessions    uint64 `json:"sessions"`
	Reconnects  uint64 `json:"reconnects"`
	Disconnects uint64 `json:"disconnects"`
	// Refused counts connections that came while another front end was being served.
	Refused uint64 `json:"refused"`
}

// Peer is the process at the other end of the socket, as it was when the socket was connected or made.
type Peer struct {
	PID int `json:"pid"`
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// RingStatus is one virtqueue.
type RingStatus struct {
	// Name is rxN for the guest's transmitq of pair N, which the switch receives from, and txN for its receiveq.
	Name string `json:"name"`
	// State is stopped, started or broken; Enabled what the front end wants.
	State   string `json:"state"`
	Enabled bool   `json:"enabled"`
	// Usable says that packets can flow.
	Usable bool `json:"usable"`
	// Size is the number of descriptors, 0 before it is set.
	Size uint32 `json:"size"`
	// Interrupts says that the guest gave a descriptor to be interrupted by.
	Interrupts bool `json:"interrupts"`
	// WaitingFor is the message that a started ring still lacks.
	WaitingFor string `json:"waiting_for,omitempty"`
	Error      string `json:"error,omitempty"`
}

// MemoryStatus is the guest memory that is mapped.
type MemoryStatus struct {
	Regions int    `json:"regions"`
	Bytes   uint64 `json:"bytes"`
	// Node is the NUMA node of the first ring's memory, -1 while unknown.
	Node int `json:"node"`
}

func (r *ring) statusOf() RingStatus {
	st := RingStatus{
		Name: r.name(), State: r.state().String(), Enabled: r.enabled, Usable: r.attached,
		Size: r.size, Interrupts: r.call >= 0, WaitingFor: r.missing,
	}
	if r.fault != nil {
		st.Error = r.fault.Error()
	}
	return st
}

// view is what a session shows of itself.
type view struct {
	connected  bool
	peer       *Peer
	since      time.Time
	session    sessionState
	features   uint64
	protocol   uint64
	negotiated bool
	mtu, node  int
	regions    int
	bytes      uint64
	rings      []RingStatus
}

// state and error text of the port that shows v.
func (v *view) state(idle State) (state State, text string) {
	if !v.connected {
		return idle, ""
	}
	state = StateConnected
	for i := range v.rings {
		r := &v.rings[i]
		if r.Error != "" {
			return StateError, fmt.Sprintf("%s: %s", r.Name, r.Error)
		}
		if r.Usable {
			state = StateUp
		}
	}
	return state, ""
}

// differs reports that the host must hear of the step from v to next: queues, state, error or node changed.
func (v *view) differs(next *view) bool {
	if v.connected != next.connected || v.node != next.node || len(v.rings) != len(next.rings) {
		return true
	}
	for i := range v.rings {
		if v.rings[i].Usable != next.rings[i].Usable || v.rings[i].Error != next.rings[i].Error {
			return true
		}
	}
	return false
}

// Status reads the port's status.
func (p *Port) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := &p.view
	idle := StateConnecting
	st := Status{Mode: "client"}
	if p.cfg.Server {
		idle, st.Mode = StateListening, "server"
	}
	if p.closed {
		idle = StateClosed
	}
	st.State, st.Error = v.state(idle)
	st.Waiting, st.Path = p.waiting, p.cfg.Path
	st.QueuePairs, st.MTU = p.cfg.QueuePairs, p.cfg.MTU
	st.Features, st.ProtocolFeatures = featureNames.list(v.features), protocolNames.list(v.protocol)
	st.OfferedFeatures = featureNames.list(offeredFeatures(p.cfg.QueuePairs, p.cfg.MTU))
	st.OfferedProtocolFeatures = protocolNames.list(offeredProtocol(p.cfg.MTU))
	st.Memory = MemoryStatus{v.regions, v.bytes, -1}
	if v.connected {
		since := v.since
		st.Session, st.Peer, st.Connected, st.MTU = v.session.String(), v.peer, &since, v.mtu
		st.Memory.Node = v.node
		st.Rings = v.rings // never changed, only replaced
	}
	st.Sessions, st.Disconnects, st.Refused = p.sessions, p.disconnects, p.refused
	if p.sessions > 0 {
		st.Reconnects = p.sessions - 1
	}
	if p.lastErr != nil {
		at := p.lastErrAt
		st.LastError, st.LastErrorAt = p.lastErr.Error(), &at
	}
	return st
}
