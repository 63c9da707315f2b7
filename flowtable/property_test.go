package flowtable

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// world is a pipeline under test beside the model, with a cached and an uncached Lookup.
type world struct {
	p       *Pipeline
	m       model
	now     time.Time
	lookups []*Lookup
	batch   *packet.Batch
	frames  []flowtest.Frame
	taken   map[slotOf]flow.Match
}

func newWorld() *world {
	w := &world{
		now: time.Unix(1_700_000_000, 0), batch: packet.NewBatch(nil), frames: flowtest.SampleFrames(),
		taken: map[slotOf]flow.Match{},
	}
	w.p = NewPipeline(Config{Now: func() time.Time { return w.now }})
	w.m = model{
		groups: map[uint32]*flow.Group{}, meters: map[uint32]bool{1: true}, live: map[uint32]bool{},
		choose: func(g *flow.Group, key *flow.Key) uint32 {
			real := w.p.groups[g.ID]
			if i := real.choose(selectHash(key)); i >= 0 {
				return real.buckets[i].id
			}
			return 0
		},
	}
	meter := flow.Meter{ID: 1, Flags: flow.MeterPktps, Bands: []flow.Band{{Rate: 1}}}
	if err := w.p.Apply([]flow.Change{{Meter: &flow.MeterMod{Meter: meter}}}); err != nil {
		panic(err)
	}
	w.lookups = []*Lookup{
		w.p.NewLookup(LookupConfig{CacheEntries: 1}),
		w.p.NewLookup(LookupConfig{CacheEntries: -1}),
	}
	return w
}

// send passes a batch through every Lookup and compares ops with the model's.
func (w *world) send(t *rapid.T) {
	port := uint32(rapid.IntRange(1, 3).Draw(t, "in_port"))
	n := rapid.IntRange(1, packet.BatchSize).Draw(t, "packets")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 7))
	frames := make([]flowtest.Frame, n)
	for i := range frames {
		frames[i] = w.frames[r.IntN(len(w.frames))]
		if r.IntN(8) == 0 {
			frames[i] = flowtest.Mutate(r, frames[i])
		}
	}
	for _, l := range w.lookups {
		fill(w.batch, port, frames)
		l.Batch(w.batch)
		for i, f := range frames {
			var k flow.Key
			flow.ExtractPacket(w.batch.Packet(i), port, &k)
			run := w.m.run(k)
			w.compare(t, l.Ops(i), k, run)
			for _, rule := range run.met {
				rule.packets++
				rule.bytes += uint64(len(f))
			}
			for j := range i {
				if l.Ref(i) == l.Ref(j) && !slices.Equal(l.Ops(i), l.Ops(j)) {
					t.Fatalf("packets %d and %d have one ref and different ops", i, j)
				}
			}
		}
	}
}

// compare executes ops and compares what goes out with the model's.
func (w *world) compare(t *rapid.T, ops []Op, k flow.Key, run *modelRun) {
	out, reason := execute(ops, k)
	if run.exceeded || run.stuck {
		run.out = nil
	}
	if !slices.Equal(out, run.out) || len(out) == 0 && reason != run.reason() {
		for _, r := range w.m.rules {
			t.Log(ofctl.FormatRule(&r.Rule, nil))
		}
		for _, g := range w.m.groups {
			t.Log(ofctl.FormatGroup(g, nil))
		}
		t.Fatalf("key %x:\n ops  %v\n got  %v %v\n want %v %v", k, ops, out, reason, run.out, run.reason())
	}
}

// genKey draws the key of a packet of any kind, more of them than frames are there.
func genKey(r *rand.Rand) flow.Key {
	pick := func(list ...uint64) uint64 { return list[r.IntN(len(list))] }
	var k flow.Key
	k.SetInPort(uint32(1 + r.IntN(3)))
	k.SetEthType(uint16(pick(0x0800, 0x0800, 0x86dd, 0x0806, 0x8847, 0x8848, 0x88cc)))
	k[flow.WordPort] |= pick(0, 0x1005, 0x3007, 0x1000)
	if k.OuterTag() != 0 {
		k[flow.WordDst] |= pick(0, 0x1009)
	}
	k[flow.WordDst] |= someMACs[r.IntN(len(someMACs))] << 16
	k[flow.WordSrc] |= someMACs[r.IntN(len(someMACs))] << 16
	v6 := k.EthType() == 0x86dd
	if k.IsMPLS() {
		lse := func(bottom uint64) uint64 { return pick(7, 9)<<12 | pick(0, 3)<<9 | bottom<<8 | pick(0, 1, 2, 64) }
		switch r.IntN(4) {
		case 0:
			k[flow.WordMPLS] = lse(1) << 32
		case 1:
			k[flow.WordMPLS] = lse(0)<<32 | lse(1)
		case 2:
			k[flow.WordMPLS], k[flow.WordLabel] = lse(0)<<32|lse(0), lse(1)<<32
		case 3:
			k[flow.WordMPLS], k[flow.WordLabel] = lse(0)<<32|lse(0), lse(0)<<32
		}
		v6 = r.IntN(2) == 0
	}
	proto := pick(6, 17, 1, 58, 132, 47, 0)
	if k.EthType() == 0x0806 {
		proto = pick(0, 1, 2)
	}
	k[flow.WordL4] = proto<<56 | pick(0, 184, 1)<<48 | pick(0, 1, 2, 64)<<40
	if k.EthType() == 0x0806 {
		k[flow.WordL4] = proto << 56
		k[flow.WordSHA], k[flow.WordTHA] = someMACs[0]<<16, someMACs[1]<<16
	} else if frag := pick(0, 0, 0, 1, 3); frag < 3 {
		k[flow.WordL4] |= frag<<32 | pick(8, 53, 1000, 135)<<16 | pick(0, 1, 80, 2000)
	} else {
		k[flow.WordL4] |= frag << 32
	}
	if v6 {
		k[flow.WordIPv6S], k[flow.WordIPv6D+1] = 0x20010db8<<32, pick(1, 0x100000002)
		k[flow.WordLabel] |= pick(0, 5)
	} else {
		k[flow.WordIPv4] = pick(0x0a000001, 0x0a000102)<<32 | pick(0x0a000001, 0x0a000002)
	}
	return k
}

// compose composes programs of keys that no frame has to have.
func (w *world) compose(t *rapid.T) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 8))
	st := w.p.state.Load()
	c := newComposer()
	for range 20 {
		k := genKey(r)
		masked := k
		for i := range masked {
			masked[i] &= st.layout.union[i]
		}
		c.compose(st, &masked)
		w.compare(t, c.ops, k, w.m.run(k))
	}
}

// link changes whether a port has a link.
func (w *world) link(t *rapid.T) {
	port, live := uint32(rapid.IntRange(1, 3).Draw(t, "port")), chance(t, 50)
	w.p.SetPortLive(port, live)
	w.m.live[port] = live
}

// change makes a random transaction in both.
func (w *world) change(t *rapid.T) {
	var changes []flow.Change
	before := slices.Clone(w.m.rules)
	for range rapid.IntRange(1, 4).Draw(t, "changes") {
		c := w.genChange(t)
		changes = append(changes, c)
	}
	next := w.m
	next.rules, next.groups = nil, maps.Clone(w.m.groups)
	for _, r := range before {
		clone := *r
		next.rules = append(next.rules, &clone)
	}
	valid := true
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Group != nil:
			next.groupMod(c.Group)
		case c.Command == flow.Add:
			next.add(c.Rule)
		case c.Command == flow.Delete:
			next.delete(&c.Filter)
		case c.Command == flow.Modify:
			next.modify(c)
		}
		// Rules are checked one by one, groups as a whole at the end.
		valid = valid && !slices.ContainsFunc(next.rules, func(r *modelRule) bool {
			return r.Validate() != nil || slices.ContainsFunc(r.Actions, func(a flow.Action) bool {
				return a.Kind == flow.ActionGroup && next.groups[a.ID] == nil
			})
		})
	}
	valid = valid && next.sound()
	err := w.p.Apply(changes)
	if (err == nil) != valid {
		t.Fatalf("Apply: %v, want success %v", err, valid)
	}
	if valid {
		w.m = next
	}
	// On an error nothing may have happened; checkCounters and send compare with the old model.
}

func (w *world) genChange(t *rapid.T) flow.Change {
	filter := func() flow.Filter {
		f := flow.Filter{OutPort: oneOf(t, uint32(flow.PortAny), flow.PortAny, 2, flow.PortLocal)}
		if len(w.m.rules) > 0 && chance(t, 80) {
			r := w.m.rules[rapid.IntRange(0, len(w.m.rules)-1).Draw(t, "victim")]
			f.Match, f.Priority, f.Strict = r.Match, r.Priority, chance(t, 50)
			f.HasTable, f.Table = chance(t, 50), r.Table
		}
		if chance(t, 20) {
			f.Cookie, f.CookieMask = 1, 1
		}
		if chance(t, 10) {
			f.ByOutGroup, f.OutGroup = true, 1
		}
		return f
	}
	switch rapid.IntRange(0, 12).Draw(t, "command") {
	case 0, 1:
		return flow.Change{Command: flow.Delete, Filter: filter()}
	case 2:
		r := genRule(t, w.taken)
		return flow.Change{
			Command: flow.Modify, Rule: r, Filter: filter(), SetCookie: chance(t, 30), AddIfNone: chance(t, 50),
		}
	case 3, 4, 5:
		m := flow.GroupMod{Command: flow.GroupAddOrModify, Group: genGroup(t, uint32(rapid.IntRange(1, 3).Draw(t, "group")))}
		if chance(t, 25) {
			m.Command = flow.GroupDelete
		}
		return flow.Change{Group: &m}
	default:
		return flow.Change{Command: flow.Add, Rule: genRule(t, w.taken)}
	}
}

func (w *world) replaceAll(t *rapid.T) {
	var rules []*flow.Rule
	for _, r := range w.m.rules {
		if chance(t, 70) {
			clone := r.Rule
			rules = append(rules, &clone)
		}
	}
	for range rapid.IntRange(0, 30).Draw(t, "new") {
		rules = append(rules, genRule(t, w.taken))
	}
	names := slices.ContainsFunc(rules, func(r *flow.Rule) bool {
		return slices.ContainsFunc(r.Actions, func(a flow.Action) bool {
			return a.Kind == flow.ActionGroup && w.m.groups[a.ID] == nil
		})
	})
	if err := replaceAll(w.p, rules); (err != nil) != names {
		t.Fatalf("ReplaceAll: %v, names a missing group: %v", err, names)
	} else if err != nil {
		return
	}
	w.m.replaceAll(rules)
}

// failing tries a transaction whose last change is wrong: nothing may come of it.
func (w *world) failing(t *rapid.T) {
	bad := &flow.Rule{Table: 5, Priority: 1, Actions: []flow.Action{{Kind: flow.ActionGotoTable, Table: 5}}}
	var gone []flow.Change
	for range 3 {
		gone = append(gone, w.genChange(t))
	}
	if err := w.p.Apply(append(gone, flow.Change{Rule: bad})); err == nil {
		t.Fatalf("a bad rule was accepted")
	}
}

// churn replaces one of the Lookups: its counts must stay.
func (w *world) churn(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "lookup")
	w.p.CloseLookup(w.lookups[i])
	w.lookups[i] = w.p.NewLookup(LookupConfig{CacheEntries: 1 - 2*i})
}

func (w *world) tick(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second)
	if gone := w.p.Expire(w.now); len(gone) != 0 {
		t.Fatalf("rules without timeouts expired: %v", gone)
	}
}

func TestPipelineDoesWhatTheModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		t.Repeat(map[string]func(*rapid.T){
			"send":       w.send,
			"send again": w.send,
			"change":     w.change,
			"replace":    w.replaceAll,
			"failing":    w.failing,
			"churn":      w.churn,
			"tick":       w.tick,
			"compose":    w.compose,
			"link":       w.link,
			"": func(t *rapid.T) {
				checkCounters(t, w.p, &w.m)
			},
		})
	})
}

func TestSyntaxErrorIsAnError(t *testing.T) {
	_, err := ofctl.ParseRule("bogus", nil)
	var se *ofctl.SyntaxError
	if !errors.As(err, &se) || se.Error() == "" {
		t.Fatalf("got %v", err)
	}
}
