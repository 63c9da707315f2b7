package vhosttest

import "encoding/binary"

// struct virtio_net_hdr (section 5.1.6).
const (
	netHeader       = 12 // with num_buffers
	netHeaderLegacy = 10 // without

	offFlags      = 0
	offGSOType    = 1
	offNumBuffers = 10
)

// checkHeader checks the header of a received frame as far as no offload was negotiated (section 5.1.6.4.1), and
// returns how many buffers the frame lies in.
func (q *Queue) checkHeader(h []byte) (buffers uint16, err error) {
	if h[offFlags] != 0 {
		return 0, q.violation("5.1.6.4.1", "set header flags %#x without GUEST_CSUM", h[offFlags])
	}
	if h[offGSOType] != 0 {
		return 0, q.violation("5.1.6.4.1", "set gso_type %#x without a GUEST_TSO feature", h[offGSOType])
	}
	if len(h) < netHeader {
		return 1, nil
	}
	n := binary.LittleEndian.Uint16(h[offNumBuffers:])
	switch {
	case n == 0:
		return 0, q.violation("5.1.6.4", "set num_buffers to 0")
	case n != 1 && !q.cfg.Mergeable:
		return 0, q.violation("5.1.6.4.1", "set num_buffers to %d without MRG_RXBUF", n)
	}
	return n, nil
}
