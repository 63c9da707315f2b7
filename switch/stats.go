package vswitch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/internal/packet"
	"weft/pmd"
)

// Bridges describes all bridges, in the order of the configuration.
func (s *Switch) Bridges() []BridgeInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bridgeInfos()
}

func (s *Switch) bridgeInfos() []BridgeInfo {
	infos := []BridgeInfo{}
	workers := s.allWorkers()
	for _, br := range s.bridges {
		total, flooded := br.gone, br.lost
		info := BridgeInfo{Name: br.cfg.Name, Ports: len(br.ports), FDB: br.fdb.stats()}
		info.Rules, info.Tables = br.rules.sizes()
		info.Cache = br.rules.goneCache
		for _, w := range workers {
			if wb := w.bridges[br]; wb != nil {
				p, f := wb.stats.packets.Snapshot(), wb.stats.flooded.Snapshot()
				total.Add(&p)
				flooded.Add(&f)
				info.Cache.add(wb.lookup.stats())
			}
		}
		info.Packets, info.Bytes = total.Packets, total.Bytes
		info.Dropped, info.Drops = total.Dropped(), drops(&total)
		info.FDB.Flooded = flooded.Packets
		infos = append(infos, info)
	}
	return infos
}

// add sums o into c.
func (c *CacheStats) add(o CacheStats) {
	c.Hits += o.Hits
	c.Misses += o.Misses
	c.Revalidated += o.Revalidated
	c.Evictions += o.Evictions
	c.Flushes += o.Flushes
	c.Programs += o.Programs
	c.Entries += o.Entries
	c.Size += o.Size
}

// PMDShow describes the PMD threads and what each polls.
func (s *Switch) PMDShow() []PMDInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pmdInfos()
}

func (s *Switch) pmdInfos() []PMDInfo {
	infos := []PMDInfo{}
	workers := s.allWorkers()
	for _, t := range s.threadStats() {
		info := PMDInfo{ThreadStats: t, Bridges: []PMDBridge{}}
		for _, q := range t.Queues {
			info.Packets += q.Packets
			info.Batches += q.Batches
		}
		i := slices.IndexFunc(workers, func(w *worker) bool { return w.cpu == t.CPU })
		for _, br := range s.bridges {
			if i < 0 || workers[i].bridges[br] == nil {
				continue
			}
			info.Bridges = append(info.Bridges, PMDBridge{br.cfg.Name, workers[i].bridges[br].lookup.stats()})
		}
		infos = append(infos, info)
	}
	return infos
}

// PMDMove moves a receive queue to the PMD thread on a CPU, without stopping the others.
func (s *Switch) PMDMove(port string, queue, cpu int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.port(port)
	if err != nil {
		return err
	}
	m := s.manager.Load()
	if m == nil {
		return errors.New("there are no PMD threads yet")
	}
	queues, name := p.dev.Queues(), fmt.Sprintf("%s/%d", port, queue)
	switch n := len(queues.Rx); {
	case queue < 0 || queue >= n:
		return &NotFoundError{"receive queue", name, fmt.Sprintf("the port has %d, counted from 0", n)}
	case !isActive(queues.ActiveRx, queue):
		return &NotFoundError{"receive queue", name, "the port's other end does not use it now"}
	}
	switch err := m.Move(port, queue, cpu); {
	case err == nil, errors.Is(err, pmd.ErrStopped):
		return err
	default: // the CPU has no PMD thread, or the configuration pins the queue
		return &ConflictError{Msg: strings.TrimPrefix(err.Error(), "pmd: ")}
	}
}

// PMDRebalance assigns all receive queues anew by their load, and returns how many moved.
func (s *Switch) PMDRebalance() (moved int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.manager.Load()
	if m == nil {
		return 0, errors.New("there are no PMD threads yet")
	}
	return m.Rebalance()
}

// Stats collects everything that metrics show.
func (s *Switch) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports, _ := s.portInfos("") // fails for a bridge that does not exist only
	st := Stats{
		Time: time.Now(), Ports: ports, Bridges: s.bridgeInfos(), PMD: s.pmdInfos(),
		Faults: s.faults.Load(), StrayFaults: s.strayFaults.Load(),
	}
	orphans := s.gone
	for _, w := range s.allWorkers() {
		o := w.orphans.Snapshot()
		orphans.Add(&o)
	}
	st.Orphans = orphans.Drops[packet.DropNoSuchPort]
	return st
}
