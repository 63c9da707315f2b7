// Package sys is the one place for what Go's standard library does not give a data plane: memory mappings, event
// descriptors, descriptor passing, thread affinity and memory policy, the few CPU instructions that the compiler does
// not emit, and a say in when Go's scheduler stops a thread.
//
//	virtq   vhostuser   numa   pmd/tap
//	  |         |         |       |
//	  +----+----+----+----+-------+
//	       |  sys    |
//	TSC, PAUSE,      mmap, memfd, eventfd, SCM_RIGHTS,
//	turns            sched_setaffinity, get_mempolicy, TUN ioctls
//
// Every raw system call of the project is made here. Nothing here knows about packets.
package sys
