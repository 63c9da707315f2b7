// Package rig is what the benchmarks have in common: the fingerprint of the machine, the arithmetic of rounds, and how a
// report is written.
//
//	compare --+                +--> Machine: CPU, nodes, hugepages, kernel, hypervisor
//	          +--> package rig +--> Median, Percentile, Join
//	stress ---+                +--> Prober, Phases: how far apart two CPUs are
//	                           +--> WriteJSON: benchmarks/results/NAME.json
package rig
