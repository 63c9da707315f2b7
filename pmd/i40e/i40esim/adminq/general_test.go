package adminq

import (
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Version = Version{9, 120, 73026, 1, 15} })
	d := r.must(OpGetVersion, nil, nil, false)
	if d.u32(4) != 73026 || d.u16(8) != 9 || d.u16(10) != 120 || d.u16(12) != 1 || d.u16(14) != 15 {
		t.Errorf("params % x", d.Params)
	}
}

func TestDriverVersionIsRemembered(t *testing.T) {
	r := newRig(t)
	r.must(OpDriverVersion, []byte{6, 12, 0, 1}, []byte("6.12.43"), true)
	if name, version := r.fw.DriverName(); name != "6.12.43" || version != [4]uint8{6, 12, 0, 1} {
		t.Errorf("%q %v", name, version)
	}
}

func TestQueueShutdown(t *testing.T) {
	r := newRig(t)
	r.must(OpRequestResource, params16(resourceNVM, accessRead), nil, false)
	r.must(OpQueueShutdown, params32(1), nil, false)
	if r.fw.nvm.access != 0 || !r.fw.own.unloading {
		t.Error("the NVM is still owned")
	}
	r.want(CodeInval, OpQueueShutdown, params32(2), nil, false)
	r.expect("driver_unloading")
}

func TestResources(t *testing.T) {
	r := newRig(t)
	d := r.must(OpRequestResource, params16(resourceNVM, accessWrite), nil, false)
	if d.u32(4) != writeLease {
		t.Errorf("lease %d ms", d.u32(4))
	}
	r.must(OpReleaseResource, params16(resourceNVM), nil, false)
	r.must(OpReleaseResource, params16(resourceNVM), nil, false) // drivers do so to be sure
	r.must(OpRequestResource, params16(resourceSDP, accessRead, 0, 0, 1), nil, false)

	r.fw.HoldNVM(true)
	d, code := r.command(OpRequestResource, params16(resourceNVM, accessRead), nil, false)
	if code != CodeBusy || d.u32(4) != readLease {
		t.Errorf("%s, %d ms", code, d.u32(4))
	}
	r.fw.HoldNVM(false)
	r.must(OpRequestResource, params16(resourceNVM, accessRead), nil, false)

	r.want(CodeInval, OpRequestResource, params16(9, accessRead), nil, false)
	r.expect("resource 9")
	r.want(CodeInval, OpRequestResource, params16(resourceNVM, 3), nil, false)
	r.expect("access 3")
	r.want(CodeInval, OpReleaseResource, params16(3), nil, false)
	r.expect("resource 3")
}

func TestAddressesAreReadAndWritten(t *testing.T) {
	factory := MAC{0x3C, 0xFD, 0xFE, 1, 2, 3}
	r := newRig(t, func(c *Config) { c.MAC, c.PortMAC, c.SANMAC = factory, mac3, mac2 })
	buf := make([]byte, 24)
	d := r.must(OpReadMAC, nil, buf, false)
	if d.u16(0) != macLANValid|macPortValid|macWoLValid|macSANValid || MAC(buf[:6]) != factory || MAC(buf[6:12]) != mac2 ||
		MAC(buf[12:18]) != mac3 {
		t.Errorf("flags %#x, % x", d.u16(0), buf)
	}

	// 02:00:00:00:00:01 as the drivers send it.
	write := append(params16(macPreserve, 0x0200), params32(0x00000001)...)
	r.must(OpWriteMAC, write, nil, false)
	r.must(OpReadMAC, nil, buf, false)
	if MAC(buf[:6]) != mac1 || r.fw.MAC() != mac1 {
		t.Errorf("address % x", buf[:6])
	}
	r.fw.Reset(ResetPF)
	if r.fw.MAC() != mac1 {
		t.Errorf("%s after a PF reset, though it was to be preserved", r.fw.MAC())
	}
	r.fw.Reset(ResetCore)
	if r.fw.MAC() != factory {
		t.Errorf("%s after a core reset", r.fw.MAC())
	}
	r.port.start()
	r.must(OpWriteMAC, append(params16(macWritePort, 0x0200), params32(1)...), nil, false)
	r.must(OpReadMAC, nil, buf, false)
	if MAC(buf[12:18]) != mac1 || MAC(buf[:6]) != factory {
		t.Errorf("after writing the port's address: % x", buf)
	}
	r.must(OpWriteMAC, params16(macWriteMagic), nil, false)
	for _, p := range [][]byte{params16(0, 0), params16(0, 0x0100)} {
		r.want(CodeInval, OpWriteMAC, p, nil, false)
		r.expect("no unicast address")
	}
}

func TestClearPXE(t *testing.T) {
	r := newRig(t)
	if !r.fw.PXE() {
		t.Error("not in PXE mode after a reset")
	}
	r.want(CodeInval, OpClearPXE, []byte{0}, nil, false)
	r.expect("rx_cnt")
	r.must(OpClearPXE, []byte{2}, nil, false)
	if r.fw.PXE() {
		t.Error("still in PXE mode")
	}
}

// capabilities reads the list as drivers do.
func (p *port) capabilities(op Opcode) map[uint16][3]uint32 {
	p.t.Helper()
	buf := make([]byte, 40*capabilitySize)
	d := p.must(op, nil, buf, false)
	if int(d.DataLen) != int(d.u32(4))*capabilitySize {
		p.t.Errorf("%d elements in %d bytes", d.u32(4), d.DataLen)
	}
	out := make(map[uint16][3]uint32)
	for i := range d.u32(4) {
		e := buf[i*capabilitySize:]
		out[le.Uint16(e)] = [3]uint32{le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])}
	}
	return out
}

func TestCapabilities(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.PFs, c.Ports, c.PF, c.Port = 4, 2, 1, 1
		c.FirstQueue, c.Queues, c.VFs, c.FirstVF, c.VSIs, c.FirstVSI = 128, 96, 8, 16, 40, 40
	})
	caps := r.capabilities(OpListFunctionCapabilities)
	for id, want := range map[uint16][3]uint32{
		capFunctions: {0xF}, capSRIOV: {1}, capVF: {8, 16}, capVSI: {40}, capDCB: {1, 1, 8}, capRSS: {512, 6},
		capRxQueues: {96, 0, 128}, capTxQueues: {96, 0, 128}, capVectors: {129}, capVFVectors: {5},
		capFlowDirector: {fdGuaranteed, fdBestEffort}, cap1588: {1}, capMDIO: {1, 1, 1}, capVMDq: {1},
	} {
		if caps[id] != want {
			t.Errorf("capability %#x is %v, want %v", id, caps[id], want)
		}
	}
	if caps[capDCB][1]&1 == 0 || caps[capRxQueues][0] < 65 || caps[capFlowDirector][0] == 0 {
		t.Error("not what DPDK insists on")
	}
	device := r.capabilities(OpListDeviceCapabilities)
	if device[capRxQueues] != [3]uint32{1536, 0, 0} || device[capVF][0] != 128 || device[capVSI][0] != 384 {
		t.Errorf("of the device: %v", device)
	}
	vf := r.addVF(t, 2).capabilities(OpListFunctionCapabilities)
	if vf[capRxQueues][0] != 16 || vf[capVectors][0] != 5 || vf[capRSS] != [3]uint32{64, 4} {
		t.Errorf("of a VF: %v", vf)
	}
	r.want(CodeNoEnt, OpListFunctionCapabilities, []byte{capIndexEnabled, 9}, make([]byte, 2048), false)

	// A buffer that is too small is answered with the size that is needed, and the number of elements.
	d, code := r.command(OpListFunctionCapabilities, nil, make([]byte, 64), false)
	if code != CodeNoMem || int(d.DataLen) != len(caps)*capabilitySize || int(d.u32(4)) != len(caps) {
		t.Errorf("%s, %d bytes, %d elements", code, d.DataLen, d.u32(4))
	}
}

func TestStatisticsCounters(t *testing.T) {
	r := newRig(t)
	d := r.must(OpAddStatistics, params16(firstVSI, 100), nil, false)
	if d.u16(4) != 0 {
		t.Errorf("index %d", d.u16(4))
	}
	d = r.must(OpAddStatistics, params16(firstVSI, 101), nil, false)
	r.want(CodeExist, OpAddStatistics, params16(firstVSI, 100), nil, false)
	r.want(CodeNoEnt, OpAddStatistics, params16(77, 100), nil, false)
	r.want(CodeInval, OpAddStatistics, params16(firstVSI, 5000), nil, false)
	r.expect("VLAN 5000")
	r.want(CodeNoEnt, OpRemoveStatistics, params16(firstVSI, 101, 7), nil, false)
	r.must(OpRemoveStatistics, params16(firstVSI, 101, d.u16(4)), nil, false)
	for vlan := uint16(200); ; vlan++ {
		_, code := r.command(OpAddStatistics, params16(firstVSI, vlan), nil, false)
		if code == CodeNoSpc {
			if vlan != 200+maxVLANStats-1 {
				t.Errorf("no room at %d", vlan)
			}
			break
		}
	}
}

func TestPortParameters(t *testing.T) {
	r := newRig(t)
	d := r.must(OpSetPortParameters, params16(portPadShort|portDoubleVLAN|portSaveBad, firstVSI), nil, false)
	if _, _, double := r.fw.Switch().VLANTypes(); d.u16(4) != firstVSI || !double || !r.fw.Switch().SavesBadFrames() {
		t.Errorf("default SEID %d", d.u16(4))
	}
	r.want(CodeNoEnt, OpSetPortParameters, params16(portPadShort|portSaveBad, 3), nil, false)
	r.want(CodeInval, OpSetPortParameters, params16(0), nil, false)
	r.expect("must have")
	r.want(CodeInval, OpSetPortParameters, params16(portPadShort|0x100), nil, false)
	r.expect("flags")
}

func TestSwitchConfiguration(t *testing.T) {
	r := newRig(t)
	r.must(OpSetSwitchConfig, params16(1, 1, 0xFFFF, 0x88A8, 0x9100), nil, false)
	if outer, inner, _ := r.fw.Switch().VLANTypes(); outer != 0x88A8 || inner != 0x9100 {
		t.Errorf("tags %#x, %#x", outer, inner)
	}
	r.must(OpSetSwitchConfig, append(params16(0, 0, 0, 0, 0), 0x81), nil, false)
	outer, inner, _ := r.fw.Switch().VLANTypes()
	if outer != 0x8100 || inner != 0x8100 || r.fw.sw.mode != 1 || r.fw.sw.flags != 1 {
		t.Errorf("tags %#x, %#x by default, mode %d", outer, inner, r.fw.sw.mode)
	}
	r.want(CodeInval, OpSetSwitchConfig, params16(0x10, 0x10), nil, false)
	r.expect("flags 0x0010")
}

func TestSwitchResources(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 512)
	d := r.must(OpGetSwitchResources, nil, buf, false)
	found := make(map[uint8][2]uint16)
	for i := range int(d.Params[0]) {
		e := buf[16*i:]
		found[e[0]] = [2]uint16{le.Uint16(e[4:]), le.Uint16(e[6:])}
		if le.Uint16(e[4:]) != le.Uint16(e[6:])+le.Uint16(e[8:]) {
			t.Errorf("resource %#x: total is not used and free", e[0])
		}
	}
	if found[resourceVSI] != [2]uint16{66, 1} || found[resourceMAC] != [2]uint16{maxMACFilters, 1} {
		t.Errorf("resources %v", found)
	}
}

func TestUDPTunnels(t *testing.T) {
	r := newRig(t)
	d := r.must(OpAddUDPTunnel, []byte{0xB5, 0x12, 0, 0, 0, udpVXLAN}, nil, false) // 4789
	if d.Params[2] != 0 || d.Params[4] != 1 || d.u16(0) != 4789 {
		t.Errorf("params % x", d.Params)
	}
	d = r.must(OpAddUDPTunnel, []byte{0xC1, 0x17, 0, 0, 0, udpGeneve}, nil, false) // 6081
	if kind, ok := r.fw.Switch().TunnelPort(6081); !ok || kind != TunnelGeneve {
		t.Errorf("6081 is %v, %v", kind, ok)
	}
	r.want(CodeExist, OpAddUDPTunnel, []byte{0xB5, 0x12, 0, 0, 0, udpVXLANGPE}, nil, false)
	r.want(CodeInval, OpAddUDPTunnel, []byte{1, 1, 0, 0, 0, 9}, nil, false)
	r.expect("protocol 0x09")
	d = r.must(OpDeleteUDPTunnel, []byte{0, 0, d.Params[2]}, nil, false)
	if d.u16(0) != 6081 || d.Params[4] != 1 {
		t.Errorf("deleted % x", d.Params)
	}
	if _, ok := r.fw.Switch().TunnelPort(6081); ok {
		t.Error("6081 is still a tunnel")
	}
	r.want(CodeNoEnt, OpDeleteUDPTunnel, []byte{0, 0, 5}, nil, false)
	r.want(CodeNoEnt, OpDeleteUDPTunnel, []byte{0, 0, 200}, nil, false)
	for i := range maxUDPTunnels {
		want := CodeOK
		if i == maxUDPTunnels-1 {
			want = CodeNoSpc // 4789 has one
		}
		r.want(want, OpAddUDPTunnel, []byte{byte(i), 0x40, 0, 0, 0, udpTeredo}, nil, false)
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"PF":            func(c *Config) { c.PF = 3 },
		"last queue":    func(c *Config) { c.FirstQueue, c.Queues = 1500, 100 },
		"number of VFs": func(c *Config) { c.VFs = 129 },
		"first VF":      func(c *Config) { c.VFs, c.FirstVF = 64, 65 },
		"unicast":       func(c *Config) { c.MAC = mcst },
		"speed":         func(c *Config) { c.Speed = Speed40G },
		"PHY type":      func(c *Config) { c.PHYType = PHY25GBaseSR },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg, nil, Hooks{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fw, err := New(Config{}, nil, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	if c := fw.Config(); c.DeviceID != 0x1572 || c.Queues != 128 || !fw.LinkUp() {
		t.Errorf("completed to %+v", c)
	}
	if _, err := fw.AttachVF(0, nil, nil); err == nil {
		t.Error("a VF was attached to a PF without VFs")
	}
}
