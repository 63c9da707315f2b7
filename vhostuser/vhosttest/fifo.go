package vhosttest

// fifo is a queue in an array that never grows: whoever pushes knows that there is room.
type fifo[T any] struct {
	all          []T
	first, count uint32
}

func newFIFO[T any](size int) fifo[T] { return fifo[T]{all: make([]T, size)} }

// at is the element with k older ones.
func (f *fifo[T]) at(k uint32) *T {
	if k += f.first; k >= uint32(len(f.all)) {
		k -= uint32(len(f.all))
	}
	return &f.all[k]
}

func (f *fifo[T]) push(v T) {
	*f.at(f.count) = v
	f.count++
}

// popOldest removes what was pushed first, popNewest what was pushed last: the queue is then a stack.
func (f *fifo[T]) popOldest() T {
	v := *f.at(0)
	if f.first++; f.first == uint32(len(f.all)) {
		f.first = 0
	}
	f.count--
	return v
}

func (f *fifo[T]) popNewest() T {
	f.count--
	return *f.at(f.count)
}

func (f *fifo[T]) clear() { f.first, f.count = 0, 0 }
