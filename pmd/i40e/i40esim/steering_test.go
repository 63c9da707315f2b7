package i40esim

import (
	"encoding/binary"
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/frame"
	"weft/pmd/i40e/i40esim/lan"
)

// TestRSSSpreadsByTableAndTrafficClass sets the key of the published Toeplitz examples and follows a flow to its queue.
func TestRSSSpreadsByTableAndTrafficClass(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	key := []byte{
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
		0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
		0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}
	for i := range uint32(13) {
		d.w("PFQF_HKEY", binary.LittleEndian.Uint32(key[4*i:]), i)
	}
	b := testFrame(d.dev.cfg.Card.MAC, 64)
	copy(b[26:], []byte{66, 9, 149, 187, 161, 142, 100, 80}) // the first example of the RSS specification
	binary.BigEndian.PutUint16(b[34:], 2794)
	binary.BigEndian.PutUint16(b[36:], 1766)
	v := d.dev.fw.Switch().Main()
	choose := func() (int, lan.RxMeta) {
		p := d.dev.parse(b)
		meta := lan.RxMeta{}
		n, _ := d.dev.chooseQueue(v, -1, &p, &meta)
		return n, meta
	}
	if n, meta := choose(); n != 0 || meta.HashValid {
		t.Errorf("without PFQF_HENA: queue %d, hash %v", n, meta.HashValid)
	}
	d.w("PFQF_HENA", 1<<31, 0)
	const hash = 0x51ccc178
	entry := uint32(hash & 127)
	d.w("PFQF_HLUT", 3<<(8*(entry%4)), entry/4)
	if n, meta := choose(); n != 3 || meta.Hash != hash {
		t.Errorf("queue %d, hash %#x, want 3 and %#x", n, meta.Hash, hash)
	}
	d.w("PFQF_CTL_0", hashTableLarge)
	entry = hash & 511
	d.w("PFQF_HLUT", 6<<(8*(entry%4)), entry/4)
	if n, _ := choose(); n != 2 { // entry 6 in a class of four queues
		t.Errorf("with 512 entries: queue %d, want 2", n)
	}
	checkSymmetry(t, d, b)
	d.noViolations()
}

// checkSymmetry wants the same hash for both directions of a flow, and another one without HSYM_ENA.
func checkSymmetry(t *testing.T, d *driver, b []byte) {
	t.Helper()
	back := reverse(b)
	hash := func(b []byte) uint32 {
		p := d.dev.parse(b)
		meta := lan.RxMeta{}
		d.dev.hash(d.dev.fw.Switch().Main(), &p, p.layers.Fields(b), &meta)
		return meta.Hash
	}
	if hash(b) == hash(back) {
		t.Error("the plain hash is symmetric")
	}
	d.w("PRTQF_CTL_0", hashSymmetric)
	d.w("GLQF_HSYM", hashSymmetric, uint32(frame.PCTypeIPv4UDP))
	if hash(b) != hash(back) {
		t.Errorf("the symmetric hash is %#x one way and %#x back", hash(b), hash(back))
	}
	d.w("GLQF_CTL", 0)
	if got, want := hash(b), simpleHash(make([]byte, 12)); got == want {
		t.Errorf("the simple hash is %#x", got)
	}
}

// reverse is a frame of the same flow in the other direction.
func reverse(b []byte) []byte {
	back := append([]byte(nil), b...)
	copy(back[26:30], b[30:34])
	copy(back[30:34], b[26:30])
	copy(back[34:36], b[36:38])
	copy(back[36:38], b[34:36])
	return back
}

// TestFlowDirector programs a filter by a descriptor, sees it take a flow to its queue, count, and go.
func TestFlowDirector(t *testing.T) {
	d := ready(t, 0)
	d.w("PFQF_CTL_0", fdEnable)
	b := testFrame(d.dev.cfg.Card.MAC, 64)
	f := lan.FilterProgram{
		Queue: 2, PCType: frame.PCTypeIPv4UDP, VSI: d.vsi, Command: lan.FilterAdd,
		Dest: lan.DestQueue, Count: true, Counter: 5, Report: lan.ReportID, ID: 0xABCD,
	}
	d.dev.programFilter(d.dev.tx[0], f, reverse(b))
	if d.r("PFQF_FDSTAT") != 1 || d.r("GLQF_FDCNT_0") != 1 {
		t.Error("the filter is not counted")
	}
	p := d.dev.parse(b)
	meta := lan.RxMeta{}
	n, drop := d.dev.chooseQueue(d.dev.fw.Switch().Main(), -1, &p, &meta)
	if n != 2 || drop || !meta.Filtered || meta.FilterID != 0xABCD || d.r("GLQF_PCNT", 5) != 1 {
		t.Errorf("queue %d, dropped %v, %+v, %d matches", n, drop, meta, d.r("GLQF_PCNT", 5))
	}
	d.w("GLQF_PCNT", 1, 5)
	if d.r("GLQF_PCNT", 5) != 0 {
		t.Error("writing GLQF_PCNT does not clear it")
	}
	f.Dest = lan.DestDrop
	d.dev.programFilter(d.dev.tx[0], f, reverse(b))
	if _, drop := d.dev.chooseQueue(d.dev.fw.Switch().Main(), -1, &p, &meta); !drop {
		t.Error("the frame is not dropped")
	}
	d.w("PFQF_CTL_1", 1)
	if d.r("PFQF_FDSTAT") != 0 || d.r("PFQF_CTL_1") != 0 {
		t.Error("CLEARFDTABLE does not clear, or stays")
	}
	f.Command = lan.FilterRemove
	d.dev.programFilter(d.dev.tx[0], f, reverse(b)) // there is none: told to the receive queue
	if status := d.u64(d.rx + 8); status&1 == 0 || status>>63 != 1 || d.u32(d.rx+4) != 0xABCD {
		t.Errorf("the programming status is %#x for filter %#x", status, d.u32(d.rx+4))
	}
	d.noViolations()
}

// TestCounters compares the port's and the VSI's counters with what was sent.
func TestCounters(t *testing.T) {
	d := ready(t, 0)
	sizes := []int{60, 100, 200, 400, 800, 1400, 1600}
	for _, n := range sizes {
		d.dev.Receive(testFrame(d.dev.cfg.Card.MAC, n))
		d.transmit(0, testFrame(adminq.MAC{0x01, 0, 0x5e, 0, 0, 1}, min(n, 200)), 2)
	}
	d.dev.Receive(testFrame(adminq.MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 60))
	d.dev.Receive(make([]byte, 40))
	d.dev.Receive(make([]byte, 9729))
	d.dev.Receive(testFrame(adminq.MAC{2, 9, 9, 9, 9, 9}, 60)) // for nobody here
	stat := uint32(d.dev.fw.Switch().Main().StatIndex())
	for name, want := range map[string]uint32{
		"GLPRT_PRC64L": 3, "GLPRT_PRC127L": 1, "GLPRT_PRC255L": 1, "GLPRT_PRC511L": 1, "GLPRT_PRC1023L": 1,
		"GLPRT_PRC1522L": 1, "GLPRT_PRC9522L": 1, "GLPRT_PTC64L": 1, "GLPRT_PTC127L": 1, "GLPRT_PTC255L": 5,
		"GLPRT_UPRCL": 8, "GLPRT_BPRCL": 1, "GLPRT_MPTCL": 7, "GLPRT_RUC": 1, "GLPRT_ROC": 1,
		"GLPRT_GORCL": 60 + 100 + 200 + 400 + 800 + 1400 + 1600 + 60 + 60 + 9*4,
	} {
		if got := d.r(name, 0); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string]uint32{
		"GLV_UPRCL": 7, "GLV_BPRCL": 1, "GLV_MPTCL": 7, "GLV_GOTCL": 60 + 100 + 5*200 + 7*4,
	} {
		if got := d.r(name, stat); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	d.dev.SetLink(false)
	d.transmit(0, testFrame(adminq.MAC{2}, 64), 2)
	if d.r("GLPRT_TDOLD", 0) != 1 || len(d.wire.frames) != 7 {
		t.Error("a frame sent without link is not counted as dropped")
	}
	d.dev.SetLink(true)
	d.clk.Advance(time.Second)
	d.w("QRX_ENA", 0, 0)
	d.clk.Advance(time.Second)
	d.inject()
	if d.r("GLV_RDPC", stat) != 1 || d.r("GLPRT_RDPC", 0) != 0 {
		t.Error("a frame without queue is not counted as discarded once")
	}
	d.noViolations()
}

func TestShortFramesArePadded(t *testing.T) {
	d := ready(t, 0)
	d.transmit(0, testFrame(adminq.MAC{2}, 42), 2)
	if len(d.wire.frames) != 1 || len(d.wire.frames[0]) != frame.MinLen {
		t.Errorf("on the wire: %x", d.wire.frames)
	}
	d.noViolations()
}

// TestVEBBetweenPFAndVF: what the PF sends to a VF's address does not leave the card.
func TestVEBBetweenPFAndVF(t *testing.T) {
	d := ready(t, 0)
	v := plugVF(d)
	giveQueue(d, v)
	d.transmit(0, testFrame(adminq.MAC{2, 0, 0, 0, 0, 0x77}, 64), 2)
	// Both hang below the port itself, without a bridge between them: the frame leaves.
	if len(d.wire.frames) != 1 {
		t.Errorf("%d frames left, want one", len(d.wire.frames))
	}
	d.noViolations()
}

// TestTwoCardsOnAWireDoNotWaitForEachOther sends both ways at once.
func TestTwoCardsOnAWireDoNotWaitForEachOther(t *testing.T) {
	var ends [2]*Device
	for i := range ends {
		dev, err := New(Config{Wire: toOther{&ends, 1 - i}})
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = dev
	}
	const frames = 200
	done := make(chan bool)
	for _, dev := range ends {
		go func() {
			for range frames {
				dev.lock()
				dev.send(testFrame(dev.cfg.Card.MAC, 64))
				dev.unlock()
			}
			done <- true
		}()
	}
	for range ends {
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the cards wait for each other")
		}
	}
	for i, dev := range ends {
		for deadline := time.Now().Add(5 * time.Second); dev.Register("GLPRT_UPRCL", 0) != frames; {
			if time.Now().After(deadline) {
				t.Fatalf("card %d received %d frames of %d", i, dev.Register("GLPRT_UPRCL", 0), frames)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// toOther is a wire to the other of two cards, which is made later.
type toOther struct {
	ends *[2]*Device
	to   int
}

func (w toOther) Send(b []byte) { w.ends[w.to].Receive(b) }
