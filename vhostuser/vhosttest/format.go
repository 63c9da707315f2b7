package vhosttest

// format is what differs between split (section 2.7) and packed virtqueues (section 2.8). The rest of the driver, and
// whose a buffer is, is the [Queue]'s. A buffer's id is the first descriptor of its chain in the one and any number below
// the ring's size in the other.
type format interface {
	// write puts chain c of n slots, which has this id, behind what was offered before. There is room for it, and the
	// device does not see it yet.
	write(c *chain, id uint16, n int)
	// show makes visible what was written and whether interrupts are wanted: a full barrier if anything was written.
	show()
	// wantsKick says whether the device wants to be notified. It is asked after show.
	wantsKick() (bool, error)

	// poll returns how many buffers are used and not yet retired. If there are as many as want, there may be more.
	poll(want uint16) (uint16, error)
	// used returns the id and the length of the used buffer k places ahead, which poll has counted. Of a batch of buffers
	// used in order, each counts.
	used(k uint16) (id uint16, length uint32, err error)
	// retire forgets the oldest used buffer. Its id is free again.
	retire(c *chain, id uint16)
	// intact checks that the device left the chain's descriptors alone where they are not its own.
	intact(c *chain, id uint16) error

	// restart makes the ring one that has nothing in it and goes on at index, which counts descriptors or buffers from
	// the ring's first day.
	restart(index uint16)
	// base is where a device that uses buffers in order goes on, as SET_VRING_BASE and GET_VRING_BASE have it.
	base() uint32
	// indices are where the driver goes on, as in base.
	indices() (avail, used uint16)

	parts() (desc, driver, device Place)
	rules() *rules
}

// rules names the sections that a device offends against.
type rules struct {
	id        string // buffers are returned by their id, once
	length    string // the length of what was written
	readable  string // device-readable buffers are not written to
	buffer    string // nothing is written outside of buffers
	merged    string // all buffers of a frame appear at once
	interrupt string
	order     string // what a stopped ring goes on with
}
