// Command stress measures what a load of few flows that never change cannot show: flows never seen before, traffic that
// is made against tuple space search, millions of rules loaded at once, rules that change while packets pass, how long a
// frame takes, and what a switch takes that has nothing to do. The load is written in Go on vhosttest guests, so that
// every frame's addresses are the benchmark's own and every frame is accounted for: sent = received + counted drops.
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
// and without what is to be shown. The report has the median of each figure over the rounds and the bars that it must
// reach. What one CPU cannot offer as load is said, not assumed; and the switch's own account of cycles tells what the
// work costs where the load is too slow to show it.
package main
