package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/numa"
	vswitch "weft/switch"
)

// bed is a switch with the ports a and b in this process. What is at the other ends of the ports works on the PMD thread,
// in turns: when the switch polls a queue, the queue's other end first takes what came and sends anew. So the loop, the
// datapath and the rings are the program's own, one thread is all there is to look at, and nothing ever waits.
type bed struct {
	scenario *scenario
	sw       *vswitch.Switch

	// The PMD thread's own.
	met           bool // b is polled, too
	laps, arrived uint64
	atLap         uint64        // arrived, at the beginning of this lap
	turns         time.Duration // spent in turns

	tid   atomic.Int64 // of the PMD thread
	timed atomic.Pointer[timing]
}

// end is the other end of a port.
type end interface {
	// queues are the port's, as its driver has them.
	queues() ([]vswitch.RxQueue, []vswitch.TxQueue)
	// take takes the frames that have come, on all queues.
	take() (int, error)
	// send sends frames on a queue.
	send(queue int, frames [][]byte) error
	close() error
}

// newBed starts a scenario's switch. It runs when newBed returns.
func newBed(s *scenario) (*bed, error) {
	topology, err := numa.Read("/")
	if err != nil {
		return nil, err
	}
	cpus, err := topology.AllowedCPUs()
	if err != nil {
		return nil, err
	}
	b := &bed{scenario: s}
	b.sw, err = vswitch.New(vswitch.Options{
		Drivers:  map[string]vswitch.Driver{"bed": {Open: b.open, Options: []string{"queues"}, MaxQueues: s.pairs}},
		Topology: topology, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	cfg, err := vswitch.Parse([]byte(b.config(cpus[len(cpus)-1])), b.sw.ParseOptions())
	if err == nil {
		cfg.PMD.CacheEntries = s.cache
		_, err = b.sw.Apply(context.Background(), cfg)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("scenario %s: %w", s.name, err), b.sw.Close())
	}
	return b, nil
}

func (b *bed) config(cpu int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "pmd: {cpus: %d}\nbridges:\n- name: br0\n  ports:\n", cpu)
	for _, name := range []string{"a", "b"} {
		fmt.Fprintf(&text, "  - {name: %s, driver: bed, queues: %d}\n", name, b.scenario.pairs)
	}
	text.WriteString("  flows:\n")
	for _, r := range b.scenario.rules() {
		fmt.Fprintf(&text, "  - %q\n", r)
	}
	return text.String()
}

// close stops the switch. It waits for a turn to end.
func (b *bed) close() error { return b.sw.Close() }

// open opens a port and what is at its other end.
func (b *bed) open(cfg vswitch.PortConfig, _ vswitch.Host) (vswitch.Device, error) {
	e, err := newEnd(b.scenario)
	if err != nil {
		return nil, err
	}
	d := &device{end: e}
	rx, tx := e.queues()
	d.all.Tx = tx
	for i := range rx {
		q := &queue{RxQueue: rx[i], bed: b, end: e, index: i, bursts: make([][][]byte, 1)}
		if cfg.Name == "a" {
			q.lead = i == 0
			q.bursts = slices.Collect(slices.Chunk(b.scenario.frames(b.scenario), b.scenario.burst))
		} else {
			q.greeting = [][]byte{greeting(b.scenario)}
		}
		d.all.Rx = append(d.all.Rx, q)
	}
	return d, nil
}

// device is a port of the bed.
type device struct {
	end end
	all vswitch.Queues
}

func (d *device) Queues() vswitch.Queues { return d.all }
func (d *device) Status() vswitch.DeviceStatus {
	return vswitch.DeviceStatus{Link: true, State: "up", Node: -1}
}
func (d *device) Fault(uintptr) bool { return false }
func (d *device) Close() error       { return d.end.close() }

// queue is a receive queue whose other end has its turn before the switch has.
type queue struct {
	vswitch.RxQueue
	bed      *bed
	end      end
	index    int
	lead     bool       // laps begin with its first burst
	bursts   [][][]byte // b's is empty
	next     int        // of bursts
	flow     uint32
	greeting [][]byte // sent once
}

// Receive has the other end's turn first. lap and turn are told apart by who counts instructions: from the end of one lap
// call to the beginning of the next, turns left out, is what the switch does with a lap's packets.
func (q *queue) Receive(b *packet.Batch) int {
	if q.lead && q.next == 0 {
		lap(q)
	} else {
		turn(q)
	}
	return q.RxQueue.Receive(b)
}

//go:noinline
func lap(q *queue) {
	q.bed.lapped()
	q.exchange()
}

//go:noinline
func turn(q *queue) { q.exchange() }

// exchange is what the other end does. An error ends the process: nothing that is counted afterwards would mean anything.
func (q *queue) exchange() {
	start := time.Now()
	n, err := q.end.take()
	if err == nil {
		frames := q.bursts[q.next]
		if q.greeting != nil {
			frames, q.greeting = q.greeting, nil
			q.bed.met, q.bed.laps = true, 0
		}
		if q.bed.scenario.fresh {
			q.renew(frames)
		}
		err = q.end.send(q.index, frames)
		if q.bursts[0] == nil {
			q.bed.arrived += uint64(n)
		}
	}
	if err != nil {
		panic(fmt.Errorf("scenario %s, queue %d: %w", q.bed.scenario.name, q.index, err))
	}
	q.next = (q.next + 1) % len(q.bursts)
	q.bed.turns += time.Since(start)
}

// renew gives frames source addresses that have not been used, below 128.0.0.0.
func (q *queue) renew(frames [][]byte) {
	for _, f := range frames {
		q.flow++
		setSource(f, q.flow&0x7fffffff)
	}
}

// lapped begins a lap. Every frame of the last one must have arrived: drops would make packets look cheap.
func (b *bed) lapped() {
	if b.tid.Load() == 0 {
		b.tid.Store(int64(sys.ThreadID()))
	}
	b.laps++
	if got, want := b.arrived-b.atLap, uint64(b.scenario.perLap()); b.met && b.laps > 2 && got != want {
		panic(fmt.Errorf("scenario %s: %d of %d frames arrived", b.scenario.name, got, want))
	}
	b.atLap = b.arrived
	if t := b.timed.Load(); t != nil {
		t.lapped(b)
	}
}

// timing is a number of laps being timed.
type timing struct {
	left  int
	begun bool
	start time.Time
	turns time.Duration
	done  chan time.Duration // capacity 1
}

func (t *timing) lapped(b *bed) {
	switch {
	case !t.begun:
		t.begun, t.start, t.turns = true, time.Now(), b.turns
	case t.left > 1:
		t.left--
	default:
		b.timed.Store(nil)
		t.done <- time.Since(t.start) - (b.turns - t.turns)
	}
}

// run waits until so many laps have passed, and returns how long they took without the turns in them.
func (b *bed) run(laps int) time.Duration {
	t := &timing{left: laps, done: make(chan time.Duration, 1)}
	b.timed.Store(t)
	return <-t.done
}
