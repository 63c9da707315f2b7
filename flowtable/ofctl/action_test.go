package ofctl

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

// actionRules have every action in every form.
var actionRules = []string{
	"actions=output:reg0", "actions=output:NXM_NX_REG0[0..15]", "actions=output:reg0[3]", "actions=output:xreg1[0..15]",
	"actions=OUTPUT:1,Normal,FLOOD", " actions = output:1", "actions=group:5", "actions=group=0x10,1", "actions=group(7)",
	"actions=set_vlan_vid:5,1", "actions=set_vlan_pcp:5,1", "dl_vlan=3,actions=set_field:0x1005->vlan_vid,1",
	"dl_vlan=3,actions=set_field:4101/0x100f->vlan_vid,1", "dl_vlan=3,actions=set_field:5->vlan_pcp,1",
	"dl_vlan=3,actions=load:5->vlan_vid[],load:3->OXM_OF_VLAN_PCP[]", "actions=set_field:0x1005->vlan_tci,1",
	"actions=push_vlan:0x88a8,set_field:7->vlan_vid,1", "dl_vlan=3,actions=pop_vlan,2",
	"actions=load:0x1005->NXM_OF_VLAN_TCI[],load:5->NXM_OF_VLAN_TCI[0..11]",
	"actions=set_field:01:02:03:04:05:06->dl_src", "actions=set_field:01:02:00:00:00:00/ff:ff:00:00:00:00->eth_dst",
	"actions=mod_nw_src:1.2.3.4,1", "ip,actions=mod_nw_src:1.2.3.4,mod_nw_dst:5.6.7.8,mod_nw_tos:4,1",
	"ip,actions=mod_nw_ecn:1,mod_nw_ttl:3,set_nw_ttl:9", "ipv6,actions=mod_nw_tos:252", "actions=mod_nw_src(1.2.3.4)",
	"tcp,actions=mod_tp_src:5,mod_tp_dst:0x10", "udp6,actions=mod_tp_dst:53,1", "ip,actions=mod_tp_src:5",
	"ip,actions=set_field:1.2.3.4->ip_src", "ip,actions=set_field:1.2.3.0/24->nw_dst",
	"ip,actions=set_field:1.2.0.4/255.255.0.255->ip_dst", "ip,actions=load:5->NXM_OF_IP_SRC[0..7]",
	"ipv6,actions=set_field:1::2->ipv6_src", "ipv6,actions=set_field:1::/64->ipv6_dst",
	"ipv6,actions=set_field:5->ipv6_label", "ipv6,actions=set_field:5/15->ipv6_label",
	"ipv6,actions=load:5->NXM_NX_IPV6_SRC[64..127]",
	"ip,actions=set_field:4->nw_tos", "ip,actions=set_field:5->ip_dscp", "ip,actions=set_field:1->nw_ecn",
	"ip,actions=set_field:1->ip_ecn", "ip,actions=set_field:5->nw_ttl", "tcp,actions=set_field:5->tcp_src",
	"tcp,actions=set_field:5/15->tp_dst", "udp,actions=set_field:5->udp_src", "sctp,actions=set_field:5->sctp_dst",
	"icmp,actions=set_field:5->icmp_type,set_field:1->icmp_code", "icmp6,actions=set_field:5->icmpv6_type",
	"arp,actions=set_field:2->arp_op,set_field:1.2.3.4->arp_spa,set_field:01:02:03:04:05:06->arp_sha",
	"arp,actions=move:NXM_OF_ETH_SRC[]->NXM_NX_ARP_THA[],load:0x2->NXM_OF_ARP_OP[],in_port",
	"icmp6,icmp_type=135,actions=set_field:1::2->nd_target", "icmp6,icmp_type=135,icmp_code=0,actions=set_field:1::2->nd_target",
	"icmp6,icmp_type=135,icmp_code=0,actions=set_field:01:02:03:04:05:06->nd_sll",
	"icmp6,icmp_type=136,icmp_code=0,actions=set_field:01:02:03:04:05:06->nd_tll",
	"mpls,actions=set_mpls_label:5,set_mpls_tc:1,set_mpls_ttl(4),dec_mpls_ttl,1", "actions=set_mpls_label:5",
	"mpls,actions=pop_mpls:0x800,mod_nw_src:1.2.3.4", "mpls,actions=pop_mpls:0x800,set_field:1.2.3.4->ip_src",
	"mpls,actions=pop_mpls:0x8847,1", "actions=pop_mpls:0x86dd", "ip,actions=push_mpls:0x8847,1",
	"ip,actions=push_mpls:0x8848,set_field:5->mpls_label", "mpls,actions=set_field:5->mpls_tc,set_field:9->mpls_ttl",
	"actions=dec_ttl", "ip,actions=dec_ttl,1", "ipv6,actions=dec_ttl,1", "ip,actions=dec_ttl(1,2),1", "actions=dec_ttl()",
	"actions=dec_ttl( 0, 65535 )", "actions=dec_ttl:3", "actions=write_actions(dec_ttl(7),output:1)",
	"actions=set_tunnel:5", "actions=set_tunnel64:5", "actions=set_tunnel:0x123456789",
	"actions=load:0x5->NXM_NX_REG0[]", "actions=load:0x1->reg0[1..5]", "actions=load:0->reg3[7]",
	"actions=load:0xffffffff->xreg0", "actions=load:5->NXM_OF_IN_PORT[],output:1", "actions=load:5->OXM_OF_METADATA[]",
	"actions=load:5->NXM_OF_ETH_DST[]", "actions=load:5->reg0,load:5->reg0[3..8],load:0xf->reg15[0..3]",
	"actions=set_field:5->reg0", "actions=set_field:0x5/0x7->reg9", "actions=set_field:5->xreg7",
	"actions=set_field:0x12345678901234567890->xxreg0", "actions=set_field:0x120000000000000000/0xff0000000000000000->xxreg3",
	"actions=set_field:5->metadata", "actions=set_field:5->tun_id", "actions=set_field:5->tunnel_id",
	"actions=set_field:5->pkt_mark", "actions=set_field:5->in_port", "actions=set_field:LOCAL->in_port",
	"actions=move:NXM_NX_REG0[]->NXM_NX_REG1[]", "actions=move:reg0[1..3]->reg2[5..7]", "actions=move:reg0->reg1",
	"actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", "actions=move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]",
	"actions=move:xxreg0[0..31]->NXM_NX_REG0[]", "ip,actions=move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]",
	"actions=move:OXM_OF_ETH_SRC[0..15]->reg0[16..31]", "actions=move:OXM_OF_TUNNEL_ID[]->OXM_OF_PKT_REG3[]",
	"actions=note:01.02.03", "actions=note:010203", "actions=note", "actions=note:01.02.03.04.05.06.07,1",
	"actions=exit", "actions=1,exit,2", "actions=clear_actions", "actions=meter:1,output:2", "actions=meter:5",
	"actions=output:1,clear_actions,write_actions(output:2),write_metadata:5/7,goto_table:3",
	"actions=write_actions(output:2,mod_dl_src:1:2:3:4:5:6,group:5)", "actions=write_actions(resubmit(1,2))",
	"actions=write_actions(drop)", "actions=write_actions()", "ip,actions=write_actions(dec_ttl,set_field:1.2.3.4->ip_src,3)",
	"actions=write_actions(push_vlan:0x8100,set_field:5->vlan_vid,output:7),goto_table:2",
	"actions=write_metadata:0x123", "actions=write_metadata:0x123/0xfff", "actions=write_metadata:5/0xffffffffffffffff",
	"actions=meter:1,note:01,goto_table:3", "no_packet_counts,no_byte_counts,actions=1",
}

// versions are the OpenFlow versions in which ovs-ofctl is asked: each has other ways to say the same.
var versions = []string{"OpenFlow10", "OpenFlow11", "OpenFlow13", "OpenFlow15"}

// ofctlIn asks ovs-ofctl what it makes of a rule in a version of OpenFlow, "" if that cannot say it.
func ofctlIn(t *testing.T, version, rule string) string {
	t.Helper()
	args := []string{"parse-flow", rule}
	if version != "OpenFlow10" {
		args = append([]string{"-O", version}, args...)
	}
	out, _ := exec.Command("ovs-ofctl", args...).CombinedOutput()
	m := ofctlAdd.FindStringSubmatch(string(out))
	if m == nil {
		return ""
	}
	before, after, _ := strings.Cut(m[1], "actions=")
	return strings.TrimSpace(ofctlSettings.ReplaceAllString(before, "")) + " actions=" + after
}

func TestActionsMeanWhatTheyMeanToOvsOfctl(t *testing.T) {
	needOfctl(t)
	for _, s := range actionRules {
		r, err := ParseRule(s, nil)
		if err != nil {
			t.Errorf("%q: refused: %v", s, err)
			continue
		}
		text := FormatRule(r, nil)
		if back, err := ParseRule(text, nil); err != nil || !back.Equal(r) {
			t.Errorf("%q: %q reads back as %+v, %v", s, text, back, err)
		}
		var heard []string
		for _, v := range versions {
			want := ofctlIn(t, v, s)
			if want == "" {
				continue
			}
			if got := ofctlIn(t, v, text); got != want {
				t.Errorf("%q in %s: written as %q, which is %q to ovs-ofctl instead of %q", s, v, text, got, want)
			}
			heard = append(heard, want)
		}
		// Some version of OpenFlow says it with the same actions, and then in the same words.
		same := " " + strings.TrimLeft(sameText(r), " ")
		if !slices.Contains(heard, same) && !slices.Contains(heard, same[1:]) && !slices.Contains(mixed, s) {
			t.Errorf("%q: written as %q, ovs-ofctl writes %q", s, sameText(r), heard)
		}
	}
}

// mixed are what no version says in full in these words.
var mixed = []string{
	"actions=push_vlan:0x88a8,set_field:7->vlan_vid,1",
	"actions=write_actions(push_vlan:0x8100,set_field:5->vlan_vid,output:7),goto_table:2",
	"no_packet_counts,no_byte_counts,actions=1",
}

// refusedActions are refused by ovs-ofctl as well, or by the switch that it would send them to.
var refusedActions = []string{
	"actions=set_field:5->NXM_NX_REG0", "actions=set_field:5->NXM_NX_REG0[]", "actions=set_field:5->reg0[1..2]",
	"actions=set_field:5->actset_output", "actions=set_field:5->skb_priority", "actions=set_field:5->eth_type",
	"actions=set_field:01:02:03:04:05:06->OXM_OF_ETH_SRC", "mpls,actions=set_field:5/7->mpls_label",
	"mpls,actions=set_field:1->mpls_bos", "ip,actions=set_field:5->ip_proto", "ip,actions=set_field:5->nw_tos",
	"ip,actions=set_field:0x5/0x7->ip_dscp", "ip,actions=set_field:no->ip_frag", "ip,actions=set_field:5->tcp_src",
	"tcp,actions=set_field:5->udp_src", "tcp,actions=set_field:5->tcp_flags", "icmp6,actions=set_field:5->icmp_code",
	"icmp,actions=set_field:5->tp_src", "arp,actions=set_field:1.2.3.4->nw_src", "actions=set_field:1.2.3.4->arp_spa",
	"actions=load:5->NXM_OF_IP_SRC[]", "ip,actions=load:5->NXM_OF_IP_PROTO[]", "actions=load:5->NXM_OF_ETH_TYPE[]",
	"actions=load:5->vlan_vid", "actions=load:0x100->reg0[1..5]", "actions=load:5", "actions=load:5->", "actions=load:x->reg0",
	"actions=load:1->reg0[7..3]", "actions=load:1->reg0[32]", "actions=load:1->reg0[1", "actions=load:1->nxm_nx_reg0[]",
	"actions=load:-1->reg0", "actions=move:reg0", "actions=move:foo->reg0", "actions=move:reg0[1..3]->reg2[5..8]",
	"actions=move:reg0->NXM_OF_ETH_TYPE[]", "actions=move:NXM_OF_IP_SRC[]->reg0", "actions=output:NXM_OF_IP_SRC[]",
	"actions=mod_nw_tos:5", "actions=mod_nw_tos:256", "actions=mod_nw_ecn:4", "actions=mod_nw_src:1.2.3",
	"actions=mod_tp_src:65536", "actions=push_mpls:0x800", "actions=push_vlan:0x8100,mod_nw_src:1.2.3.4",
	"actions=push_vlan:0x8100,push_vlan:0x8100,push_vlan:0x8100", "mpls,actions=set_mpls_label:0x100000",
	"mpls,actions=set_mpls_tc:8", "mpls,actions=set_mpls_ttl:256", "mpls,actions=pop_mpls:0x800,set_field:1::2->ipv6_src",
	"ip,actions=push_mpls:0x8847,set_field:1.2.3.4->ip_src", "actions=meter:0", "actions=meter:1,meter:2",
	"actions=output:2,meter:1", "actions=meter:1,mod_nw_src:1.2.3.4", "actions=clear_actions,output:1",
	"actions=write_metadata:1,output:1", "actions=goto_table:1,goto_table:2", "actions=goto_table:1,write_metadata:1",
	"actions=write_actions(goto_table:5)", "actions=write_actions(write_actions(output:1))", "actions=write_actions(note:11)",
	"actions=write_actions(output:reg0)", "actions=write_actions(set_field:1.2.3.4->ip_src,1)", "actions=write_actions(meter:1)",
	"actions=apply_actions(output:1)", "actions=write_metadata:x", "actions=note:0", "actions=note:zz", "actions=group:x",
	"actions=write_actions(1),write_actions(2)", "actions=drop,exit", "actions=dec_ttl,drop", "actions=output:ANY",
	"actions=set_field:5->dummy", "actions=Set_Field:5->REG0", "actions=set_field: 5->reg0", "actions=output : 1",
	"actions=set_field:0x1->in_port_oxm", "actions=(output:1)", "actions=move:reg0[40]->reg0[1]",
}

// differingActions are accepted by ovs-ofctl and refused here, on purpose: what they say would be lost or is not there.
var differingActions = []string{
	"actions=set_field:*->reg0", "actions=output(port=1,max_len=100)", "actions=strip_vlan(3)",
	"actions=in_port(3)", "actions=group:4294967295", "actions=goto_table:254", "actions=resubmit(,254)",
	"actions=clone(output:1)", "actions=set_field:5->dl_vlan", "actions=set_queue:1", "actions=enqueue:1:2",
	"actions=push:NXM_NX_REG0[]", "actions=learn(table=1)", "actions=ct_clear", "actions=controller", "actions=output:table",
}

func TestActionsThatOvsOfctlRefusesAreRefused(t *testing.T) {
	needOfctl(t)
	for _, s := range refusedActions {
		if r, err := ParseRule(s, nil); err == nil {
			t.Errorf("%q: accepted as %q", s, FormatRule(r, nil))
		}
		for _, v := range versions[2:] {
			if got := ofctlIn(t, v, s); got != "" {
				t.Errorf("%q: ovs-ofctl accepts it in %s as %q; move it to another list", s, v, got)
			}
		}
	}
	for _, s := range differingActions {
		if r, err := ParseRule(s, nil); err == nil {
			t.Errorf("%q: accepted as %q", s, FormatRule(r, nil))
		}
		if ofctlIn(t, "OpenFlow10", s) == "" && ofctlIn(t, "OpenFlow13", s) == "" {
			t.Errorf("%q: ovs-ofctl refuses it; move it to the list of refused actions", s)
		}
	}
}

func TestActionsAreEncodedDifferently(t *testing.T) {
	seen := map[string]string{}
	for _, s := range actionRules {
		r, err := ParseRule(s, nil)
		if err != nil {
			continue // TestActionsMeanWhatTheyMeanToOvsOfctl has said so
		}
		text := FormatActions(r.Actions, nil)
		key := string(flow.AppendActions(nil, r.Actions))
		if other, ok := seen[key]; ok && other != text {
			t.Errorf("%q and %q have one encoding", other, text)
		}
		seen[key] = text
	}
}

var ofctlGroup = regexp.MustCompile(`(?m)^ ADD (.*)$`)

// groupTexts are accepted by both.
var groupTexts = []string{
	"group_id=1,type=all,bucket=output:1", "group_id=1,type=all,bucket=output:1,bucket=output:2",
	"group_id=1,type=select,bucket=weight:5,output:1,bucket=bucket_id:7,weight:10,actions=output:2,bucket=3",
	"group_id=1,type=select,bucket=weight=5,output:1", "group_id=1,type=select,bucket=weight:0,output:1",
	"group_id=1,type=indirect,bucket=output:1", "group_id=1,type=select,bucket=watch_port:1,output:1",
	"group_id=1,type=ff,bucket=watch_port:1,output:1,bucket=watch_port:2,output:2",
	"group_id=1,type=fast_failover,bucket=watch_port:1,output:1", "group_id=1,type=ff,bucket=watch_group:3,output:1",
	"group_id=1,type=ff,bucket=watch_port:1,watch_group:3,output:1", "group_id=1,type=all", "group_id=4294967040,type=all",
	"group_id=0,type=all", "group_id=1,type=all,bucket=actions=output:1,output:2", "group_id=1,type=all,bucket=drop",
	"group_id=1,type=all,bucket=output:1,output:2,set_field:5->reg0", "group_id=1,type=all,bucket=actions=",
	"group_id=1,type=all,bucket=note:01,output:1", "group_id=1,type=all,bucket=group:2",
	"group_id=1,type=all,bucket=resubmit(,1)", "group_id=1,type=all,bucket=resubmit(3,1),bucket=actions=resubmit(,4)",
	"group_id=1,type=all,bucket=set_field:1.2.3.4->ip_src,output:1", "group_id=1,type=all,bucket=pop_vlan,dec_ttl,output:1",
	"group_id=1 , type=all , bucket=output:1", " group_id=1 type=all bucket=output:1",
	"group_id=1,type=select,bucket=bucket_id:0xffffff00,output:1", "group_id=1,type=select,bucket=output:1,weight:4",
	"group_id=1,type=all,bucket=in_port,bucket=flood,bucket=normal,bucket=local",
	"group_id=1,type=all,bucket=load:5->reg0,output:1", "group_id=1,type=all,bucket=bucket_id:1,output:1,bucket=output:2",
	"group_id=0x10,type=all,bucket=push_vlan:0x8100,set_field:4101->vlan_vid,output:7",
}

// groupsRefused are refused by both.
var groupsRefused = []string{
	"", "group_id=1,type=indirect,bucket=output:1,bucket=output:2", "group_id=1,type=indirect",
	"group_id=1,type=ff,bucket=output:1", "group_id=1,type=all,bucket=watch_port:1,output:1",
	"group_id=1,type=all,bucket=weight:3,output:1", "group_id=1,bucket=output:1", "type=all,bucket=output:1",
	"group_id=1,type=foo,bucket=output:1", "group_id=4294967041,type=all", "group_id=1,type=all,bucket=",
	"group_id=1,type=all,bucket=bucket_id:1,output:1,bucket=bucket_id:1,output:2", "group_id=1,type=ALL,bucket=output:1",
	"group_id=1,type=all,command_bucket_id=5,bucket=output:1", "group_id=1,type=select,selection_method=foo,bucket=output:1",
	"group_id=1,type=all,bucket=goto_table:1", "group_id=1,type=all,bucket=clear_actions", "group_id=1,type=all,bucket=foo",
	"group_id=1,type=all,bucket=write_actions(output:1)", "group_id=1,type=all,bucket=write_metadata:1",
	"group_id=1,type=all,foo=1", "group_id=1,type=all,bucket=weight:70000,output:1", "group_id=x,type=all",
	"group_id=1,type=ff,bucket=watch_port:foo,output:1", "group_id=1,type=ff,bucket=watch_port:LOCAL,output:1",
	"group_id=1,type=select,bucket=bucket_id:0xffffff01,output:1", "group_id=1,type=all,bucket=drop,output:1",
}

// groupsDiffering are accepted by ovs-ofctl and refused here: Open vSwitch's switch ignores what they say, or has it and
// Weft has not.
var groupsDiffering = []string{
	"group_id=1,type=all,bucket=exit", "group_id=1,type=all,bucket=output:reg0", "group_id=1,type=all,bucket=meter:1,output:1",
	"group_id=1,type=select,selection_method=hash,fields(ip_src,ip_dst),bucket=output:1", "group_id=all,type=all,bucket=1",
}

func ofctlGroupText(text string) string {
	out, _ := exec.Command("ovs-ofctl", "-O", "OpenFlow15", "parse-group", text).CombinedOutput()
	m := ofctlGroup.FindStringSubmatch(string(out))
	if m == nil {
		return ""
	}
	return m[1]
}

func TestGroupsReadAsOvsOfctlReadsThem(t *testing.T) {
	needOfctl(t)
	loads := regexp.MustCompile(`load:0x5->NXM_NX_REG0\[\]`) // which OpenFlow 1.5 says as set_field
	strip := strings.NewReplacer("strip_vlan", "pop_vlan")   // OpenFlow 1.0 has one word, later versions the other
	for _, s := range groupTexts {
		g, err := ParseGroup(s, nil)
		if err != nil {
			t.Errorf("%q: refused: %v", s, err)
			continue
		}
		text := FormatGroup(g, nil)
		if got, want := strip.Replace(loads.ReplaceAllString(text, "set_field:0x5->reg0")), ofctlGroupText(s); got != want {
			t.Errorf("%q:\n weft      %q\n ovs-ofctl %q", s, got, want)
		}
		if back, err := ParseGroup(text, nil); err != nil || !back.Equal(g) {
			t.Errorf("%q: %q reads back as %+v, %v", s, text, back, err)
		}
	}
	for _, s := range groupsRefused {
		if got := ofctlGroupText(s); got != "" {
			t.Errorf("%q: ovs-ofctl accepts it as %q; move it to another list", s, got)
		}
	}
	for _, s := range groupsDiffering {
		if ofctlGroupText(s) == "" {
			t.Errorf("%q: ovs-ofctl refuses it; move it to the list of refused groups", s)
		}
	}
}

func TestBadGroupsAndMetersAreRefusedWithAPlace(t *testing.T) {
	check := func(s string, err error) {
		t.Helper()
		se, ok := err.(*SyntaxError)
		if !ok || se.Col < 1 || se.Col > len(s)+1 || se.Msg == "" {
			t.Errorf("%q: got %v, want a *SyntaxError with a place", s, err)
		}
	}
	for _, s := range slices.Concat(groupsRefused, groupsDiffering) {
		g, err := ParseGroup(s, flowtest.SomePorts)
		if err == nil {
			t.Errorf("%q: accepted: %+v", s, g)
			continue
		}
		check(s, err)
	}
	for _, s := range []string{
		"", "meter=1", "meter=1,kbps", "meter=1,kbps,band=", "meter=0,kbps,band=type=drop,rate=1", "meter=1,band=type=drop,rate=1",
		"meter=1,kbps,pktps,band=type=drop,rate=1", "meter=1,kbps,burst,band=type=drop,rate=1", "meter=1,kbps,band=rate=1",
		"meter=1,kbps,band=type=drop,rate=1,burst_size=5", "meter=1,kbps,band=type=drop", "meter=1,kbps,band=type=drop,rate=0",
		"meter=1,kbps,band=type=dscp_remark,rate=1,prec_level=1", "meter=controller,kbps,band=type=drop,rate=1",
		"meter=1,kbps,foo,band=type=drop,rate=1", "meter=1,kbps,band=type=drop,rate=4294967296", "meter=1,kbps,band=type=drop,rate",
		"meter=4294901761,kbps,band=type=drop,rate=1", "meter=all,kbps,band=type=drop,rate=1",
	} {
		m, err := ParseMeter(s)
		if err == nil {
			t.Errorf("%q: accepted: %+v", s, m)
			continue
		}
		check(s, err)
	}
}

func TestMetersAreWrittenAsTheyAreRead(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"meter=1,kbps,band=type=drop,rate=1000", "meter=1 kbps bands=type=drop rate=1000"},
		{
			"meter=7 pktps burst stats bands=type=drop rate=5,burst_size=10 type=drop,rate=6,burst_size=7",
			"meter=7 pktps burst stats bands=type=drop rate=5 burst_size=10 type=drop rate=6 burst_size=7",
		},
	} {
		m, err := ParseMeter(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := FormatMeter(m); got != c.want {
			t.Errorf("%q:\n got  %q\n want %q", c.in, got, c.want)
		}
		if back, err := ParseMeter(FormatMeter(m)); err != nil || !back.Equal(m) {
			t.Errorf("%q reads back as %+v, %v", FormatMeter(m), back, err)
		}
	}
	for s, want := range map[string]uint32{"": 0, "meter=all": 0, "meter=5": 5} {
		if id, all, err := ParseMeterFilter(s); err != nil || id != want || all != (want == 0) {
			t.Errorf("%q: meter %d, all %v, %v", s, id, all, err)
		}
	}
}

func TestLinesOfAFileOfGroupsAreRead(t *testing.T) {
	for s, want := range map[string]flow.GroupCommand{
		"group_id=3,type=all,bucket=1": flow.GroupAdd, "add group_id=3,type=all,bucket=1": flow.GroupAdd,
		"modify group_id=3,type=all": flow.GroupModify, "add_or_mod,group_id=3,type=all": flow.GroupAddOrModify,
		"delete group_id=3": flow.GroupDelete, "delete": flow.GroupDeleteAll, "delete group_id=all": flow.GroupDeleteAll,
	} {
		m, err := ParseGroupMod(s, nil)
		if err != nil || m.Command != want || want != flow.GroupDeleteAll && m.Group.ID != 3 {
			t.Errorf("%q: %+v, %v", s, m, err)
		}
	}
	for _, s := range []string{"insert_bucket group_id=1,bucket=1", "delete foo=1", "delete group_id=x", "modify"} {
		if m, err := ParseGroupMod(s, nil); err == nil {
			t.Errorf("%q: %+v", s, m)
		}
	}
}

// FuzzParseGroup: whatever is accepted can be written, and reads back as the same. So with meters.
func FuzzParseGroup(f *testing.F) {
	for _, list := range [][]string{groupTexts, groupsRefused, groupsDiffering} {
		for _, s := range list {
			f.Add(s)
		}
	}
	f.Add("meter=7 pktps burst stats bands=type=drop rate=5,burst_size=10 type=drop,rate=6,burst_size=7")
	f.Fuzz(func(t *testing.T, s string) {
		if g, err := ParseGroup(s, flowtest.SomePorts); err == nil {
			for _, ports := range []PortNames{nil, flowtest.SomePorts} {
				text := FormatGroup(g, ports)
				if back, err := ParseGroup(text, ports); err != nil || !back.Equal(g) {
					t.Fatalf("%q: written as %q, which reads back as %+v, %v", s, text, back, err)
				}
			}
		} else if se, ok := err.(*SyntaxError); !ok || se.Col < 1 || se.Col > len(s)+1 {
			t.Fatalf("%q: error %v", s, err)
		}
		if m, err := ParseMeter(s); err == nil {
			if back, err := ParseMeter(FormatMeter(m)); err != nil || !back.Equal(m) {
				t.Fatalf("%q: written as %q, which reads back as %+v, %v", s, FormatMeter(m), back, err)
			}
		}
		_, _ = ParseGroupMod(s, flowtest.SomePorts)
	})
}
