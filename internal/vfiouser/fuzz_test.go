package vfiouser

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"weft/internal/sys"
)

// script is the fuzzer's text for a client: each message is a byte with the kinds of descriptors to send (bits 0-1: how
// many, bit 2: an eventfd or memory, bit 3: no reply, bit 4: the size is off by the next byte), a command byte, a length
// byte, and so many bytes.
type script []byte

func (s *script) byte() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) next() (cmd command, flags uint32, body []byte, size uint32, nfds int, event bool) {
	how := s.byte()
	cmd = command(s.byte())
	n := min(int(s.byte()), len(*s))
	body = (*s)[:n]
	*s = (*s)[n:]
	size = uint32(headerSize + n)
	if how&16 != 0 {
		size += uint32(int8(s.byte()))
	}
	if how&8 != 0 {
		flags = flagNoReply
	}
	return cmd, flags, body, size, int(how & 3), how&4 != 0
}

func scripted(how byte, cmd command, body []byte) []byte {
	return append([]byte{how, byte(cmd), byte(len(body))}, body...)
}

func FuzzServer(f *testing.F) {
	u32, u64 := func(n uint32) uint32 { return n }, func(n uint64) uint64 { return n }
	mapping := scripted(1, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0x1000), u64(0x1000)))
	f.Add(mapping)
	f.Add(bytes.Join([][]byte{
		mapping,
		scripted(0, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0x2000), u64(0x1000))),
		scripted(0, cmdDMAUnmap, words(u32(24), u32(0), u64(0x1000), u64(0x1000))),
		scripted(0, cmdDMAUnmap, words(u32(24), u32(2), u64(0), u64(0))),
	}, nil))
	f.Add(bytes.Join([][]byte{
		scripted(0, cmdGetInfo, words(u32(16), u32(0), u32(0), u32(0))),
		scripted(0, cmdGetRegionInfo, words(u32(200), u32(0), u32(0), u32(0), u64(0), u64(0))),
		scripted(0, cmdGetRegionIOFDs, words(u32(200), u32(0), u32(0), u32(0))),
		scripted(0, cmdGetIRQInfo, words(u32(16), u32(0), u32(2), u32(0))),
		scripted(0, cmdReset, nil),
	}, nil))
	f.Add(bytes.Join([][]byte{
		scripted(6, cmdSetIRQs, words(u32(20), u32(0x24), u32(2), u32(3), u32(2))),
		scripted(0, cmdSetIRQs, append(words(u32(23), u32(0x22), u32(2), u32(2), u32(3)), 1, 1, 1)),
		scripted(0, cmdSetIRQs, words(u32(20), u32(0x21), u32(2), u32(0), u32(0))),
		scripted(5, cmdSetIRQs, words(u32(20), u32(0x14), u32(0), u32(0), u32(1))),
		scripted(0, cmdSetIRQs, words(u32(20), u32(0x11), u32(0), u32(0), u32(1))),
	}, nil))
	f.Add(bytes.Join([][]byte{
		scripted(8, cmdRegionWrite, append(words(u64(0), u32(0), u32(4)), 1, 2, 3, 4)),
		scripted(0, cmdRegionRead, words(u64(0), u32(0), u32(4))),
		scripted(0, cmdRegionWriteMany, append(words(u64(1), u64(0), u32(0), u32(8)), make([]byte, 8)...)),
		scripted(16, cmdVersion, version0(qemuVersion)[:200]),
	}, nil))
	file, event := memory(f, 1<<16), eventFile(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		dev := newCard()
		dev.info.Regions[0].File, dev.info.Regions[0].Mmap = file, []SparseArea{{0, 4096}}
		dev.info.Regions[0].IOFDs = []IOFD{{Size: 4, File: event}}
		before := descriptors(t)
		ours, client := fuzzPair(t)
		over := make(chan struct{})
		go func() {
			defer close(over)
			_ = ServeConn(context.Background(), ours, dev, Options{MaxTransfer: 4096, DMATimeout: time.Millisecond})
		}()
		replies := make(chan int, 1)
		go func() { replies <- countReplies(t, newLink(client)) }()
		_, _ = client.Write(version0(qemuVersion))
		want, whole := 1, true
		for s := script(text); len(s) > 0; {
			cmd, flags, body, size, nfds, isEvent := s.next()
			fd := file
			if isEvent {
				fd = event
			}
			var fds []int
			for range nfds {
				fds = append(fds, int(fd.Fd()))
			}
			h := header{id: uint16(want), cmd: cmd, flags: flags, size: size}
			if sys.SendFDs(client, append(headerBytes(h), body...), fds) != nil {
				break
			}
			if flags == 0 {
				want++
			}
			whole = whole && size == uint32(headerSize+len(body))
		}
		_ = client.CloseWrite()
		got := <-replies
		<-over
		client.Close()
		if whole && got != want {
			t.Errorf("%d replies to %d commands", got, want)
		}
		if came, went := dev.clients(); came != went {
			t.Error("the device was left with a client")
		}
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	})
}

// countReplies reads what a server sends until it closes.
func countReplies(t *testing.T, l *link) int {
	n := 0
	for {
		m, err := l.receive()
		if err != nil {
			return n
		}
		if m.reply() {
			n++
		}
		if m.flags&flagError != 0 && (len(m.body) > 0 || m.errno == 0) {
			t.Errorf("an error reply with %d bytes and errno %d", len(m.body), m.errno)
		}
		m.close()
	}
}

// FuzzClient has a server answer a client's commands with whatever the fuzzer likes.
func FuzzClient(f *testing.F) {
	u32, u64 := func(n uint32) uint32 { return n }, func(n uint64) uint64 { return n }
	f.Add([]byte{}, []byte{})
	f.Add(versionBody(0, 0, `{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true,"fd_index":0}}}`), []byte{})
	f.Add(versionBody(0, 0, `{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1,"write_multiple":true}}`), bytes.Join([][]byte{
		scripted(0, 0, words(u32(16), u32(3), u32(9), u32(5))),
		scripted(1, 0, append(words(u32(64), u32(0xf), u32(0), u32(32), u64(1<<20), u64(0)),
			words(u32(0x10001), u32(0), u32(1), u32(0), u64(0), u64(4096))...)),
	}, nil))
	f.Add(versionBody(0, 0, ""), bytes.Join([][]byte{
		scripted(0, 0, words(u32(16), u32(3), u32(9), u32(5))),
		scripted(0, 0, words(u32(32), u32(3), u32(0), u32(0), u64(1<<20), u64(0))),
		scripted(1, 0, words(u32(56), u32(0), u32(0), u32(1), u64(0), u64(4), u32(0), u32(0), u32(0), u32(0), u64(0))),
		scripted(0, 0, words(u32(16), u32(3), u32(2), u32(40))),
		scripted(0, 0, append(words(u64(0), u32(0), u32(4)), 1, 2, 3, 4)),
		scripted(0, 0, words(u64(0), u32(0), u32(4))),
		scripted(32, 0, words(u64(0x1000), u64(4))),
	}, nil))
	file := memory(f, 1<<16)
	f.Fuzz(func(t *testing.T, hello, text []byte) {
		before := descriptors(t)
		ours, server := fuzzPair(t)
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer server.Close()
			answerWith(newLink(server), hello, text, file)
		}()
		c, err := NewClient(context.Background(), ours, ClientOptions{Timeout: time.Second, TwinSocket: len(text)%2 == 1})
		if err == nil {
			everyCommand(c)
			c.Close()
		}
		<-over
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	})
}

// answerWith replies to commands from the script, and closes at its end. Bit 5 of a message's first byte makes it a
// command for the client instead.
func answerWith(l *link, hello, text []byte, file *os.File) {
	s := script(text)
	for first := true; ; first = false {
		m, err := l.receive()
		if err != nil {
			return
		}
		m.close()
		reply := hello
		flags, fds := uint32(flagReply), []int(nil)
		if first {
			if len(text)%2 == 1 {
				fds = append(fds, int(file.Fd())) // no socket
			}
		} else {
			if len(s) == 0 {
				return
			}
			how := s[0]
			_, _, b, _, n, _ := s.next()
			reply = b
			if how&8 != 0 {
				flags |= flagError
			}
			for range n {
				fds = append(fds, int(file.Fd()))
			}
			if how&32 != 0 {
				h := header{id: 7, cmd: cmdDMARead, size: uint32(headerSize + len(b))}
				if sys.SendFDs(l.conn, append(headerBytes(h), b...), fds) != nil {
					return
				}
			}
		}
		h := header{id: m.id, cmd: m.cmd, flags: flags, size: uint32(headerSize + len(reply))}
		if sys.SendFDs(l.conn, append(headerBytes(h), reply...), fds) != nil {
			return
		}
	}
}

// everyCommand does whatever a client can. Only that it ends matters, and that what it returns is consistent.
func everyCommand(c *Client) {
	_ = c.MapDMA(DMAMap{IOVA: 0x1000, Size: 0x1000, Readable: true, Writeable: true, Memory: &ram{b: make([]byte, 4096)}})
	_, _ = c.Info()
	if r, err := c.RegionInfo(0); err == nil {
		for _, a := range r.Mmap {
			if a.Offset+a.Size > r.Size {
				panic("area beyond its region")
			}
		}
		r.close()
	}
	if fds, err := c.RegionIOFDs(0); err == nil {
		for _, d := range fds {
			_ = d.File.Close() // more than once for shared ones, which is harmless
		}
	}
	_, _ = c.IRQInfo(2)
	_ = c.ReadRegion(0, 0, make([]byte, 4))
	_ = c.WriteRegion(0, 0, make([]byte, 4))
	_ = c.WriteRegions([]SingleWrite{{0, 0, []byte{1}}})
	_ = c.DisableIRQs(2)
	_, _ = c.Feature(1, nil)
	_ = c.UnmapDMA(0x1000, 0x1000)
	_ = c.Reset()
}

func FuzzVersion(f *testing.F) {
	f.Add(versionBody(0, 0, qemuVersion))
	f.Add(versionBody(0, 1, ""))
	f.Add(versionBody(0, 1, `{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true,"fd_index":0}}}`))
	f.Add(versionBody(1, 0, `{"capabilities":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseVersion(b)
		if err != nil {
			return
		}
		v.caps = v.caps.reply(defaultXfer, false)
		reply, err := v.replyBody(len(b))
		if err != nil || len(reply) > len(b) {
			t.Errorf("reply of %d bytes to %d: %q, %v", len(reply), len(b), reply, err)
		}
		again, err := parseVersion(reply)
		if err != nil || again.caps.fds() > ourMaxFDs || again.caps.xfer() > defaultXfer {
			t.Errorf("the reply %q is not good: %+v, %v", reply, again.caps, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(headerBytes(header{id: 1, cmd: cmdReset, size: headerSize}))
	f.Add(headerBytes(header{id: 1, cmd: cmdRegionRead, size: 1 << 20, flags: flagReply | flagError, errno: 5}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		h, err := parseHeader(b, defaultXfer)
		if !bytes.Equal(headerBytes(h), b[:headerSize]) {
			t.Errorf("%x became %+v", b[:headerSize], h)
		}
		var p *protocolError
		switch size := binary.LittleEndian.Uint32(b[4:]); {
		case err == nil && (size < headerSize || size > headerSize+accessSize+defaultXfer):
			t.Errorf("%+v was believed", h)
		case err != nil && !errors.As(err, &p):
			t.Errorf("%v", err)
		}
	})
}

// fuzzPair is a connection, both ends, the caller's to close.
func fuzzPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	a, f, err := sys.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return a, c.(*net.UnixConn)
}

// descriptors is how many the process has open. The fuzzing engine has its own, always as many.
func descriptors(t testing.TB) int {
	t.Helper()
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return len(names)
}
