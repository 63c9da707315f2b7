package flow_test

import (
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

// BenchmarkExtract is one packet's key: as far as no rule looks, as rules on IPv4 and ports look, and everything there is.
func BenchmarkExtract(b *testing.B) {
	udp, tcp := flowtest.UDPHdr(53, 2000, 22), flowtest.TCPHdr(1000, 80, 0x012)
	for _, f := range []struct {
		name  string
		frame flowtest.Frame
	}{
		{"udp4", flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, udp)},
		{"tcp4", flowtest.NewFrame().IPv4(flow.ProtoTCP, 0, 0, tcp)},
		{"vlan-udp4", flowtest.NewFrame(5).IPv4(flow.ProtoUDP, 0, 0, udp)},
		{"qinq-udp4", flowtest.NewFrame(5, 6).IPv4(flow.ProtoUDP, 0, 0, udp)},
		{"udp6", flowtest.NewFrame().IPv6(flow.ProtoUDP, udp)},
		{"nd", flowtest.NewFrame().IPv6(flow.ProtoICMP6, flowtest.ND(135, flowtest.Frame{1, 1, 2, 0, 0, 0, 0, 5}))},
		{"arp", flowtest.NewFrame().ARP(1)},
		{"mpls", flowtest.NewFrame().MPLS(flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, udp)[14:], 0x00064140)},
	} {
		for _, d := range []struct {
			name  string
			depth flow.Depth
		}{{"port", flow.DepthPort}, {"l4", flow.DepthL4}, {"nd", flow.DepthND}} {
			b.Run("frame="+f.name+"/depth="+d.name, func(b *testing.B) {
				var k flow.Key
				for b.Loop() {
					if !flow.Extract(f.frame, len(f.frame), 1, d.depth, &k) {
						b.Fatal("the frame was taken to be cut short")
					}
				}
			})
		}
	}
}
