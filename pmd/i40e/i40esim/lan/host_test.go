package lan

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/pmd/i40e/i40esim/frame"
)

// host is the memory of a machine and what the device reported to it.
type host struct {
	t          testing.TB
	base       uint64
	mem        []byte
	violations []string
	events     []Event
	causes     int
	reads      int
}

const (
	hostBase = 0x1000_0000
	hostSize = 1 << 20
	ringAt   = hostBase
	headWBAt = hostBase + 0x1_0000
	bufferAt = hostBase + 0x2_0000
)

func newHost(t testing.TB) *host {
	return &host{t: t, base: hostBase, mem: make([]byte, hostSize)}
}

func (h *host) slice(addr uint64, n int) ([]byte, error) {
	if addr < h.base || addr-h.base > hostSize || uint64(n) > hostSize-(addr-h.base) {
		return nil, fmt.Errorf("%#x: %d bytes are not mapped", addr, n)
	}
	return h.mem[addr-h.base:][:n], nil
}

func (h *host) Read(addr uint64, p []byte) error {
	h.reads++
	m, err := h.slice(addr, len(p))
	copy(p, m)
	return err
}

func (h *host) Write(addr uint64, p []byte) error {
	m, err := h.slice(addr, len(p))
	copy(m, p)
	return err
}

func (h *host) Violation(format string, args ...any) {
	h.violations = append(h.violations, fmt.Sprintf(format, args...))
}

func (h *host) Malicious(_ int, _ bool, e Event) { h.events = append(h.events, e) }

func (h *host) u64(addr uint64) uint64 {
	h.t.Helper()
	m, err := h.slice(addr, 8)
	if err != nil {
		h.t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(m)
}

func (h *host) put64(addr uint64, v ...uint64) {
	h.t.Helper()
	for i, x := range v {
		m, err := h.slice(addr+uint64(8*i), 8)
		if err != nil {
			h.t.Fatal(err)
		}
		binary.LittleEndian.PutUint64(m, x)
	}
}

func (h *host) bytes(addr uint64, n int) []byte {
	h.t.Helper()
	m, err := h.slice(addr, n)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// clean wants that nothing was reported.
func (h *host) clean() {
	h.t.Helper()
	if len(h.violations) > 0 || len(h.events) > 0 {
		h.t.Fatalf("reported: %q, %v", h.violations, h.events)
	}
}

// stoppedBy wants that exactly event e stopped the queue, with a violation that holds text.
func (h *host) stoppedBy(e Event, text string) {
	h.t.Helper()
	if len(h.events) != 1 || h.events[0] != e {
		h.t.Fatalf("events %v, want %q; reported: %q", h.events, e, h.violations)
	}
	h.violated(text)
}

// violated wants a report that holds text.
func (h *host) violated(text string) {
	h.t.Helper()
	for _, v := range h.violations {
		if strings.Contains(v, text) {
			return
		}
	}
	h.t.Fatalf("no violation with %q; reported: %q", text, h.violations)
}

// Frames, made by gopacket.

func build(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, l...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

func ether(next layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{
		DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetType: next,
	}
}

func payload(n int) gopacket.Payload {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// tcpFrame is an IPv4 TCP frame with n bytes of payload, tagged with the given VLANs from the outside in.
func tcpFrame(t testing.TB, n int, tags ...uint16) []byte {
	t.Helper()
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Id: 7, Protocol: layers.IPProtocolTCP,
		SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2},
	}
	c := &layers.TCP{SrcPort: 1000, DstPort: 2000, Seq: 1, Window: 100, ACK: true, FIN: true, PSH: true}
	if err := c.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	l := []gopacket.SerializableLayer{ether(layers.EthernetTypeIPv4)}
	if len(tags) > 0 {
		l[0] = ether(layers.EthernetTypeDot1Q)
		for i, id := range tags {
			next := layers.EthernetTypeDot1Q
			if i == len(tags)-1 {
				next = layers.EthernetTypeIPv4
			}
			l = append(l, &layers.Dot1Q{VLANIdentifier: id, Type: next, Priority: 5})
		}
	}
	return build(t, append(l, ip, c, payload(n))...)
}

// metaOf is what a device without filters and hash finds out about a frame.
func metaOf(b []byte) *RxMeta {
	var p frame.Parser
	return &RxMeta{Layers: p.Parse(b)}
}

// vxlan wraps a frame into VXLAN over IPv4.
func vxlan(t testing.TB, inner []byte) []byte {
	t.Helper()
	ip := &layers.IPv4{
		Version: 4, TTL: 9, Id: 0x100, Protocol: layers.IPProtocolUDP,
		SrcIP: net.IP{172, 16, 0, 1}, DstIP: net.IP{172, 16, 0, 2},
	}
	u := &layers.UDP{SrcPort: 50000, DstPort: 4789}
	if err := u.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return build(t, ether(layers.EthernetTypeIPv4), ip, u, &layers.VXLAN{ValidIDFlag: true, VNI: 5}, gopacket.Payload(inner))
}
