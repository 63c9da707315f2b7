package flowdiff

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"weft/internal/packet"
)

// knownDifference is a difference that was looked into and is meant to stay, as narrowly as it can be told.
type knownDifference struct {
	name, reason string
	applies      func(h *Harness, d *Difference) bool
}

// knownDifferences is the table of them. A run prints how often each was met.
func knownDifferences() []knownDifference {
	return append(labelDifferences(), []knownDifference{
		{
			"drop-eligible bit",
			"Weft keeps a tag's drop-eligible bit (IEEE 802.1Q-2018 §9.6) when it changes VLAN id or priority; " +
				"Open vSwitch uses the bit's place for itself and clears it whenever it writes a tag",
			func(_ *Harness, d *Difference) bool { return d.equalAfter(withoutDEI) },
		},
		{
			"third tag",
			"a push on two tags gives three; Open vSwitch, which knows two at most (vlan-limit), loses the innermost",
			func(_ *Harness, d *Difference) bool { return d.threeTags() && d.equalAfter(withoutTags) },
		},
		{
			"checksum in a later fragment",
			"Open vSwitch takes the content of a later IPv4 fragment for a transport header, whose checksum it changes " +
				"with the addresses; Weft leaves the content as it is",
			func(_ *Harness, d *Difference) bool {
				s := d.last()
				if s == nil {
					return false
				}
				_, later := laterFragment(s.Frame)
				return later && d.equalAfter(withoutSum)
			},
		},
		{
			"rewritten RARP",
			"Open vSwitch takes set_field on a field of RARP and does not write it; Weft does",
			func(_ *Harness, d *Difference) bool { return d.equalAfter(withoutARP(etRARP, true)) },
		},
		{
			"rewritten stump of ARP",
			"Open vSwitch writes the fields of an ARP packet that is cut off, behind its end too, or is of other addresses than " +
				"those of Ethernet and IPv4; Weft leaves it alone",
			func(_ *Harness, d *Difference) bool { return d.equalAfter(withoutARP(etARP, false)) },
		},
		{
			"several at once",
			"two or more of the differences above, in one frame",
			func(_ *Harness, d *Difference) bool {
				return d.equalAfter(func(f []byte) []byte {
					return withoutSum(withoutARP(etRARP, true)(withoutARP(etARP, false)(withoutDEI(f))))
				})
			},
		},
		{
			"headers longer than a window",
			"rules look at what extension headers push out of the first bytes; Weft drops what it cannot classify",
			func(h *Harness, d *Difference) bool { return h.headerTooLong(d) },
		},
	}...)
}

// labelDifferences are those of MPLS.
func labelDifferences() []knownDifference {
	return []knownDifference{
		{
			"MPLS entry of zero",
			"Open vSwitch does not tell a label stack entry whose 32 bits are zero from none, and removes it when a rule " +
				"writes or pushes one; Weft keeps it",
			func(_ *Harness, d *Difference) bool { return d.someFrame(zeroEntry) && d.equalAfter(withoutLabels) },
		},
		{
			"MPLS in IEEE 802.3",
			"Open vSwitch writes labels where it thinks that the network header of such a frame begins, behind SNAP; Weft " +
				"pushes them behind addresses and tags, and leaves a stack behind SNAP alone",
			func(_ *Harness, d *Difference) bool { return d.labelsWithoutEtherType() },
		},
		{
			"label over another version of IP",
			"pop_mpls says that IPv4 lies under the label where IPv6 or something else does, or the other way round: Open " +
				"vSwitch reads the wrong header's bytes as what it says, Weft reads nothing",
			func(_ *Harness, d *Difference) bool {
				if d.Counted != "" { // by other rules, since they saw something else; it is not known at which packet
					return slices.ContainsFunc(d.Case.Steps, func(s Step) bool { return d.wrongVersion(s.Frame) })
				}
				s := d.last()
				return s != nil && d.wrongVersion(s.Frame)
			},
		},
		{
			"labels behind three tags",
			"Open vSwitch, which knows two tags at most, pushes labels behind the second; Weft behind all",
			func(_ *Harness, d *Difference) bool { return d.threeTags() && d.someFrame(hasLabels) },
		},
		{
			"EtherType after a pop",
			"after the labels were popped that the rules pushed, and after the last was popped to an EtherType of MPLS, Open " +
				"vSwitch sends the EtherType that was there before; Weft what pop_mpls says",
			func(_ *Harness, d *Difference) bool { return d.has("pop_mpls") && d.equalAfter(withoutType) },
		},
		{
			"pop above other labels",
			"pop_mpls to an EtherType that is not of MPLS, of a label that is not the last: Open vSwitch pops all of them, Weft one",
			func(_ *Harness, d *Difference) bool { return d.popsAboveOthers() },
		},
		{
			"label behind the last",
			"after the last label was popped to an EtherType of MPLS, Open vSwitch writes a new label for an action on one; Weft " +
				"takes what lies there for the label, as the EtherType says, and leaves a frame alone that ends there",
			func(_ *Harness, d *Difference) bool { return d.popsLastToMPLS() },
		},
	}
}

// equalAfter reports whether the two outputs are equal when f was applied to every frame of both.
func (d *Difference) equalAfter(f func([]byte) []byte) bool {
	if d.Step < 0 || d.Counted != "" {
		return false
	}
	var a, b Output
	for i := range a {
		for _, x := range d.Left[i] {
			a[i] = append(a[i], f(x))
		}
		for _, x := range d.Right[i] {
			b[i] = append(b[i], f(x))
		}
	}
	return a.equal(&b)
}

// last is the packet at which the two part, nil if there is none.
func (d *Difference) last() *Step {
	if d.Step < 0 || d.Counted != "" {
		return nil
	}
	return &d.Case.Steps[d.Step]
}

// headerTooLong reports whether Weft drops the packet at which the two part since it cannot classify it, or, where only
// the counts differ, any packet of the case.
func (h *Harness) headerTooLong(d *Difference) bool {
	if d.Step < 0 {
		return false
	}
	steps := d.Case.Steps[d.Step : d.Step+1]
	if d.Counted != "" {
		steps = d.Case.Steps
	}
	return slices.ContainsFunc(steps, func(s Step) bool {
		return s.Change == "" && h.weft.droppedFor(s.Port, s.Frame, packet.DropHeaderTooLong)
	})
}

// tagsOf is how many VLAN tags a frame begins with.
func tagsOf(f []byte) int {
	n := 0
	for at := 12; at+4 <= len(f); at += 4 {
		if t := binary.BigEndian.Uint16(f[at:]); t != etVLAN && t != etQinQ {
			break
		}
		n++
	}
	return n
}

func withoutDEI(f []byte) []byte {
	f = slices.Clone(f)
	for i := range tagsOf(f) {
		f[14+4*i] &^= 0x10
	}
	return f
}

// laterFragment reports whether a frame with tags, and perhaps labels behind them, is a later fragment of IPv4, and where
// its IP header begins.
func laterFragment(f []byte) (at int, later bool) {
	at = 14 + 4*tagsOf(f)
	if _, to := labelsOf(f); to > 0 {
		at = to
	} else if len(f) < at || binary.BigEndian.Uint16(f[at-2:]) != etIPv4 {
		return 0, false
	}
	return at, len(f) >= at+20 && f[at]>>4 == 4 && binary.BigEndian.Uint16(f[at+6:])&0x1fff != 0
}

// withoutSum zeroes the place of a transport checksum in a later fragment.
func withoutSum(f []byte) []byte {
	at, later := laterFragment(f)
	if !later {
		return f
	}
	f = slices.Clone(f)
	sum := map[byte]int{protoTCP: 16, protoUDP: 6}[f[at+9]]
	if sum += at + int(f[at]&15)*4; sum+2 <= len(f) {
		f[sum], f[sum+1] = 0, 0
	}
	return f
}

// withoutARP zeroes what rules can set in a frame of ARP or RARP that is a whole one of Ethernet and IPv4, or that is not.
func withoutARP(etherType uint16, whole bool) func([]byte) []byte {
	const header, operation = 28, 6 // RFC 826
	kind := []byte{0, 1, 8, 0, 6, 4}
	return func(f []byte) []byte {
		at := 14 + 4*tagsOf(f)
		if len(f) >= at+8 && hasLength(f) && bytes.Equal(f[at:at+6], []byte{0xaa, 0xaa, 3, 0, 0, 0}) {
			at += 8 // LLC and SNAP
		}
		if len(f) < at || binary.BigEndian.Uint16(f[at-2:]) != etherType ||
			(len(f) >= at+header && bytes.HasPrefix(f[at:], kind)) != whole {
			return f
		}
		f = slices.Clone(f)
		clear(f[min(len(f), at+operation):min(len(f), at+header)])
		return f
	}
}

// labelsOf is where a frame's label stack begins and ends; both are 0 if it has none.
func labelsOf(f []byte) (from, to int) {
	at := 12 + 4*tagsOf(f)
	if len(f) < at+2 {
		return 0, 0
	}
	if t := binary.BigEndian.Uint16(f[at:]); t != etMPLS && t != etMPLSM {
		return 0, 0
	}
	from = at + 2
	for to = from; to+4 <= len(f); {
		to += 4
		if f[to-2]&1 != 0 {
			break
		}
	}
	return from, to
}

// zeroEntry reports whether an entry of a frame's label stack is zero.
func zeroEntry(f []byte) bool {
	from, to := labelsOf(f)
	for ; from < to; from += 4 {
		if binary.BigEndian.Uint32(f[from:]) == 0 {
			return true
		}
	}
	return false
}

// withoutLabels removes the EtherType and the label stack behind it.
func withoutLabels(f []byte) []byte {
	from, to := labelsOf(f)
	if from == 0 {
		at := 12 + 4*tagsOf(f)
		return slices.Delete(slices.Clone(f), at, min(at+2, len(f)))
	}
	return slices.Delete(slices.Clone(f), from-2, to)
}

// snapMPLS reports whether a frame has LLC and SNAP in front of a label stack.
func snapMPLS(f []byte) bool {
	at := 12 + 4*tagsOf(f)
	if len(f) < at+10 || binary.BigEndian.Uint16(f[at:]) >= 0x600 {
		return false
	}
	t := binary.BigEndian.Uint16(f[at+8:])
	return t == etMPLS || t == etMPLSM
}

// hasLength reports whether a frame has a length where others have an EtherType.
func hasLength(f []byte) bool {
	at := 12 + 4*tagsOf(f)
	return len(f) < at+2 || binary.BigEndian.Uint16(f[at:]) < 0x600
}

// labelsWithoutEtherType reports whether labels stand, or come to stand, in a frame of IEEE 802.3.
func (d *Difference) labelsWithoutEtherType() bool {
	s := d.last()
	return s != nil && (snapMPLS(s.Frame) || hasLength(s.Frame) && (d.someFrame(hasLabels) || d.someFrame(snapMPLS)))
}

// hasLabels reports whether labels follow a frame's tags.
func hasLabels(f []byte) bool {
	at := 12 + 4*tagsOf(f)
	if len(f) < at+2 {
		return false
	}
	t := binary.BigEndian.Uint16(f[at:])
	return t == etMPLS || t == etMPLSM
}

// popsLastToMPLS reports whether rules may pop all the labels of the packet at hand, to an EtherType of MPLS.
func (d *Difference) popsLastToMPLS() bool {
	s := d.last()
	if s == nil || !d.has("pop_mpls:0x884") {
		return false
	}
	from, to := labelsOf(s.Frame)
	return from > 0 && (to-from)/4 <= d.count("pop_mpls")
}

// popsAboveOthers reports whether the packet at hand can have two labels when rules pop one of them to an EtherType that
// is not of MPLS.
func (d *Difference) popsAboveOthers() bool {
	s := d.last()
	if s == nil || d.count("pop_mpls:") == d.count("pop_mpls:0x884") {
		return false
	}
	from, to := labelsOf(s.Frame)
	return (to-from)/4+d.count("push_mpls") > 1
}

// wrongVersion reports whether a rule pops labels off a frame to a version of IP that does not lie under them.
func (d *Difference) wrongVersion(f []byte) bool {
	at := 14 + 4*tagsOf(f)
	switch {
	case hasLabels(f):
		for at+4 <= len(f) && f[at+2]&1 == 0 {
			at += 4
		}
		at += 4
	case !d.has("push_mpls"):
		return false
	}
	version := byte(0)
	if at < len(f) {
		version = f[at] >> 4
	}
	return version != 4 && (d.has("pop_mpls:0x0800") || d.has("pop_mpls:0x800")) || version != 6 && d.has("pop_mpls:0x86dd")
}

// has reports whether a rule or a group has an action.
func (d *Difference) has(action string) bool { return d.count(action) > 0 }

// count is how often a text is in the rules and groups.
func (d *Difference) count(text string) (n int) {
	for _, l := range slices.Concat(d.Case.Rules, d.Case.Groups) {
		n += strings.Count(l, text)
	}
	return n
}

// withoutType zeroes the EtherType behind the tags.
func withoutType(f []byte) []byte {
	f = slices.Clone(f)
	if at := 12 + 4*tagsOf(f); at+2 <= len(f) {
		f[at], f[at+1] = 0, 0
	}
	return f
}

// someFrame reports whether f is true of the packet that arrives or of one that leaves.
func (d *Difference) someFrame(f func([]byte) bool) bool {
	s := d.last()
	if s == nil {
		return false
	}
	return f(s.Frame) || slices.ContainsFunc(slices.Concat(slices.Concat(d.Left[:]...), slices.Concat(d.Right[:]...)), f)
}

// withoutTags removes all tags.
func withoutTags(f []byte) []byte { return slices.Delete(slices.Clone(f), 12, 12+4*tagsOf(f)) }

// pushes are actions that make one tag more, perhaps.
var pushes = regexp.MustCompile(`push_vlan|mod_vlan`)

// again are actions that may lead to a rule once more.
var again = regexp.MustCompile(`resubmit|group:`)

// threeTags reports whether the packet at hand may get a third tag, by the rules that there are.
func (d *Difference) threeTags() bool {
	if d.Step < 0 {
		return false
	}
	tags, pushed, times := tagsOf(d.Case.Steps[d.Step].Frame), 0, 1
	for _, l := range slices.Concat(d.Case.Rules, d.Case.Groups) {
		pushed += len(pushes.FindAllString(l, -1))
		times += len(again.FindAllString(l, -1))
	}
	return tags+pushed*times > 2
}

// classify names a difference if it is a known one.
func (h *Harness) classify(d *Difference) {
	if d.Step < 0 {
		d.knownAs = h.knownRefusal(d)
		return
	}
	for _, k := range knownDifferences() {
		if k.applies(h, d) {
			d.knownAs = k.name
			return
		}
	}
}

// Known lists the known differences that were met, with counts and reasons.
func (h *Harness) Known() string {
	var lines []string
	for _, k := range knownDifferences() {
		if n := h.known[k.name]; n > 0 {
			lines = append(lines, fmt.Sprintf("%6d x %s: %s", n, k.name, k.reason))
		}
	}
	for _, k := range knownRefusals() {
		if n := h.known[k.name()]; n > 0 {
			lines = append(lines, fmt.Sprintf("%6d x %s: %s", n, k.name(), k.reason))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
