package vswitch

import (
	"sync/atomic"

	"weft/flowtable"
	"weft/internal/packet"
)

// view is what one PMD thread knows about the switch. The control side builds it, publishes it with one store, and
// never changes it afterwards, except for the scratch space in it, which belongs to the thread.
type view struct {
	ports []*ingress // by the index that pmd.Queue.Port carries; nil where there is no port
}

// ingress is a port as the source of packets.
type ingress struct {
	number uint32 // OpenFlow
	br     *bridgeView
}

// bridgeView is a bridge as one PMD thread sees it.
type bridgeView struct {
	lookup *flowtable.Lookup // this thread's
	fdb    *fdb
	stats  *bridgeStats // this thread's

	// plain: every port is a trunk of all VLANs, so that untagged packets stay as they are.
	plain           bool
	forwardReserved bool // NORMAL forwards to reserved addresses too

	outs     []out         // every port
	byNumber []uint16      // OpenFlow number -> index in outs, plus one; 0: no such port
	policies []*vlanPolicy // OpenFlow number -> VLANs of the port as the source of packets; nil: no such port

	// The thread's scratch: what Process has decided and not yet transmitted.
	pending []pending // parallel to outs
	touched []uint16  // which of pending hold packets, in the order of their first; capacity len(outs)
	normal  normalState
}

// out is a port as the destination of packets: the transmit queue that this thread uses.
type out struct {
	number uint32 // OpenFlow
	tx     TxQueue
	lock   *txLock // nil when no other thread uses tx
	vlan   vlanPolicy
}

// pendingMax is how many packets wait for one destination before they are sent: every packet of a batch and every
// clone.
const pendingMax = packet.BatchSize + packet.MaxClones

// pending are the packets that wait for one destination.
type pending struct {
	n   uint8
	idx [pendingMax]uint8
}

// bridgeStats are one PMD thread's totals for one bridge. They outlive views.
type bridgeStats struct {
	_ [64]byte // apart from other threads' counters
	// packets.Packets and Bytes are what came in, Drops what the pipeline dropped.
	packets packet.Counters
	// flooded counts packets to an unknown unicast address. One writer; see packet.Counters.
	flooded packet.Counters
	_       [64]byte
}

// txLock is a spinlock around a transmit queue that several PMD threads share. It is held for one Transmit.
type txLock struct {
	state atomic.Uint32
	_     [60]byte
}

// lockSpins is some hundred milliseconds: longer than the kernel keeps a thread off its CPU that shares it with another.
const lockSpins = 1 << 27

// lock takes the lock, or gives up after lockSpins: the thread that has it was stopped, by the kernel, or by Go's
// scheduler after a memory fault, and this one must not stand still for as long as that takes.
func (l *txLock) lock() bool {
	for range lockSpins {
		if l.state.Load() == 0 && l.state.CompareAndSwap(0, 1) { // spins on a shared copy of the cache line
			return true
		}
	}
	return false
}

func (l *txLock) unlock() { l.state.Store(0) }

// out finds a port by its OpenFlow number; nil when there is none.
func (br *bridgeView) out(number uint32) *out {
	if i := br.outIndex(number); i >= 0 {
		return &br.outs[i]
	}
	return nil
}

// policy is the VLAN policy of a port as the source of packets; nil when there is no such port.
func (br *bridgeView) policy(number uint32) *vlanPolicy {
	if number >= uint32(len(br.policies)) {
		return nil
	}
	return br.policies[number]
}

// outIndex is the index of a port in outs, -1 when there is none.
func (br *bridgeView) outIndex(number uint32) int {
	if number >= uint32(len(br.byNumber)) {
		return -1
	}
	return int(br.byNumber[number]) - 1
}
