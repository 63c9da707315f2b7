package vhostuser

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sample is a well-formed message of each request that is supported.
type sample struct {
	req     Request
	payload []byte
	fds     int // memory descriptors for SET_MEM_TABLE and ADD_MEM_REG, else event descriptors
}

func samples(g *guest) []sample {
	return []sample{
		{GetFeatures, nil, 0},
		{SetFeatures, encodeU64(featVersion1 | featProtocol), 0},
		{SetOwner, nil, 0},
		{ResetOwner, nil, 0},
		{SetMemTable, table(g.region()), 1},
		{SetVringNum, state(0, 64), 0},
		{SetVringAddr, g.addr(0), 0},
		{SetVringBase, state(0, 0), 0},
		{GetVringBase, state(0, 0), 0},
		{SetVringKick, encodeU64(0), 1},
		{SetVringCall, encodeU64(0), 1},
		{SetVringErr, encodeU64(0), 1},
		{GetProtocolFeatures, nil, 0},
		{SetProtocolFeatures, encodeU64(protoReplyAck), 0},
		{GetQueueNum, nil, 0},
		{SetVringEnable, state(0, 1), 0},
		{NetSetMTU, encodeU64(1500), 0},
		{ResetDevice, nil, 0},
		{GetMaxMemSlots, nil, 0},
		{AddMemReg, oneRegion(regionSpec{0, 1 << 16, 1 << 20, 0}), 1},
		{RemMemReg, oneRegion(g.region()), 0},
		{SetStatus, encodeU64(1), 0},
		{GetStatus, nil, 0},
	}
}

func (s sample) open(g *guest) []int {
	switch {
	case s.fds == 0:
		return nil
	case s.req == SetMemTable || s.req == AddMemReg:
		return []int{g.fd()}
	}
	return []int{g.kickFD()}
}

func TestEveryRequestHasARowAndAHandlerOrIsRefused(t *testing.T) {
	sampled := map[Request]bool{}
	for _, s := range samples(newGuest(t, 1, 64)) {
		sampled[s.req] = true
		rule := s.req.rule()
		if n := uint32(len(s.payload)); n < rule.minSize || n > rule.maxSize || s.fds > rule.maxFDs {
			t.Errorf("%v: the row does not allow a well-formed message", s.req)
		}
	}
	for r := GetFeatures; r < numRequests; r++ {
		rule := r.rule()
		switch {
		case rule == &unknownRule:
			t.Errorf("request %d has no row", uint32(r))
		case rule.unsupported != (handlers[r] == nil):
			t.Errorf("%v: unsupported %v, but handler present: %v", r, rule.unsupported, handlers[r] != nil)
		case rule.unsupported == sampled[r]:
			t.Errorf("%v: supported and untested, or the reverse", r)
		case rule.unsupported && rule.feature&offeredProtocol(1500) != 0:
			t.Errorf("%v belongs to an offered feature", r)
		case rule.maxSize > maxPayload || rule.minSize > rule.maxSize || rule.maxFDs > maxFDs || rule.states == 0:
			t.Errorf("%v: row %+v", r, rule)
		}
	}
}

// reach brings a new session to a state.
func reach(t *testing.T, b *bench, to sessionState) (*front, *guest) {
	t.Helper()
	f, g := dial(t, b.path), newGuest(t, 1, 64)
	f.send(SetProtocolFeatures, encodeU64(protoReplyAck))
	if to >= stateNegotiated {
		f.must(SetFeatures, encodeU64(featVersion1|featProtocol))
	}
	if to >= stateConfigured {
		g.setMemory(f)
	}
	if to >= stateRunning {
		g.startRing(f, 0, 0)
	}
	f.sync()
	if got := b.Status().Session; got != to.String() {
		t.Fatalf("reached %s, want %s", got, to)
	}
	return f, g
}

// TestStates sends each request in each state of the session and compares what happens with the table below, which is
// written out here once more so that a change of the table in states.go is noticed.
func TestStates(t *testing.T) {
	forbidden := map[Request]map[sessionState]bool{
		SetOwner:     {stateRunning: true},
		SetVringKick: {stateConnected: true},
		SetVringNum:  {stateRunning: true}, // ring 0 is started
		SetVringBase: {stateRunning: true},
	}
	b := newBench(t, Config{MTU: 1500})
	count := len(samples(newGuest(t, 1, 64)))
	check := noLeak(t)
	for at := range sessionState(numSessionStates) {
		for i := range count {
			f, g := reach(t, b, at)
			s := samples(g)[i]
			t.Run(fmt.Sprintf("%v while %v", s.req, at), func(t *testing.T) {
				f.t = t
				f.raw(wire(s.req, flagVersion|flagNeedReply, s.payload), s.open(g)...)
				_, _, err := f.answer()
				if got, want := err != nil, forbidden[s.req][at]; got != want {
					t.Errorf("session ended: %v (%v), want %v", got, err, want)
				}
			})
			f.close()
			g.close()
			until(t, "listening", func() bool { return b.Status().State == StateListening })
		}
	}
	check()
}

func TestRefusedRequestsAreAnsweredAndTheirDescriptorsClosed(t *testing.T) {
	for r := GetFeatures; r < numRequests+3; r++ {
		rule := r.rule()
		if !rule.unsupported {
			continue
		}
		t.Run(r.String(), func(t *testing.T) {
			b := newBench(t, Config{})
			f := dial(t, b.path)
			g := newGuest(t, 1, 64)
			f.negotiate()
			var fds []int
			for range min(rule.maxFDs, 1) {
				fds = append(fds, g.kickFD())
			}
			check := noLeak(t)
			if !rule.replies {
				for range 5 {
					if f.do(r, make([]byte, rule.maxSize), fds...) {
						t.Error("it was done")
					}
				}
				check()
			}
			f.close()
			until(t, "the session is over", func() bool { return b.Status().State == StateListening })
			check = noLeak(t)
			f = dial(t, b.path)
			f.send(r, make([]byte, rule.maxSize), fds...) // no answer wanted: there is no other way to say no
			f.ended()
			f.close()
			check()
		})
	}
}

// TestMalformedMessagesEndTheSession: CVE-2019-14818 and CVE-2020-10723 among others.
func TestMalformedMessagesEndTheSession(t *testing.T) {
	g := newGuest(t, 2, 64)
	big := func(n uint32) []byte {
		h := wire(SetMemTable, flagVersion, nil)
		order.PutUint32(h[8:], n)
		return h
	}
	nine := slicesRepeat(g.kickFD(), 9)
	region := g.region()
	patched := func(head, rest []byte) []byte { return append(head, rest[len(head):]...) }
	mem := func(head []byte) []byte { return wire(SetMemTable, flagVersion, patched(head, table(region))) }
	kick := func(v uint64) []byte { return wire(SetVringKick, flagVersion, encodeU64(v)) }
	cases := []struct {
		name  string
		bytes []byte
		fds   []int
	}{
		{"version 0", wire(GetFeatures, 0, nil), nil},
		{"version 2", wire(GetFeatures, 2, nil), nil},
		{"reply flag", wire(GetFeatures, flagVersion|flagReply, nil), nil},
		{"payload where there is none", wire(GetFeatures, flagVersion, make([]byte, 8)), nil},
		{"payload too short", wire(SetVringNum, flagVersion, make([]byte, 4)), nil},
		{"payload too long", wire(SetVringNum, flagVersion, make([]byte, 12)), nil},
		{"length of 4 GiB", big(1<<32 - 1), nil},
		{"length of 2 GiB", big(1 << 31), nil},
		{"length one too many", big(sizeMemHeader + maxTableRegions*sizeRegion + 1), nil},
		{"unknown request with a length beyond the bound", append(wire(999, flagVersion, nil)[:8], 1, 16, 0, 0), nil},
		{"request 2^32-1 without need_reply", wire(1<<32-1, flagVersion, nil), nil},
		{"ring 4 of two pairs", wire(SetVringNum, flagVersion, state(4, 64)), nil},
		{"ring 2^16: truncated it would be 0", wire(SetVringNum, flagVersion, state(1<<16, 64)), nil},
		{"ring 2^31", wire(SetVringBase, flagVersion, state(1<<31, 0)), nil},
		{"ring 2^32-1", wire(GetVringBase, flagVersion, vringState{1<<32 - 1, 0}.encode()), nil},
		{"ring 2^16 to be enabled", wire(SetVringEnable, flagVersion, state(1<<16, 1)), nil},
		{"ring 2^16 with addresses", wire(SetVringAddr, flagVersion, patched([]byte{0, 0, 1, 0}, g.addr(0))), nil},
		{"ring 255 called", wire(SetVringCall, flagVersion, encodeU64(255)), []int{g.kickFD()}},
		{"ring 4 kicked", kick(4), []int{g.kickFD()}},
		{"index beyond 16 bits", wire(SetVringBase, flagVersion, state(0, 1<<16)), nil},
		{"enabled by 2", wire(SetVringEnable, flagVersion, state(0, 2)), nil},
		{"kick without its descriptor", kick(0), nil},
		{"kick with descriptor and the flag that there is none", kick(vringNoFD), []int{g.kickFD()}},
		{"kick with two descriptors", kick(0), slicesRepeat(g.kickFD(), 2)},
		{"call with unknown bits", wire(SetVringCall, flagVersion, encodeU64(1<<9|vringNoFD)), nil},
		{"call with bits above 32", wire(SetVringCall, flagVersion, encodeU64(1<<40|vringNoFD)), nil},
		{"descriptor where there is none", wire(GetFeatures, flagVersion, nil), []int{g.kickFD()}},
		{"descriptor with SET_VRING_NUM", wire(SetVringNum, flagVersion, state(0, 64)), []int{g.kickFD()}},
		{"9 descriptors", wire(SetMemTable, flagVersion, table(region)), nine},
		{"200 descriptors", wire(SetMemTable, flagVersion, table(region)), slicesRepeat(g.kickFD(), 200)},
		{"fewer descriptors than regions", wire(SetMemTable, flagVersion, table(region, region)), []int{g.fd()}},
		{"more descriptors than regions", wire(SetMemTable, flagVersion, table(region)), []int{g.fd(), g.fd()}},
		{"no region", wire(SetMemTable, flagVersion, table()), nil},
		{"no region, with a descriptor", wire(SetMemTable, flagVersion, table()), []int{g.fd()}},
		{"more regions than the payload holds", mem([]byte{8, 0, 0, 0}), []int{g.fd()}},
		{"2^31 regions", mem([]byte{0, 0, 0, 128}), []int{g.fd()}},
		{"2^27+1 regions, whose length overflows", mem([]byte{1, 0, 0, 8}), []int{g.fd()}},
		{"region added without descriptor", wire(AddMemReg, flagVersion, oneRegion(region)), nil},
		{"region removed with two descriptors", wire(RemMemReg, flagVersion, oneRegion(region)), []int{g.fd(), g.fd()}},
		{"status beyond 8 bits", wire(SetStatus, flagVersion, encodeU64(256)), nil},
	}
	b := newBench(t, Config{QueuePairs: 2})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := b.Status()
			check := noLeak(t)
			f := dial(t, b.path)
			f.negotiate()
			f.raw(c.bytes, c.fds...)
			f.ended()
			f.close()
			check()
			st := b.Status()
			if st.State != StateListening || st.LastErrorAt == nil ||
				before.LastErrorAt != nil && !st.LastErrorAt.After(*before.LastErrorAt) {
				t.Errorf("state %s, last error %q", st.State, st.LastError)
			}
		})
	}
	if !strings.Contains(b.log.String(), "session ended") {
		t.Errorf("nothing in the log: %s", b.log)
	}
}

func slicesRepeat(fd, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = fd
	}
	return out
}

// TestDescriptorsInPieces attaches descriptors to a message's header, payload and single bytes: they count together.
func TestDescriptorsInPieces(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	check := noLeak(t)
	f := dial(t, b.path)
	f.negotiate()
	m := wire(SetVringCall, flagVersion|flagNeedReply, encodeU64(0))
	for i, c := range m {
		if i == 13 {
			f.raw([]byte{c}, g.rings[0].call)
		} else {
			f.raw([]byte{c})
		}
	}
	if _, ack, err := f.answer(); err != nil || order.Uint64(ack) != 0 {
		t.Fatalf("a message in single bytes, its descriptor beside the payload: %v %x", err, ack)
	}
	for _, c := range wire(SetVringCall, flagVersion, encodeU64(0)) {
		f.raw([]byte{c}, g.rings[0].call) // 20 descriptors
	}
	f.ended()
	f.close()
	check()
}

// TestFrontEndDiesInTheMidstOfEveryMessage cuts each message at each byte, with its descriptors sent before, and
// closes.
func TestFrontEndDiesInTheMidstOfEveryMessage(t *testing.T) {
	b := newBench(t, Config{MTU: 1500})
	g := newGuest(t, 1, 64)
	all := samples(g)
	fds := make([][]int, len(all))
	for i, s := range all {
		fds[i] = s.open(g)
	}
	check := noLeak(t)
	var sessions uint64
	for _, running := range []bool{false, true} {
		for i, s := range all {
			m := wire(s.req, flagVersion, s.payload)
			for cut := 1; cut <= len(m); cut += 1 + cut/12*4 {
				f := dial(t, b.path)
				if running {
					g.quickStart(f)
				}
				f.raw(m[:cut], fds[i]...)
				f.close()
				sessions++
			}
		}
	}
	until(t, "all sessions are over", func() bool {
		st := b.Status()
		return st.Disconnects == sessions && st.State == StateListening
	})
	check()
	if st := b.Status(); st.Refused != 0 {
		t.Errorf("%d front ends were refused although the one before was dead", st.Refused)
	}
}

// quickStart brings the guest up without waiting for anything, and without new descriptors.
func (g *guest) quickStart(f *front) {
	f.t.Helper()
	f.send(SetFeatures, encodeU64(featVersion1))
	f.send(SetMemTable, table(g.region()), g.fd())
	for i := range g.rings {
		f.send(SetVringNum, state(i, 64))
		f.send(SetVringAddr, g.addr(i))
		f.send(SetVringCall, encodeU64(uint64(i)), g.rings[i].call)
		f.send(SetVringKick, encodeU64(uint64(i)), g.rings[i].call)
	}
}

func TestTwentyKillsLeaveDescriptorsAndMappingsAsTheyWere(t *testing.T) {
	for _, server := range []bool{true, false} {
		t.Run(map[bool]string{true: "server", false: "client"}[server], func(t *testing.T) {
			b, next := newLink(t, server)
			g := newGuest(t, 1, 64)
			check := noLeak(t)
			for n := range 20 {
				f := next()
				g.quickStart(f)
				f.sync()
				if b.Status().State != StateUp {
					t.Fatalf("round %d: %+v", n, b.Status())
				}
				g.post(1, uint16(n%32), frame, false)
				until(t, "the frame is taken", func() bool { return g.usedIdx(1) == uint16(n+1) })
				f.close()
				until(t, "gone", func() bool { return b.Status().Disconnects == uint64(n+1) })
			}
			check()
			if got := b.RxQueues()[0].Counters().Packets; got != 20 {
				t.Errorf("%d packets, want 20", got)
			}
		})
	}
}

// TestRepeatedMessagesLeakNothing: CVE-2019-14818, CVE-2020-10726.
func TestRepeatedMessagesLeakNothing(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	g.start(f)
	kick := g.kickFD()
	f.must(SetVringErr, encodeU64(1), kick)
	check := noLeak(t)
	for n := range 50 {
		f.must(SetVringKick, encodeU64(1), kick)
		f.must(SetVringCall, encodeU64(1), g.rings[1].call)
		f.must(SetVringErr, encodeU64(1), kick)
		g.setMemory(f)
		if f.do(SetInflightFD, make([]byte, 24), kick) || f.do(SetLogBase, make([]byte, 16), kick) {
			t.Fatal("something that is not implemented was done")
		}
		if n%10 == 0 {
			f.ask(GetVringBase, state(1, 0))
			for range 10 {
				f.must(SetVringNum, state(1, 64))
			}
			f.must(SetVringKick, encodeU64(1), kick)
		}
	}
	check()
	if b.Status().State != StateUp {
		t.Errorf("%+v", b.Status())
	}
}

// TestSetLogBaseOverflow: CVE-2020-10722. The message is refused whatever it says.
func TestSetLogBaseOverflow(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	f.negotiate()
	check := noLeak(t)
	for _, v := range [][2]uint64{{0, 0}, {1 << 63, 1 << 63}, {1<<64 - 1, 1}, {4096, 1<<64 - 4096}} {
		if f.do(SetLogBase, append(encodeU64(v[0]), encodeU64(v[1])...), g.fd()) {
			t.Errorf("log of %#x bytes at %#x was accepted", v[0], v[1])
		}
	}
	check()
}

func TestCallDescriptorsMustBeFitForWriting(t *testing.T) {
	b := newBench(t, Config{})
	f := dial(t, b.path)
	f.negotiate()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	g := newGuest(t, 1, 64)
	// The peer shares the descriptor's flags and its counter: writing to it would sleep for as long as the peer likes.
	full := g.kickFD()
	if _, err := unix.Write(full, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(full, false); err != nil {
		t.Fatal(err)
	}
	check := noLeak(t)
	for _, req := range []Request{SetVringCall, SetVringErr} {
		if f.do(req, encodeU64(0), int(null.Fd())) {
			t.Errorf("%v accepted /dev/null", req)
		}
	}
	check()
	f.must(SetVringCall, encodeU64(0), full)
	g.setMemory(f)
	f.must(SetVringNum, state(0, 64))
	f.must(SetVringAddr, g.addr(0))
	f.must(SetVringKick, encodeU64(0|vringNoFD))
	f.must(SetVringEnable, state(0, 1))
	f.must(SetVringCall, encodeU64(0|vringNoFD))
}

func TestUnreadAnswersEndTheSession(t *testing.T) {
	b := newBench(t, Config{})
	f := dial(t, b.path)
	m := bytes.Repeat(wire(GetFeatures, flagVersion, nil), 1000)
	_ = f.conn.SetWriteDeadline(time.Now().Add(patience))
	for range 100 {
		if _, err := f.conn.Write(m); err != nil {
			break
		}
		if b.Status().Disconnects > 0 {
			break
		}
	}
	until(t, "the session ends", func() bool { return b.Status().Disconnects == 1 })
}

// TestRandomMessages sends well-formed messages in random order, now and then with random payloads, from many front
// ends one after the other, while another port's traffic must go on.
func TestRandomMessages(t *testing.T) {
	b := newBench(t, Config{QueuePairs: 2, MTU: 1500})
	other := newBench(t, Config{})
	og := newGuest(t, 1, 64)
	og.start(dial(t, other.path))
	g := newGuest(t, 2, 64)
	all := samples(g)
	fds := make([][]int, len(all))
	for i, s := range all {
		fds[i] = s.open(g)
	}
	check := noLeak(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 100 {
		f := dial(t, b.path)
		for range 60 {
			i := rng.IntN(len(all))
			payload := bytes.Clone(all[i].payload)
			if rng.IntN(8) == 0 && len(payload) > 0 {
				payload[rng.IntN(len(payload))] = byte(rng.Uint32())
			}
			f.send(all[i].req, payload, fds[i]...)
		}
		f.close()
		og.post(1, uint16(round%32), frame, false)
		until(t, "the other port forwards", func() bool { return og.usedIdx(1) == uint16(round+1) })
	}
	until(t, "listening", func() bool { return b.Status().State == StateListening })
	check()
	if st := other.Status(); st.State != StateUp || st.LastError != "" {
		t.Errorf("the other port: %s, %q", st.State, st.LastError)
	}
}

func TestASilentFrontEndGivesWay(t *testing.T) {
	b := newBench(t, Config{})
	silent := dial(t, b.path)
	started := time.Now()
	for {
		f := dial(t, b.path)
		f.raw(wire(GetFeatures, flagVersion, nil))
		_, _, err := f.answer()
		f.close()
		if err == nil {
			break
		}
		if time.Since(started) > 10*time.Second {
			t.Fatal("a front end that never speaks keeps the port")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if waited := time.Since(started); waited < silence/2 {
		t.Errorf("it was turned out after %v", waited)
	}
	silent.ended()
}
