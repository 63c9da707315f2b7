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

// apart is by which factor distances differ at least for there to be two phases: within one they vary by less.
const apart = 1.6

// Phases tells near from far distances: below and above the widest gap between those that were measured. If there is no
// gap worth the name, all are near.
func Phases(distances []float64) func(before, after float64) Phase {
	sorted := slices.Sorted(slices.Values(distances))
	widest, limit := apart, math.Inf(1)
	for i := range max(0, len(sorted)-1) {
		if gap := sorted[i+1] / sorted[i]; gap > widest {
			widest, limit = gap, math.Sqrt(sorted[i]*sorted[i+1])
		}
	}
	return func(before, after float64) Phase {
		switch {
		case before < limit && after < limit:
			return Near
		case before >= limit && after >= limit:
			return Far
		}
		return Mixed
	}
}
