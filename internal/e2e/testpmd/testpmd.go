package testpmd

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weft/internal/e2e/host"
)

// MemoryMB is what testpmd allocates unless told otherwise; it wants so many MiB of free hugepages.
const MemoryMB = 1024

// Config describes one testpmd.
type Config struct {
	Name      string
	Sockets   [2]string
	Vhost     bool // the sockets are net_vhost back ends, instead of virtio-user front ends
	Server    bool // of the front ends: testpmd listens and the switch connects
	CPU       int  // of the forwarding thread and the main thread
	Queues    int  // queue pairs, 1 if 0
	QueueSize int  // descriptors, 1024 if 0
	// NotMergeable turns off mergeable receive buffers, Packed turns on packed rings.
	NotMergeable, Packed bool
	// FrameBytes is the frames' length, 64 if 0; without the frame check sequence, 60 is shortest. A front end sends and
	// receives a frame longer than a packet buffer in several, over mergeable receive buffers that is.
	FrameBytes int
	Forward    string // io if empty
	// Flows, with Forward flowgen, is how many flows there are: UDP over IPv4 to 10.253.0.0 plus the flow's number.
	Flows       int
	NoHugepages bool
	MemoryMB    int    // 0 for the constant MemoryMB
	Mbufs       int    // packet buffers, 65536 if 0
	MbufBytes   int    // of a frame that one packet buffer holds, 2048 if 0
	ExtraVdev   string // appended to each device, ",name=value"
}

// Testpmd is a running testpmd with its command prompt.
type Testpmd struct {
	Process *host.Process
	stdin   *os.File
	offset  int // of the output that Command has looked at
}

// prompt is what testpmd prints when it takes commands.
const prompt = "testpmd> "

func (c *Config) args() []string {
	queues, size := max(c.Queues, 1), orElse(c.QueueSize, 1024)
	args := []string{
		"stdbuf", "-oL", // its statistics would stay in a buffer until it ends
		"dpdk-testpmd", "--lcores", fmt.Sprintf("0@%d,1@%[1]d", c.CPU), "--no-pci", "--no-telemetry",
		"-m", strconv.Itoa(orElse(c.MemoryMB, MemoryMB)), "--file-prefix", c.Name,
	}
	if c.NoHugepages {
		args = append(args, "--no-huge") // EAL takes an anonymous file then, which it can share just as well
	} else {
		args = append(args, "--in-memory", "--single-file-segments") // otherwise: too many memory regions
	}
	for i, path := range c.Sockets {
		if c.Vhost {
			args = append(args, fmt.Sprintf("--vdev=net_vhost%d,iface=%s,queues=%d", i, path, queues))
			continue
		}
		vdev := fmt.Sprintf("--vdev=net_virtio_user%d,path=%s,queues=%d,queue_size=%d", i, path, queues, size)
		if c.Server {
			vdev += ",server=1"
		}
		if c.NotMergeable {
			vdev += ",mrg_rxbuf=0"
		}
		if c.Packed {
			vdev += ",packed_vq=1"
		}
		args = append(args, vdev+c.ExtraVdev)
	}
	forward := c.Forward
	if forward == "" {
		forward = "io"
	}
	args = append(args, "--", "-i", "--nb-cores=1", "--forward-mode="+forward, "--burst=32",
		fmt.Sprintf("--txd=%d", size), fmt.Sprintf("--rxd=%d", size),
		fmt.Sprintf("--rxq=%d", queues), fmt.Sprintf("--txq=%d", queues),
		fmt.Sprintf("--total-num-mbufs=%d", orElse(c.Mbufs, 65536)))
	if c.Flows > 0 {
		args = append(args, fmt.Sprintf("--flowgen-flows=%d", c.Flows))
	}
	if c.MbufBytes > 0 {
		args = append(args, fmt.Sprintf("--mbuf-size=%d", headroom+c.MbufBytes))
	}
	if c.FrameBytes > maxStandard {
		// The MTU that testpmd sets is this less the Ethernet header and the frame check sequence (etherBytes).
		args = append(args, fmt.Sprintf("--max-pkt-len=%d", c.FrameBytes+etherBytes), fmt.Sprintf("--tx-offloads=%#x", txMultiSegs))
		if !c.Vhost { // which scatters without being asked, and refuses the word
			args = append(args, "--enable-scatter")
		}
	}
	if c.FrameBytes > 0 && !c.Vhost {
		args = append(args, "--txpkts="+segments(c.FrameBytes, orElse(c.MbufBytes, mbufBytes)))
	}
	return args
}

// What DPDK calls RTE_PKTMBUF_HEADROOM, RTE_MBUF_DEFAULT_DATAROOM, RTE_ETHER_MAX_LEN, RTE_ETHER_HDR_LEN with
// RTE_ETHER_CRC_LEN, and RTE_ETH_TX_OFFLOAD_MULTI_SEGS.
const (
	headroom    = 128
	mbufBytes   = 2048
	maxStandard = 1518
	etherBytes  = 14 + 4
	txMultiSegs = 1 << 15
)

// segments is how a frame is laid into packet buffers, as --txpkts takes it.
func segments(frame, mbuf int) string {
	var lengths []string
	for ; frame > mbuf; frame -= mbuf {
		lengths = append(lengths, strconv.Itoa(mbuf))
	}
	return strings.Join(append(lengths, strconv.Itoa(frame)), ",")
}

func orElse(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

// Start starts testpmd and waits for its prompt.
func Start(ctx context.Context, g *host.Group, c Config) (*Testpmd, error) {
	if c.Server || c.Vhost {
		for _, path := range c.Sockets {
			_ = os.Remove(path) // it does not start over a socket that a killed predecessor left
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	t := &Testpmd{stdin: w}
	t.Process, err = g.Start(host.Spec{Name: c.Name, Args: c.args(), Stdin: r})
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	g.Defer(func() { _ = w.Close() })
	if _, err := t.wait(ctx, prompt); err != nil {
		return nil, fmt.Errorf("testpmd %s: no prompt: %w\n%s", c.Name, err, t.Process.Tail(15))
	}
	return t, nil
}

// wait returns the output since the last call up to and with the text wanted.
func (t *Testpmd) wait(ctx context.Context, wanted string) (string, error) {
	for {
		out, err := t.Process.Output()
		if err != nil {
			return "", err
		}
		fresh := out[t.offset:]
		if at := strings.Index(fresh, wanted); at >= 0 {
			t.offset += at + len(wanted)
			return fresh[:at], nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-t.Process.Done():
			return "", fmt.Errorf("testpmd ended: %v", t.Process.ExitError())
		case <-time.After(2 * time.Millisecond): // it bounds how exactly Rate knows when a counter was read
		}
	}
}

// Command types a command and returns what testpmd printed before its next prompt.
func (t *Testpmd) Command(ctx context.Context, command string) (string, error) {
	if _, err := fmt.Fprintln(t.stdin, command); err != nil {
		return "", fmt.Errorf("testpmd: %s: %w", command, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := t.wait(ctx, prompt)
	if err != nil {
		return "", fmt.Errorf("testpmd: %s: %w\n%s", command, err, t.Process.Tail(10))
	}
	return out, nil
}

// Quit ends testpmd in good order.
func (t *Testpmd) Quit(grace time.Duration) error {
	if _, err := fmt.Fprintln(t.stdin, "quit"); err != nil {
		return fmt.Errorf("testpmd: quit: %w", err)
	}
	return t.Process.Wait(grace)
}

// PortStats are one port's counters since the last clear.
type PortStats struct {
	RxPackets, RxBytes, RxMissed, RxErrors uint64
	TxPackets, TxBytes, TxErrors           uint64
}

// Stats reads the counters of both ports.
func (t *Testpmd) Stats(ctx context.Context) ([2]PortStats, error) {
	out, err := t.Command(ctx, "show port stats all")
	if err != nil {
		return [2]PortStats{}, err
	}
	return parseStats(out)
}

var (
	portHeading = regexp.MustCompile(`NIC statistics for port (\d)`)
	counterText = regexp.MustCompile(`([RT]X-[a-z]+):\s+(\d+)`)
)

// parseStats reads what "show port stats all" prints.
func parseStats(text string) ([2]PortStats, error) {
	var stats [2]PortStats
	headings := portHeading.FindAllStringSubmatchIndex(text, -1)
	if len(headings) != len(stats) {
		return stats, fmt.Errorf("testpmd: statistics of %d ports, want 2:\n%s", len(headings), text)
	}
	for i, h := range headings {
		end := len(text)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		counters := make(map[string]uint64)
		for _, m := range counterText.FindAllStringSubmatch(text[h[1]:end], -1) {
			n, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				return stats, fmt.Errorf("testpmd: %s: %w", m[0], err)
			}
			counters[m[1]] = n
		}
		if _, found := counters["RX-packets"]; !found {
			return stats, fmt.Errorf("testpmd: no RX-packets in:\n%s", text)
		}
		stats[i] = PortStats{
			RxPackets: counters["RX-packets"], RxBytes: counters["RX-bytes"],
			RxMissed: counters["RX-missed"], RxErrors: counters["RX-errors"],
			TxPackets: counters["TX-packets"], TxBytes: counters["TX-bytes"], TxErrors: counters["TX-errors"],
		}
	}
	return stats, nil
}

// Rate lets the traffic run for a while and returns packets per second received, both ports together.
func (t *Testpmd) Rate(ctx context.Context, during time.Duration) (float64, error) {
	before, err := t.Stats(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(during):
	}
	after, err := t.Stats(ctx)
	if err != nil {
		return 0, err
	}
	n := after[0].RxPackets - before[0].RxPackets + after[1].RxPackets - before[1].RxPackets
	return float64(n) / time.Since(start).Seconds(), nil
}

// Drain stops forwarding and receives for a while, without sending, what is still in the rings. It may be called again.
func (t *Testpmd) Drain(ctx context.Context, settle time.Duration) error {
	for _, command := range []string{"stop", "set fwd rxonly", "start"} {
		if _, err := t.Command(ctx, command); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	_, err := t.Command(ctx, "stop")
	return err
}

// Dropped is how many packets forwarding has dropped since it was started.
func (t *Testpmd) Dropped(ctx context.Context) (uint64, error) {
	out, err := t.Command(ctx, "show fwd stats all")
	if err != nil {
		return 0, err
	}
	return parseDropped(out)
}

var droppedText = regexp.MustCompile(`[RT]X-dropped:\s+(\d+)`)

// parseDropped sums what "show fwd stats all" prints for each port, before the sums that it prints itself.
func parseDropped(text string) (sum uint64, err error) {
	ports, _, _ := strings.Cut(text, "Accumulated")
	found := droppedText.FindAllStringSubmatch(ports, -1)
	if len(found) == 0 {
		return 0, fmt.Errorf("testpmd: no drops in its forward statistics:\n%s", text)
	}
	for _, m := range found {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("testpmd: %s: %w", m[0], err)
		}
		sum += n
	}
	return sum, nil
}
