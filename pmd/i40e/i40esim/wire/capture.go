package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Format is a kind of capture file.
type Format int

// Kinds of capture file.
const (
	// Pcap has frames and times to the nanosecond.
	Pcap Format = iota
	// PcapNG also says of each frame whether it was sent or received, by an interface for each.
	PcapNG
)

// Capture writes frames to a capture file. Every frame is in the file when the method returns.
//
// Concurrency: any goroutine may call the methods.
type Capture struct {
	mu    sync.Mutex
	write func(direction, gopacket.CaptureInfo, []byte) error
	close func() error
	err   error // the first, after which nothing is written
	count uint64
}

type direction int

const (
	sent direction = iota
	received
)

// CreateCapture makes or empties the file at path: pcapng when its name ends in .pcapng, else pcap.
func CreateCapture(path string) (*Capture, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("wire: capture: %w", err)
	}
	format := Pcap
	if filepath.Ext(path) == ".pcapng" {
		format = PcapNG
	}
	c, err := NewCapture(f, format)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	c.close = f.Close
	return c, nil
}

// NewCapture writes to w, which stays the caller's to close.
func NewCapture(w io.Writer, format Format) (*Capture, error) {
	c := &Capture{close: func() error { return nil }}
	var err error
	if format == PcapNG {
		c.write, err = pcapngWriter(w)
	} else {
		c.write, err = pcapWriter(w)
	}
	if err != nil {
		return nil, fmt.Errorf("wire: capture: %w", err)
	}
	return c, nil
}

func pcapWriter(w io.Writer) (func(direction, gopacket.CaptureInfo, []byte) error, error) {
	buffered := bufio.NewWriter(w) // makes one write of a frame and its header
	pw := pcapgo.NewWriterNanos(buffered)
	if err := errors.Join(pw.WriteFileHeader(MaxFrame, layers.LinkTypeEthernet), buffered.Flush()); err != nil {
		return nil, err
	}
	return func(_ direction, ci gopacket.CaptureInfo, frame []byte) error {
		return errors.Join(pw.WritePacket(ci, frame), buffered.Flush())
	}, nil
}

func pcapngWriter(w io.Writer) (func(direction, gopacket.CaptureInfo, []byte) error, error) {
	side := func(name string) pcapgo.NgInterface {
		return pcapgo.NgInterface{
			Name: name, LinkType: layers.LinkTypeEthernet, SnapLength: MaxFrame, TimestampResolution: 9,
		}
	}
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "weft"}}
	nw, err := pcapgo.NewNgWriterInterface(w, side("sent"), options)
	if err != nil {
		return nil, err
	}
	if _, err := nw.AddInterface(side("received")); err != nil {
		return nil, err
	}
	if err := nw.Flush(); err != nil {
		return nil, err
	}
	return func(d direction, ci gopacket.CaptureInfo, frame []byte) error {
		ci.InterfaceIndex = int(d)
		return errors.Join(nw.WritePacket(ci, frame), nw.Flush())
	}, nil
}

// Sent records a frame that was sent at a time. It borrows the frame.
func (c *Capture) Sent(at time.Time, frame []byte) { c.record(sent, at, frame) }

// Received records a frame that was received at a time. It borrows the frame.
func (c *Capture) Received(at time.Time, frame []byte) { c.record(received, at, frame) }

func (c *Capture) record(d direction, at time.Time, frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	ci := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}
	if err := c.write(d, ci, frame); err != nil {
		c.err = fmt.Errorf("wire: capture: after %d frames: %w", c.count, err)
		return
	}
	c.count++
}

// Close ends the capture. The error is the first that happened, such as a full disk.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := errors.Join(c.err, c.close())
	c.close = func() error { return nil }
	c.err = errors.New("wire: capture: closed")
	return err
}

// tee is a port whose frames are recorded.
type tee struct {
	Port
	capture *Capture
	now     func() time.Time
}

// Tee is port with every frame, in both directions, recorded in c at the time that now tells, such as time.Now. Closing
// it closes port but not c.
func Tee(port Port, c *Capture, now func() time.Time) Port { return &tee{port, c, now} }

func (t *tee) Send(frame []byte) {
	t.capture.Sent(t.now(), frame)
	t.Port.Send(frame)
}

func (t *tee) Start(receive Receiver) {
	t.Port.Start(func(frame []byte) {
		t.capture.Received(t.now(), frame)
		receive(frame)
	})
}
