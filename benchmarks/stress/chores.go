package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// chores is what keeps a control side busy, each kind on a goroutine of its own, until it is stopped.
type chores struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	begun   time.Time
	took    time.Duration
	done    [kinds]int // changes, scrapes and commands
	errs    [kinds]error
}

// Kinds of chores.
const (
	changing = iota
	scraping
	commanding
	kinds
)

// begin changes rules that no packet of the load meets, scrapes the metrics, and runs commands.
func (b *bed) begin(ctx context.Context) *chores {
	ctx, cancel := context.WithCancel(ctx)
	c := &chores{cancel: cancel, begun: time.Now()}
	add, del := batch(busyBatch)
	c.keep(ctx, changing, busyChanges/busyBatch, func(i int) (int, error) {
		command, text := "add", add
		if i%2 == 1 {
			command, text = "delete", del
		}
		n, err := b.weft.changeMany(ctx, command, text)
		if made := n.Added + n.Deleted; err == nil && made != busyBatch {
			err = fmt.Errorf("%d of %d rules changed (%s)", made, busyBatch, command)
		}
		return busyBatch, err
	})
	c.keep(ctx, scraping, busyScrapes, func(int) (int, error) {
		_, err := b.weft.Scrape(ctx)
		return 1, err
	})
	commands := busyCommands()
	c.keep(ctx, commanding, 0, func(i int) (int, error) {
		_, err := b.weft.CLI(ctx, commands[i%len(commands)]...)
		return 1, err
	})
	return c
}

// keep repeats a chore so often a second, 0 for without a pause. One that is late is made up for: what a controller has to
// send does not become less by waiting.
func (c *chores) keep(ctx context.Context, kind int, perSecond float64, chore func(i int) (int, error)) {
	c.running.Go(func() {
		for i := 0; ; i++ {
			if perSecond > 0 {
				due := c.begun.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
				if ahead := time.Until(due); ahead > 0 {
					wait(ctx, ahead)
				}
			}
			if ctx.Err() != nil {
				return
			}
			n, err := chore(i)
			if ctx.Err() != nil {
				return // it was cut off
			}
			if err != nil {
				c.errs[kind] = err
				return
			}
			c.done[kind] += n
		}
	})
}

// stop ends the chores, and returns what went wrong with them.
func (c *chores) stop() error {
	c.took = time.Since(c.begun)
	c.cancel()
	c.running.Wait()
	return errors.Join(c.errs[:]...)
}

// perSecond is how much of a kind was done in a second.
func (c *chores) perSecond(kind int) float64 { return float64(c.done[kind]) / c.took.Seconds() }

func (c *chores) addTo(m *measurements) {
	m.add(figBusyChanges, "", c.perSecond(changing))
	m.add(figBusyScrapes, "", c.perSecond(scraping))
	m.add("commands per second while busy", "", c.perSecond(commanding))
}

// batch is n rules, and what deletes them again.
func batch(n int) (add, del string) {
	var rules, filters strings.Builder
	for i := range n {
		rule, filter := singleRule(i)
		fmt.Fprintln(&rules, rule)
		fmt.Fprintln(&filters, filter)
	}
	return rules.String(), filters.String()
}
