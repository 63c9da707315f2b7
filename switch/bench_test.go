package vswitch

import (
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

// BenchmarkProcess is what the switch does with a batch between receiving and transmitting it, by the actions of the one rule
// there is. The port that it goes to is down, so that it is counted there and not copied; ns/packet leaves out how the frames
// come to be as they were.
func BenchmarkProcess(b *testing.B) {
	for _, c := range []struct{ name, rule string }{
		{"output", "actions=b"},
		{"output-by-address", "dl_dst=02:00:00:00:00:02,actions=b"},
		{"drop", "actions=drop"},
		{"normal", "actions=normal"},
		{"flood", "actions=flood"},
		{"set-ethernet", "actions=mod_dl_src:02:00:00:00:01:01,mod_dl_dst:02:00:00:00:01:02,b"},
		{"push-vlan", "actions=mod_vlan_vid:7,b"},
		{"push-mpls", "actions=push_mpls:0x8847,set_field:7->mpls_label,b"},
		{"set-ipv4", "ip,actions=mod_nw_src:192.0.2.1,mod_nw_dst:192.0.2.2,b"},
		{"set-port", "udp,actions=mod_tp_dst:4789,b"},
		{"dec-ttl", "ip,actions=dec_ttl,b"},
		{"route", "ip,actions=mod_dl_src:02:00:00:00:01:01,mod_dl_dst:02:00:00:00:01:02,dec_ttl,b"},
		{"tag-a-copy", "actions=b,mod_vlan_vid:7,c"},
	} {
		b.Run("actions="+c.name, func(b *testing.B) { benchmarkProcess(b, c.rule) })
	}
}

func benchmarkProcess(b *testing.B, rule string) {
	r := newRig(b)
	r.apply(threePorts(rule))
	frame := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, flowtest.UDPHdr(1, 2, 22))
	back := append([]byte(nil), frame...)
	copy(back, frame[6:12])
	copy(back[6:], frame[:6])
	r.send("b", back) // NORMAL learns where b is
	w, batch := r.batchOf("a", frame)
	for _, name := range []string{"b", "c"} {
		r.dev(name).Tx(0).SetDown(true)
	}
	var took time.Duration
	packets := 0
	for b.Loop() {
		batch.Reset()
		for range packet.BatchSize {
			copy(batch.Add(len(frame)).Header(), frame)
		}
		start := time.Now()
		w.Process(batch)
		took += time.Since(start)
		packets += batch.Len()
	}
	counters := r.dev("b").Tx(0).Counters()
	if n := counters.Dropped(); rule != "actions=drop" && n < uint64(packets) {
		b.Fatalf("%d of %d packets came to port b", n, packets)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(packets), "ns/packet")
	b.ReportMetric(float64(packets)/took.Seconds(), "packets/s")
}
