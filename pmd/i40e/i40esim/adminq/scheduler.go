package adminq

// bandwidth is a VSI's configuration of the transmit scheduler. Nothing in the model is shaped by it; drivers read it back.
type bandwidth struct {
	limit      uint16 // in 50 Mbit/s, 0 for none
	burst      uint8
	share      [8]uint8  // relative credits of classes
	limits     [8]uint16 // of classes
	limitBurst [2]uint16 // four bits a class
}

// component is the same for a VEB or the port.
type component struct {
	bandwidth
	classes  uint8
	absolute uint8
	strict   uint8
	seepage  uint8
	ets      bool
}

func newComponent() component {
	c := component{classes: 1}
	c.share[0] = 100
	return c
}

// scheduler is what concerns the PF as a whole.
type scheduler struct {
	suspended  bool
	partition  [partitionSize]byte
	hmcProfile uint8
	hmcVFs     uint8
}

const partitionSize = 34

func (s *scheduler) reset() { *s = scheduler{hmcProfile: hmcProfileDefault} }

// Suspended says whether the port's transmission is stopped (041B).
func (f *Firmware) Suspended() bool { return f.sched.suspended }

// VSIBandwidth is a VSI's limit in Mbit/s, 0 for none.
func (v *VSI) VSIBandwidth() int { return 50 * int(v.bw.limit) }

func (f *Firmware) schedVSI(c *call) (*VSI, Code) {
	if v := f.sw.vsiBySEID(c.d.u16(0)); v != nil {
		return v, CodeOK
	}
	return nil, CodeNoEnt
}

// configureVSIBandwidth is command 0400.
func configureVSIBandwidth(f *Firmware, c *call) Code {
	v, code := f.schedVSI(c)
	if code != CodeOK {
		return code
	}
	// Model: drivers write "inactive accumulation", 4, though the command's description ends at 3.
	if c.d.Params[8] > 4 {
		return f.badArgument(c, "max_credit %d, at most 4", c.d.Params[8])
	}
	v.bw.limit, v.bw.burst = c.d.u16(4), c.d.Params[8]
	return CodeOK
}

// replyQueueSets puts the VSI's handles into the buffer at a place.
func (c *call) replyQueueSets(v *VSI, at int) Code {
	for tc := range 8 {
		handle, _ := v.QueueSet(tc)
		le.PutUint16(c.buf[at+2*tc:], handle)
	}
	return c.echo()
}

// configureVSIETSLimit is command 0406.
func configureVSIETSLimit(f *Firmware, c *call) Code {
	v, code := f.schedVSI(c)
	if code != CodeOK {
		return code
	}
	if c.buf[0]&^v.TrafficClasses() != 0 {
		return CodeInval
	}
	for tc := range 8 {
		if c.buf[0]>>tc&1 != 0 {
			v.bw.limits[tc] = le.Uint16(c.buf[16+2*tc:])
		}
	}
	v.bw.limitBurst = [2]uint16{le.Uint16(c.buf[32:]), le.Uint16(c.buf[34:])}
	return c.replyQueueSets(v, 16)
}

// configureVSITCBandwidth is command 0407: it also decides which traffic classes the VSI has, and gives out queue sets.
func configureVSITCBandwidth(f *Firmware, c *call) Code {
	v, code := f.schedVSI(c)
	if code != CodeOK {
		return code
	}
	if c.buf[0] == 0 {
		return f.badArgument(c, "no traffic class")
	}
	if !f.sw.setClasses(v, c.buf[0]) {
		return CodeNoSpc
	}
	for tc := range 8 {
		v.bw.share[tc] = 0
		if c.buf[0]>>tc&1 != 0 {
			v.bw.share[tc] = c.buf[4+tc]
		}
	}
	f.switchChanged()
	return c.replyQueueSets(v, 16)
}

// queryVSIBandwidth is command 0408.
func queryVSIBandwidth(f *Firmware, c *call) Code {
	v, code := f.schedVSI(c)
	if code != CodeOK {
		return code
	}
	var out [64]byte
	out[0] = v.TrafficClasses()
	for tc := range 8 {
		handle, _ := v.QueueSet(tc)
		le.PutUint16(out[16+2*tc:], handle)
	}
	le.PutUint16(out[36:], v.bw.limit)
	out[40] = v.bw.burst
	return c.reply(out[:])
}

// queryVSIETS is command 040A.
func queryVSIETS(f *Firmware, c *call) Code {
	v, code := f.schedVSI(c)
	if code != CodeOK {
		return code
	}
	var out [32]byte
	out[0] = v.TrafficClasses()
	copy(out[4:], v.bw.share[:])
	v.bw.putLimits(out[12:])
	return c.reply(out[:])
}

// putLimits writes the limits of eight classes and their bursts: 20 bytes.
func (b *bandwidth) putLimits(p []byte) {
	for tc, limit := range b.limits {
		le.PutUint16(p[2*tc:], limit)
	}
	le.PutUint16(p[16:], b.limitBurst[0])
	le.PutUint16(p[18:], b.limitBurst[1])
}

// schedComponent is the VEB or the port that a command is about.
func (f *Firmware) schedComponent(c *call) (*component, Code) {
	seid := c.d.u16(0) & seidMask
	if seid == seidMAC {
		return &f.sw.port, CodeOK
	}
	if veb := f.sw.vebs[seid]; veb != nil {
		return &veb.comp, CodeOK
	}
	return nil, CodeNoEnt
}

// configureSwitchBandwidth is command 0410.
func configureSwitchBandwidth(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	if c.d.Params[8] > 3 {
		return f.badArgument(c, "max_bw %d, at most 3", c.d.Params[8])
	}
	comp.limit, comp.burst = c.d.u16(4), c.d.Params[8]
	return CodeOK
}

// configureETS is commands 0413, 0414 and 0415: enable, modify, disable.
func configureETS(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	if c.d.Opcode == OpDisableSwitchETS {
		if !comp.ets {
			return CodeNoEnt
		}
		*comp = newComponent()
		return CodeOK
	}
	if c.d.Opcode == OpModifySwitchETS && !comp.ets {
		return CodeNoEnt
	}
	if c.buf[4] == 0 {
		return f.badArgument(c, "no traffic class")
	}
	comp.ets, comp.classes, comp.seepage, comp.strict = true, c.buf[4], c.buf[5], c.buf[6]
	copy(comp.share[:], c.buf[24:32])
	return CodeOK
}

// configureSwitchETSLimit is command 0416.
func configureSwitchETSLimit(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	for tc := range 8 {
		if c.buf[0]>>tc&1 != 0 {
			comp.limits[tc] = le.Uint16(c.buf[16+2*tc:])
		}
	}
	comp.limitBurst = [2]uint16{le.Uint16(c.buf[32:]), le.Uint16(c.buf[34:])}
	return CodeOK
}

// configureSwitchTCBandwidth is command 0417.
func configureSwitchTCBandwidth(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	if c.buf[0] == 0 {
		return f.badArgument(c, "no traffic class")
	}
	comp.classes, comp.absolute = c.buf[0], c.buf[3]
	copy(comp.share[:], c.buf[4:12])
	return CodeOK
}

// querySwitchETS is command 0418.
func querySwitchETS(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	var out [64]byte
	out[0] = comp.classes
	le.PutUint16(out[36:], comp.limit)
	out[40] = comp.burst
	return c.reply(out[:])
}

// queryPortETS is command 0419.
func queryPortETS(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	var out [68]byte
	out[4], out[6] = comp.classes, comp.strict
	copy(out[8:], comp.share[:])
	comp.putLimits(out[16:])
	return c.reply(out[:])
}

// querySwitchBandwidth is command 041A.
func querySwitchBandwidth(f *Firmware, c *call) Code {
	comp, code := f.schedComponent(c)
	if code != CodeOK {
		return code
	}
	var out [32]byte
	out[0], out[3] = comp.classes, comp.absolute
	copy(out[4:], comp.share[:])
	comp.putLimits(out[12:])
	return c.reply(out[:])
}

// suspendPort and resumePort are commands 041B and 041C.
func suspendPort(f *Firmware, c *call) Code {
	f.sched.suspended = true
	f.switchChanged()
	return CodeOK
}

func resumePort(f *Firmware, c *call) Code {
	f.sched.suspended = false
	f.switchChanged()
	return CodeOK
}

// configurePartition is command 041D, for ports that are divided among PFs. One PF a port has nothing to divide, and
// drivers do not ask for it then.
func configurePartition(f *Firmware, c *call) Code {
	if f.cfg.PFs <= f.cfg.Ports {
		return CodeMode
	}
	copy(f.sched.partition[:], c.buf)
	return CodeOK
}

// Profiles of the host memory cache.
const (
	hmcProfileDefault = 1
	hmcProfileLast    = 3
)

// queryHMCProfile is command 0500.
func queryHMCProfile(f *Firmware, c *call) Code {
	c.d.zeroFrom(0, 16)
	c.d.Params[0], c.d.Params[1] = f.sched.hmcProfile, f.sched.hmcVFs
	return CodeOK
}

// setHMCProfile is command 0501.
func setHMCProfile(f *Firmware, c *call) Code {
	if p := c.d.Params[0]; p < hmcProfileDefault || p > hmcProfileLast {
		return f.badArgument(c, "profile %d", p)
	}
	f.sched.hmcProfile, f.sched.hmcVFs = c.d.Params[0], c.d.Params[1]
	return CodeOK
}
