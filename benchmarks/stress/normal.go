package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// Figures with bars.
const (
	figWeftLearned = "weft: addresses learned"
	figOVSLearned  = "ovs: addresses learned"
	figFlooded     = "weft: packets to addresses not known"
)

const (
	// stations is how many addresses there are behind each of the two ports.
	stations = 5000

	// macTable is how many addresses the bridges may learn: Open vSwitch's default (other_config:mac-table-size) is 8192, as
	// is Weft's (mac_limit).
	macTable = 4 * stations

	// teachRate is how many new addresses are shown a port in a second, half of what Weft lets one bring (mac_rate), and
	// lessons how often all of them are shown at most.
	teachRate = 5000
	lessons   = 5
)

func normalBars(*options) []bar {
	return []bar{
		atLeast(figWeftLearned, 2*stations), atLeast(figOVSLearned, 2*stations), atMost(figFlooded, 0), atMost(figFreshLost, 0),
	}
}

// normalRound has both switches, in turn, learn addresses at both ports and forward between them by NORMAL, as fast as load
// and switch can.
func normalRound(ctx context.Context, o *options, dir string, m *measurements) error {
	order := []string{"weft", "ovs"}
	if m.round%2 == 1 {
		slices.Reverse(order)
	}
	measured := make(map[string][]slice)
	for _, name := range order {
		list, err := normalSwitch(ctx, o, filepath.Join(dir, name), name, m)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		measured[name] = list
		m.add(name+": both directions", "Mpps", rateOf(list)/1e6)
	}
	m.pair(measured["weft"], measured["ovs"], pairFigure{"weft by ovs", rateOf, true})
	return nil
}

// talk is the stations of a stream between n at each guest: the i-th frame is of the i-th pair of them, round and round.
func talk(from int, n uint64) func(i uint64) (dst, src uint32) {
	return func(i uint64) (dst, src uint32) { return station(1-from, uint32(i%n)), station(from, uint32(i%n)) }
}

// station is the i-th one behind a guest.
func station(guest int, i uint32) uint32 { return uint32(guest+1)<<24 | i }

// stationStreams are traffic in both directions, each frame of the next pair of stations; 0 is a rate without limit.
func stationStreams(rate float64) (list []stream) {
	for from := range 2 {
		list = append(list, stream{
			name: fmt.Sprintf("from guest %d", from), from: from, rate: rate, next: known(stations), stations: talk(from, stations),
		})
	}
	return list
}

func normalSwitch(ctx context.Context, o *options, dir, name string, m *measurements) ([]slice, error) {
	b, err := newBed(o, dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	b.macs = macTable
	rules := filepath.Join(dir, "rules.txt")
	err = writeFile(rules, func(w io.Writer) error { _, err := io.WriteString(w, "actions=NORMAL\n"); return err })
	if err != nil {
		return nil, err
	}
	if err := b.start(ctx, name, rules); err != nil {
		return nil, err
	}
	learned, err := b.teach(ctx)
	if err != nil {
		return nil, err
	}
	m.add(name+": addresses learned", "", float64(learned))
	if _, err := b.send(ctx, 2*warmUp, stationStreams(0)...); err != nil {
		return nil, b.explain(err)
	}
	if name == "ovs" {
		return b.normalOVS(ctx, m)
	}
	return b.normalWeft(ctx, m)
}

// teach shows the switch every station until it knows all, and returns how many that are.
func (b *bed) teach(ctx context.Context) (known int, err error) {
	for range lessons {
		if _, err := b.send(ctx, stations*time.Second/teachRate*5/4, stationStreams(teachRate)...); err != nil {
			return 0, b.explain(err)
		}
		if known, err = b.learned(ctx); err != nil || known >= 2*stations {
			return known, err
		}
	}
	return known, nil
}

// learned is how many addresses the switch knows.
func (b *bed) learned(ctx context.Context) (int, error) {
	if b.ovs != nil {
		return b.ovs.Learned(ctx)
	}
	r, err := b.weft.read(ctx)
	if err != nil {
		return 0, err
	}
	return r.fdb.Entries, nil
}

func (b *bed) normalWeft(ctx context.Context, m *measurements) ([]slice, error) {
	before, err := b.weft.read(ctx)
	if err != nil {
		return nil, err
	}
	list, err := b.slices(ctx, b.o.phase(), false, stationStreams(0)...)
	if err != nil {
		return nil, err
	}
	after, err := b.weft.read(ctx)
	if err != nil {
		return nil, err
	}
	s, t := between(before, after), totalOf(list)
	lost := measured{&outcome{streams: []tally{t}}, s}
	m.add(figFlooded, "packets", float64(after.fdb.Flooded-before.fdb.Flooded))
	m.add(figFreshLost, "packets", lost.unaccounted())
	m.add("weft: busy cycles per packet", "", s.perPacket())
	m.note("weft: %s", s.dropText())
	return list, nil
}

func (b *bed) normalOVS(ctx context.Context, m *measurements) ([]slice, error) {
	if err := b.ovs.ClearPMDStats(ctx); err != nil {
		return nil, err
	}
	list, err := b.slices(ctx, b.o.phase(), false, stationStreams(0)...)
	if err != nil {
		return nil, err
	}
	stats, err := b.ovs.PMDStats(ctx)
	if err != nil {
		return nil, err
	}
	t := totalOf(list)
	m.add("ovs: busy cycles per packet", "", stats.BusyCycles)
	m.note("ovs: %d of %d frames did not arrive", t.lost(), t.Sent)
	return list, nil
}
