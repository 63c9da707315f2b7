package metrics

// Snapshot is everything that is shown, at one moment. Counts are totals since their object was made.
type Snapshot struct {
	Version  string // of this build
	Revision string // of its source
	// MemoryFaults is how many memory faults PMD threads survived.
	MemoryFaults uint64
	// StrayFaults is how many of them were at an address that no port had mapped.
	StrayFaults uint64
	// Orphans is how many packets were dropped because their port was just being removed.
	Orphans uint64
	Ports   []Port
	Bridges []Bridge
	Threads []Thread
}

// Port is one port of a bridge.
type Port struct {
	Bridge, Name, Driver string
	Up                   bool
	MTU                  int // bytes of layer 3 payload, 0 when none is enforced
	Node                 int // NUMA node, -1 unknown
	// HasSessions is set for ports whose other end connects and leaves; the two counts are shown for them only.
	HasSessions           bool
	Sessions, Disconnects uint64
	Rx, Tx                []Queue
}

// Queue is one direction of one queue of a port.
type Queue struct {
	Index                   int
	Packets, Bytes, Batches uint64
	Drops                   []Drop
}

// Drop counts packets that were dropped for one reason.
type Drop struct {
	Reason  string
	Packets uint64
}

// Bridge is one bridge.
type Bridge struct {
	Name  string
	Rules []TableRules
	// Drops are packets that the bridge's rules or the lack of an output dropped.
	Drops []Drop
	MAC   MACTable
}

// TableRules is the number of rules in one flow table.
type TableRules struct{ Table, Rules int }

// MACTable is a bridge's learning table.
type MACTable struct {
	Entries, Limit                                                     int
	Learned, Moved, Evicted, Expired, Refused, Limited, Flushed, Flood uint64
}

// Thread is one PMD thread.
type Thread struct {
	Thread, CPU, Node         int
	BusyCycles, IdleCycles    uint64
	SleepCycles, CyclesPerSec uint64
	Iterations, Sleeps        uint64
	Packets, Batches          uint64
	Gaps                      []LoopGap // ascending
	LongestGapCycles          uint64
	Queues                    []ThreadQueue
	Caches                    []Cache
}

// LoopGap is how many iterations of a PMD thread took longer than a threshold.
type LoopGap struct {
	OverSeconds float64
	Count       uint64
}

// ThreadQueue is one receive queue that a PMD thread polls now.
type ThreadQueue struct {
	Port       string
	Index      int
	BusyCycles uint64
}

// Cache is one PMD thread's exact-match cache for one bridge.
type Cache struct {
	Bridge                       string
	Hits, Misses, Entries, Limit uint64
}
