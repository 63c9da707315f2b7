package i40esim

import (
	"bytes"
	"testing"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
)

func TestADriverBringsTheCardUpAndExchangesFrames(t *testing.T) {
	for name, paged := range map[string]bool{"direct segments": false, "paged segments": true} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, nil)
			d.paged = paged
			d.interrupts = true
			d.bringUp()
			d.startQueue(0, 25)
			if d.r("QTX_ENA", 0) != 5 || d.r("QRX_ENA", 0) != 5 {
				t.Fatalf("queues are not enabled: %#x, %#x", d.r("QTX_ENA", 0), d.r("QRX_ENA", 0))
			}
			out := testFrame(adminq.MAC{2, 0, 0, 0, 0, 7}, 100)
			d.transmit(0, out, 2)
			if len(d.wire.frames) != 1 || !bytes.Equal(d.wire.frames[0], out) {
				t.Fatalf("on the wire: %x, want %x", d.wire.frames, out)
			}
			d.clk.Advance(time.Millisecond)
			d.rearm()
			in := testFrame(d.dev.cfg.Card.MAC, 80)
			d.dev.Receive(in)
			d.clk.Advance(time.Millisecond)
			if got := d.received(); !bytes.Equal(got, in) {
				t.Fatalf("received %x, want %x", got, in)
			}
			if d.fired[1] == 0 {
				t.Error("no interrupt")
			}
			d.stopQueue(0)
			d.reset()
			d.noViolations()
		})
	}
}
