package i40esim

import (
	"fmt"
	"sync"
	"time"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
)

var (
	_ vfiouser.Device = (*Device)(nil)
	_ vfiouser.Device = (*VF)(nil)
)

// Sizes of the BARs in bytes (real dumps; the PF's BAR 0 of older NVMs).
const (
	pfBAR0Size = 8 << 20
	pfBAR3Size = 32 << 10
	vfBAR0Size = 64 << 10
	vfBAR3Size = 16 << 10
	romSize    = 512 << 10
)

// Device is the physical function of a card. It implements vfiouser.Device.
//
// Concurrency: any goroutine may call any method at any time.
type Device struct {
	*card
	*endpoint
}

// card is everything behind the functions.
type card struct {
	cfg Config
	clk Clock

	mu  sync.Mutex
	out outbox
	rec recorder

	pfBAR, vfBAR bar
	regs         *file // of the PF's BAR 0, in which all state of registers is
	fw           *adminq.Firmware

	pf  *function
	vfs []*function // by VF, all of them, plugged in or not

	tx, rx   []*queue // by PF-relative queue
	hmc      hmc
	nvm      shadowRAM
	reset    resetState
	faults   faults
	steering steering
	link     linkState
	ptp      hardwareClock
	fdir     flowDirector
	standIn  standIn
}

// function is a PCI function of a card: the PF, or one of its VFs.
type function struct {
	c       *card
	name    string // as in the trace
	vf      int    // -1 for the PF
	pair    *adminq.Pair
	held    [2]heldQueue // by side of the pair
	host    Host         // nil without a client
	config  *configSpace
	bar3    []byte
	vectors []*vector
}

// bar is a register space: its table, what its registers do, and how often they were used.
type bar struct {
	table         *table
	onRead        []readFunc
	onWrite       []writeFunc
	reads, writes []uint64 // by row
}

func newBAR(rows []Register, size uint32, hooks map[string]behaviour) (bar, error) {
	t, err := newTable(rows, size)
	if err != nil {
		return bar{}, err
	}
	n := len(rows)
	b := bar{t, make([]readFunc, n), make([]writeFunc, n), make([]uint64, n), make([]uint64, n)}
	for name, h := range hooks {
		row, found := t.byName[name]
		if !found {
			return bar{}, fmt.Errorf("i40esim: register %s has a behaviour and no row", name)
		}
		b.onRead[row], b.onWrite[row] = h.read, h.write
	}
	return b, nil
}

// New makes a card that was just powered on.
func New(cfg Config) (*Device, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	c := &card{cfg: cfg, clk: cfg.Clock, regs: newFile(pfBAR0Size)}
	c.rec.sink = cfg.Trace
	c.out.wire = cfg.Wire
	pfRows, err := PFRegisters()
	if err != nil {
		return nil, err
	}
	vfRows, err := VFRegisters()
	if err != nil {
		return nil, err
	}
	if c.pfBAR, err = newBAR(pfRows, pfBAR0Size, pfBehaviours()); err != nil {
		return nil, err
	}
	if c.vfBAR, err = newBAR(vfRows, vfBAR0Size, vfBehaviours()); err != nil {
		return nil, err
	}
	if err := c.build(); err != nil {
		return nil, err
	}
	return &Device{c, &endpoint{f: c.pf}}, nil
}

// build makes what lies behind the registers.
func (c *card) build() error {
	fw, err := adminq.New(c.cfg.Card, registerBus{c}, adminq.Hooks{
		Violation:   c.violation,
		Trace:       c.traceText,
		LinkChanged: func(bool) { c.linkChanged() },
		AfterFunc:   func(d time.Duration, f func()) { c.after(d, f) },
	})
	if err != nil {
		return fmt.Errorf("i40esim: %w", err)
	}
	c.fw, c.cfg.Card = fw, fw.Config()
	card := &c.cfg.Card
	c.pf = c.newFunction(-1, card.Vectors)
	c.pf.pair = fw.AttachPF(c.pf, func() { c.pf.raiseOther(icr0AdminQ) })
	for vf := range card.VFs {
		c.vfs = append(c.vfs, c.newFunction(vf, card.VFVectors))
	}
	c.tx, c.rx = make([]*queue, card.Queues), make([]*queue, card.Queues)
	for q := range card.Queues {
		c.tx[q], c.rx[q] = &queue{c: c, index: q, tx: true}, &queue{c: c, index: q}
	}
	c.nvm.words = card.NVM
	c.ptp.start(c.clk.Now())
	c.fw.SetLink(!c.cfg.LinkDown)
	c.powerOn()
	return nil
}

func (c *card) newFunction(vf, vectors int) *function {
	f := &function{c: c, vf: vf, name: fmt.Sprintf("PF%d", c.cfg.Card.PF), config: newPFConfig(&c.cfg)}
	f.bar3 = make([]byte, pfBAR3Size)
	if vf >= 0 {
		f.name, f.config = fmt.Sprintf("VF%d", vf), newVFConfig(&c.cfg)
		f.bar3 = make([]byte, vfBAR3Size)
	}
	for n := range vectors {
		f.vectors = append(f.vectors, &vector{f: f, n: n})
	}
	return f
}

// lock and unlock are around everything that enters the card; unlock sends what has to leave it.
func (c *card) lock() { c.mu.Lock() }

func (c *card) unlock() {
	c.mu.Unlock()
	c.out.flush()
}

// after calls f with the lock held after d, unless the card is reset as a whole before.
func (c *card) after(d time.Duration, f func()) Timer {
	epoch := c.reset.epoch
	return c.clk.AfterFunc(d, func() {
		c.lock()
		defer c.unlock()
		if c.reset.epoch == epoch {
			f()
		}
	})
}

func (c *card) violation(format string, args ...any) { c.rec.violation(fmt.Sprintf(format, args...)) }

func (c *card) traceText(line string) { c.rec.add(step{kind: 't', text: line}) }

// outbox holds frames for the wire until the lock is released.
type outbox struct {
	wire Wire

	mu      sync.Mutex
	frames  [][]byte
	bytes   int // of frames
	sending bool
}

// outboxLimit is how many bytes a driver may have sent that the wire has not taken. Frames beyond that are lost, as in a
// network whose next hop is slower: a driver whose rings are full of packets to segment must not fill our memory.
const outboxLimit = 256 << 20

func (o *outbox) add(frame []byte) {
	if o.wire == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes+cap(frame) > outboxLimit {
		return
	}
	o.frames, o.bytes = append(o.frames, frame), o.bytes+cap(frame)
}

// flush sends what is there, in order. While one goroutine sends, others leave their frames to it.
func (o *outbox) flush() {
	if o.wire == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sending {
		return
	}
	o.sending = true
	for len(o.frames) > 0 {
		batch := o.frames
		o.frames, o.bytes = nil, 0
		o.mu.Unlock()
		for _, f := range batch {
			o.wire.Send(f)
		}
		o.mu.Lock()
	}
	o.sending = false
}
