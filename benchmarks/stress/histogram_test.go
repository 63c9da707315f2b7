package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantilesAreRightToThreePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, most := range []float64{10, 63, 64, 1000, 1e6, 1e15} {
		h := new(histogram)
		var all []float64
		for range 5000 {
			v := uint64(math.Pow(most, rng.Float64()))
			h.add(v)
			all = append(all, float64(v))
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.5, 0.99, 0.999, 1} {
			want := all[min(len(all)-1, int(q*float64(len(all))))]
			if got := h.quantile(q); got < want || got > want*(1+1./subs)+1 {
				t.Errorf("up to %v, quantile %v is %v, want %v", most, q, got, want)
			}
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	h := new(histogram)
	h.add(math.MaxUint64)
	if got := h.quantile(1); got < 1.8e19 {
		t.Errorf("the largest value is %v", got)
	}
}

func TestStampsDoNotDisturbOurFrames(t *testing.T) {
	f := newFrame()
	setTuple(f, known(3)(1), 7)
	setStamp(f, 1<<60+5)
	if stream, ours := streamOf(f); !ours || stream != 7 || stampOf(f) != 1<<60+5 {
		t.Errorf("stream %d, ours %t, stamp %d", stream, ours, stampOf(f))
	}
}

func TestMemoryOfItsOwn(t *testing.T) {
	const status = "VmRSS:\t  99 kB\nRssAnon:\t    1000 kB\nRssFile:\t     20 kB\nRssShmem:\t  7000 kB\nHugetlbPages:\t    2048 kB\n"
	if got, err := parseResident(status); err != nil || got != 3068*1024 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseResident("RssAnon: 1 kB\n"); err == nil {
		t.Error("a status without files and hugepages was taken")
	}
}
