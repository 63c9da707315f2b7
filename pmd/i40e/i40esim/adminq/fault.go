package adminq

import "fmt"

// Fault makes commands fail on purpose.
type Fault struct {
	Function Function
	Opcode   Opcode // 0 means every command
	// Skip lets that many matching commands pass first.
	Skip int
	// Times is how often the fault strikes, 0 for ever.
	Times int

	// Code is the answer. The command has no effect, unless After says that it is executed first.
	Code  Code
	After bool
	// Hang leaves the command unanswered: HEAD does not move until the driver sets up the queue again. Critical reports
	// the queue broken as well.
	Hang, Critical bool
}

func (t *Fault) matches(fn Function, op Opcode) bool {
	return t.Function == fn && (t.Opcode == 0 || t.Opcode == op)
}

// Inject adds a fault. The first that matches a command is used.
func (f *Firmware) Inject(t Fault) { f.faults = append(f.faults, t) }

// ClearFaults removes all faults. A queue that hangs keeps hanging.
func (f *Firmware) ClearFaults() { f.faults = nil }

func (f *Firmware) takeFault(fn Function, op Opcode) *Fault {
	for i := range f.faults {
		t := &f.faults[i]
		if !t.matches(fn, op) {
			continue
		}
		if t.Skip > 0 {
			t.Skip--
			continue
		}
		taken := *t
		if t.Times > 0 {
			if t.Times--; t.Times == 0 {
				f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
			}
		}
		return &taken
	}
	return nil
}

// trace tells of a completed command in one line that is the same for the same command, whatever addresses were used.
func (f *Firmware) trace(p *Pair, request, reply *Descriptor, note string) {
	if f.hooks.Trace == nil {
		return
	}
	params := request.Params[:]
	if request.Flags&(FlagBUF|FlagRD) != 0 {
		params = params[:8]
	}
	line := fmt.Sprintf("%s aq %s flags=%04x len=%d params=%x", p.fn, request.Opcode, request.Flags&^firmwareFlags,
		request.DataLen, params)
	if request.Opcode == OpSendToPF || request.Opcode == OpSendToVF {
		line += fmt.Sprintf(" message=%d status=%d", request.CookieHigh, int32(request.CookieLow))
	}
	if note == "" {
		note = Code(reply.RetVal).String()
	}
	f.hooks.Trace(line + " -> " + note)
}

func (f *Firmware) traceEvent(p *Pair, e *Event) {
	if f.hooks.Trace == nil {
		return
	}
	params := e.Params[:]
	if len(e.Buffer) > 0 {
		params = params[:8]
	}
	f.hooks.Trace(fmt.Sprintf("%s aq event %s retval=%d cookie=%08x:%08x len=%d params=%x", p.fn, e.Opcode, e.RetVal,
		e.CookieHigh, e.CookieLow, len(e.Buffer), params))
}
