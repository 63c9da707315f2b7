package flowtable

import (
	"math"
	"math/bits"
	"runtime"
	"sync/atomic"

	"weft/flowtable/flow"
)

// Meter is a meter at work: a token bucket for each band. Tokens are counted in units of which a band gains rate each
// nanosecond: millionths of a bit with kbps, billionths of a packet with pktps. So nothing is rounded.
//
// A packet passes if every band has tokens for it. Bands that have them give them all the same; of those that have not,
// the one with the highest rate counts the packet as its drop (OpenFlow 1.3 §5.7.1, and as Open vSwitch does it).
//
// Concurrency: any goroutine. A spin lock is held for some nanoseconds, since PMD threads must not sleep.
type Meter struct {
	lock atomic.Uint32
	_    [lineSize - 4]byte

	// Under lock.
	last    int64 // nanoseconds, of the last packet
	started bool
	packets uint64
	bytes   uint64
	bands   []band

	perPacket bool // pktps
}

type band struct {
	rate           uint64 // units a nanosecond
	size, tokens   uint64 // units; tokens never exceed size
	fill           uint64 // nanoseconds from empty to full
	packets, bytes uint64 // dropped
}

// Units of tokens. With the largest rate and burst that OpenFlow can write, 2^32 - 1, size is below 2^62.
const (
	unitsPerBit    = 1_000_000     // kilobits a second are bits a millisecond
	unitsPerPacket = 1_000_000_000 // packets a second
	bitsPerKilobit = 1000
)

// NewMeter returns the meter that m describes, full. m is valid.
func NewMeter(m *flow.Meter) *Meter {
	t := &Meter{perPacket: m.Flags&flow.MeterPktps != 0}
	t.bands = makeBands(m)
	return t
}

func makeBands(m *flow.Meter) []band {
	list := make([]band, len(m.Bands))
	for i, b := range m.Bands {
		burst := uint64(b.Burst)
		if m.Flags&flow.MeterBurst == 0 {
			burst = uint64(b.Rate) // a second's worth
		}
		size := burst * bitsPerKilobit * unitsPerBit
		if m.Flags&flow.MeterPktps != 0 {
			size = burst * unitsPerPacket
		}
		rate := uint64(b.Rate)
		list[i] = band{rate: rate, size: size, tokens: size, fill: (size + rate - 1) / rate}
	}
	return list
}

// Pass takes the tokens for one packet of n bytes at the time now, in nanoseconds of any clock that does not go back,
// and reports whether the packet may pass. Threads may be a little apart in what they take for now.
func (m *Meter) Pass(now int64, n int) bool {
	m.acquire()
	elapsed := uint64(0)
	if !m.started {
		m.started, m.last = true, now
	}
	if now > m.last {
		elapsed = uint64(now - m.last)
		m.last = now
	}
	m.packets++
	m.bytes += uint64(n)
	need := uint64(unitsPerPacket)
	if !m.perPacket {
		need = uint64(n) * 8 * unitsPerBit
	}
	worst := -1
	for i := range m.bands {
		b := &m.bands[i]
		b.gain(elapsed)
		if b.tokens >= need {
			b.tokens -= need
		} else if worst < 0 || b.rate > m.bands[worst].rate {
			worst = i
		}
	}
	if worst >= 0 {
		m.bands[worst].packets++
		m.bands[worst].bytes += uint64(n)
	}
	m.lock.Store(0)
	return worst < 0
}

// gain adds the tokens of some nanoseconds.
func (b *band) gain(elapsed uint64) {
	if elapsed >= b.fill {
		b.tokens = b.size
		return
	}
	hi, sum := bits.Mul64(elapsed, b.rate)
	if hi != 0 || sum > b.size-b.tokens {
		b.tokens = b.size
		return
	}
	b.tokens += sum
}

func (m *Meter) acquire() {
	for spins := 0; !m.lock.CompareAndSwap(0, 1); spins++ {
		if spins == math.MaxUint16 {
			runtime.Gosched() // the holder was taken off its CPU, which only happens to threads that are not pinned
			spins = 0
		}
	}
}

// change gives m the bands of what it is to be from now on, full, and keeps its sums.
func (m *Meter) change(d *flow.Meter) {
	fresh := makeBands(d)
	m.acquire()
	m.bands, m.perPacket = fresh, d.Flags&flow.MeterPktps != 0
	m.lock.Store(0)
}

// counts returns what the meter did.
func (m *Meter) counts() (packets, bytes uint64, dropped []flow.BandStats) {
	m.acquire()
	defer m.lock.Store(0)
	dropped = make([]flow.BandStats, len(m.bands))
	for i := range m.bands {
		dropped[i] = flow.BandStats{Packets: m.bands[i].packets, Bytes: m.bands[i].bytes}
	}
	return m.packets, m.bytes, dropped
}
