package vswitch

import (
	"log/slog"
	"time"

	"weft/internal/packet"
	"weft/pmd"
)

// RxQueue is the receiving side of one queue of a device, as PMD threads poll it. The object lives as long as the
// device.
type RxQueue interface {
	pmd.RxQueue
	// Counters are the totals since the device was opened.
	Counters() packet.CounterSnapshot
}

// TxQueue is the transmitting side of one queue of a device. The object lives as long as the device.
type TxQueue interface {
	// Transmit sends the packets idx of b, in that order. It reads the batch and keeps nothing of it. What it cannot
	// send it drops and counts by reason. One PMD thread calls it at a time; the switch sees to that.
	Transmit(b *packet.Batch, idx []uint8)
	// Counters are the totals since the device was opened.
	Counters() packet.CounterSnapshot
}

// Queues are all queues that a device will ever have, and which of them the other end uses now.
type Queues struct {
	Rx []RxQueue
	Tx []TxQueue
	// ActiveRx[i] says that Rx[i] is to be polled. Nil: all are.
	ActiveRx []bool
	// ActiveTx[i] says that Tx[i] takes packets. Nil: all do. When none is active, packets go to Tx[0], which knows and
	// counts why it drops them.
	ActiveTx []bool
}

// Device is one port as its driver presents it to the switch. Its methods may be called from any goroutine.
type Device interface {
	// Queues is cheap: the switch calls it after every Host.Changed.
	Queues() Queues
	// Status describes the device to an operator.
	Status() DeviceStatus
	// Fault is told of a memory fault at addr, on the PMD thread that had it. When addr lies in memory that the device
	// has mapped for a session with its other end, the device takes that memory away from its queues at once, ends this
	// session and no other, and returns true. Otherwise it does nothing and returns false. It does not wait for anything.
	Fault(addr uintptr) bool
	// Close frees the device. The switch calls it once, after all queues have left the PMD threads.
	Close() error
}

// DeviceStatus is what a device says about itself.
type DeviceStatus struct {
	// Link is whether packets can pass.
	Link bool `json:"link"`
	// State is one word of the driver's: "listening", "connected", "up", ...
	State string `json:"state"`
	// Error is the last thing that went wrong, in one sentence, and empty when nothing has.
	Error string `json:"error,omitempty"`
	// ErrorTime is when that was.
	ErrorTime time.Time `json:"error_time,omitzero"`
	// MTU is the largest layer 3 payload in bytes, 0 when the device enforces none.
	MTU int `json:"mtu,omitempty"`
	// Node is the NUMA node of the memory that the queues work on, -1 when unknown.
	Node int `json:"numa_node"`
	// Sessions counts how often the other end connected; Disconnects how often it left. Both are 0 for devices that
	// have no sessions.
	Sessions    uint64 `json:"sessions,omitempty"`
	Disconnects uint64 `json:"disconnects,omitempty"`
	// Detail is the driver's own description, something that encoding/json can encode, or nil.
	Detail any `json:"detail,omitempty"`
}

// Host is what the switch gives a device.
type Host struct {
	// Changed tells the switch that the device's queues, link, error or NUMA node changed. Any goroutine may call it, at
	// any time until Close returns, even before OpenFunc has returned. It does not block.
	Changed func()
	// Synchronize returns after every PMD thread has passed a quiescent point, so that no PMD thread uses what was
	// detached before the call. It must not be called on a PMD thread.
	Synchronize func()
	// Log is the device's logger; it carries the port's name.
	Log *slog.Logger
}

// OpenFunc opens a device. The configuration has been validated, except for what only opening can show.
type OpenFunc func(PortConfig, Host) (Device, error)

// Driver is a kind of port.
type Driver struct {
	Open OpenFunc
	// Options are the configuration fields that the driver understands, besides name, driver, number and rxq_cpus,
	// which every port has: "queues", "mtu", "path", "mode", "owner", "group", "permissions", "reconnect", "device".
	// A name that is none of these is an option of the driver's own: a scalar that arrives in PortConfig.Extra.
	Options []string
	// Required are those among Options that must be present.
	Required []string
	// MaxQueues bounds the option "queues"; 0 means 1.
	MaxQueues int
	// Check, which may be nil, looks at a parsed port for what the driver alone knows, without opening anything. An
	// *OptionError names the field at fault.
	Check func(PortConfig) error
}

// OptionError says which option of a port is wrong.
type OptionError struct {
	Option string // a configuration field, such as "path"
	Msg    string // what is wrong
	Hint   string // what to do
}

func (e *OptionError) Error() string { return join(e.Option+": "+e.Msg, e.Hint) }

// join appends a remedy to a message.
func join(msg, hint string) string {
	if hint == "" {
		return msg
	}
	return msg + "; " + hint
}

// brokenDevice stands for a device that is closed and could not be opened again.
type brokenDevice struct {
	err  error
	when time.Time
	tx   []TxQueue
}

func newBrokenDevice(err error) *brokenDevice {
	return &brokenDevice{err, time.Now(), []TxQueue{new(downQueue)}}
}

func (d *brokenDevice) Queues() Queues     { return Queues{Tx: d.tx} }
func (d *brokenDevice) Fault(uintptr) bool { return false }
func (d *brokenDevice) Close() error       { return nil }

func (d *brokenDevice) Status() DeviceStatus {
	return DeviceStatus{State: "broken", Error: d.err.Error(), ErrorTime: d.when, Node: -1}
}

// downQueue drops everything.
type downQueue struct{ counters packet.Counters }

func (q *downQueue) Transmit(_ *packet.Batch, idx []uint8) {
	q.counters.Drop(packet.DropPortDown, uint64(len(idx)))
}

func (q *downQueue) Counters() packet.CounterSnapshot { return q.counters.Snapshot() }
