package i40esim

import "weft/pmd/i40e/i40esim/adminq"

// faults are what goes wrong on purpose.
type faults struct {
	interrupts int // to lose
	dmaSkip    int // accesses that still succeed
	dmaTimes   int // accesses to fail after those
	noSWInt    bool
	corruptNVM bool
	stuck      map[string]bool // registers that keep their value, by label
}

func (f *faults) takeInterrupt() bool {
	if f.interrupts == 0 {
		return false
	}
	f.interrupts--
	return true
}

func (f *faults) takeDMA() bool {
	if f.dmaTimes == 0 {
		return false
	}
	if f.dmaSkip > 0 {
		f.dmaSkip--
		return false
	}
	f.dmaTimes--
	return true
}

func (f *faults) takeSoftwareInterrupt() bool { return f.noSWInt }

func (f *faults) registerStuck(r *Register, index uint32) bool {
	return len(f.stuck) > 0 && (f.stuck[r.Name] || f.stuck[r.Label(index)])
}

// InjectCommand makes admin queue commands fail, hang or break the queue.
func (d *Device) InjectCommand(f adminq.Fault) {
	d.lock()
	defer d.unlock()
	d.fw.Inject(f)
}

// LoseInterrupts makes the next n interrupts vanish on their way.
func (d *Device) LoseInterrupts(n int) {
	d.lock()
	defer d.unlock()
	d.faults.interrupts = n
}

// FailDMA lets skip accesses to the driver's memory pass and fails the times after them, as unmapped memory does.
func (d *Device) FailDMA(skip, times int) {
	d.lock()
	defer d.unlock()
	d.faults.dmaSkip, d.faults.dmaTimes = skip, times
}

// StickRegister makes writes of a register have no effect: a row of the table by name, or one register of it as the
// trace names it ("QTX_CTL[3]"). The register self-test fails by it.
func (d *Device) StickRegister(label string) {
	d.lock()
	defer d.unlock()
	if d.faults.stuck == nil {
		d.faults.stuck = make(map[string]bool)
	}
	d.faults.stuck[label] = true
}

// CorruptNVM makes the shadow RAM's checksum wrong, for register reads: the EEPROM self-test fails by it.
func (d *Device) CorruptNVM(on bool) {
	d.lock()
	defer d.unlock()
	d.faults.corruptNVM = on
}

// LoseSoftwareInterrupts makes SWINT_TRIG do nothing: the interrupt self-test fails by it.
func (d *Device) LoseSoftwareInterrupts(on bool) {
	d.lock()
	defer d.unlock()
	d.faults.noSWInt = on
}

// ClearFaults ends all faults. The link stays as SetLink left it.
func (d *Device) ClearFaults() {
	d.lock()
	defer d.unlock()
	d.faults = faults{}
	d.fw.ClearFaults()
}
