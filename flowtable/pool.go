package flowtable

import "math/bits"

// pool hands out runs of elements from one array, in sizes of powers of two. A free run of each size is the head of a
// list of others, linked by a number in each run's first element. Runs are split and never joined: see crumbled.
type pool[T any] struct {
	mem   []T
	limit int              // elements from here on are not the pool's
	link  func(*T) *uint32 // the number in an element

	top    int        // elements from here to limit were never used
	used   int        // elements in runs that are not free
	failed bool       // there was no room for some run
	free   [32]uint32 // by binary logarithm of the size; noRoom ends a list
}

const noRoom = 1<<32 - 1

func newPool[T any](mem []T, limit int, link func(*T) *uint32) pool[T] {
	return pool[T]{mem: mem, limit: limit, link: link}
}

// reset makes everything free.
func (p *pool[T]) reset() {
	p.top, p.used, p.failed = 0, 0, false
	for i := range p.free {
		p.free[i] = noRoom
	}
}

// runClass is the binary logarithm of the size of a run of at least n elements, n > 0.
func runClass(n int) int { return bits.Len(uint(n - 1)) }

// alloc returns where a run of n elements, n > 0, begins, or noRoom.
func (p *pool[T]) alloc(n int) uint32 {
	want := runClass(n)
	size := 1 << want
	if p.free[want] == noRoom && p.top+size <= p.limit {
		off := uint32(p.top)
		p.top += size
		p.used += size
		return off
	}
	class := want
	for p.free[class] == noRoom {
		if class++; class == len(p.free) {
			p.failed = true
			return noRoom
		}
	}
	off := p.free[class]
	p.free[class] = *p.link(&p.mem[off])
	for class > want {
		class--
		p.give(off+1<<class, class)
	}
	p.used += size
	return off
}

// release frees the run of n elements at off.
func (p *pool[T]) release(off uint32, n int) {
	class := runClass(n)
	p.used -= 1 << class
	p.give(off, class)
}

func (p *pool[T]) give(off uint32, class int) {
	*p.link(&p.mem[off]) = p.free[class]
	p.free[class] = off
}

// crumbled reports whether there was no room although less than half is in use: free runs are too small.
func (p *pool[T]) crumbled() bool { return p.failed && p.used*2 < p.limit }

// ids hands out numbers, those that came back first. The free ones are linked in what they are the numbers of.
type ids struct {
	top  uint32 // numbers from here on were never used
	free uint32 // the head of the free ones, noID at the end
	live int
}

// take returns a number. next is the free one after it.
func (s *ids) take(next func(id uint32) uint32) uint32 {
	s.live++
	if s.free == noID {
		s.top++
		return s.top - 1
	}
	id := s.free
	s.free = next(id)
	return id
}

// give takes id back and returns what it must be linked to.
func (s *ids) give(id uint32) (next uint32) {
	s.live--
	next = s.free
	s.free = id
	return next
}
