// Command init is the user space of a test's qemu guest, alone: process 1, and the agent behind the second serial port.
// Started as an ordinary process with -listen, it is the agent of the network namespace that it was started in.
//
//	as process 1 of a guest                     as a process on the host
//	mount /proc /sys /dev                       unshare(CLONE_NEWNET) by the parent
//	insert /modules/NN-*.ko in order            listen on a unix socket
//	addresses from weft.ip=IF:CIDR              lo up
//	serve /dev/ttyS1 for ever                   serve each connection
package main
