package flowdiff

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// The values that rules and packets are made of: few, so that they meet, and those that something special is said of.
var (
	someMACs = []uint64{
		0x020000000001, 0x020000000002, 0x0200000000ff, 0xffffffffffff, 0x0180c2000000, 0x0180c200000e, 0x01005e000001,
		0x333300000001,
	}
	someProtos = []uint64{protoTCP, protoUDP, protoICMP, protoSCTP, protoIGMP, protoGRE, 0, 255, protoICMP6}
	someTOS    = []uint64{0, 0xb8, 0x03, 0x41, 0xff, 0x01}
	someTTLs   = []uint64{64, 1, 0, 255, 2}
	someIPs    = []uint64{0x0a000001, 0x0a000002, 0x0a000102, 0x0a010203, 0xc0a80001, 0xe0000001, 0}
	someIP6s   = []wide{
		{0x20010db800000000, 1},
		{0x20010db800000001, 2},
		{0xfe80000000000000, 0x00000000000000ff},
		{0xff02000000000000, 1},
		{0, 0},
	}
	someLabels = []uint64{0, 1, 0x12345, 0xfffff}
	somePorts  = []uint64{80, 443, 53, 1000, 0, 65535, 4789}
	someFlags  = []uint64{0x02, 0x12, 0x10, 0x11, 0x04, 0, 0xff, 0x100}
	someTCIs   = []uint16{5, 7, 0x6005, 0x0000, 0x2000, 0x1005, 0xffff, 0x0fff}
	someSmall  = []uint64{0, 1, 2, 3, 0xff, 0xffffffff}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// weighted draws an index by weight.
func weighted[T any](r *rand.Rand, rows []T, weight func(*T) int) *T {
	sum := 0
	for i := range rows {
		sum += weight(&rows[i])
	}
	if sum == 0 {
		return nil
	}
	n := r.IntN(sum)
	for i := range rows {
		if n -= weight(&rows[i]); n < 0 {
			return &rows[i]
		}
	}
	return nil
}

// randomMask draws a mask of so many bits: all of them, a prefix, or anything.
func randomMask(r *rand.Rand, bits uint) uint64 {
	all := ^uint64(0) >> (64 - bits)
	switch r.IntN(6) {
	case 0:
		return all << r.IntN(int(bits)) & all
	case 1:
		return r.Uint64() & all
	case 2:
		return 1 << r.IntN(int(bits))
	}
	return all
}

// How values are written.

func decimal(v uint64) string { return fmt.Sprintf("%d", v) }
func hexText(v uint64) string { return fmt.Sprintf("%#x", v) }
func macText(v uint64) string { return mac(v).String() }
func ip4Text(v uint64) string { return ip4(v).String() }

func ip6Text(v wide) string {
	a, _ := netip.AddrFromSlice(v.bytes())
	return a.String()
}
