package vhostuser

import "fmt"

// sessionState is how far a front end has come.
type sessionState uint8

const (
	// stateConnected: nothing is negotiated.
	stateConnected sessionState = iota
	// stateNegotiated: SET_FEATURES was accepted.
	stateNegotiated
	// stateConfigured: there is guest memory, too.
	stateConfigured
	// stateRunning: at least one ring is started.
	stateRunning

	numSessionStates = iota
)

var sessionStateNames = [numSessionStates]string{"connected", "negotiated", "configured", "running"}

func (s sessionState) String() string { return sessionStateNames[s] }

// ringState is where one ring is (vhost-user, "Ring states", and broken).
type ringState uint8

const (
	// ringStopped: never started, or stopped by GET_VRING_BASE or a reset.
	ringStopped ringState = iota
	// ringStarted: SET_VRING_KICK was received. Whether it is enabled is another matter.
	ringStarted
	// ringBroken: it was started, and the guest broke its rules. It is not polled; anything that sets it up clears
	// this.
	ringBroken

	numRingStates = iota
)

var ringStateNames = [numRingStates]string{"stopped", "started", "broken"}

func (s ringState) String() string { return ringStateNames[s] }

// Sets of states.
type (
	stateSet uint8
	ringSet  uint8
)

const (
	anyState      stateSet = 1<<numSessionStates - 1
	notRunning             = anyState &^ (1 << stateRunning)
	negotiatedSet          = anyState &^ (1 << stateConnected)

	noRing   ringSet = 0 // the message addresses no ring
	anyRing  ringSet = 1<<numRingStates - 1
	idleRing         = anyRing &^ (1 << ringStarted)
)

// rule is what is asked of one request before its handler runs.
type rule struct {
	name string
	// minSize and maxSize bound the payload in bytes, maxFDs the descriptors.
	minSize, maxSize uint32
	maxFDs           int
	// replies says that the request has an answer of its own, which REPLY_ACK does not change.
	replies bool
	// feature is the protocol feature that the request belongs to. It is refused when this port does not offer it.
	feature uint64
	// unsupported says that Weft does not implement it: it is refused whatever was negotiated.
	unsupported bool
	// states are the session's states in which it is allowed, rings the addressed ring's.
	states stateSet
	rings  ringSet
}

// rules holds a row for each request. Which states are right follows from what front ends do rather than from the
// specification, which says little. DPDK's virtio-user as a server begins a new session by disabling and stopping its
// rings and setting call descriptors, before it asks for any feature. qemu negotiates each pair of queues anew, so
// that SET_FEATURES and SET_PROTOCOL_FEATURES come, unchanged, while the first pair runs.
//
// A row that is not in the specification's list of messages with descriptors, but has maxFDs above zero, belongs to a
// request that is refused: its descriptors are taken off the socket and closed.
var rules = [numRequests]rule{
	GetFeatures:         {name: "GET_FEATURES", replies: true, states: anyState},
	SetFeatures:         exact("SET_FEATURES", sizeU64, rule{states: anyState}),
	SetOwner:            {name: "SET_OWNER", states: notRunning},
	ResetOwner:          {name: "RESET_OWNER", states: anyState},
	GetProtocolFeatures: {name: "GET_PROTOCOL_FEATURES", replies: true, states: anyState},
	SetProtocolFeatures: exact("SET_PROTOCOL_FEATURES", sizeU64, rule{states: anyState}),
	GetQueueNum:         {name: "GET_QUEUE_NUM", replies: true, feature: protoMQ, states: anyState},
	NetSetMTU:           exact("NET_SET_MTU", sizeU64, rule{feature: protoMTU, states: anyState}),
	ResetDevice:         {name: "RESET_DEVICE", feature: protoResetDevice, states: anyState},
	SetStatus:           exact("SET_STATUS", sizeU64, rule{feature: protoStatus, states: anyState}),
	GetStatus:           {name: "GET_STATUS", replies: true, feature: protoStatus, states: anyState},

	SetMemTable: {
		name: "SET_MEM_TABLE", minSize: sizeMemHeader, maxSize: sizeMemHeader + maxTableRegions*sizeRegion,
		maxFDs: maxTableRegions, states: anyState,
	},
	GetMaxMemSlots: {name: "GET_MAX_MEM_SLOTS", replies: true, feature: protoMemSlots, states: anyState},
	AddMemReg:      exact("ADD_MEM_REG", sizeOneRegion, rule{maxFDs: 1, feature: protoMemSlots, states: anyState}),
	RemMemReg:      exact("REM_MEM_REG", sizeOneRegion, rule{maxFDs: 1, feature: protoMemSlots, states: anyState}),

	SetVringNum:  exact("SET_VRING_NUM", sizeVring, rule{states: anyState, rings: idleRing}),
	SetVringAddr: exact("SET_VRING_ADDR", sizeVringAddr, rule{states: anyState, rings: anyRing}),
	SetVringBase: exact("SET_VRING_BASE", sizeVring, rule{states: anyState, rings: idleRing}),
	GetVringBase: exact("GET_VRING_BASE", sizeVring, rule{replies: true, states: anyState, rings: anyRing}),
	// A ring's header length and memory must be known when it starts.
	SetVringKick:   exact("SET_VRING_KICK", sizeU64, rule{maxFDs: 1, states: negotiatedSet, rings: anyRing}),
	SetVringCall:   exact("SET_VRING_CALL", sizeU64, rule{maxFDs: 1, states: anyState, rings: anyRing}),
	SetVringErr:    exact("SET_VRING_ERR", sizeU64, rule{maxFDs: 1, states: anyState, rings: anyRing}),
	SetVringEnable: exact("SET_VRING_ENABLE", sizeVring, rule{states: anyState, rings: anyRing}),

	// Known and not implemented. Sizes are those of qemu's structures where a fixed one exists.
	SetLogBase:          refused("SET_LOG_BASE", 16, rule{maxFDs: 1, feature: protoLogSHMFD}),
	SetLogFD:            refused("SET_LOG_FD", 8, rule{maxFDs: 1}),
	SendRARP:            refused("SEND_RARP", sizeU64, rule{feature: protoRARP}),
	SetBackendReqFD:     refused("SET_BACKEND_REQ_FD", 8, rule{maxFDs: 1, feature: protoBackendReq}),
	IOTLBMsg:            refused("IOTLB_MSG", 32, rule{}),
	SetVringEndian:      refused("SET_VRING_ENDIAN", sizeVring, rule{feature: protoCrossEndian}),
	GetConfig:           refused("GET_CONFIG", maxPayload, rule{feature: protoConfig, replies: true}),
	SetConfig:           refused("SET_CONFIG", maxPayload, rule{feature: protoConfig}),
	CreateCryptoSession: refused("CREATE_CRYPTO_SESSION", maxPayload, rule{feature: protoCrypto, replies: true}),
	CloseCryptoSession:  refused("CLOSE_CRYPTO_SESSION", sizeU64, rule{feature: protoCrypto}),
	PostcopyAdvise:      refused("POSTCOPY_ADVISE", 8, rule{feature: protoPageFault, replies: true}),
	PostcopyListen:      refused("POSTCOPY_LISTEN", 8, rule{feature: protoPageFault}),
	PostcopyEnd:         refused("POSTCOPY_END", 8, rule{feature: protoPageFault, replies: true}),
	GetInflightFD:       refused("GET_INFLIGHT_FD", 24, rule{feature: protoInflight, replies: true}),
	SetInflightFD:       refused("SET_INFLIGHT_FD", 24, rule{maxFDs: 1, feature: protoInflight}),
	GPUSetSocket:        refused("GPU_SET_SOCKET", 8, rule{maxFDs: 1}),
	VringKick:           refused("VRING_KICK", sizeVring, rule{feature: protoInband}),
	GetSharedObject:     refused("GET_SHARED_OBJECT", 16, rule{feature: protoSharedObject, replies: true}),
	SetDeviceStateFD:    refused("SET_DEVICE_STATE_FD", 8, rule{maxFDs: 1, feature: protoDeviceState, replies: true}),
	CheckDeviceState:    refused("CHECK_DEVICE_STATE", 0, rule{feature: protoDeviceState, replies: true}),
}

// unknownRule is the row of requests that are in no specification yet. What they carry is read, bounded, and thrown
// away; an answer, if the front end wanted one, says that the request failed.
var unknownRule = rule{maxSize: maxPayload, maxFDs: maxFDs, unsupported: true, states: anyState}

func exact(name string, size uint32, r rule) rule {
	r.name, r.minSize, r.maxSize = name, size, size
	return r
}

func refused(name string, maxSize uint32, r rule) rule {
	r.name, r.maxSize, r.states, r.unsupported = name, maxSize, anyState, true
	return r
}

// rule is r's row.
func (r Request) rule() *rule {
	if r < numRequests && rules[r].name != "" {
		return &rules[r]
	}
	return &unknownRule
}

// String is the request's name in the specification, without its prefix.
func (r Request) String() string {
	if rule := r.rule(); rule.name != "" {
		return rule.name
	}
	return fmt.Sprintf("request %d", uint32(r))
}

// sizes is the allowed payload in words.
func (r *rule) sizes() string {
	if r.minSize == r.maxSize {
		return fmt.Sprint(r.minSize)
	}
	return fmt.Sprintf("%d to %d", r.minSize, r.maxSize)
}

// allowed checks the session's state.
func (r *rule) allowed(req Request, s sessionState) error {
	if r.states&(1<<s) == 0 {
		return violationf("%v is not allowed while the session is %v", req, s)
	}
	return nil
}

// allowedRing checks the addressed ring's state.
func (r *rule) allowedRing(req Request, index int, s ringState) error {
	if r.rings&(1<<s) == 0 {
		return violationf("%v is not allowed while ring %d is %v: GET_VRING_BASE stops it", req, index, s)
	}
	return nil
}
