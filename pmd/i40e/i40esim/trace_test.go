package i40esim

import (
	"strings"
	"sync"
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
)

// TestTheTraceIsStable: the same driver makes the same text, whatever the time.
func TestTheTraceIsStable(t *testing.T) {
	run := func(start time.Duration) string {
		var out strings.Builder
		d := newDriver(t, nil)
		d.clk.Advance(start)
		d.dev.SetTrace(&out)
		d.bringUp()
		for range 3 {
			d.r("GLNVM_SRCTL")
		}
		d.startQueue(3, 10)
		d.dev.FlushTrace()
		return out.String()
	}
	first, second := run(0), run(time.Hour)
	if first != second {
		t.Error("two runs differ")
	}
	for _, line := range []string{
		"PF0 read  GLGEN_RSTAT 0x00000000\n",
		"PF0 write PFGEN_CTRL 0x00000001\n",
		"PF0 write PF_ATQLEN 0x80000020\n",
		"PF0 aq get_version (0001) flags=2000 len=0 params=00000000000000000000000000000000 -> OK\n",
		"PF0 read  GLNVM_SRCTL 0x80000000 x3\n",
		"PF0 write QRX_TAIL[3] 0x0000003f\n",
	} {
		if !strings.Contains(first, line) {
			t.Errorf("the trace has no line %q", line)
		}
	}
	if t.Failed() {
		t.Log(first)
	}
}

func TestAViolationHasTheLastSteps(t *testing.T) {
	d := newDriver(t, nil)
	for i := range uint32(100) {
		d.w("QTX_CTL", i, 1)
	}
	d.w("GLGEN_RSTAT", 1)
	got := d.dev.Violations()
	if len(got) != 1 || len(got[0].Steps) != lastSteps {
		t.Fatalf("%d violations, want one with %d steps: %v", len(got), lastSteps, got)
	}
	steps := got[0].Steps
	if steps[0] != "PF0 write QTX_CTL[1] 0x0000004d" || steps[lastSteps-1] != "PF0 write GLGEN_RSTAT 0x00000001" {
		t.Errorf("from %q to %q", steps[0], steps[lastSteps-1])
	}
	for range 2 * maxViolations {
		d.w("GLGEN_RSTAT", 1)
	}
	if n := len(d.dev.ClearViolations()); n != maxViolations {
		t.Errorf("%d violations are kept", n)
	}
	d.noViolations()
}

func TestCoverage(t *testing.T) {
	d := newDriver(t, nil)
	d.bringUp()
	c := d.dev.Coverage()
	if c.Reads["PF_ATQH"] < 5 || c.Writes["PFHMC_SDCMD"] != 1 || c.Writes["GLPRT_GORCL"] != 0 {
		t.Errorf("registers: %v, %v", c.Reads, c.Writes)
	}
	if c.Commands[adminq.OpGetVersion.String()] != 1 {
		t.Errorf("commands: %v", c.Commands)
	}
}

func TestCommandsFailWhenAFaultSaysSo(t *testing.T) {
	d := newDriver(t, nil)
	d.reset()
	d.setUpQueues()
	d.dev.InjectCommand(adminq.Fault{Opcode: adminq.OpGetVersion, Times: 1, Code: adminq.CodeIO})
	if got := d.send(adminq.OpGetVersion, nil, nil, false); adminq.Code(got.RetVal) != adminq.CodeIO {
		t.Errorf("answer %d", got.RetVal)
	}
	d.command(adminq.OpGetVersion, nil, nil, false)
	d.dev.InjectCommand(adminq.Fault{Opcode: adminq.OpGetVersion, Hang: true})
	if got := d.send(adminq.OpGetVersion, nil, nil, false); got.Flags != 0 {
		t.Errorf("a command that hangs answers %+v", got)
	}
	d.dev.ClearFaults()
	d.reset()
	d.setUpQueues()
	d.command(adminq.OpGetVersion, nil, nil, false)
	d.noViolations()
}

// TestManyAtOnce uses the card from its driver, the wire, timers and the operator's side at the same time.
func TestManyAtOnce(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Wire = nil })
	d.interrupts = true
	d.bringUp()
	d.startQueue(0, 5)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, f := range []func(i int){
		func(int) { d.inject() },
		func(int) { d.clk.Advance(7 * time.Microsecond) },
		func(i int) { d.dev.SetLink(i%2 == 0) },
		func(int) { d.dev.Coverage(); d.dev.Violations() },
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
				}
			}
		}()
	}
	for range 200 {
		d.rearm()
		d.transmit(0, testFrame(adminq.MAC{2}, 64), 2)
		d.w("QRX_TAIL", (uint32(d.dev.Register("QTX_TAIL", 0))+ringLen-1)%ringLen, 0)
	}
	close(stop)
	wg.Wait()
}
