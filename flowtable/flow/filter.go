package flow

import "time"

// Command is what a Change does.
type Command uint8

// The commands. Strict forms are a property of the Filter.
const (
	Add    Command = iota // Rule replaces a rule with the same table, priority and match, or is added
	Modify                // every rule that Filter selects gets Rule's actions
	Delete                // every rule that Filter selects goes
)

// Change is one step of a transaction (OpenFlow 1.3 §6.4): to the group table if Group is not nil, else to the meter table
// if Meter is not nil, else to the tables of rules.
type Change struct {
	Command Command
	// Rule is what Add adds. Of it, Modify takes Actions, FlagResetCounts and, with SetCookie, Cookie.
	Rule      *Rule
	Filter    Filter
	SetCookie bool
	// AddIfNone makes Modify add Rule when Filter selects nothing, as OpenFlow 1.0 and 1.1 do, and so ovs-ofctl mod-flows.
	// OpenFlow 1.3 adds nothing.
	AddIfNone bool

	Group *GroupMod
	Meter *MeterMod
}

// Filter selects rules. The zero Filter selects all.
type Filter struct {
	HasTable bool // only rules of Table
	Table    uint8
	// Match selects rules that are equal to it or more special; with Strict, only those equal to it, with Priority.
	Match      Match
	Strict     bool
	Priority   uint16
	Cookie     uint64 // of rules, in the bits of CookieMask
	CookieMask uint64
	OutPort    uint32 // only rules that output to this port, PortAny = all
	ByOutGroup bool   // only rules that use OutGroup
	OutGroup   uint32
}

// Reason says why a rule ended.
type Reason uint8

// The reasons.
const (
	ReasonNone        Reason = iota // the rule is there
	ReasonIdleTimeout               // no packet for its idle_timeout
	ReasonHardTimeout               // its hard_timeout is over
)

// RuleStats is a rule and what it did. Counts are exact; ages are good to a second, the rhythm of Expire.
type RuleStats struct {
	Rule    Rule
	Packets uint64
	Bytes   uint64 // frames without their check sequence
	// Duration is how long the rule has been there, IdleAge how long ago its last packet was (or it came), HardAge how
	// long ago its actions were set.
	Duration, IdleAge, HardAge time.Duration
	Reason                     Reason
}
