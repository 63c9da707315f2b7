package classbench

// Kind is a kind of rule sets.
type Kind int

// The kinds.
const (
	ACL Kind = iota // access control lists
	FW              // firewalls
	IPC             // IP chains
)

// Kinds are all kinds.
var Kinds = [...]Kind{ACL, FW, IPC}

func (k Kind) String() string { return [...]string{"acl", "fw", "ipc"}[k] }

// portClass is a class of port ranges ("ClassBench", section III-A).
type portClass uint8

const (
	wc portClass = iota // any
	hi                  // 1024:65535
	lo                  // 0:1023
	ar                  // another range
	em                  // one port
)

// app is a protocol with the classes of its ports, in thousandths of all filters. Protocol 0 is any.
type app struct {
	proto    uint8
	src, dst portClass
	weight   int
}

// lengths are a pair of prefix lengths, in thousandths of the filters of their port classes.
type lengths struct{ src, dst, weight int }

// pairs are the prefix lengths of one pair of port classes.
type pairs struct {
	src, dst portClass
	list     []lengths
}

// ports is a range that filters of a class have, in thousandths of those that have one.
type ports struct{ lo, hi, weight int }

// depth is what a tree of addresses does at one depth: how many thousandths of the nodes have two children, and how much
// lighter the lighter one is, in thousandths of the heavier's weight ("skew", section III-B).
type depth struct{ two, skew int }

// params is what a kind of rule sets is made from.
type params struct {
	apps               []app
	pairs              []pairs
	srcRange, dstRange []ports
	srcPort, dstPort   []ports
	src, dst           [32]depth
	same               [32]int // thousandths of the destinations that go on as their source does
}

var kinds = [...]params{ACL: acl, FW: fw, IPC: ipc}
