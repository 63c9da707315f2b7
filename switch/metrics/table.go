package metrics

import "strconv"

// kind is what a metric's value is.
type kind uint8

const (
	counter kind = iota
	gauge
)

// metric is one row of the table: what Prometheus calls it, and where in a snapshot its samples are.
type metric struct {
	name    string
	help    string
	kind    kind
	labels  []string
	samples collect
}

var (
	portLabels  = []string{"bridge", "port"}
	queueLabels = []string{"bridge", "port", "queue"}
	dropLabels  = []string{"bridge", "port", "queue", "reason"}
)

// table is every metric of the switch.
var table = []metric{
	{
		"weft_build_info", "1, labelled with the version of this daemon.", gauge,
		[]string{"version", "revision"},
		func(s *Snapshot, put func(float64, ...string)) { put(1, s.Version, s.Revision) },
	},

	// Ports.
	{
		"weft_port_info", "1, labelled with the driver of the port and the NUMA node of its memory.", gauge,
		[]string{"bridge", "port", "driver", "numa_node"},
		eachPort(func(p *Port, put func(float64, ...string)) {
			put(1, p.Bridge, p.Name, p.Driver, strconv.Itoa(p.Node))
		}),
	},
	{
		"weft_port_up", "1 when packets can pass the port, else 0.", gauge, portLabels,
		eachPort(func(p *Port, put func(float64, ...string)) { put(boolean(p.Up), p.Bridge, p.Name) }),
	},
	{
		"weft_port_mtu_bytes", "Longest layer 3 payload that the port passes, 0 when it enforces none.",
		gauge, portLabels,
		eachPort(func(p *Port, put func(float64, ...string)) { put(float64(p.MTU), p.Bridge, p.Name) }),
	},
	{
		"weft_port_sessions_total", "How often the other end of the port connected.", counter, portLabels,
		eachPort(func(p *Port, put func(float64, ...string)) {
			if p.HasSessions {
				put(float64(p.Sessions), p.Bridge, p.Name)
			}
		}),
	},
	{
		"weft_port_reconnects_total", "How often the other end of the port connected again after a first time.",
		counter, portLabels,
		eachPort(func(p *Port, put func(float64, ...string)) {
			if p.HasSessions {
				put(float64(max(p.Sessions, 1)-1), p.Bridge, p.Name)
			}
		}),
	},
	{
		"weft_port_disconnects_total", "How often the other end of the port left.", counter, portLabels,
		eachPort(func(p *Port, put func(float64, ...string)) {
			if p.HasSessions {
				put(float64(p.Disconnects), p.Bridge, p.Name)
			}
		}),
	},
	{
		"weft_port_rx_packets_total", "Packets that the switch received from the port.", counter, queueLabels,
		eachQueue(rx, func(q *Queue) uint64 { return q.Packets }),
	},
	{
		"weft_port_rx_bytes_total", "Bytes of frames that the switch received from the port, without frame check sequence.",
		counter,
		queueLabels, eachQueue(rx, func(q *Queue) uint64 { return q.Bytes }),
	},
	{
		"weft_port_rx_batches_total", "Bursts that carried the packets received from the port.", counter, queueLabels,
		eachQueue(rx, func(q *Queue) uint64 { return q.Batches }),
	},
	{
		"weft_port_rx_dropped_packets_total", "Packets from the port that were dropped on reception, by reason.",
		counter,
		dropLabels, eachDrop(rx),
	},
	{
		"weft_port_tx_packets_total", "Packets that the switch gave to the port.", counter, queueLabels,
		eachQueue(tx, func(q *Queue) uint64 { return q.Packets }),
	},
	{
		"weft_port_tx_bytes_total", "Bytes of frames that the switch gave to the port, without frame check sequence.",
		counter,
		queueLabels, eachQueue(tx, func(q *Queue) uint64 { return q.Bytes }),
	},
	{
		"weft_port_tx_batches_total", "Bursts that carried the packets given to the port.", counter, queueLabels,
		eachQueue(tx, func(q *Queue) uint64 { return q.Batches }),
	},
	{
		"weft_port_tx_dropped_packets_total", "Packets to the port that were dropped on transmission, by reason.",
		counter,
		dropLabels, eachDrop(tx),
	},

	// Bridges.
	{
		"weft_bridge_dropped_packets_total", "Packets that a bridge's rules or the lack of an output dropped, by reason.",
		counter,
		[]string{"bridge", "reason"},
		eachBridge(func(b *Bridge, put func(float64, ...string)) {
			for _, d := range b.Drops {
				put(float64(d.Packets), b.Name, d.Reason)
			}
		}),
	},
	{
		"weft_flow_rules", "Rules in a flow table; tables without rules are absent.", gauge,
		[]string{"bridge", "table"},
		eachBridge(func(b *Bridge, put func(float64, ...string)) {
			for _, t := range b.Rules {
				put(float64(t.Rules), b.Name, strconv.Itoa(t.Table))
			}
		}),
	},
	{
		"weft_mac_entries", "Addresses in the MAC table.", gauge,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Entries) }),
	},
	{
		"weft_mac_entries_limit", "Addresses that the MAC table can hold.", gauge,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Limit) }),
	},
	{
		"weft_mac_learned_total", "Addresses that were new to the MAC table.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Learned) }),
	},
	{
		"weft_mac_moved_total", "Addresses that appeared on another port than before.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Moved) }),
	},
	{
		"weft_mac_evicted_total", "Addresses that gave way to others for lack of room.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Evicted) }),
	},
	{
		"weft_mac_expired_total", "Addresses that were silent for longer than the ageing time.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Expired) }),
	},
	{
		"weft_mac_refused_total", "Addresses that were not learned for lack of room.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Refused) }),
	},
	{
		"weft_mac_limited_total", "Addresses that were not learned because their port brought too many at once.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Limited) }),
	},
	{
		"weft_mac_flushed_total", "Addresses that an operator removed, or that went with their port.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Flushed) }),
	},
	{
		"weft_mac_flooded_packets_total", "Packets flooded because their destination was not in the MAC table.", counter,
		[]string{"bridge"},
		eachMAC(func(m *MACTable) float64 { return float64(m.Flood) }),
	},

	// PMD threads.
	{
		"weft_pmd_info", "1, labelled with the CPU and NUMA node of the PMD thread.", gauge,
		[]string{"thread", "cpu", "numa_node"},
		eachThread(func(t *Thread, put func(float64, ...string)) {
			put(1, strconv.Itoa(t.Thread), strconv.Itoa(t.CPU), strconv.Itoa(t.Node))
		}),
	},
	{
		"weft_pmd_busy_cycles_total", "Time stamp counter cycles of polls that returned packets, forwarding them included.",
		counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.BusyCycles }),
	},
	{
		"weft_pmd_idle_cycles_total", "Time stamp counter cycles of polls that returned nothing.", counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.IdleCycles }),
	},
	{
		"weft_pmd_sleep_cycles_total", "Time stamp counter cycles that the PMD thread slept.", counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.SleepCycles }),
	},
	{
		"weft_pmd_cycles_per_second", "Frequency of the time stamp counter.", gauge,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.CyclesPerSec }),
	},
	{
		"weft_pmd_iterations_total", "Rounds of the PMD thread over its queues.", counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.Iterations }),
	},
	{
		"weft_pmd_loop_gaps_total", "Rounds that took longer than the threshold in seconds: no queue was polled meanwhile.",
		counter,
		[]string{"thread", "threshold"},
		eachThread(func(t *Thread, put func(float64, ...string)) {
			for _, g := range t.Gaps {
				put(float64(g.Count), strconv.Itoa(t.Thread), strconv.FormatFloat(g.OverSeconds, 'g', -1, 64))
			}
		}),
	},
	{
		"weft_pmd_loop_longest_gap_seconds", "Longest round since the PMD thread started, sleeps left out.", gauge,
		threadLabels,
		eachThread(func(t *Thread, put func(float64, ...string)) {
			if t.CyclesPerSec > 0 {
				put(float64(t.LongestGapCycles)/float64(t.CyclesPerSec), strconv.Itoa(t.Thread))
			}
		}),
	},
	{
		"weft_pmd_sleeps_total", "How often the PMD thread slept because its queues were empty.", counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.Sleeps }),
	},
	{
		"weft_pmd_packets_total", "Packets that the PMD thread received; divided by batches, the packets per batch.",
		counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.Packets }),
	},
	{
		"weft_pmd_batches_total", "Batches that carried them.", counter,
		threadLabels, threadCount(func(t *Thread) uint64 { return t.Batches }),
	},
	{
		"weft_pmd_queue_busy_cycles_total", "Busy cycles by receive queue, since the queue came to the PMD thread.",
		counter,
		[]string{"thread", "port", "queue"},
		eachThread(func(t *Thread, put func(float64, ...string)) {
			for i := range t.Queues {
				q := &t.Queues[i]
				put(float64(q.BusyCycles), strconv.Itoa(t.Thread), q.Port, strconv.Itoa(q.Index))
			}
		}),
	},
	{
		"weft_pmd_memory_faults_total", "Memory faults that PMD threads survived: a peer truncated the memory it shares.",
		counter, nil,
		func(s *Snapshot, put func(float64, ...string)) { put(float64(s.MemoryFaults)) },
	},
	{
		"weft_pmd_stray_memory_faults_total", "Memory faults at an address that no port had mapped: a defect of Weft.",
		counter, nil,
		func(s *Snapshot, put func(float64, ...string)) { put(float64(s.StrayFaults)) },
	},

	{
		"weft_pmd_orphaned_packets_total", "Packets dropped because their port was just being removed.", counter, nil,
		func(s *Snapshot, put func(float64, ...string)) { put(float64(s.Orphans)) },
	},

	// Caches.
	{
		"weft_flow_cache_hits_total", "Packets whose flow was in the exact-match cache.", counter, cacheLabels,
		eachCache(func(c *Cache) uint64 { return c.Hits }),
	},
	{
		"weft_flow_cache_misses_total", "Packets that were classified by the rules.", counter, cacheLabels,
		eachCache(func(c *Cache) uint64 { return c.Misses }),
	},
	{
		"weft_flow_cache_entries", "Flows in the exact-match cache.", gauge, cacheLabels,
		eachCache(func(c *Cache) uint64 { return c.Entries }),
	},
	{
		"weft_flow_cache_entries_limit", "Flows that the exact-match cache can hold.", gauge, cacheLabels,
		eachCache(func(c *Cache) uint64 { return c.Limit }),
	},
}

var (
	threadLabels = []string{"thread"}
	cacheLabels  = []string{"thread", "bridge"}
)

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func rx(p *Port) []Queue { return p.Rx }
func tx(p *Port) []Queue { return p.Tx }

// collect is how a row finds its samples.
type collect = func(*Snapshot, func(float64, ...string))

func eachPort(f func(*Port, func(float64, ...string))) collect {
	return func(s *Snapshot, put func(float64, ...string)) {
		for i := range s.Ports {
			f(&s.Ports[i], put)
		}
	}
}

func eachQueue(direction func(*Port) []Queue, value func(*Queue) uint64) collect {
	return eachPort(func(p *Port, put func(float64, ...string)) {
		qs := direction(p)
		for i := range qs {
			put(float64(value(&qs[i])), p.Bridge, p.Name, strconv.Itoa(qs[i].Index))
		}
	})
}

func eachDrop(direction func(*Port) []Queue) collect {
	return eachPort(func(p *Port, put func(float64, ...string)) {
		for _, q := range direction(p) {
			for _, d := range q.Drops {
				put(float64(d.Packets), p.Bridge, p.Name, strconv.Itoa(q.Index), d.Reason)
			}
		}
	})
}

func eachBridge(f func(*Bridge, func(float64, ...string))) collect {
	return func(s *Snapshot, put func(float64, ...string)) {
		for i := range s.Bridges {
			f(&s.Bridges[i], put)
		}
	}
}

func eachMAC(value func(*MACTable) float64) collect {
	return eachBridge(func(b *Bridge, put func(float64, ...string)) { put(value(&b.MAC), b.Name) })
}

func eachThread(f func(*Thread, func(float64, ...string))) collect {
	return func(s *Snapshot, put func(float64, ...string)) {
		for i := range s.Threads {
			f(&s.Threads[i], put)
		}
	}
}

func threadCount(value func(*Thread) uint64) collect {
	return eachThread(func(t *Thread, put func(float64, ...string)) {
		put(float64(value(t)), strconv.Itoa(t.Thread))
	})
}

func eachCache(value func(*Cache) uint64) collect {
	return eachThread(func(t *Thread, put func(float64, ...string)) {
		for i := range t.Caches {
			put(float64(value(&t.Caches[i])), strconv.Itoa(t.Thread), t.Caches[i].Bridge)
		}
	})
}
