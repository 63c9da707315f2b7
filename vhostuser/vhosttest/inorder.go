package vhosttest

// usedBuffer is what the device said of a buffer, read once.
type usedBuffer struct {
	id, flags uint16
	length    uint32
}

// batch is how many buffers the device tells of that returns this id in order, when seen older ones are known to be used:
// the rest of the older ones, and the one itself (sections 2.7.9 and 2.8.8). It is 0 when the device has no such buffer.
func (q *Queue) batch(id uint16, seen uint32) uint32 {
	for k := seen; k < q.out-q.hidden; k++ {
		if *q.order.at(k) == id {
			return k - seen + 1
		}
	}
	return 0
}

// see notes that n buffers are used. The device said something of the last only; those before it count as used
// completely: read to their end, or filled.
func (q *Queue) see(last usedBuffer, n uint32) {
	for ; n > 1; n-- {
		skipped := usedBuffer{id: *q.order.at(q.seen.count), flags: q.access}
		c := &q.chains[skipped.id]
		if c.seen = true; q.rx {
			skipped.length = c.bytes
		}
		q.seen.push(skipped)
	}
	q.chains[last.id].seen = true
	q.seen.push(last)
}
