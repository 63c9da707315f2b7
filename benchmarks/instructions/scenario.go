package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"weft/flowtable/classbench"
	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// wiring is what the two ports are made of.
type wiring int

const (
	mergeable wiring = iota // vhost-user rings, receive buffers of 2048 bytes that a long frame takes several of
	unmerged                // vhost-user rings, receive buffers that hold the longest frame
	packed                  // packed vhost-user rings, mergeable
	inMemory                // memport
)

// scenario is one thing that the datapath does over and over.
type scenario struct {
	name, title string
	wiring      wiring
	size        int // of frames, in bytes
	pairs       int // queue pairs of a port
	batches     int // bursts that a queue sends before they are the same again
	burst       int // frames that a queue has for the switch each time, 0: a full batch
	cache       int // flow cache entries, 0: the default, -1: none
	rules       func() []string
	// frames are those that a queue of port a sends before it begins again.
	frames func(s *scenario) [][]byte
	// fresh makes every frame one of a flow that was never seen.
	fresh bool
}

// Addresses in frames.
const (
	offDst   = 14 + 16 // IPv4 destination, in an untagged frame
	offSrc   = 14 + 12
	offProto = 14 + 9
	offPorts = 14 + 20

	flowsNet = 10<<24 | 253<<16 // destinations of flows: 10.253.0.0 + n
	aclRules = 1000
)

// scenarios is the table of them. Those that benchmarks/compare has, too, have the same names.
func scenarios() []scenario {
	list := []scenario{
		{name: "64", title: "64-byte frames, one rule a port", size: 64},
		{name: "64-unmerged", title: "the same, receive buffers not mergeable", wiring: unmerged, size: 64},
		{name: "64-packed", title: "the same, packed rings", wiring: packed, size: 64},
		{name: "64-pairs", title: "the same, two queue pairs", size: 64, pairs: 2},
		{name: "64-memport", title: "the same between ports in memory", wiring: inMemory, size: 64},
		{name: "1500", title: "1500-byte frames", size: 1500},
		{name: "9000", title: "9000-byte frames, five receive buffers each, 8 a batch", size: 9000, burst: 8},
		{name: "9000-packed", title: "the same, packed rings", wiring: packed, size: 9000, burst: 8},
		{
			name: "flows", title: "64 flows, a /32 rule for each and direction", size: 64, batches: 2,
			rules: flowRules, frames: flowFrames,
		},
		{name: "normal", title: "NORMAL, both addresses learned", size: 64, rules: these("actions=normal")},
		{name: "edit", title: "new addresses, TTL decremented, as a router does", size: 64, rules: these(
			"in_port=a,ip,actions=mod_dl_src:02:00:00:00:01:01,mod_dl_dst:02:00:00:00:01:02,dec_ttl,b",
		)},
		{
			name: "acl", title: "no flow cached: 32 flows classified by an ACL of 1000 rules", size: 64,
			cache: -1, rules: aclTexts, frames: aclFrames,
		},
		{
			name: "new-flows", title: "every flow new: classified, put into a full cache", size: 64, cache: 1, fresh: true, burst: 16,
			rules: these("ip,nw_src=0.0.0.0/1,actions=b", "priority=9,udp,nw_src=192.0.2.1,actions=drop"),
		},
	}
	for i := range list {
		list[i].complete()
	}
	return list
}

// complete fills in what most scenarios have in common.
func (s *scenario) complete() {
	s.pairs, s.batches = max(1, s.pairs), max(1, s.batches)
	if s.burst == 0 {
		s.burst = packet.BatchSize
	}
	if s.rules == nil {
		s.rules = these("in_port=a,actions=b", "in_port=b,actions=a")
	}
	if s.frames == nil {
		s.frames = plainFrames
	}
}

// perLap is how many packets pass the switch until the same frames come again.
func (s *scenario) perLap() int { return s.pairs * s.batches * s.burst }

func these(rules ...string) func() []string { return func() []string { return rules } }

// plainFrames are UDP in IPv4, from a's address to b's.
func plainFrames(s *scenario) [][]byte {
	const headers = offPorts + 8
	frames := make([][]byte, s.batches*s.burst)
	for i := range frames {
		frames[i] = flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, flowtest.UDPHdr(1, 2, s.size-headers))
	}
	return frames
}

// greeting is a frame from b's address to a's.
func greeting(s *scenario) []byte {
	f := plainFrames(s)[0]
	f[5], f[11] = f[11], f[5]
	return f
}

// setSource writes an IPv4 source address.
func setSource(f []byte, a uint32) { binary.BigEndian.PutUint32(f[offSrc:], a) }

// flowRules are one rule for each flow and direction.
func flowRules() (rules []string) {
	for i := range 2 * packet.BatchSize {
		for _, way := range []string{"in_port=a,ip,nw_dst=%s,actions=b", "in_port=b,ip,nw_dst=%s,actions=a"} {
			rules = append(rules, fmt.Sprintf(way, ofctl.FormatIPv4(uint64(flowsNet+i))))
		}
	}
	return rules
}

func flowFrames(s *scenario) [][]byte {
	frames := plainFrames(s)
	for i, f := range frames {
		binary.BigEndian.PutUint32(f[offDst:], uint32(flowsNet+i))
	}
	return frames
}

// acl are rules with ClassBench's statistics of access control lists, always the same.
func acl() []classbench.Rule {
	return classbench.Expand(classbench.Generate(classbench.ACL, aclRules, 1))[:aclRules]
}

func aclTexts() (rules []string) {
	for _, r := range acl() {
		to := []flow.Action{{Kind: flow.ActionOutput, Port: 2}}
		rules = append(rules, ofctl.FormatRule(&flow.Rule{Match: r.Match, Priority: r.Priority, Actions: to}, nil))
	}
	return rules
}

// aclFrames each meet a rule from somewhere in the list.
func aclFrames(s *scenario) [][]byte {
	rules, r, frames := acl(), rand.New(rand.NewPCG(1, 1)), plainFrames(s)
	for _, f := range frames {
		key := classbench.Corner(r, &rules[r.IntN(len(rules))].Match)
		f[offProto] = byte(key[flow.WordL4] >> flow.ShiftProto)
		setSource(f, uint32(key[flow.WordIPv4]>>flow.ShiftIPSrc))
		binary.BigEndian.PutUint32(f[offDst:], uint32(key[flow.WordIPv4]))
		binary.BigEndian.PutUint32(f[offPorts:], uint32(key[flow.WordL4]))
	}
	return frames
}
