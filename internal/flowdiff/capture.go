package flowdiff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Of a capture file as ovs-vswitchd writes it: the classic pcap format, in the machine's byte order.
const (
	pcapHeader       = 24
	pcapRecordHeader = 16
	captureLimit     = 8 << 20 // bytes after which the file is emptied
)

// capture reads the frames that a dummy port writes to its tx_pcap file.
type capture struct {
	file *os.File
	at   int64
	buf  []byte
}

func openCapture(path string) (*capture, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("flowdiff: capture: %w", err)
	}
	return &capture{file: f, at: pcapHeader, buf: make([]byte, 64<<10)}, nil
}

func (c *capture) close() error { return c.file.Close() }

// read returns the frames written since the last time. They are whole, since the writer is not writing now.
func (c *capture) read() ([][]byte, error) {
	var pending []byte
	for {
		n, err := c.file.ReadAt(c.buf, c.at+int64(len(pending)))
		pending = append(pending, c.buf[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("flowdiff: capture: %w", err)
		}
	}
	c.at += int64(len(pending))
	var frames [][]byte
	for len(pending) > 0 {
		if len(pending) < pcapRecordHeader {
			return nil, fmt.Errorf("flowdiff: capture %s ends within a record", c.file.Name())
		}
		n := int(binary.NativeEndian.Uint32(pending[8:]))
		if pending = pending[pcapRecordHeader:]; n > len(pending) {
			return nil, fmt.Errorf("flowdiff: capture %s ends within a frame", c.file.Name())
		}
		frames = append(frames, pending[:n:n])
		pending = pending[n:]
	}
	return frames, c.trim()
}

// trim empties the file when it has become large. The daemon appends, so that it writes on behind the header.
func (c *capture) trim() error {
	if c.at < captureLimit {
		return nil
	}
	c.at = pcapHeader
	if err := c.file.Truncate(pcapHeader); err != nil {
		return fmt.Errorf("flowdiff: capture: %w", err)
	}
	return nil
}
