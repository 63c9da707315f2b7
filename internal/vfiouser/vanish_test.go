package vfiouser

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weft/internal/sys"
)

func TestClientThatVanishesAnywhere(t *testing.T) {
	noLeaks(t)
	fd := int(memory(t, 1<<20).Fd())
	event := int(eventFile(t).Fd())
	var stream bytes.Buffer // of whole messages
	type sent struct {
		b   []byte
		fds []int
	}
	messages := []sent{
		{version0(qemuVersion), nil},
		{body(cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(0), uint64(1<<20))), []int{fd}},
		{body(cmdSetIRQs, words(uint32(20), uint32(0x24), uint32(2), uint32(0), uint32(1))), []int{event}},
		{body(cmdRegionWrite, append(words(uint64(0), uint32(0), uint32(8)), make([]byte, 8)...)), nil},
		{body(cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(1<<20), uint64(1<<20))), []int{fd}},
	}
	for _, m := range messages {
		stream.Write(m.b)
	}
	for cut := 0; cut <= stream.Len(); cut += 1 + cut/40 {
		dev := newCard()
		conn, over := serve(t, dev, Options{})
		left := cut
		for _, m := range messages {
			n := min(left, len(m.b))
			if left -= n; n > 0 {
				if err := sys.SendFDs(conn, m.b[:n], m.fds); err != nil {
					t.Fatal(err)
				}
			}
		}
		conn.Close()
		select {
		case <-over:
		case <-time.After(patience):
			t.Fatalf("cut at %d: the session does not end", cut)
		}
		if came, went := dev.clients(); came != went {
			t.Errorf("cut at %d: %d attached, %d detached", cut, came, went)
		}
	}
}

func body(cmd command, b []byte) []byte {
	return append(headerBytes(header{id: 1, cmd: cmd, size: uint32(headerSize + len(b))}), b...)
}

func TestTooManyDescriptorsEndTheSession(t *testing.T) {
	noLeaks(t)
	r, over := rawClient(t, newCard(), Options{})
	fds := make([]int, 200)
	for i := range fds {
		fds[i] = int(eventFile(t).Fd())
	}
	r.send(cmdSetIRQs, 0, words(uint32(20), uint32(0x24), uint32(2), uint32(0), uint32(40)), fds...)
	r.gone()
	var p *protocolError
	if err := <-over; !errors.As(err, &p) {
		t.Errorf("%v", err)
	}
}

func TestDescriptorsMayComeLateInAMessage(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	r, _ := rawClient(t, dev, Options{})
	whole := body(cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(0), uint64(4096)))
	r.sendBytes(whole[:20])
	time.Sleep(10 * time.Millisecond)
	r.sendBytes(whole[20:], int(memory(t, 4096).Fd()))
	if m := r.receive(); m.flags != flagReply {
		t.Errorf("%+v", m.header)
	}
	if all := dev.current(t).DMA().all(); len(all) != 1 || !all[0].Shared {
		t.Errorf("mapped %v", all)
	}
}

func TestServerThatWaitsForMemoryDoesNotWaitForEver(t *testing.T) {
	dev := newCard()
	r, _ := rawClient(t, dev, Options{DMATimeout: 50 * time.Millisecond})
	r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(0), uint64(4096)))
	failed := make(chan error, 1)
	dev.writing(func() { failed <- dev.current(t).DMA().Read(0, make([]byte, 4)) })
	r.send(cmdRegionWrite, 0, append(words(uint64(0), uint32(0), uint32(1)), 1))
	ask := r.receive()
	if ask.cmd != cmdDMARead || ask.reply() {
		t.Fatalf("%+v", ask.header)
	}
	if err := <-failed; !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
	if m := r.receive(); m.cmd != cmdRegionWrite || m.flags != flagReply {
		t.Errorf("%+v", m.header)
	}
	// The reply comes late, twice, and with a descriptor.
	late := append(headerBytes(header{id: ask.id, cmd: cmdDMARead, flags: flagReply, size: headerSize + 20}), make([]byte, 20)...)
	r.sendBytes(late, int(memory(t, 4096).Fd()))
	r.sendBytes(late)
	r.granted(accessSize, cmdRegionRead, words(uint64(0), uint32(0), uint32(0)))
}

func TestMappingsChangeWhileTheServerWaits(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	r, _ := rawClient(t, dev, Options{DMATimeout: patience})
	r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(0), uint64(4096)))
	result := make(chan error, 1)
	dma := dev.current(t).DMA()
	got := make([]byte, 4)
	go func() { result <- dma.Read(0, got) }()
	ask := r.receive()
	// A client that does one thing at a time wants this done first.
	r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(4096), uint64(4096)), int(memory(t, 4096).Fd()))
	r.granted(24, cmdDMAUnmap, words(uint32(24), uint32(0), uint64(0), uint64(8192)))
	reply := append(ask.body[:accessSize:accessSize], 1, 2, 3, 4)
	h := header{id: ask.id, cmd: cmdDMARead, flags: flagReply, size: uint32(headerSize + len(reply))}
	r.sendBytes(append(headerBytes(h), reply...))
	if err := <-result; err != nil || !bytes.Equal(got, []byte{1, 2, 3, 4}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWrongRepliesToTheServer(t *testing.T) {
	noLeaks(t)
	at := words(uint64(16), uint64(4))
	for name, reply := range map[string]struct {
		h    header
		body []byte
		fds  int
	}{
		"too short":       {header{cmd: cmdDMARead, flags: flagReply}, at, 0},
		"too long":        {header{cmd: cmdDMARead, flags: flagReply}, append(at, 1, 2, 3, 4, 5), 0},
		"another address": {header{cmd: cmdDMARead, flags: flagReply}, append(words(uint64(17), uint64(4)), 1, 2, 3, 4), 0},
		"another count":   {header{cmd: cmdDMARead, flags: flagReply}, append(words(uint64(16), uint64(5)), 1, 2, 3, 4), 0},
		"empty":           {header{cmd: cmdDMARead, flags: flagReply}, nil, 0},
		"another command": {header{cmd: cmdDMAWrite, flags: flagReply}, append(at, 1, 2, 3, 4), 0},
		"a descriptor":    {header{cmd: cmdDMARead, flags: flagReply}, append(at, 1, 2, 3, 4), 1},
		"an error":        {header{cmd: cmdDMARead, flags: flagReply | flagError}, nil, 0},
		"an errno":        {header{cmd: cmdDMARead, flags: flagReply | flagError, errno: 14}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dev := newCard()
			r, _ := rawClient(t, dev, Options{DMATimeout: patience})
			r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(0), uint64(4096)))
			failed := make(chan error, 1)
			dma := dev.current(t).DMA()
			go func() { failed <- dma.Read(16, make([]byte, 4)) }()
			reply.h.id = r.receive().id
			reply.h.size = uint32(headerSize + len(reply.body))
			var fds []int
			if reply.fds > 0 {
				fds = append(fds, int(memory(t, 4096).Fd()))
			}
			r.sendBytes(append(headerBytes(reply.h), reply.body...), fds...)
			if err := <-failed; err == nil {
				t.Error("believed")
			}
		})
	}
}

func TestFloodWhileTheServerWaitsEndsTheSession(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	r, over := rawClient(t, dev, Options{DMATimeout: patience})
	r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), uint64(0), uint64(0), uint64(4096)))
	dev.reading(func(uint64) error { return dev.current(t).DMA().Read(0, make([]byte, 4)) })
	r.send(cmdRegionRead, 0, words(uint64(0), uint32(0), uint32(4)))
	one := body(cmdRegionRead, words(uint64(0), uint32(0), uint32(4)))
	for range 2 * hardMessages {
		if _, err := r.conn.Write(one); err != nil {
			break
		}
	}
	select {
	case err := <-over:
		var p *protocolError
		if !errors.As(err, &p) {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Error("the session goes on")
	}
}

func TestServerGoesOnAfterHostileClients(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "sock")
	dev := newCard()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	over := make(chan error, 1)
	go func() { over <- Serve(ctx, l, dev, Options{}) }()
	rng := rand.New(rand.NewPCG(1, 2))
	file := memory(t, 1<<20)
	for range 100 {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(version0(qemuVersion))
		for range rng.IntN(20) {
			b := make([]byte, rng.IntN(64))
			for i := range b {
				b[i] = byte(rng.IntN(256) >> rng.IntN(9))
			}
			m := body(command(rng.IntN(20)), b)
			if rng.IntN(10) == 0 {
				m = m[:rng.IntN(len(m))]
			}
			var fds []int
			for range rng.IntN(4) {
				fds = append(fds, int(file.Fd()))
			}
			if len(m) > 0 && sys.SendFDs(conn, m, fds) != nil {
				break
			}
		}
		conn.Close()
	}
	c, err := Dial(ctx, path, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ReadRegion(RegionBAR0, 0, make([]byte, 8)); err != nil {
		t.Error(err)
	}
}

func TestStoppingTheServerAnswersFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	dev := newCard()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- Serve(ctx, l, dev, Options{Log: testLog(t)}) }()
	c, err := Dial(t.Context(), path, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	started, release := make(chan struct{}), make(chan struct{})
	dev.reading(func(uint64) error { close(started); <-release; return nil })
	result := make(chan error, 1)
	go func() { result <- c.ReadRegion(RegionBAR0, 0, make([]byte, 8)) }()
	<-started
	cancel()
	time.Sleep(2 * drainTime)
	close(release)
	if err := <-result; err != nil {
		t.Errorf("the command in progress: %v", err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestDeviceWithMistakesIsNotServed(t *testing.T) {
	for name, change := range map[string]func(*DeviceInfo){
		"index twice": func(i *DeviceInfo) { i.Regions = append(i.Regions, i.Regions[0]) },
		"index":       func(i *DeviceInfo) { i.Regions[0].Index = -1 },
		"no file":     func(i *DeviceInfo) { i.Regions[0].Mmap = []SparseArea{{0, 4096}} },
		"no page": func(i *DeviceInfo) {
			i.Regions[0].File, i.Regions[0].Mmap = os.Stdin, []SparseArea{{1, 4096}}
		},
		"beyond": func(i *DeviceInfo) {
			i.Regions[0].File, i.Regions[0].Mmap = os.Stdin, []SparseArea{{bar0Size, 4096}}
		},
		"vectors":    func(i *DeviceInfo) { i.IRQs[0].Count = -1 },
		"kind twice": func(i *DeviceInfo) { i.IRQs[0].Index = IRQMSIX },
	} {
		dev := newCard()
		change(&dev.info)
		_, over := serve(t, dev, Options{})
		if err := <-over; err == nil {
			t.Errorf("%s: served", name)
		}
	}
}
