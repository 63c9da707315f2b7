package i40esim

import "testing"

// TestTheOutboxIsBounded: a driver cannot make the card keep more than outboxLimit for its wire.
func TestTheOutboxIsBounded(t *testing.T) {
	wire := &wireTap{}
	o := outbox{wire: wire}
	const size = 1 << 20
	frame := make([]byte, size)
	for range 2 * outboxLimit / size {
		o.add(frame)
	}
	if o.bytes != outboxLimit || len(o.frames) != outboxLimit/size {
		t.Fatalf("%d frames of %d bytes are kept", len(o.frames), o.bytes)
	}
	o.flush()
	o.add(frame)
	if o.bytes != size || len(o.frames) != 1 {
		t.Errorf("after they were sent: %d frames of %d bytes", len(o.frames), o.bytes)
	}
}
