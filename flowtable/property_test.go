package flowtable

import (
	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
)

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
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
			want, met := w.m.run(k)
			if !slices.Equal(l.Ops(i), want) {
				t.Fatalf("frame %x from port %d (cached %v):\n got  %v\n want %v", []byte(f), port, l.cached, l.Ops(i), want)
			}
			for _, rule := range met {
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

// change makes a random transaction in both.
func (w *world) change(t *rapid.T) {
	var changes []flow.Change
	before := slices.Clone(w.m.rules)
	for range rapid.IntRange(1, 4).Draw(t, "changes") {
		c := w.genChange(t)
		changes = append(changes, c)
	}
	next := model{}
	for _, r := range before {
		clone := *r
		next.rules = append(next.rules, &clone)
	}
	valid := true
	for i := range changes {
		switch changes[i].Command {
		case flow.Add:
			next.add(changes[i].Rule)
		case flow.Delete:
			next.delete(&changes[i].Filter)
		case flow.Modify:
			next.modify(&changes[i])
		}
		valid = valid && !slices.ContainsFunc(next.rules, func(r *modelRule) bool { return r.Validate() != nil })
	}
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
		return f
	}
	switch rapid.IntRange(0, 9).Draw(t, "command") {
	case 0, 1:
		return flow.Change{Command: flow.Delete, Filter: filter()}
	case 2:
		r := genRule(t, w.taken)
		return flow.Change{Command: flow.Modify, Rule: r, Filter: filter(), SetCookie: chance(t, 30)}
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
	if err := w.p.ReplaceAll(rules); err != nil {
		t.Fatalf("ReplaceAll: %v", err)
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
