package wire

import "sync"

// queueBytes and queueFrames are what may wait for a receiver. An XL710's packet buffer is 968 kB; the goroutine that
// takes its place may be off the processor for longer than a port ever is.
const (
	queueBytes  = 8 << 20
	queueFrames = 16 << 10
)

// queue holds copies of frames on their way to a receiver.
//
// Concurrency: any goroutine may push and close, one pops.
type queue struct {
	mu      sync.Mutex
	arrived sync.Cond
	frames  [][]byte
	free    [][]byte // buffers to be used again
	bytes   int
	closed  bool
}

func newQueue() *queue {
	q := new(queue)
	q.arrived.L = &q.mu
	return q
}

// push adds a copy of frame, and reports false when there is no room or the queue is closed.
func (q *queue) push(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+len(frame) > queueBytes || len(q.frames) >= queueFrames {
		return false
	}
	var b []byte
	if n := len(q.free); n > 0 {
		b, q.free = q.free[n-1], q.free[:n-1]
	}
	q.frames = append(q.frames, append(b[:0], frame...))
	q.bytes += len(frame)
	q.arrived.Signal()
	return true
}

// pop waits for a frame. It is nil when the queue is closed.
func (q *queue) pop() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.frames) == 0 && !q.closed {
		q.arrived.Wait()
	}
	if q.closed {
		return nil
	}
	f := q.frames[0]
	q.frames[0] = nil
	q.frames = q.frames[1:]
	q.bytes -= len(f)
	return f
}

// recycle gives back what pop returned.
func (q *queue) recycle(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.free) < 256 {
		q.free = append(q.free, b)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.frames = nil
	q.arrived.Broadcast()
}
