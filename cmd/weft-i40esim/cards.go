package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"weft/pmd/i40e/i40esim/adminq"
)

// kind is a card that can be asked for by its PCI id.
type kind struct {
	id     uint16
	name   string
	speeds adminq.Speed // every one, of which speed is the usual
	speed  adminq.Speed
	phys   uint64
	phy    map[adminq.Speed]adminq.PHYType // the medium at each speed
}

const vendorIntel = 0x8086

// kinds are the cards whose media the model knows (ids: Linux include/linux/pci_ids and the drivers' tables).
var kinds = []kind{
	sfp(0x1572, "X710 for 10GbE SFP+"),
	qsfp(0x1583, "XL710 for 40GbE QSFP+ (two ports)"),
	qsfp(0x1584, "XL710 for 40GbE QSFP+ (one port)"),
	qsfp(0x1585, "X710 for 10GbE QSFP+"),
	baseT(0x1586, "X710 for 10GBASE-T"),
	baseT(0x1589, "X710-T4 for 10GBASE-T"),
	sfp28(0x158B, "XXV710 for 25GbE SFP28"),
}

func sfp(id uint16, name string) kind {
	return kind{
		id: id, name: name, speeds: adminq.Speed10G | adminq.Speed1G, speed: adminq.Speed10G,
		phys: 1<<adminq.PHY10GBaseSR | 1<<adminq.PHY10GBaseLR | 1<<adminq.PHY10GBaseSFPP | 1<<adminq.PHY10GBaseCR1 |
			1<<adminq.PHY1000BaseSX,
		phy: map[adminq.Speed]adminq.PHYType{
			adminq.Speed10G: adminq.PHY10GBaseSFPP, adminq.Speed1G: adminq.PHY1000BaseSX,
		},
	}
}

func qsfp(id uint16, name string) kind {
	return kind{
		id: id, name: name, speeds: adminq.Speed40G | adminq.Speed10G, speed: adminq.Speed40G,
		phys: 1<<adminq.PHY40GBaseCR4 | 1<<adminq.PHY40GBaseSR4 | 1<<adminq.PHY10GBaseCR1,
		phy: map[adminq.Speed]adminq.PHYType{
			adminq.Speed40G: adminq.PHY40GBaseCR4, adminq.Speed10G: adminq.PHY10GBaseCR1,
		},
	}
}

func sfp28(id uint16, name string) kind {
	return kind{
		id: id, name: name, speeds: adminq.Speed25G | adminq.Speed10G | adminq.Speed1G, speed: adminq.Speed25G,
		phys: 1<<adminq.PHY25GBaseCR | 1<<adminq.PHY25GBaseSR | 1<<adminq.PHY10GBaseSFPP | 1<<adminq.PHY1000BaseSX,
		phy: map[adminq.Speed]adminq.PHYType{
			adminq.Speed25G: adminq.PHY25GBaseCR, adminq.Speed10G: adminq.PHY10GBaseSFPP,
			adminq.Speed1G: adminq.PHY1000BaseSX,
		},
	}
}

func baseT(id uint16, name string) kind {
	return kind{
		id: id, name: name, speeds: adminq.Speed10G | adminq.Speed1G, speed: adminq.Speed10G,
		phys: 1<<adminq.PHY10GBaseT | 1<<adminq.PHY1000BaseT,
		phy: map[adminq.Speed]adminq.PHYType{
			adminq.Speed10G: adminq.PHY10GBaseT, adminq.Speed1G: adminq.PHY1000BaseT,
		},
	}
}

// kindOf finds a card by its PCI id: "8086:1572" or "1572".
func kindOf(text string) (*kind, error) {
	vendor, device, both := strings.Cut(text, ":")
	if !both {
		vendor, device = "8086", text
	}
	v, err := strconv.ParseUint(vendor, 16, 16)
	d, derr := strconv.ParseUint(device, 16, 16)
	if err == nil && derr == nil && v == vendorIntel {
		for i := range kinds {
			if kinds[i].id == uint16(d) {
				return &kinds[i], nil
			}
		}
	}
	return nil, fmt.Errorf("PCI id %q: choose one of\n%s", text, kindList())
}

func kindList() string {
	var b strings.Builder
	for i := range kinds {
		fmt.Fprintf(&b, "  8086:%04x  %s\n", kinds[i].id, kinds[i].name)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// speedOf is the speed that text names, such as "10G", which the card must be able to do. Without text it is the usual.
func (k *kind) speedOf(text string) (adminq.Speed, error) {
	if text == "" {
		return k.speed, nil
	}
	var can []string
	for s := adminq.Speed(1); s != 0; s <<= 1 {
		if k.speeds&s == 0 {
			continue
		}
		name := fmt.Sprintf("%dG", s.Mbps()/1000)
		if strings.EqualFold(text, name) {
			return s, nil
		}
		can = append(can, name)
	}
	return 0, fmt.Errorf("link speed %q: an %s can do %s", text, k.name, strings.Join(can, ", "))
}

// config is the card's, with a link speed and a MAC address.
func (k *kind) config(speed adminq.Speed, mac adminq.MAC, vfs int) adminq.Config {
	c := adminq.DefaultConfig()
	c.DeviceID, c.MAC, c.VFs = k.id, mac, vfs
	c.Speeds, c.Speed = k.speeds, speed
	c.PHYTypes, c.PHYType = k.phys, k.phy[speed]
	return c
}

func macOf(text string) (adminq.MAC, error) {
	hw, err := net.ParseMAC(text)
	if err != nil || len(hw) != len(adminq.MAC{}) {
		return adminq.MAC{}, fmt.Errorf("MAC address %q: write it as 3c:fd:fe:00:00:01", text)
	}
	mac := adminq.MAC(hw)
	if mac[0]&1 != 0 || mac == (adminq.MAC{}) {
		return mac, fmt.Errorf("MAC address %s: a card needs a unicast address", text)
	}
	return mac, nil
}

// next is the address of the peer's card.
func next(mac adminq.MAC) adminq.MAC {
	mac[5] ^= 0x80
	return mac
}
