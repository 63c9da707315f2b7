package adminq

// Capabilities, by their numbers (datasheet, "Discover Device / Function Capabilities").
const (
	capSwitchMode   = 0x0001
	capManagement   = 0x0002
	capNPAR         = 0x0003
	capOS2BMC       = 0x0004
	capFunctions    = 0x0005
	capAlternateRAM = 0x0006
	capWoL          = 0x0008
	capSRIOV        = 0x0012
	capVF           = 0x0013
	capVMDq         = 0x0014
	cap8021Qbg      = 0x0015
	cap8021Qbr      = 0x0016
	capVSI          = 0x0017
	capDCB          = 0x0018
	capFCoE         = 0x0021
	capISCSI        = 0x0022
	capRSS          = 0x0040
	capRxQueues     = 0x0041
	capTxQueues     = 0x0042
	capVectors      = 0x0043
	capVFVectors    = 0x0044
	capFlowDirector = 0x0045
	cap1588         = 0x0046
	capLED          = 0x0061
	capSDP          = 0x0062
	capMDIO         = 0x0063
	capWriteProtect = 0x0064
	capNVM          = 0x0080
	capFlex10       = 0x00F1
	capCEM          = 0x00F2
)

const (
	capabilitySize  = 32
	capIndexEnabled = 0x01

	rssTable     = 512 // entries of the PF's lookup table
	rssWidth     = 6   // bits of an entry
	rssTableOfVF = 64
	rssWidthOfVF = 4

	// Flow director: what a PF has for itself, and what it may take of the common pool.
	fdGuaranteed = 512
	fdBestEffort = 7168

	firstLEDPin = 22 // GPIO pins 22 to 29 are the LEDs'
	ledsPerPort = 1
)

// capability is an element of the list.
type capability struct {
	id            uint16
	number        uint32
	logical, phys uint32
}

// listCapabilities is commands 000A and 000B: what the function has, and what the device has.
func listCapabilities(f *Firmware, c *call) Code {
	if flags := c.d.Params[0]; flags&capIndexEnabled != 0 && c.d.Params[1] != f.cfg.PF {
		return CodeNoEnt
	}
	var list []capability
	switch fn := c.function(f); {
	case c.d.Opcode == OpListDeviceCapabilities:
		list = f.deviceCapabilities()
	case fn.VF:
		list = f.vfCapabilities()
	default:
		list = f.pfCapabilities()
	}
	out := make([]byte, capabilitySize*len(list))
	for i, one := range list {
		e := out[capabilitySize*i:]
		le.PutUint16(e, one.id)
		e[2] = 1 // major revision
		le.PutUint32(e[4:], one.number)
		le.PutUint32(e[8:], one.logical)
		le.PutUint32(e[12:], one.phys)
	}
	code := c.reply(out)
	c.d.put32(4, uint32(len(list)))
	return code
}

func (f *Firmware) functionsBitmap() uint32 { return 1<<f.cfg.PFs - 1 }

func boolean(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func (f *Firmware) pfCapabilities() []capability {
	c := &f.cfg
	list := []capability{
		{id: capSwitchMode},
		{id: capManagement},
		{id: capNPAR},
		{id: capOS2BMC},
		{id: capFunctions, number: f.functionsBitmap()},
		{id: capAlternateRAM, number: 1},
		{id: capWoL, phys: 1},
		{id: capSRIOV, number: boolean(c.VFs > 0)},
		{id: capVF, number: uint32(c.VFs), logical: uint32(c.FirstVF)},
		{id: capVMDq, number: 1},
		{id: cap8021Qbg, number: 1},
		{id: cap8021Qbr},
		{id: capVSI, number: uint32(c.VSIs)},
		f.dcbCapability(),
		{id: capFCoE},
		{id: capISCSI},
		{id: capRSS, number: rssTable, logical: rssWidth},
		{id: capRxQueues, number: uint32(c.Queues), phys: uint32(c.FirstQueue)},
		{id: capTxQueues, number: uint32(c.Queues), phys: uint32(c.FirstQueue)},
		{id: capVectors, number: uint32(c.Vectors)},
		{id: capVFVectors, number: uint32(c.VFVectors)},
		{id: capFlowDirector, number: fdGuaranteed, logical: fdBestEffort},
		{id: cap1588, number: 1},
	}
	for i := range ledsPerPort {
		list = append(list, capability{id: capLED, number: 1, phys: uint32(firstLEDPin + int(c.Port)*ledsPerPort + i)})
	}
	return append(
		list,
		capability{id: capSDP, number: 1, phys: uint32(c.Port)},
		capability{id: capMDIO, number: 1, logical: 1, phys: uint32(c.Port)}, // logical: I2C, as SFP+ has
		capability{id: capWriteProtect},
		capability{id: capNVM},
		capability{id: capFlex10},
		capability{id: capCEM},
	)
}

// dcbCapability says which traffic classes are enabled: those of the port's ETS configuration.
func (f *Firmware) dcbCapability() capability {
	return capability{id: capDCB, number: 1, logical: uint32(f.sw.port.classes), phys: 8}
}

// deviceCapabilities is the whole card. Vectors and flow director filters are those of all PFs.
func (f *Firmware) deviceCapabilities() []capability {
	list := f.pfCapabilities()
	pfs := uint32(f.cfg.PFs)
	for i := range list {
		one := &list[i]
		switch one.id {
		case capVF:
			one.number, one.logical = maxVFs, 0
		case capVSI:
			one.number = maxVSIs
		case capRxQueues, capTxQueues:
			one.number, one.phys = maxQueues, 0
		case capVectors:
			one.number *= pfs
		case capFlowDirector:
			one.number *= pfs
			one.logical *= pfs
		}
	}
	return list
}

// vfQueues is how many queue pairs a VF has at most.
const vfQueues = 16

func (f *Firmware) vfCapabilities() []capability {
	return []capability{
		{id: capFunctions, number: f.functionsBitmap()},
		{id: capVSI, number: 1},
		{id: capRSS, number: rssTableOfVF, logical: rssWidthOfVF},
		{id: capRxQueues, number: vfQueues},
		{id: capTxQueues, number: vfQueues},
		{id: capVectors, number: uint32(f.cfg.VFVectors)},
	}
}
