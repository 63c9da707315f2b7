package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

var (
	_ Port = (*end)(nil)
	_ Port = (*Tap)(nil)
	_ Port = (*Replay)(nil)
)

const patience = 10 * time.Second

// sink collects copies of frames.
type sink struct {
	mu     sync.Mutex
	frames [][]byte
}

func (s *sink) receive(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, bytes.Clone(frame))
}

func (s *sink) all() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// frame is one of n bytes that tells number.
func frame(n, number int) []byte {
	f := bytes.Repeat([]byte{byte(number)}, n)
	binary.BigEndian.PutUint32(f, uint32(number))
	return f
}

func TestPairDeliversInOrderBothWays(t *testing.T) {
	a, b := Pair()
	defer a.Close()
	defer b.Close()
	const n = 5000
	var atA, atB sink
	a.Send(frame(60, 0)) // before anybody listens
	b.Start(func(f []byte) {
		atB.receive(f)
		b.Send(f) // from inside the receiver
		clear(f)  // what it was given is a copy
	})
	a.Start(atA.receive)
	for i := 1; i < n; i++ {
		f := frame(60+i%100, i)
		a.Send(f)
		clear(f)
		if i%1000 == 0 {
			until(t, "the receiver", func() bool { return len(atB.all()) > i-500 })
		}
	}
	until(t, "all frames", func() bool { return len(atA.all()) == n })
	for _, got := range [][][]byte{atA.all(), atB.all()} {
		for i, f := range got {
			want := frame(60+i%100, i)
			if i == 0 {
				want = frame(60, 0)
			}
			if !bytes.Equal(f, want) {
				t.Fatalf("frame %d is %x", i, f)
			}
		}
	}
	if got := a.Stats(); got != (Stats{Sent: n, Received: n}) {
		t.Errorf("counted %+v", got)
	}
}

func TestPairDropsWhatDoesNotFit(t *testing.T) {
	a, b := Pair()
	defer a.Close()
	a.Send(make([]byte, MaxFrame+1))
	a.Send(nil)
	if got := a.Stats(); got != (Stats{Dropped: 2}) {
		t.Errorf("frames of no length: %+v", got)
	}
	hold := make(chan struct{})
	b.Start(func([]byte) { <-hold })
	const n = queueFrames + 100
	for range n {
		a.Send(make([]byte, MaxFrame)) // never blocks
	}
	s := a.Stats()
	if s.Dropped < 100 || s.Sent < queueBytes/MaxFrame || s.Sent+s.Dropped != n+2 {
		t.Errorf("a receiver that does not receive: %+v", s)
	}
	close(hold)
	until(t, "what was queued", func() bool { return b.Stats().Received == s.Sent })
	b.Close()
	a.Send(make([]byte, 60))
	if got := a.Stats(); got.Dropped != s.Dropped+1 {
		t.Errorf("an unplugged wire: %+v", got)
	}
}

func TestReceiverIsNotCalledAfterClose(t *testing.T) {
	for range 50 {
		a, b := Pair()
		var mu sync.Mutex
		closed := false
		b.Start(func([]byte) {
			mu.Lock()
			defer mu.Unlock()
			if closed {
				t.Error("called")
			}
		})
		for i := range 100 {
			a.Send(frame(60, i))
		}
		b.Close()
		mu.Lock()
		closed = true
		mu.Unlock()
		a.Send(frame(60, 1))
		a.Close()
		b.Close() // twice
	}
}

// clock tells times a second and a few nanoseconds apart.
func clock() func() time.Time {
	at := time.Unix(1700000000, 5)
	return func() time.Time {
		at = at.Add(time.Second + 7)
		return at
	}
}

func TestTeeRecordsBothDirections(t *testing.T) {
	for _, name := range []string{"x.pcap", "x.pcapng"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			c, err := CreateCapture(path)
			if err != nil {
				t.Fatal(err)
			}
			a, b := Pair()
			defer b.Close()
			port := Tee(a, c, clock())
			var got sink
			b.Start(b.Send)
			port.Start(got.receive)
			sizes := []int{60, 1514, MaxFrame}
			for i, size := range sizes {
				port.Send(frame(size, i))
				until(t, "the echo", func() bool { return len(got.all()) == i+1 })
			}
			frames := readCapture(t, path) // while it is still being written
			if len(frames) != 6 {
				t.Fatalf("%d frames recorded", len(frames))
			}
			at := clock()
			for i, f := range frames {
				want := frame(sizes[i/2], i/2)
				if !bytes.Equal(f.data, want) || !f.at.Equal(at()) {
					t.Errorf("frame %d: %d bytes at %s", i, len(f.data), f.at)
				}
				if side := []string{"sent", "received"}[i%2]; f.side != "" && f.side != side {
					t.Errorf("frame %d: %s, want %s", i, f.side, side)
				}
			}
			if port.Stats() != (Stats{Sent: 3, Received: 3}) {
				t.Errorf("counted %+v", port.Stats())
			}
			if err := errors.Join(port.Close(), c.Close(), c.Close()); err == nil {
				t.Error("closed twice without a word")
			}
		})
	}
}

type recorded struct {
	data []byte
	at   time.Time
	side string
}

func readCapture(t *testing.T, path string) []recorded {
	t.Helper()
	f, r, err := openCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []recorded
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		one := recorded{data: data, at: ci.Timestamp}
		if ng, is := r.(*pcapgo.NgReader); is {
			i, err := ng.Interface(ci.InterfaceIndex)
			if err != nil {
				t.Fatal(err)
			}
			one.side = i.Name
		}
		all = append(all, one)
	}
}

// fullDisk takes so many bytes.
type fullDisk int

func (d *fullDisk) Write(b []byte) (int, error) {
	if *d -= fullDisk(len(b)); *d < 0 {
		return 0, errors.New("no space left")
	}
	return len(b), nil
}

func TestCaptureToAFullDiskSaysSo(t *testing.T) {
	for _, format := range []Format{Pcap, PcapNG} {
		disk := fullDisk(2000)
		c, err := NewCapture(&disk, format)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			c.Sent(time.Now(), make([]byte, 100))
		}
		if err := c.Close(); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("format %d: %v", format, err)
		}
		none := fullDisk(0)
		if _, err := NewCapture(&none, format); err == nil {
			t.Errorf("format %d: no header, no error", format)
		}
	}
}

// capture writes frames a second and 7 ns apart, and returns the file.
func capture(t *testing.T, name string, frames ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	c, err := CreateCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	now := clock()
	for _, f := range frames {
		c.Received(now(), f)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplayKeepsTheTimes(t *testing.T) {
	for _, name := range []string{"x.pcap", "x.pcapng"} {
		path := capture(t, name, frame(60, 1), frame(20, 2), frame(MaxFrame, 3))
		var pauses []time.Duration
		r, err := OpenReplay(path, ReplayOptions{
			Speed: 2, Sleep: func(_ context.Context, d time.Duration) { pauses = append(pauses, d) },
		})
		if err != nil {
			t.Fatal(err)
		}
		var got sink
		r.Start(got.receive)
		<-r.Done()
		r.Send(frame(60, 9))
		if fmt.Sprint(pauses) != "[500.000003ms 500.000003ms]" {
			t.Errorf("%s: pauses of %v", name, pauses)
		}
		want := [][]byte{frame(60, 1), append(frame(20, 2), make([]byte, 40)...), frame(MaxFrame, 3)}
		for i, f := range got.all() {
			if !bytes.Equal(f, want[i]) {
				t.Errorf("%s: frame %d is %x", name, i, f)
			}
		}
		if r.Stats() != (Stats{Sent: 1, Received: 3}) {
			t.Errorf("%s: counted %+v", name, r.Stats())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReplayLoopsUntilItIsClosed(t *testing.T) {
	r, err := OpenReplay(capture(t, "x.pcap", frame(60, 1), frame(60, 2)), ReplayOptions{
		Speed: -1, Loop: true, AwaitSend: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got sink
	r.Start(got.receive)
	time.Sleep(10 * time.Millisecond)
	if len(got.all()) != 0 {
		t.Error("it did not wait for the first frame sent")
	}
	r.Send(frame(60, 0))
	until(t, "several rounds", func() bool { return len(got.all()) > 10 })
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	n := len(got.all())
	time.Sleep(5 * time.Millisecond)
	if len(got.all()) != n {
		t.Error("it goes on after Close")
	}
}

func TestReplayCanBeClosedWhileItWaits(t *testing.T) {
	path := capture(t, "x.pcap", frame(60, 1), frame(60, 2))
	for _, opt := range []ReplayOptions{{AwaitSend: true}, {Speed: 1e-6}} {
		r, err := OpenReplay(path, opt)
		if err != nil {
			t.Fatal(err)
		}
		r.Start(func([]byte) {})
		time.Sleep(5 * time.Millisecond)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReplayOfBadFiles(t *testing.T) {
	good, err := os.ReadFile(capture(t, "x.pcap", frame(60, 1), frame(60, 2)))
	if err != nil {
		t.Fatal(err)
	}
	open := func(b []byte) (*Replay, error) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return OpenReplay(path, ReplayOptions{Speed: -1, Loop: true})
	}
	otherLink := bytes.Clone(good)
	binary.LittleEndian.PutUint32(otherLink[20:], uint32(layers.LinkTypeIEEE802_11))
	for what, b := range map[string][]byte{
		"empty": nil, "short": good[:3], "no header": good[:20], "text": []byte("hello, this is no capture"),
		"another link type": otherLink,
	} {
		if _, err := open(b); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if _, err := OpenReplay(filepath.Join(t.TempDir(), "none"), ReplayOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for what, b := range map[string][]byte{"no frames": good[:24], "half a frame": good[:len(good)-10]} {
		r, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		r.Start(func([]byte) {})
		<-r.Done()
		if err := r.Close(); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	// A frame that was not recorded whole.
	cut := bytes.Clone(good)
	binary.LittleEndian.PutUint32(cut[24+12:], 61)
	r, err := open(cut)
	if err != nil {
		t.Fatal(err)
	}
	r.opt.Loop = false
	r.Start(func([]byte) {})
	<-r.Done()
	if got := r.Stats(); got != (Stats{Received: 1, Dropped: 1}) {
		t.Errorf("a frame not recorded whole: %+v", got)
	}
}
