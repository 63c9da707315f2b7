package flowdiff

import (
	"fmt"
	"slices"
	"strings"
)

// portRow is a way to set up a port's VLANs: columns of Open vSwitch's table Port (ovs-vswitchd.conf.db(5), "VLAN
// Configuration").
type portRow struct {
	name   string
	weight int
	draw   func(g *generator) string
}

// portRows is the table of them.
func portRows() []portRow {
	vlan := func(g *generator) string { return pick(g.r, []string{"5", "7", "9"}) }
	trunks := func(g *generator) string { return pick(g.r, []string{"5", "7", "5,7", "0,5", "5,7,9", "0"}) }
	modes := func(mode string) func(g *generator) string {
		return func(g *generator) string {
			text := fmt.Sprintf("vlan_mode=%s tag=%s", mode, vlan(g))
			if mode != "access" && g.r.IntN(2) == 0 {
				text += " trunks=" + trunks(g)
			}
			return text
		}
	}
	return []portRow{
		{"access", 4, modes("access")},
		{"trunk", 3, func(g *generator) string { return "vlan_mode=trunk trunks=" + trunks(g) }},
		{"native-tagged", 3, modes("native-tagged")},
		{"native-untagged", 3, modes("native-untagged")},
		{"dot1q-tunnel", 3, func(g *generator) string {
			text := "vlan_mode=dot1q-tunnel tag=" + vlan(g)
			if g.r.IntN(2) == 0 {
				text += " cvlans=" + pick(g.r, []string{"5", "7", "5,7"})
			}
			if g.r.IntN(3) == 0 {
				text += " other_config:qinq-ethtype=802.1q"
			}
			return text
		}},
		{"priority-tags", 2, func(g *generator) string {
			return "other_config:priority-tags=" + pick(g.r, []string{"always", "if-nonzero", "never"})
		}},
	}
}

// normalAction is the row of actions that bridges by learned addresses.
const normalAction = "normal"

// bridging draws a case about the action NORMAL: stations that talk to each other over ports with VLANs.
func (g *generator) bridging(packets int) (*Case, error) {
	c := &Case{Rules: []string{"table=0,priority=0,actions=normal"}}
	if len(g.ports) > 0 {
		for p := 1; p <= Ports; p++ {
			if g.r.IntN(3) > 0 {
				row := weighted(g.r, g.ports, func(p *portRow) int { return p.weight })
				c.Ports = append(c.Ports, fmt.Sprintf("%d %s", p, row.draw(g)))
			}
		}
	}
	rules := []*rule{{"", 0, nil}}
	for i := range g.r.IntN(3) { // what changes packets before
		match, has, sets := g.conditions()
		list := slices.DeleteFunc(g.drawInner(&position{has: has}, g.r.IntN(3)), looseVLAN.MatchString)
		text := fmt.Sprintf("table=0,priority=%d,%s,actions=%s", 1+i, match, strings.Join(append(list, normalAction), ","))
		c.Rules = append(c.Rules, strings.Replace(text, ",,", ",", 1))
		rules = append(rules, &rule{text, 0, sets})
	}
	var err error
	if c.Steps, err = g.packets(rules, packets); err != nil {
		return nil, err
	}
	stations := []uint64{0x020000000001, 0x020000000002, 0x020000000003, 0x020000000004}
	for i := range c.Steps {
		f := c.Steps[i].Frame
		if g.r.IntN(6) == 0 {
			continue
		}
		copy(f[0:6], mac(pick(g.r, stations)))
		copy(f[6:12], mac(pick(g.r, stations)))
		for k := range tagsOf(f) { // mostly VLANs that ports have
			if g.r.IntN(4) > 0 {
				f[14+4*k], f[15+4*k] = f[14+4*k]&0xf0, pick(g.r, []byte{0, 5, 7, 9})
			}
		}
	}
	return c, nil
}
