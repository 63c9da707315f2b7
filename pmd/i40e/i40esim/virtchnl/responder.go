package virtchnl

import (
	"fmt"
	"maps"

	"weft/pmd/i40e/i40esim/adminq"
)

// MaxQueuePairs is how many queue pairs a VF of the family can have.
const MaxQueuePairs = 16

// Offered is what Linux's i40e grants on an X710 when it is asked for.
const Offered = CapL2 | CapRSSRegisters | CapWriteBack | CapRequestQueues | CapLinkSpeed | CapVLAN | CapRxPolling | CapRSS |
	CapEncap | CapEncapChecksum

// Config is how the PF treats its VFs.
type Config struct {
	// QueuePairs is what a VF has before it asks for more, 4 if zero.
	QueuePairs int
	// Offer are the capabilities that may be granted, Offered if zero. CapVLAN2 is not what an X710 offers.
	Offer uint32
	// Addresses are the VFs' addresses by VF. One that is missing or zero is derived from the PF's.
	Addresses []adminq.MAC
	// Fixed forbids VFs to use other unicast addresses.
	Fixed bool
}

// Hooks are what a PF driver does by other means than the admin queue. VFs are numbered from 0, queues from the VF's first.
// An error makes the message fail. Nil hooks do nothing.
type Hooks struct {
	// ConfigureTx and ConfigureRx write the context of a queue that is not enabled. set is the handle of the queue set that
	// transmit contexts name.
	ConfigureTx func(vf int, q TxQueue, set uint16) error
	ConfigureRx func(vf int, q RxQueue) error
	// Enable and Disable act on bitmaps of queues.
	Enable  func(vf int, rx, tx uint32) error
	Disable func(vf int, rx, tx uint32) error
	// Map links queues to vectors, which forgets what was linked to those vectors before.
	Map func(vf int, vectors []Vector) error
	// HashKey, HashTable and HashTypes set what the VF's receive hash works with: 52 bytes, 64 queue numbers, a bitmap of
	// packet classifier types.
	HashKey   func(vf int, key []byte)
	HashTable func(vf int, table []byte)
	HashTypes func(vf int, types uint64)
	// Statistics returns the counters of the VF's VSI.
	Statistics func(vf int) Statistics
	// Reset does a VF reset: queues stop, the VF's registers and admin queues are as after power on, VFGEN_RSTAT goes
	// through its states. The VF's VSI still exists.
	Reset func(vf int)
	// Violation hears of what a VF driver must not do.
	Violation func(format string, args ...any)
}

// Responder answers the VFs of one card.
type Responder struct {
	fw     *adminq.Firmware
	cfg    Config
	hooks  Hooks
	rules  map[Op]rule
	vfs    map[int]*vf
	counts map[Op]uint64
}

// vf is what the PF knows of a VF.
type vf struct {
	index   int
	mac     adminq.MAC
	minor   uint32 // of its API version, 1.x
	caps    uint32 // granted
	active  bool   // it knows its resources
	pairs   int
	macs    map[adminq.MAC]bool
	vlans   map[uint16]bool
	filters map[filter]bool // what is in the switch
	rx, tx  uint32          // enabled
}

// New makes the responder the card's mailbox.
func New(fw *adminq.Firmware, cfg Config, hooks Hooks) (*Responder, error) {
	if cfg.QueuePairs == 0 {
		cfg.QueuePairs = 4
	}
	if cfg.Offer == 0 {
		cfg.Offer = Offered
	}
	if cfg.QueuePairs < 1 || cfg.QueuePairs > MaxQueuePairs {
		return nil, fmt.Errorf("virtchnl: configuring VFs with %d queue pairs: 1 to %d are possible", cfg.QueuePairs,
			MaxQueuePairs)
	}
	r := &Responder{
		fw: fw, cfg: cfg, hooks: hooks, rules: rules(), vfs: make(map[int]*vf), counts: make(map[Op]uint64),
	}
	fw.SetMailbox(r)
	return r, nil
}

// FromVF takes a message (adminq.Mailbox).
func (r *Responder) FromVF(index int, op, _ uint32, msg []byte) {
	v := r.vf(index)
	r.counts[Op(op)]++
	status, payload := r.handle(v, Op(op), msg)
	if status == silent {
		return
	}
	if status != StatusOK {
		payload = nil
	}
	r.fw.SendToVF(index, op, uint32(status), payload)
	if Op(op) == OpEnableQueues && status == StatusOK {
		r.sendLink(v)
	}
}

// silent is the status of messages that get no answer, because a reset follows.
const silent Status = 1

// rule is a row of the table of messages.
type rule struct {
	size   int    // of the message; -1 when the handler checks it
	caps   uint32 // any of them must have been granted
	before bool   // allowed before the VF knows its resources
	run    func(r *Responder, v *vf, msg []byte) (Status, []byte)
}

func rules() map[Op]rule {
	return map[Op]rule{
		OpVersion:         {versionSize, 0, true, (*Responder).version},
		OpReset:           {0, 0, true, (*Responder).reset},
		OpGetResources:    {-1, 0, true, (*Responder).resources},
		OpConfigureTx:     {txQueueSize, 0, false, (*Responder).configureTx},
		OpConfigureRx:     {rxQueueSize, 0, false, (*Responder).configureRx},
		OpConfigureQueues: {-1, 0, false, (*Responder).configureQueues},
		OpMapInterrupts:   {-1, 0, false, (*Responder).mapInterrupts},
		OpEnableQueues:    {selectSize, 0, false, (*Responder).enableQueues},
		OpDisableQueues:   {selectSize, 0, false, (*Responder).disableQueues},
		OpAddAddresses:    {-1, 0, false, (*Responder).addAddresses},
		OpDeleteAddresses: {-1, 0, false, (*Responder).deleteAddresses},
		OpAddVLANs:        {-1, CapVLAN, false, (*Responder).addVLANs},
		OpDeleteVLANs:     {-1, CapVLAN, false, (*Responder).deleteVLANs},
		OpPromiscuous:     {promiscSize, 0, false, (*Responder).promiscuous},
		OpGetStatistics:   {selectSize, 0, false, (*Responder).statistics},
		OpHashKey:         {-1, CapRSS, false, (*Responder).hashKey},
		OpHashTable:       {-1, CapRSS, false, (*Responder).hashTable},
		OpGetHashTypes:    {0, CapRSS, false, (*Responder).getHashTypes},
		OpSetHashTypes:    {hashTypesSize, CapRSS, false, (*Responder).setHashTypes},
		OpEnableStrip:     {0, CapVLAN, false, (*Responder).enableStrip},
		OpDisableStrip:    {0, CapVLAN, false, (*Responder).disableStrip},
		OpRequestQueues:   {requestSize, CapRequestQueues, false, (*Responder).requestQueues},
		OpGetVLANCaps:     {0, CapVLAN2, false, (*Responder).getVLANCaps},
		OpAddVLANs2:       {-1, CapVLAN2, false, (*Responder).addVLANs2},
		OpDeleteVLANs2:    {-1, CapVLAN2, false, (*Responder).deleteVLANs2},
		OpEnableStrip2:    {settingSize, CapVLAN2, false, (*Responder).enableStrip2},
		OpDisableStrip2:   {settingSize, CapVLAN2, false, (*Responder).disableStrip2},
		OpEnableInsert2:   {settingSize, CapVLAN2, false, (*Responder).setInsert2},
		OpDisableInsert2:  {settingSize, CapVLAN2, false, (*Responder).setInsert2},
	}
}

func (r *Responder) handle(v *vf, op Op, msg []byte) (Status, []byte) {
	row, known := r.rules[op]
	switch {
	case !known:
		r.violation(v, "message %s is not one that this PF knows", op)
		return StatusNotSupported, nil
	case !row.before && !v.active:
		r.violation(v, "message %s before its resources are known", op)
		return StatusParam, nil
	case !row.before && r.fw.Switch().VSIOfVF(v.index) == nil:
		return StatusParam, nil // the PF was reset, the VF does not know it yet
	case row.caps != 0 && v.caps&row.caps == 0:
		r.violation(v, "message %s needs capability %#x, which was not granted", op, row.caps)
		return StatusNotSupported, nil
	case row.size >= 0 && len(msg) != row.size:
		r.violation(v, "message %s of %d bytes, must have %d", op, len(msg), row.size)
		return StatusMismatch, nil
	}
	status, payload := row.run(r, v, msg)
	if status == StatusMismatch {
		r.violation(v, "message %s of %d bytes does not fit its content", op, len(msg))
	}
	return status, payload
}

func (r *Responder) violation(v *vf, format string, args ...any) {
	if r.hooks.Violation != nil {
		r.hooks.Violation("VF%d: %s", v.index, fmt.Sprintf(format, args...))
	}
}

// refuse reports a parameter that cannot be.
func (r *Responder) refuse(v *vf, format string, args ...any) (Status, []byte) {
	r.violation(v, format, args...)
	return StatusParam, nil
}

// vf returns what is known of a VF, which begins with its first message.
func (r *Responder) vf(index int) *vf {
	v := r.vfs[index]
	if v == nil {
		v = &vf{index: index, mac: r.address(index), pairs: r.cfg.QueuePairs}
		v.forget()
		r.vfs[index] = v
	}
	return v
}

// forget is what a reset does to what the PF knows.
func (v *vf) forget() {
	v.active, v.caps, v.rx, v.tx = false, 0, 0, 0
	v.macs, v.vlans, v.filters = make(map[adminq.MAC]bool), make(map[uint16]bool), make(map[filter]bool)
	v.macs[v.mac] = true
}

// address is the VF's: configured, or made from the PF's as a locally administered one.
func (r *Responder) address(index int) adminq.MAC {
	if index < len(r.cfg.Addresses) && r.cfg.Addresses[index] != (adminq.MAC{}) {
		return r.cfg.Addresses[index]
	}
	mac := r.fw.Config().MAC
	mac[0] |= 2
	mac[4] ^= 0x80
	mac[5] += byte(1 + index)
	return mac
}

// Address returns the address that a VF is given with its resources.
func (r *Responder) Address(index int) adminq.MAC { return r.vf(index).mac }

// Granted returns the capabilities that a VF has; 0 before it knows its resources.
func (r *Responder) Granted(index int) uint32 { return r.vf(index).caps }

// QueuePairs returns how many queue pairs a VF has.
func (r *Responder) QueuePairs(index int) int { return r.vf(index).pairs }

// ResetVF resets a VF from the PF's side: its VSI is made anew, and it has to begin again with its version.
func (r *Responder) ResetVF(index int) {
	v := r.vf(index)
	if r.hooks.Reset != nil {
		r.hooks.Reset(index)
	}
	r.release(v)
	v.forget()
	if code := r.ensure(v); code != adminq.CodeOK {
		r.violation(v, "no VSI after a reset: %s", code)
	}
}

// ResetAll resets every VF that has ever spoken, as a PF driver does after a reset of the PF, which empties the switch.
func (r *Responder) ResetAll() {
	for _, v := range r.sorted() {
		r.ResetVF(v.index)
	}
}

// Forget takes the VF out of the switch, as when it is unplugged.
func (r *Responder) Forget(index int) {
	if v := r.vfs[index]; v != nil {
		r.release(v)
		delete(r.vfs, index)
	}
}

// LinkChanged tells every VF that is at work of the link's state; the device calls it when that changes.
func (r *Responder) LinkChanged() {
	for _, v := range r.sorted() {
		r.sendLink(v)
	}
}

// Close tells the VFs that the PF goes away.
func (r *Responder) Close() {
	const driverClose = 3
	for _, v := range r.sorted() {
		if v.active {
			r.event(v, driverClose, 0, 0, certainDoom)
		}
	}
}

func (r *Responder) sorted() []*vf {
	var out []*vf
	for index := range r.fw.Config().VFs {
		if v := r.vfs[index]; v != nil {
			out = append(out, v)
		}
	}
	return out
}

// Events and how serious they are.
const (
	eventLink  = 1
	eventReset = 2

	severityInfo = 0
	certainDoom  = 255
)

func (r *Responder) event(v *vf, kind, speed uint32, up byte, severity uint32) {
	var out [eventSize]byte
	le.PutUint32(out[0:], kind)
	le.PutUint32(out[4:], speed)
	out[8] = up
	le.PutUint32(out[12:], severity)
	r.fw.SendToVF(v.index, uint32(OpEvent), 0, out[:])
}

// sendLink tells of the link's state: the speed as a bit, or in Mbit/s if the VF understands that.
func (r *Responder) sendLink(v *vf) {
	if !v.active {
		return
	}
	speed, up := r.fw.LinkSpeed(), byte(0)
	if r.fw.LinkUp() {
		up = 1
	}
	value := uint32(speed)
	if v.caps&CapLinkSpeed != 0 {
		value = speed.Mbps()
	}
	r.event(v, eventLink, value, up, severityInfo)
}

// version is VERSION: VFs of version 1.0 want to be told 1.0.
func (r *Responder) version(v *vf, msg []byte) (Status, []byte) {
	const major, minor = 1, 1
	v.minor = minor
	if le.Uint32(msg) == major && le.Uint32(msg[4:]) == 0 {
		v.minor = 0
	}
	return StatusOK, le.AppendUint32(le.AppendUint32(nil, major), v.minor)
}

// reset is RESET_VF, which has no answer.
func (r *Responder) reset(v *vf, _ []byte) (Status, []byte) {
	r.ResetVF(v.index)
	return silent, nil
}

// resources is GET_VF_RESOURCES. Version 1.1 sends what it would like to have.
func (r *Responder) resources(v *vf, msg []byte) (Status, []byte) {
	want := uint32(CapL2 | CapRSSRegisters | CapVLAN)
	switch {
	case v.minor == 0 && len(msg) == 0:
	case v.minor != 0 && len(msg) == capsSize:
		want = le.Uint32(msg)
	default:
		return StatusMismatch, nil
	}
	if code := r.ensure(v); code != adminq.CodeOK {
		r.violation(v, "no VSI: %s", code)
		return StatusNoMemory, nil
	}
	v.caps = r.grant(want)
	v.active = true
	vsi := r.fw.Switch().VSIOfVF(v.index)
	set, _ := vsi.QueueSet(0)

	// Room for one VSI more than there is: the structure once ended in an array of one.
	out := make([]byte, resourceFixed+2*vsiResource)
	le.PutUint16(out[0:], 1)
	le.PutUint16(out[2:], uint16(v.pairs))
	le.PutUint16(out[4:], uint16(r.fw.Config().VFVectors))
	le.PutUint16(out[6:], uint16(r.fw.FrameLimit()))
	le.PutUint32(out[8:], v.caps)
	le.PutUint32(out[12:], hashKeySize)
	le.PutUint32(out[16:], hashTableSize)
	e := out[resourceFixed:]
	le.PutUint16(e[0:], vsi.Number)
	le.PutUint16(e[2:], uint16(v.pairs))
	le.PutUint32(e[4:], vsiTypeSRIOV)
	le.PutUint16(e[8:], set)
	copy(e[10:], v.mac[:])
	return StatusOK, out
}

// vsiTypeSRIOV is the only type of VSI that VFs are told of.
const vsiTypeSRIOV = 6

// grant is what Linux's i40e gives for what is asked.
func (r *Responder) grant(want uint32) uint32 {
	offer := r.cfg.Offer
	caps := CapL2 | want&offer&(CapWriteBack|CapRequestQueues|CapLinkSpeed|CapRxPolling|CapEncap|CapEncapChecksum)
	switch {
	case want&offer&CapVLAN2 != 0:
		caps |= CapVLAN2
	case offer&CapVLAN != 0:
		caps |= CapVLAN
	}
	switch {
	case want&offer&CapRSS != 0:
		caps |= CapRSS
	case offer&CapRSSRegisters != 0:
		caps |= CapRSSRegisters
	}
	return caps
}

// requestQueues is REQUEST_QUEUES: more or fewer queue pairs, after a reset. What cannot be had is answered with what can.
func (r *Responder) requestQueues(v *vf, msg []byte) (Status, []byte) {
	want := int(le.Uint16(msg))
	switch {
	case want < 1:
		return r.refuse(v, "request for %d queue pairs", want)
	case want > MaxQueuePairs:
		return StatusOK, le.AppendUint16(nil, MaxQueuePairs)
	}
	r.event(v, eventReset, 0, 0, certainDoom)
	v.pairs = want
	r.ResetVF(v.index)
	return silent, nil
}

// Counts returns how often each message was received, whatever its answer.
func (r *Responder) Counts() map[Op]uint64 { return maps.Clone(r.counts) }

// Enabled returns the bitmaps of queues that a VF has enabled.
func (r *Responder) Enabled(index int) (rx, tx uint32) {
	v := r.vf(index)
	return v.rx, v.tx
}

// Addresses returns the addresses that a VF receives on.
func (r *Responder) Addresses(index int) map[adminq.MAC]bool { return maps.Clone(r.vf(index).macs) }
