// Package numa knows the machine: which CPUs, SMT siblings, hugepages and PCI slots belong to which NUMA node, which
// CPUs this process may use and which of them PMD threads should have, on which node an address lies, and how to get
// memory of a node.
//
//	/sys/devices/system/node, cpu      sched_getaffinity     get_mempolicy      mmap, mbind
//	/sys/bus/pci/devices                       |                   |                |
//	            |                              |                   |                |
//	        Topology --------------------> DefaultCPUs       NodeOfMemory         Arena
//	            |                              |                   |                |
//	     vm1's node, wire's node        one PMD thread a node   vm1's node    caches, batches
//
// The root of the sysfs tree is a parameter. A topology read from another root than "/" describes another machine: it
// answers everything from that tree, and pins no thread for real. [weft/numa/numatest] writes such trees.
//
// # Concurrency
//
// A Topology is immutable after Read. An Arena may be used by any goroutine.
package numa
