package main

import (
	"fmt"

	"weft/benchmarks/rig"
)

// pairing compares two switches within a round, in the slices of the same phase. What the phases are is known when all
// rounds are over.
type pairing struct {
	of, to  []slice
	figures []pairFigure
}

// pairFigure is the ratio of a figure of some slices of the one switch to that of the other's.
type pairFigure struct {
	name  string
	value func([]slice) float64
	split bool // also by phase
}

// leastSlices is how many slices of a phase both must have.
const leastSlices = 2

// phaseNames are those that are compared.
var phaseNames = [rig.Mixed]string{rig.Near: "near", rig.Far: "far"}

// pair adds a comparison, whose figures come with the summary.
func (m *measurements) pair(of, to []slice, figures ...pairFigure) {
	m.pairs = append(m.pairs, pairing{of, to, figures})
}

// phaseFunc tells near from far.
type phaseFunc func(before, after float64) rig.Phase

// addPairs adds the figures of the comparisons of all rounds.
func (r *result) addPairs() {
	var distances []float64
	for _, round := range r.pairs {
		for i := range round {
			for _, list := range [][]slice{round[i].of, round[i].to} {
				for _, s := range list {
					distances = append(distances, s.before, s.after)
				}
			}
		}
	}
	phase := phaseFunc(rig.Phases(distances))
	var seen [rig.Mixed + 1]int
	for _, round := range r.pairs {
		var m measurements
		for i := range round {
			round[i].count(phase, &seen)
			round[i].addTo(&m, phase)
		}
		r.add(&m)
	}
	if len(distances) > 0 {
		r.addUnphased()
		r.Notes = append(r.Notes, fmt.Sprintf("CPUs near in %d slices, far in %d, and moved in %d", seen[rig.Near], seen[rig.Far],
			seen[rig.Mixed]))
	}
}

// addUnphased adds the ratios of what was in no round in the same phase: the rounds as a whole are all there is. Where some
// rounds have a ratio, the others say nothing.
func (r *result) addUnphased() {
	var m measurements
	for _, round := range r.pairs {
		for _, p := range round {
			for _, f := range p.figures {
				if r.figure(f.name) == nil {
					m.add(f.name, "", f.value(p.of)/f.value(p.to))
				}
			}
		}
	}
	for _, x := range m.values {
		m.note("%s: never in the same phase, so of all slices", x.name)
	}
	r.add(&m)
}

// addTo adds the ratios within the phases that both have: of two, the median.
func (p *pairing) addTo(m *measurements, phase phaseFunc) {
	of, to := phase.sort(p.of), phase.sort(p.to)
	for _, f := range p.figures {
		var ratios []float64
		for x, name := range phaseNames {
			if min(len(of[x]), len(to[x])) < leastSlices {
				continue
			}
			ratio := f.value(of[x]) / f.value(to[x])
			ratios = append(ratios, ratio)
			if f.split {
				m.add(f.name+", "+name, "", ratio)
			}
		}
		if len(ratios) > 0 {
			m.add(f.name, "", rig.Median(ratios))
		}
	}
}

// sort sorts slices by phases.
func (phase phaseFunc) sort(list []slice) (sorted [rig.Mixed + 1][]slice) {
	for _, s := range list {
		x := phase(s.before, s.after)
		sorted[x] = append(sorted[x], s)
	}
	return sorted
}

// count counts the slices of each phase.
func (p *pairing) count(phase phaseFunc, seen *[rig.Mixed + 1]int) {
	for _, list := range [][]slice{p.of, p.to} {
		for x, s := range phase.sort(list) {
			seen[x] += len(s)
		}
	}
}
