package i40esim

import (
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
)

func TestAPFResetStopsTheFunctionAlone(t *testing.T) {
	d := ready(t, 50)
	d.w("GLLAN_TSOMSK_F", 0x123)
	d.inject()
	d.reset()
	for name, want := range map[string]uint32{
		"PF_ATQLEN": asqEntries, "PF_ARQLEN": arqEntries, "QTX_ENA": 0, "QRX_ENA": 0, "PFINT_ITRN": 0,
		"PFINT_LNKLSTN":   0x1FFF,
		"PFHMC_SDDATALOW": 0, "GLLAN_TSOMSK_F": 0x123, "QTX_CTL": 2, "GLGEN_RSTAT": 0,
	} {
		if got := d.r(name); got != want {
			t.Errorf("after a PF reset %s is %#x, want %#x", name, got, want)
		}
	}
	if d.dev.hmc.segments[0].valid {
		t.Error("a segment descriptor is still valid")
	}
	// The card works again when it is brought up again.
	d.bringUp()
	d.startQueue(0, 0)
	d.inject()
	if d.received() == nil {
		t.Error("nothing is received after the card was brought up again")
	}
	d.noViolations()
}

// TestCardResets: warning interrupt, time during which nothing works, counters, and what each reset takes.
func TestCardResets(t *testing.T) {
	for _, c := range []struct {
		kind  ResetKind
		bit   uint32
		shift uint32 // of the counter
		keeps uint32 // what PRTTSYN_CTL0 (GLOBR) has after it
		took  time.Duration
	}{
		{CORER, 0, 4, 1 << 31, 100 * time.Millisecond},
		{GLOBR, 1, 6, 0, 100 * time.Millisecond},
		{EMPR, 2, 8, 0, 300 * time.Millisecond},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			d := ready(t, 0)
			d.w("PRTTSYN_CTL0", 1<<31)
			d.w("GLLAN_TSOMSK_F", 0x123)
			d.w("PFINT_ICR0_ENA", icr0Reset)
			d.w("PFINT_DYN_CTL0", dynEnable|3<<dynITRShift)
			d.w("GLGEN_RTRIG", 1<<c.bit)
			if d.fired[0] != 1 || d.r("PFINT_ICR0")&icr0Reset == 0 {
				t.Error("no warning by cause GRST")
			}
			if got := d.r("GLGEN_RSTAT"); got != rstatRequested|uint32(c.kind)<<rstatTypeShift {
				t.Errorf("GLGEN_RSTAT is %#x after the warning", got)
			}
			d.transmit(0, testFrame(adminq.MAC{2}, 64), 2)
			if len(d.wire.frames) != 1 {
				t.Error("the card stopped before the reset")
			}
			d.clk.Advance(time.Duration(d.r("GLGEN_RSTCTL")&0x3F) * 100 * time.Millisecond) // GRSTDEL
			if got := d.r("GLGEN_RSTAT") & rstatState; got != rstatActive || d.r("GLNVM_ULD") != 0 {
				t.Errorf("during the reset DEVSTATE is %d, GLNVM_ULD %#x", got, d.r("GLNVM_ULD"))
			}
			d.w("PF_ATQLEN", 1<<31|32)
			if d.r("PF_ATQLEN")>>31 != 0 {
				t.Error("a register takes a write during the reset")
			}
			d.clk.Advance(c.took)
			if got := d.r("GLGEN_RSTAT"); got != 1<<c.shift|uint32(c.kind)<<rstatTypeShift {
				t.Errorf("GLGEN_RSTAT is %#x after the reset, want its type and a one at bit %d", got, c.shift)
			}
			if got := d.r("PRTTSYN_CTL0"); got != c.keeps {
				t.Errorf("PRTTSYN_CTL0 is %#x, want %#x", got, c.keeps)
			}
			if got := d.r("GLLAN_TSOMSK_F"); got != 9 {
				t.Errorf("GLLAN_TSOMSK_F is %#x after a reset of the core", got)
			}
			d.bringUp()
			d.startQueue(0, 0)
			d.inject()
			if d.received() == nil {
				t.Error("the card does not work after the reset")
			}
			d.noViolations()
		})
	}
}

// TestAResetInTheMiddleOfTraffic is injected, and a second one while the first is under way.
func TestAResetInTheMiddleOfTraffic(t *testing.T) {
	d := ready(t, 50)
	d.dev.ResetCard(CORER)
	d.dev.ResetCard(GLOBR)
	for range 10 {
		d.inject()
		d.transmit(0, testFrame(adminq.MAC{2}, 64), 0)
		d.clk.Advance(400 * time.Millisecond)
	}
	if len(d.wire.frames) != 3 {
		t.Errorf("%d frames were sent, want those of the second before the reset", len(d.wire.frames))
	}
	d.clk.Advance(time.Second)
	if got := d.r("GLGEN_RSTAT"); got != 1<<6|uint32(GLOBR)<<rstatTypeShift {
		t.Errorf("GLGEN_RSTAT is %#x, want one GLOBR", got)
	}
	d.noViolations()
}

func TestFunctionLevelReset(t *testing.T) {
	d := ready(t, 0)
	d.config16(devCtl, devCtlFLR)
	if d.dev.pf.config.busMaster() || d.dev.pf.config.memorySpace() {
		t.Error("the command register survived")
	}
	d.config16(cfgCommand, commandMemory|commandMaster)
	if d.r("QRX_ENA", 0) != 0 || d.r("PF_ATQLEN")>>31 != 0 {
		t.Error("the function is still set up")
	}
	d.bringUp()
	d.startQueue(0, 0)
	d.noViolations()
}

// TestAClientThatGoesAwayLeavesNothing: the next one finds a card as after power on.
func TestAClientThatGoesAwayLeavesNothing(t *testing.T) {
	d := ready(t, 50)
	d.inject()
	d.rearm()
	d.inject() // a throttle runs
	d.dev.Detach()
	d.clk.Advance(time.Second)
	d.dev.Receive(testFrame(d.dev.cfg.Card.MAC, 64))
	if err := d.dev.Reset(); err != nil {
		t.Fatal(err)
	}
	d.dev.AttachHost(d)
	d.config16(cfgCommand, commandMemory|commandMaster)
	if got := d.r("GLLAN_RCTL_0"); got != 1 {
		t.Errorf("GLLAN_RCTL_0 is %#x, want PXE mode", got)
	}
	d.bringUp()
	d.startQueue(0, 0)
	d.inject()
	if d.received() == nil {
		t.Error("the second client receives nothing")
	}
	d.noViolations()
}

func TestClockOfThePort(t *testing.T) {
	d := newDriver(t, nil)
	d.w("PRTTSYN_INC_L", 0x33333333)
	d.w("PRTTSYN_INC_H", 3)
	d.w("PRTTSYN_TIME_L", 1000)
	d.w("PRTTSYN_TIME_H", 5)
	d.clk.Advance(time.Second)
	now := uint64(d.r("PRTTSYN_TIME_L")) | uint64(d.r("PRTTSYN_TIME_H"))<<32
	if got := int64(now - (5<<32 + 1000)); got < 999_999_000 || got > 1_000_001_000 {
		t.Errorf("a second is %d ns", got)
	}
	d.w("PRTTSYN_ADJ", 1<<31|500)
	after := uint64(d.r("PRTTSYN_TIME_L")) | uint64(d.r("PRTTSYN_TIME_H"))<<32
	if after != now-500 {
		t.Errorf("adjusted by -500: %d, was %d", after, now)
	}
	timer := d.r("GLVFGEN_TIMER")
	d.clk.Advance(time.Millisecond)
	if got := d.r("GLVFGEN_TIMER") - timer; got != 1000 {
		t.Errorf("GLVFGEN_TIMER advanced by %d us in 1 ms", got)
	}
	d.noViolations()
}
