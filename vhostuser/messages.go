package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"weft/internal/sys"
)

// Request is the type of a message (vhost-user, "Front-end message types").
type Request uint32

// The requests that a front end may send.
const (
	GetFeatures         Request = 1
	SetFeatures         Request = 2
	SetOwner            Request = 3
	ResetOwner          Request = 4
	SetMemTable         Request = 5
	SetLogBase          Request = 6
	SetLogFD            Request = 7
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
	SendRARP            Request = 19
	NetSetMTU           Request = 20
	SetBackendReqFD     Request = 21
	IOTLBMsg            Request = 22
	SetVringEndian      Request = 23
	GetConfig           Request = 24
	SetConfig           Request = 25
	CreateCryptoSession Request = 26
	CloseCryptoSession  Request = 27
	PostcopyAdvise      Request = 28
	PostcopyListen      Request = 29
	PostcopyEnd         Request = 30
	GetInflightFD       Request = 31
	SetInflightFD       Request = 32
	GPUSetSocket        Request = 33
	ResetDevice         Request = 34
	VringKick           Request = 35
	GetMaxMemSlots      Request = 36
	AddMemReg           Request = 37
	RemMemReg           Request = 38
	SetStatus           Request = 39
	GetStatus           Request = 40
	GetSharedObject     Request = 41
	SetDeviceStateFD    Request = 42
	CheckDeviceState    Request = 43

	numRequests = 44
)

// Header layout and flags (vhost-user, "Header").
const (
	headerSize    = 12
	flagVersion   = 0x1
	maskVersion   = 0x3
	flagReply     = 1 << 2
	flagNeedReply = 1 << 3
)

// Payload layouts in bytes (vhost-user, "Payload").
const (
	sizeU64       = 8
	sizeVring     = 8  // index, num
	sizeVringAddr = 40 // index, flags, desc, used, avail, log
	sizeMemHeader = 8  // count, padding
	sizeRegion    = 32 // guest address, size, user address, mmap offset
	sizeOneRegion = 8 + sizeRegion

	// maxPayload bounds messages that the table does not know better.
	maxPayload = 4096
)

// Fields of the u64 of SET_VRING_KICK, CALL and ERR.
const (
	vringIndexMask = 0xff
	vringNoFD      = 1 << 8
)

const (
	// maxTableRegions is the most that SET_MEM_TABLE can carry.
	maxTableRegions = 8
	// maxSlots is the most regions that ADD_MEM_REG may build up. qemu gives a guest as many DIMMs as the back end has
	// slots; 32 is generous and keeps address translation short.
	maxSlots = 32
	// maxFDs bounds the descriptors of any message: one for each region of SET_MEM_TABLE.
	maxFDs = maxTableRegions
)

var order = binary.NativeEndian // vhost-user, "Message Specification"

// violation is a message that no correct front end sends: the session ends, whether or not an answer was asked for.
type violation struct{ text string }

func (v *violation) Error() string { return v.text }

func violationf(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

// message is one request as it was received. It owns fds until they are taken; the receiver must call close.
type message struct {
	req     Request
	flags   uint32
	payload []byte
	fds     []int // -1: taken
}

// take hands descriptor i over to the caller.
func (m *message) take(i int) int {
	fd := m.fds[i]
	m.fds[i] = -1
	return fd
}

// close closes the descriptors that nobody took.
func (m *message) close() {
	for i, fd := range m.fds {
		if fd >= 0 {
			sys.CloseFDs(m.fds[i : i+1])
		}
	}
	m.fds = nil
}

// reader reads messages off one connection.
type reader struct {
	conn   *net.UnixConn
	header [headerSize]byte
	oob    []byte
}

func newReader(conn *net.UnixConn) *reader {
	return &reader{conn: conn, oob: make([]byte, sys.FDSpace(maxFDs))}
}

// next reads one message and checks it against its row of the table. It returns io.EOF when the front end closed
// between messages, io.ErrUnexpectedEOF when in the midst of one. On an error no descriptor stays open.
func (r *reader) next() (*message, error) {
	m := &message{}
	if err := r.fill(r.header[:], m); err != nil {
		m.close()
		return nil, err
	}
	size, err := decodeHeader(r.header[:], m)
	if err == nil {
		m.payload = make([]byte, size)
		if err = r.fill(m.payload, m); errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	if err == nil {
		err = checkFDs(m)
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// fill reads exactly len(buf) bytes and collects the descriptors that come along.
func (r *reader) fill(buf []byte, m *message) error {
	for at := 0; at < len(buf); {
		n, fds, err := sys.RecvFDs(r.conn, buf[at:], r.oob, m.fds, maxFDs)
		at, m.fds = at+n, fds
		switch {
		case errors.Is(err, sys.ErrTruncatedFDs):
			return violationf("file descriptors were lost: more than %d in one message, or more than this process may "+
				"have open (see ulimit -n)", maxFDs)
		case errors.Is(err, io.EOF) && at > 0:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// decodeHeader fills m's request and flags and returns the payload's length, bounded by the request's row.
func decodeHeader(b []byte, m *message) (size uint32, err error) {
	m.req = Request(order.Uint32(b[0:]))
	m.flags = order.Uint32(b[4:])
	size = order.Uint32(b[8:])
	if m.flags&maskVersion != flagVersion {
		return 0, violationf("%v: protocol version %d, want %d", m.req, m.flags&maskVersion, flagVersion)
	}
	if m.flags&flagReply != 0 {
		return 0, violationf("%v: the reply flag is set in a request", m.req)
	}
	rule := m.req.rule()
	if size < rule.minSize || size > rule.maxSize {
		return 0, violationf("%v: payload of %d bytes, want %s", m.req, size, rule.sizes())
	}
	return size, nil
}

// checkFDs bounds the number of descriptors by the request's row.
func checkFDs(m *message) error {
	if rule := m.req.rule(); len(m.fds) > rule.maxFDs {
		return violationf("%v: %d file descriptors, at most %d allowed", m.req, len(m.fds), rule.maxFDs)
	}
	return nil
}

// encodeReply is the answer to request r.
func encodeReply(r Request, payload []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(payload))
	order.PutUint32(b[0:], uint32(r))
	order.PutUint32(b[4:], flagVersion|flagReply)
	order.PutUint32(b[8:], uint32(len(payload)))
	return append(b, payload...)
}

func encodeU64(v uint64) []byte { return order.AppendUint64(nil, v) }

// u64 is the payload of messages with a single number. The table guarantees its length.
func (m *message) u64() uint64 { return order.Uint64(m.payload) }

// vringState is the payload of SET_VRING_NUM, BASE and ENABLE, and of GET_VRING_BASE and its answer.
type vringState struct{ index, num uint32 }

func (m *message) vringState() vringState {
	return vringState{order.Uint32(m.payload[0:]), order.Uint32(m.payload[4:])}
}

func (v vringState) encode() []byte {
	return order.AppendUint32(order.AppendUint32(nil, v.index), v.num)
}

// vringAddr is the payload of SET_VRING_ADDR: addresses in the front end's own address space.
type vringAddr struct {
	index, flags            uint32
	desc, used, avail, logs uint64
}

func (m *message) vringAddr() vringAddr {
	p := m.payload
	return vringAddr{
		index: order.Uint32(p[0:]), flags: order.Uint32(p[4:]),
		desc: order.Uint64(p[8:]), used: order.Uint64(p[16:]), avail: order.Uint64(p[24:]), logs: order.Uint64(p[32:]),
	}
}

// regionSpec is one memory region as a front end describes it.
type regionSpec struct{ gpa, size, user, offset uint64 }

func decodeRegion(p []byte) regionSpec {
	return regionSpec{order.Uint64(p[0:]), order.Uint64(p[8:]), order.Uint64(p[16:]), order.Uint64(p[24:])}
}

// memTable is the payload of SET_MEM_TABLE. The number of regions must match the length and the descriptors.
func (m *message) memTable() ([]regionSpec, error) {
	n := order.Uint32(m.payload)
	if n == 0 || n > maxTableRegions {
		return nil, violationf("%v: %d memory regions, want 1 to %d", m.req, n, maxTableRegions)
	}
	if want := sizeMemHeader + sizeRegion*int(n); len(m.payload) != want {
		return nil, violationf("%v: payload of %d bytes, want %d for %d regions", m.req, len(m.payload), want, n)
	}
	if len(m.fds) != int(n) {
		return nil, violationf("%v: %d file descriptors for %d regions", m.req, len(m.fds), n)
	}
	regions := make([]regionSpec, n)
	for i := range regions {
		regions[i] = decodeRegion(m.payload[sizeMemHeader+sizeRegion*i:])
	}
	return regions, nil
}

// oneRegion is the payload of ADD_MEM_REG and REM_MEM_REG.
func (m *message) oneRegion() regionSpec { return decodeRegion(m.payload[8:]) }

// vringFD is the payload of SET_VRING_KICK, CALL and ERR: the ring's index and whether a descriptor came along.
func (m *message) vringFD() (index uint32, present bool, err error) {
	v := m.u64()
	if v&^(vringIndexMask|vringNoFD) != 0 {
		return 0, false, violationf("%v: unknown bits in %#x", m.req, v)
	}
	present = v&vringNoFD == 0
	if want := map[bool]int{true: 1}[present]; len(m.fds) != want {
		return 0, false, violationf("%v: %d file descriptors, want %d", m.req, len(m.fds), want)
	}
	return uint32(v & vringIndexMask), present, nil
}
