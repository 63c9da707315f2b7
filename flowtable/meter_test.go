package flowtable

import (
	"math"
	"sync"
	"testing"
	"time"

	"weft/flowtable/flow"
)

func TestMetersLetThroughTheirRateAndBurst(t *testing.T) {
	const second = int64(time.Second)
	for _, c := range []struct {
		name   string
		meter  flow.Meter
		size   int
		every  int64 // nanoseconds from packet to packet
		during int64
		want   uint64
	}{
		{"packets", flow.Meter{Flags: flow.MeterPktps, Bands: []flow.Band{{Rate: 100}}}, 64, second / 1000, 10 * second, 100 + 999},
		{
			"packets with a burst",
			flow.Meter{Flags: flow.MeterPktps | flow.MeterBurst, Bands: []flow.Band{{Rate: 100, Burst: 7}}},
			64, second / 1000, 10 * second, 7 + 999,
		},
		{"below the rate", flow.Meter{Flags: flow.MeterPktps, Bands: []flow.Band{{Rate: 100}}}, 64, second / 50, 10 * second, 500},
		// 8000 kbit/s are 1,000,000 bytes a second, 1000 packets of 1000 bytes; as many at once.
		{
			"kilobits",
			flow.Meter{Flags: flow.MeterKbps, Bands: []flow.Band{{Rate: 8000}}},
			1000, second / 10000, 5 * second, 1000 + 4999,
		},
		{
			"kilobits with a burst smaller than a packet",
			flow.Meter{Flags: flow.MeterKbps | flow.MeterBurst, Bands: []flow.Band{{Rate: 8000, Burst: 7}}},
			1000, second / 10000, second, 0,
		},
		// 3 packets of 1001 bytes take 24024 bits: at 1001 kbit/s exactly every 8 ms one. Nothing is lost by rounding.
		{
			"no rounding",
			flow.Meter{Flags: flow.MeterKbps | flow.MeterBurst, Bands: []flow.Band{{Rate: 1001, Burst: 9}}},
			1001, 8 * second / 1000, 100 * second, 12500,
		},
		{
			"the largest rate",
			flow.Meter{Flags: flow.MeterKbps | flow.MeterBurst, Bands: []flow.Band{{Rate: math.MaxUint32, Burst: math.MaxUint32}}},
			1500, 1, 100000, 100000,
		},
		{
			"the stricter of two bands",
			flow.Meter{Flags: flow.MeterPktps | flow.MeterBurst, Bands: []flow.Band{{Rate: 100, Burst: 1}, {Rate: 10, Burst: 1}}},
			64, second / 1000, 10 * second, 100,
		},
	} {
		c.meter.ID = 1
		if err := c.meter.Validate(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		m := NewMeter(&c.meter)
		passed, sent := uint64(0), uint64(0)
		start := second * 1000
		for now := start; now < start+c.during; now += c.every {
			sent++
			if m.Pass(now, c.size) {
				passed++
			}
		}
		if passed != c.want {
			t.Errorf("%s: %d of %d packets passed, want %d", c.name, passed, sent, c.want)
		}
		packets, bytes, bands := m.counts()
		dropped := uint64(0)
		for _, b := range bands {
			dropped += b.Packets
		}
		if packets != sent || bytes != sent*uint64(c.size) || dropped != sent-passed {
			t.Errorf("%s: counted %d packets, %d bytes, %v dropped", c.name, packets, bytes, bands)
		}
	}
}

func TestAMeterCountsDropsForTheHighestRateThatIsExceeded(t *testing.T) {
	bands := []flow.Band{{Rate: 1, Burst: 1}, {Rate: 2, Burst: 2}}
	m := NewMeter(&flow.Meter{ID: 1, Flags: flow.MeterPktps | flow.MeterBurst, Bands: bands})
	for range 5 {
		m.Pass(0, 100)
	}
	// The first packet passes; the second finds the first band empty, from the third on both are.
	if _, _, b := m.counts(); b[0] != (flow.BandStats{Packets: 1, Bytes: 100}) || b[1] != (flow.BandStats{Packets: 3, Bytes: 300}) {
		t.Errorf("got %v", b)
	}
}

func TestAMeterTakesClocksThatAreApart(t *testing.T) {
	m := NewMeter(&flow.Meter{ID: 1, Flags: flow.MeterPktps | flow.MeterBurst, Bands: []flow.Band{{Rate: 1000, Burst: 1}}})
	const ms = int64(time.Millisecond)
	for i, now := range []int64{5 * ms, 4 * ms, 6 * ms, 5 * ms, math.MaxInt64, 0} {
		if got, want := m.Pass(now, 64), i%2 == 0; got != want {
			t.Errorf("packet %d at %d: passed %v", i, now, got)
		}
	}
}

func TestAMeterIsSharedByThreads(t *testing.T) {
	m := NewMeter(&flow.Meter{ID: 1, Flags: flow.MeterPktps | flow.MeterBurst, Bands: []flow.Band{{Rate: 1, Burst: 1000}}})
	var wg sync.WaitGroup
	var passed [4]int
	for i := range passed {
		wg.Go(func() {
			for range 10000 {
				if m.Pass(1, 64) {
					passed[i]++
				}
			}
		})
	}
	wg.Wait()
	if sum := passed[0] + passed[1] + passed[2] + passed[3]; sum != 1000 {
		t.Errorf("%d passed, want 1000", sum)
	}
	if packets, _, b := m.counts(); packets != 40000 || b[0].Packets != 39000 {
		t.Errorf("counted %d, dropped %v", packets, b)
	}
}

func TestAModifiedMeterKeepsItsFlowsAndSums(t *testing.T) {
	b := newBench(t)
	if err := b.p.Apply([]flow.Change{
		meterMod(t, flow.MeterAdd, "meter=5,pktps,burst,band=type=drop,rate=1,burst_size=1"),
		{Rule: rule(t, "actions=meter:5,1")},
	}); err != nil {
		t.Fatal(err)
	}
	ops := b.send(1, udpTo(1))
	if len(ops) != 2 || ops[0].Kind != OpMeter {
		t.Fatalf("got %v", ops)
	}
	m := b.l.Meter(ops[0].A)
	if !m.Pass(0, 100) || m.Pass(0, 100) {
		t.Error("a burst of one packet is not one packet")
	}
	if err := b.p.Apply([]flow.Change{
		meterMod(t, flow.MeterModify, "meter=5,pktps,burst,band=type=drop,rate=1,burst_size=2"),
	}); err != nil {
		t.Fatal(err)
	}
	before := b.l.CacheStats().Misses
	ops = b.send(1, udpTo(1))
	if n := b.l.CacheStats().Misses - before; n != 0 || b.l.Meter(ops[0].A) != m {
		t.Errorf("%d flows classified again, or another meter", n)
	}
	passed := 0
	for range 3 {
		if m.Pass(0, 100) {
			passed++
		}
	}
	if passed != 2 {
		t.Errorf("the new burst is %d packets, not two", passed)
	}
	s := b.p.Meters()
	if len(s) != 1 || s[0].Packets != 5 || s[0].Bytes != 500 || s[0].Refs != 1 || s[0].Bands[0].Packets != 1 {
		t.Errorf("got %+v", s)
	}
}

func BenchmarkMeter(b *testing.B) {
	m := NewMeter(&flow.Meter{ID: 1, Flags: flow.MeterKbps, Bands: []flow.Band{{Rate: 10_000_000}}})
	now := int64(0)
	for b.Loop() {
		now += 100
		m.Pass(now, 64)
	}
}
