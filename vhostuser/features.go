package vhostuser

import (
	"fmt"
	"math/bits"
)

// Virtio feature bits (virtio 1.3 §5.1.3 and §6).
const (
	featMTU           = 1 << 3  // VIRTIO_NET_F_MTU
	featMergeable     = 1 << 15 // VIRTIO_NET_F_MRG_RXBUF
	featCtrlRX        = 1 << 18 // VIRTIO_NET_F_CTRL_RX
	featGuestAnnounce = 1 << 21 // VIRTIO_NET_F_GUEST_ANNOUNCE
	featMQ            = 1 << 22 // VIRTIO_NET_F_MQ
	featIndirect      = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	featProtocol      = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES (vhost-user, "Communication")
	featVersion1      = 1 << 32 // VIRTIO_F_VERSION_1
	featPacked        = 1 << 34 // VIRTIO_F_RING_PACKED
	featInOrder       = 1 << 35 // VIRTIO_F_IN_ORDER
)

// Protocol feature bits (vhost-user, "Protocol features").
const (
	protoMQ          = 1 << 0
	protoReplyAck    = 1 << 3
	protoMTU         = 1 << 4
	protoResetDevice = 1 << 13
	protoMemSlots    = 1 << 15
	protoStatus      = 1 << 16

	// Not offered; named because messages belong to them.
	protoLogSHMFD     = 1 << 1
	protoRARP         = 1 << 2
	protoBackendReq   = 1 << 5
	protoCrossEndian  = 1 << 6
	protoCrypto       = 1 << 7
	protoPageFault    = 1 << 8
	protoConfig       = 1 << 9
	protoInflight     = 1 << 12
	protoInband       = 1 << 14
	protoSharedObject = 1 << 18
	protoDeviceState  = 1 << 19
)

// offeredFeatures are the virtio features of a port with these many queue pairs and this MTU (0: none).
//
// qemu filters a guest's features by those that its vhost-user back end offers, but only bits of a fixed list (in
// hw/net/vhost_net.c; the same in qemu 7.2 and since). On that list and offered here: VERSION_1, MRG_RXBUF,
// INDIRECT_DESC, RING_PACKED, MTU, MQ and GUEST_ANNOUNCE. Not on it are CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_MAC_ADDR and
// STATUS: qemu serves the control queue itself and gives these to the guest whatever we offer. So MQ needs no CTRL_VQ
// from us: the guest sets the number of pairs on qemu's control queue, and qemu tells us with SET_VRING_ENABLE. We have
// no control queue and do not offer CTRL_VQ. GUEST_ANNOUNCE costs a back end nothing: qemu raises the announcement and
// the guest sends ordinary frames; without the bit qemu would want RARPs broadcast by us.
//
// DPDK's virtio-user adds CTRL_VQ on its own account and serves it, never acknowledging it, but takes CTRL_RX from the
// back end, without which an application cannot switch to promiscuous mode. A switch's port always delivers what the
// rules send to it, as in promiscuous mode, so CTRL_RX is offered. For comparison, DPDK's own vhost library offers
// CTRL_VQ, CTRL_RX, MQ and GUEST_ANNOUNCE, and all checksum and segmentation bits, which Weft does not implement yet.
//
// IN_ORDER is offered because the rings do use buffers in the order in which they became available, always; drivers that
// know (DPDK's) save much of their bookkeeping, and are told of a burst that was read at once (virtq.RingConfig.Batches).
//
// A qemu that reconnects requires the features that its guest has acknowledged: these must not shrink from one
// start of Weft to the next for the same port.
func offeredFeatures(pairs, mtu int) uint64 {
	f := uint64(featVersion1 | featMergeable | featIndirect | featGuestAnnounce | featCtrlRX | featProtocol | featPacked |
		featInOrder)
	if pairs > 1 {
		f |= featMQ
	}
	if mtu > 0 {
		f |= featMTU
	}
	return f
}

// offeredProtocol are the protocol features of a port with this MTU (0: none). MQ is offered for a single pair too, as
// the specification asks ("Multiple queue support"). LOG_SHMFD and RARP are missing: live migration is not
// implemented, and qemu refuses to migrate without the former.
func offeredProtocol(mtu int) uint64 {
	f := uint64(protoMQ | protoReplyAck | protoResetDevice | protoMemSlots | protoStatus)
	if mtu > 0 {
		f |= protoMTU
	}
	return f
}

// bitNames maps a bit number to the name that operators know.
type bitNames [64]string

var featureNames = bitNames{
	0: "CSUM", 1: "GUEST_CSUM", 2: "CTRL_GUEST_OFFLOADS", 3: "MTU", 5: "MAC", 7: "GUEST_TSO4", 8: "GUEST_TSO6",
	9: "GUEST_ECN", 10: "GUEST_UFO", 11: "HOST_TSO4", 12: "HOST_TSO6", 13: "HOST_ECN", 14: "HOST_UFO", 15: "MRG_RXBUF",
	16: "STATUS", 17: "CTRL_VQ", 18: "CTRL_RX", 19: "CTRL_VLAN", 20: "CTRL_RX_EXTRA", 21: "GUEST_ANNOUNCE", 22: "MQ",
	23: "CTRL_MAC_ADDR", 24: "NOTIFY_ON_EMPTY", 26: "LOG_ALL", 27: "ANY_LAYOUT", 28: "INDIRECT_DESC", 29: "EVENT_IDX",
	30: "PROTOCOL_FEATURES", 32: "VERSION_1", 33: "ACCESS_PLATFORM", 34: "RING_PACKED", 35: "IN_ORDER",
	36: "ORDER_PLATFORM", 37: "SR_IOV", 38: "NOTIFICATION_DATA", 40: "RING_RESET", 57: "HASH_REPORT", 60: "RSS",
}

var protocolNames = bitNames{
	0: "MQ", 1: "LOG_SHMFD", 2: "RARP", 3: "REPLY_ACK", 4: "MTU", 5: "BACKEND_REQ", 6: "CROSS_ENDIAN",
	7: "CRYPTO_SESSION", 8: "PAGEFAULT", 9: "CONFIG", 10: "BACKEND_SEND_FD", 11: "HOST_NOTIFIER", 12: "INFLIGHT_SHMFD",
	13: "RESET_DEVICE", 14: "INBAND_NOTIFICATIONS", 15: "CONFIGURE_MEM_SLOTS", 16: "STATUS", 17: "XEN_MMAP",
	18: "SHARED_OBJECT", 19: "DEVICE_STATE",
}

// list names the bits of f, lowest first; never nil.
func (n *bitNames) list(f uint64) []string {
	out := make([]string, 0, bits.OnesCount64(f))
	for ; f != 0; f &= f - 1 {
		bit := bits.TrailingZeros64(f)
		name := n[bit]
		if name == "" {
			name = fmt.Sprintf("BIT_%d", bit)
		}
		out = append(out, name)
	}
	return out
}
