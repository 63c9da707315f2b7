package virtq

import (
	"math"
	"unsafe"

	"weft/internal/packet"
)

// maxSteps bounds the descriptors of one chain that are read, so that a hostile guest cannot buy much time with one
// frame. It is twice what a batch can carry; a longer chain costs its frame. What walkOrdinary gives up on is read again, after
// at most maxChain descriptors.
const maxSteps = 2 * maxChain

// chain is what walk gathers: the buffers of one descriptor chain, or of several.
type chain struct {
	pieces []packet.Segment // of a bounded capacity
	total  int              // bytes in pieces
	fits   bool             // false: there are more pieces than a batch could carry, and pieces holds the first of them
}

// walk adds to c the chain that starts with the staged buffer first. Every buffer must have the
// direction, 0 or descWrite. It fails when the chain breaks the ring's rules.
func (r *Ring) walk(c *chain, first *buffer, direction uint16) bool {
	if first.plain(direction) && first.len > 0 && len(c.pieces) < cap(c.pieces) {
		c.pieces = append(c.pieces, first.after(0))
		c.total += int(first.len)
		return true
	}
	switch {
	case r.packed:
		return r.walkPacked(c, first, direction)
	case r.walkOrdinary(c, first, direction):
		return true
	}
	return r.walkSplit(c, first, direction)
}

// walkOrdinary is walk for what most chains of several descriptors are in a split ring: all in its own table, each mapped in one
// piece. If one is not, breaks a rule, or has no room, it forgets what it read, and adds nothing.
func (r *Ring) walkOrdinary(c *chain, first *buffer, direction uint16) bool {
	if first.at == 0 {
		return false
	}
	had := len(c.pieces)
	out := c.pieces[had:min(cap(c.pieces), had+int(r.size))]
	addr, rest := first.addr, uint64(first.len)|uint64(first.flags)<<32|uint64(first.next)<<48
	for n, total, ended := 0, 0, false; ; {
		var added, more int
		added, more, addr, rest, ended = r.walkRegion(r.memory.around(addr), out[n:], addr, rest, direction)
		n, total = n+added, total+more
		if ended {
			c.pieces, c.total = c.pieces[:had+n], c.total+total
			return true
		}
		if added == 0 {
			return false
		}
	}
}

// walkRegion turns descriptors into pieces, from one on that was read as two words, as far as they are ordinary, in one region,
// and there is room. It returns how many these are, of how many bytes, and the one behind them unless the chain ended; none if
// there cannot be one behind them.
func (r *Ring) walkRegion(g *Region, pieces []packet.Segment, addr, rest uint64, direction uint16) (
	n, total int, nextAddr, nextRest uint64, ended bool,
) {
	for n < len(pieces) {
		length, off := rest&math.MaxUint32, addr-g.GPA
		if uint16(rest>>32)&(descIndirect|descWrite) != direction || off >= g.Size || length > g.Size-off || length == 0 {
			break
		}
		// SAFETY: off+length lies inside the mapping of Size bytes at Base.
		pieces[n] = packet.SegmentAt(unsafe.Add(g.Base, off), uint32(length))
		n++
		total += int(length)
		if rest&(descNext<<32) == 0 {
			return n, total, 0, 0, true
		}
		next := uint16(rest >> 48)
		if next > r.mask {
			return 0, 0, 0, 0, false
		}
		// SAFETY: next < size, so the descriptor lies inside the table, where 16 bytes are readable.
		d := unsafe.Add(r.desc, uintptr(next)*descSize)
		addr, rest = *(*uint64)(d), *(*uint64)(unsafe.Add(d, 8))
	}
	return n, total, addr, rest, false
}

// walkSplit is walk for a split ring, but for plain buffers.
func (r *Ring) walkSplit(c *chain, first *buffer, direction uint16) bool {
	b := buffer{addr: first.addr, len: first.len, flags: first.flags, next: first.next}
	at := first.head
	table, entries, inside := r.desc, uint32(r.size), false
	for steps := uint32(1); ; steps++ {
		if b.flags&descIndirect != 0 {
			// A table may stand for the whole chain or end it (virtio 1.3 §2.7.5.3.2).
			if inside {
				r.fail(NestedIndirect, at, uint64(b.flags))
				return false
			}
			var ok bool
			if table, entries, ok = r.indirectTable(&b, at); !ok {
				return false
			}
			inside, at, steps = true, 0, 1
			// SAFETY: the table has at least one descriptor.
			b.load(table)
			if b.flags&descIndirect != 0 {
				r.fail(NestedIndirect, at, uint64(b.flags))
				return false
			}
		}
		if b.flags&descWrite != direction {
			r.fail(WrongDirection, at, uint64(b.flags))
			return false
		}
		if !r.gather(c, &b) {
			r.fail(BadAddress, at, b.addr)
			return false
		}
		if b.flags&descNext == 0 {
			return true
		}
		if !c.fits || steps == maxSteps {
			c.fits = false
			return true
		}
		if steps >= entries {
			r.fail(ChainTooLong, at, uint64(steps))
			return false
		}
		if uint32(b.next) >= entries {
			r.fail(NextOutOfRange, at, uint64(b.next))
			return false
		}
		at = b.next
		// SAFETY: at < entries, so the descriptor lies inside its table.
		b.load(unsafe.Add(table, uintptr(at)*descSize))
	}
}

// indirectTable translates the table that the indirect descriptor b describes. The device ignores descWrite in b (virtio
// 1.3 §2.7.5.3.2 and §2.8.7).
func (r *Ring) indirectTable(b *buffer, at uint16) (table unsafe.Pointer, entries uint32, ok bool) {
	switch {
	case !r.indirect:
		r.fail(IndirectNotNegotiated, at, uint64(b.flags))
		return nil, 0, false
	case b.flags&descNext != 0:
		r.fail(IndirectWithNext, at, uint64(b.flags))
		return nil, 0, false
	case b.len == 0 || b.len%descSize != 0:
		r.fail(IndirectBadLength, at, uint64(b.len))
		return nil, 0, false
	}
	if table = r.memory.translate(b.addr, b.len); table == nil {
		r.fail(BadAddress, at, b.addr)
		return nil, 0, false
	}
	return table, b.len / descSize, true
}

// gather adds b's buffer to c; a descriptor of length 0 adds nothing. It fails when a byte is not mapped.
func (r *Ring) gather(c *chain, b *buffer) bool {
	if p := r.memory.translate(b.addr, b.len); p != nil && b.len > 0 && len(c.pieces) < cap(c.pieces) {
		c.pieces = append(c.pieces, packet.SegmentAt(p, b.len))
		c.total += int(b.len)
		return true
	}
	return r.gatherPieces(c, b)
}

// gatherPieces is gather for what is not mapped in one piece, or is nothing, or one too many.
func (r *Ring) gatherPieces(c *chain, b *buffer) bool {
	if b.len == 0 {
		return true
	}
	had := len(c.pieces)
	var ok bool
	if c.pieces, ok = r.memory.split(c.pieces, b.addr, b.len); !ok {
		return false
	}
	before := c.total
	for _, s := range c.pieces[had:] {
		c.total += s.Len()
	}
	c.fits = c.fits && c.total-before == int(b.len)
	return true
}
