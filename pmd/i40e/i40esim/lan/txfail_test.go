package lan

import (
	"testing"

	"weft/pmd/i40e/i40esim/frame"
)

// TestMaliciousPacketsStopTheQueue breaks one rule each: the event, and nothing on the wire.
func TestMaliciousPacketsStopTheQueue(t *testing.T) {
	none := frame.Offload{}
	tso := func(r *txRing, tsoLen, mss uint64, n, buffers int) {
		r.put(0, ctxWord(ctxTSO, tsoLen, mss))
		r.packet(seeded(tcpFrame(r.t, n), 0, 0), buffers, cmdEOP, offloadFor(0), 0)
	}
	for name, x := range map[string]struct {
		event Event
		text  string
		put   func(r *txRing)
	}{
		"no bytes": {EventZeroLength, "no bytes", func(r *txRing) { r.put(bufferAt, dataWord(cmdEOP, none, 0, 0)) }},
		"16 bytes": {EventShortPacket, "16 bytes", func(r *txRing) { r.put(bufferAt, dataWord(cmdEOP, none, 16, 0)) }},
		"9725 bytes": {EventLongPacket, "9725", func(r *txRing) {
			r.put(bufferAt, dataWord(0, none, 9700, 0))
			r.put(bufferAt, dataWord(cmdEOP, none, 25, 0))
		}},
		"too long with its tag": {EventLongPacket, "9728", func(r *txRing) {
			r.put(bufferAt, dataWord(cmdEOP|cmdTag1, none, 9724, 1))
		}},
		"nine buffers":     {EventBuffers, "9 buffers", func(r *txRing) { r.packet(tcpFrame(r.t, 900), 9, cmdEOP, none, 0) }},
		"unknown type":     {EventDescriptorType, "type 0x5", func(r *txRing) { r.put(0, 5) }},
		"done given again": {EventDescriptorType, "type 0xf", func(r *txRing) { r.put(0, dtypeDone) }},
		"FCoE context":     {EventDescriptorType, "type 0x2", func(r *txRing) { r.put(0, 2) }},
		"two contexts":     {EventContext, "second", func(r *txRing) { r.put(0, ctxWord(0, 0, 0)); r.put(0, ctxWord(0, 0, 0)) }},
		"context inside": {EventContext, "inside", func(r *txRing) {
			r.put(bufferAt, dataWord(0, none, 100, 0))
			r.put(0, ctxWord(0, 0, 0))
		}},
		"filter inside": {EventContext, "inside", func(r *txRing) {
			r.put(bufferAt, dataWord(0, none, 100, 0))
			r.put(0, dtypeFilter|1<<4)
		}},
		"FCoE":                   {EventOffload, "FCoE", func(r *txRing) { r.put(bufferAt, dataWord(cmdEOP|cmdFCoE, none, 100, 0)) }},
		"inner tag":              {EventOffload, "IL2H", func(r *txRing) { r.put(0, ctxWord(ctxTag2Inner, 0, 0)) }},
		"MSS and VSI":            {EventOffload, "share", func(r *txRing) { r.put(0, ctxWord(ctxTSO|0x30, 100, 300)) }},
		"buffer not mapped":      {EventBuffer, "0x1:", func(r *txRing) { r.put(1, dataWord(cmdEOP, none, 100, 0)) }},
		"MSS 255":                {EventMSS, "MSS 255", func(r *txRing) { tso(r, 1000, 255, 1000, 1) }},
		"MSS 9675":               {EventMSS, "MSS 9675", func(r *txRing) { tso(r, 1000, 9675, 1000, 1) }},
		"TLEN 0":                 {EventTSOLength, "TLEN 0", func(r *txRing) { tso(r, 0, 300, 1000, 1) }},
		"TLEN too small":         {EventTSOLength, "TLEN 999", func(r *txRing) { tso(r, 999, 300, 1000, 1) }},
		"TLEN too large":         {EventTSOLength, "TLEN 1001", func(r *txRing) { tso(r, 1001, 300, 1000, 1) }},
		"a segment of 9 buffers": {EventBuffers, "segment from 9", func(r *txRing) { tso(r, 1000, 600, 1000, 12) }},
		"a segment too long": {EventLongPacket, "9728", func(r *txRing) {
			tso(r, 9674, 9674, 9674, 1)
		}},
		"segmentation without L4": {EventOffload, "without TCP", func(r *txRing) {
			r.put(0, ctxWord(ctxTSO, 100, 300))
			r.packet(tcpFrame(r.t, 100), 1, cmdEOP, none, 0)
		}},
		"L4 without IP": {EventOffload, "without an IP", func(r *txRing) {
			r.packet(tcpFrame(r.t, 100), 1, cmdEOP, frame.Offload{MACLen: 14, L4: frame.L4TCP, L4Len: 20}, 0)
		}},
		"headers longer than the packet": {EventHeaderLength, "take 54", func(r *txRing) {
			r.packet(tcpFrame(r.t, 0)[:40], 1, cmdEOP, offloadFor(0), 0)
		}},
		"tunnel without outer IP": {EventOffload, "outer IP", func(r *txRing) {
			r.put(1<<9, ctxWord(0, 0, 0))
			r.packet(tcpFrame(r.t, 100), 1, cmdEOP, offloadFor(0), 0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTxRing(t, nil)
			x.put(r)
			if n := r.run(); n != 0 || len(r.sent) != 0 || r.causes != 0 {
				t.Errorf("%d packets, %d frames", n, len(r.sent))
			}
			r.stoppedBy(x.event, x.text)
			r.next = 0
			r.packet(tcpFrame(t, 100), 1, cmdEOP|cmdRS, none, 0)
			if n := r.run(); n != 0 || r.reported(0) || !r.q.Stopped() || r.q.Flush() != 0 {
				t.Error("the stopped queue went on")
			}
		})
	}
}

// TestREGMSSCannotAllowSegmentsOfNothing: the register is the driver's to write.
func TestREGMSSCannotAllowSegmentsOfNothing(t *testing.T) {
	for _, mss := range []uint64{0, 1, LeastMSS - 1} {
		r := newTxRing(t, nil)
		r.settings.MinMSS = 0
		r.put(0, ctxWord(ctxTSO, 1000, mss))
		r.packet(seeded(tcpFrame(t, 1000), 0, 0), 1, cmdEOP, offloadFor(0), 0)
		if n := r.run(); n != 0 || !r.q.Stopped() {
			t.Errorf("MSS %d: %d packets, stopped %t", mss, n, r.q.Stopped())
		}
	}
}

// TestTheLimitsThemselvesAreAllowed is the other side of the table above.
func TestTheLimitsThemselvesAreAllowed(t *testing.T) {
	for name, x := range map[string]struct {
		frames int
		put    func(r *txRing)
	}{
		"17 bytes":   {1, func(r *txRing) { r.put(bufferAt, dataWord(cmdEOP, frame.Offload{}, 17, 0)) }},
		"9724 bytes": {1, func(r *txRing) { r.put(bufferAt, dataWord(cmdEOP, frame.Offload{}, 9724, 0)) }},
		"MSS 64, as Linux sets it": {16, func(r *txRing) {
			r.settings.MinMSS = 64
			r.put(0, ctxWord(ctxTSO, 1000, 64))
			r.packet(seeded(tcpFrame(r.t, 1000), 0, 0), 1, cmdEOP, offloadFor(0), 0)
		}},
		"MSS 9670": {2, func(r *txRing) { // 54 bytes of headers and the CRC make 9728
			r.put(0, ctxWord(ctxTSO, 9671, 9670))
			r.packet(seeded(tcpFrame(r.t, 9671), 0, 0), 2, cmdEOP, offloadFor(0), 0)
		}},
		"a segment of 8 buffers, many in all": {4, func(r *txRing) {
			r.put(0, ctxWord(ctxTSO, 2000, 512))
			b := seeded(tcpFrame(r.t, 2000), 0, 0)
			r.put(r.store(b[:54]), dataWord(0, offloadFor(0), 54, 0))
			r.packet(b[54:], 23, cmdEOP, offloadFor(0), 0)
		}},
		"segments that end with a buffer": {3, func(r *txRing) {
			r.put(0, ctxWord(ctxTSO, 2100, 700))
			b := seeded(tcpFrame(r.t, 2100), 0, 0)
			r.put(r.store(b[:54]), dataWord(0, offloadFor(0), 54, 0))
			r.packet(b[54:], 21, cmdEOP, offloadFor(0), 0)
		}},
		"a context of zeros": {1, func(r *txRing) {
			r.put(0, ctxWord(0, 0, 0))
			r.packet(tcpFrame(r.t, 10), 1, cmdEOP, frame.Offload{}, 0)
		}},
	} {
		r := newTxRing(t, nil)
		x.put(r)
		if n := r.run(); n != 1 || len(r.sent) != x.frames {
			t.Errorf("%s: %d packets, %d frames; %q", name, n, len(r.sent), r.violations)
		}
		r.clean()
	}
}

// TestViolationsDoNotStopTheQueue: the silicon sends the packet, right or wrong.
func TestViolationsDoNotStopTheQueue(t *testing.T) {
	for name, x := range map[string]struct {
		text string
		put  func(r *txRing)
	}{
		"RS without EOP": {"RS without EOP", func(r *txRing) {
			r.put(r.store(make([]byte, 50)), dataWord(cmdRS, frame.Offload{}, 50, 0))
			r.put(r.store(make([]byte, 50)), dataWord(cmdEOP, frame.Offload{}, 50, 0))
		}},
		"offloads that differ": {"differ", func(r *txRing) {
			r.put(r.store(make([]byte, 50)), dataWord(0, frame.Offload{}, 50, 0))
			r.put(r.store(make([]byte, 50)), dataWord(cmdEOP, frame.Offload{MACLen: 14}, 50, 0))
		}},
		"reserved bits in a context": {"reserved bits 0x100", func(r *txRing) {
			r.put(1<<8, ctxWord(0, 0, 0))
			r.packet(tcpFrame(r.t, 10), 1, cmdEOP, frame.Offload{}, 0)
		}},
		"TSYN without the context's leave": {"TSYN", func(r *txRing) {
			r.put(0, ctxWord(ctxTimesync, 0, 0))
			r.packet(tcpFrame(r.t, 10), 1, cmdEOP, frame.Offload{}, 0)
		}},
		"IPv6 called IPv4": {"version", func(r *txRing) {
			r.packet(tcpFrame(r.t, 100), 1, cmdEOP, frame.Offload{MACLen: 14, IP: frame.IPv6, IPLen: 40}, 0)
		}},
	} {
		r := newTxRing(t, nil)
		x.put(r)
		if n := r.run(); n != 1 || len(r.sent) != 1 || len(r.events) != 0 {
			t.Errorf("%s: %d packets; %q %v", name, n, r.violations, r.events)
		}
		r.violated(x.text)
	}
}

func TestTransmitRingBreaches(t *testing.T) {
	r := newTxRing(t, nil)
	r.q.SetTail(64)
	r.stoppedBy(EventTail, "tail 64")

	r = newTxRing(t, nil)
	r.packet(tcpFrame(t, 10), 1, cmdEOP, frame.Offload{}, 0)
	r.base += hostSize
	r.run()
	r.stoppedBy(EventDescriptorFetch, "descriptor 0")

	r = newTxRing(t, nil)
	r.q.SetTail(20)
	r.q.SetTail(10)
	r.violated("past the head")

	r = newTxRing(t, func(c *TxContext) { c.HeadWB, c.HeadWBAddr = true, 0x40 })
	r.packet(tcpFrame(t, 10), 1, cmdEOP|cmdRS, frame.Offload{}, 0)
	r.run()
	r.stoppedBy(EventDescriptorFetch, "head write-back")
}

func TestEventsHaveWords(t *testing.T) {
	seen := make(map[string]bool)
	for e := EventNone; e <= EventSource; e++ {
		if s := e.String(); s == "" || seen[s] {
			t.Errorf("event %d: %q", e, s)
		}
		seen[e.String()] = true
	}
	if Event(200).String() != "event 200" {
		t.Error(Event(200))
	}
}

// TestDescriptorFieldsHaveTheirFullWidth fills one field after the other.
func TestDescriptorFieldsHaveTheirFullWidth(t *testing.T) {
	if d := (txDesc{^uint64(0), ^uint64(0)}).data(); d != (dataDesc{
		addr: ^uint64(0), cmd: 0x3FF, maclen: 254, iplen: 508, l4len: 60, size: 16383, tag1: 0xFFFF,
	}) {
		t.Errorf("data: %+v", d)
	}
	d := (txDesc{^uint64(0), ^uint64(0)}).context()
	d.reservedIn = [2]uint64{}
	if d != (contextDesc{
		outerIP: 3, outerLen: 252, tunnel: 3, keepID: true, tunnelLen: 254, tag2: 0xFFFF, cmd: 0x7F, switching: SwitchVSI,
		tsoLen: 1<<18 - 1, mss: 1<<14 - 1, vsi: 511, reserved: true,
	}) {
		t.Errorf("context: %+v", d)
	}
	if f := (txDesc{^uint64(0), ^uint64(0)}).filter(); f.Queue != 2047 || f.FlexOffset != 7 || f.PCType != 63 ||
		f.VSI != 511 || f.Command != 7 || f.Dest != 3 || f.Report != 3 || f.Counter != 511 || f.ID != 1<<32-1 {
		t.Errorf("filter: %+v", f)
	}
}
