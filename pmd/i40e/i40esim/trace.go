package i40esim

import (
	"fmt"
	"io"
	"slices"
)

// lastSteps is how many steps of the driver a violation keeps.
const lastSteps = 24

// maxViolations bounds how many violations are kept; those after them are only counted.
const maxViolations = 1000

// Violation is something that a driver must not do, and the steps that led to it.
type Violation struct {
	What  string
	Steps []string // the driver's last steps in the trace's form, oldest first; the last is the offence itself
}

func (v Violation) String() string {
	s := v.What
	for _, step := range v.Steps {
		s += "\n\tafter " + step
	}
	return s
}

// step is one access or command; it becomes text when somebody asks.
type step struct {
	fn     *function
	kind   byte // 'r', 'w', or 't' for text
	row    *Register
	index  uint32
	offset uint32 // of an access without row
	value  uint32
	text   string
	times  int
}

func (s *step) same(o *step) bool {
	a, b := *s, *o
	a.times, b.times = 0, 0
	return a == b
}

func (s *step) String() string {
	if s.kind == 't' {
		return s.text
	}
	name := fmt.Sprintf("%#x", s.offset)
	if s.row != nil {
		name = s.row.Label(s.index)
	}
	verb := map[byte]string{'r': "read ", 'w': "write"}[s.kind]
	line := fmt.Sprintf("%s %s %s 0x%08x", s.fn.name, verb, name, s.value)
	if s.times > 1 {
		line += fmt.Sprintf(" x%d", s.times)
	}
	return line
}

// recorder keeps the driver's steps: the last few always, all of them as text when there is a sink.
//
// The text is stable: one line a step, without times, equal steps in a row (a driver polling) as one line that ends in
// their number. "PF0 write QTX_TAIL[3] 0x00000010", "PF0 read  GLNVM_SRCTL 0x80000000 x3".
type recorder struct {
	sink    io.Writer
	recent  []step
	pending step // what the sink has not seen yet, because it may repeat

	violations []Violation
	lost       int // violations beyond maxViolations
}

func (r *recorder) add(s step) {
	s.times = 1
	if n := len(r.recent); n > 0 && r.recent[n-1].same(&s) {
		r.recent[n-1].times++
	} else {
		if n >= lastSteps {
			r.recent = slices.Delete(r.recent, 0, n-lastSteps+1)
		}
		r.recent = append(r.recent, s)
	}
	if r.sink == nil {
		return
	}
	if r.pending.times > 0 && r.pending.same(&s) {
		r.pending.times++
		return
	}
	r.flush()
	r.pending = s
}

// flush gives the sink what it has not seen. A sink that fails is given nothing any more.
func (r *recorder) flush() {
	if r.sink == nil || r.pending.times == 0 {
		return
	}
	if _, err := io.WriteString(r.sink, r.pending.String()+"\n"); err != nil {
		r.sink = nil
	}
	r.pending = step{}
}

func (r *recorder) violation(what string) {
	if r.sink != nil {
		r.add(step{kind: 't', text: "violation: " + what})
	}
	if len(r.violations) >= maxViolations {
		r.lost++
		return
	}
	v := Violation{What: what}
	for i := range r.recent {
		v.Steps = append(v.Steps, r.recent[i].String())
	}
	r.violations = append(r.violations, v)
}

// Violations returns what drivers did wrong since New or ClearViolations, oldest first.
func (d *Device) Violations() []Violation {
	d.lock()
	defer d.unlock()
	return slices.Clone(d.rec.violations)
}

// ClearViolations forgets the violations, and returns them.
func (d *Device) ClearViolations() []Violation {
	d.lock()
	defer d.unlock()
	v := d.rec.violations
	d.rec.violations, d.rec.lost = nil, 0
	return v
}

// SetTrace makes w get every step from now on; nil ends that. Writes happen with the model's lock held.
func (d *Device) SetTrace(w io.Writer) {
	d.lock()
	defer d.unlock()
	d.rec.flush()
	d.rec.sink = w
}

// FlushTrace writes out the step that the trace holds back because it may repeat.
func (d *Device) FlushTrace() {
	d.lock()
	defer d.unlock()
	d.rec.flush()
}

// Coverage is what drivers have used of the model since New.
type Coverage struct {
	Reads, Writes map[string]uint64 // accesses by register name; those of a VF under its own table's names
	Commands      map[string]uint64 // admin queue commands by name
}

// Coverage returns how often each register and each command was used.
func (d *Device) Coverage() Coverage {
	d.lock()
	defer d.unlock()
	c := Coverage{make(map[string]uint64), make(map[string]uint64), make(map[string]uint64)}
	for _, bar := range []*bar{&d.pfBAR, &d.vfBAR} {
		for n := range bar.table.rows {
			name := bar.table.rows[n].Name
			if bar.reads[n] > 0 {
				c.Reads[name] += bar.reads[n]
			}
			if bar.writes[n] > 0 {
				c.Writes[name] += bar.writes[n]
			}
		}
	}
	for op, n := range d.fw.Counts() {
		c.Commands[op.String()] = n
	}
	return c
}
