package ofctl

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

// extracted prints a key as ovs-ofctl prints a flow, in full.
func extracted(f flowtest.Frame) string {
	var k flow.Key
	flow.Extract(f[:min(len(f), packet.WindowSize)], len(f), 0, flow.DepthND, &k)
	return describe(&k)
}

// describe prints what a key says in the words that flowWords leaves of ovs-ofctl's.
func describe(k *flow.Key) string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	ethType := k[flow.WordPort] >> flow.ShiftEthType & 0xffff
	proto := k[flow.WordL4] >> flow.ShiftProto
	add("type=%#x", ethType)
	add("tag=%#x,%#x", k.OuterTag(), k.InnerTag())
	add("src=%s", FormatMAC(k[flow.WordSrc]>>flow.ShiftEth))
	add("dst=%s", FormatMAC(k[flow.WordDst]>>flow.ShiftEth))
	switch ethType {
	case flow.EthIPv4, flow.EthARP, flow.EthRARP:
		add("net=%s,%s", FormatIPv4(k[flow.WordIPv4]>>flow.ShiftIPSrc), FormatIPv4(k[flow.WordIPv4]&0xffffffff))
	case flow.EthIPv6:
		add("net=%s,%s", ipv6Text(k[flow.WordIPv6S], k[flow.WordIPv6S+1]), ipv6Text(k[flow.WordIPv6D], k[flow.WordIPv6D+1]))
	}
	switch ethType {
	case flow.EthARP, flow.EthRARP:
		add("op=%d sha=%s tha=%s", proto, FormatMAC(k[flow.WordSHA]>>flow.ShiftEth), FormatMAC(k[flow.WordTHA]>>flow.ShiftEth))
	case flow.EthMPLS, flow.EthMPLSMC:
		lse := k[flow.WordMPLS] >> flow.ShiftLSE
		add("lse=%d,%d,%d,%d", lse>>12, lse>>9&7, lse&0xff, lse>>8&1)
		add("more=%#x,%#x", k[flow.WordMPLS]&0xffffffff, k[flow.WordLabel]>>flow.ShiftLSE)
	case flow.EthIPv4, flow.EthIPv6:
		add("proto=%d tos=%d ttl=%d", proto, k[flow.WordL4]>>flow.ShiftTOS&0xff, k[flow.WordL4]>>flow.ShiftTTL&0xff)
		add("label=%#x nd=%s", k[flow.WordLabel]&0xfffff, ipv6Text(k[flow.WordND], k[flow.WordND+1]))
		add("sll=%s tll=%s", FormatMAC(k[flow.WordSHA]>>flow.ShiftEth), FormatMAC(k[flow.WordTHA]>>flow.ShiftEth))
		add("frag=%s", []string{"no", "first", "", "later"}[k[flow.WordL4]>>flow.ShiftFrag&3])
		add("ports=%d,%d flags=%#x", k[flow.WordL4]>>flow.ShiftTPSrc&0xffff, k[flow.WordL4]&0xffff, k[flow.WordSrc]&0xffff)
	}
	return strings.Join(s, " ")
}

// flowWords turns a flow as ovs-ofctl prints it into describe's words.
func flowWords(t *testing.T, line string) string {
	t.Helper()
	v := map[string]string{}
	words := strings.Split(strings.TrimSpace(line), ",")
	for _, w := range words {
		name, val, _ := strings.Cut(w, "=")
		v[name] = val
	}
	num := func(name string) (n int) {
		if s, ok := v[name]; ok {
			if _, err := fmt.Sscan(s, &n); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		return n
	}
	or := func(names ...string) string {
		for _, n := range names {
			if s, ok := v[n]; ok {
				return s
			}
		}
		return ""
	}
	ethType, proto := 0, -1
	for _, s := range append(flow.Shorthands, flow.Shorthand{Name: "igmp", EthType: flow.EthIPv4, Proto: flow.ProtoIGMP}) {
		if _, ok := v[s.Name]; ok && ethType == 0 {
			ethType, proto = int(s.EthType), int(s.Proto)
		}
	}
	if ethType == 0 {
		ethType = num("dl_type")
	}
	if proto < 0 {
		proto = num("nw_proto")
	}
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	add("type=%#x", ethType)
	tag := func(i string) int {
		if _, ok := v["dl_vlan"+i]; ok {
			return num("dl_vlan"+i) | flow.VLANPresent | num("dl_vlan_pcp"+i)<<flow.VLANPCPLow
		}
		return num("vlan_tci" + i)
	}
	add("tag=%#x,%#x", tag(""), tag("1"))
	add("src=%s", v["dl_src"])
	add("dst=%s", v["dl_dst"])
	switch ethType {
	case flow.EthIPv4, flow.EthIPv6, flow.EthARP, flow.EthRARP:
		add("net=%s,%s", plainIPv6(or("nw_src", "ipv6_src", "arp_spa")), plainIPv6(or("nw_dst", "ipv6_dst", "arp_tpa")))
	}
	switch ethType {
	case flow.EthARP, flow.EthRARP:
		add("op=%d sha=%s tha=%s", num("arp_op"), v["arp_sha"], v["arp_tha"])
	case flow.EthMPLS, flow.EthMPLSMC:
		add("lse=%d,%d,%d,%d", num("mpls_label"), num("mpls_tc"), num("mpls_ttl"), num("mpls_bos"))
		add("more=%#x,%#x", num("mpls_lse1"), num("mpls_lse2"))
	case flow.EthIPv4, flow.EthIPv6:
		add("proto=%d tos=%d ttl=%d", proto, num("nw_tos")|num("nw_ecn"), num("nw_ttl"))
		or0 := func(name, zero string) string {
			if s, ok := v[name]; ok {
				return s
			}
			return zero
		}
		add("label=%#x nd=%s", num("ipv6_label"), plainIPv6(or0("nd_target", "::")))
		add("sll=%s tll=%s", or0("nd_sll", "00:00:00:00:00:00"), or0("nd_tll", "00:00:00:00:00:00"))
		add("frag=%s", v["nw_frag"])
		number := func(names ...string) string {
			if s := or(names...); s != "" {
				return s
			}
			return "0"
		}
		flags := uint64(0)
		if s := number("tcp_flags"); s != "0" {
			var err *SyntaxError
			if flags, _, err = parseTCPFlags(text{s, 1}); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		add("ports=%s,%s flags=%#x", number("tp_src", "icmp_type", "igmp_type"), number("tp_dst", "icmp_code", "igmp_code"), flags)
	}
	return strings.Join(s, " ")
}

// plainIPv6 writes an IPv6 address as this package does; others as they are. ovs-ofctl writes some with dots.
func plainIPv6(s string) string {
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		b := a.As16()
		return ipv6Text(binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]))
	}
	return s
}

// pcap writes frames in the classic capture format.
func pcap(t *testing.T, frames []flowtest.Frame) string {
	t.Helper()
	le := binary.LittleEndian
	var b []byte
	for _, v := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 65535, 1} {
		b = le.AppendUint32(b, v)
	}
	for _, f := range frames {
		for _, v := range []uint32{0, 0, uint32(len(f)), uint32(len(f))} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, f...)
	}
	name := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFramesReadAsOpenVSwitchReadsThem(t *testing.T) {
	needOfctl(t)
	frames := flowtest.SampleFrames()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for samples := frames; len(frames) < 4000; {
		frames = append(frames, flowtest.Mutate(r, samples[r.IntN(len(samples))]))
	}
	out, err := exec.Command("ovs-ofctl", "parse-pcap", pcap(t, frames)).Output()
	if err != nil {
		t.Fatalf("ovs-ofctl parse-pcap: %v", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	bad := 0
	for i, f := range frames {
		if !lines.Scan() {
			t.Fatalf("ovs-ofctl printed %d flows for %d frames", i, len(frames))
		}
		got, want := extracted(f), flowWords(t, lines.Text())
		if got != want && bad < 10 {
			bad++
			t.Errorf("frame %d (seed %d) %x\n weft         %s\n Open vSwitch %s\n raw %s", i, seed, []byte(f), got, want, lines.Text())
		}
	}
}

func ipv6Text(hi, lo uint64) string { return string(appendIPv6(nil, hi, lo)) }
