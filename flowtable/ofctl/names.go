package ofctl

import (
	"strings"

	"weft/flowtable/flow"
)

// oxmNames are the names of fields that are never printed, since another is older (ovs-fields(7)): with what set_field
// calls them.
var oxmNames = map[string]string{
	"OXM_OF_ETH_DST": "eth_dst", "OXM_OF_ETH_SRC": "eth_src", "OXM_OF_ETH_TYPE": "eth_type",
	"OXM_OF_IP_ECN": "nw_ecn", "OXM_OF_IP_PROTO": "nw_proto", "OXM_OF_IPV4_SRC": "ip_src", "OXM_OF_IPV4_DST": "ip_dst",
	"OXM_OF_TCP_SRC": "tcp_src", "OXM_OF_TCP_DST": "tcp_dst", "OXM_OF_UDP_SRC": "udp_src", "OXM_OF_UDP_DST": "udp_dst",
	"OXM_OF_ICMPV4_TYPE": "icmp_type", "OXM_OF_ICMPV4_CODE": "icmp_code", "OXM_OF_ARP_OP": "arp_op",
	"OXM_OF_ARP_SPA": "arp_spa", "OXM_OF_ARP_TPA": "arp_tpa", "OXM_OF_ARP_SHA": "arp_sha", "OXM_OF_ARP_THA": "arp_tha",
	"OXM_OF_IPV6_SRC": "ipv6_src", "OXM_OF_IPV6_DST": "ipv6_dst", "OXM_OF_IPV6_FLABEL": "ipv6_label",
	"OXM_OF_ICMPV6_TYPE": "icmpv6_type", "OXM_OF_ICMPV6_CODE": "icmpv6_code", "OXM_OF_IPV6_ND_TARGET": "nd_target",
	"OXM_OF_IPV6_ND_SLL": "nd_sll", "OXM_OF_IPV6_ND_TLL": "nd_tll", "OXM_OF_TUNNEL_ID": "tun_id",
	"OXM_OF_ACTSET_OUTPUT": "actset_output", "OXM_OF_TCP_FLAGS": "tcp_flags",
}

// conditionWord is what a word before the actions means: the at-th of its kind.
type conditionWord struct {
	name string
	kind wordKind
	at   uint8
}

type wordKind uint8

const (
	wordShorthand wordKind = iota
	wordTag                // vlan and eth, which are written alone too
	wordField
	wordSetting
)

// conditionWords are all such words.
var conditionWords = indexWords()

func indexWords() map[string]conditionWord {
	index := make(map[string]conditionWord)
	add := func(name string, kind wordKind, at int) {
		if _, taken := index[name]; !taken { // the first one counts
			index[name] = conditionWord{name, kind, uint8(at)}
		}
	}
	for i := range flow.Shorthands {
		add(flow.Shorthands[i].Name, wordShorthand, i)
	}
	add("vlan", wordTag, 0)
	add("eth", wordTag, 0)
	for i := range flow.Fields {
		add(flow.Fields[i].Name, wordField, i)
		for _, alias := range flow.Fields[i].Aliases {
			add(alias, wordField, i)
		}
	}
	for i := range settings {
		add(settings[i].name, wordSetting, i)
	}
	return index
}

// findField finds a field by the names that conditions use: its name and its aliases.
func findField(name string) (flow.FieldID, bool) {
	w, found := conditionWords[name]
	return flow.FieldID(w.at), found && w.kind == wordField
}

// actionField finds the field that actions call name, with NXM's and OXM's names if those are allowed: NXM_OF_ETH_SRC is
// eth_src.
func actionField(name string, nxm bool) (flow.FieldID, bool) {
	if id, ok := findField(name); ok {
		return flow.ActionField(id)
	}
	if !nxm {
		return 0, false
	}
	oxm, other := oxmNames[name]
	for id := range flow.Places {
		if p := &flow.Places[id]; p.Bits != 0 && (p.NXM == name || other && p.Name == oxm) {
			return flow.FieldID(id), true
		}
	}
	return 0, false
}

const subfieldHint = "write a field, or some of its bits: reg0, NXM_NX_REG0[], NXM_NX_REG0[0..15] or reg0[3]"

// parseSubfield reads FIELD, FIELD[], FIELD[BIT] or FIELD[FIRST..LAST].
func parseSubfield(t text) (flow.Subfield, *SyntaxError) {
	name, rest, bracket := t.cut("[")
	id, ok := actionField(name.s, true)
	if !ok {
		return flow.Subfield{}, name.errorf(subfieldHint, "unknown field %q", name.s)
	}
	s := flow.Whole(id)
	if !bracket {
		return s, nil
	}
	if !strings.HasSuffix(rest.s, "]") {
		return s, t.errorf(subfieldHint, "%q is not a field with bits", t.s)
	}
	rest.s = rest.s[:len(rest.s)-1]
	if rest.s == "" {
		return s, nil
	}
	width := uint64(s.Bits)
	from, to, ranged := rest.cut("..")
	first, err := number(from, "the first bit", width-1)
	if err != nil {
		return s, err
	}
	last := first
	if ranged {
		if last, err = number(to, "the last bit", width-1); err != nil {
			return s, err
		}
	}
	if first > last {
		return s, rest.errorf("write the lower bit first", "bit %d stands after bit %d", first, last)
	}
	s.Ofs, s.Bits = uint8(first), uint8(last-first+1)
	return s, nil
}

// fieldWords are the names that conditions use, for suggestions.
func fieldWords() []string {
	var words []string
	for i := range flow.Fields {
		words = append(append(words, flow.Fields[i].Name), flow.Fields[i].Aliases...)
	}
	return words
}

// foreignFields are names that ovs-ofctl knows and Weft does not have, for a better error.
var foreignFields = []string{
	"nd_options_type", "nd_reserved", "skb_priority", "in_phy_port", "conj_id", "recirc_id", "dp_hash", "packet_type",
	"eth_type_outer",
}

// foreignPrefixes begin names of which Open vSwitch has many.
var foreignPrefixes = []string{"tun_", "ct_", "nsh_", "NXM_", "OXM_", "NXOXM_", "ERICOXM_"}

// isForeign reports whether name is one of Open vSwitch's fields that Weft lacks.
func isForeign(name string) bool {
	for _, f := range foreignFields {
		if f == name {
			return true
		}
	}
	for _, prefix := range foreignPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
