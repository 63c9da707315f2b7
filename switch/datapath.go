package vswitch

import (
	"sync/atomic"

	"weft/flowtable"
	"weft/internal/packet"
	"weft/pmd"
)

var _ pmd.Aborter = (*worker)(nil)

// worker is the processor of one PMD thread.
//
// Concurrency: the control side stores view; everything else belongs to the PMD thread.
type worker struct {
	thread, cpu, node int
	bridges           map[*bridge]*workerBridge // the control side's

	view atomic.Pointer[view]

	held    *txLock                             // the lock that this thread is transmitting under
	sending int                                 // packets in the Transmit that is running
	waiting int                                 // packets of the batch whose programs have not been run to the end
	current *bridgeView                         // the bridge whose batch is being processed
	saved   [flowtable.MaxSaves + 1]savedPacket // those of a program, and NORMAL's

	// orphans counts packets of queues whose port is gone from the view.
	orphans packet.Counters
}

// everyPacket lists the packets of a full batch.
var everyPacket = [packet.BatchSize]uint8{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
}

// Process looks up the packets of b and transmits them. b.InPort is the port's index in the view.
func (w *worker) Process(b *packet.Batch) {
	n := b.Len()
	if n == 0 {
		return
	}
	v := w.view.Load()
	if v == nil || b.InPort >= uint32(len(v.ports)) || v.ports[b.InPort] == nil {
		w.orphans.Drop(packet.DropNoSuchPort, uint64(n))
		return
	}
	in := v.ports[b.InPort]
	br := in.br
	w.current = br
	index := b.InPort
	b.InPort = in.number
	br.stats.packets.Publish(uint64(n), b.Bytes())
	br.lookup.Batch(b)

	if br.lookup.Uniform() {
		// The common case: one program for the whole batch, and mostly one output.
		if ops := br.lookup.Ops(0); len(ops) == 1 && w.wholeBatch(br, b, &ops[0]) {
			b.InPort = index
			return
		}
	}
	w.runBatch(br, b)
	w.flush(br, b)
	b.InPort = index
}

// Abort ends what a memory fault left half done (see pmd.Aborter): what was being transmitted is lost, and counted; the
// destinations behind it get theirs, so that a guest which cuts off its memory does not take the others' packets along.
// Without a batch they are lost as well.
func (w *worker) Abort(b *packet.Batch) {
	if w.held != nil {
		w.held.unlock()
		w.held = nil
	}
	lost := w.sending + w.waiting
	w.sending, w.waiting = 0, 0
	br := w.current
	if br == nil {
		return
	}
	if b == nil {
		for _, i := range br.touched {
			lost += int(br.pending[i].n)
			br.pending[i].n = 0
		}
	}
	br.stats.packets.Drop(packet.DropMemoryFault, uint64(lost))
	w.flush(br, b)
}

// wholeBatch does one operation with every packet of b, if it is one of those that can be done at once.
func (w *worker) wholeBatch(br *bridgeView, b *packet.Batch, op *flowtable.Op) bool {
	switch op.Kind {
	case flowtable.OpOutput:
		w.outputBatch(br, b, op.A)
		return true
	case flowtable.OpNormal:
		return w.normalBatch(br, b)
	case flowtable.OpDrop:
		br.stats.packets.Drop(packet.DropReason(op.A), uint64(b.Len()))
		return true
	}
	return false
}

// outputBatch sends every packet of b to one port.
func (w *worker) outputBatch(br *bridgeView, b *packet.Batch, number uint32) {
	o := br.out(number)
	switch {
	case o == nil:
		br.stats.packets.Drop(packet.DropNoSuchPort, uint64(b.Len()))
	case number == b.InPort:
		br.stats.packets.Drop(packet.DropHairpin, uint64(b.Len()))
	default:
		w.transmit(o, b, everyPacket[:b.Len()])
	}
}

// runBatch runs every packet's program, in the order of arrival, and leaves the outputs pending.
func (w *worker) runBatch(br *bridgeView, b *packet.Batch) {
	x := run{w: w, br: br, b: b, now: br.fdb.epoch.Load()}
	br.normal.reset()
	var ops []flowtable.Op
	var ref uint32
	single := -1 // where every packet of this program goes, if that is all it does
	for i := range b.Len() {
		if r := br.lookup.Ref(i); i == 0 || r != ref {
			ref, ops, single = r, br.lookup.Ops(i), -1
			if len(ops) == 1 && ops[0].Kind == flowtable.OpOutput && ops[0].A != b.InPort {
				single = br.outIndex(ops[0].A)
			}
		}
		w.waiting = b.Len() - i
		if single >= 0 {
			x.enqueue(single, i)
			continue
		}
		if x.exhausted {
			w.flush(br, b) // the last packet may still wait, on a clone
			b.ResetClones()
			x.exhausted = false
		}
		x.packet(i, ops)
	}
	w.waiting = 0
}

// run is the execution of one batch's programs.
type run struct {
	w   *worker
	br  *bridgeView
	b   *packet.Batch
	now uint32 // the MAC table's epoch

	// exhausted: the clones ran out and everything pending was transmitted, so they can be used anew.
	exhausted bool

	// The packet at hand.
	cur     int               // its index, or that of the clone which carries its present header
	lent    bool              // a pending list refers to cur, so that it must not be edited
	outputs int               // how many copies were enqueued
	inPort  uint32            // where it is taken to have arrived
	reason  packet.DropReason // why there is none, when there is none
	lost    bool              // a copy has been counted as dropped
	saves   int               // of w.saved, in use
}

// packet runs a program for packet i.
func (x *run) packet(i int, ops []flowtable.Op) {
	x.cur, x.lent, x.outputs, x.lost, x.saves = i, false, 0, false, 0
	x.inPort, x.reason = x.b.InPort, packet.DropNoOutput
	for k := range ops {
		if !x.step(&ops[k]) {
			break
		}
	}
	if x.outputs == 0 && !x.lost {
		x.br.stats.packets.Drop(x.reason, 1)
	}
}

// step does one operation. It reports whether the program goes on.
func (x *run) step(op *flowtable.Op) bool {
	switch op.Kind {
	case flowtable.OpOutput:
		x.output(op.A)
	case flowtable.OpInPort:
		if dest := x.br.outIndex(x.inPort); dest >= 0 {
			x.send(dest)
		}
	case flowtable.OpFlood, flowtable.OpAll: // no port can be taken out of flooding yet
		x.flood()
	case flowtable.OpNormal:
		x.normal()
	case flowtable.OpLocal: // a bridge has no port of its own
		x.lose(packet.DropNoSuchPort)
	case flowtable.OpDrop:
		x.reason = packet.DropReason(op.A)
	case flowtable.OpSetInPort:
		x.inPort = op.A
	case flowtable.OpMeter:
		return x.meter(op.A)
	case flowtable.OpSave:
		x.save()
	case flowtable.OpRestore:
		x.restore()
	default:
		return x.edit(op)
	}
	return true
}

// output sends the packet at hand to a port. The port of arrival is left out: only in_port sends back (OpenFlow 1.3
// §5.12).
func (x *run) output(number uint32) {
	switch dest := x.br.outIndex(number); {
	case number == x.inPort:
		x.reason = packet.DropHairpin
	case dest < 0:
		x.lose(packet.DropNoSuchPort)
	default:
		x.send(dest)
	}
}

// lose counts a copy that could not be made or sent.
func (x *run) lose(r packet.DropReason) {
	x.br.stats.packets.Drop(r, 1)
	x.lost = true
}

// enqueue adds packet i to a destination's list.
func (x *run) enqueue(dest, i int) {
	p := &x.br.pending[dest]
	if p.n == pendingMax {
		x.w.flush(x.br, x.b)
	}
	if p.n == 0 {
		x.br.touched = append(x.br.touched, uint16(dest)) // within its capacity: a destination is there once
	}
	p.idx[p.n] = uint8(i)
	p.n++
}

// send adds the packet at hand to a destination's list.
func (x *run) send(dest int) {
	x.enqueue(dest, x.cur)
	x.lent = true
	x.outputs++
}

// flood sends the packet at hand to every port but the one it came from.
func (x *run) flood() {
	for dest := range x.br.outs {
		if x.br.outs[dest].number != x.inPort {
			x.send(dest)
		}
	}
}

// flush transmits everything pending, destination by destination. When a memory fault ends it, those that it has not
// come to have packets still.
func (w *worker) flush(br *bridgeView, b *packet.Batch) {
	for _, i := range br.touched {
		p := &br.pending[i]
		if n := p.n; n > 0 {
			p.n = 0
			w.transmit(&br.outs[i], b, p.idx[:n])
		}
	}
	br.touched = br.touched[:0]
}

// transmit gives packets to a port, one thread at a time.
func (w *worker) transmit(o *out, b *packet.Batch, idx []uint8) {
	w.sending = len(idx)
	if o.lock == nil {
		o.tx.Transmit(b, idx)
		w.sending = 0
		return
	}
	if !o.lock.lock() {
		w.current.stats.packets.Drop(packet.DropQueueBusy, uint64(len(idx)))
		w.sending = 0
		return
	}
	w.held = o.lock
	o.tx.Transmit(b, idx)
	o.lock.unlock()
	w.held, w.sending = nil, 0
}
