package vswitch

import (
	"time"

	"weft/pmd"
)

// The types here are what the control socket speaks: plain data with JSON tags.

// Where a port or a rule comes from.
const (
	OriginConfig  = "config"  // the configuration file
	OriginRuntime = "runtime" // AddPort or FlowAdd
)

// PortInfo describes one port.
type PortInfo struct {
	Name   string `json:"name"`
	Bridge string `json:"bridge"`
	Driver string `json:"driver"`
	Number uint32 `json:"number"` // the OpenFlow port number
	Origin string `json:"origin"`
	// DeviceStatus is inlined: link, state, error, mtu, numa_node, detail.
	DeviceStatus
	// Rx are packets that the switch received from the port, Tx those that it gave to the port: sums over the queues.
	Rx Traffic `json:"rx"`
	Tx Traffic `json:"tx"`
	// RxQueues and TxQueues are all queues of the device, in order.
	RxQueues []QueueInfo `json:"rx_queues"`
	TxQueues []QueueInfo `json:"tx_queues"`
	// MACs is how many addresses the MAC table has learned on the port.
	MACs   int        `json:"macs"`
	Config PortConfig `json:"config"`
}

// Traffic is what passed one way, since the port was opened.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Batches uint64 `json:"batches"`
	Dropped uint64 `json:"dropped"`
	// Drops is Dropped by reason (packet.DropReason's names). Reasons without drops are absent.
	Drops map[string]uint64 `json:"drops,omitempty"`
}

// QueueInfo describes one queue.
type QueueInfo struct {
	Index  int  `json:"index"`
	Active bool `json:"active"`
	// CPU is that of the PMD thread which polls the queue, -1 for a queue that none polls and for transmit queues.
	CPU int `json:"cpu"`
	Traffic
}

// BridgeInfo describes one bridge.
type BridgeInfo struct {
	Name  string `json:"name"`
	Ports int    `json:"ports"`
	Rules int    `json:"rules"`
	// Tables has the tables with rules, in their order.
	Tables []TableRules `json:"tables,omitempty"`
	// Packets and Bytes are what arrived from the bridge's ports.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Dropped is how many packets the bridge's rules or the lack of an output dropped, by reason.
	Dropped uint64            `json:"dropped"`
	Drops   map[string]uint64 `json:"drops,omitempty"`
	FDB     FDBStats          `json:"fdb"`
	Cache   CacheStats        `json:"cache"` // sum over the PMD threads
}

// FDBStats describe a bridge's MAC table. Counts are totals since the bridge was made.
type FDBStats struct {
	Entries int     `json:"entries"`
	Limit   int     `json:"limit"`
	Ageing  float64 `json:"ageing_seconds"`
	Learned uint64  `json:"learned"`
	Moved   uint64  `json:"moved"`   // an address appeared on another port
	Evicted uint64  `json:"evicted"` // replaced by another address for lack of room
	Expired uint64  `json:"expired"` // aged out
	Refused uint64  `json:"refused"` // not learned for lack of room
	Limited uint64  `json:"limited"` // not learned because their port brought too many in one second
	Flushed uint64  `json:"flushed"` // removed by an operator or with their port
	Flooded uint64  `json:"flooded"` // packets to an unknown unicast address
}

// TableRules is the number of rules in one flow table.
type TableRules struct {
	Table int `json:"table"`
	Rules int `json:"rules"`
}

// CacheStats describe exact-match caches.
type CacheStats struct {
	Hits   uint64 `json:"hits"`   // packets whose flow was cached
	Misses uint64 `json:"misses"` // packets that were classified
	// Revalidated is the part of Hits whose flow was cached before a rule change and found unaffected by it.
	Revalidated uint64 `json:"revalidated"`
	Evictions   uint64 `json:"evictions"` // flows that made room for others
	Flushes     uint64 `json:"flushes"`   // times that everything was forgotten
	Entries     uint64 `json:"entries"`   // flows in the cache
	Size        uint64 `json:"size"`      // flows that fit
	Programs    uint64 `json:"programs"`  // distinct action programs
}

// FDBEntry is one learned address.
type FDBEntry struct {
	Bridge string `json:"bridge"`
	Port   string `json:"port"`
	Number uint32 `json:"number"` // of the port
	VLAN   uint16 `json:"vlan"`   // 0: untagged
	MAC    string `json:"mac"`
	Age    uint32 `json:"age_seconds"` // since a packet from the address was seen last
}

// FlowInfo is one rule with its counters.
type FlowInfo struct {
	Bridge string   `json:"bridge"`
	Text   RuleText `json:"text"` // the rule, in the syntax that FlowAdd takes
	// Dump is the rule with its counters, as "ovs-ofctl dump-flows" prints it.
	Dump     RuleText `json:"dump"`
	Table    int      `json:"table"`
	Priority int      `json:"priority"`
	Cookie   uint64   `json:"cookie"`
	Origin   string   `json:"origin"`
	Packets  uint64   `json:"packets"`
	Bytes    uint64   `json:"bytes"`
	// Duration is how long the rule has existed, Idle how long ago it matched last (or was added).
	Duration float64 `json:"duration_seconds"`
	Idle     float64 `json:"idle_seconds"`
}

// PMDInfo describes one PMD thread and its receive queues.
type PMDInfo struct {
	pmd.ThreadStats // inlined
	// Packets and Batches are sums over the thread's queues.
	Packets uint64 `json:"packets"`
	Batches uint64 `json:"batches"`
	// Bridges is what the thread did for each bridge.
	Bridges []PMDBridge `json:"bridges"`
}

// PMDBridge is what one PMD thread did for one bridge.
type PMDBridge struct {
	Bridge string     `json:"bridge"`
	Cache  CacheStats `json:"cache"`
}

// Plan is the difference between a running switch and a configuration.
type Plan struct {
	// Lines are for operators: "+ port vm3 (vhost-user, bridge br0)", "- flow br0 ...", "~ pmd idle poll -> sleep".
	Lines []string `json:"lines"`
	// Applied is whether the switch now is as the lines say.
	Applied bool `json:"applied"`
}

// Stats is everything that metrics show, at one moment.
type Stats struct {
	Time    time.Time    `json:"time"`
	Ports   []PortInfo   `json:"ports"`
	Bridges []BridgeInfo `json:"bridges"`
	PMD     []PMDInfo    `json:"pmd"`
	// Orphans is how many packets were dropped because their port was just being removed.
	Orphans uint64 `json:"orphans"`
	// Faults is how many memory faults PMD threads survived.
	Faults uint64 `json:"faults"`
	// StrayFaults is how many of them were at an address that no port had mapped.
	StrayFaults uint64 `json:"stray_faults"`
}
