package wire

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// MaxMTU is the greatest MTU whose frames, with one VLAN tag, fit MaxFrame.
const MaxMTU = MaxFrame - 14 - 4

// tapReadSize is more than a tap interface of any MTU delivers.
const tapReadSize = 1 << 16

// Tap joins a port to a tap interface of the kernel.
type Tap struct {
	counters
	name string
	file *os.File

	start sync.Once
	done  chan struct{}
}

// OpenTap makes the tap interface called name in the calling thread's network namespace, gives it the MTU unless that is
// 0, and brings it up. It goes with Close. This needs CAP_NET_ADMIN.
func OpenTap(name string, mtu int) (*Tap, error) {
	if mtu < 0 || mtu > MaxMTU {
		return nil, fmt.Errorf("wire: tap %s: an MTU of %d, at most %d are possible", name, mtu, MaxMTU)
	}
	f, real, err := sys.OpenTap(name)
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("wire: tap %s: %w (run as root or with CAP_NET_ADMIN)", name, err)
		}
		return nil, fmt.Errorf("wire: tap %s: %w", name, err)
	}
	if err := sys.ControlFD(f, func(fd int) error { return sys.SetTapLink(fd, mtu) }); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("wire: tap %s: %w", real, err)
	}
	return &Tap{name: real, file: f, done: make(chan struct{})}, nil
}

// Name is the interface's name.
func (t *Tap) Name() string { return t.name }

// Send gives a frame to the kernel as if the interface had received it.
func (t *Tap) Send(frame []byte) {
	if len(frame) > MaxFrame {
		t.dropped.Add(1)
		return
	}
	if _, err := t.file.Write(frame); err != nil {
		t.dropped.Add(1) // the interface is down or gone
		return
	}
	t.sent.Add(1)
}

// Start has what the kernel sends by the interface given to receive.
func (t *Tap) Start(receive Receiver) {
	t.start.Do(func() {
		go func() {
			defer close(t.done)
			t.read(receive)
		}()
	})
}

func (t *Tap) read(receive Receiver) {
	b := make([]byte, tapReadSize)
	for {
		n, err := t.file.Read(b)
		if err != nil {
			return // closed, or the interface was deleted
		}
		if n > MaxFrame {
			t.dropped.Add(1)
			continue
		}
		for n < MinFrame {
			b[n] = 0
			n++
		}
		t.received.Add(1)
		receive(b[:n])
	}
}

// Close removes the interface.
func (t *Tap) Close() error {
	err := t.file.Close()
	t.start.Do(func() { close(t.done) })
	<-t.done
	return err
}
