// Package frame holds what the XL710 knows about frames, as pure functions on bytes: its parser and packet types,
// checksums, the RSS hash, segmentation and VLAN tags. No function keeps what it is given; none knows a descriptor.
//
//	receive:   bytes -> Parser.Parse -> Layers -> PType, PCType     (packet type, classifier type)
//	                                          -> Verify             (checksum status)
//	                                          -> FieldVector -> Hash over the PCTYPE's input set
//	                                          -> StripTag
//	transmit:  bytes + Offload (lengths and types from the descriptors) -> Insert | Segment -> InsertTag -> wire
//
//	+-----+------+----------+------------+---------+------+----+---------+
//	| MAC | tags | outer IP | UDP or GRE | MAC tag | IP   | L4 | payload |
//	+-----+------+----------+------------+---------+------+----+---------+
//	L2           Outer      Tunnel       InnerL2   IP     L4
//
// The transmit functions trust the lengths of the descriptors, as the silicon does: it does not parse what it sends.
// The receive functions trust nothing.
//
// Sources: the tables of the Linux and DPDK drivers. Names of datasheet tables say where to look; see package i40esim.
package frame
