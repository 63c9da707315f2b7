package flowdiff

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ports is how many ports each switch has. They are numbered from 1 and named p1, p2 and so on.
const Ports = 4

// Case is one experiment: a switch set up in a certain way, and what happens to it then.
type Case struct {
	// Comment says what the case is about, one line each.
	Comment []string
	// Setup lines are "port N SETTING...", "group ..." and "meter ...", each in the syntax of its row in Lines.
	Ports, Groups, Meters []string
	// Rules are in ovs-ofctl's syntax of add-flow.
	Rules []string
	Steps []Step
}

// Step is a packet that arrives, or a change of the rules when Change is not empty.
type Step struct {
	Port  int // 1 to Ports
	Frame []byte
	// Change is a line of a file for "ovs-ofctl add-flows": add, modify, delete and so on, and what follows them.
	Change string
}

// String is the case in the form that ParseCase reads.
func (c *Case) String() string {
	var b strings.Builder
	put := func(word string, lines []string) {
		for _, l := range lines {
			fmt.Fprintf(&b, "%s %s\n", word, l)
		}
	}
	put("#", c.Comment)
	put("port", c.Ports)
	put("meter", c.Meters)
	put("group", c.Groups)
	put("rule", c.Rules)
	for _, s := range c.Steps {
		if s.Change != "" {
			fmt.Fprintf(&b, "change %s\n", s.Change)
		} else {
			fmt.Fprintf(&b, "packet %d %x\n", s.Port, s.Frame)
		}
	}
	return b.String()
}

// ParseCase reads a case, one item a line:
//
//	# what it is about
//	port 2 vlan_mode=access tag=5
//	group group_id=1,type=all,bucket=output:1
//	rule table=0,in_port=1,actions=2
//	packet 1 0200000000010200000000028100...
//	change delete in_port=1
func ParseCase(text string) (*Case, error) {
	c := new(Case)
	in := bufio.NewScanner(strings.NewReader(text))
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		word, rest, _ := strings.Cut(strings.TrimSpace(in.Text()), " ")
		rest = strings.TrimSpace(rest)
		switch word {
		case "":
		case "#":
			c.Comment = append(c.Comment, rest)
		case "port":
			c.Ports = append(c.Ports, rest)
		case "group":
			c.Groups = append(c.Groups, rest)
		case "meter":
			c.Meters = append(c.Meters, rest)
		case "rule":
			c.Rules = append(c.Rules, rest)
		case "change":
			c.Steps = append(c.Steps, Step{Change: rest})
		case "packet":
			s, err := parsePacket(rest)
			if err != nil {
				return nil, fmt.Errorf("flowdiff: line %d: %w", n, err)
			}
			c.Steps = append(c.Steps, s)
		default:
			return nil, fmt.Errorf("flowdiff: line %d: unknown word %q", n, word)
		}
	}
	return c, in.Err()
}

func parsePacket(s string) (Step, error) {
	port, frame, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > Ports {
		return Step{}, fmt.Errorf("port %q: use 1 to %d", port, Ports)
	}
	b, err := hex.DecodeString(strings.TrimSpace(frame))
	if err != nil {
		return Step{}, fmt.Errorf("packet: %w", err)
	}
	return Step{Port: n, Frame: b}, nil
}

// with is a copy of c with other steps.
func (c *Case) with(steps []Step) *Case {
	d := *c
	d.Steps = steps
	return &d
}

// without is a copy of c without a line, nil if it has no such line.
func (c *Case) without(line string) *Case {
	d := *c
	for _, part := range []*[]string{&d.Rules, &d.Groups, &d.Meters, &d.Ports} {
		if i := slices.Index(*part, line); i >= 0 {
			*part = slices.Delete(slices.Clone(*part), i, i+1)
			return &d
		}
	}
	return nil
}

// Output is what left each port, in order; Output[0] is port 1.
type Output [Ports][][]byte

// equal compares two outputs byte for byte and in order.
func (o *Output) equal(p *Output) bool {
	for i := range o {
		if len(o[i]) != len(p[i]) {
			return false
		}
		for k := range o[i] {
			if string(o[i][k]) != string(p[i][k]) {
				return false
			}
		}
	}
	return true
}

// String has one line for each frame.
func (o *Output) String() string {
	var b strings.Builder
	for i := range o {
		for _, f := range o[i] {
			fmt.Fprintf(&b, "  p%d %x\n", i+1, f)
		}
	}
	if b.Len() == 0 {
		return "  nothing\n"
	}
	return b.String()
}
