package pmd

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"weft/numa"
	"weft/numa/numatest"
)

// twoNodeSlots are PMD threads on these CPUs of the two-node machine.
func twoNodeSlots(t *testing.T, cpus ...int) []slot {
	t.Helper()
	topo, err := numa.Read(numatest.TwoNodes(t))
	if err != nil {
		t.Fatal(err)
	}
	var slots []slot
	for _, c := range cpus {
		slots = append(slots, slot{cpu: c, node: topo.NodeOfCPU(c)})
	}
	return slots
}

// want is a demand and the CPU that it should get.
type want struct {
	demand
	cpu int
}

func free(port string, index, node int) demand {
	return demand{port: port, index: index, node: node, pin: -1, load: -1, at: unplaced}
}

func (d demand) pinned(cpu int) demand     { d.pin = cpu; return d }
func (d demand) loaded(percent int) demand { d.load = percent; return d }
func (d demand) in(s int) demand           { d.at = s; return d }
func (d demand) staying(s int) demand      { d.at, d.stays = s, true; return d }

func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name   string
		cpus   []int
		queues []want
	}{
		{"a queue goes to a thread of its node", []int{1, 5}, []want{
			{free("a", 0, 0), 1}, {free("b", 0, 1), 5}, {free("c", 0, 1), 5}, {free("d", 0, 1), 5},
		}},
		{"without a thread on its node, to any", []int{1, 2}, []want{
			{free("a", 0, 1), 1}, {free("b", 0, 1), 2},
		}},
		{"queues of unknown node fill up the threads with the fewest", []int{1, 5}, []want{
			{free("a", 0, -1), 1}, {free("b", 0, -1), 5}, {free("c", 0, -1), 1}, {free("d", 0, -1), 5},
		}},
		{"a pin beats the node", []int{1, 5}, []want{
			{free("a", 0, 1).pinned(1), 1}, {free("b", 0, 0), 1},
		}},
		{"a pin to a CPU without a thread counts for nothing", []int{1, 5}, []want{
			{free("a", 0, 1).pinned(7), 5},
		}},
		{"pinned queues are placed first, so that the free ones avoid them", []int{1, 2}, []want{
			{free("a", 0, 0), 2}, {free("z", 0, 0).pinned(1), 1},
		}},
		{"the heaviest first, each to the least loaded thread", []int{1, 2}, []want{
			{free("a", 0, 0).loaded(10), 1},
			{free("b", 0, 0).loaded(50), 1},
			{free("c", 0, 0).loaded(20), 2},
			{free("d", 0, 0).loaded(30), 2},
		}},
		{"a queue of unknown load counts as the average", []int{1, 2}, []want{
			{free("a", 0, 0).loaded(90), 1}, {free("b", 0, 0), 2}, {free("c", 0, 0).loaded(10), 2},
		}},
		{"idle queues are spread by number", []int{1, 2}, []want{
			{free("a", 0, 0).loaded(0), 1}, {free("a", 1, 0).loaded(0), 2}, {free("a", 2, 0).loaded(0), 1},
		}},
		{"a queue that stays is left where it is, however loaded", []int{1, 2}, []want{
			{free("a", 0, 0).loaded(60).staying(1), 2}, {free("b", 0, 0).loaded(30).staying(1), 2}, {free("c", 0, 0), 1},
		}},
		{"a queue that stays may be on another node", []int{1, 5}, []want{
			{free("a", 0, 0).staying(1), 5},
		}},
		{"between equals, a queue keeps its thread", []int{1, 2}, []want{
			{free("a", 0, 0).loaded(40).in(1), 2}, {free("b", 0, 0).loaded(40).in(0), 1},
		}},
		{"one thread takes all", []int{5}, []want{
			{free("a", 0, 0), 5}, {free("b", 0, 1).loaded(100), 5}, {free("c", 0, -1).pinned(1), 5},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			slots := twoNodeSlots(t, c.cpus...)
			queues := make([]demand, len(c.queues))
			for i, w := range c.queues {
				queues[i] = w.demand
			}
			for i, s := range assign(slots, queues) {
				if got := slots[s].cpu; got != c.queues[i].cpu {
					t.Errorf("%s/%d got CPU %d, want %d", queues[i].port, queues[i].index, got, c.queues[i].cpu)
				}
			}
		})
	}
}

func TestAssignWithoutThreads(t *testing.T) {
	if got := assign(nil, []demand{free("a", 0, 0)}); !slices.Equal(got, []int{unplaced}) {
		t.Errorf("got %v, want unplaced", got)
	}
}

// TestAssignHoldsItsRules tries many random demands: the result obeys pins and nodes and does not depend on the order.
func TestAssignHoldsItsRules(t *testing.T) {
	slots := twoNodeSlots(t, 1, 2, 5, 14)
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		queues := make([]demand, r.IntN(20))
		for i := range queues {
			d := free(strings.Repeat("p", 1+r.IntN(3)), i, r.IntN(4)-1)
			d.pin, d.load, d.at = []int{-1, -1, -1, 1, 14, 7}[r.IntN(6)], r.IntN(102)-1, r.IntN(5)-1
			d.stays = r.IntN(3) == 0 && d.at != unplaced && satisfied(slots, d.at, &d)
			queues[i] = d
		}
		placed := assign(slots, queues)
		for i := range queues {
			q := &queues[i]
			if !satisfied(slots, placed[i], q) {
				t.Fatalf("seed %d: %+v was placed in slot %d", seed, *q, placed[i])
			}
			if q.stays && slotOfCPU(slots, q.pin) == unplaced && placed[i] != q.at {
				t.Fatalf("seed %d: %+v was to stay and went to slot %d", seed, *q, placed[i])
			}
		}
		order := r.Perm(len(queues))
		shuffled := make([]demand, len(queues))
		for to, from := range order {
			shuffled[to] = queues[from]
		}
		for to, s := range assign(slots, shuffled) {
			if s != placed[order[to]] {
				t.Fatalf("seed %d: %+v is placed in slot %d or %d, depending on the order",
					seed, shuffled[to], placed[order[to]], s)
			}
		}
	}
}

func TestImproves(t *testing.T) {
	slots := twoNodeSlots(t, 1, 2, 5)
	for _, c := range []struct {
		name   string
		queues []demand
		next   []int
		want   bool
	}{
		{"a queue comes to its node", []demand{free("a", 0, 1).in(0)}, []int{2}, true},
		{"a queue leaves its node", []demand{free("a", 0, 0).in(0)}, []int{2}, false},
		{"the busiest thread becomes lighter", []demand{
			free("a", 0, 0).loaded(40).in(0), free("b", 0, 0).loaded(40).in(0),
		}, []int{0, 1}, true},
		{"by too little", []demand{
			free("a", 0, 0).loaded(40).in(0), free("b", 0, 0).loaded(4).in(0), free("c", 0, 0).loaded(1).in(1),
		}, []int{0, 1, 1}, false},
		{"idle queues are spread", []demand{
			free("a", 0, 0).loaded(0).in(0), free("b", 0, 0).loaded(0).in(0),
		}, []int{0, 1}, true},
		{"nothing changes", []demand{free("a", 0, 0).in(0)}, []int{0}, false},
		{"equal queues only swap", []demand{free("a", 0, 0).in(0), free("b", 0, 0).in(1)}, []int{1, 0}, false},
	} {
		if got := improves(slots, c.queues, c.next); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
