package vswitch

import (
	"fmt"
	"maps"
	"slices"

	"weft/internal/packet"
	"weft/pmd"
)

// publish shows the PMD threads the switch as it is now: first a new view, then the receive queues. When it returns, no
// PMD thread uses an older view, or a queue that is not in the new set. The caller holds mu.
func (s *Switch) publish() error {
	for _, p := range s.slots {
		if p != nil && p.br != nil && p.refresh() {
			p.br.dirty = true
		}
	}
	s.showLinks()
	s.showViews()
	m := s.manager.Load()
	if m == nil {
		return nil
	}
	err := m.SetQueues(s.rxQueues())
	m.Synchronize()
	return err
}

// showLinks tells the rules which ports have a link, for groups that watch ports.
func (s *Switch) showLinks() {
	for _, br := range s.bridges {
		for number := range br.linked {
			if p := br.ports[number]; p == nil || !p.dev.Status().Link {
				delete(br.linked, number)
				br.rules.pipeline.SetPortLive(number, false)
			}
		}
		for number, p := range br.ports {
			if !br.linked[number] && p.dev.Status().Link {
				br.linked[number] = true
				br.rules.pipeline.SetPortLive(number, true)
			}
		}
	}
}

// allWorkers are the processors of the live PMD threads, by thread.
func (s *Switch) allWorkers() []*worker {
	s.workersMu.Lock()
	defer s.workersMu.Unlock()
	return slices.SortedFunc(maps.Values(s.workers), func(a, b *worker) int { return a.thread - b.thread })
}

// refresh asks a port's device for its queues, and reports whether those that packets can be transmitted on changed.
func (p *port) refresh() bool {
	old := p.usableTx()
	p.queues = p.dev.Queues()
	return !slices.Equal(old, p.usableTx())
}

// usableTx are the transmit queues that packets go to.
func (p *port) usableTx() []TxQueue {
	q := &p.queues
	if q.ActiveTx == nil {
		return q.Tx
	}
	var tx []TxQueue
	for i, t := range q.Tx {
		if isActive(q.ActiveTx, i) {
			tx = append(tx, t)
		}
	}
	if len(tx) == 0 && len(q.Tx) > 0 {
		return q.Tx[:1] // which counts what it drops, and why
	}
	return tx
}

// lock is the spinlock of a transmit queue.
func (p *port) lock(q TxQueue) *txLock {
	l := p.locks[q]
	if l == nil {
		l = new(txLock)
		p.locks[q] = l
	}
	return l
}

// rxQueues are the receive queues to poll.
func (s *Switch) rxQueues() []pmd.Queue {
	var qs []pmd.Queue
	for _, p := range s.slots {
		if p == nil || p.br == nil {
			continue
		}
		node := p.dev.Status().Node
		for i, rx := range p.queues.Rx {
			if !isActive(p.queues.ActiveRx, i) {
				continue
			}
			q := pmd.Queue{Port: p.index, PortName: p.cfg.Name, Index: i, Rx: rx, Node: node, Pin: -1}
			if i < len(p.cfg.RxqCPUs) {
				q.Pin = p.cfg.RxqCPUs[i]
			}
			qs = append(qs, q)
		}
	}
	return qs
}

// newWorker makes the processor of a PMD thread. The pmd package calls it while our call of it, under mu, waits.
func (s *Switch) newWorker(thread, cpu, node int) pmd.Processor {
	w := &worker{thread: thread, cpu: cpu, node: node, bridges: make(map[*bridge]*workerBridge)}
	s.workersMu.Lock()
	if old := s.workers[cpu]; old != nil {
		s.retired = append(s.retired, old)
	}
	s.workers[cpu] = w
	s.workersMu.Unlock()
	w.view.Store(s.view(w))
	return w
}

// workerBridge is what one PMD thread has for one bridge, from view to view.
type workerBridge struct {
	lookup *lookupHandle
	stats  *bridgeStats
	view   *bridgeView
}

// view builds what a PMD thread is to see. Bridges that did not change keep their part of the last view.
func (s *Switch) view(w *worker) *view {
	v := &view{ports: make([]*ingress, len(s.slots))}
	for _, br := range s.bridges {
		wb := w.bridges[br]
		if wb == nil {
			wb = &workerBridge{lookup: br.rules.newLookup(s, w), stats: new(bridgeStats)}
			w.bridges[br] = wb
		}
		if wb.view == nil || br.dirty {
			wb.view = br.view(w, wb, s.locking)
		}
	}
	for i, p := range s.slots {
		if p != nil && p.br != nil {
			v.ports[i] = &ingress{number: p.number, br: w.bridges[p.br].view}
		}
	}
	return v
}

// view builds a bridge as a PMD thread is to see it.
func (br *bridge) view(w *worker, wb *workerBridge, locking bool) *bridgeView {
	numbers := slices.Sorted(maps.Keys(br.ports))
	policies := make([]*vlanPolicy, 0)
	if n := len(numbers); n > 0 {
		policies = make([]*vlanPolicy, numbers[n-1]+1)
	}
	bv := &bridgeView{
		lookup: wb.lookup.lookup, fdb: br.fdb, stats: wb.stats, policies: policies, plain: true,
		forwardReserved: br.cfg.ForwardReserved,
	}
	for _, number := range numbers {
		p := br.ports[number]
		policy := p.cfg.VLAN.policy()
		policies[number] = &policy
		bv.plain = bv.plain && policy.plain()
		tx := p.usableTx()
		if len(tx) == 0 {
			continue // a device without transmit queues: like no port
		}
		o := out{number: number, tx: tx[w.thread%len(tx)], vlan: policy}
		if locking {
			o.lock = p.lock(o.tx)
		}
		bv.outs = append(bv.outs, o)
	}
	if n := len(numbers); n > 0 {
		bv.byNumber = make([]uint16, numbers[n-1]+1)
	}
	for i := range bv.outs {
		bv.byNumber[bv.outs[i].number] = uint16(i + 1)
	}
	bv.pending = make([]pending, len(bv.outs))
	bv.touched = make([]uint16, 0, len(bv.outs))
	return bv
}

// buryWorkers frees what retired PMD threads used, and keeps what they counted.
func (s *Switch) buryWorkers() {
	s.workersMu.Lock()
	retired := s.retired
	s.retired = nil
	s.workersMu.Unlock()
	for _, w := range retired {
		orphans := w.orphans.Snapshot()
		s.gone.Add(&orphans)
		for br := range w.bridges {
			w.forget(br)
		}
	}
}

// forget frees what a worker has for a bridge, which it does not use any more, and keeps what it counted.
func (w *worker) forget(br *bridge) {
	wb := w.bridges[br]
	if wb == nil {
		return
	}
	delete(w.bridges, br)
	sum := func(total *packet.CounterSnapshot, c *packet.Counters) {
		snapshot := c.Snapshot()
		total.Add(&snapshot)
	}
	sum(&br.gone, &wb.stats.packets)
	sum(&br.lost, &wb.stats.flooded)
	wb.lookup.close(br)
}

// startPMD makes the PMD threads as cfg says, the first time or anew, and returns a function that takes it back.
func (s *Switch) startPMD(cfg PMDConfig) (undo func(), err error) {
	config := pmd.Config{
		CPUs: cfg.CPUs, Idle: pmd.IdleConfig{Mode: cfg.Idle, MaxSleep: cfg.MaxSleep}, Exclusive: cfg.Exclusive,
		OnFault: s.onFault,
	}
	old := s.pmdCfg
	m := s.manager.Load()
	if m == nil {
		s.locking = true // until it is known how many there are
		s.pmdCfg = cfg   // newWorker sizes caches by it
		if m, err = pmd.New(s.topology, config, s.newWorker, s.log); err != nil {
			s.pmdCfg = old
			return nil, fmt.Errorf("start PMD threads: %w", err)
		}
		s.manager.Store(m)
		s.settleWorkers(m)
		return func() {
			s.manager.Store(nil)
			m.Stop()
			s.settleWorkers(nil)
			s.pmdCfg = old
		}, nil
	}
	// While threads come and go, transmit queues may be shared in ways that no view foresees.
	s.setLocking(true)
	s.pmdCfg = cfg
	if err = m.Reconfigure(config); err != nil {
		s.pmdCfg = old
		s.settleWorkers(m)
		return nil, fmt.Errorf("change PMD threads: %w", err)
	}
	s.settleWorkers(m)
	if cfg.CacheEntries != old.CacheEntries {
		s.renewLookups()
	}
	return func() {
		if _, err := s.startPMD(old); err != nil {
			s.log.Error("the PMD threads could not be changed back", "error", err)
		}
	}, nil
}

// settleWorkers retires the processors whose threads are gone, and decides about locking.
func (s *Switch) settleWorkers(m *pmd.Manager) {
	var cpus []int
	if m != nil {
		cpus = m.CPUs()
		m.Synchronize()
	}
	s.workersMu.Lock()
	for cpu, w := range s.workers {
		if !slices.Contains(cpus, cpu) {
			s.retired = append(s.retired, w)
			delete(s.workers, cpu)
		}
	}
	s.workersMu.Unlock()
	s.buryWorkers()
	s.setLocking(len(cpus) > 1)
}

// renewLookups gives every PMD thread new caches, of the size that the configuration says now.
func (s *Switch) renewLookups() {
	var old []func()
	for _, w := range s.allWorkers() {
		for br, wb := range w.bridges {
			h := wb.lookup
			old = append(old, func() { h.close(br) })
			wb.lookup = br.rules.newLookup(s, w)
		}
	}
	s.republish()
	for _, closeOld := range old {
		closeOld()
	}
}

// setLocking makes the PMD threads lock transmit queues, or not. When it returns, they do.
func (s *Switch) setLocking(on bool) {
	if s.locking == on {
		return
	}
	s.locking = on
	s.republish()
}

// republish builds every view anew. When it returns, no PMD thread uses an older one.
func (s *Switch) republish() {
	for _, br := range s.bridges {
		br.dirty = true
	}
	s.showViews()
	s.synchronize()
}

// showViews publishes the PMD threads' views.
func (s *Switch) showViews() {
	for _, w := range s.allWorkers() {
		w.view.Store(s.view(w))
	}
	for _, br := range s.bridges {
		br.dirty = false
	}
}
