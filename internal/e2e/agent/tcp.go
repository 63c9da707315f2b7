package agent

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"
)

// tcpVerdictLen is what the receiver sends back: bytes counted (8), CRC-32 of them (4), big endian.
const tcpVerdictLen = 12

// tcpServe listens and answers each connection with what it counted. Listening twice on one address is no error, so
// that a test may ask again after a restart of the other side.
func (s *Server) tcpServe(a TCPServeArgs) (empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners[a.Listen] != nil {
		return empty{}, nil
	}
	l, err := net.Listen("tcp4", a.Listen)
	if err != nil {
		return empty{}, err
	}
	s.listeners[a.Listen] = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go tcpReceive(conn)
		}
	}()
	return empty{}, nil
}

// tcpReceive reads to the end and says what it saw. A connection that breaks gets no verdict, which the sender reports.
func tcpReceive(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, conn)
	if err != nil {
		return
	}
	verdict := binary.BigEndian.AppendUint64(nil, uint64(n))
	verdict = binary.BigEndian.AppendUint32(verdict, sum.Sum32())
	_, _ = conn.Write(verdict)
}

// tcpSend moves a.Bytes over a.Streams connections and checks the receiver's verdicts.
func tcpSend(a TCPSendArgs) (TCPResult, error) {
	streams := max(a.Streams, 1)
	if a.Bytes < 1 || streams > 64 {
		return TCPResult{}, fmt.Errorf("cannot send %d bytes over %d streams", a.Bytes, streams)
	}
	timeout := time.Duration(a.TimeoutMS) * time.Millisecond
	start := time.Now()
	errs := make([]error, streams)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() { errs[i] = tcpStream(a.Target, a.Bytes/int64(streams)+1, byte(i), start.Add(timeout)) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return TCPResult{}, err
		}
	}
	r := TCPResult{Bytes: (a.Bytes/int64(streams) + 1) * int64(streams), Seconds: time.Since(start).Seconds()}
	r.Mbps = float64(r.Bytes) * 8 / 1e6 / r.Seconds
	r.Verified = true
	return r, nil
}

func tcpStream(target string, n int64, salt byte, deadline time.Time) error {
	conn, err := net.DialTimeout("tcp4", target, time.Until(deadline))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	// Prime length, so that the pattern does not line up with segments or pages.
	block := make([]byte, 65521)
	for i := range block {
		block[i] = byte(i*31) ^ byte(i>>8) ^ salt
	}
	sum := crc32.NewIEEE()
	for left := n; left > 0; {
		part := block[:min(int64(len(block)), left)]
		if _, err := conn.Write(part); err != nil {
			return fmt.Errorf("send to %s, %d of %d bytes left: %w", target, left, n, err)
		}
		_, _ = sum.Write(part) // a hash never fails
		left -= int64(len(part))
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	var verdict [tcpVerdictLen]byte
	if _, err := io.ReadFull(conn, verdict[:]); err != nil {
		return fmt.Errorf("verdict of %s: %w", target, err)
	}
	got, gotSum := binary.BigEndian.Uint64(verdict[:]), binary.BigEndian.Uint32(verdict[8:])
	if got != uint64(n) || gotSum != sum.Sum32() {
		return fmt.Errorf("%s received %d bytes with CRC %#08x; sent %d with %#08x", target, got, gotSum, n, sum.Sum32())
	}
	return nil
}
