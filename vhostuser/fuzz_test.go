package vhostuser

import (
	"encoding/binary"
	"os"
	"testing"

	"weft/internal/sys"
)

// A fuzzed session is a sequence of writes: one byte that says how many descriptors go along (bits 0 to 3) and of
// which kind (bits 4 and 5), two bytes of length, little-endian, and the bytes themselves.

func chunk(b []byte, kind byte, fds int) []byte {
	out := []byte{kind<<4 | byte(fds), 0, 0}
	binary.LittleEndian.PutUint16(out[1:], uint16(len(b)))
	return append(out, b...)
}

// fuzzSeeds are whole sessions: each message alone, all in a row, and a guest that comes up in qemu's order.
func fuzzSeeds(g *guest) [][]byte {
	of := func(s sample, flags uint32) []byte {
		kind := byte(0)
		if s.req == SetMemTable || s.req == AddMemReg {
			kind = 1
		}
		return chunk(wire(s.req, flags, s.payload), kind, s.fds)
	}
	var seeds [][]byte
	var all []byte
	for _, s := range samples(g) {
		seeds = append(seeds, of(s, flagVersion))
		all = append(all, of(s, flagVersion|flagNeedReply)...)
	}
	var qemu []byte
	for _, s := range []sample{
		{GetFeatures, nil, 0},
		{GetProtocolFeatures, nil, 0},
		{SetProtocolFeatures, encodeU64(offeredProtocol(1500)), 0},
		{GetQueueNum, nil, 0},
		{SetOwner, nil, 0},
		{SetVringCall, encodeU64(0), 1},
		{SetVringCall, encodeU64(1), 1},
		{SetFeatures, encodeU64(offeredFeatures(2, 1500)), 0},
		{SetMemTable, table(g.region()), 1},
		{SetVringNum, state(0, 64), 0},
		{SetVringBase, state(0, 0), 0},
		{SetVringAddr, g.addr(0), 0},
		{SetVringKick, encodeU64(0), 1},
		{SetVringNum, state(1, 64), 0},
		{SetVringAddr, g.addr(1), 0},
		{SetVringKick, encodeU64(1 | vringNoFD), 0},
		{SetVringEnable, state(0, 1), 0},
		{SetVringEnable, state(1, 1), 0},
		{SetMemTable, table(g.region(), regionSpec{0, 4096, 0, 0}), 2},
		{GetVringBase, state(0, 0), 0},
		{SetStatus, encodeU64(0), 0},
	} {
		qemu = append(qemu, of(s, flagVersion)...)
	}
	return append(seeds, all, qemu)
}

// FuzzSession plays a front end that sends anything at all. Nothing may panic, hang or leak, and the port must serve
// the next one.
func FuzzSession(f *testing.F) {
	b := newBench(f, Config{QueuePairs: 2, MTU: 1500})
	g := newGuest(f, 2, 64)
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = null.Close() })
	kinds := [4]int{g.kickFD(), g.fd(), int(null.Fd()), g.rings[0].call}
	for _, seed := range fuzzSeeds(g) {
		f.Add(seed)
	}
	dial(f, b.path).close()
	until(f, "the poller has its descriptors", func() bool { return b.Status().Disconnects == 1 })
	f.Fuzz(func(t *testing.T, data []byte) {
		check := noLeak(t)
		before := b.Status().Disconnects
		fe := dial(t, b.path)
		go drain(fe)
		for len(data) > 3 {
			c, n := data[0], int(binary.LittleEndian.Uint16(data[1:]))
			data = data[3:]
			n = min(n, len(data))
			if n == 0 {
				continue
			}
			if sys.SendFDs(fe.conn, data[:n], slicesRepeat(kinds[c>>4&3], int(c&15))) != nil {
				break
			}
			data = data[n:]
		}
		if fe.conn.CloseWrite() != nil {
			fe.close()
		}
		until(t, "the session ends", func() bool {
			st := b.Status()
			return st.Disconnects == before+1 && st.State == StateListening
		})
		fe.close()
		check()
	})
}

// drain reads answers so that the port does not wait for room.
func drain(f *front) {
	var b [4096]byte
	for {
		if _, err := f.conn.Read(b[:]); err != nil {
			return
		}
	}
}

// FuzzDecode feeds the decoders with any header and payload.
func FuzzDecode(f *testing.F) {
	g := newGuest(f, 1, 64)
	for _, s := range samples(g) {
		f.Add(wire(s.req, flagVersion, s.payload), s.fds)
	}
	f.Fuzz(func(t *testing.T, data []byte, fds int) {
		if len(data) < headerSize {
			return
		}
		m := &message{fds: make([]int, max(0, min(fds, maxFDs)))}
		for i := range m.fds {
			m.fds[i] = -1
		}
		size, err := decodeHeader(data[:headerSize], m)
		if err != nil || checkFDs(m) != nil {
			return
		}
		if size > maxPayload {
			t.Fatalf("%v: a payload of %d bytes would be allocated", m.req, size)
		}
		if uint64(len(data)-headerSize) < uint64(size) {
			return
		}
		m.payload = data[headerSize : headerSize+int(size)]
		switch m.req {
		case SetMemTable:
			if regions, err := m.memTable(); err == nil && len(regions) != len(m.fds) {
				t.Fatalf("%d regions, %d descriptors", len(regions), len(m.fds))
			}
		case AddMemReg, RemMemReg:
			_ = m.oneRegion().check(sys.FileInfo{Regular: true, Size: 1 << 20, PageSize: 4096})
		case SetVringKick, SetVringCall, SetVringErr:
			if index, _, err := m.vringFD(); err == nil && index > vringIndexMask {
				t.Fatalf("ring %d", index)
			}
		case SetVringAddr:
			_ = m.vringAddr()
		case SetVringNum, SetVringBase, GetVringBase, SetVringEnable:
			_ = m.vringState()
		}
	})
}
