package flowtable

import (
	"slices"
	"sync/atomic"

	"weft/flowtable/flow"
)

// actionList is the actions of one or more rules.
type actionList struct {
	actions []flow.Action
	text    string   // the key among the interned lists
	refs    int      // control side only
	effects *effects // nil if there are none
	targets []target // the groups and meters that it uses
}

// actionChunk holds pointers to lists by id.
type actionChunk [chunkSize]atomic.Pointer[actionList]

type actionLists []*actionChunk

func (l actionLists) at(id uint32) *actionList { return l[id>>chunkBits][id&(chunkSize-1)].Load() }

// actionStore interns action lists, of which there are usually far fewer than rules. Control side only.
type actionStore struct {
	chunks actionLists
	byText map[string]uint32
	free   []uint32
	next   uint32

	scratch []byte

	// effects is what the lists and the buckets of groups do to keys, each thing once, with how many do it: few different
	// things, even when there are many lists.
	effects map[effects]*effectCount
	chained int // lists and buckets that look packets up again
}

type effectCount struct {
	effects effects
	n       int
}

// target is a group or a meter.
type target struct {
	meter bool
	id    uint32
}

// targetsOf are the groups and meters that actions use, each once.
func targetsOf(actions []flow.Action) []target {
	var list []target
	for i := range actions {
		var t target
		switch a := &actions[i]; a.Kind {
		case flow.ActionGroup:
			t = target{false, a.ID}
		case flow.ActionMeter:
			t = target{true, a.ID}
		default:
			continue
		}
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}

// acquire returns the id of a list equal to actions and counts one more user.
func (s *actionStore) acquire(actions []flow.Action) uint32 {
	s.scratch = flow.AppendActions(s.scratch[:0], actions)
	if id, ok := s.byText[string(s.scratch)]; ok {
		s.chunks.at(id).refs++
		return id
	}
	key := string(s.scratch)
	var id uint32
	if n := len(s.free); n > 0 {
		id, s.free = s.free[n-1], s.free[:n-1]
	} else {
		id = s.next
		s.next++
		if int(id>>chunkBits) == len(s.chunks) {
			s.chunks = append(s.chunks[:len(s.chunks):len(s.chunks)], new(actionChunk))
		}
	}
	list := &actionList{actions: slices.Clone(actions), text: key, refs: 1, targets: targetsOf(actions)}
	list.effects = s.addEffects(actions, false)
	s.chunks[id>>chunkBits][id&(chunkSize-1)].Store(list)
	if s.byText == nil {
		s.byText = make(map[string]uint32)
	}
	s.byText[key] = id
	return id
}

// release counts one user less. A list without users goes when no reader can reach a rule that has it, which is when
// this is called.
func (s *actionStore) release(id uint32) {
	list := s.chunks.at(id)
	if list.refs--; list.refs > 0 {
		return
	}
	s.removeEffects(list.effects)
	delete(s.byText, list.text)
	s.chunks[id>>chunkBits][id&(chunkSize-1)].Store(nil)
	s.free = append(s.free, id)
}

// addEffects counts what actions, and the choice among the buckets of a select group, do to keys.
func (s *actionStore) addEffects(actions []flow.Action, choice bool) *effects {
	e := effectsOf(actions)
	if choice {
		e.addChoice()
	}
	if e == (effects{}) {
		return nil
	}
	if e.chained {
		s.chained++
	}
	if n := s.effects[e]; n != nil {
		n.n++
		return &n.effects
	}
	if s.effects == nil {
		s.effects = make(map[effects]*effectCount)
	}
	n := &effectCount{effects: e, n: 1}
	s.effects[e] = n
	return &n.effects
}

// removeEffects is the opposite.
func (s *actionStore) removeEffects(e *effects) {
	if e == nil {
		return
	}
	if e.chained {
		s.chained--
	}
	if n := s.effects[*e]; n.n > 1 {
		n.n--
	} else {
		delete(s.effects, *e)
	}
}

// need adds to union the bits that composing these lists' programs looks at, given what matching looks at. deep: they
// change what checksums of transport headers cover.
func (s *actionStore) need(union *flow.Key) (deep bool) {
	tags, labels := false, false
	for e := range s.effects {
		deep = deep || e.deep()
		for w, m := range e.reads {
			union[w] |= m
		}
		tags, labels = tags || e.tags, labels || e.labels
	}
	if tags {
		// What is inside may come to the outside.
		tag := (union[flow.WordPort] | union[flow.WordDst]) & flow.MaskTag
		union[flow.WordPort] |= tag
		union[flow.WordDst] |= tag
	}
	if labels {
		const low = uint64(1)<<flow.ShiftLSE - 1
		lse := union[flow.WordMPLS]>>flow.ShiftLSE | union[flow.WordMPLS]&low | union[flow.WordLabel]>>flow.ShiftLSE
		union[flow.WordMPLS] |= lse<<flow.ShiftLSE | lse
		union[flow.WordLabel] |= lse << flow.ShiftLSE
	}
	return deep
}

// rewritable is the mask of the bits of a key that some live action changes on its way from table to table. A rule in a
// later table may see other values there than the packet has.
func (s *actionStore) rewritable() flow.Key {
	var all flow.Key
	for e := range s.effects {
		for w, m := range e.writes {
			all[w] |= m
		}
	}
	return all
}
