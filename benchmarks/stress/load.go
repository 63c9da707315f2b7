package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"weft/benchmarks/rig"
	"weft/internal/sys"
	"weft/vhostuser/vhosttest"
)

const (
	burst    = 32
	ringSize = 1024 // as qemu's at most

	// maxBehind is how many frames a paced stream makes up for when the load was held up; what is more is not offered.
	maxBehind = ringSize

	// A load that is ahead of its pace sleeps for about half a burst's time, within these bounds, so that whatever else
	// runs on its CPU gets on.
	shortNap = 20 * time.Microsecond
	longNap  = 200 * time.Microsecond

	// settle is how long nothing must arrive after the last frame, and maxDrain the longest wait for that.
	settle   = 50 * time.Millisecond
	maxDrain = 5 * time.Second
)

// stream is one kind of traffic.
type stream struct {
	name string
	rate float64 // frames per second; 0: all that there is room for beside the others
	next generator
	// start is the number of the first frame, for streams that must not repeat what an earlier run sent.
	start uint64
	// from is the guest that sends it, to the other one.
	from int
	// stations are the addresses of the i-th frame, nil for those that all frames have. Either all streams that a load is
	// given have them, or none.
	stations func(i uint64) (dst, src uint32)
}

// tally is what became of a stream's frames.
type tally struct {
	Sent, Received uint64
	// Skipped were due and not offered, because the load or the switch was behind.
	Skipped uint64
}

// lost is how many frames were sent and not received.
func (t *tally) lost() int64 { return int64(t.Sent) - int64(t.Received) }

// add adds another one.
func (t *tally) add(x tally) {
	t.Sent += x.Sent
	t.Received += x.Received
	t.Skipped += x.Skipped
}

// outcome is what a run of the load gave: a tally for each stream, and how long it sent.
type outcome struct {
	streams []tally
	foreign uint64 // frames received that were not ours
	elapsed time.Duration
}

// rate is how many of the stream's frames arrived in a second.
func (o *outcome) rate(stream int) float64 {
	return float64(o.streams[stream].Received) / o.elapsed.Seconds()
}

// total sums all streams.
func (o *outcome) total() (t tally) {
	for _, s := range o.streams {
		t.add(s)
	}
	return t
}

// pacer says how many frames of a stream are due.
type pacer struct {
	stream
	tally
	made uint64 // frames generated, which include those that found no room
}

// due is how many frames to send after a time since the start. It is 0 for a stream without a rate.
func (p *pacer) due(elapsed time.Duration) uint64 {
	want := uint64(elapsed.Seconds() * p.rate)
	done := p.Sent + p.Skipped
	if want <= done {
		return 0
	}
	if behind := want - done; behind > maxBehind {
		p.Skipped += behind - maxBehind
	}
	return min(want-done, maxBehind)
}

// lane is one direction: from a guest's transmit ring to the other's receive ring.
type lane struct {
	tx, rx  *vhosttest.Queue
	streams []int
}

// load sends streams into the guests' transmit rings and receives from their receive rings, all on one CPU.
type load struct {
	lanes [2]lane // by the guest that sends
	cpu   int

	pacers   []pacer
	out      [][]byte // frames to send
	of       [burst]int
	in       [][]byte // frames received
	received []uint64 // by stream
	foreign  uint64
	stop     atomic.Bool

	epoch  time.Time
	delays *histogram // of the frames received, nil when they are not timed
	memory float64    // of the guests, in bytes
}

func newLoad(guests [2]*vhosttest.Guest, cpu int) *load {
	l := &load{cpu: cpu, epoch: time.Now()}
	for i, g := range guests {
		l.lanes[i] = lane{tx: g.Tx(0), rx: guests[1-i].Rx(0)}
		for _, r := range g.Memory().Regions() {
			l.memory += float64(r.Size)
		}
	}
	for range burst {
		l.out = append(l.out, newFrame())
		l.in = append(l.in, make([]byte, 2048))
	}
	return l
}

// running is a load that sends.
type running struct {
	l    *load
	done chan error
	out  outcome
}

// begin starts sending.
func (l *load) begin(streams ...stream) *running {
	l.pacers, l.received, l.foreign = nil, make([]uint64, len(streams)), 0
	for i := range l.lanes {
		l.lanes[i].streams = nil
	}
	for i, s := range streams {
		l.pacers = append(l.pacers, pacer{stream: s, made: s.start})
		l.lanes[s.from].streams = append(l.lanes[s.from].streams, i)
	}
	l.stop.Store(false)
	r := &running{l: l, done: make(chan error, 1)}
	go func() { r.done <- l.onCPU(func() error { return l.run(&r.out) }) }()
	return r
}

// end stops sending, waits until nothing arrives any more, and says what there was.
func (r *running) end() (*outcome, error) {
	r.l.stop.Store(true)
	err := <-r.done
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	for i := range r.l.pacers {
		r.out.streams = append(r.out.streams, r.l.pacers[i].tally)
		r.out.streams[i].Received = r.l.received[i]
	}
	r.out.foreign = r.l.foreign
	return &r.out, nil
}

// onCPU runs f on the load's CPU, where it may sleep for a microsecond.
func (l *load) onCPU(f func() error) error {
	return rig.OnCPU(l.cpu, func() (err error) {
		slack, err := sys.TimerSlack()
		if err != nil {
			return err
		}
		if err := sys.SetTimerSlack(1); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sys.SetTimerSlack(slack)) }()
		return f()
	})
}

// someHz is of the order of what a TSC counts in a second; nothing here depends on more.
const someHz = 2_000_000_000

func (l *load) run(out *outcome) error {
	if err := l.sendUntilStopped(out); err != nil {
		return err
	}
	return l.drain()
}

func (l *load) sendUntilStopped(out *outcome) error {
	nap := napOf(l.pacers)
	if l.delays != nil {
		nap = 0 // it would be measured
	}
	// Go's scheduler would stop the load for a moment a hundred times a second, and what waits then is measured.
	turn, err := sys.TakeTurn(someHz)
	if err != nil {
		return err
	}
	defer turn.Drop()
	turn.Hold(sys.Cycles())
	defer turn.Release()
	begun := time.Now()
	for !l.stop.Load() {
		if now := sys.Cycles(); turn.Asked(now) {
			turn.Answer(now)
		}
		moved := 0
		for i := range l.lanes {
			n, err := l.turn(&l.lanes[i], begun)
			if err != nil {
				return err
			}
			moved += n
		}
		if moved == 0 && nap > 0 {
			sys.Nap(int64(nap))
		}
	}
	out.elapsed = time.Since(begun)
	return nil
}

// turn sends and receives once in one direction, if that has streams, and returns how many frames that were.
func (l *load) turn(x *lane, begun time.Time) (int, error) {
	if len(x.streams) == 0 {
		return 0, nil
	}
	sent, err := l.sendBurst(x, time.Since(begun))
	if err != nil {
		return sent, err
	}
	got, err := l.receiveAll(x.rx)
	return sent + got, err
}

// napOf is how long a load of these streams sleeps when it is ahead, 0 when one of them sends all it can.
func napOf(pacers []pacer) time.Duration {
	total := 0.
	for i := range pacers {
		if pacers[i].rate == 0 {
			return 0
		}
		total += pacers[i].rate
	}
	return min(max(time.Duration(burst/2/total*float64(time.Second)), shortNap), longNap)
}

// sendBurst sends up to one burst: what is due of each stream in turn, and the rest of the burst of one without a rate.
func (l *load) sendBurst(x *lane, elapsed time.Duration) (int, error) {
	n := 0
	for k, i := range x.streams {
		p := &l.pacers[i]
		want := p.due(elapsed)
		if p.rate == 0 {
			want = burst
		}
		room := uint64(burst - n)
		if k < len(x.streams)-1 {
			room = (room + 1) / 2 // a stream that is behind leaves the next ones some
		}
		for range min(want, room) {
			setTuple(l.out[n], p.next(p.made), byte(i))
			if p.stations != nil {
				dst, src := p.stations(p.made)
				setStations(l.out[n], dst, src)
			}
			p.made++
			l.of[n] = i
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	if l.delays != nil {
		now := uint64(time.Since(l.epoch))
		for _, f := range l.out[:n] {
			setStamp(f, now)
		}
	}
	sent, err := x.tx.SendBurst(l.out[:n])
	for _, i := range l.of[:sent] {
		l.pacers[i].Sent++
	}
	return sent, err
}

// receiveAll receives what is there, a ring's worth at most.
func (l *load) receiveAll(rx *vhosttest.Queue) (int, error) {
	total := 0
	for total < ringSize {
		n, err := rx.ReceiveBurst(l.in)
		if l.delays != nil && n > 0 {
			l.timeAll(l.in[:n])
		}
		for _, f := range l.in[:n] {
			if i, ours := streamOf(f); ours && int(i) < len(l.received) {
				l.received[i]++
			} else {
				l.foreign++
			}
		}
		total += n
		if err != nil || n < len(l.in) {
			return total, err
		}
	}
	return total, nil
}

// timeAll counts how long frames that just came were under way.
func (l *load) timeAll(frames [][]byte) {
	now := uint64(time.Since(l.epoch))
	for _, f := range frames {
		if _, ours := streamOf(f); ours {
			l.delays.add(now - stampOf(f))
		}
	}
}

// drain waits until the switch has taken all frames and none arrives any more.
func (l *load) drain() error {
	begun := time.Now()
	for last := begun; time.Since(last) < settle; {
		held := 0
		for i := range l.lanes {
			x := &l.lanes[i]
			n, err := l.receiveAll(x.rx)
			if err != nil {
				return err
			}
			if _, err := x.tx.Reap(); err != nil {
				return err
			}
			if held += x.tx.Outstanding(); n > 0 {
				last = time.Now()
			}
		}
		if held > 0 {
			last = time.Now()
		}
		if time.Since(begun) > maxDrain {
			return fmt.Errorf("the switch still holds %d frames %v after the last was sent", held, maxDrain)
		}
		sys.Nap(int64(shortNap))
	}
	return nil
}
