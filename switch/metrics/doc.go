// Package metrics shows a running switch to Prometheus. The switch counts; nothing is counted here: each scrape takes
// one snapshot and turns its fields into samples by a table of metric names.
//
//	PMD threads --- plain counters --+
//	bridges, ports, MAC tables ------+--> Snapshot --> table of metrics --> Collector --> /metrics
//	                                      (a scrape)
//
// # Cardinality
//
// The number of series depends on the configuration alone, never on traffic: ports x queues x reasons, bridges x
// tables, PMD threads x queues. No label holds an address, a rule or a peer's name. A drop reason that its direction can
// have is exported with the value 0 before the first drop, because rate() and increase() miss the step from "no series"
// to 1; which reasons those are is up to whoever fills the snapshot: about nine for a pair of queues.
package metrics
