package lan

import (
	"encoding/binary"
	"errors"

	"weft/pmd/i40e/i40esim/frame"
)

// TxSettings are registers that all transmit queues of a device look at. The owner may change them between calls.
type TxSettings struct {
	MinMSS   int             // REG_MSS, bytes
	Flags    frame.FlagMasks // GLLAN_TSOMSK_F, _M, _L
	Tag1TPID uint16          // of the tag that a data descriptor inserts
	Tag2TPID uint16          // of the tag that a context descriptor inserts, outside of the other
}

// DefaultTxSettings are the settings after reset.
func DefaultTxSettings() TxSettings {
	return TxSettings{
		MinMSS:   DefaultMinMSS,
		Flags:    frame.DefaultFlagMasks(),
		Tag1TPID: frame.EtherTypeVLAN,
		Tag2TPID: frame.EtherTypeQinQ,
	}
}

// Packet is one frame on its way from a transmit queue to the switch, without frame check sequence and not yet padded.
type Packet struct {
	Frame    []byte // the receiver may keep it
	Switch   Switching
	VSI      uint16 // for SwitchVSI
	Timesync bool   // the time of departure is to be latched
	Segment  int    // number within a segmented packet, from 0
	Last     bool   // of its descriptors: nothing more of this packet follows
}

// TxConfig is what a transmit queue is made of.
type TxConfig struct {
	Index    int       // absolute
	Context  TxContext // that DecodeTxContext passed
	DMA      DMA
	Reporter Reporter
	Settings *TxSettings
	// Program is called for each filter programming descriptor of a queue with FD_ENA, with the packet behind it. A
	// failure is to be posted to the receive queue of the same index.
	Program func(FilterProgram, []byte)
	// Cause is called once per Run that finished packets: it starts the throttle timer of the linked vector, which ends
	// in Flush and an interrupt.
	Cause func()
}

// TxQueue is an enabled transmit queue.
type TxQueue struct {
	TxConfig
	head    uint16
	tail    uint16
	stopped bool
	unsaid  int // descriptors finished since the head was last reported (head write-back)

	fetched []byte // descriptors read ahead, the first at index fetchedAt
	fetchAt uint16
	packet  txPacket
}

// txPacket are the descriptors of one packet.
type txPacket struct {
	context *contextDesc
	filter  *FilterProgram
	data    []dataDesc
	count   int // descriptors
}

// NewTxQueue makes the engine of a transmit queue.
func NewTxQueue(c TxConfig) *TxQueue {
	return &TxQueue{TxConfig: c, head: c.Context.Head, tail: c.Context.Head}
}

// Head is the index of the next descriptor to process (QTX_HEAD).
func (q *TxQueue) Head() uint16 { return q.head }

// Tail is what the host last wrote.
func (q *TxQueue) Tail() uint16 { return q.tail }

// Stopped says whether an error stopped the queue.
func (q *TxQueue) Stopped() bool { return q.stopped }

// Pending is the number of finished descriptors that a head write-back has not reported yet.
func (q *TxQueue) Pending() int { return q.unsaid }

// SetTail is a write to QTX_TAIL: descriptors from the head to before tail are the device's.
func (q *TxQueue) SetTail(tail uint32) {
	if q.stopped {
		return
	}
	length := q.Context.Len
	if tail >= uint32(length) {
		q.fail(EventTail, "tx queue %d: tail %d, and the ring has %d descriptors", q.Index, tail, length)
		return
	}
	given := ringDistance(q.tail, uint16(tail), length)
	if given+ringDistance(q.head, q.tail, length) >= int(length) {
		q.Reporter.Violation("tx queue %d: tail moved from %d to %d past the head %d: descriptors not done are given again",
			q.Index, q.tail, tail, q.head)
	}
	q.tail = uint16(tail)
}

// Run processes whole packets up to the tail and returns how many. Frames go to emit in the order of the wire. A packet
// whose last descriptor lies behind the tail waits for the next Run.
func (q *TxQueue) Run(emit func(*Packet)) int {
	packets := 0
	for !q.stopped && q.gather() {
		rs := q.packet.data[len(q.packet.data)-1].cmd&cmdRS != 0
		last := (int(q.head) + q.packet.count - 1) % int(q.Context.Len)
		if !q.transmit(emit) {
			break
		}
		q.finish(uint16(last), rs)
		packets++
	}
	if packets > 0 {
		q.Cause()
	}
	return packets
}

// Flush reports what is finished and not yet reported, and returns how many descriptors that were.
func (q *TxQueue) Flush() int {
	n := q.unsaid
	if n == 0 || q.stopped {
		return 0
	}
	q.writeHead()
	return n
}

// finish moves the head behind descriptor last and reports as the context and RS ask.
func (q *TxQueue) finish(last uint16, rs bool) {
	const perLine = lineLen / txDescLen
	lines := int(q.head)/perLine != (int(q.head)+q.packet.count)/perLine
	q.head = (last + 1) % q.Context.Len
	if q.Context.HeadWB {
		q.unsaid += q.packet.count
		if rs || lines {
			q.writeHead()
		}
		return
	}
	if rs {
		var done [8]byte
		binary.LittleEndian.PutUint64(done[:], dtypeDone)
		q.write(q.Context.Base+uint64(last)*txDescLen+8, done[:], "descriptor write-back")
	}
}

func (q *TxQueue) writeHead() {
	q.unsaid = 0
	var head [4]byte
	binary.LittleEndian.PutUint32(head[:], uint32(q.head))
	q.write(q.Context.HeadWBAddr, head[:], "head write-back")
}

func (q *TxQueue) write(addr uint64, p []byte, what string) {
	if err := q.DMA.Write(addr, p); err != nil {
		q.fail(EventDescriptorFetch, "tx queue %d: %s to %#x: %v", q.Index, what, addr, err)
	}
}

// transmit sends, or uses, the packet that gather collected.
func (q *TxQueue) transmit(emit func(*Packet)) bool {
	p := &q.packet
	first := &p.data[0]
	if !q.checkBuffers() {
		return false
	}
	b, ok := q.read()
	if !ok {
		return false
	}
	if p.filter != nil {
		q.program(p.filter, b)
	}
	if first.cmd&cmdDummy != 0 {
		if p.filter == nil {
			q.Reporter.Violation("tx queue %d: descriptor %d: DUMMY without a filter to program", q.Index, q.head)
		}
		return true
	}
	o := p.offload()
	if err := o.Check(len(b)); err != nil {
		event := EventOffload
		if errors.Is(err, frame.ErrHeaderLength) {
			event = EventHeaderLength
		}
		q.fail(event, "tx queue %d: descriptor %d: %v", q.Index, q.head, err)
		return false
	}
	if m := o.Mismatch(b, p.tso()); m != "" {
		q.Reporter.Violation("tx queue %d: descriptor %d: %s", q.Index, q.head, m)
	}
	frames := [][]byte{b}
	if p.tso() {
		if !q.checkTSO(&o, len(b)) {
			return false
		}
		frames = o.Segment(b, p.context.mss, q.Settings.Flags)
	} else {
		o.Insert(b)
	}
	return q.emit(frames, emit)
}

func (q *TxQueue) emit(frames [][]byte, emit func(*Packet)) bool {
	c := q.packet.context
	var out Packet
	if c != nil {
		out.Switch, out.Timesync = c.switching, c.cmd&ctxTimesync != 0
		if c.switching == SwitchVSI {
			out.VSI = c.vsi
		}
	}
	for i, f := range frames {
		f = q.insertTags(f)
		if len(f)+CRCLen > MaxFrame {
			q.fail(EventLongPacket, "tx queue %d: descriptor %d: %d bytes on the wire, at most %d",
				q.Index, q.head, len(f)+CRCLen, MaxFrame)
			return false
		}
		out.Frame, out.Segment, out.Last = f, i, i == len(frames)-1
		p := out
		emit(&p)
	}
	return true
}

func (q *TxQueue) insertTags(f []byte) []byte {
	p := &q.packet
	if p.data[0].cmd&cmdTag1 != 0 {
		f = frame.InsertTag(f, frame.Tag{TPID: q.Settings.Tag1TPID, TCI: p.data[0].tag1})
	}
	if p.context != nil && p.context.cmd&ctxTag2 != 0 {
		f = frame.InsertTag(f, frame.Tag{TPID: q.Settings.Tag2TPID, TCI: p.context.tag2})
	}
	return f
}

// program hands a filter to the flow director.
func (q *TxQueue) program(f *FilterProgram, b []byte) {
	switch {
	case !q.Context.FlowDirect:
		q.Reporter.Violation("tx queue %d: descriptor %d: a filter, and FD_ENA is 0 in the context", q.Index, q.head)
	case f.reservedBits != 0:
		q.Reporter.Violation("tx queue %d: descriptor %d: reserved bits set in a filter descriptor", q.Index, q.head)
	case f.Command != FilterAdd && f.Command != FilterRemove, f.Dest > DestOther:
		q.Reporter.Violation("tx queue %d: descriptor %d: filter command %d, destination %d",
			q.Index, q.head, f.Command, f.Dest)
	case q.Program != nil:
		q.Program(*f, b)
	}
}

// offload joins what context and first data descriptor say of the headers.
func (p *txPacket) offload() frame.Offload {
	d := &p.data[0]
	o := frame.Offload{
		MACLen: d.maclen, IPLen: d.iplen, L4Len: d.l4len,
		IP: frame.IPType(d.cmd >> cmdIPShift & 3), L4: frame.L4Type(d.cmd >> cmdL4Shift & 3),
	}
	if c := p.context; c != nil {
		o.OuterIP, o.OuterIPLen = c.outerIP, c.outerLen
		o.Tunnel, o.TunnelLen, o.KeepOuterID = c.tunnel, c.tunnelLen, c.keepID
	}
	return o
}

func (p *txPacket) tso() bool { return p.context != nil && p.context.cmd&ctxTSO != 0 }

func (q *TxQueue) fail(e Event, format string, args ...any) {
	q.stopped = true
	q.Reporter.Violation(format, args...)
	q.Reporter.Malicious(q.Index, true, e)
}
