package rig

import (
	"math"
	"slices"
)

// Phase says how far apart two CPUs were.
type Phase int

// Phases. Mixed is when that changed meanwhile.
const (
	Near Phase = iota
	Far
	Mixed
)

// apart is by which factor the phases' distances differ at least, in the mean, for there to be two: within one they vary
// by less.
const apart = 1.6

// Phases tells near from far distances, by the limit that splits their logarithms into two groups of the least variance
// (Otsu's method). If the groups are not far from one another, all are near. A distance of 0 is one that is not known.
func Phases(distances []float64) func(before, after float64) Phase {
	known := slices.DeleteFunc(slices.Clone(distances), func(d float64) bool { return d == 0 })
	slices.Sort(known)
	limit := split(known)
	return func(before, after float64) Phase {
		switch {
		case min(before, after) == 0 && !math.IsInf(limit, 1):
			return Mixed // it may have been either
		case before < limit && after < limit:
			return Near
		case before >= limit && after >= limit:
			return Far
		}
		return Mixed
	}
}

// split finds the limit between two groups of sorted values, infinity if they are one.
func split(sorted []float64) float64 {
	total := 0.0
	for _, d := range sorted {
		total += math.Log(d)
	}
	best, limit, below := 0.0, math.Inf(1), 0.0
	for i, d := range sorted[:max(0, len(sorted)-1)] {
		below += math.Log(d)
		n, m := float64(i+1), float64(len(sorted)-i-1)
		gap := (total-below)/m - below/n // between the means
		if between := n * m * gap * gap; between > best && gap > math.Log(apart) {
			best, limit = between, math.Sqrt(d*sorted[i+1])
		}
	}
	return limit
}
