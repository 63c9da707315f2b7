package ofctl

import (
	"strings"

	"weft/flowtable/flow"
)

// fieldIDs is the table of fields by name, aliases and names in NXM and OXM included.
var fieldIDs = indexFields()

func indexFields() map[string]flow.FieldID {
	m := make(map[string]flow.FieldID)
	for i := range flow.Fields {
		id := flow.FieldID(i)
		for _, list := range [][]string{{flow.Fields[i].Name}, flow.Fields[i].Aliases, flow.Wires[i].OXM} {
			for _, name := range list {
				m[name] = id
			}
		}
	}
	return m
}

// fieldNamed finds a field by any of its names: in actions and in FIELD[START..END].
func fieldNamed(name string) (flow.FieldID, bool) {
	id, ok := fieldIDs[name]
	return id, ok
}

// conditionField finds a field by the names that conditions on whole fields use, which are not those of NXM and OXM.
func conditionField(name string) (flow.FieldID, bool) {
	if isOXM(name) {
		return 0, false
	}
	return fieldNamed(name)
}

func isOXM(name string) bool {
	return strings.HasPrefix(name, "NXM_") || strings.HasPrefix(name, "OXM_")
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
