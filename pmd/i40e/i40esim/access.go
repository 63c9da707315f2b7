package i40esim

// invalidRead is what a real card answers for an address without register.
const invalidRead = 0xDEADBEEF

// readFunc and writeFunc are what a register does besides keeping its value. f is the function whose driver accesses
// it, index the place in the register's row.
type (
	readFunc  func(c *card, f *function, index uint32) uint32
	writeFunc func(c *card, f *function, index, v uint32)
)

// behaviour is what a register does; a nil half means that it keeps and shows its value.
type behaviour struct {
	read  readFunc
	write writeFunc
}

func (f *function) bar() *bar {
	if f.vf < 0 {
		return &f.c.pfBAR
	}
	return &f.c.vfBAR
}

// readRegister is a 32-bit read of the driver.
func (f *function) readRegister(offset uint32) uint32 {
	b := f.bar()
	row, index, found := b.table.find(offset)
	if !found {
		f.c.rec.add(step{fn: f, kind: 'r', offset: offset, value: invalidRead})
		f.c.violation("%s: read of %#x, where the register table has nothing", f.name, offset)
		return invalidRead
	}
	b.reads[row]++
	v := f.load(b, row, index)
	f.c.rec.add(step{fn: f, kind: 'r', row: &b.table.rows[row], index: index, value: v})
	return v
}

// load is a read without the driver: it has the register's effects and is not traced.
func (f *function) load(b *bar, row int, index uint32) uint32 {
	r := &b.table.rows[row]
	if b.onRead[row] != nil {
		return b.onRead[row](f.c, f, index)
	}
	at := r.At(index%r.Count[0], index/r.Count[0])
	v := f.c.regs.load(at)
	if r.Access == ReadClears {
		f.c.regs.store(at, 0)
	}
	return v
}

// writeRegister is a 32-bit write of the driver.
func (f *function) writeRegister(offset, v uint32) {
	b := f.bar()
	row, index, found := b.table.find(offset)
	if !found {
		f.c.rec.add(step{fn: f, kind: 'w', offset: offset, value: v})
		f.c.violation("%s: write of 0x%08x to %#x, where the register table has nothing", f.name, v, offset)
		return
	}
	b.writes[row]++
	r := &b.table.rows[row]
	f.c.rec.add(step{fn: f, kind: 'w', row: r, index: index, value: v})
	if r.Access == ReadOnly || r.Access == ReadClears {
		f.c.violation("%s: write of 0x%08x to %s, which is read-only", f.name, v, r.Label(index))
		return
	}
	f.put(b, row, index, v)
}

// put is a write without the driver.
func (f *function) put(b *bar, row int, index, v uint32) {
	if f.c.reset.active || f.c.faults.registerStuck(&b.table.rows[row], index) {
		return
	}
	if b.onWrite[row] != nil {
		b.onWrite[row](f.c, f, index, v)
		return
	}
	f.c.keep(&b.table.rows[row], index, v)
}

// keep stores a write the way the table says.
func (c *card) keep(r *Register, index, v uint32) {
	at := r.At(index%r.Count[0], index/r.Count[0])
	old := c.regs.load(at)
	switch r.Access {
	case OnesClear:
		c.regs.store(at, old&^v)
	case WriteClears:
		c.regs.store(at, 0)
	case ReadWrite, dumpRegisters:
		c.regs.store(at, old&^r.Mask|v&r.Mask)
	case ReadOnly, ReadClears:
	}
}

// registerBus is how admin queue commands reach registers.
type registerBus struct{ c *card }

// ReadRegister reads a register of the PF by its offset.
func (b registerBus) ReadRegister(offset uint32) (uint32, bool) {
	row, index, found := b.c.pfBAR.table.find(offset)
	if offset%4 != 0 || !found {
		b.c.violation("%s: command reads register %#x, where the register table has nothing", b.c.pf.name, offset)
		return invalidRead, false
	}
	b.c.pfBAR.reads[row]++
	return b.c.pf.load(&b.c.pfBAR, row, index), true
}

// WriteRegister writes a register of the PF by its offset.
func (b registerBus) WriteRegister(offset, v uint32) bool {
	row, index, found := b.c.pfBAR.table.find(offset)
	if offset%4 != 0 || !found {
		b.c.violation("%s: command writes 0x%08x to register %#x, where the register table has nothing",
			b.c.pf.name, v, offset)
		return false
	}
	b.c.pfBAR.writes[row]++
	b.c.pf.put(&b.c.pfBAR, row, index, v)
	return true
}

// row returns a row of the PF's table, which must exist: names are constants of this package, and a test holds them
// against the table.
func (c *card) row(name string) *Register {
	n, found := c.pfBAR.table.byName[name]
	if !found {
		panic("i40esim: no register " + name)
	}
	return &c.pfBAR.table.rows[n]
}

// get and set are the model's own accesses to what a register holds, without effects.
func (c *card) get(name string, index ...uint32) uint32 { return c.regs.load(c.at(name, index)) }

func (c *card) set(name string, v uint32, index ...uint32) { c.regs.store(c.at(name, index), v) }

func (c *card) at(name string, index []uint32) uint32 {
	r := c.row(name)
	var i, j uint32
	if len(index) > 0 {
		i = index[0]
	}
	if len(index) > 1 {
		j = index[1]
	}
	return r.At(i, j)
}

// Register looks at a register of the PF's BAR 0 by name, without its effects. It is for tests.
func (d *Device) Register(name string, index ...uint32) uint32 {
	d.lock()
	defer d.unlock()
	return d.get(name, index...)
}
