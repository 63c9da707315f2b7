package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// ICMP, RFC 792.
const (
	icmpEchoReply   = 0
	icmpEchoRequest = 8
	icmpHeaderLen   = 8
)

// pinger is one series of echo requests under way.
type pinger struct {
	conn    net.PacketConn
	target  net.IP
	id      uint16
	payload []byte
	buf     []byte // one received packet
	sentAt  []time.Time
	rtt     []time.Duration // by sequence number, 0 while missing
	result  PingResult
}

// ping sends a series of echo requests and reports on the replies. Requests lost in ARP count as lost.
func ping(a PingArgs) (PingResult, error) {
	target := net.ParseIP(a.Target).To4()
	switch {
	case target == nil:
		return PingResult{}, fmt.Errorf("%q is not an IPv4 address", a.Target)
	case a.Count < 1 || a.Count > 65535:
		return PingResult{}, fmt.Errorf("count %d is not between 1 and 65535", a.Count)
	case a.Size < 0 || a.Size > 65000:
		return PingResult{}, fmt.Errorf("size %d is not between 0 and 65000", a.Size)
	}
	conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return PingResult{}, err
	}
	defer func() { _ = conn.Close() }()
	p := &pinger{
		conn: conn, target: target, id: uint16(rand.Uint32()), payload: make([]byte, a.Size), buf: make([]byte, 1<<16),
		sentAt: make([]time.Time, a.Count), rtt: make([]time.Duration, a.Count),
	}
	for i := range p.payload {
		p.payload[i] = byte(i*7 + int(p.id))
	}
	interval := time.Duration(a.IntervalMS) * time.Millisecond
	start := time.Now()
	for seq := range a.Count {
		p.sentAt[seq] = time.Now()
		// A send that fails (no route yet, ARP failed) is a lost request, as it is for ping(8).
		_, _ = conn.WriteTo(p.request(uint16(seq)), &net.IPAddr{IP: target})
		p.result.Sent++
		if err := p.collect(start.Add(time.Duration(seq+1) * interval)); err != nil {
			return PingResult{}, err
		}
	}
	deadline := time.Now().Add(time.Duration(a.TimeoutMS) * time.Millisecond)
	for p.result.Received < p.result.Sent && time.Now().Before(deadline) {
		if err := p.collectOne(deadline); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return PingResult{}, err
		}
	}
	p.summarise()
	return p.result, nil
}

func (p *pinger) request(seq uint16) []byte {
	m := make([]byte, icmpHeaderLen+len(p.payload))
	m[0] = icmpEchoRequest
	binary.BigEndian.PutUint16(m[4:], p.id)
	binary.BigEndian.PutUint16(m[6:], seq)
	copy(m[icmpHeaderLen:], p.payload)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

// collect takes replies until the deadline.
func (p *pinger) collect(deadline time.Time) error {
	for {
		switch err := p.collectOne(deadline); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
	}
}

// collectOne takes one packet, if one comes before the deadline, and credits it.
func (p *pinger) collectOne(deadline time.Time) error {
	if err := p.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	n, from, err := p.conn.ReadFrom(p.buf)
	if err != nil {
		return err
	}
	now := time.Now()
	m := p.buf[:n]
	if n < icmpHeaderLen || m[0] != icmpEchoReply || binary.BigEndian.Uint16(m[4:]) != p.id ||
		!p.target.Equal(from.(*net.IPAddr).IP) {
		return nil
	}
	seq := int(binary.BigEndian.Uint16(m[6:]))
	switch {
	case seq >= p.result.Sent || !bytes.Equal(m[icmpHeaderLen:], p.payload):
		p.result.Corrupt++
	case p.rtt[seq] != 0:
		p.result.Duplicates++
	default:
		p.rtt[seq] = max(now.Sub(p.sentAt[seq]), 1)
		p.result.Received++
	}
	return nil
}

func (p *pinger) summarise() {
	var sum, longest time.Duration
	shortest := time.Duration(1<<63 - 1)
	gap := 0
	for _, d := range p.rtt[:p.result.Sent] {
		if d == 0 {
			gap++
			p.result.LongestGap = max(p.result.LongestGap, gap)
			continue
		}
		gap = 0
		sum += d
		shortest, longest = min(shortest, d), max(longest, d)
	}
	if n := p.result.Received; n > 0 {
		p.result.MinUS = micros(shortest)
		p.result.AvgUS = micros(sum / time.Duration(n))
		p.result.MaxUS = micros(longest)
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// checksum is the Internet checksum of RFC 1071 over b, whose checksum field is zero.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
