// Command stress measures what a load of few flows that never change cannot show: flows never seen before, traffic that
// is made against tuple space search, millions of rules loaded at once, rules that change while packets pass, a control
// side that is busy in every way, ten thousand addresses, how long a frame takes, and what a switch takes that has nothing
// to do. The load is written in Go on vhosttest guests, so that every frame's addresses are the benchmark's own and every
// frame is accounted for: sent = received + counted drops.
//
//	 load CPU                                  switch CPU
//	+-----------------------------+           +------------------+
//	| streams: known, fresh,      |  v0       | weft, or         |
//	|   victim, attack   ---------|---------->| Open vSwitch     |
//	|   (paced by the clock)      |  v1       | with DPDK        |
//	| receive and tally <---------|-----------|                  |
//	+-----------------------------+           +------------------+
//	  rules, requests, readings  ----------------> control socket, /metrics, /proc
//
// A scenario is measured in rounds, each with a switch started anew, whose phases are compared within the round: with
// and without what is to be shown. For rates and delays of two switches they are cut into slices, with a probe of the CPUs'
// distance in between (see rig.Prober), and slices are compared that found the CPUs equally near or far.
//
// The report has the median of each figure over the rounds and the bars that it must reach. What one CPU cannot offer as
// load is said, not assumed, and a bar that rests on it is not shown; and the switch's own account of cycles tells what
// the work costs where the load is too slow to show it.
package main
