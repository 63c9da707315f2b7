package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/vhostuser/virtq"
)

// Limits and defaults of Config.
const (
	// MaxQueuePairs follows from the 8 bits that SET_VRING_KICK has for a ring's index.
	MaxQueuePairs = 128
	// MaxMTU is what 16 bits of virtio's configuration space can say.
	MaxMTU = 65535

	DefaultMode         fs.FileMode = 0o660
	DefaultReconnectMin             = 20 * time.Millisecond
	DefaultReconnectMax             = time.Second

	// maxPath is the longest path that struct sockaddr_un holds (unix(7)), in bytes.
	maxPath = 107
)

// Config is what an operator says of a port.
type Config struct {
	// Name is for logs.
	Name string
	// Path is the socket's, absolute.
	Path string
	// Server means that the port listens and the front end connects (qemu: without server=on); else the other way
	// round.
	Server bool
	// Owner and Group of the socket file, by name or number; empty leaves them. Server only.
	Owner, Group string
	// Mode of the socket file, DefaultMode when 0. A front end needs to be able to write to it. Server only.
	Mode fs.FileMode
	// QueuePairs is the most that are offered, 1 when 0.
	QueuePairs int
	// MTU in bytes of L3 payload is offered and enforced; 0 means neither.
	MTU int
	// ReconnectMin and ReconnectMax bound the pauses between attempts to connect, which double from one to the other.
	ReconnectMin, ReconnectMax time.Duration
}

// Host is what a port needs of the program around it.
type Host struct {
	// Changed is called when usable queues, link state, error or memory node changed: on any goroutine, with no lock
	// held; it must not block and not call back into the port. It may be nil.
	Changed func()
	// Synchronize returns after every thread that uses the port's queues has passed a point at which it holds nothing
	// of them. It may be nil when there are no such threads.
	Synchronize func()
	// NodeOf tells the NUMA node of memory; nil leaves it unknown.
	NodeOf NodeFunc
	// Log carries the port's name already; it may be nil.
	Log *slog.Logger
}

func (h Host) withDefaults() Host {
	if h.Changed == nil {
		h.Changed = func() {}
	}
	if h.Synchronize == nil {
		h.Synchronize = func() {}
	}
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	return h
}

// Port is one vhost-user port.
type Port struct {
	cfg  Config
	host Host
	log  *slog.Logger
	rx   []*virtq.RxQueue
	tx   []*virtq.TxQueue

	cancel   context.CancelFunc
	serving  sync.WaitGroup // the goroutine that connects or accepts, and with it the session
	watcher  sync.WaitGroup
	rings    *sys.Wakeup // woken on PMD threads: some ring broke
	bells    []*sys.Bell // of the queue pairs: the guest kicked its transmitq
	notifier *sys.Notifier
	mapped   mapping

	mu                             sync.Mutex
	view                           view
	current                        *session
	closed                         bool
	sessions, disconnects, refused uint64
	waiting                        string // why the last attempt to connect failed
	lastErr                        error
	lastErrAt                      time.Time

	quiet limiter
}

func (c Config) withDefaults() Config {
	if c.QueuePairs == 0 {
		c.QueuePairs = 1
	}
	if c.Mode == 0 {
		c.Mode = DefaultMode
	}
	if c.ReconnectMin <= 0 {
		c.ReconnectMin = DefaultReconnectMin
	}
	if c.ReconnectMax <= 0 {
		c.ReconnectMax = DefaultReconnectMax
	}
	c.ReconnectMax = max(c.ReconnectMin, c.ReconnectMax)
	return c
}

func (c Config) check() error {
	switch {
	case !filepath.IsAbs(c.Path):
		return fmt.Errorf("socket path %q is not absolute", c.Path)
	case len(c.Path) > maxPath:
		return fmt.Errorf("socket path %q has %d bytes, at most %d are possible: use a shorter one",
			c.Path, len(c.Path), maxPath)
	case c.QueuePairs < 1 || c.QueuePairs > MaxQueuePairs:
		return fmt.Errorf("%d queue pairs: 1 to %d are possible", c.QueuePairs, MaxQueuePairs)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > MaxMTU):
		return fmt.Errorf("MTU %d: %d to %d are possible, or 0 for none", c.MTU, minMTU, MaxMTU)
	case c.Mode&^fs.ModePerm != 0:
		return fmt.Errorf("socket mode %v has more than permission bits", c.Mode)
	}
	return nil
}

// Open makes a port, which serves front ends from now on until Close. With cfg.Server it fails when the socket cannot
// be made; a client keeps trying whatever is wrong.
func Open(cfg Config, host Host) (*Port, error) {
	cfg, host = cfg.withDefaults(), host.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("vhostuser: port %s: %w", cfg.Name, err)
	}
	p := &Port{cfg: cfg, host: host, log: host.Log, view: view{node: -1}}
	var listener *listener
	var err error
	if cfg.Server {
		if listener, err = listen(cfg); err != nil {
			return nil, fmt.Errorf("vhostuser: port %s: %w", cfg.Name, err)
		}
	}
	if err = p.openEvents(); err != nil {
		if listener != nil {
			listener.close()
		}
		return nil, fmt.Errorf("vhostuser: port %s: %w", cfg.Name, err)
	}
	for i := range cfg.QueuePairs {
		p.rx = append(p.rx, virtq.NewRxQueue(p.rings.Wake, p.bells[i]))
		p.tx = append(p.tx, virtq.NewTxQueue(p.rings.Wake))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.watcher.Go(p.watchRings)
	if listener != nil {
		p.serving.Go(func() { p.serve(ctx, listener) })
	} else {
		p.serving.Go(func() { p.connect(ctx) })
	}
	return p, nil
}

// openEvents makes what wakes the port, and what wakes guests.
func (p *Port) openEvents() (err error) {
	if p.rings, err = sys.NewWakeup(); err != nil {
		return err
	}
	if p.notifier, err = sys.NewNotifier(); err != nil {
		return errors.Join(err, p.rings.Close())
	}
	for range p.cfg.QueuePairs {
		b, err := sys.NewBell()
		if err != nil {
			return errors.Join(err, p.rings.Close(), p.closeEvents())
		}
		p.bells = append(p.bells, b)
	}
	return nil
}

// closeEvents closes them, but for what wakes the port.
func (p *Port) closeEvents() error {
	errs := []error{p.notifier.Close()}
	for _, b := range p.bells {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

// RxQueues are the queues that the switch receives from, one for each pair offered. They are the same for the port's
// life.
func (p *Port) RxQueues() []*virtq.RxQueue { return p.rx }

// TxQueues are the queues that the switch transmits to, one for each pair offered. They are the same for the port's
// life.
func (p *Port) TxQueues() []*virtq.TxQueue { return p.tx }

// ActiveRx tells of each of RxQueues whether a guest uses it now.
func (p *Port) ActiveRx() []bool { return p.active(1) }

// ActiveTx tells the same of TxQueues.
func (p *Port) ActiveTx() []bool { return p.active(0) }

func (p *Port) active(odd int) []bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]bool, p.cfg.QueuePairs)
	for i := range p.view.rings {
		if i%2 == odd {
			out[i/2] = p.view.rings[i].Usable
		}
	}
	return out
}

// Close ends the port: its rings stop where they are, guest memory is unmapped after Host.Synchronize, and the
// listening socket's file is removed. The guest is told nothing, so that its front end can hand the rings to the next
// port as they are. It returns when all is done; a second call waits, too.
func (p *Port) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.serving.Wait() // rings are off the queues: nobody wakes the watcher any more
	var err error
	if first {
		err = errors.Join(p.rings.Close(), p.closeEvents())
	}
	p.watcher.Wait()
	return err
}

// watchRings tells the session when a ring breaks, which is seen on a PMD thread.
func (p *Port) watchRings() {
	for p.rings.Wait(0) == nil {
		p.mu.Lock()
		s := p.current
		p.mu.Unlock()
		if s == nil {
			continue
		}
		select {
		case s.broken <- struct{}{}:
		default: // it will look at all of them anyway
		}
	}
}

// session serves one front end, and keeps the books.
func (p *Port) session(ctx context.Context, s *session) {
	p.mu.Lock()
	p.current = s
	p.waiting = ""
	p.sessions++
	n := p.sessions
	p.mu.Unlock()
	p.say(s.log, slog.LevelInfo, "front end connected", "", "session", n)

	s.run(ctx)
}

// ended says why a session is over.
func (p *Port) ended(ctx context.Context, s *session, err error) {
	switch {
	case ctx.Err() != nil:
		s.log.Info("vhost-user: session closed")
	case errors.Is(err, errClosedByPeer):
		p.say(s.log, slog.LevelInfo, "front end disconnected", "")
	default:
		p.note(err)
		p.say(s.log, slog.LevelWarn, "session ended", kindOf(err), "error", err)
	}
}

// say logs what may happen again and again, at a decreasing rate.
func (p *Port) say(log *slog.Logger, level slog.Level, what, text string, args ...any) {
	held, ok := p.quiet.allow(what, text)
	if !ok {
		return
	}
	if held > 0 {
		args = append(args, "repeated", held)
	}
	log.Log(context.Background(), level, "vhost-user: "+what, args...)
}

// note remembers an error for Status.
func (p *Port) note(err error) {
	p.mu.Lock()
	p.lastErr, p.lastErrAt = err, time.Now()
	p.mu.Unlock()
}

// setView shows what the session shows, and tells the host if that matters to it.
func (p *Port) setView(v view) {
	p.mu.Lock()
	tell := p.view.differs(&v)
	p.view = v
	p.mu.Unlock()
	if tell {
		p.host.Changed()
	}
}

// unpublish shows that there is no session any more.
func (p *Port) unpublish() {
	for _, q := range p.tx {
		q.SetAbsentReason(packet.DropPortDown)
	}
	p.mu.Lock()
	p.current = nil
	p.disconnects++
	p.view = view{node: -1}
	p.mu.Unlock()
	p.host.Changed()
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
