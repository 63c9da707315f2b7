package vfiouser

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestVersionReplyFitsTheRequest(t *testing.T) {
	for _, text := range []string{
		qemuVersion,
		``,
		`{}`,
		`{"capabilities":{}}`,
		`{"capabilities":{"max_msg_fds":8}}`,
		`{"capabilities":{"max_msg_fds":255,"max_data_xfer_size":1}}`,
		`{"capabilities":{"max_data_xfer_size":5,"pgsizes":8192}}`,
		`{"capabilities":{"max_dma_maps":1,"write_multiple":false,"unknown":[1,{"a":2}]},"more":null}`,
		`{"capabilities":{"pgsizes":1052672}}`,
		`{"capabilities":{"twin_socket":{"supported":false}}}`,
	} {
		conn, _ := serve(t, newCard(), Options{})
		r := &raw{t: t, conn: conn}
		request := versionBody(0, 3, text)
		m := r.ask(cmdVersion, request)
		if m.flags&flagError != 0 {
			t.Errorf("%s: %v", text, unix.Errno(m.errno))
			continue
		}
		if len(m.body) > len(request) || len(m.body) < versionSize || len(m.fds) != 0 {
			t.Errorf("%s: reply of %d bytes to %d: %q", text, len(m.body), len(request), m.body)
		}
		if le16(m.body) != 0 || le16(m.body[2:]) != 0 {
			t.Errorf("%s: version %x", text, m.body[:4])
		}
		if len(m.body) == versionSize {
			continue
		}
		var reply, offer struct{ Capabilities map[string]any }
		if err := json.Unmarshal(bytes.TrimSuffix(m.body[4:], []byte{0}), &reply); err != nil || m.body[len(m.body)-1] != 0 {
			t.Errorf("%s: reply %q, %v", text, m.body[4:], err)
		}
		if err := json.Unmarshal([]byte(text), &offer); err != nil {
			t.Fatal(err)
		}
		for name := range reply.Capabilities {
			if offer.Capabilities[name] == nil {
				t.Errorf("%s: the reply has %q, which was not offered", text, name)
			}
		}
	}
}

func TestBadHandshakeIsRefused(t *testing.T) {
	noLeaks(t)
	whole := headerBytes(header{cmd: cmdVersion, size: headerSize + 4})
	for name, bytes := range map[string][]byte{
		"another version":   append(whole, 1, 0, 0, 0),
		"no version":        headerBytes(header{cmd: cmdVersion, size: headerSize}),
		"no NUL":            append(headerBytes(header{cmd: cmdVersion, size: headerSize + 6}), 0, 0, 0, 0, '{', '}'),
		"no JSON":           append(headerBytes(header{cmd: cmdVersion, size: headerSize + 7}), 0, 0, 0, 0, '{', '{', 0),
		"not numbers":       version0(`{"capabilities":{"max_msg_fds":"many"}}`),
		"negative":          version0(`{"capabilities":{"max_msg_fds":-1}}`),
		"no data at a time": version0(`{"capabilities":{"max_data_xfer_size":0}}`),
		"deep":              version0(strings.Repeat(`{"capabilities":`, 3000)),
		"another command":   headerBytes(header{cmd: cmdReset, size: headerSize}),
		"a reply":           append(headerBytes(header{cmd: cmdVersion, size: headerSize + 4, flags: flagReply}), 0, 0, 0, 0),
		"too short":         headerBytes(header{cmd: cmdVersion, size: headerSize - 1}),
		"no size":           headerBytes(header{cmd: cmdVersion}),
		"too long":          headerBytes(header{cmd: cmdVersion, size: 1 << 31}),
		"no such type":      headerBytes(header{cmd: cmdVersion, size: headerSize, flags: 2}),
		"half a header":     whole[:7],
		"half a message":    append(whole, 0, 0),
		"nothing":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			dev := newCard()
			conn, over := serve(t, dev, Options{})
			r := &raw{t: t, conn: conn}
			f := memory(t, 4096)
			if bytes != nil {
				r.sendBytes(bytes, int(f.Fd())) // and a descriptor with it
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if reply, err := io.ReadAll(conn); err != nil && !errors.Is(err, unix.ECONNRESET) {
				t.Error(err)
			} else if len(reply) > 0 && (len(reply) != headerSize || le32(reply[8:]) != flagReply|flagError || le32(reply[12:]) == 0) {
				t.Errorf("reply %x", reply)
			}
			if err := <-over; (err == nil) != (bytes == nil) {
				t.Errorf("the session's end: %v", err)
			}
			if attached, _ := dev.clients(); attached != 0 {
				t.Error("the device saw the client")
			}
		})
	}
}

func version0(text string) []byte {
	body := versionBody(0, 0, text)
	return append(headerBytes(header{cmd: cmdVersion, size: uint32(headerSize + len(body))}), body...)
}

func TestBadCommandsAreRefusedAndTheSessionGoesOn(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	r, _ := rawClient(t, dev, Options{})
	u32, u64 := func(n uint32) uint32 { return n }, func(n uint64) uint64 { return n }
	file, event := memory(t, 1<<16), eventFile(t)
	fd, efd := int(file.Fd()), int(event.Fd())
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r.granted(0, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0x100000), u64(0x4000)), fd)
	irq := func(flags, index, start, count uint32) []byte { return words(u32(20), flags, index, start, count) }
	for _, c := range []struct {
		what  string
		errno unix.Errno
		cmd   command
		body  []byte
		fds   []int
	}{
		{"a second handshake", unix.EINVAL, cmdVersion, versionBody(0, 0, ""), nil},
		{"no such command", unix.EINVAL, 14, nil, nil},
		{"no such command", unix.EINVAL, 0, nil, nil},
		{"no such command", unix.EINVAL, 0xffff, nil, []int{fd}},
		{"the server's command", unix.EINVAL, cmdDMARead, words(u64(0), u64(1)), nil},
		{"migration", unix.EOPNOTSUPP, cmdMigrationRead, words(u32(64), u32(64)), nil},
		{"map: short", unix.EINVAL, cmdDMAMap, make([]byte, 31), []int{fd}},
		{"map: argsz", unix.EINVAL, cmdDMAMap, words(u32(31), u32(3), u64(0), u64(0), u64(4096)), []int{fd}},
		{"map: no access", unix.EINVAL, cmdDMAMap, words(u32(32), u32(0), u64(0), u64(0), u64(4096)), []int{fd}},
		{"map: flags", unix.EINVAL, cmdDMAMap, words(u32(32), u32(7), u64(0), u64(0), u64(4096)), []int{fd}},
		{"map: empty", unix.EINVAL, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0), u64(0)), []int{fd}},
		{"map: wraps", unix.EINVAL, cmdDMAMap, words(u32(32), u32(3), u64(0), ^u64(0)-4094, u64(4097)), []int{fd}},
		{"map: two files", unix.EINVAL, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0), u64(4096)), []int{fd, fd}},
		{"map: overlaps", unix.EEXIST, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0x103fff), u64(1)), []int{fd}},
		{"map: overlaps", unix.EEXIST, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0), ^u64(0)), nil},
		{"map: no file's end", unix.EINVAL, cmdDMAMap, words(u32(32), u32(3), u64(0xf000), u64(0), u64(0x1001)), []int{fd}},
		{"map: offset wraps", unix.EINVAL, cmdDMAMap, words(u32(32), u32(3), ^u64(0), u64(0), u64(4096)), []int{fd}},
		{"map: a device", unix.EINVAL, cmdDMAMap, words(u32(32), u32(1), u64(0), u64(0), u64(4096)), []int{int(null.Fd())}},
		{"map: an eventfd", unix.EINVAL, cmdDMAMap, words(u32(32), u32(3), u64(0), u64(0), u64(4096)), []int{efd}},
		{"unmap: short", unix.EINVAL, cmdDMAUnmap, make([]byte, 23), nil},
		{"unmap: argsz", unix.EINVAL, cmdDMAUnmap, words(u32(16), u32(0), u64(0x100000), u64(0x4000)), nil},
		{"unmap: flags", unix.EINVAL, cmdDMAUnmap, words(u32(24), u32(1), u64(0x100000), u64(0x4000)), nil},
		{"unmap: all, with a range", unix.EINVAL, cmdDMAUnmap, words(u32(24), u32(2), u64(0), u64(0x4000)), nil},
		{"unmap: part", unix.EINVAL, cmdDMAUnmap, words(u32(24), u32(0), u64(0x100000), u64(0x1000)), nil},
		{"unmap: part", unix.EINVAL, cmdDMAUnmap, words(u32(24), u32(0), u64(0x103000), u64(0x2000)), nil},
		{"unmap: nothing", unix.ENOENT, cmdDMAUnmap, words(u32(24), u32(0), u64(0x104000), u64(0x1000)), nil},
		{"unmap: nothing", unix.ENOENT, cmdDMAUnmap, words(u32(24), u32(0), u64(0x200000), u64(0xff000)), nil},
		{"unmap: empty", unix.EINVAL, cmdDMAUnmap, words(u32(24), u32(0), u64(0x100000), u64(0)), nil},
		{"unmap: wraps", unix.EINVAL, cmdDMAUnmap, words(u32(24), u32(0), u64(0x100000), ^u64(0)), nil},
		{"info: argsz", unix.EINVAL, cmdGetInfo, words(u32(15), u32(0), u32(0), u32(0)), nil},
		{"info: a descriptor", unix.EINVAL, cmdGetInfo, words(u32(16), u32(0), u32(0), u32(0)), []int{fd}},
		{"region: argsz", unix.EINVAL, cmdGetRegionInfo, words(u32(31), u32(0), u32(0), u32(0), u64(0), u64(0)), nil},
		{"region: index", unix.EINVAL, cmdGetRegionInfo, words(u32(32), u32(0), u32(9), u32(0), u64(0), u64(0)), nil},
		{"region: index", unix.EINVAL, cmdGetRegionInfo, words(u32(32), u32(0), ^u32(0), u32(0), u64(0), u64(0)), nil},
		{"io fds: flags", unix.EINVAL, cmdGetRegionIOFDs, words(u32(16), u32(1), u32(0), u32(0)), nil},
		{"io fds: count", unix.EINVAL, cmdGetRegionIOFDs, words(u32(16), u32(0), u32(0), u32(1)), nil},
		{"io fds: argsz", unix.EINVAL, cmdGetRegionIOFDs, words(u32(8), u32(0), u32(0), u32(0)), nil},
		{"irq: index", unix.EINVAL, cmdGetIRQInfo, words(u32(16), u32(0), u32(5), u32(0)), nil},
		{"set: short", unix.EINVAL, cmdSetIRQs, make([]byte, 19), nil},
		{"set: argsz", unix.EINVAL, cmdSetIRQs, words(u32(19), u32(0x24), u32(2), u32(0), u32(1)), []int{efd}},
		{"set: no data", unix.EINVAL, cmdSetIRQs, irq(0x20, 2, 0, 1), nil},
		{"set: two data", unix.EINVAL, cmdSetIRQs, irq(0x25, 2, 0, 1), []int{efd}},
		{"set: no action", unix.EINVAL, cmdSetIRQs, irq(0x04, 2, 0, 1), []int{efd}},
		{"set: two actions", unix.EINVAL, cmdSetIRQs, irq(0x34, 2, 0, 1), []int{efd}},
		{"set: more flags", unix.EINVAL, cmdSetIRQs, irq(0x64, 2, 0, 1), []int{efd}},
		{"set: kind", unix.EINVAL, cmdSetIRQs, irq(0x24, 5, 0, 1), []int{efd}},
		{"set: kind", unix.EINVAL, cmdSetIRQs, irq(0x24, ^u32(0), 0, 1), []int{efd}},
		{"set: vector", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 40, 1), []int{efd}},
		{"set: vector", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 39, 2), []int{efd, efd}},
		{"set: wraps", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 1, ^u32(0)), nil},
		{"set: none there", unix.EINVAL, cmdSetIRQs, irq(0x24, 1, 0, 1), []int{efd}},
		{"set: too few", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 0, 2), []int{efd}},
		{"set: too many", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 0, 1), []int{efd, efd}},
		{"set: no eventfd", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 0, 2), []int{efd, fd}},
		{"set: unasked", unix.EINVAL, cmdSetIRQs, irq(0x21, 2, 0, 1), []int{efd}},
		{"set: no bools", unix.EINVAL, cmdSetIRQs, append(irq(0x22, 2, 0, 3), 1, 1), nil},
		{"set: count 0", unix.EINVAL, cmdSetIRQs, irq(0x24, 2, 0, 0), nil},
		{"set: count 0", unix.EINVAL, cmdSetIRQs, irq(0x21, 2, 1, 0), nil},
		{"set: count 0", unix.EINVAL, cmdSetIRQs, irq(0x09, 0, 0, 0), nil},
		{"set: not maskable", unix.EINVAL, cmdSetIRQs, irq(0x09, 2, 0, 1), nil},
		{"read: short", unix.EINVAL, cmdRegionRead, make([]byte, 15), nil},
		{"read: too much", unix.EINVAL, cmdRegionRead, words(u64(0), u32(0), u32(1<<20+1)), nil},
		{"read: far too much", unix.EINVAL, cmdRegionRead, words(u64(0), u32(0), ^u32(0)), nil},
		{"read: wraps", unix.EINVAL, cmdRegionRead, words(^u64(0), u32(0), u32(1)), nil},
		{"write: no data", unix.EINVAL, cmdRegionWrite, words(u64(0), u32(0), u32(4)), nil},
		{"write: more data", unix.EINVAL, cmdRegionWrite, append(words(u64(0), u32(0), u32(1)), 1, 2), nil},
		{"write: read-only", unix.EINVAL, cmdRegionWrite, append(words(u64(0), u32(6), u32(1)), 1), nil},
		{"writes: short", unix.EINVAL, cmdRegionWriteMany, make([]byte, 7), nil},
		{"writes: too few", unix.EINVAL, cmdRegionWriteMany, append(words(u64(2)), make([]byte, 24)...), nil},
		{"writes: very many", unix.EINVAL, cmdRegionWriteMany, append(words(u64(1)<<61+1), make([]byte, 24)...), nil},
		{"writes: 9 bytes", unix.EINVAL, cmdRegionWriteMany, append(words(u64(1), u64(0), u32(0), u32(9)), make([]byte, 8)...), nil},
		{"feature", unix.ENOTTY, cmdFeature, words(u32(8), u32(1<<16|1)), nil},
	} {
		t.Log(c.what)
		r.refused(c.errno, c.cmd, c.body, c.fds...)
	}
	// After all that the mapping is as it was, no vector has an event, and commands still work.
	r.granted(unmapSize, cmdDMAUnmap, words(u32(24), u32(0), u64(0x100000), u64(0x4000)))
	r.granted(accessSize+4, cmdRegionRead, words(u64(0), u32(0), u32(4)))
	if maps, sets := dev.told(); len(sets) != 0 || len(maps) != 0 {
		t.Errorf("the device was told of %v and %v", sets, maps)
	}
}

func TestFormsOfSetIRQs(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	r, _ := rawClient(t, dev, Options{})
	a, b, intx, masks := eventFile(t), eventFile(t), eventFile(t), eventFile(t)
	set := func(flags, index, start, count uint32, fds ...int) {
		t.Helper()
		r.granted(0, cmdSetIRQs, words(uint32(20), flags, index, start, count), fds...)
	}
	s := dev.current(t)
	check := func(what string, want map[*os.File]uint64) {
		t.Helper()
		for _, f := range []*os.File{a, b, intx, masks} {
			if got := count(t, f); got != want[f] {
				t.Errorf("%s: signalled %d times, want %d", what, got, want[f])
			}
		}
	}
	set(0x24, IRQMSIX, 1, 2, int(a.Fd()), int(b.Fd()))
	s.Trigger(IRQMSIX, 1)
	s.Trigger(IRQMSIX, 2)
	check("events", map[*os.File]uint64{a: 1, b: 1})
	set(0x21, IRQMSIX, 0, 3)
	check("triggered by the client", map[*os.File]uint64{a: 1, b: 1})
	set(0x24, IRQMSIX, 1, 1)
	s.Trigger(IRQMSIX, 1)
	s.Trigger(IRQMSIX, 2)
	check("one de-assigned", map[*os.File]uint64{b: 1})
	r.granted(0, cmdSetIRQs, append(words(uint32(23), uint32(0x22), uint32(IRQMSIX), uint32(1), uint32(3)), 1, 2, 0))
	check("chosen by the client", map[*os.File]uint64{b: 1})
	set(0x21, IRQMSIX, 0, 0)
	s.Trigger(IRQMSIX, 2)
	check("all disabled", nil)
	set(0x21, IRQMSI, 0, 0) // a kind without vectors
	set(0x24, IRQINTx, 0, 1, int(intx.Fd()))
	set(0x0c, IRQINTx, 0, 1, int(masks.Fd()))
	set(0x14, IRQINTx, 0, 1, int(masks.Fd()))
	check("assigned", nil)
	set(0x09, IRQINTx, 0, 1)
	check("masked", map[*os.File]uint64{masks: 1})
	s.Trigger(IRQINTx, 0)
	check("triggered when masked", nil)
	set(0x11, IRQINTx, 0, 1)
	check("unmasked", map[*os.File]uint64{intx: 1, masks: 1})
}

func TestNoReplyMeansNone(t *testing.T) {
	dev := newCard()
	r, _ := rawClient(t, dev, Options{})
	for range 50 {
		r.send(cmdRegionWrite, flagNoReply, append(words(uint64(4), uint32(0), uint32(2)), 7, 8))
		r.send(cmdRegionRead, flagNoReply, words(uint64(1)<<60, uint32(0), uint32(2))) // refused, also without a word
		r.send(cmdSetIRQs, flagNoReply, nil)
	}
	m := r.granted(accessSize+2, cmdRegionRead, words(uint64(4), uint32(0), uint32(2)))
	if !bytes.Equal(m.body[accessSize:], []byte{7, 8}) {
		t.Errorf("read %x", m.body)
	}
}

func TestRegionInfoIsRetriedWithRoom(t *testing.T) {
	dev := newCard()
	bar := memory(t, bar0Size)
	dev.info.Regions[0].File = bar
	dev.info.Regions[0].FileOffset = 4096
	dev.info.Regions[0].Mmap = []SparseArea{{0x1000, 0x2000}, {0x8000, 0x1000}}
	r, _ := rawClient(t, dev, Options{})
	const needed = 32 + 16 + 2*16
	short := r.granted(32, cmdGetRegionInfo, words(uint32(32), uint32(0), uint32(0), uint32(0), uint64(0), uint64(0)))
	want := words(uint32(needed), uint32(0xf), uint32(0), uint32(0), uint64(bar0Size), uint64(4096))
	if !bytes.Equal(short.body, want) || len(short.fds) != 1 {
		t.Errorf("without room: %x with %d descriptors, want %x", short.body, len(short.fds), want)
	}
	whole := r.granted(needed, cmdGetRegionInfo, words(uint32(needed), uint32(0), uint32(0), uint32(0), uint64(0), uint64(0)))
	want = words(uint32(needed), uint32(0xf), uint32(0), uint32(32), uint64(bar0Size), uint64(4096),
		uint32(0x10001), uint32(0), uint32(2), uint32(0), uint64(0x1000), uint64(0x2000), uint64(0x8000), uint64(0x1000))
	if !bytes.Equal(whole.body, want) || len(whole.fds) != 1 {
		t.Errorf("with room: %x with %d descriptors, want %x", whole.body, len(whole.fds), want)
	}
}

func TestUnmapTakesWholeMappingsAndEverything(t *testing.T) {
	noLeaks(t)
	dev := newCard()
	r, _ := rawClient(t, dev, Options{})
	fd := int(memory(t, 1<<20).Fd())
	remap := func() {
		for i := range uint64(4) {
			r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), i<<12, i<<16, uint64(4096)), fd)
		}
		// The last page of all, and memory without a descriptor.
		r.granted(0, cmdDMAMap, words(uint32(32), uint32(3), uint64(0), ^uint64(4095), uint64(4096)), fd)
		r.granted(0, cmdDMAMap, words(uint32(32), uint32(1), uint64(0), uint64(0xfffc0000), uint64(0x40000)))
	}
	remap()
	if got := dev.current(t).DMA().all(); len(got) != 6 || got[4].Shared || !got[5].Shared {
		t.Errorf("mapped %v", got)
	}
	dma := dev.current(t).DMA()
	if err := dma.Write(^uint64(0), []byte{1}); err != nil {
		t.Error(err)
	}
	request := words(uint32(24), uint32(0), uint64(0x8000), uint64(0x20000))
	if m := r.granted(24, cmdDMAUnmap, request); !bytes.Equal(m.body, request) {
		t.Errorf("the reply is %x", m.body)
	}
	if got := dma.all(); len(got) != 4 || got[0].IOVA != 0 || got[1].IOVA != 0x30000 {
		t.Errorf("left: %v", got)
	}
	r.granted(24, cmdDMAUnmap, words(uint32(24), uint32(2), uint64(0), uint64(0)))
	r.granted(24, cmdDMAUnmap, words(uint32(24), uint32(2), uint64(0), uint64(0))) // of nothing
	// What qemu does when its virtual IOMMU is reset.
	for size := uint64(emptyRange); size != 0; size <<= 1 {
		r.granted(24, cmdDMAUnmap, words(uint32(24), uint32(0), size, size))
	}
	r.granted(24, cmdDMAUnmap, words(uint32(24), uint32(0), uint64(0xfef00000), ^uint64(0xfef00000)+1))
	if maps, _ := dev.told(); len(maps) != 0 || len(dma.all()) != 0 {
		t.Errorf("left: %v", maps)
	}
	remap()
}

func TestMemoryCutOffIsAnError(t *testing.T) {
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{})
	mem := memory(t, 1<<20)
	if err := c.MapDMA(DMAMap{Size: 1 << 20, Readable: true, Writeable: true, File: mem}); err != nil {
		t.Fatal(err)
	}
	dma := dev.current(t).DMA()
	for _, size := range []int{1, 2, 4, 8, 16, 32, 33, 64, 256, 4096, 100000} {
		if err := mem.Truncate(1 << 20); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, size)
		if err := errors.Join(dma.Write(4096-1, p), dma.Read(4096-1, p)); err != nil {
			t.Fatal(err)
		}
		if err := mem.Truncate(4096); err != nil {
			t.Fatal(err)
		}
		if size > 1 {
			if err := dma.Write(4096-1, p); !errors.Is(err, ErrCutOff) {
				t.Errorf("write of %d over the end: %v", size, err)
			}
			if err := dma.Read(4096-1, p); !errors.Is(err, ErrCutOff) {
				t.Errorf("read of %d over the end: %v", size, err)
			}
		}
		if err := dma.Write(8192, p); !errors.Is(err, ErrCutOff) {
			t.Errorf("write of %d behind the end: %v", size, err)
		}
		if err := dma.Read(8192, p); !errors.Is(err, ErrCutOff) {
			t.Errorf("read of %d behind the end: %v", size, err)
		}
	}
	if err := dma.Write(0, make([]byte, 4096)); err != nil {
		t.Errorf("what is left of the file: %v", err)
	}
	if err := c.Reset(); err != nil {
		t.Error(err)
	}
}

func TestUnmapWaitsForAccesses(t *testing.T) {
	dev := newCard()
	c := connect(t, dev, Options{}, ClientOptions{})
	mem := memory(t, 1<<20)
	dma := dev.current(t).DMA()
	stop := make(chan struct{})
	finished := make(chan int)
	go func() { // accesses that would crash the process if memory went under them
		n, p := 0, make([]byte, 1<<16)
		for {
			select {
			case <-stop:
				finished <- n
				return
			default:
			}
			if dma.Write(0x1000, p) == nil {
				n++
			}
		}
	}()
	for range 200 {
		if err := c.MapDMA(DMAMap{Size: 1 << 20, Writeable: true, File: mem}); err != nil {
			t.Fatal(err)
		}
		if err := c.UnmapDMA(0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := dma.Write(0x1000, []byte{1}); !errors.Is(err, ErrUnmapped) {
			t.Fatalf("after the reply to unmap: %v", err)
		}
	}
	close(stop)
	t.Logf("%d writes went through", <-finished)
}
