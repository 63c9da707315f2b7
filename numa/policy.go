package numa

import "slices"

// DefaultCPUs chooses the CPUs for PMD threads when the configuration names none. The rules:
//
//  1. Only CPUs among allowed that are online are considered (see AllowedCPUs).
//  2. One CPU for each node that has any. More is for the operator to decide: a PMD thread takes its CPU whole, and on
//     a host of virtual machines most CPUs are meant for these, isolated ones not excepted.
//  3. Within a node, an isolated CPU if there is one, the lowest; otherwise the last CPU of the last core, since
//     interrupts and boot-time work gather on the first.
//  4. At least one CPU is left to the rest, and where there is more than one core, one that no PMD thread shares. To
//     keep that, nodes are left out, the lowest first, but never the last.
//
// With one allowed CPU this is the choice, and PMD thread and the rest share it.
func (t *Topology) DefaultCPUs(allowed []int) []int {
	allowed = intersection(t.Online(), allowed)
	var chosen []int
	for _, n := range t.nodes {
		if cpus := intersection(n.CPUs, allowed); len(cpus) > 0 {
			chosen = append(chosen, t.choose(cpus))
		}
	}
	if len(chosen) == 0 && len(allowed) > 0 {
		chosen = []int{t.choose(allowed)} // CPUs that no node lists
	}
	for len(chosen) > 1 && !t.leavesCore(allowed, chosen) {
		chosen = chosen[1:]
	}
	slices.Sort(chosen)
	return chosen
}

// choose picks one of cpus, which are ascending and at least one.
func (t *Topology) choose(cpus []int) int {
	if isolated := intersection(cpus, t.isolated); len(isolated) > 0 {
		return isolated[0]
	}
	best, bestCore := -1, -1
	for _, c := range cpus {
		if core := t.core(c); core >= bestCore {
			best, bestCore = c, core
		}
	}
	return best
}

// core names a CPU's core by its lowest sibling.
func (t *Topology) core(cpu int) int {
	if c, ok := t.CPU(cpu); ok {
		return c.Siblings[0]
	}
	return cpu
}

// leavesCore reports whether some core with an allowed CPU has none that is chosen.
func (t *Topology) leavesCore(allowed, chosen []int) bool {
	return slices.ContainsFunc(allowed, func(c int) bool {
		cpu, _ := t.CPU(c)
		return len(intersection(cpu.Siblings, chosen)) == 0
	})
}
