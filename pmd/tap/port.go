package tap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"weft/internal/packet"
)

const (
	// vnetHeaderLen is the virtio-net header with num_buffers (virtio 1.3 §5.1.6).
	vnetHeaderLen = 12
	// vnetNeedsChecksum and vnetGSONone are values of its flags and gso_type fields (virtio 1.3 §5.1.6).
	vnetNeedsChecksum = 1
	vnetGSONone       = 0

	vlanTagLen = 4

	// jumboMTU is what buffers are made for unless a larger MTU is configured: the common jumbo size of switches.
	jumboMTU = 9216

	// MaxMTU is the largest MTU of which two tags and an Ethernet header still fit a packet.
	MaxMTU = packet.MaxFrame - packet.MinFrame - 2*vlanTagLen
	// MaxQueues is the largest number of queues of a tap interface (Linux drivers/net/tun.c, MAX_TAP_QUEUES).
	MaxQueues = 256

	// Ring sizes are in frames.
	DefaultRingSize = 1024
	MaxRingSize     = 32768
	MinRingSize     = 64

	// MaxName is the longest name of an interface in bytes (linux/if.h, IFNAMSIZ less the terminating zero).
	MaxName = unix.IFNAMSIZ - 1

	linkInterval = time.Second
	reopenMin    = 100 * time.Millisecond
	reopenMax    = 5 * time.Second
)

// Config is one tap port.
type Config struct {
	// Interface is the interface's name: at most 15 bytes. It is made when there is none.
	Interface string
	// Queues is the number of queues, 1 to MaxQueues; 0 means 1. More than one needs an interface with multi_queue.
	Queues int
	// RingSize is the number of frames between the switch and each direction of a queue, a power of two; 0 means
	// DefaultRingSize.
	RingSize int
	// MTU is set on the interface and enforced for what the switch transmits; 0 leaves the interface's and enforces
	// none.
	MTU int
	// Persist leaves the interface when the port is closed.
	Persist bool
	// Owner and Group may attach to the interface: names or numbers, empty for root alone.
	Owner, Group string

	uid, gid int
}

// Host is what the port needs of its surroundings.
type Host struct {
	// Changed is called, from any goroutine, when the link or the error changed. It must not block.
	Changed func()
	Log     *slog.Logger
}

// State is what a port's interface is doing.
type State string

// The states. A port begins up or down; lost ends when the interface could be made again.
const (
	StateUp   State = "up"   // frames flow
	StateDown State = "down" // the interface is administratively down
	StateLost State = "lost" // the interface was deleted and could not be made again yet
)

// Status is what an operator sees of a port.
type Status struct {
	State     State  `json:"state"`
	Interface string `json:"interface"`         // its name now
	Foreign   bool   `json:"foreign,omitempty"` // it is in another network namespace
	MTU       int    `json:"mtu"`               // of the interface
	Queues    int    `json:"queues"`
	RingSize  int    `json:"ring_size"`
	Reopened  uint64 `json:"reopened"` // how often the interface was made anew
	// LastError is the last thing that went wrong, and when; empty while nothing did.
	LastError string    `json:"last_error,omitempty"`
	ErrorTime time.Time `json:"error_time,omitzero"`
}

// Port is a tap interface as the switch sees it.
type Port struct {
	cfg  Config
	host Host
	rx   []*RxQueue
	tx   []*TxQueue

	cancel context.CancelFunc
	done   chan struct{}
	closed sync.Once

	mu     sync.Mutex
	status Status
}

// Open makes the interface or attaches to it, and starts moving frames.
func Open(cfg Config, host Host) (*Port, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	p := &Port{cfg: cfg, host: host, done: make(chan struct{})}
	if err := p.makeQueues(); err != nil {
		p.closeRings()
		return nil, fmt.Errorf("tap: make rings: %w", err)
	}
	s, err := openSession(&p.cfg)
	if err != nil {
		p.closeRings()
		return nil, fmt.Errorf("tap: %w", err)
	}
	p.status = Status{Interface: s.iface, Queues: cfg.Queues, RingSize: cfg.RingSize, State: StateDown}
	p.observe(s)
	s.start(p.rx, p.tx)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.supervise(ctx, s)
	return p, nil
}

// complete fills in defaults and checks the rest.
func (c *Config) complete() error {
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.RingSize == 0 {
		c.RingSize = DefaultRingSize
	}
	switch {
	case c.Interface == "":
		return errors.New("no interface is named")
	case NameFault(c.Interface) != "":
		return fmt.Errorf("interface %q: %s", c.Interface, NameFault(c.Interface))
	case c.Queues < 1 || c.Queues > MaxQueues:
		return fmt.Errorf("%d queues: 1 to %d are possible", c.Queues, MaxQueues)
	case !ValidRingSize(c.RingSize):
		return fmt.Errorf("ring size %d: it must be a power of two from %d to %d", c.RingSize, MinRingSize, MaxRingSize)
	case c.MTU != 0 && (c.MTU < 68 || c.MTU > MaxMTU): // 68: RFC 791 §3.2
		return fmt.Errorf("MTU %d: 68 to %d are possible", c.MTU, MaxMTU)
	}
	var err error
	if c.uid, err = accountID(c.Owner, "user", func(n string) (string, error) {
		u, err := user.Lookup(n)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	}); err != nil {
		return err
	}
	c.gid, err = accountID(c.Group, "group", func(n string) (string, error) {
		g, err := user.LookupGroup(n)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return err
}

// NameFault says what the name of an interface ought to be, or "" when it is one (Linux net/core/dev.c, dev_valid_name).
// A "%" is for the kernel a place to put a number, and space and control characters of any script confuse whoever reads
// them.
func NameFault(name string) string {
	switch {
	case name == "":
		return "name one"
	case len(name) > MaxName:
		return fmt.Sprintf("use at most %d bytes", MaxName)
	case name == "." || name == "..":
		return "the name is that of a directory: choose another"
	case name == "all" || name == "default":
		return "the kernel has settings of this name: choose another"
	case strings.ContainsAny(name, "/:%"):
		return "use no \"/\", \":\" or \"%\""
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsSpace) ||
		strings.ContainsFunc(name, unicode.IsControl):
		return "use printable characters without blanks"
	}
	return ""
}

// ValidRingSize reports whether a ring can have n frames.
func ValidRingSize(n int) bool { return n >= MinRingSize && n <= MaxRingSize && n&(n-1) == 0 }

// accountID turns a user's or group's name or number into the number, -1 for none.
func accountID(name, kind string, lookup func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	text, err := lookup(name)
	if err != nil {
		return 0, fmt.Errorf("%s %q does not exist on this host", kind, name)
	}
	return strconv.Atoi(text)
}

func (p *Port) makeQueues() error {
	longest := max(jumboMTU, p.cfg.MTU) + packet.MinFrame + 2*vlanTagLen
	// Buffers for reading have one byte to spare, so that a frame that was cut off shows.
	rxSlot := roundUp(packet.Headroom+longest+1, cacheLine)
	txSlot := roundUp(vnetHeaderLen+longest, cacheLine)
	for range p.cfg.Queues {
		r, err := newRing(p.cfg.RingSize, rxSlot)
		if err != nil {
			return err
		}
		p.rx = append(p.rx, &RxQueue{ring: r})
		if r, err = newRing(p.cfg.RingSize, txSlot); err != nil {
			return err
		}
		p.tx = append(p.tx, &TxQueue{ring: r, mtu: p.cfg.MTU})
	}
	return nil
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// RxQueues are the queues to poll, fixed for the life of the port.
func (p *Port) RxQueues() []*RxQueue { return p.rx }

// TxQueues are the queues to transmit to, fixed for the life of the port.
func (p *Port) TxQueues() []*TxQueue { return p.tx }

// Status is a copy of the state.
func (p *Port) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Close ends the goroutines and closes the descriptors. The port's queues must have left the PMD threads.
func (p *Port) Close() error {
	p.closed.Do(func() {
		p.cancel()
		<-p.done
		p.closeRings()
	})
	return nil
}

func (p *Port) closeRings() {
	for _, q := range p.rx {
		q.ring.close()
	}
	for _, q := range p.tx {
		q.ring.close()
	}
}

// supervise watches the link and makes the interface anew when it was deleted.
func (p *Port) supervise(ctx context.Context, s *session) {
	defer close(p.done)
	ticker := time.NewTicker(linkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.end(p.rx, p.tx)
			return
		case <-ticker.C:
			p.observe(s)
		case <-s.over:
			s.end(p.rx, p.tx)
			p.lost(s.err)
			if s = p.reopen(ctx); s == nil {
				return
			}
		}
	}
}

// reopen tries to make the interface again until it can or ctx ends.
func (p *Port) reopen(ctx context.Context) *session {
	delay := reopenMin
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		s, err := openSession(&p.cfg)
		if err != nil {
			p.lost(err)
			delay = min(2*delay, reopenMax)
			continue
		}
		s.start(p.rx, p.tx)
		p.host.Log.Info("tap interface made again", "interface", s.iface)
		p.mu.Lock()
		p.status.Reopened++
		p.mu.Unlock()
		p.observe(s)
		return s
	}
}

// observe brings the status up to date with the interface.
func (p *Port) observe(s *session) {
	l, err := s.link()
	if errors.Is(err, unix.EBADFD) {
		s.lose(err)
		return
	}
	if err != nil {
		// Asking failed (without privilege it does when the interface was moved to another namespace), but frames may flow
		// all the same: the state stays.
		p.update(func(st *Status) {
			if text := "link state unknown: " + err.Error(); st.LastError != text {
				st.LastError, st.ErrorTime = text, time.Now()
			}
		})
		return
	}
	state := StateDown
	if l.Up {
		state = StateUp
	}
	if was := p.Status().State; was != state {
		p.host.Log.Info("tap link changed", "interface", l.Name, "state", state)
	}
	p.update(func(st *Status) {
		st.State, st.Interface, st.MTU, st.Foreign = state, l.Name, l.MTU, l.Foreign
	})
}

// lost notes that there is no interface.
func (p *Port) lost(err error) {
	if errors.Is(err, unix.EBADFD) {
		err = errors.New("the interface was deleted")
	}
	if st := p.Status(); st.State != StateLost || st.LastError != err.Error() {
		p.host.Log.Warn("tap interface lost", "interface", p.cfg.Interface, "err", err)
	}
	p.update(func(st *Status) {
		st.State = StateLost
		st.LastError = err.Error()
		st.ErrorTime = time.Now()
	})
}

// update changes the status and tells the host when an operator would see a difference.
func (p *Port) update(f func(*Status)) {
	p.mu.Lock()
	before := p.status
	f(&p.status)
	changed := p.status != before
	p.mu.Unlock()
	if changed && p.host.Changed != nil {
		p.host.Changed()
	}
}
