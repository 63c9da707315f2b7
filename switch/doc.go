// Package vswitch joins queues to flows: bridges with numbered ports, the processor that every PMD thread calls with a
// received batch, MAC learning, and the reconciliation of a running switch with its configuration.
//
//	weft.yaml --Parse--> Config --Apply--> Switch ---------------- FlowAdd, AddPort, Stats ... (the unix socket)
//	                                         |  publishes
//	                                         v
//	                                 one view for each PMD thread (immutable: ports, bridges, transmit queues)
//	                                         |  one atomic load per batch
//	                                         v
//	pmd thread: Receive -> Processor.Process: Lookup.Batch -> run programs -> Transmit per destination -> Release
//	                                                             |
//	                                                             +-- NORMAL <-> fdb (MAC table)
//
// # Concurrency
//
// Control methods take Switch.mu, and may block. PMD threads never do: they read their current view by one atomic load
// for each batch, and own what is theirs alone (a packet.Batch, a flowtable.Lookup, lists of packet indices). The MAC
// table is the one structure that PMD threads write in common; each of its buckets has a sequence lock that writers
// only try and readers retry a bounded number of times.
//
// What a view refers to (a transmit queue, a lookup) is closed only after a newer view has been published and
// every PMD thread has passed a quiescent point.
//
// Devices call [Host.Changed] from any goroutine; the calls are coalesced, and one goroutine of the switch recomputes
// the queues. Lock order: Switch.mu, then whatever a device or the pmd package locks inside; devices never call back
// into the switch with a lock of theirs held that Close or Queues needs.
package vswitch
