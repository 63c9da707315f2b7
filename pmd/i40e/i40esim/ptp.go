package i40esim

import (
	"math/bits"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/frame"
	"weft/pmd/i40e/i40esim/lan"
)

// Fields of the time-stamping registers.
const (
	tsyncEnable      = 1 << 31 // PRTTSYN_CTL1.TSYNENA
	tsyncTxInterrupt = 1 << 1  // PRTTSYN_CTL0.TXTIME_INT_ENA
	tsyncTxStamp     = 1 << 4  // PRTTSYN_STAT_0.TXTIME
	tsyncAdjustSign  = 1 << 31
	rxStamps         = 4
)

// hardwareClock is the port's clock: each cycle of the MAC adds an increment in units of 2^-32 ns.
type hardwareClock struct {
	at    time.Time // when it stood at value
	value uint64    // ns
	inc   uint64    // PRTTSYN_INC
	low   uint32    // written, and valid with the high half
	latch uint32    // high half of the value whose low half was read
}

func (h *hardwareClock) start(now time.Time) { *h = hardwareClock{at: now} }

// cyclesPerMicrosecond is 16 times the frequency of the MAC in MHz: 312.5 at 10 Gbit/s.
func cyclesPerMicrosecond(s adminq.Speed) uint64 {
	switch s {
	case adminq.Speed1G:
		return 500
	case adminq.Speed40G, adminq.Speed25G, adminq.Speed20G:
		return 10000
	}
	return 5000
}

// now is the clock's value.
func (h *hardwareClock) now(c *card) uint64 {
	elapsed := uint64(max(0, c.clk.Now().Sub(h.at)))
	cycles := elapsed * cyclesPerMicrosecond(c.cfg.Card.Speed) / 16000
	hi, lo := bits.Mul64(cycles, h.inc)
	return h.value + (hi<<32 | lo>>32)
}

// set makes the clock stand at v now.
func (h *hardwareClock) set(c *card, v uint64) { h.at, h.value = c.clk.Now(), v }

func (h *hardwareClock) readLow(c *card) uint32 {
	v := h.now(c)
	h.latch = uint32(v >> 32)
	return uint32(v)
}

// setIncrement takes a new increment from then on.
func (h *hardwareClock) setIncrement(c *card, inc uint64) {
	h.set(c, h.now(c))
	h.inc = inc
}

func (h *hardwareClock) adjust(c *card, v uint32) {
	n := uint64(v &^ tsyncAdjustSign)
	if v&tsyncAdjustSign != 0 {
		n = -n
	}
	h.set(c, h.now(c)+n)
}

// received latches the time of a PTP frame in a free register.
func (h *hardwareClock) received(c *card, p *parsed, meta *lan.RxMeta) {
	if c.get("PRTTSYN_CTL1")&tsyncEnable == 0 || !p.layers.PTP && p.layers.L2.EtherType != frame.EtherTypeTimesync {
		return
	}
	held := c.get("PRTTSYN_STAT_1")
	for i := range uint32(rxStamps) {
		if held>>i&1 == 0 {
			v := h.now(c)
			c.set("PRTTSYN_RXTIME_L", uint32(v), i)
			c.set("PRTTSYN_RXTIME_H", uint32(v>>32), i)
			c.set("PRTTSYN_STAT_1", held|1<<i)
			meta.TimesyncValid, meta.TimesyncIndex = true, uint8(i)
			return
		}
	}
}

// sent latches the time of a frame whose descriptor asked for it.
func (h *hardwareClock) sent(c *card) {
	v := h.now(c)
	c.set("PRTTSYN_TXTIME_L", uint32(v))
	c.set("PRTTSYN_TXTIME_H", uint32(v>>32))
	c.set("PRTTSYN_STAT_0", c.get("PRTTSYN_STAT_0")|tsyncTxStamp)
	if c.get("PRTTSYN_CTL0")&tsyncTxInterrupt != 0 {
		c.pf.raiseOther(icr0TimeSync)
	}
}
