// Package trixie keeps a Debian 13 in a directory of the cache: the newer qemu, the DPDK, the network tools and the guest
// kernel that the gates of the I40E model need, whatever the machine itself runs.
//
//	debootstrap trixie            apt-get install, in the chroot          apt-get download, dpkg-deb -x
//	       |                 qemu 11 of trixie-backports, dpdk 24.11             linux-image 6.12
//	       v                                |                                          |
//	CACHE/trixie-N.partial-* <--------------+------------------------------------------+
//	       | rename, once all of it is there
//	       v
//	CACHE/trixie-N  --> Command: one of its programs, run with its own loader and libraries; no chroot, no mounts
//
// What was downloaded survives an interrupted attempt, what was built does not. The steps run in mount and process
// namespaces of their own, so that neither a mount nor a process outlives them.
package trixie
