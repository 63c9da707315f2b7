package classifier

import (
	"cmp"
	"container/heap"
	"math/bits"
	"slices"

	"weft/flowtable/flow"
)

// A plan is the masks of the tuples that a table should have. It is made from a sample of the rules, greedily: always
// the mask comes next under which most of the rules that are left find room, with at most planLimit of them under one
// key. What finds room under a mask only gets less as others are chosen, so that an old estimate is an upper bound and
// most candidates need not be looked at again.

const (
	planLimit  = 16
	planSample = 4096  // rules, of tables with up to 65536; of others every 16th,
	mostSample = 16384 // up to this
	planTuples = 96
	planMasks  = 48 // that candidates are made of

	// planMin is from how many tuples on a plan is worth making.
	planMin = fewTuples + 2
)

type plan struct {
	masks []flow.Key
	// When it was made: how many rules and tuples there were, with the plan in place.
	rules, tuples int
}

// sample is rules to plan for, compacted to the words at which they look.
type sample struct {
	shape *shape // the union of their masks
	words int
	keys  []uint64 // words for each rule
	mask  []uint32 // of each rule, an index into masks
	masks []*maskInfo
	total int // rules that it stands for
}

// Sampler takes a sample of a table's rules, piece by piece.
type Sampler struct {
	t      *Table
	s      *sample
	index  map[*maskInfo]uint32
	tuples []*Tuple
	seg    int // of tuples[0], next
	every  int
	turn   int
}

// Sample begins a plan.
func (t *Table) Sample() *Sampler {
	return &Sampler{
		t: t, s: &sample{shape: newShape(&t.bits.union), total: t.entries}, index: make(map[*maskInfo]uint32),
		tuples: t.tuples, every: max(1, t.entries/min(mostSample, max(planSample, t.entries/16))),
	}
}

// Next looks at the rules of some more segments, about limit of them. It reports whether there are more to look at. The
// table may change between two calls: what is missed or seen twice is only a sample.
func (p *Sampler) Next(limit int) bool {
	for until := p.s.len() + limit; p.s.len() < until; {
		if len(p.tuples) == 0 || p.s.len() >= 2*mostSample {
			return false
		}
		d := p.tuples[0].dir.Load()
		if p.seg >= len(d.segs) {
			p.tuples, p.seg = p.tuples[1:], 0
			continue
		}
		seg := d.segs[p.seg].Load()
		p.seg++
		if p.seg > 1 && seg == d.segs[p.seg-2].Load() {
			continue
		}
		for ; p.turn < len(seg.places); p.turn += p.every {
			if q := seg.places[p.turn]; q != 0 && uint32(q) != grave {
				p.t.store.each(uint32(q), p.take)
			}
		}
		p.turn -= len(seg.places)
	}
	return true
}

// take adds a rule to the sample.
func (p *Sampler) take(ref uint32, e entry) {
	s, info := p.s, p.t.byID[e.mask()]
	if !e.live() || p.t.store.locs.at(e.slot()).block != ref {
		return
	}
	i, ok := p.index[info]
	if !ok {
		i = uint32(len(s.masks))
		s.masks = append(s.masks, info)
		p.index[info] = i
	}
	key := keyOf(info.shape, e)
	for _, w := range s.shape.word[:s.shape.n] {
		s.keys = append(s.keys, key[w])
	}
	s.mask = append(s.mask, i)
}

// Plan makes the plan. It looks at the sample alone, and may run beside changes. It takes some milliseconds, up to half
// a second.
func (p *Sampler) Plan() []flow.Key {
	p.s.words = int(p.s.shape.n)
	return p.s.plan()
}

func (s *sample) len() int { return len(s.mask) }

// candidate is a mask that a tuple may have.
type candidate struct {
	mask flow.Key
	bits int
	fits []bool // the sample's masks that include it
	gain int    // at most so many of the rules that are left find room
}

// candidates are what the plan chooses from.
type candidates []*candidate

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(*candidate)) }
func (c *candidates) Pop() any {
	old := *c
	x := old[len(old)-1]
	*c = old[:len(old)-1]
	return x
}

func (c candidates) Less(i, j int) bool {
	if c[i].gain != c[j].gain {
		return c[i].gain > c[j].gain
	}
	return c[i].bits > c[j].bits
}

// plan chooses the masks.
func (s *sample) plan() []flow.Key {
	limit := max(1, planLimit*len(s.mask)/max(1, s.total))
	c := s.candidates()
	left := make([]int32, len(s.mask))
	for i := range left {
		left[i] = int32(i)
	}
	room := newRoom(len(left), s)
	heap.Init(&c)
	var masks []flow.Key
	for len(left) > 0 && len(c) > 0 && len(masks) < planTuples {
		best := c[0]
		if gain := room.fill(best, left, limit); gain < best.gain {
			best.gain = gain
			heap.Fix(&c, 0)
			continue
		}
		if best.gain == 0 {
			break
		}
		heap.Pop(&c)
		masks = append(masks, best.mask)
		left = room.take(best, left, limit)
	}
	return masks
}

// room counts rules by their key under a mask, in memory that is used again for every mask.
type room struct {
	s     *sample
	count []uint64 // hash above use count above round
	round uint64
	key   []uint64 // the mask, compacted
}

func newRoom(n int, s *sample) *room {
	return &room{s: s, count: make([]uint64, 1<<bits.Len(uint(2*n))), key: make([]uint64, s.words)}
}

const (
	roomRoundBits = 20
	roomCountBits = 8
)

// begin prepares for another mask.
func (r *room) begin(c *candidate) {
	if r.round++; r.round == 1<<roomRoundBits {
		clear(r.count)
		r.round = 1
	}
	for w := range r.s.words {
		r.key[w] = c.mask[r.s.shape.word[w]]
	}
}

// has reports whether rule i finds room, and takes it.
func (r *room) has(i int32, limit int) bool {
	h := uint64(flow.HashMul)
	key := r.s.keys[int(i)*r.s.words:][:len(r.key)]
	for w, m := range r.key {
		hi, lo := bits.Mul64(key[w]&m^h, flow.HashMul2)
		h = hi ^ lo
	}
	hi, lo := bits.Mul64(h, flow.HashMul)
	h = hi ^ lo
	tag := h >> (roomRoundBits + roomCountBits)
	for j := h & uint64(len(r.count)-1); ; j = (j + 1) & uint64(len(r.count)-1) {
		v := r.count[j]
		if v&(1<<roomRoundBits-1) != r.round {
			r.count[j] = tag<<(roomRoundBits+roomCountBits) | 1<<roomRoundBits | r.round
			return true
		}
		if v>>(roomRoundBits+roomCountBits) == tag {
			if int(v>>roomRoundBits&(1<<roomCountBits-1)) >= limit {
				return false
			}
			r.count[j] = v + 1<<roomRoundBits
			return true
		}
	}
}

// fill is how many of left find room under c.
func (r *room) fill(c *candidate, left []int32, limit int) (n int) {
	r.begin(c)
	for _, i := range left {
		if c.fits[r.s.mask[i]] && r.has(i, limit) {
			n++
		}
	}
	return n
}

// take is what is left of left.
func (r *room) take(c *candidate, left []int32, limit int) []int32 {
	r.begin(c)
	return slices.DeleteFunc(left, func(i int32) bool { return c.fits[r.s.mask[i]] && r.has(i, limit) })
}

// candidates makes the masks to choose from: of the masks that most rules have, the two addresses that differ most
// between masks, in eighths of their width, with nothing else, with all else, or with one more piece; the masks
// themselves; and the two addresses alone in all combinations.
func (s *sample) candidates() candidates {
	used := make([]int, len(s.masks))
	for _, m := range s.mask {
		used[m]++
	}
	common := make([]int, len(s.masks))
	for i := range common {
		common[i] = i
	}
	slices.SortFunc(common, func(a, b int) int {
		return cmp.Or(cmp.Compare(used[b], used[a]), cmp.Compare(s.masks[a].id, s.masks[b].id))
	})
	masks := make([]*flow.Key, 0, planMasks)
	for _, i := range common[:min(len(common), planMasks)] {
		masks = append(masks, &s.masks[i].mask)
	}
	seen := make(map[flow.Key]bool)
	var all candidates
	add := func(m flow.Key) {
		if seen[m] {
			return
		}
		seen[m] = true
		sh := newShape(&m)
		c := &candidate{mask: m, bits: sh.bits(), fits: make([]bool, len(s.masks))}
		for i, info := range s.masks {
			if sh.within(&info.mask) {
				c.fits[i] = true
				c.gain += used[i]
			}
		}
		all = append(all, c)
	}
	a, b := s.addresses()
	union := s.shape.key()
	grid(a, b, &union, add)
	for _, m := range masks {
		add(*m)
		others(a, b, m, func(rest flow.Key) {
			grid(a, b, m, func(g flow.Key) {
				for w := range g {
					g[w] |= rest[w]
				}
				add(g)
			})
		})
	}
	return all
}

const gridSteps = 8

// grid calls f with the addresses in mask, each cut to every eighth of its width but the first.
func grid(a, b *piece, mask *flow.Key, f func(flow.Key)) {
	for i := range gridSteps + 1 {
		for j := range gridSteps + 1 {
			var m flow.Key
			a.prefix(mask, &m, i*int(a.width)/gridSteps)
			b.prefix(mask, &m, j*int(b.width)/gridSteps)
			f(m)
		}
	}
}

// others calls f with parts of mask beside the two addresses: none, all, and each piece.
func others(a, b *piece, mask *flow.Key, f func(flow.Key)) {
	f(flow.Key{})
	var all flow.Key
	for i := range pieces {
		p := &pieces[i]
		if *p == *a || *p == *b || p.length(mask) == 0 {
			continue
		}
		var one flow.Key
		p.prefix(mask, &one, int(p.width))
		f(one)
		p.prefix(mask, &all, int(p.width))
	}
	f(all)
}

// addresses are the two pieces in which masks differ most: the widest ones of those that differ at all.
func (s *sample) addresses() (a, b *piece) {
	type variety struct {
		p *piece
		n int
	}
	var list []variety
	for i := range pieces {
		p := &pieces[i]
		distinct := make(map[[2]uint64]bool)
		for _, info := range s.masks {
			distinct[p.of(&info.mask)] = true
		}
		list = append(list, variety{p, len(distinct)})
	}
	slices.SortStableFunc(list, func(x, y variety) int {
		return cmp.Or(cmp.Compare(min(y.n, 2), min(x.n, 2)), cmp.Compare(min(y.p.width, wide), min(x.p.width, wide)),
			cmp.Compare(y.n, x.n))
	})
	return list[0].p, list[1].p
}
