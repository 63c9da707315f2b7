package i40esim

import (
	"encoding/binary"
	"errors"
	"fmt"

	"weft/internal/vfiouser"
)

// endpoint is the vfio-user side of a function.
type endpoint struct{ f *function }

// VF is a virtual function of a Device, served as a device of its own. It implements vfiouser.Device.
//
// Concurrency: any goroutine may call any method at any time.
type VF struct {
	*endpoint
	index int
}

// VF plugs in virtual function index (from 0) of the card, and returns it.
func (d *Device) VF(index int) (*VF, error) {
	d.lock()
	defer d.unlock()
	if index < 0 || index >= len(d.vfs) {
		return nil, fmt.Errorf("i40esim: VF %d: the card has %d; configure more", index, len(d.vfs))
	}
	f := d.vfs[index]
	if f.pair == nil {
		pair, err := d.fw.AttachVF(index, f, func() { f.raiseOther(icr0AdminQ) })
		if err != nil {
			return nil, fmt.Errorf("i40esim: %w", err)
		}
		f.pair = pair
	}
	if err := d.startStandIn(); err != nil {
		return nil, err
	}
	return &VF{&endpoint{f: f}, index}, nil
}

// Index is the VF's number on its card, from 0.
func (v *VF) Index() int { return v.index }

// Info describes the function's regions and interrupts, as the real dumps have them.
func (e *endpoint) Info() vfiouser.DeviceInfo {
	bar0, rom := uint64(pfBAR0Size), uint64(romSize)
	if e.f.vf >= 0 {
		bar0, rom = vfBAR0Size, 0
	}
	const rw = vfiouser.RegionRead | vfiouser.RegionWrite
	info := vfiouser.DeviceInfo{
		Reset: true,
		Regions: []vfiouser.RegionInfo{
			{Index: vfiouser.RegionBAR0, Size: bar0, Flags: rw},
			{Index: vfiouser.RegionBAR3, Size: uint64(len(e.f.bar3)), Flags: rw},
			{Index: vfiouser.RegionConfig, Size: configSize, Flags: rw},
		},
		IRQs: []vfiouser.IRQInfo{
			{Index: vfiouser.IRQMSIX, Count: len(e.f.vectors), Flags: vfiouser.IRQEventFD | vfiouser.IRQNoResize},
			{Index: vfiouser.IRQError, Count: 1, Flags: vfiouser.IRQEventFD},
			{Index: vfiouser.IRQRequest, Count: 1, Flags: vfiouser.IRQEventFD},
		},
	}
	if e.f.vf < 0 {
		info.Regions = append(info.Regions,
			vfiouser.RegionInfo{Index: vfiouser.RegionROM, Size: rom, Flags: vfiouser.RegionRead})
		info.IRQs = append(info.IRQs,
			vfiouser.IRQInfo{
				Index: vfiouser.IRQINTx, Count: 1,
				Flags: vfiouser.IRQEventFD | vfiouser.IRQMaskable | vfiouser.IRQAutoMasked,
			},
			vfiouser.IRQInfo{Index: vfiouser.IRQMSI, Count: 1, Flags: vfiouser.IRQEventFD})
	}
	return info
}

// Host is what a function works for: the memory that it reaches, and the interrupts that it can send. A vfio-user
// session is one; a driver in the same process can be one, too.
type Host interface {
	Read(addr uint64, p []byte) error
	Write(addr uint64, p []byte) error
	// Trigger sends interrupt n of a kind (vfiouser.IRQMSIX ...). Assigned says whether somebody listens for it.
	Trigger(kind, n int) bool
	Assigned(kind, n int) bool
}

// sessionHost makes a Host of a vfio-user session.
type sessionHost struct{ *vfiouser.Session }

func (h sessionHost) Read(addr uint64, p []byte) error  { return h.DMA().Read(addr, p) }
func (h sessionHost) Write(addr uint64, p []byte) error { return h.DMA().Write(addr, p) }

// Attach gives the function its client.
func (e *endpoint) Attach(s *vfiouser.Session) { e.AttachHost(sessionHost{s}) }

// AttachHost is Attach for a driver in the same process, which then uses ReadRegion and WriteRegion.
func (e *endpoint) AttachHost(h Host) {
	e.f.c.lock()
	defer e.f.c.unlock()
	e.f.host = h
	if e.f.vf < 0 {
		e.f.c.stopStandIn()
	}
}

// Detach stops all that uses the client's memory.
func (e *endpoint) Detach() {
	f := e.f
	f.c.lock()
	defer f.c.unlock()
	f.c.rec.flush()
	f.functionReset()
	f.host = nil
	if f.vf < 0 && f.c.standIn.responder != nil {
		if err := f.c.startStandIn(); err != nil {
			f.c.violation("the stand-in for the PF's driver: %v", err)
		}
	}
}

// Reset brings the function into its state at power-on: for a PF the whole card, as a card alone in its slot would be.
func (e *endpoint) Reset() error {
	f := e.f
	f.c.lock()
	defer f.c.unlock()
	if f.vf < 0 {
		f.c.powerOn()
	} else {
		f.config.reset()
		f.functionReset()
	}
	return nil
}

// SetIRQs is told of changes that the session has made already; what was latched for a vector is evaluated again.
func (e *endpoint) SetIRQs(set vfiouser.IRQSet) {
	e.f.c.lock()
	defer e.f.c.unlock()
	if set.Index == vfiouser.IRQINTx && set.Action == vfiouser.IRQUnmask {
		e.f.vectors[0].evaluate()
	}
}

// Mapped and Unmapped need nothing: every access goes through the session's table.
func (e *endpoint) Mapped(vfiouser.Mapping) {}

// Unmapped needs nothing: see Mapped.
func (e *endpoint) Unmapped(vfiouser.Mapping) {}

// ReadRegion reads registers, configuration space, the MSI-X table or the expansion ROM, which is blank.
func (e *endpoint) ReadRegion(index int, offset uint64, p []byte) error {
	f := e.f
	f.c.lock()
	defer f.c.unlock()
	switch index {
	case vfiouser.RegionBAR0:
		f.readBAR0(uint32(offset), p)
	case vfiouser.RegionBAR3:
		copy(p, f.bar3[offset:])
	case vfiouser.RegionConfig:
		f.config.read(int(offset), p)
	case vfiouser.RegionROM:
		for i := range p {
			p[i] = 0xFF
		}
	default:
		return fmt.Errorf("i40esim: reading region %d: there is none", index)
	}
	return nil
}

// WriteRegion writes what ReadRegion reads.
func (e *endpoint) WriteRegion(index int, offset uint64, p []byte) error {
	f := e.f
	f.c.lock()
	defer f.c.unlock()
	switch index {
	case vfiouser.RegionBAR0:
		f.writeBAR0(uint32(offset), p)
	case vfiouser.RegionBAR3:
		if pba := pbaOffset(f); offset < pba {
			copy(f.bar3[offset:pba], p)
		}
	case vfiouser.RegionConfig:
		f.writeConfig(int(offset), p)
	default:
		return fmt.Errorf("i40esim: writing region %d: there is none, or it is read-only", index)
	}
	return nil
}

// pbaOffset is where the MSI-X pending bits, which are read-only, are in BAR 3.
func pbaOffset(f *function) uint64 {
	if f.vf < 0 {
		return pfPBA
	}
	return vfPBA
}

// What can be wrong with DMA of the model itself.
var (
	errNoClient  = errors.New("no driver is connected")
	errBusMaster = errors.New("bus mastering is off (PCI command register)")
	errInjected  = errors.New("injected fault")
)

// Read is DMA from the driver's memory.
func (f *function) Read(addr uint64, p []byte) error {
	if err := f.mayDMA(); err != nil {
		return err
	}
	return f.host.Read(addr, p)
}

// Write is DMA to the driver's memory.
func (f *function) Write(addr uint64, p []byte) error {
	if err := f.mayDMA(); err != nil {
		return err
	}
	return f.host.Write(addr, p)
}

func (f *function) mayDMA() error {
	switch {
	case f.host == nil:
		return errNoClient
	case f.c.faults.takeDMA():
		return errInjected
	case !f.config.busMaster():
		f.c.violation("%s: DMA while bus mastering is off", f.name)
		return errBusMaster
	}
	return nil
}

// readBAR0 does the accesses of one, two, or no whole registers.
func (f *function) readBAR0(offset uint32, p []byte) {
	if !f.aligned("read", offset, len(p)) {
		for i := range p {
			p[i] = 0xFF
		}
		return
	}
	for ; len(p) > 0; p, offset = p[4:], offset+4 {
		binary.LittleEndian.PutUint32(p, f.readRegister(offset))
	}
}

func (f *function) writeBAR0(offset uint32, p []byte) {
	if !f.aligned("write", offset, len(p)) {
		return
	}
	for ; len(p) > 0; p, offset = p[4:], offset+4 {
		f.writeRegister(offset, binary.LittleEndian.Uint32(p))
	}
}

// aligned refuses what is not one register, or two that make a 64-bit access.
func (f *function) aligned(verb string, offset uint32, n int) bool {
	if !f.config.memorySpace() {
		f.c.violation("%s: %s of BAR 0 at %#x while memory space is off", f.name, verb, offset)
		return false
	}
	if (n == 4 || n == 8) && offset%uint32(n) == 0 {
		return true
	}
	f.c.violation("%s: %s of %d bytes at %#x: registers are accessed by 4 or 8 aligned bytes", f.name, verb, n, offset)
	return false
}
