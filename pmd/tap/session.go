package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// errDown is what the kernel answers while the interface is administratively down (Linux drivers/net/tun.c).
const errDown = unix.EIO

// downPause is how long a reader waits before it tries an interface again that said it is down.
const downPause = 100 * time.Millisecond

// lostInterface reports errors after which the descriptor is of no use: the interface was deleted, or the port closed
// the descriptor itself.
func lostInterface(err error) bool {
	return errors.Is(err, unix.EBADFD) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EFAULT) ||
		errors.Is(err, os.ErrClosed)
}

// session is the time from opening the interface's descriptors until they are closed or the interface is deleted.
type session struct {
	iface string
	files []*os.File

	over chan struct{} // closed when the session ends
	once sync.Once
	err  error // why, set before over is closed
	wg   sync.WaitGroup
}

// openSession makes or attaches to the interface and configures it.
func openSession(cfg *Config) (*session, error) {
	s := &session{over: make(chan struct{})}
	err := s.openQueues(cfg)
	if err == nil {
		err = s.control(0, func(fd int) error { return configure(fd, cfg) })
	}
	if err != nil {
		s.closeFiles()
		return nil, err
	}
	return s, nil
}

// openQueues attaches one descriptor for each queue. A single queue attaches to whatever kind of interface is there.
func (s *session) openQueues(cfg *Config) error {
	flags := sys.TapFlags{MultiQueue: cfg.Queues > 1, VnetHeader: vnetHeaderLen}
	for i := range cfg.Queues {
		fd, real, err := sys.OpenTapQueue(cfg.Interface, flags)
		if cfg.Queues == 1 && errors.Is(err, unix.EINVAL) {
			flags.MultiQueue = true
			fd, real, err = sys.OpenTapQueue(cfg.Interface, flags)
		}
		if err != nil {
			return explain(err, cfg, i)
		}
		// Only now: the poller must see a descriptor that has its interface already.
		s.files = append(s.files, os.NewFile(uintptr(fd), "tap "+real))
		s.iface = real
	}
	return nil
}

// configure applies what the configuration says about the interface itself.
func configure(fd int, cfg *Config) error {
	if err := sys.SetTapOwner(fd, cfg.uid, cfg.gid); err != nil {
		return err
	}
	if cfg.Persist {
		if err := sys.SetTapPersist(fd, true); err != nil {
			return err
		}
	}
	return sys.SetTapLink(fd, cfg.MTU)
}

// explain adds what the operator can do about a refused open.
func explain(err error, cfg *Config, queue int) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = ": the kernel has no tap driver; load it with 'modprobe tun'"
	case errors.Is(err, fs.ErrPermission):
		hint = ": run weft as root or with CAP_NET_ADMIN, or make the interface beforehand with 'ip tuntap add dev " +
			cfg.Interface + " mode tap user USER'"
	case errors.Is(err, unix.EBUSY):
		hint = ": another process has it open; name another interface, or stop that process"
	case errors.Is(err, unix.EINVAL) && cfg.Queues > 1:
		hint = fmt.Sprintf(": it exists with another number of queues or is no tap interface; delete it, or make it with "+
			"'ip tuntap add dev %s mode tap multi_queue'", cfg.Interface)
	case errors.Is(err, unix.EINVAL):
		hint = ": an interface of that name exists and is no tap interface; name another one"
	case errors.Is(err, unix.E2BIG):
		hint = fmt.Sprintf(": the kernel allows no more than %d queues", queue)
	}
	return fmt.Errorf("queue %d of interface %s: %w%s", queue, cfg.Interface, err, hint)
}

// start runs the goroutines that move frames.
func (s *session) start(rx []*RxQueue, tx []*TxQueue) {
	for i, f := range s.files {
		s.wg.Add(2)
		go func() {
			defer s.wg.Done()
			rx[i].read(s, f)
		}()
		go func() {
			defer s.wg.Done()
			tx[i].write(s, f)
		}()
	}
	for _, q := range tx {
		q.open.Store(true)
	}
}

// lose ends the session because of err. The goroutines end by themselves; end waits for them.
func (s *session) lose(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.over)
	})
}

// end closes the descriptors and waits until the goroutines have left the rings.
func (s *session) end(rx []*RxQueue, tx []*TxQueue) {
	s.lose(os.ErrClosed)
	for _, q := range tx {
		q.open.Store(false)
	}
	s.closeFiles()
	for i := range s.files {
		rx[i].ring.wake.Wake()
		tx[i].ring.wake.Wake()
	}
	s.wg.Wait()
	for _, q := range tx {
		q.discard()
	}
}

func (s *session) closeFiles() {
	for _, f := range s.files {
		_ = f.Close()
	}
}

// ended reports whether the session is over.
func (s *session) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// pause waits a moment; false when the session ended meanwhile.
func (s *session) pause() bool {
	t := time.NewTimer(downPause)
	defer t.Stop()
	select {
	case <-s.over:
		return false
	case <-t.C:
		return true
	}
}

// link asks the kernel for the interface's state.
func (s *session) link() (sys.TapLink, error) {
	var l sys.TapLink
	err := s.control(0, func(fd int) (err error) {
		l, err = sys.TapLinkOf(fd)
		return err
	})
	return l, err
}

// control calls f with the descriptor of a queue, which stays open for the time.
func (s *session) control(queue int, f func(fd int) error) error {
	c, err := s.files[queue].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
