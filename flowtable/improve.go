package flowtable

import (
	"slices"
	"time"

	"weft/flowtable/classifier"
)

// Tables with many masks are laid out anew now and then; see package classifier. The work is cut into steps during which
// the pipeline is locked for less than a millisecond, so that no change waits for long. Lookups never notice.

const (
	sampleStep = 1024 // rules looked at in one step
	moveStep   = 512  // rules moved in one step
	moveSteps  = 256  // in one call

	// moveWait is how long to leave batches that began before the last step to their end.
	moveWait = 50 * time.Microsecond
)

// improve plans tables anew that need it and moves their rules, as far as one call may.
func (p *Pipeline) improve() {
	for i := range p.tables {
		if t := p.wanting(i); t != nil {
			p.replan(t)
		}
	}
	for range moveSteps {
		moved, more := p.move()
		if !more {
			return
		}
		if moved == 0 {
			time.Sleep(moveWait)
		}
	}
}

// wanting returns the table if it should be planned.
func (p *Pipeline) wanting(i int) *classifier.Table {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tables[i]; t != nil && t.Wanting() {
		return t
	}
	return nil
}

// replan gives t a new plan. Only the looking at rules is done under the lock.
func (p *Pipeline) replan(t *classifier.Table) {
	p.mu.Lock()
	sampler := t.Sample()
	for sampler.Next(sampleStep) {
		p.mu.Unlock()
		p.mu.Lock()
	}
	p.mu.Unlock()
	plan := sampler.Plan()
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Adopt(plan)
}

// move takes one step for each table whose rules are to move, and publishes where they are. more: there is more to do.
func (p *Pipeline) move() (moved int, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.used(), func(t *classifier.Table) bool { return t != nil && t.Moving() }) {
		return 0, false
	}
	p.reclaim()
	old := p.state.Load()
	oldest := min(p.oldest(), old.epoch)
	for _, t := range p.used() {
		if t != nil && t.Moving() {
			t.Settle(oldest)
			moved += t.Move(moveStep, old.gen)
			more = more || t.Moving()
		}
	}
	if moved > 0 {
		st := *old
		st.epoch++
		p.publish(&st)
	}
	return moved, more
}
