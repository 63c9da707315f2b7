// Command compare measures the throughput of Weft beside Open vSwitch with DPDK and testpmd's vhost driver, under one and
// the same load: two virtio-user ports of a testpmd on one CPU, the switch's forwarding thread on another.
//
//	scenario   round 1            round 2            ...   round N
//	           weft ovs testpmd   testpmd ovs weft         weft ovs testpmd     each: start, measure, stop
//	             |   |    |
//	             v   v    v                +----------------+  V0  +-----------+
//	           packets per second <------- | load (CPU 0)   |------| switch    |
//	                                       |                |------| (CPU 1)   |
//	                                       +----------------+  V1  +-----------+
//
// A scenario is a list of contenders, which are a switch and what it has to do: its rules, the frames, how many flows.
// They alternate, because a shared machine drifts; figures of one run are compared and of different runs are not. What
// makes most of the drift on a virtual machine is where the hypervisor puts its CPUs: near each other, or far
// apart. So each measurement is cut into slices, with a probe of the CPUs' distance between them (see rig.Prober), and
// contenders are compared within each round in slices of the same phase, near or far.
//
// In the end the load stops, receives what is still under way, and takes stock: frames sent, received, and counted by the
// switch as dropped. Where Weft's counters do not add up, or a frame came that was not whole, the measurement has failed.
//
// The report gives medians, the spread, and for each pair of contenders the median of the ratios, beside the bar that it
// must reach where there is one; and, from the switch's own account of the same slices, the forwarding thread's busy cycles
// for each packet and the part of its time that it waited for the load. Where loads differ, as with one and two queue
// pairs, the bar is of these cycles, and the ratio of rates shows what the load makes of it. A contender that fails takes its
// scenario out of the report, which says so, and nothing else.
package main
