package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How far the heap may grow before it is collected. A collection briefly stops all PMD threads, so a small heap may grow
// manyfold: what a busy control side leaves in half a minute is collected at once. At rest there is hardly any garbage, and
// the PMD threads' memory is not part of the heap. A large one is millions of rules, which hold no pointers and cost a
// collection next to nothing: there garbage must not take as much memory as the rules do.
const (
	gcGarbage      = 96 << 20 // bytes of garbage that are never too much
	gcPercentLeast = 20
	gcPercentMost  = 100 * gcGarbage / (4 << 20) // of the 4 MiB that Go takes a smaller heap for
)

// tuneGC adapts the collector to the heap from now on, after each collection. GOGC in the environment replaces it.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercentMost)
	afterNextGC(gcPercentMost)
}

// afterNextGC sets the percentage anew when the next collection is through. now is the present one.
func afterNextGC(now int) {
	// What nobody refers to is finalised after the collection that finds it.
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		if sample[0].Value.Kind() == metrics.KindUint64 {
			// Setting it stops the world for a moment, so small differences are let be.
			if want := gcPercentFor(sample[0].Value.Uint64()); want < now*9/10 || want > now*11/10 {
				debug.SetGCPercent(want)
				now = want
			}
		}
		afterNextGC(now)
	})
}

// gcPercentFor is the percentage for a heap of so many live bytes.
func gcPercentFor(live uint64) int {
	return int(min(gcPercentMost, max(gcPercentLeast, 100*gcGarbage/max(live, 1))))
}
