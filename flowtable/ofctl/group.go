package ofctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/flowtable/flow"
)

// ParseGroup reads a group in the syntax of "ovs-ofctl add-group" (ovs-ofctl(8), "Group Syntax"):
//
//	group_id=1,type=select,bucket=weight:2,output:vm1,bucket=watch_port:wire,actions=mod_vlan_vid:5,output:wire
//
// Buckets without bucket_id get the lowest numbers that are free. Errors are of type *SyntaxError.
func ParseGroup(s string, ports PortNames) (*flow.Group, error) {
	g, err := parseGroup(text{s, 1}, ports)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// ParseGroupMod reads one line of a file of groups, as "ovs-ofctl add-groups" does: a group to add, or one of the words
// add, modify, add_or_mod and delete followed by what that command takes. "delete" alone deletes all.
func ParseGroupMod(s string, ports PortNames) (flow.GroupMod, error) {
	t := text{s, 1}.trim()
	word, rest := t, text{"", t.col + len(t.s)}
	if i := strings.IndexAny(t.s, separators); i >= 0 {
		word, rest = text{t.s[:i], t.col}, text{t.s[i:], t.col + i}
	}
	m := flow.GroupMod{Command: flow.GroupAdd}
	switch word.s {
	case "add":
		t = rest
	case "modify":
		m.Command, t = flow.GroupModify, rest
	case "add_or_mod":
		m.Command, t = flow.GroupAddOrModify, rest
	case "delete":
		return parseGroupDelete(rest)
	case "insert_bucket", "remove_bucket":
		return m, word.errorf("Open vSwitch has it, Weft does not yet; modify the group", "%s is not supported", word.s)
	}
	g, err := parseGroup(t, ports)
	if err != nil {
		return m, err
	}
	m.Group = *g
	return m, nil
}

// ParseGroupFilter reads which groups a dump or a deletion is about: "", "group_id=all" or "group_id=N". all: every
// group.
func ParseGroupFilter(s string) (id uint32, all bool, err error) {
	m, err := parseGroupDelete(text{s, 1})
	return m.Group.ID, m.Command == flow.GroupDeleteAll, err
}

func parseGroupDelete(t text) (flow.GroupMod, error) {
	m := flow.GroupMod{Command: flow.GroupDeleteAll}
	for {
		it, ok, err := nextItem(&t)
		switch {
		case err != nil:
			return m, err
		case !ok:
			return m, nil
		case it.key.s != "group_id":
			return m, it.key.errorf("write group_id=NUMBER or nothing", "unknown keyword %q", it.key.s)
		case it.sep == 0:
			return m, it.missing()
		case it.val.s == "all":
			m.Command = flow.GroupDeleteAll
		default:
			n, err := number(it.val, "group_id", flow.MaxGroup)
			if err != nil {
				return m, err
			}
			m.Command, m.Group.ID = flow.GroupDelete, uint32(n)
		}
	}
}

// groupParser reads a group.
type groupParser struct {
	ports     PortNames
	g         flow.Group
	haveID    bool
	haveType  bool
	bucketsAt []text   // for errors
	actionsAt [][]text // of each bucket
	numbered  []bool   // buckets with bucket_id
}

func parseGroup(t text, ports PortNames) (*flow.Group, error) {
	p := groupParser{ports: ports}
	end := text{"", t.col + len(t.s)}
	head := t
	if i := strings.Index(t.s, "bucket="); i >= 0 && !strings.HasSuffix(t.s[:i], "_") {
		head = text{t.s[:i], t.col}
		t.take(i)
	} else {
		t = end
	}
	if err := p.head(head); err != nil {
		return nil, err
	}
	switch {
	case !p.haveID:
		return nil, end.errorf("write group_id=NUMBER", "the group has no group_id")
	case !p.haveType:
		return nil, end.errorf("write type=all, select, indirect or ff", "the group has no type")
	}
	for t.s != "" {
		t.take(len("bucket="))
		n := strings.Index(t.s, "bucket=")
		if n < 0 {
			n = len(t.s)
		}
		if err := p.bucket(t.take(n)); err != nil {
			return nil, err
		}
	}
	p.number()
	if err := p.g.Validate(); err != nil {
		return nil, p.place(err, end)
	}
	return &p.g, nil
}

// place turns an error of Validate into one that says where.
func (p *groupParser) place(err error, end text) error {
	var be *flow.BucketError
	if !errors.As(err, &be) {
		return end.errorf("", "%s", strings.TrimPrefix(err.Error(), "flowtable: "))
	}
	at := p.bucketsAt[be.Bucket]
	if be.Action >= 0 {
		at = p.actionsAt[be.Bucket][be.Action]
	}
	return at.errorf(be.Hint, "%s", be.Msg)
}

// head reads what stands before the buckets.
func (p *groupParser) head(t text) *SyntaxError {
	for {
		it, ok, err := nextItem(&t)
		if err != nil || !ok {
			return err
		}
		if it.sep == 0 && (it.key.s == "group_id" || it.key.s == "type") {
			return it.missing()
		}
		switch it.key.s {
		case "group_id":
			if it.val.s == "all" {
				return it.val.errorf("only delete takes all", "a group needs a number")
			}
			n, err := number(it.val, "group_id", flow.MaxGroup)
			if err != nil {
				return err
			}
			p.g.ID, p.haveID = uint32(n), true
		case "type":
			if err := p.groupType(it.val); err != nil {
				return err
			}
		case "selection_method", "selection_method_param", "fields":
			return it.key.errorf("select groups hash the five-tuple; remove it", "%s is not supported", it.key.s)
		case "command_bucket_id":
			return it.key.errorf("it belongs to insert_bucket and remove_bucket; remove it", "command_bucket_id is not supported")
		default:
			hint := "a group has group_id, type and buckets"
			if w := nearest(it.key.s, []string{"group_id", "type", "bucket"}); w != "" {
				hint = "did you mean " + w + "?"
			}
			return it.key.errorf(hint, "unknown keyword %q", it.key.s)
		}
	}
}

func (p *groupParser) groupType(t text) *SyntaxError {
	p.haveType = true
	switch t.s {
	case "all":
		p.g.Type = flow.GroupAll
	case "select":
		p.g.Type = flow.GroupSelect
	case "indirect":
		p.g.Type = flow.GroupIndirect
	case "ff", "fast_failover":
		p.g.Type = flow.GroupFF
	default:
		return t.errorf("use all, select, indirect or ff", "unknown group type %q", t.s)
	}
	return nil
}

// bucketParser reads a bucket.
type bucketParser struct {
	b        flow.Bucket
	acts     parser
	drop     *text
	some     bool // there are actions
	numbered bool // there is a bucket_id
}

// bucket reads what stands behind one "bucket=".
func (p *groupParser) bucket(t text) *SyntaxError {
	bp := bucketParser{b: flow.Bucket{WatchGroup: flow.NoGroup}, acts: parser{ports: p.ports, actions: actionSyntaxes}}
	if p.g.Type == flow.GroupSelect {
		bp.b.Weight = 1
	}
	at := t
	for {
		before := t
		it, ok, err := nextItem(&t)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		known, err := bp.setting(it)
		if !known {
			err = bp.action(it, text{before.s[it.key.col-before.col : t.col-before.col], it.key.col})
		}
		if err != nil {
			return err
		}
	}
	bp.b.Actions = bp.acts.rule.Actions
	switch {
	case !bp.some:
		return at.errorf("write bucket=ACTIONS; drop drops", "the bucket has no actions")
	case bp.drop != nil && len(bp.b.Actions) > 0:
		return bp.drop.errorf("remove drop or the others", "drop must stand alone")
	}
	p.g.Buckets = append(p.g.Buckets, bp.b)
	p.bucketsAt, p.actionsAt = append(p.bucketsAt, at), append(p.actionsAt, bp.acts.actionsAt)
	p.numbered = append(p.numbered, bp.numbered)
	return nil
}

// setting reads an item that is no action.
func (p *bucketParser) setting(it item) (known bool, err *SyntaxError) {
	if it.quoted {
		return false, nil
	}
	name := strings.ToLower(it.key.s)
	if slices.Contains([]string{"bucket_id", "weight", "watch_group", "watch_port"}, name) && it.sep == 0 {
		return true, it.missing()
	}
	switch name {
	case "bucket_id":
		p.numbered = true
		return true, setNumber(it, &p.b.ID, flow.MaxBucketID)
	case "weight":
		return true, setNumber(it, &p.b.Weight, 0xffff)
	case "watch_group":
		return true, setNumber(it, &p.b.WatchGroup, flow.MaxGroup)
	case "watch_port":
		n, err := parsePort(it.val, "watch_port", p.acts.ports)
		if err == nil && n == flow.PortLocal {
			err = it.val.errorf("watch a port with a link", "LOCAL cannot be watched")
		}
		p.b.WatchPort = uint32(n)
		return true, err
	}
	return false, nil
}

// action reads an action, whose whole text is one, or actions=ACTION.
func (p *bucketParser) action(it item, one text) *SyntaxError {
	p.some = true
	if !it.quoted && isActionsKey(strings.ToLower(it.key.s)) && it.sep != 0 {
		one = it.val
	}
	if strings.EqualFold(one.trim().s, "drop") {
		p.drop = &it.key
		return nil
	}
	return p.acts.parseActions(one, false)
}

// missing says that an item lacks its value.
func (it item) missing() *SyntaxError {
	return it.key.errorf("write "+it.key.s+"=VALUE", "%s is missing a value", it.key.s)
}

func setNumber[T uint16 | uint32](it item, dst *T, limit uint64) *SyntaxError {
	n, err := number(it.val, it.key.s, limit)
	*dst = T(n)
	return err
}

// number gives numbers to the buckets without.
func (p *groupParser) number() {
	taken := make(map[uint32]bool)
	for i, numbered := range p.numbered {
		if numbered {
			taken[p.g.Buckets[i].ID] = true
		}
	}
	next := uint32(0)
	for i, numbered := range p.numbered {
		if numbered {
			continue
		}
		for taken[next] {
			next++
		}
		p.g.Buckets[i].ID = next
		next++
	}
}

// FormatGroup prints g as "ovs-ofctl dump-groups" does, without the leading blank, so that ParseGroup and ovs-ofctl can
// read it. With nil ports, ports are numbers.
func FormatGroup(g *flow.Group, ports PortNames) string {
	w := ruleWriter{ports: ports}
	w.num("group_id=", uint64(g.ID))
	w.str(",type=")
	w.str(g.Type.String())
	for i := range g.Buckets {
		b := &g.Buckets[i]
		w.num(",bucket=bucket_id:", uint64(b.ID))
		if g.Type == flow.GroupSelect && b.Weight != 1 {
			w.num(",weight:", uint64(b.Weight))
		}
		if b.WatchPort != 0 {
			w.str(",watch_port:")
			w.port(b.WatchPort)
		}
		if b.WatchGroup != flow.NoGroup {
			w.num(",watch_group:", uint64(b.WatchGroup))
		}
		w.str(",actions=")
		w.actions(b.Actions)
	}
	return string(w.b)
}

// FormatGroupStats prints one line of "ovs-ofctl dump-group-stats", without the leading blank.
func FormatGroupStats(s *flow.GroupStats) string {
	var b strings.Builder
	fmt.Fprintf(&b, "group_id=%d,duration=%s,ref_count=%d,packet_count=%d,byte_count=%d", s.Group.ID,
		durationText(s.Duration), s.Refs, s.Packets, s.Bytes)
	for i, n := range s.Buckets {
		fmt.Fprintf(&b, ",bucket%d:packet_count=%d,byte_count=%d", i, n.Packets, n.Bytes)
	}
	return b.String()
}

func durationText(d time.Duration) string { return string(appendSeconds(nil, d)) }
