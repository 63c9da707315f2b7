package i40esim

import (
	"fmt"
	"time"

	"weft/pmd/i40e/i40esim/lan"
)

// Bits of QTX_ENA and QRX_ENA, of GLLAN_TXPRE_QDIS, and fields of QTX_CTL.
const (
	enaRequest = 1 << 0
	enaFast    = 1 << 1
	enaStatus  = 1 << 2

	qdisIndex = 0x7FF
	qdisStat  = 1 << 16
	qdisSet   = 1 << 30
	qdisClear = 1 << 31
	qdisBlock = 128 // queues of one register

	ctlType    = 3
	ctlVF      = 0
	ctlVM      = 1
	ctlPF      = 2
	ctlPFShift = 2
	ctlVFShift = 7
)

// queue is one direction of a queue pair of the PF, whoever it is lent to.
type queue struct {
	c     *card
	index int // as the PF counts
	tx    bool

	wanted bool      // QENA_REQ
	status bool      // QENA_STAT
	qdis   bool      // the driver has announced that the queue will stop
	qdisAt time.Time // when
	serial uint64    // of the change under way
	due    time.Time // when it takes effect
	then   func()    // what that does; nil when no change is under way

	orphan bool // its context's segment descriptor is gone

	f   *function // whose memory it works on, while enabled
	fpm uint64    // where its context was read
	txq *lan.TxQueue
	rxq *lan.RxQueue
}

func (q *queue) String() string {
	if q.tx {
		return fmt.Sprintf("tx queue %d", q.index)
	}
	return fmt.Sprintf("rx queue %d", q.index)
}

func (q *queue) running() bool { return q.status && (q.txq != nil || q.rxq != nil) }

func (q *queue) register(tx, rx string) string {
	if q.tx {
		return tx
	}
	return rx
}

// use reports the first use of a queue whose context's segment descriptor is gone.
func (q *queue) use(how string) {
	if q.orphan {
		q.orphan = false
		q.c.violation("%s %s after the segment descriptor of its context was taken away: disable it before that", q, how)
	}
}

// writeEnable is a write of QTX_ENA or QRX_ENA.
func (q *queue) writeEnable(v uint32) {
	q.use("is disabled")
	name := q.register("QTX_ENA", "QRX_ENA")
	q.c.set(name, q.c.get(name, uint32(q.index))&enaStatus|v&(enaRequest|enaFast), uint32(q.index))
	switch request := v&enaRequest != 0; {
	case request && !q.wanted:
		q.start()
	case !request && q.wanted:
		q.stop()
	}
}

func (q *queue) setStatus(on bool) {
	name := q.register("QTX_ENA", "QRX_ENA")
	v := q.c.get(name, uint32(q.index)) &^ enaStatus
	if on {
		v |= enaStatus
	}
	q.status = on
	q.c.set(name, v, uint32(q.index))
}

// start is QENA_REQ going up: QENA_STAT follows later, if the context can be used.
func (q *queue) start() {
	q.wanted = true
	q.serial++
	if q.status {
		q.c.violation("%s is enabled before it has stopped: wait for QENA_STAT to clear", q)
	}
	if q.tx && q.qdis {
		q.c.violation("%s is enabled while GLLAN_TXPRE_QDIS announces its end: write CLEAR_QDIS first", q)
	}
	q.later(q.c.cfg.Timing.QueueEnable, func() {
		if err := q.open(); err != nil {
			q.c.violation("%s cannot be enabled: %v", q, err)
			return
		}
		q.begin()
	})
}

// begin sets QENA_STAT, and processes what was given to a transmit queue before.
func (q *queue) begin() {
	q.setStatus(true)
	if q.tx {
		q.c.transmit(q)
	}
}

// stop is QENA_REQ going down.
func (q *queue) stop() {
	q.wanted = false
	q.serial++
	if q.tx && !q.qdis {
		q.c.violation("%s is disabled without SET_QDIS in GLLAN_TXPRE_QDIS", q)
	} else if q.tx && q.c.clk.Now().Sub(q.qdisAt) < q.c.cfg.Timing.QDISSettle {
		q.c.violation("%s is disabled %v after SET_QDIS, must be %v", q, q.c.clk.Now().Sub(q.qdisAt),
			q.c.cfg.Timing.QDISSettle)
	}
	q.later(q.c.cfg.Timing.QueueDisable, func() {
		q.close()
		q.setStatus(false)
	})
}

// later has a change take effect after d. Drivers wait for less than a millisecond in all, and a timer of a busy
// machine may be later than that: a read of the status looks at the time itself.
func (q *queue) later(d time.Duration, then func()) {
	serial := q.serial
	q.due, q.then = q.c.clk.Now().Add(d), then
	q.c.after(d, func() {
		if q.serial == serial {
			q.settle()
		}
	})
}

// settle carries out a change whose time has come.
func (q *queue) settle() {
	if then := q.then; then != nil && !q.c.clk.Now().Before(q.due) {
		q.then = nil
		then()
	}
}

// readEnable is a read of QTX_ENA or QRX_ENA.
func (q *queue) readEnable() uint32 {
	q.settle()
	return q.c.get(q.register("QTX_ENA", "QRX_ENA"), uint32(q.index))
}

// close forgets the engine. What it finished and did not write back is lost. A transmit queue's tail starts at 0 again:
// drivers set up a ring anew without writing it.
func (q *queue) close() {
	q.orphan = false
	q.txq, q.rxq, q.f = nil, nil, nil
	if q.tx {
		q.c.set("QTX_TAIL", 0, uint32(q.index))
	}
}

// halt stops a queue at once, at a reset.
func (q *queue) halt() {
	q.serial++
	q.then = nil
	q.close()
	q.wanted = false
	name := q.register("QTX_ENA", "QRX_ENA")
	q.status = false
	q.c.set(name, 0, uint32(q.index))
}

// open reads the context and makes the engine.
func (q *queue) open() error {
	f := q.c.owner(q)
	if f == nil {
		return fmt.Errorf("QTX_CTL gives it to no function (%#x)", q.c.get("QTX_CTL", uint32(q.index)))
	}
	object, fpm, err := q.c.readObject(q.tx, q.index)
	if err != nil {
		return fmt.Errorf("reading its context: %w", err)
	}
	cause := func() { q.c.queueCause(q) }
	if !q.tx {
		context, err := lan.DecodeRxContext(object)
		if err != nil {
			return err
		}
		q.rxq = lan.NewRxQueue(q.c.absolute(q.index), context, f, reporter{q}, cause)
		q.f, q.fpm = f, fpm
		q.rxq.SetTail(q.c.get("QRX_TAIL", uint32(q.index)))
		return nil
	}
	context, err := lan.DecodeTxContext(object)
	if err != nil {
		return err
	}
	if _, _, ok := q.c.fw.Switch().QueueSet(context.ReadyList); !ok {
		return fmt.Errorf("its context has RDYLIST %d, which is no VSI's queue set", context.ReadyList)
	}
	q.txq = lan.NewTxQueue(lan.TxConfig{
		Index: q.c.absolute(q.index), Context: context, DMA: f, Reporter: reporter{q},
		Settings: &q.c.steering.tx, Cause: cause,
		Program: func(p lan.FilterProgram, frame []byte) { q.c.programFilter(q, p, frame) },
	})
	q.f, q.fpm = f, fpm
	q.txq.SetTail(q.c.get("QTX_TAIL", uint32(q.index)))
	return nil
}

// absolute is a queue's number on the card.
func (c *card) absolute(index int) int { return c.cfg.Card.FirstQueue + index }

// owner is the function whose memory a queue works on: QTX_CTL says it of a transmit queue, VPLAN_QTABLE of a receive
// queue.
func (c *card) owner(q *queue) *function {
	if q.f != nil {
		return q.f
	}
	if !q.tx {
		for _, f := range c.vfs {
			if f.vfQueue(q.index) >= 0 {
				return f
			}
		}
		return c.pf
	}
	ctl := c.get("QTX_CTL", uint32(q.index))
	switch ctl & ctlType {
	case ctlPF, ctlVM:
		if ctl>>ctlPFShift&0xF == uint32(c.cfg.Card.PF) {
			return c.pf
		}
	case ctlVF:
		vf := int(ctl>>ctlVFShift) - c.cfg.Card.FirstVF
		if vf >= 0 && vf < len(c.vfs) {
			return c.vfs[vf]
		}
	}
	return nil
}

// vfQueue is the number that a VF's driver knows queue index of the PF by, or -1.
func (f *function) vfQueue(index int) int {
	if f.c.get("VPLAN_MAPENA", uint32(f.vf))&1 == 0 {
		return -1
	}
	for i := range uint32(16) {
		if f.c.get("VPLAN_QTABLE", i, uint32(f.vf)) == uint32(index) {
			return int(i)
		}
	}
	return -1
}

// writeTail is a write of QTX_TAIL or QRX_TAIL: what is new is processed at once.
func (q *queue) writeTail(v uint32) {
	name := q.register("QTX_TAIL", "QRX_TAIL")
	q.c.keep(q.c.row(name), uint32(q.index), v)
	if !q.running() {
		return
	}
	q.use("is given descriptors")
	if !q.tx {
		q.rxq.SetTail(v)
		return
	}
	q.txq.SetTail(v)
	q.c.transmit(q)
}

func (q *queue) flush() {
	switch {
	case !q.running():
	case q.tx:
		q.txq.Flush()
	default:
		q.rxq.Flush()
	}
}

// writeHead is a write of QTX_HEAD.
func (q *queue) writeHead(v uint32) {
	if q.running() {
		q.c.violation("%s: QTX_HEAD is written while it is enabled", q)
		return
	}
	q.c.keep(q.c.row("QTX_HEAD"), uint32(q.index), v)
}

func (q *queue) readHead() uint32 {
	if q.txq != nil {
		return uint32(q.txq.Head())
	}
	return q.c.get("QTX_HEAD", uint32(q.index))
}

// writeQDIS is a write of GLLAN_TXPRE_QDIS for a block of 128 queues, counted as the card does.
func (c *card) writeQDIS(block, v uint32) {
	c.set("GLLAN_TXPRE_QDIS", v&qdisIndex, block)
	n := int(block*qdisBlock+v&qdisIndex) - c.cfg.Card.FirstQueue
	switch {
	case v&qdisIndex >= qdisBlock:
		c.violation("GLLAN_TXPRE_QDIS[%d] names queue %d of %d in its block", block, v&qdisIndex, qdisBlock)
		return
	case n < 0 || n >= len(c.tx):
		c.violation("GLLAN_TXPRE_QDIS[%d] names queue %d, which is not the PF's", block, block*qdisBlock+v&qdisIndex)
		return
	case v&qdisSet != 0 && v&qdisClear != 0:
		c.violation("GLLAN_TXPRE_QDIS[%d] both sets and clears", block)
		return
	}
	q := c.tx[n]
	if v&qdisSet != 0 && !q.qdis {
		q.qdis, q.qdisAt = true, c.clk.Now()
	}
	if v&qdisClear != 0 {
		q.qdis = false
	}
}

// readQDIS shows the index last written and whether that queue's end is announced.
func (c *card) readQDIS(block uint32) uint32 {
	v := c.get("GLLAN_TXPRE_QDIS", block)
	n := int(block*qdisBlock+v) - c.cfg.Card.FirstQueue
	if n >= 0 && n < len(c.tx) && c.tx[n].qdis {
		v |= qdisStat
	}
	return v
}

// reporter passes on what a queue's engine finds wrong.
type reporter struct{ q *queue }

// Violation reports what the silicon lets pass.
func (r reporter) Violation(format string, args ...any) { r.q.c.violation(format, args...) }

// Malicious publishes a malicious-driver event (datasheet, "Malicious Driver Detection"): the queue has stopped, the
// event is in GL_MDET and the function's bit set, and the PF is told.
func (r reporter) Malicious(queue int, tx bool, event lan.Event) {
	c := r.q.c
	vf := 0
	if r.q.f != nil && r.q.f.vf >= 0 {
		vf = r.q.f.vf
	}
	pf := uint32(c.cfg.Card.PF)
	global, function, ofVF := "GL_MDET_RX", "PF_MDET_RX", "VP_MDET_RX"
	value := pf | uint32(event)<<8 | uint32(queue)<<17 | 1<<31
	if tx {
		global, function, ofVF = "GL_MDET_TX", "PF_MDET_TX", "VP_MDET_TX"
		value = uint32(queue) | uint32(vf)<<12 | pf<<21 | uint32(event)<<25 | 1<<31
	}
	if c.get(global)>>31 == 0 {
		c.set(global, value)
	}
	if r.q.f != nil && r.q.f.vf >= 0 {
		c.set(ofVF, 1, uint32(vf))
	} else {
		c.set(function, 1)
	}
	c.pf.raiseOther(icr0Malicious)
}
