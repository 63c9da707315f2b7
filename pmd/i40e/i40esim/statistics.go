package i40esim

import (
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/lan"
)

// direction is of a frame, seen from the driver.
type direction bool

const (
	received direction = false
	sent     direction = true
)

// letter is what the names of counters have for a direction: PRC64 and PTC64, GORC and GOTC.
func (d direction) letter() string {
	if d == sent {
		return "T"
	}
	return "R"
}

// port is the index of the PF's port in the port's counters.
func (c *card) port() uint32 { return uint32(c.cfg.Card.Port) }

// count adds to a counter of 32 bits, which rolls over.
func (c *card) count(name string, n uint32, index ...uint32) {
	c.set(name, c.get(name, index...)+n, index...)
}

// count48 adds to a counter of 48 bits in two registers.
func (c *card) count48(name string, n uint64, index ...uint32) {
	const mask = 1<<48 - 1
	v := uint64(c.get(name+"H", index...))<<32 | uint64(c.get(name+"L", index...))
	v = (v + n) & mask
	c.set(name+"L", uint32(v), index...)
	c.set(name+"H", uint32(v>>32), index...)
}

// sizeClasses are the port's counters by length with frame check sequence.
var sizeClasses = []struct {
	max  int
	name string
}{{64, "64"}, {127, "127"}, {255, "255"}, {511, "511"}, {1023, "1023"}, {1522, "1522"}, {1 << 30, "9522"}}

// countPort counts a frame of the port, given without frame check sequence.
func (c *card) countPort(b []byte, d direction) {
	n, l, port := len(b)+lan.CRCLen, d.letter(), c.port()
	c.count48("GLPRT_GO"+l+"C", uint64(n), port)
	for _, s := range sizeClasses {
		if n <= s.max {
			c.count48("GLPRT_P"+l+"C"+s.name, 1, port)
			break
		}
	}
	if len(b) < 6 {
		return
	}
	c.count48("GLPRT_"+castLetter(castOf(b))+"P"+l+"C", 1, port)
}

// countVSI counts a frame of a VSI, and of the VEB that it hangs below.
func (c *card) countVSI(v *adminq.VSI, p *parsed, d direction) {
	n, l, index := uint64(len(p.b)+lan.CRCLen), d.letter(), uint32(v.StatIndex())
	cast := castLetter(p.cast)
	if index < c.row("GLV_GORCL").Count[0] {
		c.count48("GLV_GO"+l+"C", n, index)
		c.count48("GLV_"+cast+"P"+l+"C", 1, index)
	}
	veb := c.fw.Switch().VEBOf(v)
	if veb == nil || veb.NoStats || uint32(veb.StatIndex) >= c.row("GLSW_GORCL").Count[0] {
		return
	}
	index = uint32(veb.StatIndex)
	c.count48("GLSW_GO"+l+"C", n, index)
	c.count48("GLSW_"+cast+"P"+l+"C", 1, index)
	c.count48("GLVEBTC_"+l+"BC", n, 0, index)
	c.count48("GLVEBTC_"+l+"PC", 1, 0, index)
}

func castOf(b []byte) lan.Cast {
	switch {
	case b[0]&1 == 0:
		return lan.Unicast
	case [6]byte(b[:6]) == [6]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}:
		return lan.Broadcast
	}
	return lan.Multicast
}

func castLetter(c lan.Cast) string { return [...]string{"U", "M", "B", "U"}[c] }
