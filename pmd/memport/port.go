package memport

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"weft/internal/packet"
)

// Style is how received frames are presented.
type Style uint8

// The styles.
const (
	// Lent copies the first packet.WindowSize bytes and lends the rest, like a guest's memory.
	Lent Style = iota
	// Owned makes the frame itself the window, like a NIC's buffer.
	Owned
)

// Defaults of Config.
const (
	DefaultRingSize  = 1024
	DefaultFrameSize = 2048
)

// Config is a port's shape.
type Config struct {
	// Queues is the number of queue pairs; 0 means 1.
	Queues int
	// RingSize is how many frames a ring holds, a power of two; 0 means DefaultRingSize.
	RingSize int
	// FrameSize is the longest frame in bytes; 0 means DefaultFrameSize.
	FrameSize int
	// MTU is the longest L3 payload to transmit, 0 for no limit but FrameSize.
	MTU int
	// Style is how received frames are presented.
	Style Style
	// SegmentSize splits what style Lent lends into segments of at most so many bytes; 0 means one segment.
	SegmentSize int
}

// Port is a port in memory.
type Port struct {
	cfg Config
	rx  []*RxQueue
	tx  []*TxQueue
}

// New makes a port.
func New(cfg Config) (*Port, error) {
	if cfg.Queues == 0 {
		cfg.Queues = 1
	}
	if cfg.RingSize == 0 {
		cfg.RingSize = DefaultRingSize
	}
	if cfg.FrameSize == 0 {
		cfg.FrameSize = DefaultFrameSize
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	p := &Port{cfg: cfg}
	for range cfg.Queues {
		p.rx = append(p.rx, newRxQueue(cfg))
		p.tx = append(p.tx, newTxQueue(cfg))
	}
	return p, nil
}

func (c *Config) check() error {
	switch {
	case c.Queues < 0:
		return fmt.Errorf("memport: %d queues: use 1 or more", c.Queues)
	case c.RingSize < 0 || bits.OnesCount(uint(c.RingSize)) != 1:
		return fmt.Errorf("memport: ring size %d: use a power of two", c.RingSize)
	case c.FrameSize < packet.MinFrame || c.FrameSize > packet.MaxFrame:
		return fmt.Errorf("memport: frame size %d: use %d to %d", c.FrameSize, packet.MinFrame, packet.MaxFrame)
	case c.SegmentSize < 0 || c.MTU < 0:
		return errors.New("memport: segment size and MTU are not negative")
	}
	return nil
}

// Queues is the number of queue pairs.
func (p *Port) Queues() int { return len(p.rx) }

// Rx is the receive queue with this index.
func (p *Port) Rx(i int) *RxQueue { return p.rx[i] }

// Tx is the transmit queue with this index.
func (p *Port) Tx(i int) *TxQueue { return p.tx[i] }

// Inject copies frame into receive queue i's ring. It returns false, and counts nothing, when the ring is full or the
// frame longer than Config.FrameSize.
func (p *Port) Inject(i int, frame []byte) bool {
	r := p.rx[i].ring
	head := r.head.Load()
	if head-r.tail.Load() == r.size() || len(frame) > p.cfg.FrameSize {
		return false
	}
	copy(r.slot(head)[packet.Headroom:], frame)
	r.length[head&r.mask] = len(frame)
	r.head.Store(head + 1)
	return true
}

// Pending is the number of frames in receive queue i's ring that have not been received and released yet.
func (p *Port) Pending(i int) int {
	r := p.rx[i].ring
	return int(r.head.Load() - r.tail.Load())
}

// Collect takes the oldest frame that was transmitted on queue i and copies it to buf, as much as fits. It returns the
// frame's length, and ok false when there is none.
func (p *Port) Collect(i int, buf []byte) (n int, ok bool) {
	r := p.tx[i].ring
	tail := r.tail.Load()
	if tail == r.head.Load() {
		return 0, false
	}
	f := r.frame(tail)
	copy(buf, f)
	r.tail.Store(tail + 1)
	return len(f), true
}

// Drain takes all frames that were transmitted on queue i, as copies.
func (p *Port) Drain(i int) [][]byte {
	var out [][]byte
	r := p.tx[i].ring
	tail, head := r.tail.Load(), r.head.Load()
	for ; tail != head; tail++ {
		out = append(out, append([]byte(nil), r.frame(tail)...))
	}
	r.tail.Store(tail)
	return out
}

// Wait drains queue i until n frames came or the time is over, and returns those that came.
func (p *Port) Wait(i, n int, within time.Duration) [][]byte {
	var out [][]byte
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Microsecond) {
		out = append(out, p.Drain(i)...)
		if len(out) >= n || time.Now().After(deadline) {
			return out
		}
	}
}
