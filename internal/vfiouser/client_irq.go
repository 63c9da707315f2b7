package vfiouser

import (
	"os"

	"golang.org/x/sys/unix"
)

// IRQInfo asks for a kind of interrupt. One that does not exist has no vectors.
func (c *Client) IRQInfo(index int) (IRQInfo, error) {
	b, err := c.call(cmdGetIRQInfo, words(uint32(irqInfoSize), uint32(0), uint32(index), uint32(0)), nil, irqInfoSize)
	if err != nil {
		return IRQInfo{}, err
	}
	flags, n := le32(b[4:]), le32(b[12:])
	if le32(b[8:]) != uint32(index) || n > 1<<16 {
		return IRQInfo{}, protocolf("interrupts of kind %d: the reply is for %d, with %d vectors", index, le32(b[8:]), n)
	}
	return IRQInfo{Index: index, Count: int(n), Flags: IRQFlags(flags)}, nil
}

// AssignIRQs has the device signal events, eventfds, when it triggers the vectors of a kind from start on; a nil event
// takes the vector's away. They stay the caller's to close.
func (c *Client) AssignIRQs(index, start int, events []*os.File) error {
	for len(events) > 0 {
		n := run(events, min(c.caps.fds(), ourMaxFDs))
		if n == 0 {
			return refuse(unix.EMFILE, "the server takes no descriptors")
		}
		files := events[:n]
		if events[0] == nil {
			files = nil
		}
		err := withFDs(files, nil, func(fds []int) error {
			return c.setIRQs(irqSet{irqDataEventFD | irqActionTrigger, uint32(index), uint32(start), uint32(n)}, nil, fds)
		})
		if err != nil {
			return err
		}
		events, start = events[n:], start+n
	}
	return nil
}

// run is how many of the first events one message can take: at most so many descriptors, or any number of nils.
func run(events []*os.File, fds int) int {
	n := 0
	for n < len(events) && (events[n] == nil) == (events[0] == nil) && (events[0] == nil || n < fds) {
		n++
	}
	return n
}

// DisableIRQs takes the events of all vectors of a kind away.
func (c *Client) DisableIRQs(index int) error {
	return c.setIRQs(irqSet{flags: irqDataNone | irqActionTrigger, index: uint32(index)}, nil, nil)
}

// ActIRQs triggers, masks or unmasks count vectors from start on, or of those the chosen ones when chosen, which then
// has count members, is not nil.
func (c *Client) ActIRQs(a IRQAction, index, start, count int, chosen []bool) error {
	s := irqSet{irqDataNone, uint32(index), uint32(start), uint32(count)}
	var data []byte
	if chosen != nil {
		s.flags, data = irqDataBool, make([]byte, len(chosen))
		for i, c := range chosen {
			if c {
				data[i] = 1
			}
		}
	}
	switch a {
	case IRQTrigger:
		s.flags |= irqActionTrigger
	case IRQMask:
		s.flags |= irqActionMask
	case IRQUnmask:
		s.flags |= irqActionUnmask
	default:
		return refuse(unix.EINVAL, "%s is no such action", a)
	}
	return c.setIRQs(s, data, nil)
}

func (c *Client) setIRQs(s irqSet, data []byte, fds []int) error {
	body := append(words(uint32(irqSetSize+len(data)), s.flags, s.index, s.start, s.count), data...)
	_, err := c.call(cmdSetIRQs, body, fds, 0)
	return err
}
