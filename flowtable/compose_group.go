package flowtable

import (
	"math"

	"weft/flowtable/flow"
)

// group sends the packet through a group. It returns false if there is none, which ends the list of actions.
func (c *composer) group(table uint8, id uint32) bool {
	g := c.st.groups[id]
	if g == nil {
		return false
	}
	if !c.step() {
		return true
	}
	switch g.def.Type {
	case flow.GroupSelect:
		if i := g.choose(selectHash(&c.key)); i >= 0 {
			c.credit(g.slot)
			c.bucket(table, &g.buckets[i])
		}
	case flow.GroupFF:
		for i := range g.buckets {
			if g.buckets[i].live {
				c.credit(g.slot)
				c.bucket(table, &g.buckets[i])
				break
			}
		}
	default:
		c.credit(g.slot)
		for i := range g.buckets {
			if c.exceeded {
				break
			}
			c.bucket(table, &g.buckets[i])
		}
	}
	return true
}

// step counts towards the bounds.
func (c *composer) step() bool {
	if c.resubmits == maxResubmits || c.depth == maxResubmitDepth {
		c.exceeded = true
		return false
	}
	c.resubmits++
	return true
}

// bucket does a bucket's actions to a copy of the packet: what comes after the group sees the packet as it was.
func (c *composer) bucket(table uint8, b *bucket) {
	if !c.step() {
		return
	}
	c.credit(b.slot)
	key, arrival, first := c.key, c.arrival, len(c.ops)
	c.emit(Op{Kind: OpSave})
	if c.trace != nil {
		c.trace.line(-1, "bucket %d", b.id)
	}
	c.depth++
	c.list(table, b.actions)
	c.depth--
	c.key, c.arrival, c.exit = key, arrival, false
	switch {
	case c.exceeded:
		return
	case c.stuck: // what this bucket did is lost, and nothing else
		c.stuck = false
		c.ops = c.ops[:first]
		return
	}
	c.emit(Op{Kind: OpRestore})
}

// selectHash is the hash of the five-tuple that select groups go by: of addresses, protocol and ports, or type and code.
// All fragments of a datagram have the hash of the first without its ports; packets that are not IP have one hash for
// each EtherType. It is not seeded, so that flows keep their buckets when the switch starts again.
func selectHash(k *flow.Key) uint64 {
	h := flow.Mix(flow.HashMul2, uint64(k.EthType()))
	if !k.IsIP() {
		return flow.Finish(h)
	}
	if k.EthType() == flow.EthIPv4 {
		h = flow.Mix(h, k[flow.WordIPv4])
	} else {
		for w := flow.WordIPv6S; w < flow.WordIPv6D+2; w++ {
			h = flow.Mix(h, k[w])
		}
	}
	l4 := k[flow.WordL4] & (maskProto | maskPorts)
	if k[flow.WordL4]&maskFrag != 0 {
		l4 &^= maskPorts
	}
	return flow.Finish(flow.Mix(h, l4))
}

// choose returns the bucket for a hash, -1 if no bucket is live: weighted rendezvous hashing (Schindelhauer and Schomaker,
// "Weighted Distributed Hash Tables", 2005). A bucket that goes takes only its own flows along, and one that comes takes
// its share from all others.
func (g *group) choose(hash uint64) int {
	best, bestCost := -1, math.Inf(1)
	for i := range g.buckets {
		b := &g.buckets[i]
		if !b.live || b.weight == 0 {
			continue
		}
		// A number between 0 and 1, both excluded, from the upper 53 bits.
		mixed := flow.Finish(flow.Mix(flow.Mix(hash, uint64(g.def.ID)<<32|uint64(b.id)), flow.HashMul))
		u := (float64(mixed>>11) + 0.5) / (1 << 53)
		if cost := -math.Log(u) / float64(b.weight); cost < bestCost {
			best, bestCost = i, cost
		}
	}
	return best
}
