package vswitch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// vlan reads a port's VLAN configuration. Without a mode, a port with a tag is an access port, as in Open vSwitch.
func (p *parser) vlan(n *yaml.Node) VLANConfig {
	var c VLANConfig
	before := len(p.errs)
	seen := p.mapping(n, "vlan", []field{
		{"mode", func(v *yaml.Node) {
			c.Mode, _ = p.oneOf(v, "vlan mode", VLANTrunk, VLANAccess, VLANNativeTagged, VLANNativeUntagged, VLANTunnel)
		}},
		{"tag", func(v *yaml.Node) { c.Tag, _ = p.number(v, "vlan tag", 0, maxVLAN) }},
		{"trunks", func(v *yaml.Node) { c.Trunks = p.vlanIDs(v, "trunks") }},
		{"cvlans", func(v *yaml.Node) { c.CVLANs = p.vlanIDs(v, "cvlans") }},
		{"qinq_ethtype", func(v *yaml.Node) { c.QinQ, _ = p.oneOf(v, "qinq_ethtype", "802.1ad", "802.1q") }},
		{"priority_tags", func(v *yaml.Node) {
			c.PriorityTags, _ = p.oneOf(v, "priority_tags", PriorityTagsNever, PriorityTagsIfNonzero, PriorityTagsAlways)
		}},
	})
	if seen == nil || len(p.errs) > before {
		return c
	}
	if c.Mode == "" && seen["tag"] != nil {
		c.Mode = VLANAccess
	}
	p.checkVLAN(n, &c, seen)
	return c
}

// checkVLAN finds options that the mode has no use for, and those that it needs.
func (p *parser) checkVLAN(n *yaml.Node, c *VLANConfig, seen map[string]*yaml.Node) {
	mode := c.Mode
	if mode == "" {
		mode = VLANTrunk
	}
	for _, o := range []struct {
		name  string
		modes []string
	}{
		{"tag", []string{VLANAccess, VLANNativeTagged, VLANNativeUntagged, VLANTunnel}},
		{"trunks", []string{VLANTrunk, VLANNativeTagged, VLANNativeUntagged}},
		{"cvlans", []string{VLANTunnel}},
		{"qinq_ethtype", []string{VLANTunnel}},
	} {
		if v := seen[o.name]; v != nil && !slices.Contains(o.modes, mode) {
			p.fail(p.at(v), "it belongs to the modes "+strings.Join(o.modes, ", "), "vlan mode %s has no %s", mode, o.name)
		}
	}
	if mode != VLANTrunk && seen["tag"] == nil {
		p.fail(p.at(n), "add \"tag: 10\"", "vlan mode %s needs a tag", mode)
	}
}

// vlanIDs reads a list of VLAN ids and ranges: [10, 20-29].
func (p *parser) vlanIDs(n *yaml.Node, what string) []int {
	var ids []int
	p.list(n, what, func(_ int, v *yaml.Node) {
		s, ok := p.text(v, what)
		if !ok {
			return
		}
		first, last, ranged := strings.Cut(s, "-")
		lo, err := strconv.Atoi(first)
		hi := lo
		if err == nil && ranged {
			hi, err = strconv.Atoi(last)
		}
		if err != nil || lo < 0 || hi > maxVLAN || lo > hi {
			p.fail(p.at(v), fmt.Sprintf("write VLAN ids from 0 to %d, or ranges such as 20-29", maxVLAN),
				"%s cannot hold %q", what, s)
			return
		}
		for id := lo; id <= hi; id++ {
			ids = append(ids, id)
		}
	})
	slices.Sort(ids)
	return slices.Compact(ids)
}
