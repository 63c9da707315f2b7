package flowtable

import (
	"math/bits"
	"sync/atomic"

	"weft/flowtable/flow"
)

// Meter is a meter at work: a token bucket for each band. Tokens are counted in units of which a band gains rate each
// nanosecond: millionths of a bit with kbps, billionths of a packet with pktps. So nothing is rounded.
//
// A packet passes if every band has tokens for it. Bands that have them give them all the same; of those that have not,
// the one with the highest rate counts the packet as its drop (OpenFlow 1.3 §5.7.1, and as Open vSwitch does it).
//
// Concurrency: PMD threads pass packets, under a spin lock that is held for some nanoseconds, since they must not sleep.
// Whoever changes or reads a meter does so without the lock: a goroutine that the scheduler stopped while it had that
// would hold up all of them.
type Meter struct {
	lock atomic.Uint32
	_    [lineSize - 4]byte

	rates atomic.Pointer[rates]

	// Written under lock.
	last           int64 // nanoseconds, of the last packet
	started        bool
	packets, bytes uint64
}

// rates are the bands of a meter, until it is changed.
type rates struct {
	bands     []band
	perPacket bool // pktps
}

type band struct {
	rate uint64 // units a nanosecond
	size uint64 // units
	fill uint64 // nanoseconds from empty to full

	// Written under the meter's lock.
	tokens         uint64 // units, never more than size
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
	t := new(Meter)
	t.rates.Store(makeRates(m))
	return t
}

func makeRates(m *flow.Meter) *rates {
	r := &rates{bands: make([]band, len(m.Bands)), perPacket: m.Flags&flow.MeterPktps != 0}
	for i, b := range m.Bands {
		burst := uint64(b.Burst)
		if m.Flags&flow.MeterBurst == 0 {
			burst = uint64(b.Rate) // a second's worth
		}
		size := burst * bitsPerKilobit * unitsPerBit
		if r.perPacket {
			size = burst * unitsPerPacket
		}
		rate := uint64(b.Rate)
		r.bands[i] = band{rate: rate, size: size, tokens: size, fill: (size + rate - 1) / rate}
	}
	return r
}

// Pass takes the tokens for one packet of n bytes at the time now, in nanoseconds of any clock that does not go back,
// and reports whether the packet may pass. Threads may be a little apart in what they take for now.
//
// Should the lock not be had within maxSpins, because the system stopped the thread that has it, the packet passes
// uncounted: packets of every other meter wait behind it.
func (m *Meter) Pass(now int64, n int) bool {
	if !m.acquire() {
		return true
	}
	r := m.rates.Load()
	elapsed := uint64(0)
	if !m.started {
		m.started, m.last = true, now
	}
	if now > m.last {
		elapsed = uint64(now - m.last)
		m.last = now
	}
	store(&m.packets, m.packets+1)
	store(&m.bytes, m.bytes+uint64(n))
	need := uint64(unitsPerPacket)
	if !r.perPacket {
		need = uint64(n) * 8 * unitsPerBit
	}
	worst := -1
	for i := range r.bands {
		b := &r.bands[i]
		b.gain(elapsed)
		if b.tokens >= need {
			b.tokens -= need
		} else if worst < 0 || b.rate > r.bands[worst].rate {
			worst = i
		}
	}
	if worst >= 0 {
		b := &r.bands[worst]
		store(&b.packets, b.packets+1)
		store(&b.bytes, b.bytes+uint64(n))
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

// maxSpins is some hundred milliseconds: longer than the kernel keeps a thread off its CPU that shares it with another.
const maxSpins = 1 << 27

// acquire takes the lock, if that can be had.
func (m *Meter) acquire() bool {
	for range maxSpins {
		if m.lock.Load() == 0 && m.lock.CompareAndSwap(0, 1) {
			return true
		}
	}
	return false
}

// change gives m the bands of what it is to be from now on, full, and keeps its sums.
func (m *Meter) change(d *flow.Meter) { m.rates.Store(makeRates(d)) }

// counts returns what the meter did.
func (m *Meter) counts() (packets, bytes uint64, dropped []flow.BandStats) {
	bands := m.rates.Load().bands
	dropped = make([]flow.BandStats, len(bands))
	for i := range bands {
		b := &bands[i]
		dropped[i] = flow.BandStats{Packets: atomic.LoadUint64(&b.packets), Bytes: atomic.LoadUint64(&b.bytes)}
	}
	return atomic.LoadUint64(&m.packets), atomic.LoadUint64(&m.bytes), dropped
}
