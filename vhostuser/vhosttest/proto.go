package vhosttest

import (
	"encoding/binary"
	"fmt"
)

// Request is a message type of the vhost-user protocol ("Front-end message types").
type Request uint32

// The requests that a front end of this package sends.
const (
	GetFeatures         Request = 1
	SetFeatures         Request = 2
	SetOwner            Request = 3
	ResetOwner          Request = 4
	SetMemTable         Request = 5
	SetLogBase          Request = 6
	SetVringNum         Request = 8
	SetVringAddr        Request = 9
	SetVringBase        Request = 10
	GetVringBase        Request = 11
	SetVringKick        Request = 12
	SetVringCall        Request = 13
	SetVringErr         Request = 14
	GetProtocolFeatures Request = 15
	SetProtocolFeatures Request = 16
	GetQueueNum         Request = 17
	SetVringEnable      Request = 18
	NetSetMTU           Request = 20
	GetInflightFD       Request = 31
	SetInflightFD       Request = 32
	ResetDevice         Request = 34
	GetMaxMemSlots      Request = 36
	AddMemReg           Request = 37
	RemMemReg           Request = 38
	SetStatus           Request = 39
	GetStatus           Request = 40
)

// Feature bits (virtio 1.3 sections 5.1.3 and 6; vhost-user, "Communication").
const (
	FeatureMTU      = 1 << 3
	FeatureMrgRxBuf = 1 << 15
	FeatureMQ       = 1 << 22
	FeatureIndirect = 1 << 28
	FeatureProtocol = 1 << 30
	FeatureVersion1 = 1 << 32
	FeaturePacked   = 1 << 34
	FeatureInOrder  = 1 << 35
)

// Protocol feature bits (vhost-user, "Protocol features").
const (
	ProtocolMQ          = 1 << 0
	ProtocolReplyAck    = 1 << 3
	ProtocolMTU         = 1 << 4
	ProtocolResetDevice = 1 << 13
	ProtocolMemSlots    = 1 << 15
	ProtocolStatus      = 1 << 16
)

// Device status bits (virtio 1.3 section 2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
)

// Header flags (vhost-user, "Header").
const (
	FlagVersion   = 1
	FlagReply     = 1 << 2
	FlagNeedReply = 1 << 3

	messageHeader = 12
	maxReply      = 4096 // bytes of payload that are believed
	noFD          = 1 << 8
)

// Encode makes a message of any content, right or wrong: only the length field is computed.
func Encode(req Request, flags uint32, payload []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(req))
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// U64 is the payload of a single number.
func U64(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

// VringState is the payload of SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE and GET_VRING_BASE.
func VringState(index, num uint32) []byte {
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, index), num)
}

// VringAddr is the payload of SET_VRING_ADDR: user addresses.
func VringAddr(index, flags uint32, desc, used, avail, log uint64) []byte {
	b := VringState(index, flags)
	for _, a := range []uint64{desc, used, avail, log} {
		b = binary.NativeEndian.AppendUint64(b, a)
	}
	return b
}

// VringFD is the payload of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR.
func VringFD(index uint32, hasFD bool) []byte {
	v := uint64(index)
	if !hasFD {
		v |= noFD
	}
	return U64(v)
}

// MemRegion is one region as SET_MEM_TABLE describes it.
type MemRegion struct {
	GPA, Size, User, Offset uint64
}

func (r MemRegion) appendTo(b []byte) []byte {
	for _, v := range []uint64{r.GPA, r.Size, r.User, r.Offset} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

// MemTable is the payload of SET_MEM_TABLE.
func MemTable(regions ...MemRegion) []byte {
	b := VringState(uint32(len(regions)), 0)
	for _, r := range regions {
		b = r.appendTo(b)
	}
	return b
}

// OneRegion is the payload of ADD_MEM_REG and REM_MEM_REG.
func OneRegion(r MemRegion) []byte { return r.appendTo(U64(0)) }

// Message is what a back end sent.
type Message struct {
	Request Request
	Flags   uint32
	Payload []byte
}

// number is the payload of replies with one number.
func (m Message) number() (uint64, error) {
	if len(m.Payload) != 8 {
		return 0, fmt.Errorf("vhosttest: the reply to request %d has %d bytes, want 8", m.Request, len(m.Payload))
	}
	return binary.NativeEndian.Uint64(m.Payload), nil
}

// vring is the payload of the reply to GET_VRING_BASE.
func (m Message) vring() (index, num uint32, err error) {
	v, err := m.number()
	if err != nil {
		return 0, 0, err
	}
	b := binary.NativeEndian.AppendUint64(nil, v)
	return binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]), nil
}

// RefusedError says that the back end answered a request with a failure.
type RefusedError struct {
	Request Request
	Code    uint64
}

// Error names the request.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("vhosttest: the back end refused request %d (answer %d)", e.Request, e.Code)
}
