package i40esim

import (
	"encoding/binary"
	"fmt"

	"weft/pmd/i40e/i40esim/lan"
	"weft/pmd/i40e/i40esim/virtchnl"
)

// standIn is the PF's driver where there is none: as long as nobody is connected to the PF, it answers the VFs'
// mailboxes and sets their queues and interrupts up, as Linux's i40e would. What that does through registers, it does
// to the same registers; its queue contexts are here, because the PF has no memory to keep them in.
type standIn struct {
	responder *virtchnl.Responder
	active    bool
	contexts  map[bool]map[int][]byte // by transmit or not, by the PF's queue
}

// States of VFGEN_RSTAT1 (virtchnl.h, enum virtchnl_vfr_states).
const (
	vfCompleted = 1
	vfActive    = 2
)

// lrxqThreshold is LRXQTHRESH of the contexts that drivers write: 128 descriptors.
const lrxqThreshold = 2

// startStandIn makes the stand-in answer, if the PF has no driver.
func (c *card) startStandIn() error {
	if c.pf.host != nil {
		return nil
	}
	if c.standIn.responder == nil {
		r, err := virtchnl.New(c.fw, virtchnl.Config{}, virtchnl.Hooks{
			ConfigureTx: c.configureVFTx, ConfigureRx: c.configureVFRx, Enable: c.enableVF, Disable: c.disableVF,
			Map: c.mapVF, HashKey: c.setVFHashKey, HashTable: c.setVFHashTable, HashTypes: c.setVFHashTypes,
			Statistics: c.vfStatistics, Reset: c.resetVFSoon, Violation: c.violation,
		})
		if err != nil {
			return fmt.Errorf("i40esim: %w", err)
		}
		c.standIn.responder = r
	}
	c.fw.SetMailbox(c.standIn.responder)
	c.standIn.active = true
	c.restartStandIn()
	return nil
}

// stopStandIn leaves the VFs to a driver that has come.
func (c *card) stopStandIn() {
	if c.standIn.active {
		c.standIn.active = false
		c.fw.SetMailbox(nil)
	}
}

// restartStandIn begins anew with all VFs, after a reset of the card.
func (c *card) restartStandIn() {
	if !c.standIn.active {
		return
	}
	for vf := range c.vfs {
		c.standIn.responder.Forget(vf)
		c.activateVF(vf)
	}
}

// vfGone is a VF that was reset by other means than its mailbox.
func (c *card) vfGone(vf int) {
	if c.standIn.active {
		c.standIn.responder.Forget(vf)
		c.activateVF(vf)
	}
}

// activateVF ends a VF's reset as the PF's driver does, some time after it began.
func (c *card) activateVF(vf int) {
	c.set("VFGEN_RSTAT1", 0, uint32(vf))
	c.after(c.cfg.Timing.VFReset, func() {
		if c.standIn.active {
			c.set("VPGEN_VFRSTAT", vfResetDone, uint32(vf))
			c.set("VFGEN_RSTAT1", vfActive, uint32(vf))
		}
	})
}

// resetVFSoon is a reset that a VF asked for. Its mailbox is busy with the question, so it happens a moment later.
func (c *card) resetVFSoon(vf int) {
	c.after(c.cfg.Timing.VFReset, func() {
		c.vfs[vf].vfReset()
		c.activateVF(vf)
	})
}

// pfQueue is the PF's number of a VF's queue.
func (c *card) pfQueue(vf, q int) (int, error) {
	v := c.fw.Switch().VSIOfVF(vf)
	if v == nil {
		return 0, fmt.Errorf("VF %d has no VSI", vf)
	}
	absolute, ok := v.Queue(q)
	index := absolute - c.cfg.Card.FirstQueue
	if !ok || index < 0 || index >= len(c.tx) {
		return 0, fmt.Errorf("the VSI of VF %d has no queue %d", vf, q)
	}
	return index, nil
}

// mapVFQueues gives a VF the queues of its VSI. A driver does that when it makes the VSI, which here happens in the
// middle of a message: so it is done when the VF first needs it.
func (c *card) mapVFQueues(vf int) {
	if !c.standIn.active || c.get("VPLAN_MAPENA", uint32(vf)) != 0 {
		return
	}
	for q := range c.standIn.responder.QueuePairs(vf) {
		if index, err := c.pfQueue(vf, q); err == nil {
			c.set("VPLAN_QTABLE", uint32(index), uint32(q), uint32(vf))
			c.set("VPLAN_MAPENA", 1, uint32(vf))
		}
	}
}

// keepContext keeps the context that a VF's queue is to be enabled with.
func (c *card) keepContext(vf, q int, tx bool, context []byte) error {
	index, err := c.pfQueue(vf, q)
	if err != nil {
		return err
	}
	c.mapVFQueues(vf)
	if tx {
		absolute := uint32(c.cfg.Card.FirstVF + vf)
		c.set("QTX_CTL", ctlVF|uint32(c.cfg.Card.PF)<<ctlPFShift|absolute<<ctlVFShift, uint32(index))
	}
	if c.standIn.contexts == nil {
		c.standIn.contexts = map[bool]map[int][]byte{false: {}, true: {}}
	}
	c.standIn.contexts[tx][index] = context
	return nil
}

// context is what keepContext kept, nil without.
func (s *standIn) context(tx bool, index int) []byte {
	if !s.active {
		return nil
	}
	return s.contexts[tx][index]
}

func (c *card) configureVFTx(vf int, q virtchnl.TxQueue, set uint16) error {
	x := lan.TxContext{
		New: true, Base: q.Ring, Len: uint16(q.Length), HeadWB: q.HeadWB, HeadWBAddr: q.HeadWBAdr,
		ReadyList: set,
	}
	return c.keepContext(vf, q.ID, true, x.Encode())
}

func (c *card) configureVFRx(vf int, q virtchnl.RxQueue) error {
	x := lan.RxContext{
		Base: q.Ring, Len: uint16(q.Length), Buffer: q.Buffer, HeaderBuffer: q.Header, Long: q.Descriptors == 32,
		StripCRC: !q.KeepsCRC, L2TSel: true, RxMax: q.MaxPacket, TPHReadDesc: true, TPHWriteDesc: true, TPHData: true,
		TPHHead: true, LowThreshold: lrxqThreshold, Prefetch: true,
	}
	return c.keepContext(vf, q.ID, false, x.Encode())
}

// vfQueues calls f for the PF's queues behind bitmaps of a VF's.
func (c *card) vfQueues(vf int, rx, tx uint32, f func(*queue) error) error {
	for n := range virtchnl.MaxQueuePairs {
		for _, one := range []struct {
			bits   uint32
			queues []*queue
		}{{rx, c.rx}, {tx, c.tx}} {
			if one.bits>>n&1 == 0 {
				continue
			}
			index, err := c.pfQueue(vf, n)
			if err != nil {
				return err
			}
			if err := f(one.queues[index]); err != nil {
				return err
			}
		}
	}
	return nil
}

// enableVF and disableVF wait for the queues, as a driver does before it answers.
func (c *card) enableVF(vf int, rx, tx uint32) error {
	return c.vfQueues(vf, rx, tx, func(q *queue) error {
		if q.status {
			return nil
		}
		q.qdis, q.wanted = false, true
		if err := q.open(); err != nil {
			q.halt()
			return fmt.Errorf("%s: %w", q, err)
		}
		c.set(q.register("QTX_ENA", "QRX_ENA"), enaRequest, uint32(q.index))
		q.begin()
		return nil
	})
}

func (c *card) disableVF(vf int, rx, tx uint32) error {
	return c.vfQueues(vf, rx, tx, func(q *queue) error {
		q.halt()
		return nil
	})
}

// mapVF builds the cause list of each vector: of every queue the receiving half, then the sending.
func (c *card) mapVF(vf int, vectors []virtchnl.Vector) error {
	for _, v := range vectors {
		list, at := "VPINT_LNKLSTN", c.vfVector(vf, v.ID)
		if v.ID == 0 {
			list, at = "VPINT_LNKLST0", uint32(vf)
		}
		c.set(list, queueNone, at)
		link := func(first uint32) { c.set(list, first, at) }
		for n := range virtchnl.MaxQueuePairs {
			for _, half := range []cause{
				{v.Rx>>n&1 != 0, "QINT_RQCTL", typeRx, uint32(v.RxITR)},
				{v.Tx>>n&1 != 0, "QINT_TQCTL", typeTx, uint32(v.TxITR)},
			} {
				if !half.mapped {
					continue
				}
				index, err := c.pfQueue(vf, n)
				if err != nil {
					return err
				}
				link(uint32(index) | half.kind<<linkType)
				link = c.addCause(uint32(v.ID), uint32(index), half)
			}
		}
	}
	return nil
}

// cause is one direction of a queue pair on a vector.
type cause struct {
	mapped   bool
	register string
	kind     uint32 // typeRx or typeTx
	itr      uint32
}

// addCause ends a vector's list with queue q, and returns what links another to it: a queue and its type, as in
// VPINT_LNKLSTN.
func (c *card) addCause(vector, q uint32, half cause) (link func(next uint32)) {
	value := vector | half.itr<<causeITR | causeEnable
	c.set(half.register, value|queueNone<<causeNextQ, q)
	return func(next uint32) {
		c.set(half.register, value|next&queueNone<<causeNextQ|next>>linkType<<causeNextTyp, q)
	}
}

func (c *card) setVFHashKey(vf int, key []byte) {
	for i := 0; i+4 <= len(key); i += 4 {
		c.set("VFQF_HKEY1", binary.LittleEndian.Uint32(key[i:]), uint32(i/4), uint32(vf))
	}
}

func (c *card) setVFHashTable(vf int, table []byte) {
	for i := 0; i+4 <= len(table); i += 4 {
		c.set("VFQF_HLUT1", binary.LittleEndian.Uint32(table[i:]), uint32(i/4), uint32(vf))
	}
}

func (c *card) setVFHashTypes(vf int, types uint64) {
	c.set("VFQF_HENA1", uint32(types), 0, uint32(vf))
	c.set("VFQF_HENA1", uint32(types>>32), 1, uint32(vf))
}

func (c *card) vfStatistics(vf int) virtchnl.Statistics {
	v := c.fw.Switch().VSIOfVF(vf)
	if v == nil {
		return virtchnl.Statistics{}
	}
	i := uint32(v.StatIndex())
	wide := func(name string) uint64 { return uint64(c.get(name+"H", i))<<32 | uint64(c.get(name+"L", i)) }
	return virtchnl.Statistics{
		RxBytes: wide("GLV_GORC"), RxUnicast: wide("GLV_UPRC"), RxMulticast: wide("GLV_MPRC"),
		RxBroadcast: wide("GLV_BPRC"), RxDiscards: uint64(c.get("GLV_RDPC", i)), RxUnknown: uint64(c.get("GLV_RUPP", i)),
		TxBytes: wide("GLV_GOTC"), TxUnicast: wide("GLV_UPTC"), TxMulticast: wide("GLV_MPTC"),
		TxBroadcast: wide("GLV_BPTC"), TxErrors: uint64(c.get("GLV_TEPC", i)),
	}
}
