package wire

import "sync"

// end is one end of a Pair.
type end struct {
	counters
	in    *queue
	peer  *end
	start sync.Once
	done  chan struct{} // closed when the receiver is not called any more
}

// Pair is a cable: what one end sends the other receives, in order. Frames wait for a receiver that was not started yet.
func Pair() (a, b Port) {
	x, y := newEnd(), newEnd()
	x.peer, y.peer = y, x
	return x, y
}

func newEnd() *end { return &end{in: newQueue(), done: make(chan struct{})} }

func (e *end) Send(frame []byte) {
	if len(frame) == 0 || len(frame) > MaxFrame || !e.peer.in.push(frame) {
		e.dropped.Add(1)
		return
	}
	e.sent.Add(1)
}

func (e *end) Start(receive Receiver) {
	e.start.Do(func() {
		go func() {
			defer close(e.done)
			for f := e.in.pop(); f != nil; f = e.in.pop() {
				e.received.Add(1)
				receive(f)
				e.in.recycle(f)
			}
		}()
	})
}

// Close unplugs this end. The other end's frames are dropped from now on.
func (e *end) Close() error {
	e.in.close()
	e.start.Do(func() { close(e.done) })
	<-e.done
	return nil
}
