package agent

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

type empty struct{}

func hello(empty) (Hello, error) {
	var h Hello
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return h, err
	}
	h.Kernel = unix.ByteSliceToString(uts.Release[:])
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return h, err
	}
	h.Boot = strings.TrimSpace(string(boot))
	ifs, err := net.Interfaces()
	for _, i := range ifs {
		h.Interfaces = append(h.Interfaces, i.Name)
	}
	return h, err
}

// waitLink finds an interface. One that has just been moved or created may need a moment to appear.
func waitLink(name string) (netlink.Link, error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l, err := netlink.LinkByName(name)
		if err == nil {
			return l, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("interface %s: %w", name, err)
		}
	}
}

func setAddr(a AddrArgs) (empty, error) {
	l, err := waitLink(a.Interface)
	if err != nil {
		return empty{}, err
	}
	addr, err := netlink.ParseAddr(a.CIDR)
	if err != nil {
		return empty{}, fmt.Errorf("address %q: %w", a.CIDR, err)
	}
	if err := netlink.AddrReplace(l, addr); err != nil {
		return empty{}, fmt.Errorf("address %s on %s: %w", a.CIDR, a.Interface, err)
	}
	return empty{}, netlink.LinkSetUp(l)
}

func setLink(a LinkArgs) (empty, error) {
	l, err := waitLink(a.Interface)
	if err != nil {
		return empty{}, err
	}
	if a.MTU > 0 {
		if err := netlink.LinkSetMTU(l, a.MTU); err != nil {
			return empty{}, fmt.Errorf("MTU %d on %s: %w", a.MTU, a.Interface, err)
		}
	}
	if a.Down {
		return empty{}, netlink.LinkSetDown(l)
	}
	return empty{}, netlink.LinkSetUp(l)
}

func addVLAN(a VLANArgs) (empty, error) {
	parent, err := waitLink(a.Interface)
	if err != nil {
		return empty{}, err
	}
	name := fmt.Sprintf("%s.%d", a.Interface, a.ID)
	v := &netlink.Vlan{LinkAttrs: netlink.NewLinkAttrs(), VlanId: a.ID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	v.Name, v.ParentIndex = name, parent.Attrs().Index
	if err := netlink.LinkAdd(v); err != nil {
		return empty{}, fmt.Errorf("create %s: %w", name, err)
	}
	return empty{}, netlink.LinkSetUp(v)
}

// setChannels asks for a number of queue pairs through the ethtool netlink family (Linux,
// Documentation/networking/ethtool-netlink.rst, CHANNELS_SET).
func setChannels(a ChannelsArgs) (empty, error) {
	family, err := netlink.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return empty{}, fmt.Errorf("ethtool netlink family: %w", err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_CHANNELS_SET, Version: unix.ETHTOOL_GENL_VERSION})
	header := nl.NewRtAttr(unix.ETHTOOL_A_CHANNELS_HEADER|unix.NLA_F_NESTED, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(a.Interface))
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT, nl.Uint32Attr(uint32(a.Combined))))
	if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return empty{}, fmt.Errorf("set %d queue pairs on %s: %w", a.Combined, a.Interface, err)
	}
	return empty{}, nil
}

// counters reads an interface's statistics by netlink: /sys shows those of the namespace it was mounted in.
func counters(a CountersArgs) (map[string]uint64, error) {
	l, err := netlink.LinkByName(a.Interface)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", a.Interface, err)
	}
	s := l.Attrs().Statistics
	if s == nil {
		return nil, fmt.Errorf("interface %s has no statistics", a.Interface)
	}
	return map[string]uint64{
		"rx_packets": s.RxPackets, "tx_packets": s.TxPackets, "rx_bytes": s.RxBytes, "tx_bytes": s.TxBytes,
		"rx_errors": s.RxErrors, "tx_errors": s.TxErrors, "rx_dropped": s.RxDropped, "tx_dropped": s.TxDropped,
		"multicast": s.Multicast, "collisions": s.Collisions,
		"rx_length_errors": s.RxLengthErrors, "rx_over_errors": s.RxOverErrors, "rx_crc_errors": s.RxCrcErrors,
		"rx_frame_errors": s.RxFrameErrors, "rx_fifo_errors": s.RxFifoErrors, "rx_missed_errors": s.RxMissedErrors,
		"tx_aborted_errors": s.TxAbortedErrors, "tx_carrier_errors": s.TxCarrierErrors,
		"tx_fifo_errors": s.TxFifoErrors, "tx_heartbeat_errors": s.TxHeartbeatErrors,
		"tx_window_errors": s.TxWindowErrors, "rx_compressed": s.RxCompressed, "tx_compressed": s.TxCompressed,
	}, nil
}
