// Package daemon runs the weft binary as an operator does, and watches what it holds.
//
//	test, demo, benchmark           weft run -c FILE
//	+-------------------+  start   +------------------------+
//	| Daemon            | -------> | PMD threads, ports     |
//	|   CLI, JSON       | -------> | control socket         |
//	|   Metrics         | -------> | /metrics               |
//	|   Holdings        | -------> | /proc/PID/{fd,maps,task}
//	+-------------------+          +------------------------+
package daemon
