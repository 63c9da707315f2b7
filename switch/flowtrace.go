package vswitch

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"weft/flowtable"
	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// FlowTrace is what would happen to a packet, in the style of Open vSwitch's ofproto/trace.
type FlowTrace struct {
	Bridge string `json:"bridge"`
	Flow   string `json:"flow"` // the packet, as a rule would say it that matches it alone
	// Steps are the rules that it meets, table by table, and what they do.
	Steps []FlowTraceStep `json:"steps"`
	// Final is the packet in the end, "unchanged" if it is as it came.
	Final string `json:"final"`
	// Cached is what a cached flow of this packet compares: all that any rule looks at.
	Cached string `json:"cached"`
	// Program is what the switch does with the packet.
	Program string `json:"program"`
}

// FlowTraceStep is one line of a trace.
type FlowTraceStep struct {
	Depth int    `json:"depth"` // rules, actions and buckets inside each other
	Table int    `json:"table"` // of a rule; -1 in other lines
	Text  string `json:"text"`
}

// FlowTrace says what would happen to a packet with the given fields (a condition, as in a rule), or to the frame given in
// hexadecimal digits, of which fields then says where it comes from. Nothing is sent, learned or counted.
func (s *Switch) FlowTrace(bridge, fields, frame string) (*FlowTrace, error) {
	s.mu.Lock()
	br, err := s.bridge(bridge)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	names, rules, view := br.names(), br.rules, newNormalView(br)
	s.mu.Unlock()
	f, err := parseFilter(fields, false, names)
	if err != nil {
		return nil, err
	}
	key := f.Match.Key
	if frame != "" {
		if err := readFrame(&key, frame); err != nil {
			return nil, err
		}
	}
	t := rules.pipeline.Trace(&key, names)
	out := &FlowTrace{
		Bridge: br.cfg.Name, Flow: ofctl.FormatKey(&key, names), Steps: []FlowTraceStep{}, Final: "unchanged",
		Cached: ofctl.FormatMatch(&t.Flow, names), Program: flowtable.ProgramText(t.Program, names),
	}
	if t.Final != key {
		out.Final = ofctl.FormatKey(&t.Final, names)
	}
	for i := range t.Steps {
		step := &t.Steps[i]
		out.Steps = append(out.Steps, FlowTraceStep{step.Depth, step.Table, step.Text})
		if step.Normal != nil {
			out.Steps = append(out.Steps, FlowTraceStep{step.Depth + 1, -1, view.forward(step.Normal)})
		}
	}
	return out, nil
}

// readFrame fills in the key of a frame in hexadecimal digits; where it arrives stays as it is.
func readFrame(key *flow.Key, text string) error {
	digits := strings.Join(strings.Fields(text), "")
	frame, err := hex.DecodeString(strings.TrimPrefix(digits, "0x"))
	if err != nil {
		return &ConfigError{Message: fmt.Sprintf("the frame is not hexadecimal: %v", err), Hint: "write two digits for each byte"}
	}
	if len(frame) < packet.MinFrame || len(frame) > packet.MaxFrame {
		return &ConfigError{Message: fmt.Sprintf("the frame has %d bytes: an Ethernet header alone has 14", len(frame))}
	}
	state := *key
	flow.Extract(frame, len(frame), key.InPort(), flow.DepthND, key)
	copy(key[flow.PacketWords:], state[flow.PacketWords:])
	return nil
}

// normalView is what NORMAL goes by, for traces.
type normalView struct {
	names    portNames
	fdb      *fdb
	policies map[uint32]vlanPolicy
	reserved bool
}

func newNormalView(br *bridge) *normalView {
	v := &normalView{names: br.names(), fdb: br.fdb, policies: make(map[uint32]vlanPolicy), reserved: br.cfg.ForwardReserved}
	for number, p := range br.ports {
		v.policies[number] = p.cfg.VLAN.policy()
	}
	return v
}

// forward says what NORMAL would do with a packet.
func (v *normalView) forward(key *flow.Key) string {
	in, known := v.policies[key.InPort()]
	if !known {
		return "-> dropped: there is no such port of arrival"
	}
	var tags vlanTags
	for i, tci := range []uint16{key.OuterTag(), key.InnerTag()} {
		if tci&flow.VLANPresent != 0 {
			tags[i] = vlanTag{packet.TPID8021Q, tci & tagVID, tci & tagPCP}
		}
	}
	if !in.admits(&tags) {
		return "-> dropped: the port of arrival does not carry the VLAN"
	}
	belongs := in.inward(tags)
	dst := key[flow.WordDst] >> flow.ShiftEth
	if isReserved(dst) && !v.reserved {
		return "-> dropped: the destination is reserved (spanning tree, LACP, LLDP and the like)"
	}
	vid := belongs[0].vid
	if dst&macMulticast == 0 {
		if port, found := v.fdb.lookup(makeFDBKey(dst, vid), v.fdb.epoch.Load()); found {
			if port == key.InPort() {
				return "-> dropped: the destination is known on the port of arrival"
			}
			return fmt.Sprintf("-> %s, where the destination was learned in VLAN %d", ofctl.FormatPort(port, v.names), vid)
		}
	}
	var ports []string
	for number := range v.policies {
		if p := v.policies[number]; number != key.InPort() && p.includes(&belongs) {
			ports = append(ports, ofctl.FormatPort(number, v.names))
		}
	}
	if ports == nil {
		return fmt.Sprintf("-> no other port carries VLAN %d", vid)
	}
	why := "no address learned for the destination"
	if dst&macMulticast != 0 {
		why = "multicast or broadcast"
	}
	return fmt.Sprintf("-> flooded in VLAN %d to %s: %s", vid, strings.Join(sortedText(ports), ", "), why)
}

func sortedText(list []string) []string {
	slices.Sort(list)
	return list
}
