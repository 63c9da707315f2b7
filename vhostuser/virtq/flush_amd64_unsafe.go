package virtq

import "unsafe"

// flushLines drops the lines that have s, all of them whole, from all caches.
func (r *Ring) flushLines(s span) {
	// SAFETY: s.first <= s.end <= size, so the lines are the table's, or none. Flushing a line changes nothing in it.
	flush(unsafe.Add(r.desc, uintptr(s.first)*descSize), int(s.end-s.first)/perLine)
}

// flushingHelps says whether this processor has CLFLUSHOPT, and is one on which flushBefore was measured: AMD's.
func flushingHelps() bool {
	const (
		clflushopt = 1 << 23 // of leaf 7's EBX, AMD64 Architecture Programmer's Manual, volume 3, appendix E.3.6
		authentic  = 0x68747541
		amd        = 0x444d4163 // the first and the last part of "AuthenticAMD", leaf 0's EBX and ECX
	)
	leaves, b, c, _ := cpuid(0, 0)
	if leaves < 7 || b != authentic || c != amd {
		return false
	}
	_, b, _, _ = cpuid(7, 0)
	return b&clflushopt != 0
}

// flush drops n cache lines from p on from the caches of all CPUs, and writes to memory what is only there. Nothing waits for it.
//
// SAFETY: the lines are mapped.
//
//go:noescape
func flush(p unsafe.Pointer, n int)

// cpuid is the instruction of that name.
func cpuid(leaf, subleaf uint32) (a, b, c, d uint32)
