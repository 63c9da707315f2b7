package adminq

import (
	"slices"
	"testing"
)

// status asks for the link's.
func (p *port) status(flags uint16) *Descriptor {
	p.t.Helper()
	return p.must(OpGetLinkStatus, params16(flags), nil, false)
}

func TestLinkStatus(t *testing.T) {
	r := newRig(t)
	d := r.status(lseEnable)
	if d.u16(0) != lseEnabled || PHYType(d.Params[2]) != PHY10GBaseSFPP || Speed(d.Params[3]) != Speed10G ||
		d.Params[4] != linkUp|linkUpPort|linkMedia|linkSignal ||
		d.Params[5]&(anCompleted|anQualified) != anCompleted|anQualified ||
		d.u16(8) != MaxFrame || d.Params[10]&configCRC == 0 {
		t.Errorf("up: % x", d.Params)
	}
	if got := uint64(d.Params[11]) | uint64(d.Params[12])<<8 | uint64(d.Params[13])<<16 | uint64(d.Params[14])<<24; got !=
		r.fw.Config().PHYTypes {
		t.Errorf("PHY types %#x", got)
	}
	if d := r.status(lseDisable); d.u16(0) != 0 {
		t.Errorf("events are still on: % x", d.Params)
	}
	r.fw.SetLink(false)
	if d := r.status(0); d.Params[3] != 0 || d.Params[4] != linkMedia || d.Params[5] != anQualified {
		t.Errorf("down: % x", d.Params)
	}
	if r.fw.LinkSpeed() != 0 || r.fw.LinkUp() {
		t.Error("a link that is down has a speed")
	}
	if !slices.Equal(r.links, []bool{false}) {
		t.Errorf("link changes %v", r.links)
	}
}

// TestLinkEventsAreOneShot: a driver asks again after each.
func TestLinkEventsAreOneShot(t *testing.T) {
	r := newRig(t)
	r.fw.SetLink(false)
	if _, _, ok := r.event(); ok {
		t.Error("an event that nobody asked for")
	}
	r.status(lseEnable)
	r.fw.SetLink(true)
	d, _, ok := r.event()
	if !ok || d.Opcode != OpGetLinkStatus || d.Params[4]&linkUp == 0 || d.Params[0] != 0 {
		t.Errorf("event %v %+v", ok, d)
	}
	r.fw.SetLink(false)
	if _, _, ok := r.event(); ok {
		t.Error("a second event without being asked again")
	}
	r.status(lseEnable)
	r.must(OpSetEventMask, params16(0, 0, 0, 0, eventLinkUpDown), nil, false)
	r.fw.SetLink(true)
	if _, _, ok := r.event(); ok {
		t.Error("an event that is masked")
	}
	r.must(OpSetEventMask, params16(0, 0, 0, 0, 0x3FE&^eventLinkUpDown), nil, false)
	r.fw.SetLink(false)
	if _, _, ok := r.event(); !ok {
		t.Error("no event, though only others are masked")
	}
}

func TestRestartingAutoNegotiation(t *testing.T) {
	r := newRig(t)
	r.manual = true
	r.status(lseEnable)
	r.must(OpRestartAN, []byte{anRestart | anLinkEnable}, nil, false)
	if r.fw.LinkUp() {
		t.Error("the link is up while it negotiates")
	}
	if d, _, ok := r.event(); !ok || d.Params[4]&linkUp != 0 {
		t.Errorf("event %v % x", ok, d.Params)
	}
	r.status(lseEnable)
	r.run()
	if d, _, ok := r.event(); !ok || d.Params[4]&linkUp == 0 || !r.fw.LinkUp() {
		t.Errorf("event %v % x", ok, d.Params)
	}
	r.must(OpRestartAN, []byte{anRestart}, nil, false) // without enabling: down
	r.run()
	if r.fw.LinkUp() {
		t.Error("the link is up though it was disabled")
	}
	r.must(OpRestartAN, []byte{anRestart | anLinkEnable}, nil, false)
	r.must(OpRestartAN, []byte{anRestart | anLinkEnable}, nil, false)
	r.timers[0]()
	if r.fw.LinkUp() {
		t.Error("up before the second negotiation ended")
	}
	r.run()
	r.want(CodeInval, OpRestartAN, []byte{0x80}, nil, false)
	r.expect("command 0x80")
}

// TestATimerOfBeforeAResetMeansNothing: negotiation under way when the port is reset.
func TestATimerOfBeforeAResetMeansNothing(t *testing.T) {
	r := newRig(t)
	r.manual = true
	r.must(OpRestartAN, []byte{anRestart | anLinkEnable}, nil, false)
	r.fw.Reset(ResetGlobal)
	if !r.fw.LinkUp() {
		t.Error("down after the reset")
	}
	r.start()
	r.must(OpRestartAN, []byte{anRestart | anLinkEnable}, nil, false)
	r.timers[0]()
	if r.fw.LinkUp() {
		t.Error("an old timer ended a new negotiation")
	}
	r.timers[1]()
	if !r.fw.LinkUp() {
		t.Error("down after the negotiation")
	}
	r.timers = nil
	r.must(OpRestartAN, []byte{anRestart | anLinkEnable}, nil, false)
	r.fw.Reset(ResetPF) // the device forgets its timers
	if r.timers = nil; !r.fw.LinkUp() {
		t.Error("down for ever after a PF reset")
	}
}

func TestPHYAbilities(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PHYTypes |= 1 << PHY25GBaseSR })
	buf := make([]byte, phyAbilitiesSize)
	r.must(OpGetPHYAbilities, nil, buf, false)
	if le.Uint32(buf) != uint32(r.fw.Config().PHYTypes) || buf[13] != 2 || Speed(buf[4]) != Speed10G|Speed1G ||
		buf[5] != phyLinkEnable|phyANEnable|phyQualified || buf[20] != 3 || buf[23] != 0 {
		t.Errorf("% x", buf[:32])
	}
	r.must(OpGetPHYAbilities, params32(phyReportModules|phyReportInitial), buf, false)
	if buf[23] != 1 || buf[24] == 0 && buf[25] == 0 {
		t.Errorf("qualified modules % x", buf[20:60])
	}
	r.want(CodeInval, OpGetPHYAbilities, params32(8), buf, false)
	r.expect("param0")
}

// TestDPDKTakesTheLinkDownAndUp sends what its set_link_down and set_link_up do.
func TestDPDKTakesTheLinkDownAndUp(t *testing.T) {
	r := newRig(t)
	down := append(params32(0), byte(Speed10G|Speed1G), phyAtomicLink, 0, 0)
	r.must(OpSetPHYConfig, down, nil, false)
	if r.fw.LinkUp() {
		t.Error("up")
	}
	buf := make([]byte, phyAbilitiesSize)
	r.must(OpGetPHYAbilities, nil, buf, false)
	if le.Uint32(buf) != 0 {
		t.Errorf("PHY types %#x: DPDK takes a type for a sign that nothing needs to be done", le.Uint32(buf))
	}
	up := append(params32(0x7FFFFFFF), byte(Speed10G), phyLinkEnable|phyANEnable|phyAtomicLink, 0, 0, 0, 0, 0, 0, 0, 0x3F)
	r.must(OpSetPHYConfig, up, nil, false)
	if !r.fw.LinkUp() || r.fw.LinkSpeed() != Speed10G {
		t.Errorf("up %v, speed %#x", r.fw.LinkUp(), r.fw.LinkSpeed())
	}
	one := append(params32(0x7FFFFFFF), byte(Speed1G), phyLinkEnable|phyPauseTx|phyPauseRx, 0, 0)
	r.must(OpSetPHYConfig, one, nil, false)
	if r.fw.LinkSpeed() != Speed1G {
		t.Errorf("speed %#x", r.fw.LinkSpeed())
	}
	if d := r.status(0); d.Params[5]&(anPauseTx|anPauseRx) != anPauseTx|anPauseRx {
		t.Errorf("pause % x", d.Params)
	}
	r.want(CodeInval, OpSetPHYConfig, append(params32(1), byte(Speed40G)), nil, false)
	r.expect("speeds")
	r.want(CodeInval, OpSetPHYConfig, append(one, 0, 0, 0, 0, 0, 0, 0x80), nil, false)
	r.expect("FEC")
}

func TestPauseSettingsRestartTheLink(t *testing.T) {
	r := newRig(t)
	r.manual = true
	cfg := append(params32(uint32(r.fw.Config().PHYTypes)), byte(Speed10G|Speed1G),
		phyLinkEnable|phyANEnable|phyPauseRx|phyAtomicLink, 0, 0)
	r.must(OpSetPHYConfig, cfg, nil, false)
	if r.fw.LinkUp() {
		t.Error("the link stayed up")
	}
	r.run()
	r.must(OpSetPHYConfig, cfg, nil, false)
	if !r.fw.LinkUp() {
		t.Error("the same again took the link down")
	}
}

func TestMACConfiguration(t *testing.T) {
	r := newRig(t)
	r.must(OpSetMACConfig, append(params16(9018), configCRC|0x18), nil, false)
	if d := r.status(0); d.u16(8) != 9018 || d.Params[10] != configCRC|0x18 || r.fw.FrameLimit() != 9018 {
		t.Errorf("% x", d.Params)
	}
	for _, size := range []uint16{0, 63, 9729} {
		r.want(CodeInval, OpSetMACConfig, params16(size), nil, false)
		r.expect("frames of")
	}
}

func TestLoopback(t *testing.T) {
	r := newRig(t)
	r.fw.SetLink(false)
	r.must(OpSetLoopback, params16(4), nil, false)
	if r.fw.Loopback() != 4 || !r.fw.LinkUp() || r.status(0).Params[7] != 4 {
		t.Errorf("mode %d, up %v", r.fw.Loopback(), r.fw.LinkUp())
	}
	r.must(OpSetLoopback, params16(0), nil, false)
	if r.fw.LinkUp() {
		t.Error("up without cable")
	}
	r.want(CodeInval, OpSetLoopback, params16(3), nil, false)
	r.expect("loopback mode")
}

func TestAdvertisements(t *testing.T) {
	r := newRig(t)
	r.must(OpSetLocalAdvertisement, []byte{1, 2, 3, 4, 5, 6}, nil, false)
	for _, op := range []Opcode{OpGetLocalAdvertisement, OpGetPartnerAdvertisement} {
		if d := r.must(op, nil, nil, false); !slices.Equal(d.Params[:6], []byte{1, 2, 3, 4, 5, 6}) {
			t.Errorf("%s: % x", op, d.Params)
		}
	}
	r.fw.SetLink(false)
	r.want(CodeAgain, OpGetPartnerAdvertisement, nil, nil, false)
}

func TestPHYRegisters(t *testing.T) {
	r := newRig(t)
	r.must(OpSetPHYRegister, append([]byte{phyExternal, 30, 0, 0}, params32(0xC430, 0x1234)...), nil, false)
	d := r.must(OpGetPHYRegister, append([]byte{phyExternal, 30, 0, 0}, params32(0xC430)...), nil, false)
	if d.u32(8) != 0x1234 {
		t.Errorf("value %#x", d.u32(8))
	}
	// The module's EEPROM, as "ethtool -m" reads it.
	sum := uint8(0)
	for i := range uint32(64) {
		d = r.must(OpGetPHYRegister, append([]byte{phyModule, eepromAddress, 1, 0}, params32(i)...), nil, false)
		if i == 0 && d.u32(8) != 3 {
			t.Errorf("identifier %d", d.u32(8))
		}
		if i < 63 {
			sum += uint8(d.u32(8))
		}
	}
	if d.u32(8) != uint32(sum) {
		t.Errorf("checksum %#x, want %#x", d.u32(8), sum)
	}
	r.want(CodeIO, OpGetPHYRegister, append([]byte{phyModule, 0xA2, 1, 0}, params32(0)...), nil, false)
	r.want(CodeIO, OpGetPHYRegister, append([]byte{phyModule, eepromAddress, 1, 0}, params32(256)...), nil, false)
	r.want(CodePerm, OpSetPHYRegister, append([]byte{phyModule, eepromAddress, 1, 0}, params32(0, 0)...), nil, false)
	for i := range uint32(maxPHYRegisters - 1) { // with that of above
		r.must(OpSetPHYRegister, append([]byte{phyExternal, 29, 0, 0}, params32(i, 1)...), nil, false)
	}
	r.want(CodeNoSpc, OpSetPHYRegister, append([]byte{phyExternal, 28, 0, 0}, params32(0, 1)...), nil, false)
	r.must(OpSetPHYRegister, append([]byte{phyExternal, 29, 0, 0}, params32(0, 2)...), nil, false)
	for _, op := range []Opcode{OpGetPHYRegister, OpSetPHYRegister} {
		r.want(CodeInval, op, []byte{9}, nil, false)
		r.expect("interface 9")
	}
}

func TestPHYDebugAndActivities(t *testing.T) {
	r := newRig(t)
	r.must(OpSetPHYDebug, []byte{0x02}, nil, false)
	if !slices.Equal(r.links, []bool{false, true}) {
		t.Errorf("link changes %v", r.links)
	}
	d := r.must(OpRunPHYActivity, append([]byte{0, 0x10, 0, 0}, params32(0x801A)...), nil, false)
	if d.u32(4) != 4 {
		t.Errorf("status %#x", d.u32(4))
	}
	r.want(CodeInval, OpRunPHYActivity, append([]byte{0, 0x10, 0, 0}, params32(7)...), nil, false)
	r.want(CodeInval, OpRunPHYActivity, []byte{0, 9}, nil, false)
	r.expect("activity")
}

func TestSpeeds(t *testing.T) {
	total := uint32(0)
	for bit := range 8 {
		total += Speed(1 << bit).Mbps()
	}
	if total != 100+1000+2500+5000+10000+20000+25000+40000 || Speed(3).Mbps() != 0 {
		t.Errorf("sum %d", total)
	}
	for _, phy := range []PHYType{PHY10GBaseSR, PHY10GBaseLR, PHY10GBaseSFPP, PHY1000BaseSX, PHY40GBaseCR4, PHY25GBaseCR} {
		if moduleType(phy)[0] == 0 {
			t.Errorf("PHY type %#x has no module", phy)
		}
	}
	if moduleType(PHY10GBaseT)[0] != 0 {
		t.Error("10GBASE-T has a module")
	}
}
