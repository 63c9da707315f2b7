package classifier

import (
	"math/bits"

	"weft/flowtable/flow"
)

// piece is a run of bits of a key that people mask from the top, as prefixes: an address, a port, a register.
type piece struct {
	word, shift, width uint8 // width 128 is two words, high first
}

// pieces are all bits of a key, in the order of words.
var pieces = [...]piece{
	{flow.WordPort, flow.ShiftInPort, 32},
	{flow.WordPort, flow.ShiftEthType, 16},
	{flow.WordPort, 0, 16},
	{flow.WordDst, flow.ShiftEth, 48},
	{flow.WordDst, 0, 16},
	{flow.WordSrc, flow.ShiftEth, 48},
	{flow.WordSrc, 0, 16},
	{flow.WordIPv4, flow.ShiftIPSrc, 32},
	{flow.WordIPv4, 0, 32},
	{flow.WordL4, flow.ShiftProto, 8},
	{flow.WordL4, flow.ShiftFrag, 24}, // TOS, TTL and fragment
	{flow.WordL4, flow.ShiftTPSrc, 16},
	{flow.WordL4, 0, 16},
	{flow.WordSHA, 0, 64},
	{flow.WordTHA, 0, 64},
	{flow.WordIPv6S, 0, 128},
	{flow.WordIPv6D, 0, 128},
	{flow.WordMPLS, 0, 64},
	{flow.WordLabel, 0, 64},
	{flow.WordND, 0, 128},
	{flow.WordMetadata, 0, 64},
	{flow.WordTunnel, 0, 64},
	{flow.WordReg, 0, 64},
	{flow.WordReg + 1, 0, 64},
	{flow.WordReg + 2, 0, 64},
	{flow.WordReg + 3, 0, 64},
	{flow.WordReg + 4, 0, 64},
	{flow.WordReg + 5, 0, 64},
	{flow.WordReg + 6, 0, 64},
	{flow.WordReg + 7, 0, 64},
	{flow.WordMark, 0, 64},
}

// wide is from what width on a piece counts as an address.
const wide = 32

// prefix writes the bits of mask that lie in the first n of the piece into to.
func (p *piece) prefix(mask, to *flow.Key, n int) {
	if p.width == 128 {
		to[p.word] |= mask[p.word] & top64(min(n, 64))
		to[p.word+1] |= mask[p.word+1] & top64(max(n-64, 0))
		return
	}
	ones := uint64(1)<<p.width - 1
	if p.width == 64 {
		ones = ^uint64(0)
	}
	to[p.word] |= mask[p.word] & (ones &^ (ones >> n) << p.shift)
}

func top64(n int) uint64 { return ^(^uint64(0) >> n) }

// of is the bits of mask in the piece, as a pair of words.
func (p *piece) of(mask *flow.Key) [2]uint64 {
	var k flow.Key
	p.prefix(mask, &k, int(p.width))
	if p.width == 128 {
		return [2]uint64{k[p.word], k[p.word+1]}
	}
	return [2]uint64{k[p.word]}
}

// length is how many bits of mask lie in the piece.
func (p *piece) length(mask *flow.Key) int {
	v := p.of(mask)
	return bits.OnesCount64(v[0]) + bits.OnesCount64(v[1])
}

const (
	coarseLevels = 3
	coarseEnough = 16 // bits of addresses that are worth a tuple without anything else
)

// coarse is a mask with some of the bits of mask: addresses in quarters of their width and, if that is little, the rest;
// at level 1 with the rest, at level 2 the whole addresses without it.
func coarse(mask *flow.Key, level int) (m flow.Key) {
	n := 0
	for i := range pieces {
		if p := &pieces[i]; p.width >= wide {
			quarter := int(p.width) / 4
			length := p.length(mask)
			if level < 2 {
				length = length / quarter * quarter
			}
			p.prefix(mask, &m, length)
			n += length
		}
	}
	if level == 1 || n < coarseEnough {
		for i := range pieces {
			if p := &pieces[i]; p.width < wide {
				p.prefix(mask, &m, int(p.width))
			}
		}
	}
	return m
}
