package adminq

import (
	"errors"
	"fmt"
)

// Speed is a link speed, as the bit that commands use for it.
type Speed uint8

// Link speeds (datasheet, "Get Link Status").
const (
	Speed2500M Speed = 1 << 0
	Speed100M  Speed = 1 << 1
	Speed1G    Speed = 1 << 2
	Speed10G   Speed = 1 << 3
	Speed40G   Speed = 1 << 4
	Speed20G   Speed = 1 << 5
	Speed25G   Speed = 1 << 6
	Speed5G    Speed = 1 << 7
)

// Mbps is the speed in Mbit/s, 0 for what is no single speed.
func (s Speed) Mbps() uint32 {
	switch s {
	case Speed100M:
		return 100
	case Speed1G:
		return 1000
	case Speed2500M:
		return 2500
	case Speed5G:
		return 5000
	case Speed10G:
		return 10000
	case Speed20G:
		return 20000
	case Speed25G:
		return 25000
	case Speed40G:
		return 40000
	}
	return 0
}

// PHYType is a kind of medium, as the bit number in PHY bitmaps.
type PHYType uint8

// Some PHY types (datasheet, "Get PHY Abilities").
const (
	PHY1000BaseT   PHYType = 0x12
	PHY10GBaseT    PHYType = 0x13
	PHY10GBaseSR   PHYType = 0x14
	PHY10GBaseLR   PHYType = 0x15
	PHY10GBaseSFPP PHYType = 0x16 // direct attach copper
	PHY10GBaseCR1  PHYType = 0x17
	PHY40GBaseCR4  PHYType = 0x18
	PHY40GBaseSR4  PHYType = 0x19
	PHY1000BaseSX  PHYType = 0x1B
	PHY25GBaseCR   PHYType = 0x20
	PHY25GBaseSR   PHYType = 0x21
	phyTypes       PHYType = 40 // bits of a PHY bitmap
)

// Version is what Get Version answers.
type Version struct {
	FirmwareMajor, FirmwareMinor uint16
	Build                        uint32
	APIMajor, APIMinor           uint16
}

// Config is what is fixed when a card is made: identity, size, and what its firmware can do. Zero values of numbers that
// cannot be zero are replaced by those of DefaultConfig.
type Config struct {
	PF       uint8  // 0 to 15
	Port     uint8  // 0 to 3
	DeviceID uint16 // PCI device, for profiles
	Ports    int    // of the card; PF n belongs to port n % Ports
	PFs      int    // of the card

	MAC     MAC // factory address of the PF
	PortMAC MAC // of the port; zero means MAC
	SANMAC  MAC // zero says that there is none

	FirstQueue int // absolute number of the PF's first queue pair
	Queues     int // the PF's queue pairs, those of its VFs included
	Vectors    int // MSI-X vectors of the PF
	VFs        int // number of VFs
	FirstVF    int // absolute number of VF 0
	VFVectors  int // MSI-X vectors of one VF
	VSIs       int // of the PF
	FirstVSI   int // absolute number of the PF's first VSI

	Speeds   Speed // every speed that the port can do
	Speed    Speed // the one it has when the link is up
	PHYTypes uint64
	PHYType  PHYType

	Version Version

	// NoLLDP says that the firmware's LLDP agent does not run after power on.
	NoLLDP bool

	// NVM is the shadow RAM, in words. It is shared with the device: reads see it, committed updates change it.
	NVM []uint16
}

// DefaultConfig is an X710 with one 10G SFP+ port (8086:1572), 128 queue pairs and 16 VFs, without NVM.
func DefaultConfig() Config {
	return Config{
		DeviceID: 0x1572, Ports: 1, PFs: 1,
		MAC:    MAC{0x3C, 0xFD, 0xFE, 0x00, 0x00, 0x01},
		Queues: 128, Vectors: 129, VFs: 16, VFVectors: 5, VSIs: 66,
		Speeds: Speed10G | Speed1G, Speed: Speed10G,
		PHYTypes: 1<<PHY10GBaseSR | 1<<PHY10GBaseLR | 1<<PHY10GBaseSFPP | 1<<PHY10GBaseCR1 | 1<<PHY1000BaseSX,
		PHYType:  PHY10GBaseSFPP,
		Version:  Version{FirmwareMajor: 9, FirmwareMinor: 120, Build: 73026, APIMajor: 1, APIMinor: 15},
	}
}

// Limits of the silicon (datasheet, "Device capabilities").
const (
	maxPFs    = 16
	maxVFs    = 128
	maxQueues = 1536
	maxVSIs   = 384
)

// check completes what is zero and refuses what cannot be.
func (c *Config) check() error {
	d := DefaultConfig()
	for _, n := range []struct{ v, standard *int }{
		{&c.Ports, &d.Ports},
		{&c.PFs, &d.PFs},
		{&c.Queues, &d.Queues},
		{&c.Vectors, &d.Vectors},
		{&c.VFVectors, &d.VFVectors},
		{&c.VSIs, &d.VSIs},
	} {
		if *n.v == 0 {
			*n.v = *n.standard
		}
	}
	if c.DeviceID == 0 {
		c.DeviceID = d.DeviceID
	}
	if c.MAC.zero() {
		c.MAC = d.MAC
	}
	if c.PortMAC.zero() {
		c.PortMAC = c.MAC
	}
	if c.Speed == 0 {
		c.Speeds, c.Speed, c.PHYTypes, c.PHYType = d.Speeds, d.Speed, d.PHYTypes, d.PHYType
	}
	if c.Version == (Version{}) {
		c.Version = d.Version
	}
	return c.limits()
}

func (c *Config) limits() error {
	for _, n := range []struct {
		what       string
		v, min, to int
	}{
		{"PF", int(c.PF), 0, c.PFs - 1},
		{"number of PFs", c.PFs, 1, maxPFs},
		{"number of ports", c.Ports, 1, 4},
		{"port", int(c.Port), 0, c.Ports - 1},
		{"first queue", c.FirstQueue, 0, maxQueues - 1},
		{"last queue", c.FirstQueue + c.Queues - 1, c.FirstQueue, maxQueues - 1},
		{"number of VFs", c.VFs, 0, maxVFs},
		{"first VF", c.FirstVF, 0, maxVFs - c.VFs},
		{"number of VSIs", c.VSIs, 1, maxVSIs - portCounters},
		{"first VSI", c.FirstVSI, 0, maxVSIs - portCounters - c.VSIs},
		{"vectors", c.Vectors, 1, 129},
	} {
		if n.v < n.min || n.v > n.to {
			return fmt.Errorf("configuring a card: %s is %d, must be %d to %d", n.what, n.v, n.min, n.to)
		}
	}
	if c.MAC.multicast() {
		return fmt.Errorf("configuring a card: %s is no unicast address", c.MAC)
	}
	if c.Speeds&c.Speed == 0 || c.Speed.Mbps() == 0 {
		return fmt.Errorf("configuring a card: speed %#x is not one of %#x", uint8(c.Speed), uint8(c.Speeds))
	}
	if c.PHYTypes>>phyTypes != 0 || c.PHYType >= phyTypes || c.PHYTypes>>c.PHYType&1 == 0 {
		return errors.New("configuring a card: the PHY type is not one of the PHY types")
	}
	return nil
}
