package vfiouser

import "sync"

// How much a client may have in flight. Beyond the first figures it is not read from any more; beyond the second, which
// can only be reached while the device waits for the client's memory and so must go on reading, its session ends.
const (
	softMessages, hardMessages = 64, 4096
	softBytes, hardBytes       = 4 << 20, 64 << 20
	softFDs, hardFDs           = 64, 512
)

// inbox holds the commands that were received and wait for their turn.
//
// Concurrency: one goroutine puts, one gets, any may call begin and end.
type inbox struct {
	mu      sync.Mutex
	changed sync.Cond
	queue   []*message
	bytes   int
	fds     int
	urgent  int // how many wait for a reply that may come behind commands
	closed  bool
}

func newInbox() *inbox {
	q := new(inbox)
	q.changed.L = &q.mu
	return q
}

// put adds m, which is the inbox's from now on, once there is room.
func (q *inbox) put(m *message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && q.urgent == 0 && q.over(softMessages, softBytes, softFDs) {
		q.changed.Wait()
	}
	if q.closed {
		m.close()
		return ErrDetached
	}
	if q.over(hardMessages, hardBytes, hardFDs) {
		m.close()
		return protocolf("%d commands of %d bytes in flight while a DMA access waits", len(q.queue), q.bytes)
	}
	q.queue = append(q.queue, m)
	q.bytes += len(m.body)
	q.fds += len(m.fds)
	q.changed.Broadcast()
	return nil
}

func (q *inbox) over(messages, bytes, fds int) bool {
	return len(q.queue) >= messages || q.bytes >= bytes || q.fds >= fds
}

// get takes the oldest message, and waits for one. It is nil when the inbox is closed and empty.
func (q *inbox) get() *message {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 && !q.closed {
		q.changed.Wait()
	}
	if len(q.queue) == 0 {
		return nil
	}
	m := q.queue[0]
	q.queue[0] = nil
	q.queue = q.queue[1:]
	q.bytes -= len(m.body)
	q.fds -= len(m.fds)
	q.changed.Broadcast()
	return m
}

// begin and end enclose the wait for a reply.
func (q *inbox) begin() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent++
	q.changed.Broadcast()
}

func (q *inbox) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent--
}

// close refuses more messages. What is queued can still be got.
func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// discard throws away what is queued.
func (q *inbox) discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.queue {
		m.close()
	}
	q.queue, q.bytes, q.fds = nil, 0, 0
}
