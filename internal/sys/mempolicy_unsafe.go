package sys

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxNode is the highest node number for which a memory policy can be made; the kernel's limit is 1023 (NODES_SHIFT
// 10).
const maxNode = 1023

// mpolNodeAddr asks get_mempolicy for the node of an address's page (linux/mempolicy.h: MPOL_F_NODE | MPOL_F_ADDR).
const mpolNodeAddr = unix.MPOL_F_NODE | unix.MPOL_F_ADDR

// BindMemory takes the pages of b, which starts on a page, that become resident from now on from this node. When strict
// is set no other node will do, and touching a page when the node has none raises SIGBUS (hugepages) or invokes the
// kernel's out-of-memory killer; otherwise the node is preferred.
func BindMemory(b []byte, node int, strict bool) error {
	if node < 0 || node > maxNode {
		return fmt.Errorf("mbind: node %d: not from 0 to %d", node, maxNode)
	}
	if len(b) == 0 {
		return nil
	}
	mode := uintptr(unix.MPOL_PREFERRED)
	if strict {
		mode = unix.MPOL_BIND
	}
	var mask [(maxNode + 1) / 64]uint64
	mask[node/64] = 1 << (node % 64)
	// SAFETY: b and mask are alive during the call, which reads maxNode+1 bits of mask (the kernel ignores the last bit
	// of the count that it is given, hence + 2) and changes nothing of b's contents.
	_, _, e := unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), mode,
		uintptr(unsafe.Pointer(&mask)), maxNode+2, 0)
	if e != 0 {
		return fmt.Errorf("mbind to node %d: %w", node, e)
	}
	return nil
}

// NodeOf returns the NUMA node that the page at p lies on. A page that is not resident is made so first, as by a read;
// where that cannot be done (a file that was truncated, no mapping), the error is EFAULT.
func NodeOf(p unsafe.Pointer) (int, error) {
	var node int32
	// SAFETY: node is alive during the call; p is not read by us, and the kernel checks it.
	_, _, e := unix.Syscall6(unix.SYS_GET_MEMPOLICY, uintptr(unsafe.Pointer(&node)), 0, 0, uintptr(p), mpolNodeAddr, 0)
	if e != 0 {
		return -1, fmt.Errorf("get_mempolicy: %w", e)
	}
	return int(node), nil
}
