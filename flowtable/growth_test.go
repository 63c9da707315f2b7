package flowtable

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

// TestRulesAreAddedWhileTheirOwnPacketsAreLookedUp has a PMD thread look up the very keys that rules are being added
// for, so many that the records grow by chunks which the thread's view does not have.
func TestRulesAreAddedWhileTheirOwnPacketsAreLookedUp(t *testing.T) {
	const n, step, first = 4 * chunkSize, chunkSize / 4, uint32(10<<24 | 1<<16)
	p := NewPipeline(Config{})
	if err := p.Add(rule(t, "priority=1,actions=9"), rule(t, "udp,nw_dst=10.0.0.1,actions=2")); err != nil {
		t.Fatal(err)
	}
	rules := make([]*flow.Rule, n)
	for i := range rules {
		// Two rules for each key, so that chains are walked as well.
		rules[i] = rule(t, fmt.Sprintf("priority=%d,udp,nw_dst=10.1.%d.%d,actions=2", 10+i%2, i>>9, i>>1&255))
	}
	l := p.NewLookup(LookupConfig{CacheEntries: -1})
	var stop atomic.Bool
	var matched, missed int
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		b := packet.NewBatch(nil)
		frames := make([]flowtest.Frame, packet.BatchSize)
		for i := range frames {
			frames[i] = udpTo(first)
		}
		fill(b, 1, frames)
		for next := uint32(0); !stop.Load(); {
			for i := range frames {
				next = (next + 1) % (n / 2)
				binary.BigEndian.PutUint32(b.Packet(i).Header()[30:], first+next)
			}
			l.Batch(b)
			for i := range frames {
				switch ops := l.Ops(i); {
				case slices.Equal(ops, output(2)):
					matched++
				case slices.Equal(ops, output(9)):
					missed++
				default:
					panic(fmt.Sprint("resolved to ", ops))
				}
			}
		}
	}()
	for range 8 {
		for i := 0; i < n; i += step {
			if err := p.Add(rules[i : i+step]...); err != nil {
				t.Error(err)
			}
		}
		p.Delete(flow.Filter{Match: rule(t, "udp,nw_dst=10.1.0.0/16,actions=drop").Match})
	}
	stop.Store(true)
	if r := <-done; r != nil {
		t.Fatalf("the thread panicked: %v", r)
	}
	if matched == 0 || missed == 0 {
		t.Errorf("%d packets met new rules and %d did not; this tests nothing", matched, missed)
	}
}

func TestAViewThatIsTooShortReachesNewRecords(t *testing.T) {
	// The same without chance: a thread that holds an old state looks for keys linked since in chunks made since.
	b := newBench(t, "priority=1,actions=9", "udp,nw_dst=10.0.0.1,actions=2")
	old := b.p.state.Load()
	rules := make([]*flow.Rule, 2*chunkSize)
	for i := range rules {
		rules[i] = rule(t, fmt.Sprintf("udp,nw_dst=10.1.%d.%d,actions=2", i>>8, i&255))
	}
	if err := b.p.Add(rules...); err != nil {
		t.Fatal(err)
	}
	var last, first flow.Key
	fill(b.b, 1, []flowtest.Frame{udpTo(0x0a010000 | 2*chunkSize - 1), udpTo(0x0a000001)})
	flow.ExtractPacket(b.b.Packet(0), 1, &last)
	flow.ExtractPacket(b.b.Packet(1), 1, &first)
	priority := func(st *state, key *flow.Key) int {
		slot, _ := st.classify(0, key)
		if slot == noSlot {
			return -1
		}
		return int(b.p.slab.chunks.at(slot).priority)
	}
	if got := priority(old, &last); got != 1 {
		t.Errorf("the old state sees priority %d for a new rule's packet", got)
	}
	if got := priority(old, &first); got != flow.DefaultPriority {
		t.Errorf("the old state sees priority %d for an old rule's packet", got)
	}
	if got := priority(b.p.state.Load(), &last); got != flow.DefaultPriority {
		t.Errorf("the new state sees priority %d", got)
	}
}

func TestRecordsAreNotUsedAgainWhileALookupMayStandOnThem(t *testing.T) {
	// A Lookup may begin between the question which generations are in use and the unlinking of what none of them sees.
	b := newBench(t, "udp,nw_dst=10.0.0.1,actions=1", "priority=1,actions=2")
	b.p.Delete(flow.Filter{Match: rule(t, "udp,nw_dst=10.0.0.1,actions=1").Match})
	b.p.Expire(b.now)
	if len(b.p.unlinked) != 1 || len(b.p.slab.free) != 0 {
		t.Fatalf("%d records unlinked, %d free: want one that is not free yet", len(b.p.unlinked), len(b.p.slab.free))
	}
	atomic.StoreUint64(&b.l.active, b.p.state.Load().epoch)
	b.p.Expire(b.now)
	if len(b.p.slab.free) != 0 {
		t.Error("a record was freed under a running batch of the epoch that it was unlinked in")
	}
	atomic.StoreUint64(&b.l.active, 0)
	b.p.Expire(b.now)
	if len(b.p.unlinked) != 0 || len(b.p.slab.free) != 1 {
		t.Errorf("%d records unlinked, %d free: want one free", len(b.p.unlinked), len(b.p.slab.free))
	}
}
