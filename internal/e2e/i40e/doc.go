// Package i40e holds the gates of the I40E device model: the drivers that others wrote for the silicon, unmodified, on
// the model in its place. They are behind the build tag i40e, apart from the other end-to-end tests, need root, and
// install what they lack: a Debian 13 in the cache gives qemu 11, the guest kernel, DPDK and the tools.
//
//	 qemu 11, software emulation                    the test's own process
//	+---------------------------+        +-----------------------------------------+
//	| agent                     | serial |  gate: commands, faults, expectations   |
//	| i40e.ko  iavf.ko  testpmd | <----> |       |            ^ violations, trace  |
//	|      |                    |        |       v            |                    |
//	|  vfio-user-pci -----------+--------+-> vfiouser ---> i40esim ---> wire       |
//	+---------------------------+ socket +--------------------------------|--------+
//	                                       tap in a network namespace, or the test itself
//
// Every gate fails on a violation that it does not expect, and prints how many registers and admin-queue commands the
// driver used.
package i40e
