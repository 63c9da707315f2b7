// Package ofctl reads and writes rules in the text syntax that ovs-ofctl made standard (ovs-ofctl(8) "Flow Syntax",
// ovs-fields(7), ovs-actions(7)).
//
//	"table=0,priority=100,in_port=vm1,ip,nw_dst=10.0.0.0/8,actions=output:wire"
//	   |  lexer: items with their columns
//	   |  settings | conditions (the table of fields) | actions (a table of their syntax)
//	   v
//	flow.Rule, flow.Filter, flow.Change         or a SyntaxError: column, what is wrong, what to write instead
//	   |
//	   +--AppendRule, AppendStats--> the text that ovs-ofctl dump-flows prints; FormatRule, FormatStats: as a string
//
// Rules are trusted to the extent that they are bounded; a fuzzer shows that no text panics.
package ofctl
