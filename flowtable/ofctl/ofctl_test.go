package ofctl

import (
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weft/flowtable/flow"
)

// The texts below go through ParseRule and through ovs-ofctl, and what comes out must be the same.

// agreed are accepted by both.
var agreed = []string{
	"in_port=1,actions=2",
	"in_port=LOCAL,actions=drop",
	"in_port:3,actions=output:2",
	"in_port=65534,actions=2",
	"table=1,priority=10,ip,nw_dst=10.0.0.0/8 actions=output:2,3",
	"table=253,actions=drop",
	"priority=0,actions=normal",
	"priority=65535,actions=NORMAL",
	"priority=0x10,actions=2",
	"actions=",
	"actions=,",
	"action=drop",
	"actions=DROP",
	"cookie=0x12,actions=drop",
	"cookie=18446744073709551615,actions=drop",
	"idle_timeout=10,hard_timeout=20,ip,actions=1",
	"send_flow_rem,check_overlap,actions=1",
	"importance=3,actions=1",
	"duration=1.5s,n_packets=5,n_bytes=5,idle_age=2,hard_age=3,actions=1",
	" cookie=0x5, duration=0.195s, table=3, n_packets=0, n_bytes=0, idle_timeout=10, idle_age=0, priority=3,ip actions=LOCAL",
	"ip nw_dst=10.0.0.1/255.0.255.0 cookie=0x12 actions=drop",
	"ip,nw_src=10.1.2.3/8,actions=1",
	"ip,nw_src=10.0.0.0/0,actions=1",
	"ip,nw_src=*,actions=1",
	"ip,nw_dst=10.0.0.0/255.0.255.1,actions=1",
	"ip,ip_src=192.0.2.1,ip_dst=192.0.2.2,actions=1",
	"ipv4,actions=1",
	"eth,actions=1",
	"tcp,tp_dst=0x50/0xfff0 actions=mod_vlan_vid:5,output:1",
	"tcp,tp_src=0x10/0xfff0,tcp_dst=5,actions=1",
	"tcp,tcp_flags=+syn-ack actions=flood",
	"tcp,tcp_flags=0x2/0x2 actions=flood",
	"tcp,tcp_flags=0x12,actions=1",
	"tcp,tcp_flags=0x012/0xfff,actions=1",
	"tcp,tcp_flags=+syn+ack-fin,actions=1",
	"tcp,tcp_flags=-syn,actions=1",
	"tcp,tcp_flags=syn|ack,actions=1",
	"tcp,tcp_flags=syn,actions=1",
	"tcp,tcp_flags=0x200,actions=1",
	"tcp,tcp_flags=0xfff/0xfff,actions=1",
	"tcp,tcp_flags=0,actions=1",
	"tcp,tcp_flags=+syn+[200],actions=1",
	"tcp6,tcp_flags=+syn,actions=1",
	"udp,udp_src=53,actions=1",
	"udp6,udp_dst=0x35,actions=1",
	"sctp,sctp_dst=5,actions=1",
	"sctp6,tp_src=5,actions=1",
	"dl_type=0x0800,nw_proto=6,tcp_dst=80,actions=1",
	"dl_type=2048,nw_proto=17,tp_dst=53,actions=1",
	"ip,eth_type=0x800,ip_proto=17,udp_src=5,actions=1",
	"ip,nw_proto=47,actions=1",
	"ip,nw_proto=2,actions=1",
	"ipv6,nw_proto=0,actions=1",
	"ip,nw_proto=1,icmp_type=8,actions=1",
	"icmp,icmp_type=3,icmp_code=4,actions=1",
	"icmp,tp_src=3,tp_dst=4,actions=1",
	"icmp6,icmp_type=3,icmpv6_code=4,actions=1",
	"icmp6,icmpv6_type=135,actions=1",
	"eth_type=0x86dd,ipv6_src=fe80::/10,nw_proto=58,icmp_type=135,actions=2",
	"ipv6,ipv6_dst=2001:db8::1/64,actions=1",
	"ipv6,ipv6_dst=2001:db8::1/ffff::ffff,actions=1",
	"ipv6,ipv6_src=::,actions=1",
	"ipv6,ipv6_src=::/0,actions=1",
	"ipv6,ipv6_src=::ffff:1.2.3.4,actions=1",
	"ip6,actions=1",
	"arp,arp_op=1,arp_spa=1.2.3.0/24,arp_sha=1:2:3:4:5:6,actions=in_port",
	"arp,arp_tpa=1.2.3.4,arp_tha=1:2:3:4:5:6,actions=1",
	"arp,arp_sha=1:2:3:4:5:6/ff:ff:ff:00:00:00,actions=1",
	"arp,nw_dst=10.0.0.1,nw_proto=2,actions=1",
	"rarp,arp_tha=1:2:3:4:5:6,actions=1",
	"rarp,actions=1",
	"mpls,actions=1",
	"mplsm,actions=1",
	"dl_type=0x9000,actions=1",
	"dl_type=0x05ff,actions=1",
	"ip,nw_tos=4,actions=1",
	"ip,nw_tos=255,actions=1",
	"ip,nw_tos=3,actions=1",
	"ip,ip_dscp=0x10,actions=1",
	"ip,nw_tos=252,nw_ecn=2,nw_ttl=64,ip_frag=later,actions=1",
	"ip,ip_dscp=63,ip_frag=not_later,actions=1",
	"ip,ip_ecn=1,actions=1",
	"ipv6,nw_ttl=1,nw_ecn=3,actions=1",
	"ip,nw_frag=yes,actions=1",
	"ip,nw_frag=first,actions=1",
	"ip,nw_frag=no,actions=1",
	"tcp,nw_frag=first,tp_dst=80,actions=1",
	"dl_vlan=5,actions=strip_vlan,1",
	"dl_vlan=0,actions=1",
	"dl_vlan=4095,actions=1",
	"dl_vlan=0xffff,actions=1",
	"dl_vlan_pcp=3,actions=all",
	"dl_vlan=7,dl_vlan_pcp=3,actions=all",
	"vlan_pcp=3,actions=1",
	"vlan_vid=0x1005/0x1fff,actions=local",
	"vlan_vid=0x1005,actions=local",
	"vlan_vid=0x1000/0x1000,actions=1",
	"vlan_vid=0/0x1000,actions=1",
	"vlan_tci=0x1000/0x1000,actions=pop_vlan,normal",
	"vlan_tci=0,actions=pop_vlan,normal",
	"vlan_tci=0x1005/0x1fff,actions=1",
	"vlan_tci=0xf005/0xffff,actions=1",
	"vlan_tci=0xf005,actions=1",
	"vlan_tci=0x1000/0x1fff,actions=1",
	"vlan_tci=0x7000/0xf000,actions=1",
	"vlan_tci=0x1003/0x1003,actions=1",
	"vlan_tci=0xf000/0xe000,actions=1",
	"dl_src=aa:bb:cc:dd:ee:ff/ff:ff:00:00:00:00,actions=1",
	"eth_src=01:00:00:00:00:00/01:00:00:00:00:00,eth_dst=ff:ff:ff:ff:ff:ff,actions=1",
	"dl_dst=1:2:3:4:5:6,actions=1",
	"dl_src=*,actions=1",
	"actions=resubmit(1,2),resubmit(,3),resubmit:4,resubmit(5)",
	"actions=resubmit(1,)",
	"actions=resubmit(in_port,2)",
	"actions=resubmit(LOCAL,2)",
	"actions=resubmit(,253)",
	"actions=NORMAL,FLOOD,all,in_port,LOCAL",
	"actions=output:NORMAL",
	"actions=output:in_port",
	"actions=output:LOCAL",
	"actions=output(1)",
	"actions=output=1",
	"actions=output:1 output:2",
	"actions= 1 , 2",
	"actions=1,,2",
	"actions=output:1,",
	"actions=99",
	"actions=mod_vlan_vid:0x5,1",
	"actions=mod_vlan_pcp:7,1",
	"actions=mod_dl_src:1:2:3:4:5:6,1",
	"actions=mod_dl_dst:aa:bb:cc:dd:ee:ff,1",
	"actions=pop_vlan,1",
	"actions=strip_vlan,1",
	"tcp , actions=1",
}

// agreedMasks are masks of fields that take none: all bits or no bit.
var agreedMasks = []string{
	"icmp,icmp_type=8/0xff,actions=1",
	"ip,nw_proto=6/0,actions=1",
	"ip,nw_proto=6/0xff,actions=1",
	"ip,ip_dscp=63/0xff,actions=1",
	"dl_vlan=5/0xffff,actions=1",
	"dl_vlan=5/0,actions=1",
	"ip,nw_ttl=5/255,actions=1",
	"mpls,mpls_label=5/0xffffffff,actions=1",
	"arp,arp_op=1/0xffff,actions=1",
	"dl_type=0x800/0xffff,actions=1",
	"dl_type=0x800/0,actions=1",
	"ip,nw_ecn=1/0xff,actions=1",
}

// agreedParts are conditions on registers, metadata, labels, neighbour discovery and parts of fields.
var agreedParts = []string{
	"in_port_oxm=1,actions=1",
	"NXM_NX_REG0[0..3]=1,actions=1",
	"reg0[0..3]=5,actions=1",
	"xreg0=0x100000002,actions=1",
	"xxreg0=5,actions=1",
	"xxreg0=0x1/0xff,actions=1",
	"xxreg1=0x00010000000000000002000000000003/0x00ff0000000000ff00000000000000ff,actions=1",
	"xxreg0=0xffffffffffffffffffffffffffffffff,actions=1",
	"xxreg0[0..63]=5,actions=1",
	"xreg3=0x5/0xff,actions=1",
	"xreg1[0..3]=5,actions=1",
	"reg0=1,reg1=2,reg15=0xffffffff,actions=1",
	"reg0=0,metadata=0,actions=1",
	"reg0[0..3]=1,reg0[4..7]=2,actions=1",
	"reg0[]=5,actions=1",
	"reg0=0/0,actions=1",
	"metadata=0x5/0xff,actions=1",
	"pkt_mark=0/0xff,actions=1",
	"tunnel_id=5/7,actions=1",
	"tun_id=0xffffffffffffffff,actions=1",
	"actset_output=LOCAL,actions=1",
	"reg1=1,reg0=2,metadata=3,tun_id=4,in_port=5,pkt_mark=3,actset_output=7,dl_vlan=3,tcp,tp_src=1,actions=1",
	"mpls,mpls_label=5,mpls_tc=1,mpls_bos=1,mpls_ttl=6,actions=1",
	"dl_type=0x8847,mpls_label=0xfffff,actions=1",
	"mplsm,mpls_bos=0,dl_src=00:00:00:00:00:01,actions=1",
	"icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=00:01:02:03:04:05,actions=1",
	"icmp6,icmpv6_type=136,icmpv6_code=0,nd_tll=00:01:02:03:04:05/ff:ff:ff:ff:ff:00,actions=1",
	"icmp6,icmp_type=135,nd_target=fe80::/10,actions=1",
	"icmp6,icmp_type=136,nd_target=::1/::1,nw_ttl=255,actions=1",
	"ipv6,ipv6_label=0x5,actions=1",
	"ipv6,ipv6_label=5/0xf,actions=1",
	"ipv6,ipv6_label=5,nw_tos=4,nw_ecn=1,nw_ttl=3,nw_proto=6,ipv6_dst=::1,actions=1",
	"ip,NXM_OF_IP_DST[0..7]=1,actions=1",
	"ip,NXM_OF_IP_DST[]=0x0a000001,actions=1",
	"ip,nw_dst[0..7]=3,actions=1",
	"ipv6,NXM_NX_IPV6_SRC[]=1,actions=1",
	"ipv6,NXM_NX_IPV6_SRC[0..63]=1,actions=1",
	"NXM_OF_VLAN_TCI[0..11]=5,actions=1",
	"vlan_tci[12]=1,actions=1",
	"OXM_OF_VLAN_VID[]=5,actions=1",
	"vlan_vid[0..3]=5,actions=1",
	"tcp,tcp_flags[1]=1,actions=1",
	"tcp,tp_src[0..3]=1,actions=1",
	"eth_src[40]=1,actions=1",
	"eth_type[]=0x800,actions=1",
	"icmp,icmp_type[]=3,actions=1",
	"arp,arp_op[]=1,actions=1",
	"in_port[]=1,actions=1",
	"NXM_OF_IN_PORT[]=65534,actions=1",
	"ip,nw_proto[]=17,actions=1",
}

// refusedParts are refused by both.
var refusedParts = []string{
	"ip,ip_dscp=63/0x3f,actions=1",
	"actions:output:1",
	"dl_vlan=5/0xfff,actions=1",
	"dl_vlan_pcp=5/7,actions=1",
	"ip,nw_tos=8/0xfc,actions=1",
	"mpls,mpls_label=5/0xfffff,actions=1",
	"in_port=1/0xffff,actions=1",
	"NXM_OF_IN_PORT=1,actions=1",
	"NXM_NX_REG0=1,actions=1",
	"nxm_nx_reg0[0..3]=1,actions=1",
	"NXM_NX_REG0[]=1/1,actions=1",
	"reg0[0..3]=0x10,actions=1",
	"reg0[3..0]=1,actions=1",
	"reg0[0..32]=1,actions=1",
	"reg0 [0..3]=1,actions=1",
	"reg0[0..3]=,actions=1",
	"reg0[0..3],actions=1",
	"reg0[0..3=5,actions=1",
	"reg0[a]=5,actions=1",
	"reg0[1.2]=5,actions=1",
	"reg16=1,actions=1",
	"foo[0]=1,actions=1",
	"reg0=-1,actions=1",
	"reg0=0x100000000,actions=1",
	"reg0=5/,actions=1",
	"metadata=0x10000000000000000,actions=1",
	"xxreg0=0x100000000000000000000000000000000,actions=1",
	"NXM_OF_IP_DST[]=10.0.0.1,ip,actions=1",
	"OXM_OF_VLAN_VID[]=0x1005,actions=1",
	"eth_type[0..3]=1,actions=1",
	"vlan_pcp[]=5,actions=1",
	"ip,nw_ttl[0..3]=1,actions=1",
	"in_port[0..3]=1,actions=1",
	"mpls,mpls_label=5/6,actions=1",
	"icmp,icmpv4_type=3,actions=1",
	"vlan_tci1=1,actions=1",
	"skb_priority=1,actions=1",
}

// differingParts are accepted by ovs-ofctl, which ignores or alters what was said.
var differingParts = []string{
	"mpls_label=3,actions=1",
	"ipv6_label=3,actions=1",
	"nd_target=fe80::1,icmp6,actions=1",
	"nd_sll=00:01:02:03:04:05,icmp6,icmp_type=136,actions=1",
	"arp,nd_target=::1,actions=1",
	"mpls,mpls_label=1048576,actions=1",
	"mpls,mpls_tc=8,actions=1",
	"xreg0=1,reg0=1,actions=1",
	"nw_dst[0..7]=3,actions=1",
	"ct_state=+trk,actions=1",
	"conj_id=3,actions=1",
	"tun_src=1.2.3.4,actions=1",
}

// refused are refused by both.
var refused = []string{
	"",
	"actions",
	"in_port=1",
	"foo=1,actions=2",
	"actions=bar",
	"actions=output:foo",
	"actions=foo(",
	"in_port=1,actions=drop,output:1",
	"actions=output:1,drop",
	"table=300,actions=1",
	"priority=70000,actions=1",
	"priority=,actions=1",
	"priority=x,actions=1",
	"idle_timeout=65536,actions=1",
	"idle_timeout=-1,actions=1",
	"cookie=18446744073709551616,actions=1",
	"cookie=0x1/0x2,actions=1",
	"out_port=3,actions=1",
	"in_port=65536,actions=1",
	"in_port=nope,actions=1",
	"in_port=1/3,actions=1",
	"in_port = 1 , actions = 2",
	"TCP,actions=1",
	"icmpv6,actions=1",
	"nd,actions=1",
	"igmp,actions=1",
	"ip,nw_proto=256,actions=1",
	"ip,nw_proto=6/7,actions=1",
	"ip,nw_ttl=256,actions=1",
	"ip,nw_ttl=6/7,actions=1",
	"ip,nw_tos=0x10/0xf0,actions=1",
	"nw_proto=tcp,ip,actions=1",
	"tcp,tp_src=65536,actions=1",
	"tcp,tcp_flags=0x1000,actions=1",
	"tcp,tcp_flags=+foo,actions=1",
	"tcp,tcp_flags=0x2/0x1fff,actions=1",
	"ip,ip_frag=firsty,actions=1",
	"ip,nw_dst=10.0.0.0/33,actions=1",
	"ip,nw_dst=www,actions=1",
	"ip,ipv4_src=1.2.3.5,actions=1",
	"ipv6,ipv6_src=::g,actions=1",
	"ipv6,ipv6_src=::/129,actions=1",
	"dl_type=0x10000,actions=1",
	"dl_type=0x800/0xff00,actions=1",
	"dl_type=ip,actions=1",
	"dl_src=01-02-03-04-05-06,actions=1",
	"dl_src=1:2:3:4:5:6/48,actions=1",
	"dl_dst=1:2:3:4:5,actions=1",
	"arp,arp_op=1/3,actions=1",
	"ip,nxm_of_ip_dst=1.2.3.4,actions=1",
	"actions=output:1 actions=output:2",
	"actions=resubmit(,)",
	"actions=resubmit()",
	"actions=resubmit(,255)",
	"table=3,actions=goto_table:3",
	"actions=goto_table:1,output:1",
	"actions=push_vlan:0x9100,1",
	"actions=push_vlan,1",
	"actions=mod_vlan_vid:4096,1",
	"actions=mod_vlan_pcp:8,1",
	"actions=mod_dl_dst:aa:bb:cc:dd:ee,1",
	"actions=set_dl_src:aa:bb:cc:dd:ee:ff,1",
	"actions=set_field:3->vlan_vid,1",
	"actions=set_field:3->vlan_pcp,1",
	"actions=set_field:8->vlan_pcp,1",
	"actions=set_field:3,1",
	"actions=set_field:->eth_src,1",
	"actions=output:-1",
	"actions=output:1x",
	"tcp,actions=resubmit(,1) idle_timeout=5",
}

// differing are accepted by ovs-ofctl, which ignores or alters what was said, and refused by ParseRule.
var differing = []string{
	"tp_dst=80,actions=1",
	"ip,tp_dst=80,actions=1",
	"tcp,icmp_type=3,actions=1",
	"tcp,udp_dst=80,actions=1",
	"nw_dst=10.0.0.1,actions=1",
	"ipv6,nw_dst=10.0.0.1,actions=1",
	"dl_vlan=5000,actions=1",
	"dl_vlan=5,dl_vlan=6,actions=1",
	"ip,arp,actions=1",
	"arp,arp_op=256,actions=1",
	"icmp,tp_src=256,actions=1",
	"ip,nw_ecn=4,actions=1",
	"ip,ip_dscp=64,actions=1",
	"ip,nw_dst=10.0.0.256,actions=1",
	"priority=5,priority=6,actions=2",
	"dl_vlan=0xffff,dl_vlan_pcp=3,actions=1",
	"vlan_vid=5,actions=1",
	"udp,tcp_flags=+syn,actions=1",
	"actions=resubmit(1",
	"actions=drop:1",
	"tcp=1,actions=1",
	"actions=controller",
}

var ofctlAdd = regexp.MustCompile(`(?m)^(?:OFPT|NXT)_FLOW_MOD.*: ADD (.*)$`)

// ofctl asks ovs-ofctl for its reading of a rule: the text it would print, or "" if it refuses.
func ofctl(t *testing.T, rule string) string {
	t.Helper()
	out, err := exec.Command("ovs-ofctl", "parse-flow", rule).CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("ovs-ofctl: %v", err)
		}
		return ""
	}
	m := ofctlAdd.FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("ovs-ofctl parse-flow %q printed %s", rule, out)
	}
	return m[1]
}

// sameText brings a rule as Format prints it into the form of ovs-ofctl parse-flow, which writes settings differently.
func sameText(r *flow.Rule) string {
	bare := *r
	bare.Cookie, bare.Table, bare.Flags, bare.IdleTimeout, bare.HardTimeout, bare.Importance = 0, 0, 0, 0, 0, 0
	return FormatRule(&bare, nil)
}

var ofctlSettings = regexp.MustCompile(`(table:\d+|cookie:\S+|idle:\d+|hard:\d+|send_flow_rem|check_overlap|importance:\d+) ?`)

func needOfctl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ovs-ofctl"); err != nil {
		t.Skip("SKIP: ovs-ofctl is not installed (Debian package openvswitch-common), so rules are not compared with its reading")
	}
}

func TestRulesReadAsOvsOfctlReadsThem(t *testing.T) {
	needOfctl(t)
	for _, s := range slices.Concat(agreed, agreedParts, agreedMasks) {
		r, err := ParseRule(s, nil)
		if err != nil {
			t.Errorf("%q: refused: %v", s, err)
			continue
		}
		want := ofctl(t, s)
		want = strings.TrimSpace(ofctlSettings.ReplaceAllString(want, ""))
		if got := sameText(r); got != want {
			t.Errorf("%q:\n weft      %q\n ovs-ofctl %q", s, got, want)
		}
	}
}

func TestRulesThatOvsOfctlRefusesAreRefused(t *testing.T) {
	needOfctl(t)
	for _, s := range slices.Concat(refused, refusedParts) {
		if got := ofctl(t, s); got != "" {
			t.Errorf("%q: ovs-ofctl accepts it as %q; move it to another list", s, got)
		}
	}
	for _, s := range slices.Concat(differing, differingParts) {
		if got := ofctl(t, s); got == "" {
			t.Errorf("%q: ovs-ofctl refuses it; move it to the list of refused rules", s)
		}
	}
}

func TestBadRulesAreRefusedWithAPlace(t *testing.T) {
	for _, list := range [][]string{refused, differing, refusedParts, differingParts} {
		for _, s := range list {
			r, err := ParseRule(s, nil)
			var se *SyntaxError
			if !errors.As(err, &se) {
				t.Errorf("%q: got rule %v, error %v, want a *SyntaxError", s, r, err)
				continue
			}
			if se.Col < 1 || se.Col > len(s)+1 || se.Msg == "" {
				t.Errorf("%q: bad error %+v", s, *se)
			}
		}
	}
}

func TestRulesThatFormatWritesAreReadByOvsOfctl(t *testing.T) {
	needOfctl(t)
	for _, s := range slices.Concat(agreed, agreedParts, agreedMasks) {
		r, err := ParseRule(s, nil)
		if err != nil {
			continue // TestRulesReadAsOvsOfctlReadsThem has said so
		}
		if ofctl(t, FormatRule(r, nil)) == "" {
			t.Errorf("%q: ovs-ofctl refuses %q", s, FormatRule(r, nil))
		}
		back, err := ParseRule(FormatRule(r, nil), nil)
		if err != nil || !back.Equal(r) {
			t.Errorf("%q: %q reads back as %v, error %v", s, FormatRule(r, nil), back, err)
		}
	}
}
