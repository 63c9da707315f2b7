package agent

import "encoding/json"

// Request is one line from the test to the agent.
type Request struct {
	ID   uint64          `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

// Reply is one line from the agent to the test. Error is empty when the command worked.
type Reply struct {
	ID     uint64          `json:"id"`
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// The commands.
const (
	OpHello    = "hello"
	OpAddr     = "addr"
	OpLink     = "link"
	OpVLAN     = "vlan"
	OpChannels = "channels"
	OpCounters = "counters"
	OpPing     = "ping"
	OpTCPServe = "tcp-serve"
	OpTCPSend  = "tcp-send"
	OpPoweroff = "poweroff"
	OpReboot   = "reboot"
)

// Hello is what the agent says about itself.
type Hello struct {
	Kernel     string   `json:"kernel"`
	Boot       string   `json:"boot_id"` // changes with each start of the kernel
	Interfaces []string `json:"interfaces"`
}

// AddrArgs gives an interface an address ("10.1.0.1/24") and brings it up.
type AddrArgs struct {
	Interface string `json:"interface"`
	CIDR      string `json:"cidr"`
}

// LinkArgs changes a link. A zero MTU leaves the MTU alone.
type LinkArgs struct {
	Interface string `json:"interface"`
	MTU       int    `json:"mtu,omitempty"`
	Down      bool   `json:"down,omitempty"`
}

// VLANArgs creates the interface Interface.ID that carries one VLAN of Interface.
type VLANArgs struct {
	Interface string `json:"interface"`
	ID        int    `json:"id"`
}

// ChannelsArgs sets how many queue pairs a network card uses.
type ChannelsArgs struct {
	Interface string `json:"interface"`
	Combined  int    `json:"combined"`
}

// CountersArgs names the interface whose statistics are wanted; the result is a map[string]uint64.
type CountersArgs struct {
	Interface string `json:"interface"`
}

// PingArgs describes a series of ICMP echo requests.
type PingArgs struct {
	Target     string `json:"target"`
	Count      int    `json:"count"`
	IntervalMS int    `json:"interval_ms"`
	TimeoutMS  int    `json:"timeout_ms"` // how long to wait for the last reply
	Size       int    `json:"size"`       // payload bytes
}

// PingResult is what became of a series. Round trips are in microseconds.
type PingResult struct {
	Sent       int     `json:"sent"`
	Received   int     `json:"received"`
	Duplicates int     `json:"duplicates"`
	Corrupt    int     `json:"corrupt"`
	MinUS      float64 `json:"rtt_min_us"`
	AvgUS      float64 `json:"rtt_avg_us"`
	MaxUS      float64 `json:"rtt_max_us"`
	LongestGap int     `json:"longest_gap"` // most replies missing in a row
}

// Lost is how many requests stayed without a reply.
func (r PingResult) Lost() int { return r.Sent - r.Received }

// TCPServeArgs starts a listener that counts and checks what it is sent.
type TCPServeArgs struct {
	Listen string `json:"listen"` // ":5001"
}

// TCPSendArgs sends Bytes to a listener started by tcp-serve.
type TCPSendArgs struct {
	Target    string `json:"target"` // "10.1.0.2:5001"
	Bytes     int64  `json:"bytes"`
	TimeoutMS int    `json:"timeout_ms"`
	Streams   int    `json:"streams,omitempty"` // connections side by side, at least 1
}

// TCPResult is what a transfer took. The receiver counted and summed what arrived; Verified says that it agrees.
type TCPResult struct {
	Bytes    int64   `json:"bytes"`
	Seconds  float64 `json:"seconds"`
	Mbps     float64 `json:"mbit_per_second"`
	Verified bool    `json:"verified"`
}
