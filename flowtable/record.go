package flowtable

import (
	"sync/atomic"

	"weft/flowtable/flow"
)

// Records are what the control side knows of rules: fixed-size, pointer-free, in chunks that never move, so that a
// million of them cost Go's collector nothing. A rule's slot is its place among them, among each Lookup's counters, and
// its name in the classifier.

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits

	noSlot = 0 // slot 0 is never used
)

// record is one version of one rule, all that lookups do not need: those look at the classifier alone.
//
// Concurrency: belongs to the control side.
type record struct {
	added             uint64 // the generation that showed it first
	cookie            uint64
	created, modified int64  // Unix time, nanoseconds
	packets, bytes    uint64 // counted by earlier versions and by Lookups that are gone
	used              uint64 // last use that those saw, Unix seconds
	serial            uint64 // order of arrival
	actions           uint32
	pred, succ        uint32 // the version that this one replaced, while its counts may still move; its successor
	idle, hard        uint16
	importance        uint16
	priority          uint16
	table             uint8
	flags             flow.Flags
	live              bool // part of the newest state, published or about to be
}

type recordChunk [chunkSize]record

// records are the chunks.
type records []*recordChunk

func (r records) at(slot uint32) *record { return &r[slot>>chunkBits][slot&(chunkSize-1)] }

// slab hands out records. Control side only.
type slab struct {
	chunks records
	free   []uint32
	next   uint32
}

// alloc returns an unused slot. grew: there is one more chunk.
func (s *slab) alloc() (slot uint32, grew bool) {
	if n := len(s.free); n > 0 {
		slot = s.free[n-1]
		s.free = s.free[:n-1]
		return slot, false
	}
	if s.next == 0 {
		s.next = 1
	}
	slot = s.next
	s.next++
	if int(slot>>chunkBits) == len(s.chunks) {
		s.chunks = append(s.chunks, new(recordChunk))
		grew = true
	}
	return slot, grew
}

// release makes slot free. Nobody may reach it any more.
func (s *slab) release(slot uint32) { s.free = append(s.free, slot) }

// actionList is the actions of one or more rules.
type actionList struct {
	actions []flow.Action
	text    string // the key among the interned lists
	refs    int    // control side only
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

	vlanEdits  int // lists that depend on or change tags
	chained    int // lists with resubmit or goto_table
	srcPartial map[uint64]int
	dstPartial map[uint64]int
}

// acquire returns the id of a list equal to actions and counts one more user.
func (s *actionStore) acquire(actions []flow.Action) uint32 {
	key := encodeActions(actions)
	if id, ok := s.byText[key]; ok {
		s.chunks.at(id).refs++
		return id
	}
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
	list := &actionList{actions: append([]flow.Action(nil), actions...), text: key, refs: 1}
	s.chunks[id>>chunkBits][id&(chunkSize-1)].Store(list)
	if s.byText == nil {
		s.byText = make(map[string]uint32)
	}
	s.byText[key] = id
	s.account(list, 1)
	return id
}

// release counts one user less. A list without users goes when no reader can reach a rule that has it, which is when
// this is called.
func (s *actionStore) release(id uint32) {
	list := s.chunks.at(id)
	if list.refs--; list.refs > 0 {
		return
	}
	s.account(list, -1)
	delete(s.byText, list.text)
	s.chunks[id>>chunkBits][id&(chunkSize-1)].Store(nil)
	s.free = append(s.free, id)
}

// account keeps count of what all lists together do to keys.
func (s *actionStore) account(list *actionList, d int) {
	if s.srcPartial == nil {
		s.srcPartial, s.dstPartial = make(map[uint64]int), make(map[uint64]int)
	}
	edits, chained := false, false
	for _, a := range list.actions {
		switch a.Kind {
		case flow.ActionPopVLAN, flow.ActionModVLANVID, flow.ActionModVLANPCP, flow.ActionPushVLAN,
			flow.ActionSetVLANVID, flow.ActionSetVLANPCP:
			edits = true
		case flow.ActionResubmit, flow.ActionGotoTable:
			chained = true
		case flow.ActionSetEthSrc:
			addCount(s.srcPartial, flow.FullEth&^a.Mask, d)
		case flow.ActionSetEthDst:
			addCount(s.dstPartial, flow.FullEth&^a.Mask, d)
		}
	}
	if edits {
		s.vlanEdits += d
	}
	if chained {
		s.chained += d
	}
}

func addCount(m map[uint64]int, key uint64, d int) {
	if key == 0 {
		return
	}
	if m[key] += d; m[key] == 0 {
		delete(m, key)
	}
}

// need adds to union the bits that composing these lists' programs looks at, given what matching looks at.
func (s *actionStore) need(union *flow.Key) {
	for m := range s.srcPartial {
		union[flow.WordSrc] |= m << flow.ShiftEth
	}
	for m := range s.dstPartial {
		union[flow.WordDst] |= m << flow.ShiftEth
	}
	if s.vlanEdits > 0 {
		// Whether a tag is there decides what pop and mod_vlan do; and what is inside may come to the outside.
		tag := union[flow.WordPort]&flow.MaskTag | flow.VLANPresent
		union[flow.WordPort] |= tag
		union[flow.WordDst] |= tag
	}
}

func encodeActions(actions []flow.Action) string {
	b := make([]byte, 0, 24*len(actions))
	for _, a := range actions {
		b = append(b, byte(a.Kind), a.Table, byte(a.Port), byte(a.Port>>8), byte(a.Port>>16), byte(a.Port>>24))
		for i := 0; i < 48; i += 8 {
			b = append(b, byte(a.Value>>i))
		}
		for i := 0; i < 48; i += 8 {
			b = append(b, byte(a.Mask>>i))
		}
	}
	return string(b)
}
