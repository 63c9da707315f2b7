package testpmd

import (
	"strings"
	"testing"
)

// output is what testpmd 22.11 prints; 24.11 prints the same.
const output = `show port stats all

  ######################## NIC statistics for port 0  ########################
  RX-packets: 13        RX-missed: 1          RX-bytes:  832
  RX-errors: 2
  RX-nombuf:  0
  TX-packets: 269       TX-errors: 3          TX-bytes:  17216

  Throughput (since last show)
  Rx-pps:            7          Rx-bps:            0
  Tx-pps:            0          Tx-bps:            0
  ############################################################################

  ######################## NIC statistics for port 1  ########################
  RX-packets: 269       RX-missed: 0          RX-bytes:  17216
  RX-errors: 0
  RX-nombuf:  0
  TX-packets: 13        TX-errors: 0          TX-bytes:  832
`

func TestStatisticsOfBothPorts(t *testing.T) {
	got, err := parseStats(output)
	want := [2]PortStats{
		{RxPackets: 13, RxMissed: 1, RxBytes: 832, RxErrors: 2, TxPackets: 269, TxErrors: 3, TxBytes: 17216},
		{RxPackets: 269, RxBytes: 17216, TxPackets: 13, TxBytes: 832},
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{
		"", strings.Replace(output, "port 1 ", "port x ", 1),
		strings.ReplaceAll(output, "RX-packets", "packets"),
	} {
		if _, err := parseStats(bad); err == nil {
			t.Errorf("took %q for statistics", bad)
		}
	}
}

func TestDropsOfForwarding(t *testing.T) {
	const text = `
  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 100            RX-dropped: 1             RX-total: 101
  TX-packets: 90             TX-dropped: 10            TX-total: 100
  ----------------------------------------------------------------------------

  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 100            RX-dropped: 0             RX-total: 100
  TX-packets: 100            TX-dropped: 4             TX-total: 104
  ----------------------------------------------------------------------------

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 200            RX-dropped: 1             RX-total: 201
  TX-packets: 190            TX-dropped: 14            TX-total: 204
`
	if n, err := parseDropped(text); n != 15 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseDropped("Bad arguments"); err == nil {
		t.Error("took something else for statistics")
	}
}

func TestCommandLine(t *testing.T) {
	c := Config{Name: "load", Sockets: [2]string{"/a", "/b"}, Server: true, NotMergeable: true, Queues: 2, FrameBytes: 64}
	line := strings.Join(c.args(), " ")
	for _, want := range []string{
		"--single-file-segments", "net_virtio_user1,path=/b,queues=2,queue_size=1024,server=1,mrg_rxbuf=0", "--txpkts=64",
		"--rxq=2", "--forward-mode=io",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if strings.Contains(line, "--max-pkt-len") || strings.Contains(line, "--mbuf-size") {
		t.Errorf("short frames, and yet: %s", line)
	}
	c.FrameBytes = 9000
	line = strings.Join(c.args(), " ")
	for _, want := range []string{
		"--txpkts=2048,2048,2048,2048,808", "--max-pkt-len=9018", "--enable-scatter", "--tx-offloads=0x8000",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	c.Vhost, c.MbufBytes = true, 9216
	if line = strings.Join(c.args(), " "); !strings.Contains(line, "--mbuf-size=9344") || strings.Contains(line, "--txpkts") {
		t.Errorf("a back end for long frames: %s", line)
	}
	v := Config{Vhost: true, Sockets: c.Sockets, NoHugepages: true}
	line = strings.Join(v.args(), " ")
	if !strings.Contains(line, "net_vhost0,iface=/a,queues=1") || strings.Contains(line, "virtio_user") ||
		!strings.Contains(line, "--no-huge") || strings.Contains(line, "--in-memory") {
		t.Errorf("vhost without hugepages: %s", line)
	}
}
