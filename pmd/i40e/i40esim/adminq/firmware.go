package adminq

import (
	"fmt"
	"time"
)

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

func (m MAC) multicast() bool { return m[0]&1 != 0 }
func (m MAC) broadcast() bool { return m == MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF} }
func (m MAC) zero() bool      { return m == MAC{} }

// Function names the owner of a pair of admin queues: the PF, or one of its VFs, numbered as the PF does (from 0).
type Function struct {
	VF    bool
	Index uint8
}

func (f Function) String() string {
	if f.VF {
		return fmt.Sprintf("VF%d", f.Index)
	}
	return fmt.Sprintf("PF%d", f.Index)
}

// Registers is what commands reach of the device's registers, by their offset in the PF's BAR0. ok is false for a
// register that the device does not have; the device reports that itself.
type Registers interface {
	ReadRegister(offset uint32) (value uint32, ok bool)
	WriteRegister(offset, value uint32) (ok bool)
}

// Hooks are the firmware's wires to the rest of the card. Each may be nil.
type Hooks struct {
	// Violation hears of what a driver must not do.
	Violation func(format string, args ...any)
	// Trace hears of each completed command and each event, as one line.
	Trace func(line string)
	// LinkChanged is called when LinkUp changes.
	LinkChanged func(up bool)
	// SwitchChanged is called when a VSI, its queues or a filter changed: what was computed from them is void.
	SwitchChanged func()
	// AfterFunc calls f with the card's lock held after d, unless the device is reset before. Nil makes what needs time
	// (auto-negotiation) happen at once.
	AfterFunc func(d time.Duration, f func())
}

// Firmware is one card's: its switch, its link and all else that commands change.
type Firmware struct {
	cfg   Config
	regs  Registers
	hooks Hooks

	pf  *Pair
	vfs []*Pair // by VF; nil when nothing is plugged into the slot

	mailbox Mailbox // what answers VFs in the PF driver's stead, or nil

	faults []Fault
	counts map[Opcode]uint64

	sw    *Switch
	link  link
	sched scheduler
	lldp  lldp
	nvm   nvm
	ddp   profiles
	own   function // the PF's own settings

	commands map[Opcode]command
}

// New makes the firmware of a card that was just powered on. The registers are used by commands only, never here.
func New(cfg Config, regs Registers, hooks Hooks) (*Firmware, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("adminq: %w", err)
	}
	f := &Firmware{cfg: cfg, regs: regs, hooks: hooks, vfs: make([]*Pair, cfg.VFs), counts: make(map[Opcode]uint64)}
	f.commands = commandTable()
	f.pf = &Pair{fw: f, fn: Function{Index: cfg.PF}}
	f.link.cable = true
	f.Reset(ResetEMP)
	return f, nil
}

// AttachPF plugs the PF's queues into its driver's memory; raise is its interrupt cause ADMINQ.
func (f *Firmware) AttachPF(dma DMA, raise func()) *Pair {
	f.pf.dma, f.pf.raise = dma, raise
	return f.pf
}

// AttachVF plugs in the queues of VF vf (from 0).
func (f *Firmware) AttachVF(vf int, dma DMA, raise func()) (*Pair, error) {
	if vf < 0 || vf >= len(f.vfs) {
		return nil, fmt.Errorf("adminq: attaching VF %d: the PF has %d; configure more", vf, len(f.vfs))
	}
	f.vfs[vf] = &Pair{fw: f, fn: Function{VF: true, Index: uint8(vf)}, dma: dma, raise: raise}
	return f.vfs[vf], nil
}

// DetachVF unplugs what AttachVF plugged in.
func (f *Firmware) DetachVF(vf int) {
	if vf >= 0 && vf < len(f.vfs) {
		f.vfs[vf] = nil
	}
}

// PF returns the PF's queues.
func (f *Firmware) PF() *Pair { return f.pf }

// VF returns the queues of VF vf, or nil.
func (f *Firmware) VF(vf int) *Pair {
	if vf < 0 || vf >= len(f.vfs) {
		return nil
	}
	return f.vfs[vf]
}

// Switch returns the embedded switch's state, for steering.
func (f *Firmware) Switch() *Switch { return f.sw }

// Config returns what the firmware was made with.
func (f *Firmware) Config() Config { return f.cfg }

// Counts returns how often each opcode was completed on a ring, whatever the code.
func (f *Firmware) Counts() map[Opcode]uint64 {
	counts := make(map[Opcode]uint64, len(f.counts))
	for op, n := range f.counts {
		counts[op] = n
	}
	return counts
}

// ResetKind is how deep a reset goes.
type ResetKind uint8

// The resets, each including those before it (datasheet, "Resets").
const (
	ResetPF     ResetKind = iota // PFGEN_CTRL.PFSWR, FLR: the PF's queues, VSIs, filters
	ResetCore                    // CORER: the same for every function, profiles
	ResetGlobal                  // GLOBR: and the port
	ResetEMP                     // EMPR, power on: and the firmware's settings
)

// Reset does to the firmware's state what a reset does. What was posted and not read is lost; the NVM keeps what was
// committed. The device resets its own registers.
func (f *Firmware) Reset(kind ResetKind) {
	f.pf.Reset()
	f.nvm.release()
	f.own.reset(kind)
	f.sw = newSwitch(&f.cfg)
	f.sched.reset()
	f.link.resetEvents()
	if kind >= ResetCore {
		for _, p := range f.vfs {
			if p != nil {
				p.Reset()
			}
		}
		f.ddp.reset()
	}
	if kind >= ResetGlobal {
		f.link.resetPort(&f.cfg)
		f.lldp.resetLocal()
	}
	if kind >= ResetEMP {
		f.lldp.reset(&f.cfg)
		f.nvm.reset(f.cfg.NVM)
	}
	f.updateLink()
	f.lldpChanged()
}

// SetMailbox makes m answer the messages of VFs in the PF driver's stead. With nil they go to the PF's receive queue.
func (f *Firmware) SetMailbox(m Mailbox) { f.mailbox = m }

func (f *Firmware) violation(format string, args ...any) {
	if f.hooks.Violation != nil {
		f.hooks.Violation(format, args...)
	}
}

func (f *Firmware) switchChanged() {
	if f.hooks.SwitchChanged != nil {
		f.hooks.SwitchChanged()
	}
}

// after calls fn once time has passed, at once when the device has no clock.
func (f *Firmware) after(d time.Duration, fn func()) {
	if f.hooks.AfterFunc == nil {
		fn()
		return
	}
	f.hooks.AfterFunc(d, fn)
}
