//go:build i40e

package i40e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"weft/pmd/i40e/i40esim/wire"
)

// trunk plugs a card into several taps: one for untagged frames, and one for each VLAN, which carries its frames without
// the tag. So the peer needs no VLAN devices, which not every machine's kernel has, and no other VLAN code judges ours.
type trunk struct {
	taps   map[int]wire.Port // by VLAN, 0 for untagged frames
	names  map[int]string
	frames [2]atomic.Uint64 // from the card and to it
	bytes  [2]atomic.Uint64 // of these, padding included
	tagged [2]atomic.Uint64 // of these, frames with a tag
	stray  atomic.Uint64    // frames from the card with a tag that has no tap

	mu sync.Mutex // one frame at a time to the receiver
}

var _ wire.Port = (*trunk)(nil)

// newTrunk makes the taps.
func (r *rig) newTrunk(vlans ...int) *trunk {
	r.t.Helper()
	t := &trunk{taps: make(map[int]wire.Port), names: make(map[int]string)}
	for _, id := range append([]int{0}, vlans...) {
		name := fmt.Sprintf("i40e-%d-%d", os.Getpid()%100000, id) // 15 characters at most
		port, err := wire.OpenTap(name, 0)
		r.must(err)
		t.taps[id], t.names[id] = port, name
	}
	r.group.Defer(func() { _ = t.Close() })
	return t
}

// Send takes a frame from the card.
func (t *trunk) Send(frame []byte) {
	const tagAt = 12
	t.frames[0].Add(1)
	t.bytes[0].Add(uint64(len(frame)))
	if binary.BigEndian.Uint16(frame[tagAt:]) != etherVLAN {
		t.taps[0].Send(frame)
		return
	}
	t.tagged[0].Add(1)
	tap := t.taps[int(binary.BigEndian.Uint16(frame[tagAt+2:])&0xfff)]
	if tap == nil {
		t.stray.Add(1)
		return
	}
	tap.Send(slices.Concat(frame[:tagAt], frame[tagAt+vlanLen:]))
}

// Start gives the card what comes from the taps.
func (t *trunk) Start(receive wire.Receiver) {
	for id, tap := range t.taps {
		tap.Start(func(frame []byte) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if id != 0 {
				t.tagged[1].Add(1)
				tag := binary.BigEndian.AppendUint16([]byte{etherVLAN >> 8, etherVLAN & 0xff}, uint16(id))
				frame = slices.Concat(frame[:12], tag, frame[12:])
			}
			t.frames[1].Add(1)
			t.bytes[1].Add(uint64(len(frame)))
			receive(frame)
		})
	}
}

// Stats are those of all taps together.
func (t *trunk) Stats() (sum wire.Stats) {
	for _, tap := range t.taps {
		s := tap.Stats()
		sum.Sent, sum.Received, sum.Dropped = sum.Sent+s.Sent, sum.Received+s.Received, sum.Dropped+s.Dropped
	}
	return sum
}

// Close unplugs all.
func (t *trunk) Close() error {
	var err error
	for _, id := range slices.Sorted(maps.Keys(t.taps)) {
		err = errors.Join(err, t.taps[id].Close())
	}
	return err
}
