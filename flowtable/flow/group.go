package flow

import (
	"fmt"
	"slices"
	"time"
)

// GroupType says which of a group's buckets a packet goes through (OpenFlow 1.3 §5.6.1).
type GroupType uint8

// The types, with OpenFlow's numbers.
const (
	GroupAll      GroupType = iota // a copy through each
	GroupSelect                    // one live bucket, by the weights and a hash of the five-tuple
	GroupIndirect                  // the only one
	GroupFF                        // fast failover: the first live one
)

var groupTypeNames = [...]string{"all", "select", "indirect", "ff"}

// String is the type's name as ovs-ofctl prints it.
func (t GroupType) String() string {
	if int(t) < len(groupTypeNames) {
		return groupTypeNames[t]
	}
	return "unknown"
}

// NoGroup, as a WatchGroup, means none (OFPG_ANY).
const NoGroup = 0xffffffff

// Limits of groups.
const (
	MaxBuckets  = 1024
	MaxBucketID = 0xffffff00 // OFPG_BUCKET_MAX (OpenFlow 1.5 §7.3.4.3)
)

// Bucket is one way through a group. Its actions are an action set: executed in the set's order, on a copy of the packet.
type Bucket struct {
	ID         uint32
	Weight     uint16 // GroupSelect: the share of flows; 0 = none. Zero in other groups
	WatchPort  uint32 // the bucket is live while this port is; 0 = none
	WatchGroup uint32 // the bucket is live while this group has a live bucket; NoGroup = none
	Actions    []Action
}

// Watched reports whether the bucket can be dead.
func (b *Bucket) Watched() bool { return b.WatchPort != 0 || b.WatchGroup != NoGroup }

// Group is an entry of the group table.
type Group struct {
	ID      uint32
	Type    GroupType
	Buckets []Bucket
}

// Equal reports whether g and o are the same in all that a user can write.
func (g *Group) Equal(o *Group) bool {
	return g.ID == o.ID && g.Type == o.Type && slices.EqualFunc(g.Buckets, o.Buckets, func(a, b Bucket) bool {
		return a.ID == b.ID && a.Weight == b.Weight && a.WatchPort == b.WatchPort && a.WatchGroup == b.WatchGroup &&
			slices.Equal(a.Actions, b.Actions)
	})
}

// Groups are the numbers of the groups that g names: those that it sends packets on to, and those that it watches.
func (g *Group) Groups() []uint32 {
	var list []uint32
	for i := range g.Buckets {
		b := &g.Buckets[i]
		if b.WatchGroup != NoGroup {
			list = append(list, b.WatchGroup)
		}
		for j := range b.Actions {
			if a := &b.Actions[j]; a.Kind == ActionGroup {
				list = append(list, a.ID)
			}
		}
	}
	return list
}

// BucketError is what is wrong with a bucket: with its action Action, unless that is -1.
type BucketError struct {
	Bucket, Action int
	Msg, Hint      string
}

func (e *BucketError) Error() string {
	at := fmt.Sprintf("flowtable: bucket %d", e.Bucket+1)
	if e.Action >= 0 {
		at += fmt.Sprintf(": action %d", e.Action+1)
	}
	return at + ": " + e.Msg + ": " + e.Hint
}

// Validate checks what ParseGroup checks, for groups that a program made. Whether the groups exist that g names is for
// the pipeline to say.
func (g *Group) Validate() error {
	switch {
	case g.ID > MaxGroup:
		return fmt.Errorf("flowtable: group %d: groups are numbered 0 to %d", g.ID, uint32(MaxGroup))
	case int(g.Type) >= len(groupTypeNames):
		return fmt.Errorf("flowtable: group %d: unknown type %d", g.ID, g.Type)
	case g.Type == GroupIndirect && len(g.Buckets) != 1:
		return fmt.Errorf("flowtable: group %d: an indirect group has one bucket, this one %d", g.ID, len(g.Buckets))
	case len(g.Buckets) > MaxBuckets:
		return fmt.Errorf("flowtable: group %d has %d buckets: at most %d", g.ID, len(g.Buckets), MaxBuckets)
	}
	seen := make(map[uint32]bool, len(g.Buckets))
	for i := range g.Buckets {
		b := &g.Buckets[i]
		if seen[b.ID] {
			return &BucketError{i, -1, fmt.Sprintf("bucket_id %d is there twice", b.ID), "number buckets differently"}
		}
		seen[b.ID] = true
		if err := g.checkBucket(i); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) checkBucket(i int) error {
	b := &g.Buckets[i]
	wrong := func(msg, hint string) error { return &BucketError{i, -1, msg, hint} }
	switch {
	case b.ID > MaxBucketID:
		return wrong(fmt.Sprintf("bucket_id %d", b.ID), fmt.Sprintf("buckets are numbered 0 to %d", uint32(MaxBucketID)))
	case g.Type != GroupSelect && b.Weight != 0:
		return wrong("a weight in a group of type "+g.Type.String(), "only select groups have weights; remove it")
	case g.Type == GroupFF && !b.Watched():
		return wrong("nothing to watch", "buckets of a fast failover group need watch_port or watch_group")
	case (g.Type == GroupAll || g.Type == GroupIndirect) && b.Watched():
		return wrong("watch_port or watch_group in a group of type "+g.Type.String(), "only ff and select groups watch; remove it")
	case b.WatchPort > MaxPort:
		return wrong(fmt.Sprintf("watch_port %d", b.WatchPort), fmt.Sprintf("ports are numbered 1 to %d", MaxPort))
	case len(b.Actions) > MaxActions:
		return wrong("too many actions", fmt.Sprintf("a bucket has at most %d", MaxActions))
	}
	for j := range b.Actions {
		a := &b.Actions[j]
		if a.InSet || a.Kind != ActionNote && setSlots[a.Kind%NumActionKinds] == slotNever {
			return &BucketError{
				i, j, "this cannot be part of a bucket",
				"a bucket is an action set: it takes changes to the packet, outputs, group and resubmit",
			}
		}
		if msg, hint := a.check(); msg != "" {
			return &BucketError{i, j, msg, hint}
		}
	}
	return nil
}

// GroupCommand is what a GroupMod does.
type GroupCommand uint8

// The commands (OpenFlow 1.3 §6.7).
const (
	GroupAdd         GroupCommand = iota // an error if the group is there
	GroupModify                          // an error if it is not
	GroupAddOrModify                     // whichever is needed
	GroupDelete                          // and the rules that use it; no error if it is not there
	GroupDeleteAll                       // all groups and the rules that use one
)

// GroupMod is a change to the group table. Of Group, GroupDelete takes the ID.
type GroupMod struct {
	Command GroupCommand
	Group   Group
}

// BucketStats is what went through a bucket.
type BucketStats struct{ Packets, Bytes uint64 }

// GroupStats is a group and what it did.
type GroupStats struct {
	Group    Group
	Refs     int // rules that use the group
	Packets  uint64
	Bytes    uint64
	Duration time.Duration
	Buckets  []BucketStats // in the order of Group.Buckets
	Live     []bool        // whether each bucket is live
}
