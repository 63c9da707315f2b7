package i40esim

import (
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
)

func ready(t *testing.T, interval uint32) *driver {
	t.Helper()
	d := newDriver(t, nil)
	d.interrupts = true
	d.bringUp()
	d.startQueue(0, interval)
	return d
}

func (d *driver) inject() {
	d.dev.Receive(testFrame(d.dev.cfg.Card.MAC, 64))
}

// TestReceivedFramesAppearWithALineOrTheThrottle is the trap of facts 3.15: nothing else writes back.
func TestReceivedFramesAppearWithALineOrTheThrottle(t *testing.T) {
	d := ready(t, 50) // 100 us
	d.inject()
	if d.received() == nil || d.fired[1] != 1 {
		t.Fatal("the first frame after a long time waits for a throttle that ran out long ago")
	}
	d.rearm()
	d.inject()
	if d.received() != nil || d.fired[1] != 1 {
		t.Fatal("a frame shows before its throttle expired")
	}
	d.clk.Advance(99 * time.Microsecond)
	if d.received() != nil {
		t.Fatal("a frame shows after 99 us of 100")
	}
	d.clk.Advance(2 * time.Microsecond)
	if d.received() == nil || d.fired[1] != 2 {
		t.Fatal("a frame does not show when its throttle expired")
	}
	d.inject() // without INTENA: latched
	d.clk.Advance(time.Second)
	if d.received() != nil || d.fired[1] != 2 {
		t.Fatal("a frame shows although the vector is off")
	}
	d.inject() // completes the line of four descriptors of 32 bytes
	if got := d.all(); got != 2 {
		t.Fatalf("a full line is not written back: %d frames", got)
	}
	d.rearm()
	if d.fired[1] != 3 {
		t.Fatal("what was latched does not interrupt when the vector is enabled")
	}
	d.noViolations()
}

// TestWriteBackOnThrottle is polling: WB_ON_ITR writes back without interrupting, and it needs the linkage list.
func TestWriteBackOnThrottle(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	d.startQueue(0, 0)
	d.w("PFINT_DYN_CTLN", dynWBOnITR|3<<3, 0)
	d.inject()
	if d.received() == nil || d.fired[1] != 0 {
		t.Fatal("WB_ON_ITR does not write back, or interrupts")
	}
	d.w("PFINT_LNKLSTN", queueNone, 0)
	d.inject()
	d.clk.Advance(time.Second)
	if d.received() != nil {
		t.Fatal("a queue on no vector's list is written back")
	}
	d.w("PFINT_LNKLSTN", 0, 0)
	d.inject()
	if got := d.all(); got != 2 {
		t.Fatalf("the list is not looked at afresh: %d frames", got)
	}
	d.noViolations()
}

func TestALoopInTheCauseListIsAViolation(t *testing.T) {
	d := ready(t, 0)
	d.w("QINT_TQCTL", 1|1<<11|0<<16|0<<27|1<<30, 0) // back to receive queue 0
	d.inject()
	d.violation("cause list of vector 1")
}

func TestTransmitThrottleReportsWhatHasNoRS(t *testing.T) {
	d := ready(t, 50)
	frame := testFrame(adminq.MAC{2}, 64)
	d.transmit(0, frame, 0)
	if got := d.u32(d.headWB); got != 1 {
		t.Fatalf("the first packet after a long time is reported as %d", got)
	}
	d.rearm()
	d.transmit(0, frame, 0)
	if got := d.u32(d.headWB); got != 1 {
		t.Fatalf("a packet without RS is reported at once: head %d", got)
	}
	d.clk.Advance(101 * time.Microsecond)
	if got := d.u32(d.headWB); got != 2 {
		t.Fatalf("the throttle expired and the head is %d, want 2", got)
	}
	if got := d.r("QTX_HEAD", 0); got != 2 {
		t.Errorf("QTX_HEAD is %d", got)
	}
	d.noViolations()
}

func TestRateLimit(t *testing.T) {
	d := ready(t, 0)
	d.w("PFINT_RATEN", rateOn|25, 0) // 100 us
	d.inject()
	d.rearm()
	d.inject()
	if d.fired[1] != 1 {
		t.Fatal("the rate limit is not kept")
	}
	d.clk.Advance(101 * time.Microsecond)
	if d.fired[1] != 2 {
		t.Fatal("the interrupt did not come when the limit allowed it")
	}
	d.noViolations()
}

func TestTheThrottleCanBeSetByDynCtl(t *testing.T) {
	d := ready(t, 0)
	d.w("PFINT_DYN_CTLN", dynEnable|1<<dynITRShift|0x7B<<dynInterval, 0)
	if got := d.r("PFINT_ITRN", 1, 0); got != 0x7B {
		t.Errorf("PFINT_ITRN[1,0] is %#x", got)
	}
	d.w("PFINT_DYN_CTLN", 3<<dynITRShift|0x11<<dynInterval|dynKeepEnable, 0)
	if got := d.r("PFINT_ITRN", 1, 0); got != 0x7B {
		t.Errorf("ITR_INDX 3 changed PFINT_ITRN[1,0] to %#x", got)
	}
	if d.r("PFINT_DYN_CTLN", 0)&dynEnable == 0 {
		t.Error("INTENA_MSK did not keep INTENA")
	}
	d.noViolations()
}

// TestSoftwareInterrupt is the interrupt part of the drivers' self-test.
func TestSoftwareInterrupt(t *testing.T) {
	const trigger = dynEnable | dynSWTrigger | 3<<dynITRShift | dynSWITREna | 3<<dynSWITR
	d := newDriver(t, nil)
	d.w("PFINT_DYN_CTL0", trigger)
	if d.fired[0] != 1 {
		t.Fatal("no interrupt")
	}
	if got := d.r("PFINT_ICR0"); got != icr0SWInt|icr0Event {
		t.Errorf("PFINT_ICR0 is %#x, want bits 31 and 0", got)
	}
	if got := d.r("PFINT_ICR0"); got != 0 {
		t.Errorf("PFINT_ICR0 reads %#x a second time", got)
	}
	d.dev.LoseSoftwareInterrupts(true)
	d.w("PFINT_DYN_CTL0", trigger)
	if d.fired[0] != 1 || d.r("PFINT_ICR0") != 0 {
		t.Error("the injected fault did not prevent the interrupt")
	}
	d.noViolations()
}

// TestOtherCauses: a cause that is not enabled is shown and interrupts when it is enabled.
func TestOtherCauses(t *testing.T) {
	d := newDriver(t, nil)
	d.r("PFINT_ICR0")
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	d.dev.SetLink(false)
	if d.fired[0] != 0 {
		t.Fatal("a cause that is off interrupts")
	}
	d.w("PFINT_ICR0_ENA", icr0LinkChange)
	if d.fired[0] != 1 {
		t.Fatal("a latched cause does not interrupt when it is enabled")
	}
	if got := d.r("PFINT_ICR0"); got != icr0LinkChange|icr0Event {
		t.Errorf("PFINT_ICR0 is %#x", got)
	}
	if d.r("PFINT_DYN_CTL0")&dynEnable != 0 {
		t.Error("INTENA stays set after the interrupt")
	}
	d.dev.LoseInterrupts(1)
	d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
	d.dev.SetLink(true)
	d.clk.Advance(time.Second)
	if d.fired[0] != 1 {
		t.Error("the interrupt was not lost")
	}
	d.noViolations()
}
