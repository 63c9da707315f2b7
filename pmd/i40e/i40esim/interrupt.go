package i40esim

import (
	"time"

	"weft/internal/vfiouser"
)

// Bits of PFINT_ICR0 and VFINT_ICR0 (datasheet, "PF Interrupt Zero Cause").
const (
	icr0Event     = 1 << 0
	icr0Queue0    = 1 << 1 // and the seven bits after it
	icr0Malicious = 1 << 19
	icr0Reset     = 1 << 20
	icr0TimeSync  = 1 << 23
	icr0HMC       = 1 << 26
	icr0VFLR      = 1 << 29
	icr0AdminQ    = 1 << 30
	icr0SWInt     = 1 << 31
)

// Bits of PFINT_DYN_CTLN and its siblings.
const (
	dynEnable     = 1 << 0
	dynClearPBA   = 1 << 1
	dynSWTrigger  = 1 << 2
	dynITRShift   = 3
	dynInterval   = 5 // shift; 12 bits
	dynSWITREna   = 1 << 24
	dynSWITR      = 25 // shift
	dynWBOnITR    = 1 << 30
	dynKeepEnable = 1 << 31

	itrMask   = 3
	itrNone   = 3 // no throttling
	itrValue  = 0xFFF
	rateValue = 0x3F
	rateOn    = 1 << 6
)

// Units of the throttling registers.
const (
	itrUnit  = 2 * time.Microsecond
	rateUnit = 4 * time.Microsecond
)

// Fields of QINT_RQCTL, QINT_TQCTL and the linkage registers.
const (
	causeVector  = 0xFF
	causeITR     = 11
	causeVector0 = 13 // MSIX0_INDX
	causeNextQ   = 16
	causeNextTyp = 27
	causeEnable  = 1 << 30
	queueNone    = 0x7FF
	typeRx       = 0
	typeTx       = 1
	linkType     = 11 // FIRSTQ_TYPE
)

// Bits of GLINT_CTL: a vector that fires keeps its INTENA.
const (
	keepEnablePF0 = 1 << 0
	keepEnableVF0 = 1 << 1
	keepEnableN   = 1 << 2
)

// vector is one interrupt of a function. Causes wait for the interval that they name: when it is over, the queues on
// the vector's list write back what they finished, and the interrupt is sent if it is enabled.
type vector struct {
	f *function
	n int

	waiting [4]bool      // by ITR index: something happened since it last expired
	expired [3]time.Time // when the throttles last expired
	fired   time.Time    // when the interrupt was last sent
	timer   Timer        // until the next throttle expires
	serial  uint64       // of the timer
}

// names of a vector's registers: for vector 0 and others, of PF and VF.
type vectorRegisters struct {
	dyn, itr, list string
	index          []uint32
}

func (v *vector) registers() vectorRegisters {
	switch {
	case v.f.vf < 0 && v.n == 0:
		return vectorRegisters{"PFINT_DYN_CTL0", "PFINT_ITR0", "PFINT_LNKLST0", nil}
	case v.f.vf < 0:
		return vectorRegisters{"PFINT_DYN_CTLN", "PFINT_ITRN", "PFINT_LNKLSTN", []uint32{uint32(v.n - 1)}}
	case v.n == 0:
		return vectorRegisters{"VFINT_DYN_CTL0", "VFINT_ITR0", "VPINT_LNKLST0", []uint32{uint32(v.f.vf)}}
	}
	return vectorRegisters{"VFINT_DYN_CTLN", "VFINT_ITRN", "VPINT_LNKLSTN", []uint32{v.f.c.vfVector(v.f.vf, v.n)}}
}

// vfVector is the index of a VF's vector n (from 1) in the arrays that all VFs share.
func (c *card) vfVector(vf, n int) uint32 { return uint32(vf*(c.cfg.Card.VFVectors-1) + n - 1) }

// interval is the time of throttle i; none has none.
func (v *vector) interval(i int) time.Duration {
	if i == itrNone {
		return 0
	}
	r := v.registers()
	return time.Duration(v.f.c.get(r.itr, append([]uint32{uint32(i)}, r.index...)...)&itrValue) * itrUnit
}

// pause is the least time between two interrupts of the vector (PFINT_RATEN).
func (v *vector) pause() time.Duration {
	if v.f.vf >= 0 || v.n == 0 {
		return 0
	}
	rate := v.f.c.get("PFINT_RATEN", uint32(v.n-1))
	if rate&rateOn == 0 {
		return 0
	}
	return time.Duration(rate&rateValue) * rateUnit
}

// dynamic is the vector's DYN_CTL register.
func (v *vector) dynamic() uint32 {
	r := v.registers()
	return v.f.c.get(r.dyn, r.index...)
}

func (v *vector) setDynamic(value uint32) {
	r := v.registers()
	v.f.c.set(r.dyn, value, r.index...)
}

// event says that a cause on throttle itr happened.
func (v *vector) event(itr int) {
	v.waiting[itr] = true
	v.evaluate()
}

// evaluate expires the throttles that are due and something waits for, and starts a timer for those that are not.
func (v *vector) evaluate() {
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	now := v.f.c.clk.Now()
	next := time.Time{}
	for i := range v.waiting {
		if !v.waiting[i] || v.dynamic()&(dynEnable|dynWBOnITR) == 0 {
			continue
		}
		due := v.due(i, now)
		if !due.After(now) {
			v.expire(i, now)
			continue
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if !next.IsZero() && v.dynamic()&(dynEnable|dynWBOnITR) != 0 {
		v.arm(next.Sub(now))
	}
}

// due is when what waits on throttle i may go. A throttle that has not run for its interval holds nothing up.
func (v *vector) due(i int, now time.Time) time.Time {
	due := now
	if i != itrNone {
		due = v.expired[i].Add(v.interval(i))
	}
	if pause := v.fired.Add(v.pause()); pause.After(due) {
		return pause
	}
	return due
}

func (v *vector) arm(d time.Duration) {
	v.serial++
	serial := v.serial
	v.timer = v.f.c.after(d, func() {
		if v.serial == serial {
			v.timer = nil
			v.evaluate()
		}
	})
}

// expire is the end of a throttle's interval: write-back, then the interrupt.
func (v *vector) expire(i int, now time.Time) {
	v.waiting[i] = false
	if i != itrNone {
		v.expired[i] = now
	}
	v.writeBack(i)
	dyn := v.dynamic()
	if dyn&dynEnable == 0 {
		return
	}
	if !v.keepsEnable() {
		v.setDynamic(dyn &^ dynEnable)
	}
	v.fired = now
	v.send()
}

func (v *vector) keepsEnable() bool {
	bit := uint32(keepEnableN)
	if v.n == 0 {
		bit = keepEnablePF0
		if v.f.vf >= 0 {
			bit = keepEnableVF0
		}
	}
	return v.f.c.get("GLINT_CTL")&bit != 0
}

// send signals the client, by whatever it has enabled.
func (v *vector) send() {
	f := v.f
	if f.host == nil || f.c.faults.takeInterrupt() {
		return
	}
	switch {
	case f.host.Assigned(vfiouser.IRQMSIX, v.n):
		f.host.Trigger(vfiouser.IRQMSIX, v.n)
	case v.n != 0:
	case f.host.Assigned(vfiouser.IRQMSI, 0):
		f.host.Trigger(vfiouser.IRQMSI, 0)
	case !f.config.intxDisabled():
		f.host.Trigger(vfiouser.IRQINTx, 0)
	}
}

// writeBack makes the queues on the vector's list whose cause names throttle i show what they finished. The list is the
// driver's: a loop in it is a violation.
func (v *vector) writeBack(i int) {
	c, r := v.f.c, v.registers()
	link := c.get(r.list, r.index...)
	q, typ := link&queueNone, link>>linkType&3
	for steps := 0; q != queueNone; steps++ {
		if steps > 2*len(c.tx) || int(q) >= len(c.tx) || typ > typeTx {
			c.violation("%s: the cause list of vector %d does not end, or leaves the function's queues, at queue %d",
				v.f.name, v.n, q)
			return
		}
		ctl := c.get("QINT_RQCTL", q)
		queue := c.rx[q]
		if typ == typeTx {
			ctl, queue = c.get("QINT_TQCTL", q), c.tx[q]
		}
		if int(ctl>>causeITR&itrMask) == i && ctl&causeEnable != 0 {
			queue.flush()
		}
		q, typ = ctl>>causeNextQ&queueNone, ctl>>causeNextTyp&3
	}
}

// queueCause is an event of a queue: something was received or sent.
func (c *card) queueCause(q *queue) {
	name := "QINT_RQCTL"
	if q.tx {
		name = "QINT_TQCTL"
	}
	ctl := c.get(name, uint32(q.index))
	if ctl&causeEnable == 0 {
		return
	}
	f := c.owner(q)
	if f == nil {
		return
	}
	n := int(ctl & causeVector)
	if n >= len(f.vectors) {
		c.violation("%s: %s names vector %d of %d", f.name, c.row(name).Label(uint32(q.index)), n, len(f.vectors))
		return
	}
	if n == 0 {
		bit := uint32(icr0Queue0)
		if f.vf < 0 {
			bit <<= ctl >> causeVector0 & 7
		}
		f.setCause(bit)
	}
	f.vectors[n].event(int(ctl >> causeITR & itrMask))
}

// cause registers of vector 0, and the function's index in them.
func (f *function) icr0() (cause, enable, static string, index []uint32) {
	if f.vf < 0 {
		return "PFINT_ICR0", "PFINT_ICR0_ENA", "PFINT_STAT_CTL0", nil
	}
	return "VFINT_ICR0", "VFINT_ICR0_ENA", "VFINT_STAT_CTL0", []uint32{uint32(f.vf)}
}

func (f *function) setCause(bits uint32) {
	cause, _, _, index := f.icr0()
	f.c.set(cause, f.c.get(cause, index...)|bits|icr0Event, index...)
}

// raiseOther is a cause of vector 0 that is no queue. A cause that is not enabled is kept and shown, and interrupts
// when it is enabled.
func (f *function) raiseOther(bit uint32) {
	cause, enable, static, index := f.icr0()
	f.c.set(cause, f.c.get(cause, index...)|bit, index...)
	if f.c.get(enable, index...)&bit == 0 {
		return
	}
	f.setCause(bit)
	f.vectors[0].event(int(f.c.get(static, index...) >> 2 & itrMask))
}

// writeCauseEnable is a write of ICR0_ENA: what is latched already interrupts when it is enabled.
func (f *function) writeCauseEnable(v uint32) {
	cause, enable, static, index := f.icr0()
	f.c.keep(f.c.row(enable), f.flat(index), v)
	if f.c.get(cause, index...)&f.c.get(enable, index...)&^icr0Event != 0 {
		f.setCause(0)
		f.vectors[0].event(int(f.c.get(static, index...) >> 2 & itrMask))
	}
}

func (f *function) flat(index []uint32) uint32 {
	if len(index) == 0 {
		return 0
	}
	return index[0]
}

// writeDynamic is a write of a vector's DYN_CTL register.
func (v *vector) writeDynamic(value uint32) {
	old := v.dynamic()
	kept := value &^ (dynClearPBA | dynSWTrigger | dynKeepEnable)
	if value&dynKeepEnable != 0 {
		kept = kept&^dynEnable | old&dynEnable
	}
	if itr := value >> dynITRShift & itrMask; itr != itrNone {
		r := v.registers()
		v.f.c.set(r.itr, value>>dynInterval&itrValue, append([]uint32{itr}, r.index...)...)
	}
	v.setDynamic(kept)
	if value&dynSWTrigger != 0 {
		v.softwareInterrupt(value)
	}
	v.evaluate()
}

// softwareInterrupt: SWINT_TRIG, on the throttle SW_ITR_INDX if SW_ITR_INDX_ENA says so, else on none.
func (v *vector) softwareInterrupt(value uint32) {
	if v.f.c.faults.takeSoftwareInterrupt() {
		return
	}
	if v.n == 0 {
		v.f.setCause(icr0SWInt)
	}
	itr := itrNone
	if value&dynSWITREna != 0 {
		itr = int(value >> dynSWITR & itrMask)
	}
	v.waiting[itr] = true
}

// quiet forgets what waits, at a reset.
func (v *vector) quiet() {
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	v.serial++
	v.waiting = [4]bool{}
	v.expired, v.fired = [3]time.Time{}, time.Time{}
}
