package main

import "testing"

// BenchmarkLoop is the whole way of a packet: the PMD loop, the switch, the rings, without the time of the rings' other ends.
func BenchmarkLoop(b *testing.B) {
	for _, s := range scenarios() {
		b.Run("scenario="+s.name, func(b *testing.B) {
			d, err := newBed(&s)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := d.close(); err != nil {
					b.Error(err)
				}
			})
			d.run(warmUp / s.batches)
			laps := (b.N + s.perLap() - 1) / s.perLap()
			b.ResetTimer()
			took := d.run(laps)
			packets := float64(laps * s.perLap())
			b.ReportMetric(float64(took.Nanoseconds())/packets, "ns/packet")
			b.ReportMetric(packets/took.Seconds(), "packets/s")
		})
	}
}
