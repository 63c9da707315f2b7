package pmd

import (
	"cmp"
	"slices"
)

// slot is a PMD thread as assignment sees it.
type slot struct {
	cpu, node int
}

// demand is a queue as assignment sees it.
type demand struct {
	port  string
	index int
	node  int // of its memory, -1 unknown
	pin   int // CPU, -1 any
	load  int // measured, in percent of a CPU; -1 when not known yet
	at    int // the slot it is in, -1 none
	stays bool
}

// unplaced is the slot of a queue without one.
const unplaced = -1

// tally is what a slot has been given so far.
type tally struct {
	load, queues int
}

// assign gives each queue a slot. It depends on its arguments alone, and not on the order of queues.
//
//  1. A queue pinned to a CPU that has a thread goes there.
//  2. A queue that stays keeps the slot that it is in.
//  3. The others follow, the heaviest first. A queue whose memory's node has threads goes to one of these; otherwise,
//     and when the node is unknown, to any. Among them it goes to the one with the least load so far, then with the
//     fewest queues, then to the one it is in already, then to the first.
//
// A queue whose load is not known counts as the average of the known ones, so that all count alike when none is known.
func assign(slots []slot, queues []demand) []int {
	placed := make([]int, len(queues))
	if len(slots) == 0 {
		for i := range placed {
			placed[i] = unplaced
		}
		return placed
	}
	assumed := averageLoad(queues)
	cost := func(q *demand) int {
		if q.load < 0 {
			return assumed
		}
		return q.load
	}
	order := make([]int, len(queues))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &queues[i], &queues[j]
		return cmp.Or(
			cmp.Compare(rank(slots, a), rank(slots, b)),
			cmp.Compare(cost(b), cost(a)),
			cmp.Compare(a.port, b.port),
			cmp.Compare(a.index, b.index),
		)
	})
	tallies := make([]tally, len(slots))
	for _, i := range order {
		q := &queues[i]
		placed[i] = pick(slots, tallies, q)
		tallies[placed[i]].load += cost(q)
		tallies[placed[i]].queues++
	}
	return placed
}

// rank orders queues by how little choice they leave.
func rank(slots []slot, q *demand) int {
	switch {
	case slotOfCPU(slots, q.pin) != unplaced:
		return 0
	case q.stays && q.at != unplaced:
		return 1
	}
	return 2
}

// pick is assign's choice for one queue.
func pick(slots []slot, tallies []tally, q *demand) int {
	if s := slotOfCPU(slots, q.pin); s != unplaced {
		return s
	}
	if q.stays && q.at != unplaced {
		return q.at
	}
	local := hasNode(slots, q.node)
	best := unplaced
	for s := range slots {
		if local && slots[s].node != q.node {
			continue
		}
		if best == unplaced || lighter(tallies, s, best, q.at) {
			best = s
		}
	}
	return best
}

// lighter reports whether slot a is to be preferred to slot b, which comes before it, by a queue that is in slot at.
func lighter(tallies []tally, a, b, at int) bool {
	if c := cmp.Compare(tallies[a].load, tallies[b].load); c != 0 {
		return c < 0
	}
	if c := cmp.Compare(tallies[a].queues, tallies[b].queues); c != 0 {
		return c < 0
	}
	return a == at
}

// averageLoad is what a queue of unknown load counts: 1 when no queue's is known.
func averageLoad(queues []demand) int {
	sum, known := 0, 0
	for i := range queues {
		if queues[i].load >= 0 {
			sum += queues[i].load
			known++
		}
	}
	if known == 0 {
		return 1
	}
	return sum / known
}

// slotOfCPU is the slot on cpu, or unplaced.
func slotOfCPU(slots []slot, cpu int) int {
	return slices.IndexFunc(slots, func(s slot) bool { return s.cpu == cpu })
}

// hasNode reports whether a slot is on node, which must be known.
func hasNode(slots []slot, node int) bool {
	return node >= 0 && slices.ContainsFunc(slots, func(s slot) bool { return s.node == node })
}

// crosses reports that a thread on one node polls a queue whose memory is on another.
func crosses(threadNode, queueNode int) bool {
	return threadNode >= 0 && queueNode >= 0 && threadNode != queueNode
}

// satisfied reports whether slot s is one of those that a queue with q's pin and node may be given.
func satisfied(slots []slot, s int, q *demand) bool {
	if p := slotOfCPU(slots, q.pin); p != unplaced {
		return s == p
	}
	return !hasNode(slots, q.node) || slots[s].node == q.node
}

// rebalanceGain is by how many percent of a CPU the busiest thread must become lighter for queues to be moved for load.
const rebalanceGain = 5

// improves reports whether placing the queues as next is worth moving them from where they are: more of them satisfied,
// or the busiest thread noticeably lighter, or, without that changing, the queues more evenly spread by number.
func improves(slots []slot, queues []demand, next []int) bool {
	now := make([]int, len(queues))
	for i := range queues {
		now[i] = queues[i].at
	}
	a, b := weigh(slots, queues, now), weigh(slots, queues, next)
	switch {
	case a.unsatisfied != b.unsatisfied:
		return b.unsatisfied < a.unsatisfied
	case b.load <= a.load-rebalanceGain:
		return true
	}
	return b.load <= a.load && b.queues < a.queues
}

// weight sums up an assignment.
type weight struct {
	unsatisfied  int
	load, queues int // of the thread with the most
}

func weigh(slots []slot, queues []demand, placed []int) weight {
	var w weight
	tallies := make([]tally, len(slots))
	for i := range queues {
		s := placed[i]
		if s == unplaced || !satisfied(slots, s, &queues[i]) {
			w.unsatisfied++
		}
		if s != unplaced {
			tallies[s].load += max(queues[i].load, 0)
			tallies[s].queues++
		}
	}
	for _, t := range tallies {
		w.load, w.queues = max(w.load, t.load), max(w.queues, t.queues)
	}
	return w
}
