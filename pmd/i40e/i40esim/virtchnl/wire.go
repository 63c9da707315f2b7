package virtchnl

import (
	"encoding/binary"
	"fmt"
)

// Op is a message's kind.
type Op uint32

// The messages that VF drivers know.
const (
	OpVersion         Op = 1
	OpReset           Op = 2
	OpGetResources    Op = 3
	OpConfigureTx     Op = 4
	OpConfigureRx     Op = 5
	OpConfigureQueues Op = 6
	OpMapInterrupts   Op = 7
	OpEnableQueues    Op = 8
	OpDisableQueues   Op = 9
	OpAddAddresses    Op = 10
	OpDeleteAddresses Op = 11
	OpAddVLANs        Op = 12
	OpDeleteVLANs     Op = 13
	OpPromiscuous     Op = 14
	OpGetStatistics   Op = 15
	OpEvent           Op = 17
	OpHashFunction    Op = 18
	OpHashKey         Op = 23
	OpHashTable       Op = 24
	OpGetHashTypes    Op = 25
	OpSetHashTypes    Op = 26
	OpEnableStrip     Op = 27
	OpDisableStrip    Op = 28
	OpRequestQueues   Op = 29
	OpEnableChannels  Op = 30
	OpDisableChannels Op = 31
	OpAddCloud        Op = 32
	OpDeleteCloud     Op = 33
	OpGetDescriptors  Op = 44
	OpAddHashConfig   Op = 45
	OpDelHashConfig   Op = 46
	OpAddFlow         Op = 47
	OpDeleteFlow      Op = 48
	OpGetVLANCaps     Op = 51
	OpAddVLANs2       Op = 52
	OpDeleteVLANs2    Op = 53
	OpEnableStrip2    Op = 54
	OpDisableStrip2   Op = 55
	OpEnableInsert2   Op = 56
	OpDisableInsert2  Op = 57
)

var opNames = map[Op]string{
	OpVersion: "VERSION", OpReset: "RESET_VF", OpGetResources: "GET_VF_RESOURCES", OpConfigureTx: "CONFIG_TX_QUEUE",
	OpConfigureRx: "CONFIG_RX_QUEUE", OpConfigureQueues: "CONFIG_VSI_QUEUES", OpMapInterrupts: "CONFIG_IRQ_MAP",
	OpEnableQueues: "ENABLE_QUEUES", OpDisableQueues: "DISABLE_QUEUES", OpAddAddresses: "ADD_ETH_ADDR",
	OpDeleteAddresses: "DEL_ETH_ADDR", OpAddVLANs: "ADD_VLAN", OpDeleteVLANs: "DEL_VLAN",
	OpPromiscuous: "CONFIG_PROMISCUOUS_MODE", OpGetStatistics: "GET_STATS", OpEvent: "EVENT",
	OpHashFunction: "CONFIG_RSS_HFUNC", OpHashKey: "CONFIG_RSS_KEY", OpHashTable: "CONFIG_RSS_LUT",
	OpGetHashTypes: "GET_RSS_HENA_CAPS", OpSetHashTypes: "SET_RSS_HENA", OpEnableStrip: "ENABLE_VLAN_STRIPPING",
	OpDisableStrip: "DISABLE_VLAN_STRIPPING", OpRequestQueues: "REQUEST_QUEUES", OpEnableChannels: "ENABLE_CHANNELS",
	OpDisableChannels: "DISABLE_CHANNELS", OpAddCloud: "ADD_CLOUD_FILTER", OpDeleteCloud: "DEL_CLOUD_FILTER",
	OpGetDescriptors: "GET_SUPPORTED_RXDIDS", OpAddHashConfig: "ADD_RSS_CFG", OpDelHashConfig: "DEL_RSS_CFG",
	OpAddFlow: "ADD_FDIR_FILTER", OpDeleteFlow: "DEL_FDIR_FILTER", OpGetVLANCaps: "GET_OFFLOAD_VLAN_V2_CAPS",
	OpAddVLANs2: "ADD_VLAN_V2", OpDeleteVLANs2: "DEL_VLAN_V2", OpEnableStrip2: "ENABLE_VLAN_STRIPPING_V2",
	OpDisableStrip2: "DISABLE_VLAN_STRIPPING_V2", OpEnableInsert2: "ENABLE_VLAN_INSERTION_V2",
	OpDisableInsert2: "DISABLE_VLAN_INSERTION_V2",
}

func (o Op) String() string {
	if name, known := opNames[o]; known {
		return fmt.Sprintf("%s (%d)", name, uint32(o))
	}
	return fmt.Sprintf("unknown (%d)", uint32(o))
}

// Status is the answer to a message.
type Status int32

// The answers.
const (
	StatusOK           Status = 0
	StatusParam        Status = -5
	StatusNoMemory     Status = -18
	StatusMismatch     Status = -38 // the message's length does not fit its kind
	StatusInvalidVF    Status = -40
	StatusAdminQueue   Status = -53
	StatusNotSupported Status = -64
)

// Capabilities, which the VF asks for and the PF grants.
const (
	CapL2            = 0x00000001
	CapRSSRegisters  = 0x00000010
	CapWriteBack     = 0x00000020 // write back on ITR
	CapRequestQueues = 0x00000040
	CapLinkSpeed     = 0x00000080 // events give the speed in Mbit/s
	CapVLAN2         = 0x00008000
	CapVLAN          = 0x00010000
	CapRxPolling     = 0x00020000
	CapRSS           = 0x00080000 // keys and tables by message
	CapEncap         = 0x00100000
	CapEncapChecksum = 0x00200000
)

// Sizes of messages and their elements, in bytes.
const (
	versionSize    = 8
	capsSize       = 4
	resourceFixed  = 20
	vsiResource    = 16
	queuesFixed    = 8
	queuePairSize  = 64
	txQueueSize    = 24
	rxQueueSize    = 40
	mapFixed       = 2
	vectorSize     = 12
	selectSize     = 12
	addressesFixed = 4
	addressSize    = 8
	vlansFixed     = 4
	vlanSize       = 2
	promiscSize    = 4
	hashFixed      = 4
	hashTypesSize  = 8
	requestSize    = 2
	vlans2Fixed    = 8
	vlan2Size      = 32
	settingSize    = 16
	vlanCapsSize   = 40
	eventSize      = 16
	statisticsSize = 96
)

var le = binary.LittleEndian

// list checks the length of a message of n elements, in either of its two forms.
func list(msg []byte, fixed, element, n int) bool {
	exact := fixed + n*element
	return n > 0 && (len(msg) == exact || len(msg) == exact+element)
}

// TxQueue is what a VF wants of a transmit queue.
type TxQueue struct {
	ID        int // of the VF's queues
	Length    int // descriptors
	Ring      uint64
	HeadWB    bool
	HeadWBAdr uint64
}

// RxQueue is what a VF wants of a receive queue.
type RxQueue struct {
	ID          int
	Length      int
	Ring        uint64
	Buffer      int // bytes
	MaxPacket   int // bytes
	Header      int // bytes of the header buffer, if Split
	Split       bool
	SplitAt     uint32
	KeepsCRC    bool
	Descriptors int // bytes of one: 32
}

// Vector is what an interrupt vector is for.
type Vector struct {
	ID           int    // 0 is the VF's mailbox and other causes
	Rx, Tx       uint16 // bitmaps of queues
	RxITR, TxITR int    // 0 to 2, 3 for none
}

// Statistics are a VSI's counters in the order of the message.
type Statistics struct {
	RxBytes, RxUnicast, RxMulticast, RxBroadcast, RxDiscards, RxUnknown uint64
	TxBytes, TxUnicast, TxMulticast, TxBroadcast, TxDiscards, TxErrors  uint64
}

func (s *Statistics) marshal() []byte {
	out := make([]byte, 0, statisticsSize)
	for _, v := range [...]uint64{
		s.RxBytes, s.RxUnicast, s.RxMulticast, s.RxBroadcast, s.RxDiscards, s.RxUnknown,
		s.TxBytes, s.TxUnicast, s.TxMulticast, s.TxBroadcast, s.TxDiscards, s.TxErrors,
	} {
		out = le.AppendUint64(out, v)
	}
	return out
}

func decodeTx(p []byte) (vsi uint16, q TxQueue) {
	return le.Uint16(p), TxQueue{
		ID: int(le.Uint16(p[2:])), Length: int(le.Uint16(p[4:])), HeadWB: le.Uint16(p[6:]) != 0, Ring: le.Uint64(p[8:]),
		HeadWBAdr: le.Uint64(p[16:]),
	}
}

func decodeRx(p []byte) (vsi uint16, q RxQueue) {
	return le.Uint16(p), RxQueue{
		ID: int(le.Uint16(p[2:])), Length: int(le.Uint32(p[4:])), Header: int(le.Uint16(p[8:])),
		Split: le.Uint16(p[10:]) != 0, Buffer: int(le.Uint32(p[12:])), MaxPacket: int(le.Uint32(p[16:])),
		KeepsCRC: p[20] != 0, Ring: le.Uint64(p[24:]), SplitAt: le.Uint32(p[32:]), Descriptors: 32,
	}
}

func decodeVector(p []byte) (vsi uint16, v Vector) {
	return le.Uint16(p), Vector{
		ID: int(le.Uint16(p[2:])), Rx: le.Uint16(p[4:]), Tx: le.Uint16(p[6:]), RxITR: int(le.Uint16(p[8:])),
		TxITR: int(le.Uint16(p[10:])),
	}
}
