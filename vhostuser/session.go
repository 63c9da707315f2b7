package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"weft/internal/sys"
)

// replyTimeout bounds the waiting for room to send an answer. The socket holds some hundred of them: a front end that
// has not read these does not follow the protocol.
const replyTimeout = time.Second

// errClosedByPeer says that a session ended because the front end closed it between two messages, as it may.
var errClosedByPeer = errors.New("the front end closed the connection")

// errSilent says that a session ended because another front end came while this one had never spoken.
var errSilent = errors.New("the front end said nothing, and another one connected")

// session is one connection to one front end.
//
// Concurrency: run's goroutine owns everything that is not described otherwise.
type session struct {
	port *Port
	conn *net.UnixConn
	log  *slog.Logger

	// Written by other goroutines.
	broken chan struct{} // capacity 1: some ring broke
	failed chan error    // capacity 1: end with this error
	cutOff atomic.Bool   // PMD threads have had faults on the memory: no ring may be attached any more
	ending atomic.Bool   // the session is over, its remains are being removed
	spoke  atomic.Bool   // a whole message has come

	// Negotiated.
	features  uint64
	protocol  uint64
	hasFeats  bool
	status    uint8 // virtio device status
	mtu       int
	peer      *Peer
	connected time.Time

	mem   *guestMemory
	rings []*ring
	node  int // of the guest's memory, -1: unknown
}

// incoming is what the reading goroutine hands over: a message, or why there are no more.
type incoming struct {
	m   *message
	err error
}

func newSession(p *Port, conn *net.UnixConn) *session {
	s := &session{
		port: p, conn: conn, log: p.log,
		broken: make(chan struct{}, 1), failed: make(chan error, 1),
		mtu: p.cfg.MTU, node: -1, connected: time.Now(),
	}
	for i := range p.cfg.QueuePairs {
		s.rings = append(s.rings, newRing(2*i, p.tx[i], nil), newRing(2*i+1, p.rx[i], p.bells[i]))
	}
	if pid, uid, gid, err := sys.PeerCredentials(conn); err == nil {
		s.peer = &Peer{PID: pid, UID: uid, GID: gid}
		s.log = s.log.With("peer_pid", pid)
	}
	return s
}

// run serves the front end until one of the two ends it, or ctx does, and leaves nothing behind.
func (s *session) run(ctx context.Context) {
	msgs := make(chan incoming)
	go s.read(msgs)
	s.publish()
	err := s.serve(ctx, msgs)
	s.ending.Store(true)
	s.port.ended(ctx, s, err)
	s.teardown()
	// Closing the connection ends the reader; messages that it still hands over are thrown away, descriptors and all.
	_ = s.conn.Close()
	for in := range msgs {
		if in.m != nil {
			in.m.close()
		}
	}
}

// read hands messages over until there are no more.
func (s *session) read(to chan<- incoming) {
	defer close(to)
	r := newReader(s.conn)
	for {
		m, err := r.next()
		to <- incoming{m, err}
		if err != nil {
			return
		}
	}
}

func (s *session) serve(ctx context.Context, msgs <-chan incoming) error {
	for {
		if s.cutOff.Load() { // before any message, however many there are
			return <-s.failed
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.failed:
			return err
		case <-s.broken:
			s.collectBroken()
			s.publish()
		case in := <-msgs:
			if err := s.receive(in); err != nil {
				return err
			}
		}
	}
}

// receive handles one message. An error ends the session.
func (s *session) receive(in incoming) error {
	switch {
	case errors.Is(in.err, io.EOF):
		return errClosedByPeer
	case errors.Is(in.err, io.ErrUnexpectedEOF):
		return errors.New("the front end closed the connection in the midst of a message")
	case in.err != nil:
		return in.err
	}
	m := in.m
	defer m.close()
	s.spoke.Store(true)
	s.collectBroken() // so that no ring is reset before its error was seen
	reply, err := s.handle(m)
	s.publish() // before the answer, after which the front end may rely on it
	var bad *violation
	wanted := m.flags&flagNeedReply != 0 && s.protocol&protoReplyAck != 0
	explicit := m.req.rule().replies
	switch {
	case errors.As(err, &bad):
		return err
	case err != nil && wanted && !explicit:
		err = fmt.Errorf("%v: %w", m.req, err)
		s.port.note(err)
		s.port.say(s.log, slog.LevelWarn, "request refused", err.Error(), "error", err)
		return s.reply(m.req, encodeU64(1))
	case err != nil:
		return fmt.Errorf("%v: %w", m.req, err)
	case explicit:
		return s.reply(m.req, reply)
	case wanted:
		return s.reply(m.req, encodeU64(0))
	}
	return nil
}

// handle checks m against its row of the table and does what it says.
func (s *session) handle(m *message) (reply []byte, err error) {
	rule := m.req.rule()
	if err := rule.allowed(m.req, s.state()); err != nil {
		return nil, err
	}
	if rule.unsupported || rule.feature&^offeredProtocol(s.port.cfg.MTU) != 0 {
		return nil, errors.New("not supported, and nothing that was offered implies it")
	}
	return handlers[m.req](s, m)
}

// reply sends an answer.
func (s *session) reply(r Request, payload []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if err := sys.SendFDs(s.conn, encodeReply(r, payload), nil); err != nil {
		return fmt.Errorf("%v: answering: %w", r, err)
	}
	return nil
}

// state is where the session is in the table of states.
func (s *session) state() sessionState {
	for _, r := range s.rings {
		if r.vr != nil {
			return stateRunning
		}
	}
	switch {
	case s.hasFeats && s.mem != nil:
		return stateConfigured
	case s.hasFeats:
		return stateNegotiated
	}
	return stateConnected
}

// ring is the ring that m addresses, in a state in which m may address it.
func (s *session) ring(m *message, index uint32) (*ring, error) {
	if index >= uint32(len(s.rings)) {
		return nil, violationf("%v: ring %d does not exist: this port has %d queue pairs (rings 0 to %d); give it more, "+
			"or the front end fewer", m.req, index, len(s.rings)/2, len(s.rings)-1)
	}
	r := s.rings[index]
	return r, m.req.rule().allowedRing(m.req, r.index, r.state())
}

// stop takes rings off their queues and waits until no PMD thread uses them. It remembers where they were. The guest's
// transmitqs go first, so that nothing is taken from a guest that could not be given to it again.
func (s *session) stop(rings ...*ring) {
	waiting := false
	for _, odd := range [...]int{1, 0} {
		for _, r := range rings {
			if r.index%2 == odd && r.detach() {
				waiting = true
			}
		}
	}
	if waiting {
		s.port.host.Synchronize()
	}
	for _, r := range rings {
		r.retire()
	}
}

// start builds and attaches every ring for which everything is there, and detaches those that are disabled.
func (s *session) start() {
	for _, r := range s.rings {
		if r.kicked && r.vr == nil && !r.broken {
			s.build(r)
		}
		if r.vr != nil && r.enabled && !r.attached {
			r.attach()
		}
	}
	for _, r := range s.rings {
		r.settle()
	}
	if s.cutOff.Load() {
		// Port.Fault set this before it took the rings off the queues: either it was after us, or we see it.
		s.port.dropRings()
	}
}

// build makes r's virtq.Ring if the front end has said all that it takes. A ring that cannot be built is a fault of
// the ring and not of the message that completed it: a later memory table may mend it.
func (s *session) build(r *ring) {
	r.missing, r.fault = r.lacks(s.mem), nil
	if r.missing != "" {
		return
	}
	base, hasBase := uint16(r.base), r.hasBase
	r.fault = r.build(s.mem, s.features, s.mtu)
	if r.fault != nil {
		err := fmt.Errorf("%s: %w", r.name(), r.fault)
		s.port.note(err)
		s.port.say(s.log, slog.LevelWarn, "a ring cannot run", err.Error(), "error", err)
		return
	}
	if at := uint16(r.vr.Base()); at != base && hasBase {
		s.port.say(s.log, slog.LevelInfo, "a ring goes on where guest memory says", r.name(),
			"ring", r.name(), "base", base, "at", at)
	}
	s.locate(r)
}

// locate finds the node of the guest's memory by that of a ring, whose page the guest has touched.
func (s *session) locate(r *ring) {
	if s.node >= 0 || s.port.host.NodeOf == nil {
		return
	}
	node, err := r.node(s.mem, s.port.host.NodeOf)
	if err != nil {
		s.log.Debug("vhost-user: node of guest memory unknown", "error", err)
		return
	}
	s.node = node
}

// setMemory replaces guest memory (next may be nil). Started rings pause, are translated anew, and go on where they
// were.
func (s *session) setMemory(next *guestMemory) {
	if next == s.mem {
		return
	}
	var running []*ring
	for _, r := range s.rings {
		if r.vr != nil {
			running = append(running, r)
		}
	}
	s.stop(running...)
	old := s.mem
	s.mem, s.node = next, -1
	s.port.mapped.set(s, next.spans())
	if err := old.closeExcept(next); err != nil {
		s.log.Error("vhost-user: unmapping guest memory", "error", err)
	}
	s.start()
}

// collectBroken stops the rings that broke and says so to the front end.
func (s *session) collectBroken() {
	for _, r := range s.rings {
		if r.vr == nil || r.vr.Err() == nil {
			continue
		}
		err := r.vr.Err()
		s.stop(r)
		r.broken, r.fault = true, err
		r.hasTold = false // its guest resets it; if not, its descriptors tell
		r.settle()
		err = fmt.Errorf("%s: %w", r.name(), err)
		s.port.note(err)
		s.port.say(s.log, slog.LevelWarn, "the guest broke a ring, which stops until it is set up again", err.Error(),
			"error", err)
		if r.errFD >= 0 {
			s.port.notifier.Event(r.errFD).Signal()
		}
	}
}

// setCall replaces the descriptor by which r interrupts the guest. The old one is closed when no PMD thread can use
// it.
func (s *session) setCall(r *ring, fd int) {
	first := r.callEvent == nil
	r.callEvent = nil
	if fd >= 0 {
		r.callEvent = s.port.notifier.Event(fd)
	}
	if r.vr != nil {
		r.vr.SetCall(r.callEvent)
		if r.attached && !first {
			s.port.host.Synchronize()
		}
	}
	setFD(&r.call, fd)
	if first && fd >= 0 && r.attached {
		r.callEvent.Signal()
	}
}

// teardown stops all rings where they are, then unmaps guest memory and closes what the front end sent. The front end
// and the guest are told nothing: used indices say how far we came.
func (s *session) teardown() {
	s.stop(s.rings...)
	s.port.mapped.set(nil, nil)
	if err := s.mem.closeExcept(nil); err != nil {
		s.log.Error("vhost-user: unmapping guest memory", "error", err)
	}
	s.mem = nil
	for _, r := range s.rings {
		r.close()
	}
	s.port.unpublish()
}

// publish shows the session's state to Status and to the host.
func (s *session) publish() {
	v := view{
		connected: true, peer: s.peer, since: s.connected, session: s.state(),
		features: s.features, protocol: s.protocol, negotiated: s.hasFeats, mtu: s.mtu, node: s.node,
		rings: make([]RingStatus, len(s.rings)),
	}
	if s.mem != nil {
		v.regions, v.bytes = len(s.mem.slots), s.mem.bytes
	}
	for i, r := range s.rings {
		v.rings[i] = r.statusOf()
	}
	s.port.setView(v)
}
