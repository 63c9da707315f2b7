package vswitch

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucketIsOneCacheLine(t *testing.T) {
	if n := reflect.TypeFor[fdbBucket]().Size(); n != 64 {
		t.Errorf("%d bytes", n)
	}
}

func TestAddressIsFoundWhereItWasSeenLast(t *testing.T) {
	f := newFDB(100, 10*time.Second)
	k, other := makeFDBKey(0x020000000001, 0), makeFDBKey(0x020000000001, 7)
	if _, found := f.lookup(k, 0); found {
		t.Error("an empty table knows an address")
	}
	f.learn(k, 3, 0)
	f.learn(other, 4, 0)
	if port, found := f.lookup(k, 0); !found || port != 3 {
		t.Errorf("port %d, %v", port, found)
	}
	if port, found := f.lookup(other, 0); !found || port != 4 {
		t.Errorf("in VLAN 7: port %d, %v", port, found)
	}
	f.learn(k, 5, 0)
	if port, _ := f.lookup(k, 0); port != 5 {
		t.Errorf("after a move: port %d", port)
	}
	a, b := f.places(k)
	f.insert(a, b, k, makeFDBValue(6, 0)) // as by a thread that looked before the other's insertion
	st := f.stats()
	if st.Entries != 2 || st.Learned != 2 || st.Moved != 1 {
		t.Errorf("%+v", st)
	}
	if a, b, c := f.ports[3].Load(), f.ports[4].Load(), f.ports[5].Load(); a != 0 || b != 1 || c != 1 {
		t.Errorf("entries by port: %d %d %d", a, b, c)
	}
}

func TestAddressesExpireUnlessSeen(t *testing.T) {
	f := newFDB(100, 3*time.Second)
	quiet, busy := makeFDBKey(1, 0), makeFDBKey(2, 0)
	f.learn(quiet, 1, f.epoch.Load())
	f.learn(busy, 2, f.epoch.Load())
	for range 2 {
		f.tick()
		f.learn(busy, 2, f.epoch.Load())
	}
	if _, found := f.lookup(quiet, f.epoch.Load()); !found {
		t.Error("expired after 2 of 3 seconds")
	}
	f.tick()
	if _, found := f.lookup(quiet, f.epoch.Load()); found {
		t.Error("not expired after 3 seconds")
	}
	if _, found := f.lookup(busy, f.epoch.Load()); !found {
		t.Error("a busy address expired")
	}
	if st := f.stats(); st.Expired != 1 || st.Entries != 1 {
		t.Errorf("%+v", st)
	}
	// An address that the sweep has not reached yet is gone for readers all the same.
	if _, found := f.lookup(busy, f.epoch.Load()+3); found {
		t.Error("found after its time")
	}
}

func TestTableHoldsItsLimit(t *testing.T) {
	for _, limit := range []int{1, 2, 3, 100, 8192} {
		f := newFDB(limit, time.Minute)
		for i := range limit {
			f.learn(makeFDBKey(uint64(i)*0x10001, 0), 1, 0)
		}
		st := f.stats()
		// Two choices of three slots at a third of the load: almost no bucket overflows.
		if st.Entries < limit-limit/500 {
			t.Errorf("limit %d: only %d entries fit: %+v", limit, st.Entries, st)
		}
		for i := range 4 * limit {
			f.learn(makeFDBKey(uint64(i)*0x777777, 3), 1, 0)
		}
		if st = f.stats(); st.Entries > limit {
			t.Errorf("limit %d: %d entries", limit, st.Entries)
		}
		if n := f.count(); n != st.Entries {
			t.Errorf("limit %d: %d entries counted, %d there", limit, st.Entries, n)
		}
	}
}

// count walks the table.
func (f *fdb) count() int {
	n := 0
	f.each(func(fdbRecord) { n++ })
	return n
}

func TestFloodOfAddressesDisplacesOnlyItsOwnPorts(t *testing.T) {
	const limit = 1000
	f := newFDB(limit, time.Minute)
	for i := range uint64(50) {
		f.learn(makeFDBKey(0xaa0000+i, 0), 1, 0) // the victims
	}
	for i := range uint64(100_000) {
		f.learn(makeFDBKey(0xbb000000+i, 0), 2, 0) // the attacker
	}
	for i := range uint64(50) {
		if port, found := f.lookup(makeFDBKey(0xaa0000+i, 0), 0); !found || port != 1 {
			t.Errorf("victim %d was displaced", i)
		}
	}
	if n := f.ports[1].Load(); n != 50 {
		t.Errorf("%d victims left", n)
	}
	// A newcomer on a third port still gets its place, at the attacker's cost.
	for i := range uint64(50) {
		k := makeFDBKey(0xcc0000+i, 0)
		f.learn(k, 3, 0)
		if _, found := f.lookup(k, 0); !found {
			t.Errorf("newcomer %d was not learned", i)
		}
	}
	if st := f.stats(); st.Entries > limit || st.Evicted == 0 {
		t.Errorf("%+v", st)
	}
}

func TestFlushRemovesWhatMatches(t *testing.T) {
	f := newFDB(100, time.Minute)
	for i := range uint64(30) {
		f.learn(makeFDBKey(i, uint16(i%3)), uint32(i%2), 0)
	}
	if n := f.flush(func(_ fdbKey, port uint32) bool { return port == 1 }); n != 15 {
		t.Errorf("flushed %d", n)
	}
	if n := f.flush(func(k fdbKey, _ uint32) bool { return k.vlan() == 0 }); n != 5 {
		t.Errorf("flushed %d", n)
	}
	if st := f.stats(); st.Entries != 10 || st.Flushed != 20 || f.count() != 10 {
		t.Errorf("%+v, %d there", st, f.count())
	}
}

func TestNewTableInheritsAddresses(t *testing.T) {
	f := newFDB(100, time.Minute)
	for range 5 {
		f.tick()
	}
	for i := range uint64(40) {
		f.learn(makeFDBKey(i, 0), 7, uint32(i%5))
	}
	g := newFDB(20, time.Minute)
	g.inherit(f)
	if n := g.count(); n > 20 || n < 18 {
		t.Errorf("%d entries in a table for 20", n)
	}
	h := newFDB(1000, time.Minute)
	h.inherit(f)
	h.each(func(r fdbRecord) {
		if want := 5 - int32(r.key.mac()%5); r.port != 7 || r.age != want {
			t.Errorf("%+v, want age %d", r, want)
		}
	})
	if h.count() != 40 {
		t.Errorf("%d of 40 were inherited", h.count())
	}
}

// TestTableBehavesLikeAMap compares the table, far below its limit, with the obvious model.
func TestTableBehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, model := newFDB(1000, 4*time.Second), map[fdbKey]fdbValue{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			k := makeFDBKey(rapid.Uint64Range(0, 7).Draw(t, "mac"), rapid.Uint16Range(0, 1).Draw(t, "vlan"))
			now := f.epoch.Load()
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				port := rapid.Uint32Range(1, 3).Draw(t, "port")
				f.learn(k, port, now)
				model[k] = makeFDBValue(port, now)
			case 2:
				f.tick()
			case 3:
				port := rapid.Uint32Range(1, 3).Draw(t, "flushed")
				f.flush(func(_ fdbKey, p uint32) bool { return p == port })
				for k, v := range model {
					if v.port() == port {
						delete(model, k)
					}
				}
			default:
				port, found := f.lookup(k, now)
				v, known := model[k]
				if known = known && now-v.epoch() < 4; found != known || found && port != v.port() {
					t.Fatalf("%x: found %v on %d, want %v on %d", k, found, port, known, v.port())
				}
			}
		}
	})
}

// TestThreadsShareATable runs learners, readers and the control side at once. Every key belongs to one port for ever,
// so a reader must never see another.
func TestThreadsShareATable(t *testing.T) {
	f := newFDB(200, 2*time.Second)
	portOf := func(mac uint64) uint32 { return uint32(mac%5) + 1 }
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var failed sync.Once
	for seed := range uint64(3) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for range 100_000 {
				mac := rng.Uint64N(600)
				k, now := makeFDBKey(mac, 0), f.epoch.Load()
				if rng.IntN(2) == 0 {
					f.learn(k, portOf(mac), now)
				} else if port, found := f.lookup(k, now); found && port != portOf(mac) {
					failed.Do(func() { t.Errorf("address %d on port %d, want %d", mac, port, portOf(mac)) })
				}
			}
		})
	}
	control := make(chan struct{})
	go func() {
		defer close(control)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f.tick()
			f.flush(func(_ fdbKey, port uint32) bool { return i%50 == 0 && port == 2 })
			f.each(func(fdbRecord) {})
			time.Sleep(100 * time.Microsecond)
		}
	}()
	wg.Wait()
	close(stop)
	<-control
	f.checkSums(t, 200)
}

// checkSums compares what a table counts with what it holds.
func (f *fdb) checkSums(t *testing.T, limit int) {
	t.Helper()
	st := f.stats()
	keys, ports := map[fdbKey]bool{}, map[uint32]int32{}
	f.setAgeing(24 * time.Hour)
	f.each(func(r fdbRecord) {
		if keys[r.key] {
			t.Errorf("address %x is there twice", r.key.mac())
		}
		keys[r.key] = true
		ports[r.port]++
	})
	if len(keys) != st.Entries || st.Entries > limit {
		t.Errorf("%d entries counted, %d there, limit %d", st.Entries, len(keys), limit)
	}
	for port := range uint32(7) {
		if n := f.ports[port].Load(); n != ports[port] {
			t.Errorf("port %d: %d entries counted, %d there", port, n, ports[port])
		}
	}
	if in, out := st.Learned, st.Evicted+st.Expired+st.Flushed+uint64(st.Entries); in != out {
		t.Errorf("%d learned, but %d gone or there: %+v", in, out, st)
	}
}

func TestLearningAllocatesNothing(t *testing.T) {
	f := newFDB(64, time.Minute)
	i := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		f.learn(makeFDBKey(i, 0), uint32(i%4), 0)
		f.lookup(makeFDBKey(i/2, 0), 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLearnAndLookup(b *testing.B) {
	f := newFDB(8192, time.Minute)
	for i := range uint64(4000) {
		f.learn(makeFDBKey(i*0x10001, 0), uint32(i%16), 0)
	}
	for i := uint64(0); b.Loop(); i++ {
		f.learn(makeFDBKey(i%4000*0x10001, 0), uint32(i%4000%16), 0)
		f.lookup(makeFDBKey((i*7)%4000*0x10001, 0), 0)
	}
}

func TestAddressIsFormatted(t *testing.T) {
	if s := formatMAC(0x0102030a0b0c); s != "01:02:03:0a:0b:0c" {
		t.Error(s)
	}
}
