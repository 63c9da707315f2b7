package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// pcapngMagic is the type of a section header block, the first of a pcapng file in either byte order.
const pcapngMagic = 0x0a0d0d0a

// ReplayOptions say how a capture file is replayed. The zero value replays it once, at its own pace, from Start on.
type ReplayOptions struct {
	// Speed is how many times as fast as it was recorded; 0 means 1, and less than 0 without any pause.
	Speed float64
	// Loop begins again at the end.
	Loop bool
	// AwaitSend begins with the first frame that the port sends, and not with Start.
	AwaitSend bool
	// Sleep pauses for a time or until the context ends; nil for the machine's clock.
	Sleep func(context.Context, time.Duration)
}

// Replay is a port at which the frames of a capture file come in. What is sent is counted and thrown away: a Tee keeps
// it.
type Replay struct {
	counters
	path string
	opt  ReplayOptions

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	start     sync.Once
	first     sync.Once
	firstSent chan struct{}
	done      chan struct{}
	err       error // why it ended early, good when done is closed
}

// OpenReplay opens the pcap or pcapng file at path, which must be of Ethernet frames.
func OpenReplay(path string, opt ReplayOptions) (*Replay, error) {
	if opt.Speed == 0 {
		opt.Speed = 1
	}
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	f, _, err := openCapture(path) // to find mistakes now
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	r := &Replay{path: path, opt: opt, firstSent: make(chan struct{}), done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// frameReader is what both kinds of file are read by.
type frameReader interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

func openCapture(path string) (*os.File, frameReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("wire: replay: %w", err)
	}
	r, err := newFrameReader(bufio.NewReader(f))
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("wire: replay of %s: %w", path, err)
	}
	return f, r, nil
}

func newFrameReader(b *bufio.Reader) (frameReader, error) {
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("not a capture file: %w", err)
	}
	var r frameReader
	if binary.LittleEndian.Uint32(magic) == pcapngMagic {
		r, err = pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{})
	} else {
		r, err = pcapgo.NewReader(b)
	}
	if err != nil {
		return nil, fmt.Errorf("not a capture file: %w", err)
	}
	if t := r.LinkType(); t != layers.LinkTypeEthernet {
		return nil, fmt.Errorf("link type %s, only Ethernet can be replayed", t)
	}
	return r, nil
}

// Send counts a frame.
func (r *Replay) Send([]byte) {
	r.sent.Add(1)
	r.first.Do(func() { close(r.firstSent) })
}

// Start begins the replay.
func (r *Replay) Start(receive Receiver) {
	r.start.Do(func() {
		go func() {
			defer close(r.done)
			r.err = r.run(receive)
		}()
	})
}

func (r *Replay) run(receive Receiver) error {
	if r.opt.AwaitSend {
		select {
		case <-r.firstSent:
		case <-r.ctx.Done():
			return nil
		}
	}
	for {
		before := r.received.Load() + r.dropped.Load()
		if err := r.once(receive); err != nil || !r.opt.Loop || r.ctx.Err() != nil {
			return err
		}
		if r.received.Load()+r.dropped.Load() == before {
			return fmt.Errorf("wire: replay of %s: no frame in the file", r.path)
		}
	}
}

// once replays the file. Frames that were not recorded whole, or that no port could receive, are dropped.
func (r *Replay) once(receive Receiver) error {
	f, reader, err := openCapture(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var last time.Time
	for r.ctx.Err() == nil {
		frame, ci, err := reader.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wire: replay of %s: %w", r.path, err)
		}
		r.pause(last, ci.Timestamp)
		last = ci.Timestamp
		if ci.CaptureLength != ci.Length || len(frame) > MaxFrame || len(frame) == 0 {
			r.dropped.Add(1)
			continue
		}
		if short := MinFrame - len(frame); short > 0 {
			frame = append(frame, make([]byte, short)...)
		}
		if r.ctx.Err() != nil {
			return nil
		}
		r.received.Add(1)
		receive(frame)
	}
	return nil
}

// pause waits as long as it was between two frames.
func (r *Replay) pause(last, now time.Time) {
	if last.IsZero() || r.opt.Speed < 0 || !now.After(last) {
		return
	}
	r.opt.Sleep(r.ctx, time.Duration(float64(now.Sub(last))/r.opt.Speed))
}

// Done is closed when the replay is over, by its end, an error or Close.
func (r *Replay) Done() <-chan struct{} { return r.done }

// Close ends the replay. The error is what ended it before, such as a damaged file.
func (r *Replay) Close() error {
	r.cancel()
	r.start.Do(func() { close(r.done) })
	<-r.done
	return r.err
}
