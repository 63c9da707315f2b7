package main

import (
	"maps"
	"slices"

	"weft/internal/packet"
	"weft/switch"
	"weft/switch/metrics"
)

// The drop reasons that each place can have. They are shown with 0 before the first drop, see package metrics.
var (
	rxReasons = []packet.DropReason{packet.DropRunt, packet.DropTooManySegments, packet.DropBadDescriptor}
	txReasons = []packet.DropReason{
		packet.DropNoDescriptor, packet.DropQueueDisabled, packet.DropFrameTooLong, packet.DropOverMTU,
		packet.DropPortDown, packet.DropBackendError,
	}
	bridgeReasons = []packet.DropReason{
		packet.DropNoMatch, packet.DropByRule, packet.DropNoOutput, packet.DropHairpin,
		packet.DropHeadroom, packet.DropResubmitLimit, packet.DropNoSuchPort, packet.DropMeter, packet.DropNoClone,
		packet.DropVLAN, packet.DropBadTag, packet.DropFragment, packet.DropTooManyLabels, packet.DropQueueBusy,
		packet.DropReservedMulticast, packet.DropHeaderTooLong, packet.DropMemoryFault,
	}
)

// metricsOf turns the switch's statistics into those that Prometheus gets.
func metricsOf(st *vswitch.Stats, v versionInfo) metrics.Snapshot {
	s := metrics.Snapshot{
		Version: v.Version, Revision: v.Revision,
		MemoryFaults: st.Faults, StrayFaults: st.StrayFaults, Orphans: st.Orphans,
	}
	for i := range st.Ports {
		p := &st.Ports[i]
		s.Ports = append(s.Ports, metrics.Port{
			Bridge: p.Bridge, Name: p.Name, Driver: p.Driver, Up: p.Link, MTU: p.MTU, Node: p.Node,
			HasSessions: p.Driver == driverVhostUser, Sessions: p.Sessions, Disconnects: p.Disconnects,
			Rx: queueMetrics(p.RxQueues, rxReasons), Tx: queueMetrics(p.TxQueues, txReasons),
		})
	}
	for i := range st.Bridges {
		s.Bridges = append(s.Bridges, bridgeMetrics(&st.Bridges[i]))
	}
	for i := range st.PMD {
		s.Threads = append(s.Threads, threadMetrics(&st.PMD[i]))
	}
	return s
}

func queueMetrics(queues []vswitch.QueueInfo, reasons []packet.DropReason) []metrics.Queue {
	out := make([]metrics.Queue, len(queues))
	for i := range queues {
		q := &queues[i]
		out[i] = metrics.Queue{
			Index: q.Index, Packets: q.Packets, Bytes: q.Bytes, Batches: q.Batches, Drops: dropMetrics(q.Drops, reasons),
		}
	}
	return out
}

// dropMetrics are the counts of the usual reasons, and of any other that occurred.
func dropMetrics(drops map[string]uint64, usual []packet.DropReason) []metrics.Drop {
	out := make([]metrics.Drop, 0, len(usual))
	seen := make(map[string]bool, len(usual))
	for _, r := range usual {
		out = append(out, metrics.Drop{Reason: r.String(), Packets: drops[r.String()]})
		seen[r.String()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(drops)) {
		if !seen[name] {
			out = append(out, metrics.Drop{Reason: name, Packets: drops[name]})
		}
	}
	return out
}

func bridgeMetrics(b *vswitch.BridgeInfo) metrics.Bridge {
	f := &b.FDB
	rules := make([]metrics.TableRules, len(b.Tables))
	for i, t := range b.Tables {
		rules[i] = metrics.TableRules(t)
	}
	return metrics.Bridge{
		Name:  b.Name,
		Rules: rules,
		Drops: dropMetrics(b.Drops, bridgeReasons),
		MAC: metrics.MACTable{
			Entries: f.Entries, Limit: f.Limit, Learned: f.Learned, Moved: f.Moved, Evicted: f.Evicted,
			Expired: f.Expired, Refused: f.Refused, Limited: f.Limited, Flushed: f.Flushed, Flood: f.Flooded,
		},
	}
}

func threadMetrics(t *vswitch.PMDInfo) metrics.Thread {
	out := metrics.Thread{
		Thread: t.Thread, CPU: t.CPU, Node: t.Node, BusyCycles: t.BusyCycles, IdleCycles: t.IdleCycles,
		SleepCycles: t.SleepCycles, CyclesPerSec: t.TSCHz, Iterations: t.Iterations, Sleeps: t.Sleeps,
		Packets: t.Packets, Batches: t.Batches,
	}
	out.LongestGapCycles = t.LongestGapCycles
	for _, g := range t.Gaps {
		out.Gaps = append(out.Gaps, metrics.LoopGap{OverSeconds: float64(g.Over) / 1e6, Count: g.Count})
	}
	for _, q := range t.Queues {
		out.Queues = append(out.Queues, metrics.ThreadQueue{Port: q.Port, Index: q.Queue, BusyCycles: q.Cycles})
	}
	for _, b := range t.Bridges {
		out.Caches = append(out.Caches, metrics.Cache{
			Bridge: b.Bridge, Hits: b.Cache.Hits, Misses: b.Cache.Misses, Entries: b.Cache.Entries, Limit: b.Cache.Size,
		})
	}
	return out
}
