package lan

import "weft/pmd/i40e/i40esim/frame"

const (
	// fetchMax is how many descriptors are read ahead at most.
	fetchMax = 64
	// maxTSO bounds what is read for one packet: the largest TLEN, and the longest headers that the descriptors can name.
	maxTSO = 1<<18 + 2048
)

// gather collects the descriptors of the packet at the head into q.packet. It reports false when the packet is not
// complete, or not acceptable: then the queue is stopped.
func (q *TxQueue) gather() bool {
	p := &q.packet
	p.context, p.filter, p.data, p.count = nil, nil, p.data[:0], 0
	at := q.head
	for at != q.tail {
		d, ok := q.descriptor(at)
		if !ok || !q.take(d, at) {
			return false
		}
		p.count++
		at = (at + 1) % q.Context.Len
		if n := len(p.data); n > 0 && p.data[n-1].cmd&cmdEOP != 0 {
			return true
		}
	}
	return false
}

// take adds descriptor at to the packet.
func (q *TxQueue) take(d txDesc, at uint16) bool {
	p := &q.packet
	misplaced := len(p.data) > 0
	switch d.dtype() {
	case dtypeData:
		return q.takeData(d.data(), at)
	case dtypeContext:
		if misplaced || p.context != nil {
			q.fail(EventContext, "tx queue %d: descriptor %d: a context descriptor inside a packet, or a second one",
				q.Index, at)
			return false
		}
		c := d.context()
		p.context = &c
		return q.checkContext(&c, at)
	case dtypeFilter:
		if misplaced || p.filter != nil {
			q.fail(EventContext, "tx queue %d: descriptor %d: a filter descriptor inside a packet, or a second one", q.Index, at)
			return false
		}
		f := d.filter()
		p.filter = &f
		return true
	}
	q.fail(EventDescriptorType, "tx queue %d: descriptor %d: type %#x", q.Index, at, d.dtype())
	return false
}

func (q *TxQueue) takeData(d dataDesc, at uint16) bool {
	p := &q.packet
	switch {
	case d.size == 0:
		q.fail(EventZeroLength, "tx queue %d: descriptor %d: a buffer of no bytes", q.Index, at)
		return false
	case d.cmd&cmdFCoE != 0:
		q.fail(EventOffload, "tx queue %d: descriptor %d: FCoE offload, which is not modelled", q.Index, at)
		return false
	case d.cmd&(cmdEOP|cmdRS) == cmdRS:
		q.Reporter.Violation("tx queue %d: descriptor %d: RS without EOP", q.Index, at)
	}
	if len(p.data) > 0 && p.data[0].common() != d.common() {
		q.Reporter.Violation("tx queue %d: descriptor %d: offloads differ from those of the packet's first descriptor",
			q.Index, at)
	}
	p.data = append(p.data, d)
	return true
}

func (q *TxQueue) checkContext(c *contextDesc, at uint16) bool {
	switch {
	case c.cmd&ctxTag2Inner != 0, c.cmd&ctxSWPE != 0:
		q.fail(EventOffload, "tx queue %d: descriptor %d: IL2TAG2_IL2H or SWPE, which are not modelled", q.Index, at)
		return false
	case c.cmd&ctxTSO != 0 && c.switching == SwitchVSI:
		q.fail(EventOffload, "tx queue %d: descriptor %d: MSS and destination VSI share their bits", q.Index, at)
		return false
	}
	if c.reserved {
		q.Reporter.Violation("tx queue %d: descriptor %d: reserved bits %#x, %#x set in a context descriptor",
			q.Index, at, c.reservedIn[0], c.reservedIn[1])
	}
	if c.cmd&ctxTimesync != 0 && !q.Context.Timesync {
		q.Reporter.Violation("tx queue %d: descriptor %d: TSYN, and TIMESYNC_ENA is 0 in the context", q.Index, at)
	}
	return true
}

// descriptor returns descriptor at, read once.
func (q *TxQueue) descriptor(at uint16) (txDesc, bool) {
	n := ringDistance(q.fetchAt, at, q.Context.Len) * txDescLen
	if n >= len(q.fetched) {
		if !q.fetch(at) {
			return txDesc{}, false
		}
		n = ringDistance(q.fetchAt, at, q.Context.Len) * txDescLen
	}
	return parseTxDesc(q.fetched[n:]), true
}

// fetch reads descriptors from at on, up to the tail or the end of the ring. What was read of the packet at the head
// stays.
func (q *TxQueue) fetch(at uint16) bool {
	keep := ringDistance(q.head, at, q.Context.Len) * txDescLen
	have := ringDistance(q.fetchAt, q.head, q.Context.Len) * txDescLen
	if have+keep == len(q.fetched) {
		q.fetched = append(q.fetched[:0], q.fetched[have:]...)
	} else {
		q.fetched = q.fetched[:0]
	}
	q.fetchAt = q.head
	n := min(ringDistance(at, q.tail, q.Context.Len), int(q.Context.Len-at), fetchMax)
	start := len(q.fetched)
	q.fetched = append(q.fetched, make([]byte, n*txDescLen)...)
	addr := q.Context.Base + uint64(at)*txDescLen
	if err := q.DMA.Read(addr, q.fetched[start:]); err != nil {
		q.fail(EventDescriptorFetch, "tx queue %d: descriptor %d at %#x: %v", q.Index, at, addr, err)
		return false
	}
	return true
}

// checkBuffers applies the limits on buffers and length, before anything is read.
func (q *TxQueue) checkBuffers() bool {
	p := &q.packet
	total := 0
	for i := range p.data {
		total += p.data[i].size
	}
	switch {
	case total < MinPacket:
		q.fail(EventShortPacket, "tx queue %d: descriptor %d: a packet of %d bytes, at least %d",
			q.Index, q.head, total, MinPacket)
	case p.tso() && total > maxTSO:
		q.fail(EventTSOLength, "tx queue %d: descriptor %d: %d bytes to segment, at most %d",
			q.Index, q.head, total, maxTSO)
	case p.tso():
		return true // checkTSO, which knows the segments
	case len(p.data) > MaxBuffers:
		q.fail(EventBuffers, "tx queue %d: descriptor %d: %d buffers for one packet, at most %d",
			q.Index, q.head, len(p.data), MaxBuffers)
	case total > MaxFrame-CRCLen:
		q.fail(EventLongPacket, "tx queue %d: descriptor %d: a packet of %d bytes, at most %d",
			q.Index, q.head, total, MaxFrame-CRCLen)
	}
	return !q.stopped
}

// checkTSO applies the limits of segmentation to a packet of n bytes.
func (q *TxQueue) checkTSO(o *frame.Offload, n int) bool {
	c := q.packet.context
	header := o.HeaderLen()
	switch {
	case o.L4 != frame.L4TCP && o.L4 != frame.L4UDP:
		q.fail(EventOffload, "tx queue %d: descriptor %d: segmentation without TCP or UDP", q.Index, q.head)
	case c.mss < max(q.Settings.MinMSS, LeastMSS) || c.mss > MaxMSS:
		q.fail(EventMSS, "tx queue %d: descriptor %d: MSS %d is outside %d..%d",
			q.Index, q.head, c.mss, max(q.Settings.MinMSS, LeastMSS), MaxMSS)
	case c.tsoLen == 0 || c.tsoLen != n-header:
		q.fail(EventTSOLength, "tx queue %d: descriptor %d: TLEN %d, and the payload is %d bytes",
			q.Index, q.head, c.tsoLen, n-header)
	default:
		if most := q.buffersPerSegment(header, c.mss, n); most > MaxBuffers {
			q.fail(EventBuffers, "tx queue %d: descriptor %d: a segment from %d buffers, at most %d",
				q.Index, q.head, most, MaxBuffers)
		}
	}
	return !q.stopped
}

// buffersPerSegment is the largest number of buffers that one segment is gathered from: those of the headers, which are
// read for each segment, and those of its share of the payload.
func (q *TxQueue) buffersPerSegment(header, mss, n int) int {
	data := q.packet.data
	headers, end := 0, 0
	for end < header {
		end += data[headers].size
		headers++
	}
	most := 0
	i, begin := 0, 0 // data[i] begins at byte begin
	for from := header; from < n; from += mss {
		for begin+data[i].size <= from {
			begin += data[i].size
			i++
		}
		to := min(from+mss, n)
		count, reached := 0, begin
		for j := i; reached < to; j++ {
			reached += data[j].size
			count++
		}
		most = max(most, count)
	}
	return headers + most
}

// read copies the packet out of its buffers.
func (q *TxQueue) read() ([]byte, bool) {
	total := 0
	for i := range q.packet.data {
		total += q.packet.data[i].size
	}
	b := make([]byte, total)
	at := 0
	for i := range q.packet.data {
		d := &q.packet.data[i]
		if err := q.DMA.Read(d.addr, b[at:at+d.size]); err != nil {
			q.fail(EventBuffer, "tx queue %d: packet at descriptor %d: buffer %d, %d bytes at %#x: %v",
				q.Index, q.head, i, d.size, d.addr, err)
			return nil, false
		}
		at += d.size
	}
	return b, true
}
