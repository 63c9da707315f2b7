package virtchnl

// Bounds of queues (Linux's i40e checks the same).
const (
	txMultiple     = 8
	rxMultiple     = 32
	maxDescriptors = 8160
	maxBuffer      = 16*1024 - 128
	minPacket      = 64
	maxPacket      = 16 * 1024
	ringAlign      = 128
	lastITR        = 3 // none
)

// checkVSI refuses a message that is about another VSI.
func (r *Responder) checkVSI(v *vf, id uint16) bool {
	vsi := r.fw.Switch().VSIOfVF(v.index)
	if vsi == nil || vsi.Number != id {
		r.violation(v, "VSI %d is not its own", id)
		return false
	}
	return true
}

func (r *Responder) checkTx(v *vf, vsi uint16, q *TxQueue) bool {
	if !r.checkVSI(v, vsi) {
		return false
	}
	ok := q.ID < v.pairs && q.Length > 0 && q.Length <= maxDescriptors && q.Length%txMultiple == 0 && q.Ring%ringAlign == 0
	if !ok {
		r.violation(v, "transmit queue %d of %d descriptors at %#x, with %d queue pairs", q.ID, q.Length, q.Ring, v.pairs)
	}
	return ok
}

func (r *Responder) checkRx(v *vf, vsi uint16, q *RxQueue) bool {
	if !r.checkVSI(v, vsi) {
		return false
	}
	ok := q.ID < v.pairs && q.Length > 0 && q.Length <= maxDescriptors && q.Length%rxMultiple == 0 &&
		q.Ring%ringAlign == 0 && q.Buffer > 0 && q.Buffer <= maxBuffer && q.MaxPacket >= minPacket && q.MaxPacket < maxPacket
	if !ok {
		r.violation(v, "receive queue %d of %d descriptors at %#x, buffers of %d bytes, packets of %d, with %d queue pairs",
			q.ID, q.Length, q.Ring, q.Buffer, q.MaxPacket, v.pairs)
	}
	return ok
}

func (r *Responder) applyTx(v *vf, q TxQueue) Status {
	if v.tx>>q.ID&1 != 0 {
		r.violation(v, "transmit queue %d is configured while it is enabled", q.ID)
		return StatusParam
	}
	if r.hooks.ConfigureTx == nil {
		return StatusOK
	}
	set, _ := r.fw.Switch().VSIOfVF(v.index).QueueSet(0)
	if err := r.hooks.ConfigureTx(v.index, q, set); err != nil {
		r.violation(v, "transmit queue %d: %v", q.ID, err)
		return StatusParam
	}
	return StatusOK
}

func (r *Responder) applyRx(v *vf, q RxQueue) Status {
	if v.rx>>q.ID&1 != 0 {
		r.violation(v, "receive queue %d is configured while it is enabled", q.ID)
		return StatusParam
	}
	if r.hooks.ConfigureRx == nil {
		return StatusOK
	}
	if err := r.hooks.ConfigureRx(v.index, q); err != nil {
		r.violation(v, "receive queue %d: %v", q.ID, err)
		return StatusParam
	}
	return StatusOK
}

// configureTx is CONFIG_TX_QUEUE.
func (r *Responder) configureTx(v *vf, msg []byte) (Status, []byte) {
	vsi, q := decodeTx(msg)
	if !r.checkTx(v, vsi, &q) {
		return StatusParam, nil
	}
	return r.applyTx(v, q), nil
}

// configureRx is CONFIG_RX_QUEUE.
func (r *Responder) configureRx(v *vf, msg []byte) (Status, []byte) {
	vsi, q := decodeRx(msg)
	if !r.checkRx(v, vsi, &q) {
		return StatusParam, nil
	}
	return r.applyRx(v, q), nil
}

// configureQueues is CONFIG_VSI_QUEUES: all that the message names, or none.
func (r *Responder) configureQueues(v *vf, msg []byte) (Status, []byte) {
	if len(msg) < queuesFixed {
		return StatusMismatch, nil
	}
	n := int(le.Uint16(msg[2:]))
	if !list(msg, queuesFixed, queuePairSize, n) {
		return StatusMismatch, nil
	}
	if !r.checkVSI(v, le.Uint16(msg)) {
		return StatusParam, nil
	}
	if n > v.pairs {
		return r.refuse(v, "%d queue pairs configured, it has %d", n, v.pairs)
	}
	var txs []TxQueue
	var rxs []RxQueue
	for i := range n {
		p := msg[queuesFixed+i*queuePairSize:]
		vsi, tx := decodeTx(p)
		if !r.checkTx(v, vsi, &tx) {
			return StatusParam, nil
		}
		vsi, rx := decodeRx(p[txQueueSize:])
		if !r.checkRx(v, vsi, &rx) {
			return StatusParam, nil
		}
		if tx.ID != rx.ID {
			return r.refuse(v, "a pair of transmit queue %d and receive queue %d", tx.ID, rx.ID)
		}
		txs, rxs = append(txs, tx), append(rxs, rx)
	}
	for i := range n {
		if status := r.applyTx(v, txs[i]); status != StatusOK {
			return status, nil
		}
		if status := r.applyRx(v, rxs[i]); status != StatusOK {
			return status, nil
		}
	}
	return StatusOK, nil
}

// mapInterrupts is CONFIG_IRQ_MAP.
func (r *Responder) mapInterrupts(v *vf, msg []byte) (Status, []byte) {
	if len(msg) < mapFixed {
		return StatusMismatch, nil
	}
	n := int(le.Uint16(msg))
	if !list(msg, mapFixed, vectorSize, n) {
		return StatusMismatch, nil
	}
	limit, queues := r.fw.Config().VFVectors, uint16(1<<v.pairs-1)
	vectors := make([]Vector, 0, n)
	for i := range n {
		vsi, vec := decodeVector(msg[mapFixed+i*vectorSize:])
		if !r.checkVSI(v, vsi) {
			return StatusParam, nil
		}
		if vec.ID >= limit || (vec.Rx|vec.Tx)&^queues != 0 || vec.RxITR > lastITR || vec.TxITR > lastITR {
			return r.refuse(v, "vector %d of %d for receive queues %#x (ITR %d) and transmit queues %#x (ITR %d)", vec.ID,
				limit, vec.Rx, vec.RxITR, vec.Tx, vec.TxITR)
		}
		vectors = append(vectors, vec)
	}
	if r.hooks.Map != nil {
		if err := r.hooks.Map(v.index, vectors); err != nil {
			return r.refuse(v, "mapping vectors: %v", err)
		}
	}
	return StatusOK, nil
}

// selected reads the bitmaps of ENABLE_QUEUES and DISABLE_QUEUES.
func (r *Responder) selected(v *vf, msg []byte) (rx, tx uint32, ok bool) {
	rx, tx = le.Uint32(msg[4:]), le.Uint32(msg[8:])
	if !r.checkVSI(v, le.Uint16(msg)) {
		return 0, 0, false
	}
	if all := uint32(1)<<v.pairs - 1; rx|tx == 0 || (rx|tx)&^all != 0 {
		r.violation(v, "receive queues %#x and transmit queues %#x of %d", rx, tx, v.pairs)
		return 0, 0, false
	}
	return rx, tx, true
}

// enableQueues is ENABLE_QUEUES.
func (r *Responder) enableQueues(v *vf, msg []byte) (Status, []byte) {
	rx, tx, ok := r.selected(v, msg)
	if !ok {
		return StatusParam, nil
	}
	if r.hooks.Enable != nil {
		if err := r.hooks.Enable(v.index, rx, tx); err != nil {
			return r.refuse(v, "enabling receive queues %#x and transmit queues %#x: %v", rx, tx, err)
		}
	}
	v.rx |= rx
	v.tx |= tx
	return StatusOK, nil
}

// disableQueues is DISABLE_QUEUES.
func (r *Responder) disableQueues(v *vf, msg []byte) (Status, []byte) {
	rx, tx, ok := r.selected(v, msg)
	if !ok {
		return StatusParam, nil
	}
	if r.hooks.Disable != nil {
		if err := r.hooks.Disable(v.index, rx, tx); err != nil {
			return r.refuse(v, "disabling receive queues %#x and transmit queues %#x: %v", rx, tx, err)
		}
	}
	v.rx &^= rx
	v.tx &^= tx
	return StatusOK, nil
}

// statistics is GET_STATS.
func (r *Responder) statistics(v *vf, msg []byte) (Status, []byte) {
	if !r.checkVSI(v, le.Uint16(msg)) {
		return StatusParam, nil
	}
	var s Statistics
	if r.hooks.Statistics != nil {
		s = r.hooks.Statistics(v.index)
	}
	return StatusOK, s.marshal()
}

// Sizes of what the receive hash works with (52 bytes of key are 13 registers, 64 entries 16).
const (
	hashKeySize   = 52
	hashTableSize = 64
)

// DefaultHashTypes are the packet classifier types that are hashed before anybody says otherwise: IPv4 and IPv6 with UDP,
// TCP, SCTP, other protocols and fragments, and frames without IP (I40E_DEFAULT_RSS_HENA).
const DefaultHashTypes = 1<<31 | 1<<33 | 1<<34 | 1<<35 | 1<<36 | 1<<41 | 1<<43 | 1<<44 | 1<<45 | 1<<46 | 1<<63

// hashData checks a message that brings n bytes. The structure once ended in an array of one, and a compiler's padding.
func (r *Responder) hashData(v *vf, msg []byte, n int) ([]byte, Status) {
	if len(msg) < hashFixed {
		return nil, StatusMismatch
	}
	has := int(le.Uint16(msg[2:]))
	if extra := len(msg) - hashFixed - has; extra < 0 || extra > 2 {
		return nil, StatusMismatch
	}
	if !r.checkVSI(v, le.Uint16(msg)) {
		return nil, StatusParam
	}
	if has != n {
		r.violation(v, "%d bytes of hash key or table, must be %d", has, n)
		return nil, StatusParam
	}
	return msg[hashFixed : hashFixed+n], StatusOK
}

// hashKey is CONFIG_RSS_KEY.
func (r *Responder) hashKey(v *vf, msg []byte) (Status, []byte) {
	key, status := r.hashData(v, msg, hashKeySize)
	if status == StatusOK && r.hooks.HashKey != nil {
		r.hooks.HashKey(v.index, key)
	}
	return status, nil
}

// hashTable is CONFIG_RSS_LUT.
func (r *Responder) hashTable(v *vf, msg []byte) (Status, []byte) {
	table, status := r.hashData(v, msg, hashTableSize)
	if status != StatusOK {
		return status, nil
	}
	for i, q := range table {
		if int(q) >= v.pairs {
			return r.refuse(v, "entry %d of the hash table is queue %d of %d", i, q, v.pairs)
		}
	}
	if r.hooks.HashTable != nil {
		r.hooks.HashTable(v.index, table)
	}
	return StatusOK, nil
}

// getHashTypes is GET_RSS_HENA_CAPS.
func (r *Responder) getHashTypes(*vf, []byte) (Status, []byte) {
	return StatusOK, le.AppendUint64(nil, DefaultHashTypes)
}

// setHashTypes is SET_RSS_HENA.
func (r *Responder) setHashTypes(v *vf, msg []byte) (Status, []byte) {
	if r.hooks.HashTypes != nil {
		r.hooks.HashTypes(v.index, le.Uint64(msg))
	}
	return StatusOK, nil
}
