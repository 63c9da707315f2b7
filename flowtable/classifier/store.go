package classifier

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"weft/flowtable/flow"
)

// MaxSlot is the highest slot number that a rule may have.
const MaxSlot = 1<<32 - 1

const forever = math.MaxUint64

// Store is what all tables of a pipeline share: the memory of their rules. Rules are named by slots, numbers above 0
// that the caller chooses and that should be dense.
//
// Concurrency: belongs to the writer.
type Store struct {
	arena  arena
	locs   locations
	shapes []*shape // by id; a mask of several tables has an id in each
	newest atomic.Pointer[[]*shape]
	spare  []uint32  // ids that nobody uses
	gone   []retired // ids that a reader may still meet

	tuples  map[uint32]*Tuple
	asleep  []sleeper
	lastID  uint32
	seed    uint64
	scratch list
	buffers sync.Pool // of *entryBuffer, see each
}

// location is where a rule's entry is.
type location struct{ block, tuple uint32 }

// locations are by slot, in chunks, so that no addition moves them all.
type locations struct{ chunks []*[1024]location }

func (l *locations) at(slot uint32) *location { return &l.chunks[slot>>10][slot&1023] }

func (l *locations) reach(slot uint32) {
	for int(slot>>10) >= len(l.chunks) {
		l.chunks = append(l.chunks, new([1024]location))
	}
}

// NewStore returns an empty store. The seed makes hashes unpredictable.
func NewStore(seed uint64) *Store {
	s := &Store{tuples: make(map[uint32]*Tuple), seed: seed}
	s.arena.newest.Store(new([]*chunk))
	s.newest.Store(new([]*shape))
	return s
}

// Epoch tells the store the epoch of the readers that come next, before anything is changed: what changes take out of use
// from now on belongs to nobody when no reader of an earlier epoch is left.
func (s *Store) Epoch(epoch uint64) { s.arena.label = epoch }

// Reclaim frees what no reader can reach, when the oldest epoch that a reader may be in is oldest. It must be asked for
// before the reclaimed changes could be repeated: see the package's Changes.
func (s *Store) Reclaim(oldest uint64) {
	s.arena.reclaim(oldest)
	n := 0
	for ; n < len(s.gone) && s.gone[n].epoch <= oldest; n++ {
		s.spare = append(s.spare, s.gone[n].ref)
	}
	s.gone = s.gone[:copy(s.gone, s.gone[n:])]
}

// shapeID makes sh known to readers.
func (s *Store) shapeID(sh *shape) uint32 {
	if n := len(s.spare); n > 0 {
		id := s.spare[n-1]
		s.spare = s.spare[:n-1]
		// Readers of the list may be looking at other elements: it is replaced.
		s.shapes = append([]*shape(nil), s.shapes...)
		s.shapes[id] = sh
		list := s.shapes
		s.newest.Store(&list)
		return id
	}
	s.shapes = append(s.shapes, sh)
	list := s.shapes
	s.newest.Store(&list)
	return uint32(len(list) - 1)
}

// entry returns a copy of slot's entry, which is in buf, and the words of its head where they lie.
func (s *Store) entry(slot uint32, buf *entryBuffer) (e, head entry) {
	b := s.block(s.locs.at(slot).block)
	i := b.find(slot)
	return b.entry(buf[:0], i), b.headOf(i)
}

// Match returns the match of a rule.
func (s *Store) Match(slot uint32) (m flow.Match) {
	var buf entryBuffer
	e, _ := s.entry(slot, &buf)
	sh := s.shapes[e.mask()]
	for i := range int(sh.n) {
		w := sh.word[i]
		m.Key[w], m.Mask[w] = e[entryHead+i], sh.mask[i]
	}
	return m
}

// Live reports whether the rule was not removed.
func (s *Store) Live(slot uint32) bool {
	var buf entryBuffer
	_, head := s.entry(slot, &buf)
	return head.live()
}

// Bytes is the memory that rules take: what is in use or kept for reuse.
func (s *Store) Bytes() uint64 {
	n := uint64(len(s.arena.chunks))*chunkUnits*unitWords*8 + uint64(len(s.locs.chunks))*1024*8
	for _, t := range s.tuples {
		n += t.bytes()
	}
	for _, a := range s.asleep {
		n += a.tuple.bytes()
	}
	return n
}

// keptTuples is how many tuples of one segment are kept for the rules that were in them to come back.
const keptTuples = 8

// sleeper is a tuple that had rules of a table and has none.
type sleeper struct {
	table *Table
	tuple *Tuple
}

// rest keeps p, which has lost its last entry, for later. All its places are free, and there is nothing to wait for: a
// reader of an older view that still looks into it finds what comes into any tuple meanwhile, rules of the same table that
// its generation does not see.
func (s *Store) rest(t *Table, p *Tuple) {
	if p.only.Load() == nil {
		return // it is large
	}
	if len(s.asleep) == keptTuples {
		s.asleep = slices.Delete(s.asleep, 0, 1)
	}
	s.asleep = append(s.asleep, sleeper{t, p})
}

// wake returns a tuple without entries for a table, one that had some of the table if possible.
func (s *Store) wake(t *Table, sh *shape) *Tuple {
	for i, a := range s.asleep {
		if a.table == t && a.tuple.shape == *sh {
			s.asleep = slices.Delete(s.asleep, i, i+1)
			return a.tuple
		}
	}
	return newTuple(sh)
}
